import { spawn } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';
import { type Grant, type RequestGrant, type Wanted, wantedOf } from '../core/credential.js';
import { Failed, fail } from '../core/failure.js';
import { type CredentialId, stem } from '../core/names.js';
import { redact } from '../core/redact.js';
import { plain } from '../core/text.js';
import { timerDelay } from '../core/time.js';
import { formatGrant, formatRequest } from '../core/top.js';
import { named } from './named.js';
import type { Env } from './state.js';

type CreddId = Pick<CredentialId, 'service' | 'handle'>;

/**
 * `pending`: stored, but the credmon has not made a token of it yet. `mismatch`: stored, but not for exactly these scopes
 * and this audience, as texts; so says the tool also when none are given and the stored one has some.
 */
type CreddState = 'none' | 'pending' | 'ready' | 'mismatch';

/**
 * HTCondor's condor_credd, reached by its own tool, which proves to it who we are. Every method throws Failed:
 * 'unsupported' without the tool, 'transient' when it takes too long, 'storage' when it refuses, quoting it; or the
 * reason of `stop`.
 */
export interface CreddStore {
  /** Replaces. */
  save(id: CreddId, grant: Grant, stop?: AbortSignal): Promise<void>;
  /** Replaces it by a request (core/top.ts), which credmond makes a credential of. */
  request(id: CreddId, request: Omit<RequestGrant, 'kind' | 'refreshToken'>, stop?: AbortSignal): Promise<void>;
  query(id: CreddId, wanted?: Pick<Grant, 'scopes' | 'audience'>, stop?: AbortSignal): Promise<CreddState>;
  /** Whether there was one. */
  remove(id: CreddId, stop?: AbortSignal): Promise<boolean>;
}

export interface CreddOptions {
  /** Of condor_store_cred. Default: the one on PATH, else that in /usr/sbin, where packages put it. */
  readonly path?: string;
  /** Default: this process's. */
  readonly env?: Env;
  readonly limitMs?: number;
}

const toolName = 'condor_store_cred';

export function creddStore({ path, env = process.env, limitMs = 30_000 }: CreddOptions = {}): CreddStore {
  const run = (action: string, options: readonly string[], input: string, stop?: AbortSignal): Promise<Ending> =>
    runTool(path ?? find(env), [action, ...options], { env, input, limitMs, ...(stop && { stop }) });

  const query: CreddStore['query'] = async (id, wanted = {}, stop) => {
    const ending = await run('query-oauth', [...naming(id), ...wanting(wanted)], '', stop);
    if (ending.code === 0) return /waiting for processing/i.test(ending.said) ? 'pending' : 'ready';
    if (ending.code === 2) return 'mismatch';
    return /no credential is stored/i.test(ending.said) ? 'none' : refused('look for', id, ending);
  };

  /** Scopes and audience are put into the JSON by condor_credd, which compares them later. */
  const add = async (id: CreddId, wanted: Wanted, input: string, stop?: AbortSignal): Promise<void> => {
    const ending = await run('add-oauth', [...naming(id), ...wanting(wanted), '-i', '-'], input, stop);
    if (ending.code !== 0) refused('store', id, ending);
  };

  return {
    query,
    save(id, grant, stop) {
      const { scopes: _, audience: __, ...rest } = grant;
      return add(id, wantedOf(grant), formatGrant(rest), stop);
    },
    request(id, { from, ...wanted }, stop) {
      return add(id, wanted, formatRequest(id, from === undefined ? {} : { from }), stop);
    },
    async remove(id, stop) {
      // Deleting what is not there succeeds as well (seen in HTCondor 23.9.6), so it is asked for first.
      const before = await query(id, {}, stop);
      const ending = await run('delete-oauth', naming(id), '', stop);
      return ending.code === 0 ? before !== 'none' : refused('remove', id, ending);
    },
  };
}

function naming({ service, handle }: CreddId): string[] {
  return ['-s', named(service), ...(handle === undefined ? [] : ['-H', named(handle)])];
}

/** Separated by commas, as condor_submit asks for them: condor_credd compares the texts. */
function wanting({ scopes, audience }: Pick<Grant, 'scopes' | 'audience'>): string[] {
  return [...(scopes?.length ? ['-S', scopes.join(',')] : []), ...(audience ? ['-A', audience] : [])];
}

function refused(verb: string, id: CreddId, { said, code, signal }: Ending): never {
  const how =
    said === '' ? `${toolName} ended with ${signal ?? `exit code ${code}`}` : `${toolName} says: ${plain(said)}`;
  return fail(
    'storage',
    `HTCondor did not ${verb} ${stem(id)}: ${how}`,
    'is condor_credd running, and HTCondor set up for OAuth (use feature:OAUTH)? See its log, CredLog',
  );
}

function find(env: Env): string {
  const folders = (env.PATH ?? '').split(delimiter).filter((folder) => isAbsolute(folder));
  for (const folder of [...folders, '/usr/sbin']) {
    const path = join(folder, toolName);
    if (isProgram(path)) return path;
  }
  return fail(
    'unsupported',
    `${toolName} was not found on PATH or in /usr/sbin`,
    'install HTCondor’s tools (package condor or htcondor)',
  );
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** What it wrote, in one harmless line. */
  readonly said: string;
}

interface Run {
  readonly env: Env;
  /** For its stdin: the only place where a secret may be. */
  readonly input: string;
  readonly limitMs: number;
  readonly stop?: AbortSignal;
}

function runTool(path: string, args: readonly string[], { env, input, limitMs, stop }: Run): Promise<Ending> {
  stop?.throwIfAborted();
  return new Promise((done, failed) => {
    const child = spawn(path, args, { env, stdio: ['pipe', 'pipe', 'pipe'] });
    let said = '';
    const hear = (chunk: string): void => {
      if (said.length < 65_536) said += chunk;
    };
    for (const pipe of [child.stdout, child.stderr]) pipe.setEncoding('utf8').on('data', hear);
    // One that ends without reading breaks the pipe; its ending says more.
    child.stdin.on('error', () => {}).end(input);

    const end = (act: () => void): void => {
      clearTimeout(timer);
      stop?.removeEventListener('abort', onStop);
      act();
    };
    const giveUp = (reason: unknown): void =>
      end(() => {
        child.kill('SIGKILL');
        // A grandchild may hold on to them.
        for (const pipe of [child.stdout, child.stderr]) pipe.destroy();
        failed(reason);
      });
    const onStop = (): void => giveUp(stop?.reason);
    const timer = setTimeout(() => giveUp(tooLong(limitMs)), timerDelay(limitMs));
    stop?.addEventListener('abort', onStop);
    child.on('error', (thrown) => end(() => failed(unstartable(path, thrown))));
    child.on('close', (code, signal) => end(() => done({ code, signal, said: boiled(said, input) })));
  });
}

/** In one harmless line, without the preamble that every answer has, and without what was given to it as a secret. */
function boiled(said: string, input: string): string {
  const { refresh_token: secret } = (input === '' ? {} : JSON.parse(input)) as { refresh_token?: string };
  const hidden = secret === undefined ? said : said.replaceAll(secret, '…');
  return plain(redact(hidden.replace(/^(?:Account|CredType):.*$/gm, '')), 4096);
}

function tooLong(limitMs: number): Failed {
  return new Failed({
    kind: 'transient',
    what: `${toolName} did not end within ${limitMs / 1000} s`,
    hint: 'is condor_credd running? See `condor_who -daemons`',
  });
}

function unstartable(path: string, cause: Error): Failed {
  return new Failed({ kind: 'unsupported', what: `${path} cannot be run: ${plain(cause.message)}` }, { cause });
}
