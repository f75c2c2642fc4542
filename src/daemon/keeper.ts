import { setMaxListeners } from 'node:events';
import { againFor } from '../core/again.js';
import { backoff } from '../core/backoff.js';
import { type AnyGrant, isRefresh, kindOf, type TokenSet, wantedOf } from '../core/credential.js';
import { before, type Life, roomOf, spreadOf, tooShort } from '../core/due.js';
import { afterAnswer } from '../core/ending.js';
import { type Failure, failureOf } from '../core/failure.js';
import type { Health, State } from '../core/health.js';
import { Level, type Room } from '../core/level.js';
import { type CredentialId, keyOf, userOf } from '../core/names.js';
import { plan, type Stamp } from '../core/plan.js';
import { type Clock, type Credentials, type Found, type Log, type Random, Superseded } from '../core/ports.js';
import { issuerOf, type Provider } from '../core/provider.js';
import { type Scopes, spaced } from '../core/scopes.js';
import { madeAt, momentOf } from '../core/steady.js';
import { plain } from '../core/text.js';
import { type EpochMs, epochMs, later, type Seconds, seconds, spell } from '../core/time.js';
import { Book } from './book.js';
import type { Intents } from './intents.js';
import { endOf, type Facts, healthOf, Item, originOf, shared } from './item.js';
import { Locks } from './locks.js';
import { type Meter, outcomeOf } from './metrics.js';
import { type Backlog, type Ended, Queue } from './queue.js';
import { Ration } from './ration.js';
import { type Held, isFor, type Outcome, type RefreshParts, refreshOnce, writeHeld } from './refresh.js';
import type { News } from './report.js';
import { Slices } from './slices.js';
import { Tries } from './tries.js';
import { isIssuers, refusalsAfter, verdictOn } from './verdict.js';

/** However short its tokens live, a credential is not refreshed sooner after a refresh: milliseconds. */
const soonest = 1000;

/** It is tried so often at the least where its token does not live as long as is promised, and as long before: seconds. */
const urgent = 60;

/** A new refresh token that could not be written is kept for so long after its folder has gone, in milliseconds, of so many. */
const [keptAway, mostAway] = [3_600_000, 1000];

/** So far may the stamp of a file be ahead of the clock, on network file systems for one: milliseconds. */
const ahead = 5000;
/** Of all credentials, so many are gone through before the clock is looked at. */
const together = 256;

export interface KeeperParts {
  readonly credentials: Credentials;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** How many refreshes may be in flight, where the system gives us room for few. */
  readonly places?: number | undefined;
  provider(name: string): Provider | undefined;
  /** An access token for a grant of this provider. */
  fetch(provider: Provider, ...what: Parameters<RefreshParts['fetch']>): Promise<TokenSet>;
  minimum(): Seconds;
  /** Tokens of Vault are fetched anew when they are this old. */
  oldest?(): Seconds | undefined;
  /** What was known of a dead grant before this start: asked once a credential. */
  remembered?(key: string, stamp: Stamp): Pick<Health, 'since' | 'trouble'> | undefined;
  /** Which refresh tokens are out at their issuers: absent where nothing is kept of that. */
  readonly intents?: Intents | undefined;
  readonly meter?: Meter;
  /** Something about this user's credentials is different now. */
  changed(user: string, news: News): void;
}

/** What is counted of a credential. */
export type Counted = Readonly<Pick<Item, 'provider' | 'state' | 'due' | 'expires' | 'facts'>>;

/** Keeps the access token of every credential fresh, from its grant. */
export class Keeper {
  readonly #book = new Book();
  /** Those of them that nothing but another hand can bring on. */
  readonly #waiting = new Set<Item>();
  readonly #level = new Level();
  readonly #tries = new Tries();
  readonly #looking = new Map<string, Promise<boolean>>();
  readonly #held: RefreshParts['held'] = new Map();
  /** What was held of those that are not there any more, and until when. */
  readonly #away = new Map<string, { readonly held: Held; readonly until: number }>();
  readonly #warned = new Set<string>();
  /** Credentials that a look passed over because they were being refreshed. */
  readonly #passedOver = new Set<string>();
  readonly #queue: Queue;
  readonly #beingPut = new Set<string>();
  readonly #locks: Locks;
  /** Users whose credentials cannot be looked at, and why: each sweep comes by. */
  readonly #unseen = new Map<string, string>();
  /** Issuers that are left alone, by what they are called. */
  readonly #leftAlone = new Set<string>();
  readonly #ration: Ration;
  readonly #stop = new AbortController();

