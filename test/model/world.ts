import type { AnyGrant, TokenSet } from '../../src/core/credential.js';
import { spreadOf } from '../../src/core/due.js';
import { Failed } from '../../src/core/failure.js';
import type { Health } from '../../src/core/health.js';
import { type CredentialId, keyOf } from '../../src/core/names.js';
import type { Stamp } from '../../src/core/plan.js';
import { type Clock, type Credentials, type Log, Superseded } from '../../src/core/ports.js';
import type { Provider } from '../../src/core/provider.js';
import { type EpochMs, epochMs, type Seconds, seconds } from '../../src/core/time.js';
import { errandOf } from '../../src/daemon/errand.js';
import type { Intents } from '../../src/daemon/intents.js';
import { Keeper } from '../../src/daemon/keeper.js';
import { Once } from '../../src/daemon/once.js';
import { fetchToken } from '../../src/grants/index.js';
import { provider } from '../helpers/provider.js';
import { isWell, type Mode, ModelIssuer, pause, type Rotation, slowest } from './issuer.js';
import type { Directory } from './memory.js';

/** What must be left of a token on disk, always: CREDMON_OAUTH_TOKEN_MINIMUM. */
const minimum = seconds(360);
/** Between two looks at everything, as the daemon has them: milliseconds. */
const sweeping = 300_000;
/** A SIGTERM is obeyed within so long: seconds. */
const grace = seconds(10);

/** How soon all is well again after a trouble is over: the longest pauses of a credential's own and of its issuer. */
const recovery = 1_300_000 + pause * 1000;
/** How soon a change is seen where nothing tells of it, and acted on. */
const noticing = sweeping + 30_000;
/** The longest life that a history gives to tokens. */
export const longestLife = 43_200_000;
/** A new refresh token is kept in memory for so long after its folder was moved away. */
const keptAway = 3_600_000;
/** A leap of the clock is seen within 15 s. */
const leaping = 30_000;

/**
 * Waits of core/backoff.ts after the first, second, … failure in a row, the shortest that chance makes of them, where no more
 * is left of a token than is promised: ms.
 */
const pauses = [2, 5, 10, 20, 30, 60].map((s) => s * 750);

const providers = ['cilogon', 'igwn'] as const;

/** Two whose tokens are refreshed as late, and as early, as any: their spreads are near 1 and 0. */
const late = named((spread) => spread > 0.998);
const early = named((spread) => spread < 0.002);

function named(fits: (spread: number) => boolean): string {
  for (let n = 0; ; n++) if (fits(spreadOf(`user${n}/cilogon`))) return `user${n}`;
}

export const users = [late, early, 'carol', 'dave'] as const;

/** Every credential that there may be. The second is made from the first. */
export const ids: readonly CredentialId[] = [
  { user: late, service: 'cilogon' },
  { user: late, service: 'cilogon', handle: 'h' },
  { user: late, service: 'igwn' },
  { user: early, service: 'cilogon' },
  { user: 'carol', service: 'cilogon' },
  { user: 'carol', service: 'igwn' },
  { user: 'dave', service: 'igwn' },
];
const isMade = (id: CredentialId): boolean => id.handle !== undefined;

/** What the disk does not do: `rotate-late` writes and then says that it could not, as when the folder's fsync fails. */
export const works = ['scan', 'read', 'life', 'rotate', 'rotate-late', 'publish'] as const;
export type Work = (typeof works)[number];

export interface WorldOptions {
  readonly directory: (now: () => EpochMs) => Directory;
  /** What a process keeps of the refresh tokens that are out; absent: nothing. */
  readonly intents?: (parts: ConstructorParameters<typeof Intents>[1]) => Intents;
  /** Work that the model cannot see, such as of a real disk, has come to rest. */
  readonly settled?: () => Promise<void>;
  readonly rotations?: readonly Rotation[];
  /** Of the order of what goes on at once; 0: as it comes. */
  readonly chance?: number;
}

