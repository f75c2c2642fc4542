import { execFile } from 'node:child_process';
import { Failed } from '../core/failure.js';

/** HTCondor's configuration: upper-case names to expanded values, and the names as they were written. */
export interface Knobs {
  get(name: string): string | undefined;
  /** Names as the administrator spells them; those from the environment come in capitals. */
  readonly names: readonly string[];
}

/**
 * All knobs by one call of condor_config_val; undefined on a machine that has no such program. Throws Failed, also when
 * it has not answered after `limitMs`: it can stand still for 5 s when the host's own name does not resolve.
 */
export async function readKnobs(env: NodeJS.ProcessEnv, limitMs = 12_000): Promise<Knobs | undefined> {
  const path = [env.PATH, '/usr/bin', '/usr/local/bin'].filter(Boolean).join(':');
  return new Promise((resolve, reject) => {
    execFile(
      'condor_config_val',
      ['-dump', '-expanded'],
      { env: { ...env, PATH: path }, timeout: limitMs, killSignal: 'SIGKILL', maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => {
        if (error === null) return resolve(parseKnobs(stdout));
        if (error.code === ('ENOENT' as unknown)) return resolve(undefined);
        const why = error.killed ? `gave no answer within ${limitMs / 1000} s` : (stderr.trim().split('\n')[0] ?? '');
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
