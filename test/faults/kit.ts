import { type ChildProcess, fork } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import type * as faults from '../helpers/faults.js';
import type { Faulty, FaultyOptions } from '../helpers/faulty.js';
import { accessPoint, cleanup, type Run, type Settings, tree, until } from '../programs/kit.js';

/** CI runs the long mode of these in a step of its own; `npm test` has to stay quick. */
export const isLong: boolean = process.env.CREDMON_TEST_LONG === 'yes';
/** How often something is done, by mode. The name of the test is to say it. */
export const count = (short: number, long: number): number => (isLong ? long : short);

/** A fault of test/helpers/faults.ts by its name, with what it is to be called with: ['status', 500], ['unprocessed', ['reset']]. */
export type FaultCall = readonly [
  keyof typeof faults,
  ...(string | number | object | readonly [keyof typeof faults, ...unknown[]])[],
];

type Endpoint = Parameters<Faulty['next']>[0];
type Dials = Partial<Pick<Faulty, 'latency' | 'lag' | 'grace' | 'expiresIn'>>;

/** What the issuer's process does for the test. */
export interface Orders {
  /** From now on. */
  set(how: Dials): void;
  /** Refresh tokens as if people had logged in. */
  grants(count: number, scope?: string): string[];
  /** Which of these refresh tokens it would take now. */
  accepts(tokens: readonly string[]): boolean[];
  /** How often its grant had been refreshed when each of these refresh or access tokens was made; null: none of its own. */
  generations(tokens: readonly string[]): (number | null)[];
  /** The next requests to `endpoint` meet these, one each. */
  next(endpoint: Endpoint, calls: readonly FaultCall[]): void;
  /** All requests to `endpoint` meet this one once the script is used up; null makes it healthy again. */
  always(endpoint: Endpoint, call: FaultCall | null): void;
  /** As {@link Faulty.counts}, and the requests by endpoint. */
  counts(): Faulty['counts'] & { readonly asked: Readonly<Record<string, number>> };
}

type Asked<T> = { [K in keyof T]: T[K] extends (...given: infer A) => infer R ? (...given: A) => Promise<R> : never };

export interface IssuerProcess extends Asked<Orders> {
  readonly url: string;
  readonly pid: number;
  readonly child: ChildProcess;
}

let bundled: Promise<string> | undefined;

/** Node runs no TypeScript by itself in all versions that we are tested with. */
function bundle(): Promise<string> {
  bundled ??= (async () => {
    const dir = mkdtempSync(join(tmpdir(), 'credmon-faults-'));
    cleanup(() => rmSync(dir, { recursive: true, force: true }));
    const outfile = join(dir, 'issuer.mjs');
    const how = { bundle: true, platform: 'node', format: 'esm', target: 'node20', logLevel: 'warning' } as const;
    await build({ ...how, entryPoints: [fileURLToPath(new URL('./issuer-main.ts', import.meta.url))], outfile });
    return outfile;
  })();
  return bundled;
}