/** All that the rules need to know of a credential. */
interface Account {
  readonly id: CredentialId;
  readonly key: string;
  readonly at: number;
  /** Until when it may stand badly, in real time. */
  excused: number;
  /** What has happened to the clocks since the last one began. */
  slept: boolean;
  steppedBack: boolean;
  /** Until when it may not have been seen that it is another one, whose failures are counted anew: real time. */
  unsure: number;
  /** Refreshes that are under way. */
  open: number;
  /** When the last one began and ended, in steady time, and how. */
  begun: number;
  ended: number;
  failures: number;
  /** The life of the token that the last one brought. */
  life: Seconds;
  /** How many times it may be asked for sooner than its pauses say: something has happened to it. */
  credit: number;
  /** Somebody took it away. */
  gone: boolean;
  /** The `.top` is the one that the daemon read last; and that it was when the issuer was asked with it last. */
  asRead: boolean;
  asSent: boolean;
}

interface Timer {
  readonly at: number;
  readonly fire: () => void;
}

/** One process of the daemon, from its start to its end. */
interface Run {
  readonly number: number;
  readonly keeper: Keeper;
  readonly timers: Set<Timer>;
  /** What waits for its turn. */
  readonly turns: (() => void)[];
}

const nextTick = () => new Promise<void>((resolve) => process.nextTick(resolve));

/** A daemon's scheduler on a directory, with time, issuers, disk and people in the hands of a history. */
export class World {
  readonly directory: Directory;
  readonly issuers: readonly ModelIssuer[];
  readonly accounts: readonly Account[];
  readonly broken: string[] = [];
  /** What the log said, in runs that are told to keep it. */
  readonly lines: string[] = [];
  #real = 1_800_000_000_000;
  /** How far the wall clock is off. */
  #off = 0;
  #steady = 0;
  #run: Run | undefined;
  #runs = 0;
  #chance: number;
  readonly #configured = new Map<string, Provider>();
  readonly #bad = new Map<Work, Set<string>>();
  readonly #remembered = new Map<string, Pick<Health, 'since' | 'trouble'>>();
  readonly #settled: WorldOptions['settled'];
  readonly #intents: WorldOptions['intents'];

  constructor({ directory, intents, settled, rotations = ['strict', 'lenient'], chance = 0 }: WorldOptions) {
    this.directory = directory(() => this.#wall());
    this.#settled = settled;
    this.#intents = intents;
    this.#chance = chance;
    this.issuers = providers.map(
      (name) =>
        new ModelIssuer({
          name,
          real: () => this.#real,
          turn: () => this.#turn(),
          clock: () => this.#clock(this.#run as Run),
          process: () => this.#run?.number ?? 0,
          broken: (rule) => void this.broken.push(rule),
          sending: (refreshToken) => this.#sending(refreshToken),
        }),
    );
    for (const [n, issuer] of this.issuers.entries()) issuer.rotation = rotations[n] ?? 'strict';
    this.accounts = ids.map((id) => ({
      id,
      key: keyOf(id),
      at: providers.indexOf(id.service as 'cilogon'),
      excused: 0,
      unsure: 0,
      slept: false,
      steppedBack: false,
      open: 0,
      begun: Number.NEGATIVE_INFINITY,
      ended: Number.NEGATIVE_INFINITY,
      failures: 0,
      life: seconds(0),
      credit: 0,
      gone: true,
      asRead: false,
      asSent: false,
    }));
    for (const name of providers) this.#configured.set(name, provider(name));
  }

  get keeper(): Keeper | undefined {
    return this.#run?.keeper;
  }

  // What goes on in it.

  /** In whole milliseconds, as Date.now() has it. */
  #wall(): EpochMs {
    return epochMs(Math.floor(this.#real + this.#off));
  }

  /** Resolves when a history lets it: whatever is asked of disk or issuer happens at a moment of its own. */
  #turn(): Promise<void> {
    const run = this.#run;
    return new Promise((resolve) => run?.turns.push(resolve));
  }

  #clock(run: Run): Clock {
    const clock: Clock = {
      now: () => this.#wall(),
      steady: () => this.#steady,
      after: (ms, fire) => {
        const timer = { at: this.#steady + Math.max(0, ms), fire };
        run.timers.add(timer);
        return () => void run.timers.delete(timer);
      },
      sleep: (span, stop) =>
        new Promise((resolve, reject) => {
          const aborted = () => {
            cancel();
            reject(stop.reason);
          };
          const cancel = clock.after(span * 1000, () => {
            stop.removeEventListener('abort', aborted);
            resolve();
          });
          stop.addEventListener('abort', aborted, { once: true });
        }),
    };
    return clock;
  }

  #isBad(work: Work, user: string): boolean {
    return this.#bad.get(work)?.has(user) ?? false;
  }

