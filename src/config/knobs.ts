import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Failed } from '../core/failure.js';

/** HTCondor's configuration: upper-case names to expanded values, and the names as they were written. */
export interface Knobs {
  get(name: string): string | undefined;
  /** Names as the administrator spells them; those from the environment come in capitals. */
  readonly names: readonly string[];
}

let last: Knobs | undefined;

/** What condor_config_val answered last, for whoever does not want to wait for it again. */
export const lastKnobs = (): Knobs | undefined => last;

/**
 * All knobs by one call of condor_config_val; undefined on a machine that has no such program. Throws Failed: 'config', or
 * 'transient' when it has not answered after `limitMs`. It can stand still for 5 s when the host's own name does not resolve.
 */
export async function readKnobs(env: NodeJS.ProcessEnv, limitMs = 12_000): Promise<Knobs | undefined> {
  const path = [env.PATH, '/usr/bin', '/usr/local/bin'].filter(Boolean).join(':');
  return new Promise((resolve, reject) => {
    execFile(
      'condor_config_val',
      ['-dump', '-expanded'],
      { env: { ...env, PATH: path }, timeout: limitMs, killSignal: 'SIGKILL', maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => {
        if (error === null) {
          last = parseKnobs(stdout);
          return resolve(last);
        }
        const code: unknown = error.code;
        // execvp(3) tells of a folder in PATH that may not be looked into as it does of a program that may not be run.
        if (code === 'ENOENT' || (code === 'EACCES' && !isIn(path))) return resolve(undefined);
        if (error.killed) return reject(silent(limitMs));
        const [why] = stderr.trim().split('\n');
        reject(
          new Failed({
            kind: 'config',
            what: `condor_config_val: ${why || error.message}`,
            hint: 'mend HTCondor’s configuration (condor_config_val -dump), or name another with --config FILE',
          }),
        );
      },
    );
  });
}

/** Nothing is wrong with the configuration: a later start, or the next SIGHUP, may find it. */
const silent = (limitMs: number): Failed =>
  new Failed({
    kind: 'transient',
    what: `condor_config_val: gave no answer within ${limitMs / 1000} s`,
    hint: 'see whether this machine’s own name resolves: time getent hosts "$(hostname -f)"',
  });

const isIn = (path: string): boolean => path.split(':').some((folder) => existsSync(join(folder, 'condor_config_val')));

/** Reads what `condor_config_val -dump -expanded` prints: `NAME = value` lines between comments. */
export function parseKnobs(dump: string): Knobs {
  const values = new Map<string, string>();
  const names: string[] = [];
  for (const line of dump.split('\n')) {
    const match = /^([A-Za-z_][\w.]*) = ?(.*)$/.exec(line);
    if (match === null) continue;
    const [, name = '', value = ''] = match;
    if (!values.has(name.toUpperCase())) names.push(name);
    values.set(name.toUpperCase(), value.trim());
  }
  return { get: (name) => values.get(name.toUpperCase()) || undefined, names };
}
