import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { TokenSet } from '../../src/core/credential.js';
import { Failed, type Failure } from '../../src/core/failure.js';
import { type CredentialId, stem } from '../../src/core/names.js';
import type { Clock, Http, Issuer, Log, Random, TokenRequest } from '../../src/core/ports.js';
import { findProvider, type Provider } from '../../src/core/provider.js';
import { everyone, parseEveryone } from '../../src/core/snapshot.js';
import { later, type Seconds, seconds } from '../../src/core/time.js';
import { AccountNumbers } from '../../src/daemon/account-numbers.js';
import { errandOf } from '../../src/daemon/errand.js';
import { openGroups } from '../../src/daemon/groups.js';
import { Intents } from '../../src/daemon/intents.js';
import { Keeper } from '../../src/daemon/keeper.js';
import { LoginFiles } from '../../src/daemon/login-files.js';
import type { Meter } from '../../src/daemon/metrics.js';
import { Once } from '../../src/daemon/once.js';
import { Report } from '../../src/daemon/report.js';
import { rememberDead, StatusFiles } from '../../src/daemon/status-files.js';
import { fetchToken } from '../../src/grants/index.js';
import { jwtClaims, jwtExpiry } from '../../src/providers/jwt.js';
import { openDir } from '../../src/stores/atomic.js';
import { condorCredentials } from '../../src/stores/condor.js';
import { type HandClock, handClock } from '../helpers/clock.js';
import { hear } from '../helpers/overheard.js';
import { provider } from '../helpers/provider.js';

export { provider };

/** An empty folder of our own, removed when the test is over. */
function room(): string {
  const path = mkdtempSync(join(tmpdir(), 'credmon-daemon-'));
  chmodSync(path, 0o755);
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

export interface ListLog extends Log {
  readonly lines: string[];
  /** Those at this level, or all, that have `text` in them. */
  with(text: string, level?: keyof Log): string[];
}

function listLog(): ListLog {
  const lines: string[] = [];
  const push = (level: keyof Log) => (text: string) => {
    lines.push(`${level}: ${text}`);
    hear('log', 'the log of a test', text);
  };
  return {
    lines,
    error: push('error'),
    warn: push('warn'),
    info: push('info'),
    debug: push('debug'),
    with: (text, level) => lines.filter((line) => line.includes(text) && line.startsWith(level ?? '')),
  };
}

/** The same port; what is in flight in it is counted. */
export function counted<T extends object>(port: T, work: { count: number }): T {
  return new Proxy(port, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      return (...given: unknown[]) => {
        const answer: unknown = value.apply(target, given);
        if (!(answer instanceof Promise)) return answer;
        work.count++;
        return answer.finally(() => work.count--);
      };
    },
  });
}

interface Held {
  /** Resolves when the request is there; the issuer has not looked at it. */
  readonly there: Promise<void>;
  /** Now it answers. */
  release(): void;
}

/** An issuer in memory: rotates, sees reuse, and does as it is told. */
export interface BookIssuer extends Issuer {
  /** Of access tokens. */
  life: Seconds;
  rotates: boolean;
  /** Of the next answers; undefined: those that were granted. */
  scopes_: string[] | undefined;
  /** What all requests are refused with, before anything is rotated. */
  refusal: Failure | undefined;
  /** A grant as if someone had logged in. */
  grant(): string;
  accepts(refreshToken: string): boolean;
  /** The next request waits. */
  hold(): Held;
  readonly asked: { readonly at: number; readonly parameters: Readonly<Record<string, string>> }[];
  readonly revoked: string[];
  readonly counts: {
    reuse: number;
    refreshes: number;
    /** The most at once: of one grant, until what came is kept; of all, until they are answered, and until what came is kept. */
    each: number;
    all: number;
    kept: number;
  };
}