  /** The directory as the daemon has it: each operation waits for its turn, and some fail. */
  #disk(): Credentials {
    const { credentials } = this.directory;
    const fail = (work: Work, user: string) => {
      if (this.#isBad(work, user)) throw new Failed({ kind: 'storage', what: `cannot ${work} for ${user}` });
    };
    const when = async <T>(work: Work, user: string, act: () => Promise<T>): Promise<T> => {
      await this.#turn();
      fail(work, user);
      return act();
    };
    return {
      ...credentials,
      users: async () => {
        await this.#turn();
        return credentials.users();
      },
      scan: (user) => when('scan', user, () => credentials.scan(user)),
      read: (id) =>
        when('read', id.user, async () => {
          const account = this.account(id);
          account.asRead = true;
          return credentials.read(id);
        }),
      life: (id) => when('life', id.user, () => credentials.life(id)),
      rotate: (id, stamp, refreshToken) =>
        when('rotate', id.user, async () => {
          const known = this.#known(id.service, refreshToken);
          try {
            const next = await credentials.rotate(id, stamp, refreshToken);
            if (known) Object.assign(known, { kept: true, excused: false });
            fail('rotate-late', id.user);
            return next;
          } catch (thrown) {
            if (known && thrown instanceof Superseded && !this.#away.has(id.user)) known.excused = true;
            throw thrown;
          }
        }),
      publish: async (id, stamp, token) => {
        const account = this.account(id);
        try {
          await when('publish', id.user, () => credentials.publish(id, stamp, token));
          this.#published(account);
        } catch (thrown) {
          if (!(thrown instanceof Superseded)) this.#hasFailed(account);
          throw thrown;
        }
      },
    };
  }

  /** What jobs are given now is not newer than the grant that lies beside it, or that would be lost by a crash. */
  #published({ id, key, at }: Account): void {
    const issuer = this.issuers[at] as ModelIssuer;
    const { accessToken } = this.directory.look(id);
    const [access, grant] = [issuer.access(accessToken), this.#grantOf(id)];
    const known = grant === undefined ? undefined : issuer.known(grant);
    if (access && known && access.family === known.family && access.number > known.number)
      this.broken.push(`${key}: a new .use beside an old .top`);
  }

  #known(service: string, refreshToken: string) {
    return this.issuers[providers.indexOf(service as 'cilogon')]?.known(refreshToken);
  }

  account(id: CredentialId): Account {
    return this.accounts[ids.findIndex((one) => keyOf(one) === keyOf(id))] as Account;
  }

