import { loadConfig } from '../../config/load.js';
import { exitCode, fail } from '../../core/failure.js';
import { harmlessJson } from '../../core/text.js';
import { openSshWorld, sshFindings } from '../doctor/checks/ssh.js';
import { tally } from '../doctor/finding.js';
import { report } from '../doctor/text.js';

export interface StatusOptions {
  readonly json: boolean;
  readonly root?: string;
  readonly config?: string;
}

const ways = {
  login: 'login',
  'seed-key': 'seed, after a key',
  'seed-password': 'seed, after a password',
  hook: 'the login hook alone',
} as const;

/** What is installed and whether it fits. Resolves to 0, or to the code of a wrong configuration when there is an error. */
export async function runPamStatus({ json, root, config: file }: StatusOptions): Promise<number> {
  if (root === undefined && process.geteuid?.() !== 0)
    fail('unsupported', 'only root can see what is installed', 'run: sudo credmon pam status');
  const config = await loadConfig({ env: process.env, ...(file !== undefined && { file }) });
  const world = await openSshWorld(config, { mayAsk: true, ...(root !== undefined && { root }) });
  const manifest = world.installation?.manifest;
  const findings = manifest === undefined && config.pam === undefined ? [] : await sshFindings(world);
  const parts = (manifest?.parts ?? []).map(({ path, before }) => ({ path, made: before === undefined }));
  const said = manifest && {
    mode: manifest.way,
    groups: manifest.asked.groups,
    service: manifest.service,
    files: parts,
  };
  if (json) process.stdout.write(`${harmlessJson({ v: 1, installed: said ?? false, findings })}\n`);
  else {
    const head =
      said === undefined
        ? ['Nothing is installed.']
        : [
            `Installed: ${ways[said.mode]}${said.mode !== 'hook' && said.groups.length > 0 ? `, but not for ${said.groups.join(', ')}` : ''}`,
            ...parts.map(({ path, made }) => `  ${world.places.root}${path}${made ? '' : ' (changed)'}`),
          ];
    const rest = findings.length > 0 ? ['', ...report(findings, process.stdout.columns || 100)] : [];
    process.stdout.write(`${[...head, ...rest].join('\n')}\n`);
  }
  return tally(findings).error > 0 ? exitCode({ kind: 'config' }) : 0;
}