function bookIssuer(clock: Clock, name = 'book'): BookIssuer {
  const known = new Map<string, { readonly family: { dead: boolean; open: number }; used: boolean }>();
  const holds: { arrived(): void; readonly released: Promise<void> }[] = [];
  let [number, open, unkept] = [0, 0, 0];
  const remember = (family: { dead: boolean; open: number }): string => {
    const token = `${name}-refresh-${++number}`;
    known.set(token, { family, used: false });
    return token;
  };
  const counts = { reuse: 0, refreshes: 0, each: 0, all: 0, kept: 0 };
  const refuse = (failure: Failure): never => {
    throw new Failed(failure);
  };

  async function answer(parameters: Readonly<Record<string, string>>, { stop }: TokenRequest): Promise<TokenSet> {
    const hold = holds.shift();
    hold?.arrived();
    if (hold) await Promise.race([hold.released, aborted(stop)]);
    stop.throwIfAborted();
    if (issuer.refusal) refuse(issuer.refusal);
    const { refresh_token: given = '' } = parameters;
    const record = known.get(given);
    if (record?.used) {
      counts.reuse++;
      record.family.dead = true;
    }
    if (record === undefined || record.family.dead)
      return refuse({ kind: 'login-needed', what: `${name} refused: invalid_grant`, code: 'invalid_grant' });
    counts.refreshes++;
    record.used = issuer.rotates;
    const refreshToken = issuer.rotates ? remember(record.family) : undefined;
    const issued = clock.now();
    return {
      accessToken: `${name}-access-${++number}`,
      tokenType: 'bearer',
      issued,
      expires: later(issued, issuer.life),
      lifeFrom: 'expires_in' as const,
      ...(refreshToken !== undefined && { refreshToken }),
      ...(issuer.scopes_ && { scopes: issuer.scopes_ }),
    };
  }

  const issuer: BookIssuer = {
    life: seconds(3600),
    rotates: true,
    scopes_: undefined,
    refusal: undefined,
    asked: [],
    revoked: [],
    counts,
    grant: () => remember({ dead: false, open: 0 }),
    accepts: (token) => known.get(token)?.used === false && known.get(token)?.family.dead === false,
    hold() {
      let [arrived, release] = [() => {}, () => {}];
      const there = new Promise<void>((resolve) => {
        arrived = resolve;
      });
      const released = new Promise<void>((resolve) => {
        release = resolve;
      });
      holds.push({ arrived, released });
      return { there, release };
    },
    async token(_grantType, parameters, request) {
      issuer.asked.push({ at: clock.steady(), parameters });
      const family = known.get(parameters.refresh_token ?? '')?.family ?? { open: 0 };
      counts.all = Math.max(counts.all, ++open);
      counts.kept = Math.max(counts.kept, ++unkept);
      counts.each = Math.max(counts.each, ++family.open);
      try {
        const token = await answer(parameters, request).finally(() => void open--);
        if (token.refreshToken !== undefined) await request.rotation?.keep(token.refreshToken);
        return token;
      } finally {
        unkept--;
        family.open--;
      }
    },
    device: () => refuse({ kind: 'unsupported', what: 'no device flow here' }),
    identity: () => Promise.reject(new Error('nobody asks who approved')),
    async revoke(token) {
      issuer.revoked.push(token);
      const record = known.get(token);
      if (record) record.family.dead = true;
      return true;
    },
    scopes: async () => undefined,
  };
  return issuer;
}

function aborted(stop: AbortSignal): Promise<never> {
  return new Promise((_, reject) => stop.addEventListener('abort', () => reject(stop.reason), { once: true }));
}

export interface Options {
  readonly providers?: readonly Provider[];
  readonly minimum?: number;
  readonly random?: Random;
  /** Instead of one in memory for each provider. */
  readonly issuer?: (provider: Provider, clock: Clock) => Issuer;
  /** To servers that are no OAuth issuers. Default: there are none. */
  readonly http?: Http;
  /** Of time stamps: milliseconds. */
  readonly coarse?: number;
  readonly meter?: Meter;
  /** Whether it is noted which refresh tokens are out. */
  readonly noted?: boolean;
  /** Whether it writes what the login hook reads. */
  readonly logins?: boolean;
}

export type Station = ReturnType<typeof station>;