  /** The refresh token that it rests on. */
  #grantOf(id: CredentialId): string | undefined {
    const { grant } = this.directory.look(id);
    if (grant === undefined || typeof grant === 'string') return undefined;
    if (grant.kind === 'request') return this.#grantOf({ user: id.user, service: id.service });
    return 'refreshToken' in grant ? grant.refreshToken : undefined;
  }

  async #fetch(
    provider: Provider,
    issuers: ReadonlyMap<string, ReturnType<ModelIssuer['open']>>,
    warnings: Once,
    ...[grant, errand]: [AnyGrant, Parameters<typeof errandOf>[1]]
  ): Promise<TokenSet> {
    const account = this.account(errand.id);
    const run = this.#run?.number;
    if (++account.open > 1) this.broken.push(`${account.key}: two refreshes at once`);
    this.#mayAsk(account);
    try {
      const token = await fetchToken(
        grant,
        errandOf(
          {
            provider,
            clock: { now: () => this.#wall(), steady: () => this.#steady },
            minimum,
            issuer: async () => issuers.get(provider.name) as ReturnType<ModelIssuer['open']>,
            http: () => Promise.reject(new Error('no server here')),
            claims: () => undefined,
            groups: async () => [],
            warnings,
          },
          errand,
        ),
      );
      account.failures = 0;
      account.life = seconds((token.expires - token.issued) / 1000);
      return token;
    } catch (thrown) {
      if (this.#run?.number === run) this.#hasFailed(account);
      throw thrown;
    } finally {
      if (this.#run?.number === run) {
        account.open--;
        account.ended = this.#steady;
      }
    }
  }

  #sending(refreshToken: string): void {
    for (const account of this.accounts)
      if (!isMade(account.id) && this.#grantOf(account.id) === refreshToken) account.asSent = account.asRead;
  }

  /** Whoever's refresh token was replaced at the issuer, and not on disk, is named by what the process before has left. */
  #areNamed(intents: Intents): void {
    const suspects = new Set(intents.suspects());
    for (const { id, key, at, asSent } of this.accounts) {
      const grant = asSent && !isMade(id) ? this.#grantOf(id) : undefined;
      if (grant !== undefined && this.issuers[at]?.known(grant)?.replaced && !suspects.has(key))
        this.broken.push(`${key}: its refresh token was replaced, and no record names it`);
    }
  }

  #hasFailed(account: Account): void {
    account.life = seconds(0);
    if (this.#real > account.unsure) account.failures++;
  }

  /** Nobody is asked more often than pauses and lives allow. */
  #mayAsk(account: Account): void {
    const { failures, life, begun, ended, key } = account;
    const [sinceBegin, sinceEnd] = [this.#steady - begun, this.#steady - ended];
    Object.assign(account, { begun: this.#steady, slept: false, steppedBack: false });
    const shortest = failures > 0 ? (pauses[Math.min(failures, pauses.length) - 1] as number) : 1000;
    if (sinceEnd >= shortest - 1 && (failures > 0 || sinceBegin >= life * 100 - 1)) return;
    if (account.credit-- > 0) return;
    this.broken.push(`${key}: asked again after ${sinceEnd} ms, and ${failures} failures`);
  }

  // What a history does.

  /** Lets one thing happen that waits for its turn; whether there was one. */
  async #one(): Promise<boolean> {
    const turns = this.#run?.turns ?? [];
    const n = this.#chance === 0 ? 0 : this.#draw() % Math.max(1, turns.length);
    const [go] = turns.splice(n, 1);
    if (go === undefined) return false;
    go();
    await this.#quiet();
    return true;
  }

  /** A number of 31 bits (Park and Miller). */
  #draw(): number {
    this.#chance = (this.#chance * 48_271) % 2_147_483_647 || 1;
    return this.#chance;
  }

  async #quiet(): Promise<void> {
    await nextTick();
    await this.#settled?.();
  }

  async #rest(): Promise<void> {
    await this.#quiet();
    while (await this.#one());
  }

  async steps(n: number): Promise<void> {
    await this.#quiet();
    for (let i = 0; i < n; i++) if (!(await this.#one())) break;
  }

  async forward(ms: number): Promise<void> {
    const end = this.#steady + ms;
    await this.#rest();
    for (let timer = this.#next(end); timer; timer = this.#next(end)) {
      this.#fire(timer);
      await this.#rest();
      this.#check();
    }
    this.#go(Math.max(0, end - this.#steady));
    this.#check();
  }

  /** Until so many timers have fired, and of what the last of them sets off only so many steps. */
  async part(timers: number, n: number): Promise<void> {
    await this.#rest();
    for (let fired = 1; fired <= timers; fired++) {
      const timer = this.#next(this.#steady + sweeping);
      if (timer === undefined) return;
      this.#fire(timer);
      if (fired < timers) await this.#rest();
      else await this.steps(n);
      this.#check();
    }
  }

  #fire(timer: Timer): void {
    this.#go(Math.max(0, timer.at - this.#steady));
    this.#run?.timers.delete(timer);
    timer.fire();
  }

  #next(end: number): Timer | undefined {
    let first: Timer | undefined;
    for (const timer of this.#run?.timers ?? [])
      if (timer.at <= end && (first === undefined || timer.at < first.at)) first = timer;
    return first;
  }

  #go(ms: number): void {
    this.#real += ms;
    this.#steady += ms;
  }

  /** The wall clock is set to another time. */
  leap(ms: number): void {
    this.#off += ms;
    for (const account of this.accounts) {
      if (ms < 0) account.steppedBack = true;
      this.#cannotTell(account);
      this.#excuse(account, leaping);
      account.credit += 2;
    }
  }

  /** Nothing runs for a while. CLOCK_MONOTONIC stands still meanwhile, CLOCK_BOOTTIME does not. */
  suspend(ms: number, still: boolean): void {
    this.#real += ms;
    if (!still) this.#steady += ms;
    for (const account of this.accounts) {
      if (still) account.slept = true;
      this.#cannotTell(account);
      // What is under way goes on when this is over.
      if (account.excused > this.#real - ms) account.excused += ms;
      this.#excuse(account, leaping);
      account.credit += 2;
    }
  }

  /** A sleep that the wall clock takes back before anybody looks is to be seen on no clock: what has ended seems new. */
  #cannotTell(account: Account): void {
    if (account.slept && account.steppedBack) this.#excuse(account, longestLife + noticing);
  }

  /** Read from disk, a token that seems younger than it is: the clock was set back since, and is past where it was by now. */
  #misreads(account: Account): void {
    const access = this.issuers[account.at]?.access(this.directory.look(account.id).accessToken);
    if (access === undefined) return;
    const age = this.#real - (access.ends - access.life * 1000);
    const seems = this.#wall() - access.made;
    if (seems > -noticing && seems < age - 1000) this.#excuse(account, longestLife + noticing);
  }

  #excuse(account: Account, ms: number): void {
    account.excused = Math.max(account.excused, this.#real + ms);
  }

  /** Something has happened to this one; what is made from it has felt it as well. */
  #happened({ id: { user, service } }: Account): void {
    for (const account of this.accounts) {
      if (account.id.user !== user || account.id.service !== service) continue;
      this.#excuse(account, noticing + (this.#isTroubled(account) ? recovery : 0));
      account.credit += 3;
      this.#misreads(account);
      const unlike = { asRead: false, asSent: false };
      Object.assign(account, { failures: 0, life: seconds(0), unsure: this.#real + noticing, ...unlike });
    }
  }

  login(n: number): void {
    const account = this.accounts[n] as Account;
    const { id, at } = account;
    if (this.#away.has(id.user)) return;
    const grant: AnyGrant = isMade(id)
      ? { kind: 'request', from: '', scopes: ['storage.read:/'] }
      : { refreshToken: (this.issuers[at] as ModelIssuer).grant() };
    this.directory.store(id, grant);
    account.gone = false;
    this.#happened(account);
  }

  logout(n: number): void {
    const account = this.accounts[n] as Account;
    if (this.#away.has(account.id.user)) return;
    this.directory.logout(account.id);
    account.gone = true;
    this.#happened(account);
  }

  touch(n: number): void {
    const account = this.accounts[n] as Account;
    if (this.#away.has(account.id.user)) return;
    this.directory.touch(account.id);
    this.#happened(account);
  }

  /** Somebody gives it other scopes, and leaves the rest as it is. */
  scopes(n: number): void {
    const account = this.accounts[n] as Account;
    const { grant } = this.directory.look(account.id);
    if (this.#away.has(account.id.user) || grant === undefined || typeof grant === 'string') return;
    const scopes = ['storage.read:/', `storage.modify:/${this.#steady}`];
    this.directory.store(account.id, { ...grant, scopes } as AnyGrant);
    this.#happened(account);
  }

  damage(n: number): void {
    const account = this.accounts[n] as Account;
    if (this.#away.has(account.id.user) || account.gone) return;
    this.directory.store(account.id, 'not a JSON object');
    this.#happened(account);
  }

  /** Whose folder was moved away, and when, in steady time. */
  readonly #away = new Map<string, number>();

  folder(user: string, away: boolean): void {
    const since = this.#away.get(user);
    this.directory.move(user, away);
    if (!away) this.#away.delete(user);
    else if (since === undefined) this.#away.set(user, this.#steady);
    const isLate = !away && since !== undefined && this.#steady - since >= keptAway;
    for (const account of this.accounts) {
      if (account.id.user !== user) continue;
      const grant = this.#grantOf(account.id);
      if (isLate && grant !== undefined) this.issuers[account.at]?.forget(grant);
      this.#happened(account);
    }
  }

  look(user: string): void {
    void this.keeper?.look(user);
  }

  sweep(): void {
    this.keeper?.pass().catch(() => {});
  }

  issuer(at: number, mode: Mode): void {
    const issuer = this.issuers[at] as ModelIssuer;
    const wasWell = isWell(issuer.mode);
    // The last of its slow answers are still to come.
    if (issuer.mode === 'slow') for (const account of this.accounts) this.#excuse(account, leaping);
    issuer.mode = mode;
    if (!wasWell) for (const account of this.accounts) if (account.at === at) this.#excuse(account, recovery);
  }

  life(at: number, life: number): void {
    (this.issuers[at] as ModelIssuer).life = seconds(life);
  }

  disk(user: string, work: Work, bad: boolean): void {
    const them = this.#bad.get(work) ?? new Set();
    this.#bad.set(work, them);
    if (bad) them.add(user);
    else if (them.delete(user))
      for (const account of this.accounts) if (account.id.user === user) this.#excuse(account, recovery);
  }

  config(at: number, there: boolean): void {
    const name = providers[at] as string;
    if (there) this.#configured.set(name, provider(name));
    else this.#configured.delete(name);
    this.keeper?.reconsider();
    this.sweep();
    for (const account of this.accounts) {
      // Whatever fails is tried at once, and its failures are counted anew.
      Object.assign(account, { failures: 0, credit: account.credit + 1 });
      if (account.at === at) this.#happened(account);
    }
  }

  start(): void {
    if (this.#run) return;
    const log = this.#log();
    const run = { number: ++this.#runs, timers: new Set<Timer>(), turns: [] } as unknown as Run;
    this.#run = run;
    const clock = this.#clock(run);
    const issuers = new Map(this.issuers.map((issuer, n) => [providers[n] as string, issuer.open()]));
    const warnings = new Once((text) => log.warn(text));
    const remembered = new Map(this.#remembered);
    const intents = this.#intents?.({ clock, log });
    if (intents) this.#areNamed(intents);
    const keeper = new Keeper({
      credentials: this.#disk(),
      clock,
      random: () => (this.#draw() % 1000) / 1000,
      log,
      provider: (name) => this.#configured.get(name),
      fetch: (provider, grant, errand) => this.#fetch(provider, issuers, warnings, grant, errand),
      minimum: () => minimum,
      remembered: (key: string, stamp: Stamp) => remembered.get(`${key}\n${stamp}`),
      intents,
      changed: () => {},
    });
    Object.assign(run, { keeper });
    const again = () => {
      this.sweep();
      clock.after(sweeping, again);
    };
    again();
    for (const account of this.accounts) {
      Object.assign(account, { open: 0, failures: 0, life: seconds(0) });
      this.#misreads(account);
      account.credit += 2;
      this.#excuse(account, leaping + (this.#isTroubled(account) ? recovery : 0));
    }
  }

  /** SIGKILL: what is on disk stays, and nothing else. `told`: the status file was up to date. */
  kill(told: boolean): void {
    if (this.#run === undefined) return;
    this.#remembered.clear();
    if (told)
      for (const { state, since, trouble, stamp, ...health } of this.#run.keeper.healths())
        if (state === 'login-needed')
          this.#remembered.set(`${keyOf(health)}\n${stamp}`, { since, ...(trouble && { trouble }) });
    this.#run = undefined;
  }

  /** SIGTERM. */
  async stop(): Promise<void> {
    const keeper = this.keeper;
    if (keeper === undefined) return;
    for (const account of this.accounts) this.#excuse(account, grace * 1000 + 1);
    let over = false;
    const closed = keeper.close(grace).then(() => {
      over = true;
    });
    await this.forward(grace * 1000);
    if (!over) this.broken.push('it did not end in time');
    else await closed;
    this.kill(true);
  }

  // The rules.

  #isTroubled({ at, id: { user } }: Account): boolean {
    return !isWell((this.issuers[at] as ModelIssuer).mode) || works.some((work) => this.#isBad(work, user));
  }

  /** Whether nothing stands in its way, and has not for long enough. */
  #isHealthy(account: Account): boolean {
    const { id, at, excused } = account;
    if (account.gone || excused > this.#real || this.#run === undefined) return false;
    if (this.#away.has(id.user) || this.#isTroubled(account)) return false;
    return this.#configured.has(id.service) && this.#isHonoured(account, this.issuers[at] as ModelIssuer);
  }

  #isHonoured({ id }: Account, issuer: ModelIssuer): boolean {
    if (typeof this.directory.look(id).grant !== 'object') return false;
    const grant = this.#grantOf(id);
    return grant !== undefined && issuer.honours(grant) && !issuer.refused.has(grant);
  }

  /** Of the access token that jobs are given: milliseconds of real time. */
  left({ id, at }: Account): number | undefined {
    const access = this.issuers[at]?.access(this.directory.look(id).accessToken);
    return access && access.ends - this.#real;
  }

  #check(): void {
    for (const account of this.accounts) {
      const { accessToken } = this.directory.look(account.id);
      if (account.gone && accessToken !== undefined) this.broken.push(`${account.key}: deleted, and back`);
      if (!this.#isHealthy(account)) continue;
      const issuer = this.issuers[account.at] as ModelIssuer;
      const access = issuer.access(accessToken);
      const wanted = access && Math.min(minimum, access.life * 0.8 - 2) * 1000;
      const left = this.left(account);
      const slack = issuer.mode === 'slow' ? slowest : 0;
      if (wanted === undefined || left === undefined || left < wanted - slack)
        this.broken.push(`${account.key}: healthy, and ${left} ms left where ${wanted} are guaranteed`);
    }
  }

  /** Everything is well from now on: each credential must come to stand as it should, and stay so. */
  async settle(): Promise<void> {
    for (const at of providers.keys()) {
      this.issuer(at, 'well');
      this.life(at, 1200);
      if (!this.#configured.has(providers[at] as string)) this.config(at, true);
    }
    for (const user of users) {
      for (const work of works) this.disk(user, work, false);
      if (this.#away.has(user)) this.folder(user, false);
    }
    this.start();
    await this.forward(recovery + noticing);
    await this.#reckon();
    await this.forward(3_600_000);
    await this.#reckon();
  }

  async #reckon(): Promise<void> {
    // What is being refreshed at this very moment stands as it will when that is over.
    for (let n = 0; n < 60 && this.accounts.some(({ open }) => open > 0); n++) await this.forward(1000);
    const healths = new Map([...(this.keeper?.healths() ?? [])].map((health) => [keyOf(health), health]));
    for (const account of this.accounts) {
      const { key, id, at } = account;
      const { state, suspect } = healths.get(key) ?? {};
      if (state === 'fresh' && suspect !== undefined) this.broken.push(`${key}: fresh, and said to be lost`);
      const { grant } = this.directory.look(id);
      const expected =
        grant === undefined
          ? undefined
          : typeof grant === 'string'
            ? 'damaged'
            : this.#isHonoured(account, this.issuers[at] as ModelIssuer)
              ? 'fresh'
              : 'login-needed';
      if (state !== expected) this.broken.push(`${key}: ${state} in the end, where it should be ${expected}`);
    }
  }

  #log(): Log {
    const say = (text: string) => {
      if (text.includes('secret-')) this.broken.push(`a secret in the log: ${text}`);
      this.lines.push(text);
      if (this.lines.length > 200) this.lines.splice(0, 100);
    };
    return { error: say, warn: say, info: say, debug: () => {} };
  }
}