/** An issuer that rotates, counts reuse, and lives in a process of its own: neither credmond nor the test can hold it up. */
export async function issuerProcess(options: Omit<FaultyOptions, 'now'> = {}): Promise<IssuerProcess> {
  const child = fork(await bundle(), [JSON.stringify(options)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  cleanup(() => void child.kill('SIGKILL'));
  const waiting = new Map<number, { resolve(answer: unknown): void; reject(thrown: Error): void }>();
  const url = await new Promise<string>((resolve, reject) => {
    child.once('message', (message: { url: string }) => resolve(message.url));
    child.once('exit', () => reject(new Error('the issuer ended')));
  });
  child.on('message', ({ id, answer, error }: { id: number; answer: unknown; error?: string }) => {
    if (error === undefined) waiting.get(id)?.resolve(answer);
    else waiting.get(id)?.reject(new Error(error));
    waiting.delete(id);
  });
  let last = 0;
  const ask = (order: keyof Orders, given: unknown[]) =>
    new Promise<never>((resolve, reject) => {
      waiting.set(++last, { resolve: resolve as (answer: unknown) => void, reject });
      child.send({ id: last, order, given }, (thrown) => thrown && reject(thrown));
    });
  return {
    url,
    pid: child.pid ?? -1,
    child,
    set: (...given) => ask('set', given),
    grants: (...given) => ask('grants', given),
    accepts: (...given) => ask('accepts', given),
    generations: (...given) => ask('generations', given),
    next: (...given) => ask('next', given),
    always: (...given) => ask('always', given),
    counts: (...given) => ask('counts', given),
  };
}

interface FieldOptions {
  readonly users?: number;
  /** Credentials of each. */
  readonly each?: number;
  readonly issuer?: Parameters<typeof issuerProcess>[0];
  /** On top of the one provider, which is called "test". */
  readonly settings?: Settings;
}

/** Files that HTCondor and credmond keep beside the credentials. */
const furniture = new Set(['pid', 'CREDMON_COMPLETE', '.credmon-intents']);

/**
 * An access point with many credentials of one rotating issuer, and what must hold for it whatever happens. credmond is the
 * real bundled program; the issuer outlives it.
 */
export async function field({ users = 8, each = 1, issuer: how = {}, settings = {} }: FieldOptions = {}) {
  const issuer = await issuerProcess(how);
  const p = accessPoint({
    ...settings,
    top: { token_minimum: 0, ...settings.top },
    providers: { test: { issuer: issuer.url }, ...settings.providers },
  });
  const names = Array.from({ length: each }, (_, n) => (n === 0 ? 'test' : `test_h${n}`));
  const credentials = Array.from({ length: users }, (_, n) => `user${n}`).flatMap((user) =>
    names.map((name) => ({ user, name, key: `${user}/${name}` })),
  );
  const grants = await issuer.grants(credentials.length);
  for (const [n, { user, name }] of credentials.entries()) p.login(grants[n] as string, { user, name });

  const parsed = (path: string): Record<string, unknown> => {
    try {
      return JSON.parse(readFileSync(path, 'utf8'));
    } catch {
      return {};
    }
  };
  const all = (ending: 'top' | 'use', member: string) =>
    credentials.map(({ user, name }) => {
      const path = p.at(`${name}.${ending}`, user);
      return existsSync(path) ? parsed(path)[member] : undefined;
    });

  return {
    p,
    issuer,
    /** `key` as credmond writes it in its log. */
    credentials,
    /** A credmond that may still be reading its configuration. */
    start: (args: readonly string[] = [], env: Record<string, string> = {}): Run => p.credmond(args, env),
    /** Until its first look at everything is over. */
    complete: (daemon: Run, ms?: number) =>
      until(
        () => existsSync(p.complete) && parsedPid(join(p.dir, 'pid')) === daemon.pid,
        'the first pass of credmond to be over',
        ms,
      ),
    /** Resolves when it is gone, and its pipes with it. */
    async end(daemon: Run, signal: NodeJS.Signals) {
      const begun = performance.now();
      daemon.child.kill(signal);
      const { code } = await daemon.ended;
      return { code, ms: performance.now() - begun };
    },
    /** Of each credential, as it is on disk; undefined: there is no such file, or it is torn. */
    tops: () => all('top', 'refresh_token') as (string | undefined)[],
    uses: () => all('use', 'access_token') as (string | undefined)[],
    /** The keys whose refresh token on disk is none that the issuer would take. */
    async lost(): Promise<string[]> {
      const taken = await issuer.accepts(all('top', 'refresh_token').map(String));
      return credentials.filter((_, n) => !taken[n]).map(({ key }) => key);
    },
    /** The keys with a `.use` newer than its `.top`. */
    async ahead(): Promise<string[]> {
      const [tops, uses] = await Promise.all(
        [all('top', 'refresh_token'), all('use', 'access_token')].map((some) => issuer.generations(some.map(String))),
      );
      return credentials.filter((_, n) => Number(uses?.[n] ?? 0) > Number(tops?.[n] ?? -1)).map(({ key }) => key);
    },
    /** Files that are there, and not whole. */
    torn: (): string[] =>
      credentials.flatMap(({ user, name }) =>
        [['top', 'refresh_token'] as const, ['use', 'access_token'] as const]
          .map(([ending, member]) => [p.at(`${name}.${ending}`, user), member] as const)
          .filter(([path, member]) => existsSync(path) && typeof parsed(path)[member] !== 'string')
          .map(([path]) => path),
      ),
    /** Files that nobody put there for good, such as writes that a kill cut short. */
    strays: (): string[] =>
      tree(p.dir).filter((path) => !/\.(top|use)$/.test(path) && !furniture.has(relative(p.dir, path))),
  };
}

const parsedPid = (path: string): number => (existsSync(path) ? Number(readFileSync(path, 'utf8')) : 0);
