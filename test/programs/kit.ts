import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, vi } from 'vitest';
import { everyone, parseEveryone } from '../../src/core/snapshot.js';
import { type Faulty, type FaultyOptions, startFaulty } from '../helpers/faulty.js';
import { type Issuer, type IssuerOptions, publicClient, startIssuer } from '../helpers/issuer.js';
import { programs } from '../helpers/programs.js';

const cleanups: (() => unknown)[] = [];
/** When all tests of the file are over: they run side by side, and each is a process or two. */
export const cleanup = (then: () => unknown): void => void cleanups.push(then);
afterAll(async () => {
  for (const then of cleanups.splice(0).reverse()) await then();
}, 60_000);

export const weAreRoot = process.getuid?.() === 0;
export const nobody = 65534;

const program = (name: string): string => join(programs, 'bin', `${name}.js`);

/** Until something is so, looked at often; throws what it waited for. What throws is not so yet: a file that is not there. */
export async function until(ask: () => unknown, what: string, timeout = 10_000): Promise<void> {
  let thrown: unknown;
  const isSo = async () => {
    try {
      return await ask();
    } catch (cause) {
      thrown = cause;
      return false;
    }
  };
  await vi.waitUntil(isSo, { timeout, interval: 2 }).catch(() => {
    throw new Error(`not within ${timeout} ms: ${what}`, { cause: thrown });
  });
}

export interface Run {
  readonly child: ChildProcess;
  readonly pid: number;
  out(): string;
  err(): string;
  /** Resolves when it has said this, on either stream. */
  says(text: string | RegExp): Promise<void>;
  readonly ended: Promise<{
    readonly code: number | null;
    readonly signal: string | null;
    readonly out: string;
    readonly err: string;
    readonly ms: number;
  }>;
}

/**
 * A built program as a process, with nothing in its environment but this. `as`: without root's powers, where there are any.
 * The storer has no terminal, also where the tests have one.
 */
export function run(
  name: 'credmon' | 'credmond' | 'credmon-broker' | 'credmon-storer',
  args: readonly string[],
  {
    env = {},
    as,
    cwd = '/',
    input,
    under = [],
  }: {
    env?: Record<string, string>;
    as?: 'nobody';
    cwd?: string;
    input?: string;
    /** A program, with its arguments, that becomes this one: prlimit(1). */
    under?: readonly string[];
  } = {},
): Run {
  const begun = performance.now();
  const [first, ...rest] = [...under, process.execPath, program(name), ...args] as [string, ...string[]];
  const child = spawn(first, rest, {
    cwd,
    detached: name === 'credmon-storer',
    env: { PATH: process.env.PATH ?? '/usr/bin:/bin', ...env },
    ...(as && weAreRoot && { uid: nobody, gid: nobody }),
  });
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  child.stdin.on('error', () => {}).end(input);
  cleanup(() => void child.kill('SIGKILL'));
  return {
    child,
    pid: child.pid ?? -1,
    out: () => out,
    err: () => err,
    says: async (text) => {
      const said = () => (typeof text === 'string' ? (out + err).includes(text) : text.test(out + err));
      await until(() => said() || child.exitCode !== null, `"${text}" of ${name}`);
      if (!said()) throw new Error(`${name} ended without "${text}": ${out}${err}`);
    },
    ended: new Promise((resolve) =>
      child.once('close', (code, signal) => resolve({ code, signal, out, err, ms: performance.now() - begun })),
    ),
  };
}

