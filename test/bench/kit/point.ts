import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { tokenOf } from './issuer.js';

/** Of an access token: seconds since 1970. */
interface Life {
  readonly issued: number;
  readonly expires: number;
}

export interface Point {
  readonly base: string;
  readonly creds: string;
  readonly statusDir: string;
  readonly log: string;
  readonly config: string;
  /** Writes a credential: a `.top`, and with `life` a `.use` beside it. The folder is made too. */
  put(user: string, service?: string, life?: Life): void;
  /** Writes its `.use` anew. */
  renew(user: string, service: string, life: Life): void;
  /** The refresh token that is on disk, as name and generation. */
  onDisk(user: string, service?: string): { readonly name: string; readonly generation: number } | undefined;
  /** When the `.use` was written: milliseconds since 1970; 0 where there is none. */
  published(user: string, service?: string): number;
  remove(): void;
}

/**
 * A credential directory with its configuration in a new folder of `dir`: the project's own disk, since /tmp may be in memory.
 * `sweep`: seconds from one look at everything to the next.
 */
export function makePoint(
  issuers: Readonly<Record<string, string>>,
  settings: Readonly<Record<string, string | number>> = {},
  dir = '.build',
  sweep = 3600,
): Point {
  mkdirSync(dir, { recursive: true });
  const base = mkdtempSync(resolve(dir, 'bench-'));
  const [creds, statusDir, log, config] = ['creds', 'status', 'log', 'credmon.toml'].map((name) =>
    join(base, name),
  ) as [string, string, string, string];
  mkdirSync(creds, { mode: 0o700 });
  const top = Object.entries(settings).map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`);
  const providers = Object.entries(issuers).map(
    ([name, url]) => `[providers.${name}]\nissuer = "${url}"\nclient_id = "bench"\n`,
  );
  writeFileSync(
    config,
    `${top.join('')}[credmond]\ncred_dir = "${creds}"\nstatus_dir = "${statusDir}"\nsweep_interval = ${sweep}\n` +
      `[broker]\nstart = false\nsocket = "${join(base, 'socket')}"\nspool_dir = "${join(base, 'spool')}"\n${providers.join('')}`,
  );
  const [first = 'demo'] = Object.keys(issuers);
  const made = new Set<string>();
  const renew = (user: string, service: string, { issued, expires }: Life): void => {
    const path = join(creds, user, `${service}.use`);
    const use = { access_token: 'x'.repeat(700), token_type: 'bearer', expires_at: Math.floor(expires) };
    // Its owner may not write it.
    rmSync(path, { force: true });
    writeFileSync(path, JSON.stringify(use), { mode: 0o400 });
    utimesSync(path, issued, issued);
  };
  return {
    base,
    creds,
    statusDir,
    log,
    config,
    put(user, service = first, life) {
      const folder = join(creds, user);
      if (!made.has(user)) mkdirSync(folder, { mode: 0o700, recursive: true });
      made.add(user);
      const path = join(folder, service);
      writeFileSync(`${path}.top`, JSON.stringify({ refresh_token: tokenOf(`${user}/${service}`) }), { mode: 0o600 });
      if (life === undefined) return;
      utimesSync(`${path}.top`, life.issued - 1, life.issued - 1);
      renew(user, service, life);
    },
    renew,
    onDisk(user, service = first) {
      const text = readFileSync(join(creds, user, `${service}.top`), 'utf8');
      const [, name, generation] = /"bench\.(.+)\.(\d+)\.p*"/.exec(text) ?? [];
      return name === undefined ? undefined : { name, generation: Number(generation) };
    },
    published: (user, service = first) =>
      statSync(join(creds, user, `${service}.use`), { throwIfNoEntry: false })?.mtimeMs ?? 0,
    remove: () => rmSync(base, { recursive: true, force: true }),
  };
}

export interface Credmond {
  readonly pid: number;
  readonly child: ChildProcess;
  /** From the start to CREDMON_COMPLETE: milliseconds. */
  readonly readyMs: number;
  /** Of CPU, its own and that of the children it waited for: milliseconds. */
  cpu(): { readonly own: number; readonly children: number };
  /** Resident, now and at the most: bytes. */
  memory(): { readonly rss: number; readonly peak: number };
  /** How many descriptors it has open. */
  descriptors(): number;
  stop(signal?: NodeJS.Signals): Promise<void>;
}

/** What its first line sets, `#!/usr/bin/env -S NAME=value … node --option …`. */
function asInstalled(): { readonly options: readonly string[]; readonly env: Readonly<Record<string, string>> } {
  const words = (readFileSync('bin/credmond.js', 'utf8').split('\n')[0] ?? '').split(' ').slice(2);
  const node = words.indexOf('node');
  return {
    options: words.slice(node + 1),
    env: Object.fromEntries(words.slice(0, node).map((word) => word.split('=', 2) as [string, string])),
  };
}

/** The built credmond as a process, when it has looked at everything. `node`: options of node, such as --cpu-prof. */
export async function startCredmond(point: Point, node: readonly string[] = []): Promise<Credmond> {
  const complete = join(point.creds, 'CREDMON_COMPLETE');
  rmSync(complete, { force: true });
  const begun = performance.now();
  const { options, env } = asInstalled();
  const child = spawn(
    process.execPath,
    [...options, ...node, resolve('bin/credmond.js'), '--config', point.config, '--log-file', point.log],
    { env: { PATH: process.env.PATH ?? '/usr/bin:/bin', ...env }, stdio: ['ignore', 'ignore', 'inherit'] },
  );
  const end = () => void child.kill('SIGKILL');
  process.once('exit', end);
  child.once('exit', () => process.off('exit', end));
  const pid = child.pid as number;
  while (!existsSync(complete)) {
    if (child.exitCode !== null) throw new Error(`credmond ended with ${child.exitCode}`);
    await pause(2);
  }
  return {
    pid,
    child,
    readyMs: performance.now() - begun,
    cpu: () => cpuOf(pid),
    memory: () => memoryOf(pid),
    descriptors: () => readdirSync(`/proc/${pid}/fd`).length,
    async stop(signal = 'SIGTERM') {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, 'exit');
      child.kill(signal);
      await ended;
    },
  };
}

/** proc(5): utime, stime, cutime and cstime, in clock ticks of 10 ms on every Linux that Node runs on. */
export function cpuOf(pid: number): { readonly own: number; readonly children: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number);
  const [utime = 0, stime = 0, cutime = 0, cstime = 0] = fields.slice(11, 15);
  return { own: (utime + stime) * 10, children: (cutime + cstime) * 10 };
}

function memoryOf(pid: number): { readonly rss: number; readonly peak: number } {
  const text = readFileSync(`/proc/${pid}/status`, 'utf8');
  const bytes = (key: string) => Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]) * 1024;
  return { rss: bytes('VmRSS'), peak: bytes('VmHWM') };
}