/** A keeper over a real credential directory, with time and issuers in a test's hands. */
export function station({
  providers = [provider('cilogon')],
  minimum = 360,
  random = () => 0,
  issuer,
  http,
  logins = false,
  coarse,
  meter,
  noted = false,
}: Options = {}) {
  const base = room();
  const [dir, statusDir] = [join(base, 'credentials'), join(base, 'status')];
  mkdirSync(dir, { mode: 0o770 });
  const work = { count: 0 };
  const clock: HandClock = handClock(() => work.count);
  const log = listLog();
  const configured = new Map(providers.map((one) => [one.name, one]));
  const issuers = new Map<string, BookIssuer>();
  const book = (name = 'cilogon'): BookIssuer => {
    const there = issuers.get(name) ?? bookIssuer(clock, name);
    issuers.set(name, there);
    return there;
  };
  const uids = new Map([
    ['alice', 1001],
    ['bob', 1002],
  ]);
  const own = process.geteuid?.() ?? 0;
  const credentials = counted(
    condorCredentials({
      dir,
      services: () => configured.keys(),
      owners: [0, own],
      of: (service) => findProvider(configured, service) ?? { flow: 'device', bare: false },
      expiryOf: jwtExpiry,
      ...(coarse !== undefined && { coarse }),
    }),
    work,
  );
  const intents = noted ? new Intents(openDir(dir), { clock, log }) : undefined;
  const whole = {
    intents,
    base,
    dir,
    statusDir,
    clock,
    log,
    work,
    configured,
    credentials,
    book,
    minimum: seconds(minimum),
    /** What it tells of itself in the login files. */
    pid: 4711,
    /** Why the system lets it watch no more. */
    refused: undefined as string | undefined,
    keeper: undefined as unknown as Keeper,
    report: undefined as unknown as Report,
    /** A daemon that has just come up; the one before is not asked. */
    start() {
      void whole.keeper?.close(seconds(0));
      const groups = openGroups();
      const warnings = new Once((text) => log.warn(text));
      const keeper: Keeper = new Keeper({
        credentials,
        clock,
        random,
        log,
        provider: (name) => configured.get(name),
        fetch: (one, grant, errand) =>
          fetchToken(
            grant,
            errandOf(
              {
                provider: one,
                clock,
                minimum: whole.minimum,
                issuer: async () => issuer?.(one, clock) ?? book(one.name),
                http: (...call) => {
                  if (http === undefined) throw new Error('no server here');
                  return counted({ http }, work).http(...call);
                },
                claims: jwtClaims,
                groups: counted({ groups }, work).groups,
                warnings,
              },
              errand,
            ),
          ),
        minimum: () => whole.minimum,
        remembered: rememberDead(statusDir),
        ...(meter && { meter }),
        intents,
        changed: (user, news) => report.changed(user, news),
      });
      const report: Report = new Report({
        keeper,
        clock,
        log,
        config: () => ({ providers: configured, warning: seconds(259_200) }),
        numbers: new AccountNumbers({
          clock,
          ask: async (users) => new Map([...uids].filter(([user]) => users.includes(user))),
          stamp: () => '',
        }),
        files: counted(new StatusFiles(statusDir, undefined), work),
        unwatched: () => whole.refused,
        ...(logins && {
          logins: counted(new LoginFiles({ dir: statusDir, gid: undefined, pid: whole.pid }), work),
        }),
      });
      Object.assign(whole, { keeper, report });
      return keeper;
    },
    at: (name: string, user = 'alice') => join(dir, user, name),
    /** As condor_credd stores what a login brought. */
    login(
      refreshToken: string,
      { user = 'alice', service = 'cilogon', handle, ...more }: Partial<CredentialId> & Record<string, unknown> = {},
    ) {
      const name = `${stem({ service, ...(handle !== undefined && { handle }) })}.top`;
      const folder = join(dir, user);
      if (!existsSync(folder)) mkdirSync(folder, { mode: 0o700 });
      writeFileSync(join(folder, `${name}.tmp`), JSON.stringify({ refresh_token: refreshToken, ...more }), {
        mode: 0o600,
      });
      renameSync(join(folder, `${name}.tmp`), join(folder, name));
      return join(folder, name);
    },
    top: (name = 'cilogon', user = 'alice'): string =>
      JSON.parse(readFileSync(join(dir, user, `${name}.top`), 'utf8')).refresh_token,
    use: (name = 'cilogon', user = 'alice'): { access_token: string; expires_at: number; expires_in: number } =>
      JSON.parse(readFileSync(join(dir, user, `${name}.use`), 'utf8')),
    health: (key = 'alice/cilogon') => [...whole.keeper.healths()].find((one) => `${one.user}/${stem(one)}` === key),
    /** How long until it is refreshed or tried next: ms. */
    due: (key?: string) => (whole.health(key)?.due ?? Number.NaN) - clock.now(),
    loginFile: (name = 'alice') => readFileSync(join(statusDir, 'login', name), 'utf8'),
    // biome-ignore lint/suspicious/noExplicitAny: tests look at what they like of it
    snapshot: (name = everyone): any => {
      const text = readFileSync(join(statusDir, name), 'utf8');
      return name === everyone ? parseEveryone(text) : JSON.parse(text);
    },
  };
  whole.start();
  return whole;
}

export const minutes = (n: number): number => n * 60_000;
export const hours = (n: number): number => n * 3_600_000;