  constructor(private readonly parts: KeeperParts) {
    // Every request under way listens to it: as many as there may be at once, and none stays.
    setMaxListeners(0, this.#stop.signal);
    this.#ration = new Ration(parts);
    this.#locks = new Locks((key) => this.#released(key));
    this.#queue = new Queue({
      clock: parts.clock,
      random: parts.random,
      places: parts.places,
      run: (key, answered) => this.#run(key, answered),
      deferred: (key) => this.#deferred(key),
    });
  }

  /** One look at everything, and {@link settled}. */
  async pass(): Promise<number> {
    await this.sweep();
    await this.settled();
    let bad = 0;
    for (const { state } of this.#book.all()) if (state !== 'fresh') bad++;
    return bad;
  }

  /** When each credential that is due has been tried once or put off. */
  async settled(): Promise<void> {
    const { waiting, inFlight } = this.#queue.backlog();
    if (waiting + inFlight > 0) await this.#tried();
    this.#giveUpAway();
    this.parts.intents?.check((key) => this.#book.has(key) || this.#away.has(key));
  }

  /** Resolves when all that are due now have been. */
  async #tried(): Promise<void> {
    const { clock } = this.parts;
    const now = clock.now();
    const slices = new Slices(clock);
    const round = this.#tries.begin();
    let number = 0;
    for (const item of this.#book.all()) {
      if (item.due !== undefined && item.due <= now) round.add(item);
      if (++number % together === 0) await slices.others();
    }
    await round.over();
  }

  /** Looks at all users on disk, and at those who were there. */
  async sweep(): Promise<void> {
    for (const user of new Set([...this.urgent(), ...(await this.parts.credentials.users()), ...this.#book.users()]))
      await this.look(user);
  }

  /** Who should be looked at first of all: an issuer may still take for some seconds what it has replaced. */
  *urgent(): Iterable<string> {
    for (const key of this.parts.intents?.suspects() ?? []) yield userOf(key);
  }

  /** Whose credentials only another hand can bring on: nothing is asked for them by themselves. */
  *waiting(): Iterable<string> {
    for (const { user } of this.#waiting) yield user;
  }

  /** Looks at what one user has on disk; whether it could be seen. Looks of one user follow each other. */
  look(user: string): Promise<boolean> {
    const before = this.#looking.get(user) ?? Promise.resolve();
    const now = before.then(() => this.#look(user)).catch((thrown) => this.#lookFailed(user, thrown));
    this.#looking.set(user, now);
    void now.then(() => {
      if (this.#looking.get(user) === now) this.#looking.delete(user);
    });
    return now;
  }

  /**
   * A login is being put there, its first token right after its grant: until what is returned is called, looks pass it over.
   * Else a look in between would fetch a token that is there a moment later.
   */
  passOver(key: string): () => void {
    this.#beingPut.add(key);
    return () => {
      this.#beingPut.delete(key);
      this.#released(key);
    };
  }

  /**
   * The configuration is another one: what was refused may be allowed by now, and what was wrong be mended. Whoever waits at an
   * issuer that is another now goes to that one's line, and more may be promised of tokens than before.
   */
  reconsider(): void {
    const now = this.parts.clock.now();
    for (const item of this.#book.all()) {
      const { state, due, life, facts } = item;
      // What is under way may be asking where it was wrong.
      if (state === 'retrying') item.failures = 0;
      if (this.#queue.isRunning(item.key)) continue;
      if (state === 'refused') this.#become(item, 'new');
      if (state === 'refused' || state === 'retrying') this.#schedule(item, now);
      else if (due !== undefined) {
        const isKept = life !== undefined && state === 'fresh' && facts.grant !== 'final';
        // The wall clock may have been set since: what counts is by how much.
        const isLate = isKept && due > this.#roomOf(item, life).to;
        const sooner = isLate ? due - this.#dueOf(item, life, now) : 0;
        this.#setDue(item, epochMs(due - sooner));
        this.#queue.move(item.key, sooner, this.#laneOf(item));
      }
    }
    this.#queue.reopen();
  }

  *healths(user?: string): Iterable<Health & { readonly stamp: Stamp }> {
    const items = user === undefined ? this.#book.all() : this.#book.of(user);
    for (const item of items) yield healthOf(item, this.parts.provider(item.provider), this.#suspect(item));
  }

  users(): Iterable<string> {
    return this.#book.users();
  }

  /** What is due and not refreshed yet. */
  backlog(): Backlog {
    return this.#queue.backlog();
  }

  /** All credentials, each as it is when its turn comes: whoever takes breaks misses none that was there all the time. */
  all(): Iterable<Counted> {
    return this.#book.all();
  }

  /** The providers of those whose grants may be lost, one for each. */
  *suspected(): Iterable<string> {
    for (const key of this.parts.intents?.suspects() ?? []) {
      const item = this.#book.get(key);
      // Where it is known that one is lost, its state says so.
      if (item !== undefined && item.state !== 'login-needed' && this.#suspect(item) !== undefined) yield item.provider;
    }
  }

  /** How many credentials there are. */
  get size(): number {
    return this.#book.size;
  }

  /** What people and their tools go by of one that stands well, its times aside; of any other, something else each time. */
  #standing(item: Item, provider: Provider | undefined): unknown {
    return item.state === 'fresh' ? `${item.missing?.join(' ')} ${endOf(item, provider)} ${this.#suspect(item)}` : {};
  }

  /** Since when it is not known whether the refresh token that lies there was replaced. */
  #suspect({ key, stamp }: Item): EpochMs | undefined {
    return this.parts.intents?.since(key, stamp);
  }

  /** Starts nothing more and waits for what is in flight, at most `limit`; then that is aborted. */
  async close(limit: Seconds): Promise<void> {
    const cancel = this.parts.clock.after(limit * 1000, () => this.#stop.abort(new Error('the daemon is stopping')));
    await this.#queue.stop();
    cancel();
    for (const [key, held] of this.#held) await this.#writeHeld(key, held);
    for (const [key, { held }] of this.#away) this.#stayedAway(key, held);
  }

  /** What the disk did not take was there for certain, anything else may have been removed for good. */
  #stayedAway(key: string, { failed }: Held): void {
    if (failed) this.#lost(key, 'its folder has not come back');
    else this.parts.log.info(`${key}: removed with a refresh under way: should it come back, a login will be needed`);
  }

  #lost(key: string, why: string): void {
    this.parts.log.error(`${key}: its new refresh token is lost, a login will be needed: ${why}`);
  }

  async #writeHeld(key: string, held: Held): Promise<void> {
    const { credentials } = this.parts;
    const item = this.#book.get(key);
    if (item === undefined) return;
    try {
      if (await writeHeld(item.id, { credentials, held: this.#held })) this.parts.intents?.settled(key);
      else this.#stayedAway(key, held);
    } catch (thrown) {
      this.#lost(key, (thrown as Error).message);
    }
  }

  async #look(user: string): Promise<boolean> {
    const found = await this.parts.credentials.scan(user);
    if (this.#unseen.delete(user)) this.parts.log.info(`${user}'s credentials can be looked at again`);
    const known = new Map<string, Stamp>();
    const disk = new Map<string, Stamp>();
    // What is being refreshed changes by our own hand: it is looked at again when that is over.
    const ours = (key: string) =>
      (this.#queue.isRunning(key) || this.#locks.has(key) || this.#beingPut.has(key)) && this.#passedOver.add(key);
    for (const { key, stamp } of this.#book.of(user)) if (!ours(key)) known.set(key, stamp);
    for (const [key, { stamp }] of found) if (!ours(key)) disk.set(key, stamp);
    const { added, changed: replaced, gone } = plan(disk, known);
    const changed = [...replaced, ...this.#renamed(disk, known, found)];
    for (const key of gone) this.#drop(key);
    this.#wakeOrphans(user, new Set(gone));
    for (const key of added) await this.#add(key, found.get(key) as Found);
    for (const key of changed) await this.#renew(key, found.get(key) as Found);
    if (added.length + changed.length + gone.length === 0) return true;
    const well = changed.length + gone.length === 0 && added.every((key) => this.#book.get(key)?.state === 'fresh');
    this.parts.changed(user, well ? 'found' : 'state');
    return true;
  }

  /** Those that the configuration takes apart in another way now: a service with an underscore was one with a handle. */
  *#renamed(disk: ReadonlyMap<string, Stamp>, known: ReadonlyMap<string, Stamp>, found: ReadonlyMap<string, Found>) {
    for (const [key, { id, provider }] of found) {
      const item = this.#book.get(key);
      if (item === undefined || !disk.has(key) || disk.get(key) !== known.get(key)) continue;
      if (item.provider !== provider || item.id.handle !== id.handle) yield key;
    }
  }

  #lookFailed(user: string, thrown: unknown): false {
    const { message } = thrown as Error;
    if (this.#unseen.get(user) !== message) this.#ration.warn(`cannot look at ${user}'s credentials: ${message}`);
    this.#unseen.set(user, message);
    return false;
  }

  async #add(key: string, { id, provider, stamp, written }: Found): Promise<void> {
    const now = this.parts.clock.now();
    const item = new Item(key, id, provider, stamp, now);
    this.#book.add(item);
    this.#takeBack(key);
    this.parts.intents?.forget(key, stamp);
    const dead = this.parts.remembered?.(key, stamp);
    if (dead && (await this.#isStillDead(item))) {
      this.#become(item, 'login-needed');
      Object.assign(item, dead);
    } else await this.#begin(item, written);
    this.#wakeMadeFrom(id);
  }

  /** One that is made from a login comes back with that one, which may have been made anew while nobody looked. */
  async #isStillDead(item: Item): Promise<boolean> {
    const top = await this.parts.credentials.read(item.id).catch(() => undefined);
    item.facts = this.#factsOf(item.provider, top?.trouble === undefined ? top?.grant : undefined);
    const from = originOf(item);
    if (from === undefined) return true;
    const origin = this.#book.get(from);
    return origin === undefined || origin.state === 'login-needed';
  }

  /** The `.top` is another one: a login, or someone mended it. */
  async #renew(key: string, { id, provider, stamp, written }: Found): Promise<void> {
    const item = this.#book.get(key);
    if (item === undefined) return;
    Object.assign(item, { id, provider, stamp, failures: 0, refusals: 0, trouble: undefined, missing: undefined });
    this.parts.intents?.forget(key, stamp);
    this.#become(item, 'new');
    // A tick of the file system's clock is milliseconds long: of one tick, a token is that of the grant before.
    await this.#begin(item, epochMs(written + 1));
    this.#wakeMadeFrom(id);
  }

  /** One that the disk keeps from us must be tried again, and keep nobody from theirs. */
  async #begin(item: Item, written: EpochMs): Promise<void> {
    try {
      await this.#goOn(item, written);
    } catch (thrown) {
      const what = `it cannot be looked at: ${(thrown as Error).message}`;
      this.#failed(item, failureOf(thrown) ?? { kind: 'storage', what });
    }
  }

  /** Goes on from what is on disk: waits for the token there to come due, or fetches one now. */
  async #goOn(item: Item, written: EpochMs): Promise<void> {
    const life = await this.parts.credentials.life(item.id);
    const top = await this.parts.credentials.read(item.id);
    const now = this.parts.clock.now();
    item.life = life;
    item.facts = this.#factsOf(item.provider, top.trouble === undefined ? top.grant : undefined);
    const held = this.#held.get(item.key);
    if (held && top.trouble === undefined && isFor(held, top.grant)) {
      // Its new refresh token is nowhere but here until it is written.
      this.#become(item, life && life.expires > now ? 'fresh' : 'new');
      this.#schedule(item, now, true);
      return;
    }
    if (item.facts.grant === 'final' && (life === undefined || life.expires > now)) {
      // There is nothing to fetch another with: it is told when it has ended, where it says when.
      this.#become(item, 'fresh');
      this.#setDue(item, undefined);
      if (life) this.#schedule(item, life.expires);
      return;
    }
    const suspect = this.#suspect(item);
    if (suspect !== undefined) {
      const at = new Date(suspect).toISOString();
      this.parts.log.warn(
        `${item.key}: its refresh of ${at} had no known end, so its grant may be lost; trying it now`,
      );
      this.#become(item, life && life.expires > now ? 'fresh' : 'new');
      this.#schedule(item, now, true);
      return;
    }
    // A grant newer than the token was brought by a login, or by a refresh that a crash cut short. One from the future lay
    // there before the clock was set back: neither when it ends nor which of the two is newer can be told.
    if (life && life.expires > now && life.issued < now + ahead && written <= life.issued) {
      this.#become(item, 'fresh');
      this.#schedule(item, this.#dueOf(item, life, now));
    } else {
      this.parts.log.info(`${item.key}: a grant without a token of its own; fetching one`);
      // Somebody has logged in a moment ago, and waits for it.
      this.#schedule(item, now, life === undefined || written > life.issued);
    }
  }

  #factsOf(provider: string, grant: AnyGrant | undefined): Facts {
    if (grant === undefined) return {};
    const life = this.parts.provider(provider)?.grantLife;
    const { since, ends } = isRefresh(grant) ? grant : {};
    return shared({
      ...wantedOf(grant),
      grant: kindOf(grant),
      ...(grant.kind === 'request' && grant.from !== undefined && { origin: grant.from }),
      ...(since !== undefined && { granted: since }),
      ...(since !== undefined && life !== undefined && { ends: later(since, life) }),
      ...(ends !== undefined && { told: { at: ends, seen: since ?? this.parts.clock.now() } }),
    });
  }

  /** Those that are made from it and have ended for want of it. */
  #wakeMadeFrom(id: CredentialId): void {
    const key = keyOf(id);
    for (const item of this.#book.of(id.user)) {
      if (item.state !== 'login-needed' || originOf(item) !== key) continue;
      this.#become(item, 'new');
      this.#schedule(item, this.parts.clock.now());
    }
  }

  /**
   * What is made from one of these, which are no more or have ended, ends with it. That is found now, without a request, and
   * not when its own token comes due, which may be hours later.
   */
  #wakeOrphans(user: string, ended: ReadonlySet<string>, but?: Item): void {
    if (ended.size === 0) return;
    for (const item of this.#book.of(user)) {
      const origin = originOf(item);
      if (item !== but && origin !== undefined && ended.has(origin) && !item.waits)
        this.#schedule(item, this.parts.clock.now());
    }
  }

  /** When a token of this life is refreshed, from `soonest` on unless it is late already. */
  #dueOf(item: Item, life: Life, soonest: EpochMs): EpochMs {
    return this.#level.place(this.#roomOf(item, life), life.issued, soonest);
  }

  #roomOf({ key, facts }: Item, life: Life): Room {
    const room = roomOf(life, this.parts.minimum(), spreadOf(key));
    const oldest = facts.grant === 'vault' ? this.parts.oldest?.() : undefined;
    return oldest === undefined ? room : before(later(life.issued, oldest), room);
  }

  #drop(key: string): void {
    const item = this.#book.get(key);
    if (item === undefined) return;
    this.#queue.delete(key);
    this.#setDue(item, undefined);
    this.#waiting.delete(item);
    this.#book.delete(item);
    if (!this.#putAway(key)) this.parts.intents?.forget(key);
    this.parts.log.info(`${key}: removed`);
    this.#tries.tried(item);
  }

  #setDue(item: Item, due: EpochMs | undefined): void {
    if (item.due !== undefined) this.#level.delete(item.due);
    item.due = due;
    if (due !== undefined) this.#level.add(due);
    // Whoever waits for what is due waits for this one no more.
    if (due === undefined || due > this.parts.clock.now()) this.#tries.tried(item);
  }

  /**
   * A folder that is moved away, or a file system that is not mounted, may come back with the refresh token that has been
   * replaced. Whatever else lies there then, such as a login, is not written over: refresh.ts compares them. Returns whether
   * there is one to come back for.
   */
  #putAway(key: string): boolean {
    const held = this.#held.get(key);
    this.#held.delete(key);
    if (held === undefined) return false;
    this.#giveUpAway();
    if (this.#away.size >= mostAway) {
      this.#stayedAway(key, held);
      return false;
    }
    this.#away.set(key, { held, until: this.parts.clock.steady() + keptAway });
    return true;
  }

  #giveUpAway(): void {
    const now = this.parts.clock.steady();
    for (const [key, { held, until }] of this.#away) {
      if (until > now) continue;
      this.#away.delete(key);
      this.#stayedAway(key, held);
    }
  }

  #takeBack(key: string): void {
    const away = this.#away.get(key);
    this.#away.delete(key);
    if (away !== undefined && away.until > this.parts.clock.steady()) this.#held.set(key, away.held);
  }

  /** `ahead`: before all others. */
  #schedule(item: Item, due: EpochMs, ahead = false): void {
    this.#setDue(item, due);
    this.#queue.set(item.key, due - this.parts.clock.now(), this.#laneOf(item), ahead);
  }

  #laneOf(item: Item): string {
    const provider = this.parts.provider(item.provider);
    return provider ? issuerOf(provider) : item.provider;
  }

  async #run(key: string, answered: () => void): Promise<Ended> {
    const item = this.#book.get(key);
    const provider = item && this.parts.provider(item.provider);
    if (item === undefined) return { well: true };
    const [before, routine] = [this.#standing(item, provider), this.#isRoutine(item)];
    const ended =
      provider === undefined
        ? this.#failed(item, unknown(item.provider))
        : this.#settle(item, provider, await this.#timed(item, provider, answered), routine);
    this.#released(key);
    this.#tries.tried(item);
    this.parts.changed(item.user, before === this.#standing(item, provider) ? 'refresh' : 'state');
    return ended;
  }

  /** Whether it goes without saying that it is refreshed: it stands well, or has but waited for an issuer that was left alone. */
  #isRoutine(item: Item): boolean {
    const stood = item.state === 'fresh' || (item.state === 'retrying' && item.failures === 0);
    return stood && item.life !== undefined && this.#suspect(item) === undefined;
  }

  async #timed(item: Item, provider: Provider, answered: () => void): Promise<Outcome> {
    const { clock, meter } = this.parts;
    const begun = clock.steady();
    const outcome = await this.#refresh(item, provider, answered);
    meter?.refreshed(item.provider, outcomeOf(outcome), clock.steady() - begun);
    return outcome;
  }

  async #refresh(item: Item, provider: Provider, answered: () => void): Promise<Outcome> {
    const { clock } = this.parts;
    let came = momentOf(clock);
    try {
      const outcome = await refreshOnce(item.id, {
        credentials: this.parts.credentials,
        fetch: async (grant, errand) => {
          const token = await this.parts.fetch(provider, grant, errand);
          came = momentOf(clock);
          return token;
        },
        // Where a refresh does not do, an exchange may follow. What others begin then comes after the fsync that this asks for.
        ...(provider.flow !== 'exchange' && { answered: () => void setImmediate(answered) }),
        scopes: provider.scopes,
        stop: this.#stop.signal,
        held: this.#held,
        intents: provider.flow === 'exchange' ? undefined : this.parts.intents,
        seen: (grant) => {
          // The disk kept it from us when it was looked at.
          if (item.facts.grant === undefined) item.facts = this.#factsOf(item.provider, grant);
        },
        others: {
          alone: (key) => this.#locks.take(key),
          moved: (id, before, stamp) => {
            const other = this.#book.get(keyOf(id));
            // Where another login lies that has not been looked at yet, it still has to be.
            if (other?.stamp === before) other.stamp = stamp;
          },
          ended: (id, stamp) => {
            const other = this.#book.get(keyOf(id));
            return other?.state === 'login-needed' && other.stamp === stamp ? other.trouble : undefined;
          },
          hasEnded: (id, failure) => this.#hasEnded(item, keyOf(id), failure),
        },
      });
      if (outcome.kind !== 'refreshed') return outcome;
      // Where the clock was set back while the token was written, its times are of before, and older than they look.
      const { issued, expires } = outcome.token;
      const older = Math.max(came.wall - madeAt(came, momentOf(clock)), issued - clock.now());
      if (older <= 0) return outcome;
      return {
        ...outcome,
        token: { ...outcome.token, issued: epochMs(issued - older), expires: epochMs(expires - older) },
      };
    } catch (thrown) {
      // The disk, a bug, or the abort of a stop. One credential's must not end the others'.
      const what = `the refresh broke off: ${(thrown as Error).message}`;
      return { kind: 'failed', stamp: item.stamp, failure: failureOf(thrown) ?? { kind: 'transient', what } };
    }
  }

  /** While `running` is refreshed it turns out that the login at `key`, its own or the one that it is made from, has ended. */
  #hasEnded(running: Item, key: string, failure: Failure): void {
    const item = this.#book.get(key);
    if (item === running) {
      // Those who wait for it to be let go must see it before it is told in full.
      item.trouble = failure;
      this.#become(item, 'login-needed');
    } else if (item !== undefined) {
      this.#queue.delete(key);
      this.#failed(item, failure, running);
    }
  }

  #settle(item: Item, provider: Provider, outcome: Outcome, routine: boolean): Ended {
    const { log } = this.parts;
    switch (outcome.kind) {
      case 'refreshed':
        this.#refreshed(item, provider, outcome, routine);
        return { well: true };
      case 'superseded':
        log.info(`${item.key}: replaced or removed while it was being refreshed; looking again`);
        item.stamp = '';
        // If that look fails nothing may wait for it: the one that sees it again has it go on.
        this.#setDue(item, undefined);
        this.#lookSoon(item.user);
        return { well: true };
      case 'gone':
        this.#drop(item.key);
        this.#wakeOrphans(item.user, new Set([item.key]));
        this.#lookSoon(item.user);
        return { well: true };
      case 'damaged':
        this.#damaged(item, outcome);
        return { well: true };
      case 'failed':
        item.stamp = outcome.stamp;
        return this.#failed(item, outcome.failure);
    }
  }

  #refreshed(item: Item, provider: Provider, outcome: Extract<Outcome, { kind: 'refreshed' }>, routine: boolean): void {
    const { log } = this.parts;
    const { token } = outcome;
    const now = this.parts.clock.now();
    const life: Life = { issued: token.issued, expires: token.expires };
    item.stamp = outcome.stamp;
    item.life = life;
    item.failures = 0;
    item.refusals = 0;
    item.refreshes++;
    const { grant, told } = item.facts;
    if (grant !== outcome.grant) item.facts = { ...item.facts, grant: outcome.grant };
    if (token.grantEnds !== undefined)
      item.facts = { ...item.facts, told: afterAnswer(told, token.grantEnds, token.issued) };
    item.trouble = undefined;
    this.#become(item, 'fresh');
    this.#noteMissing(item, outcome.missing);
    // Vault gives the token that it has, however old, until that lives too short for it as well.
    if (outcome.grant !== 'vault') {
      this.#warnOfShort(provider, token);
      this.#warnOfAssumed(provider, token);
    }
    const first = epochMs(now + soonest);
    const due = epochMs(Math.max(this.#dueOf(item, life, first), first));
    this.#schedule(item, due);
    const [valid, next] = [life.expires - life.issued, due - life.issued].map((ms) => spell(ms / 1000));
    const least = spell(this.parts.minimum());
    const issuer = issuerOf(provider);
    if (this.#leftAlone.delete(issuer)) log.info(`${issuer} answers again: those who waited are refreshed`);
    log[routine ? 'debug' : 'info'](
      `${item.key}: refreshed (${outcome.grant}) at ${issuer}; ${least} or more wanted, valid for ${valid}, next in ${next}`,
    );
  }

  #noteMissing(item: Item, missing: Scopes): void {
    const before = item.missing?.length ?? 0;
    item.missing = missing.length === 0 ? undefined : missing;
    if (missing.length > before)
      this.parts.log.warn(`${item.key}: the issuer no longer grants ${plain(spaced(missing), 300)}`);
  }

  #warnOfShort(provider: Provider, token: TokenSet): void {
    const minimum = this.parts.minimum();
    if (!tooShort(token, minimum) || this.#warned.has(provider.name)) return;
    this.#warned.add(provider.name);
    const life = Math.round((token.expires - token.issued) / 1000);
    this.parts.log.warn(
      `tokens of ${provider.name} live ${life} s, too short to leave ${minimum} s (CREDMON_OAUTH_TOKEN_MINIMUM) at all times; ` +
        'have the issuer give longer ones, or lower that knob and SEC_CREDENTIAL_REFRESH on the execution points',
    );
  }

  #warnOfAssumed({ name, life }: Provider, token: TokenSet): void {
    const what = `${name}\nlife`;
    if (token.lifeFrom !== 'default' || life !== undefined || this.#warned.has(what)) return;
    this.#warned.add(what);
    this.parts.log.warn(
      `${name} does not always say how long a token lives: then it is taken for ${spell((token.expires - token.issued) / 1000)}, ` +
        `or what ${name}_TOKEN_LIFETIME says`,
    );
  }

  #damaged(item: Item, { trouble, stamp }: Extract<Outcome, { kind: 'damaged' }>): void {
    item.stamp = stamp ?? item.stamp;
    this.#leave(item, 'damaged', { kind: 'storage', what: `what is stored is ${trouble}`, hint: this.#mend(item) });
    this.parts.log.warn(`${item.key}.top is ${trouble}: left alone until it is replaced`);
  }

  /** `found`: who has found that out, and is told by that. */
  #failed(item: Item, failure: Failure, found?: Item): Ended {
    const { key } = item;
    const { clock, log, random } = this.parts;
    const { kind, what, hint, wait } = failure;
    item.failures++;
    item.refusals = refusalsAfter(item.refusals, failure);
    const verdict = verdictOn(failure, item.refusals);
    if (verdict === 'login-needed') {
      const suspect = this.#suspect(item);
      const why =
        suspect === undefined
          ? what
          : `${what}; credmond or the connection broke off in a refresh at ${new Date(suspect).toISOString()}, and a new refresh token with it`;
      // After three refusals without a word the issuer's failure knows of no login.
      const mend = kind === verdict ? hint : undefined;
      this.#leave(item, verdict, { kind: verdict, what: why, hint: mend ?? this.#mend(item) }, found);
      log.warn(`${key}: login needed: ${why}; left alone until then`);
      if (failure.code === 'denied_for_good') this.#forget(item);
      return { well: true };
    }
    // Words of the device flow, at a refresh: a login is what brings it back, if anything.
    const mend = hint ?? (kind === 'denied' || kind === 'expired' ? this.#mend(item) : undefined);
    const trouble = { kind, what, ...(mend !== undefined && { hint: mend }) };
    if (verdict === 'refused') {
      this.#leave(item, verdict, trouble);
      log.warn(`${key}: ${what}; left alone until it is replaced or the configuration is`);
      return { well: true };
    }
    const pause = backoff(item.failures, random(), wait, this.#longestPause(item, failure));
    // Its last line said so already.
    const again = item.state === 'retrying' && item.trouble?.what === what;
    item.trouble = trouble;
    this.#become(item, 'retrying');
    this.#schedule(item, later(clock.now(), pause));
    const left = item.life ? `; the token on disk is good for ${spell((item.life.expires - clock.now()) / 1000)}` : '';
    const line = `${key}: ${what}; again in ${spell(pause)}${left}`;
    if (again) log.debug(line);
    else this.#ration.warn(line);
    return { well: !isIssuers(failure), ...(wait !== undefined && { asked: wait }) };
  }

  /**
   * An issuer or a disk may be back at any time: to wait for that is nobody's loss for as long as the token on disk lives as
   * long as is promised, and is from then on.
   */
  #longestPause({ life }: Item, failure: Failure): Seconds | undefined {
    if (!['transient', 'protocol', 'storage'].includes(failure.kind)) return undefined;
    const spare = life === undefined ? 0 : (life.expires - this.parts.clock.now()) / 1000 - this.parts.minimum();
    return seconds(Math.max(urgent, spare - urgent));
  }

  /** Nothing is asked for it any more, until another hand brings it on. */
  #leave(item: Item, state: State, trouble: Item['trouble'], found?: Item): void {
    item.trouble = trouble;
    this.#setDue(item, undefined);
    this.#become(item, state);
    // An issuer that refuses may still serve what is made from it.
    if (state !== 'refused') this.#wakeOrphans(item.user, new Set([item.key]), found);
  }

  /** Vault has denied it: as HTCondor's own credmon does, it is taken away, so that the next submit asks for another. */
  #forget(item: Item): void {
    const { key } = item;
    const { credentials, log } = this.parts;
    credentials.remove(item.id, item.stamp).then(
      () => {
        log.warn(`${key}: removed, since its token is no longer honoured`);
        this.#lookSoon(item.user);
      },
      (thrown) => {
        // A login has come in between, and is not taken away.
        if (thrown instanceof Superseded) this.#lookSoon(item.user);
        else log.error(`${key}: cannot be removed: ${(thrown as Error).message}`);
      },
    );
  }

  /** What a look passed over is looked at now, if nobody has it in hand any more. */
  #released(key: string): void {
    if (this.#passedOver.delete(key)) this.#lookSoon(userOf(key));
  }

  /** What brings another grant. */
  #mend({ id: { service, handle }, provider, facts: { scopes, audience } }: Item): string {
    const { flow } = this.parts.provider(provider) ?? { flow: 'device' };
    return againFor(flow, {
      service,
      ...(handle !== undefined && { handle }),
      ...(scopes && { scopes }),
      ...(audience !== undefined && { audience }),
    });
  }

  /** Its issuer is being left alone after failures of others: that is how it stands as well. */
  #deferred(key: string): void {
    const item = this.#book.get(key);
    if (item === undefined) return;
    const provider = this.parts.provider(item.provider);
    const issuer = provider ? issuerOf(provider) : item.provider;
    if (!this.#leftAlone.has(issuer)) {
      this.#leftAlone.add(issuer);
      this.parts.log.warn(`${issuer} fails one after the other: it is asked by one at a time until it answers well`);
    }
    if (item.state === 'new' || item.state === 'fresh') {
      item.trouble = {
        kind: 'transient',
        what: 'its issuer does not answer well; it waits its turn',
        hint: 'it goes on by itself when the issuer does; the others of this issuer say what is wrong there',
      };
      this.#become(item, 'retrying');
      this.parts.changed(item.user, 'state');
    }
    this.#tries.tried(item);
  }

  #become(item: Item, state: State): void {
    item.become(state, this.parts.clock.now());
    if (item.waits) this.#waiting.add(item);
    else this.#waiting.delete(item);
  }

  /** After the job that is just ending has left the queue. */
  #lookSoon(user: string): void {
    this.parts.clock.after(0, () => void this.look(user));
  }
}

const unknown = (provider: string): Failure => ({
  kind: 'config',
  what: `no provider "${provider}" is configured any more`,
  hint: 'configure it again; its tokens end by themselves',
});
