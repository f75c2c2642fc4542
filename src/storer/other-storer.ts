import { existsSync } from 'node:fs';
import { loadConfig } from '../config/load.js';
import { stem } from '../core/names.js';
import type { Flow } from '../core/provider.js';
import { argumentOf, quoted, type ServiceRequest } from '../core/request.js';
import { openTerminal } from '../system/terminal.js';
import { run } from './here.js';
import { say, tell } from './say.js';
import type { Result } from './settle.js';

/** HTCondor's own, for Vault and Pelican; the second is its former name. */
const otherStorers = ['/usr/bin/condor_credential_storer', '/usr/bin/condor_vault_storer'];
/** How long another program may take where nobody can answer it: milliseconds. */
const otherLimit = 60_000;

/** Has it get those of Vault and Pelican: whether each is there now. */
export async function elsewhere(results: readonly Result[]): Promise<boolean[]> {
  const mine = results.filter(({ is }) => is === 'elsewhere');
  if (mine.length === 0) return [];
  const { otherStorer } = await loadConfig({ env: process.env });
  const done: boolean[] = [];
  for (const { request, asked, provider } of mine) {
    const program = otherStorer ?? otherStorers.find((path) => existsSync(path));
    if (program === undefined) {
      tell({
        kind: 'unsupported',
        what: `there is no credential for ${stem(request)}, and HTCondor’s own storer, which gets them from ${provider.flow === 'vault' ? 'Vault' : 'Pelican'}, is not here`,
        hint: 'install condor-credmon-vault, or name the program with CREDMON_VAULT_STORER',
      });
      done.push(false);
      continue;
    }
    done.push(await otherProgram(program, asked ?? request, provider.flow));
  }
  return done;
}

async function otherProgram(program: string, request: ServiceRequest, flow: Flow): Promise<boolean> {
  const words = argumentOf(request);
  const terminal = openTerminal();
  try {
    if (terminal === undefined && flow === 'pelican') {
      tell({
        kind: 'login-needed',
        what: `there is no credential for ${stem(request)}, and it takes a person to get one`,
        hint: `run in a terminal: ${program} ${quoted(words)}`,
      });
      return false;
    }
    // Without anybody to answer, htgettoken may only do what it can do by itself.
    const quiet = terminal ? {} : { HTGETTOKENOPTS: `${process.env.HTGETTOKENOPTS ?? ''} --nooidc`.trim() };
    const code = await run(program, [words], {
      stdio: terminal ? [terminal.fd, terminal.fd, terminal.fd] : ['ignore', 2, 2],
      env: { ...process.env, ...quiet },
      ...(terminal === undefined && { timeout: otherLimit }),
    });
    if (code === 0) return true;
    say('error', `${program} did not get a credential for ${stem(request)}`);
    say('hint', `run in a terminal: ${program} ${quoted(words)}`);
    return false;
  } finally {
    terminal?.close();
  }
}
