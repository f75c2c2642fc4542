import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { onTestFinished } from 'vitest';

/** An empty folder, removed when the test is over. */
export function room(): string {
  const path = mkdtempSync(join(tmpdir(), 'credmon-commands-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  chmodSync(path, 0o755);
  return path;
}

export function put(path: string, text: string, mode = 0o644): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

/**
 * A machine with HTCondor, as far as configuration goes: `bin/condor_config_val` tells these knobs and then what is in
 * `config.d`, later ones winning.
 */
export function condor(base: string, knobs: Readonly<Record<string, string>>) {
  const [bin, configDir] = [join(base, 'bin'), join(base, 'config.d')];
  mkdirSync(configDir, { recursive: true });
  const table = { CONDOR_VERSION: '25.14.1', LOCAL_CONFIG_DIR: configDir, ...knobs };
  const dump = Object.entries(table).map(([name, value]) => `${name} = ${value}\n`);
  put(join(base, 'dump'), dump.join(''));
  put(
    join(bin, 'condor_config_val'),
    `#!/bin/sh\n/bin/cat ${base}/dump\n/bin/cat ${configDir}/*.conf 2>/dev/null\ntrue\n`,
    0o755,
  );
  return { bin, configDir, env: { PATH: bin, HOME: join(base, 'home') } };
}

/** Everything below a folder: contents, modes, owners, times. */
export function picture(path: string, at = ''): Record<string, unknown> {
  const stat = lstatSync(join(path, at));
  const own = { mode: (stat.mode & 0o7777).toString(8), uid: stat.uid, gid: stat.gid };
  if (!stat.isDirectory())
    return { [at]: { ...own, text: readFileSync(join(path, at), 'latin1'), seconds: Math.floor(stat.mtimeMs / 1000) } };
  return Object.assign({ [at]: own }, ...readdirSync(join(path, at)).map((name) => picture(path, join(at, name))));
}

/** Makes a file look old. */
export function age(path: string, seconds: number): void {
  const then = Date.now() / 1000 - seconds;
  utimesSync(path, then, then);
}

export const weAreRoot = process.getuid?.() === 0;

export const modeOf = (path: string): number => lstatSync(path).mode & 0o7777;