/** A folder of its own, that other accounts can reach. */
function room(): string {
  const path = mkdtempSync(join(tmpdir(), 'credmon-programs-'));
  chmodSync(path, 0o755);
  cleanup(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** An issuer for one test, which approves by itself unless it is told not to. */
export async function issuerFor(options: IssuerOptions & { readonly approves?: boolean } = {}): Promise<Issuer> {
  const { approves = true, ...rest } = options;
  const issuer: Issuer = await startIssuer({
    ...(approves && { onCode: (code: string) => void issuer.approve(code, { login: 'alice' }) }),
    ...rest,
  });
  cleanup(() => issuer.stop());
  return issuer;
}

export async function faultyFor(options: FaultyOptions = {}): Promise<Faulty> {
  const faulty = await startFaulty(options);
  cleanup(() => faulty.stop());
  return faulty;
}

type Table = Readonly<Record<string, string | number | boolean | readonly string[]>>;

const lines = (table: Table): string =>
  Object.entries(table)
    .map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`)
    .join('');

export interface Settings {
  readonly top?: Table;
  readonly credmond?: Table;
  readonly broker?: Table;
  /** The rest of each is a public client. */
  readonly providers?: Readonly<Record<string, Table>>;
}

export function writeConfig(file: string, { top = {}, credmond = {}, broker = {}, providers = {} }: Settings): void {
  const tables = Object.entries(providers).map(
    ([name, table]) => `[providers.${name}]\n${lines({ client_id: publicClient.client_id, ...table })}`,
  );
  writeFileSync(
    file,
    `${lines(top)}\n[credmond]\n${lines(credmond)}\n[broker]\n${lines(broker)}\n${tables.join('\n')}`,
  );
}

/** A person's home on a machine without HTCondor. `as`: whose. */
export function home(settings: Settings, as?: 'nobody') {
  const base = room();
  const [dir, runtime, config] = [join(base, 'home'), join(base, 'run'), join(base, 'credmon.toml')];
  for (const path of [dir, runtime]) mkdirSync(path, { mode: 0o700 });
  if (as && weAreRoot) for (const path of [dir, runtime]) chownSync(path, nobody, nobody);
  writeConfig(config, settings);
  const uid = as && weAreRoot ? nobody : (process.getuid?.() ?? 0);
  const state = join(dir, '.local/state/credmon');
  const env = { HOME: dir, XDG_RUNTIME_DIR: runtime, CREDMON_CONFIG: config };
  const options = (more: Record<string, string> = {}) => ({ env: { ...env, ...more }, ...(as && { as }) });
  return {
    base,
    dir,
    runtime,
    config,
    env,
    state,
    bearer: join(runtime, `bt_u${uid}`),
    credmon: (args: readonly string[], more?: Record<string, string>) => run('credmon', args, options(more)),
    credmond: (args: readonly string[] = [], more?: Record<string, string>) =>
      run('credmond', ['--user', ...args], options(more)),
    stored: (id = 'test') => JSON.parse(readFileSync(join(state, `${id}.json`), 'utf8')).kept,
    /** Everything below the home. */
    files: () => tree(dir),
  };
}

/** An access point's folders, with credmond as the only program there. */
export function accessPoint(settings: Settings) {
  const base = room();
  const [dir, config, statusDir, log] = ['credentials', 'credmon.toml', 'status', 'CredMonLog'].map((name) =>
    join(base, name),
  ) as [string, string, string, string];
  mkdirSync(dir);
  chmodSync(dir, 0o2770);
  const write = (more: Settings = settings) =>
    writeConfig(config, {
      ...more,
      credmond: { cred_dir: dir, status_dir: statusDir, sweep_interval: 3600, ...more.credmond },
      broker: {
        socket: join(base, 'broker', 'socket'),
        challenge_dir: join(base, 'broker', 'challenge'),
        spool_dir: join(base, 'spool'),
        account: 'nobody',
        ...more.broker,
      },
    });
  write();
  return {
    base,
    dir,
    config,
    statusDir,
    log,
    write,
    credmond: (args: readonly string[] = [], env: Record<string, string> = {}, under: readonly string[] = []) =>
      run('credmond', ['-c', dir, '--config', config, ...args], { env, under }),
    at: (name: string, user = 'alice') => join(dir, user, name),
    complete: join(dir, 'CREDMON_COMPLETE'),
    /** As condor_credd stores it. */
    login(refreshToken: string, { user = 'alice', name = 'test' } = {}) {
      const folder = join(dir, user);
      if (!existsSync(folder)) mkdirSync(folder, { mode: 0o700 });
      const path = join(folder, `${name}.top`);
      writeFileSync(`${path}.tmp`, JSON.stringify({ refresh_token: refreshToken }), { mode: 0o600 });
      renameSync(`${path}.tmp`, path);
    },
    top: (name = 'test', user = 'alice'): string =>
      JSON.parse(readFileSync(join(dir, user, `${name}.top`), 'utf8')).refresh_token,
    use: (name = 'test', user = 'alice'): { access_token: string } =>
      JSON.parse(readFileSync(join(dir, user, `${name}.use`), 'utf8')),
    // biome-ignore lint/suspicious/noExplicitAny: tests look at what they like of it
    status: (): any => parseEveryone(readFileSync(join(statusDir, everyone), 'utf8')),
  };
}

/** Paths of all files below a folder, links not followed. */
export function tree(dir: string): string[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const path = join(dir, entry.name);
    return entry.isDirectory() ? tree(path) : [path];
  });
}

export const modeOf = (path: string): number => lstatSync(path).mode & 0o7777;

/** Processes that this one started, and what they are told: as long as they are there. */
export function childrenOf(pid: number): { pid: number; command: string; environ: string }[] {
  const found = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      if (Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) !== pid) continue;
      const [command = '', environ = ''] = ['cmdline', 'environ'].map((file) =>
        readFileSync(`/proc/${name}/${file}`, 'utf8'),
      );
      found.push({ pid: Number(name), command: command.replaceAll('\0', ' '), environ });
    } catch {
      // It has just ended.
    }
  }
  return found;
}
