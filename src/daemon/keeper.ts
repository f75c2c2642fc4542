import { setMaxListeners } from 'node:events';
import { backoff } from '../core/backoff.js';
import type { TokenSet } from '../core/credential.js';
import { dueAt, type Life, spreadOf, tooShort } from '../core/due.js';
import { type Failure, failureOf } from '../core/failure.js';
import { type Health, loginCommand, type State } from '../core/health.js';
import type { CredentialId } from '../core/names.js';
import { plan, type Stamp } from '../core/plan.js';
import type { Clock, Credentials, Found, Issuer, Log, OtherClient, Random } from '../core/ports.js';
import { issuerOf, type Provider } from '../core/provider.js';
import { type Scopes, spaced } from '../core/scopes.js';
import { plain } from '../core/text.js';
import { type EpochMs, epochMs, later, type Seconds, spell } from '../core/time.js';
import { type Ended, Queue } from './queue.js';
import { type Outcome, type RefreshParts, refreshOnce, writeHeld } from './refresh.js';

/**
 * Refusals with 400 and no JSON in a row, after which the grant is taken for dead: so say some issuers that a refresh token
 * is bad. Other codes without JSON are those of proxies and portals, and say nothing of the grant.
 */
const refusalsUntilDead = 3;

/** However short its tokens live, a credential is not refreshed sooner after a refresh: milliseconds. */
const soonest = 1000;

export interface KeeperParts extends Pick<RefreshParts, 'grant'> {
  readonly credentials: Credentials;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  provider(name: string): Provider | undefined;
  issuer(provider: Provider, client: OtherClient | undefined): Promise<Issuer>;
  minimum(): Seconds;
  /** What was known of a dead grant before this start: asked once a credential. */
  remembered?(key: string, stamp: Stamp): Pick<Health, 'since' | 'trouble'> | undefined;
  /** Something about this user's credentials is different now. */
  changed(user: string): void;
}

interface Item {
  id: CredentialId;
  provider: string;
  stamp: Stamp;
  state: State;
  since: EpochMs;
  life?: Life;
  due?: EpochMs;
  trouble?: Pick<Failure, 'kind' | 'what' | 'hint'>;
  missing?: Scopes;
  scopes?: Scopes;
  audience?: string;
  failures: number;
  refusals: number;
  refreshes: number;
  /** Called when it has been tried, or when it was put off or dropped. */
  tried: (() => void)[];
}

/** Keeps the access token of every credential fresh, from its grant. */
export class Keeper {
  readonly #items = new Map<string, Item>();
  readonly #byUser = new Map<string, Set<string>>();
  readonly #looking = new Map<string, Promise<void>>();
  readonly #held: RefreshParts['held'] = new Map();
  readonly #warned = new Set<string>();
  /** Credentials that a look passed over because they were being refreshed. */
  readonly #passedOver = new Set<string>();
  readonly #queue: Queue;
  readonly #stop = new AbortController();

  constructor(private readonly parts: KeeperParts) {
    // Every request under way listens to it: as many as there may be at once, and none stays.
    setMaxListeners(0, this.#stop.signal);
    this.#queue = new Queue({
      clock: parts.clock,
      random: parts.random,
      run: (key) => this.#run(key),
      deferred: (key) => this.#deferred(key),
    });
  }

  /** One look at everything, until each credential that was due has been tried once or put off; how many stand badly. */
  async pass(): Promise<number> {
    await this.sweep();
    const due = [...this.#items.values()].filter(
      (item) => item.due !== undefined && item.due <= this.parts.clock.now(),
    );
    await Promise.all(due.map((item) => new Promise<void>((resolve) => item.tried.push(resolve))));
    return [...this.#items.values()].filter((item) => item.state !== 'fresh').length;
  }

  /** Looks at all users on disk, and at those who were there. */
  async sweep(): Promise<void> {
    for (const user of new Set([...(await this.parts.credentials.users()), ...this.#byUser.keys()]))
      await this.look(user);
  }

  /** Looks at what one user has on disk. Looks of one user follow each other. */
  look(user: string): Promise<void> {
    const before = this.#looking.get(user) ?? Promise.resolve();
    const now = before.then(() => this.#look(user)).catch((thrown) => this.#lookFailed(user, thrown));
    this.#looking.set(user, now);
    void now.then(() => {
      if (this.#looking.get(user) === now) this.#looking.delete(user);
    });
    return now;
  }

  *healths(user?: string): Iterable<Health & { readonly stamp: Stamp }> {
    const keys = user === undefined ? this.#items.keys() : (this.#byUser.get(user) ?? []);
    for (const key of keys) yield this.#health(this.#items.get(key) as Item);
  }

  users(): Iterable<string> {
    return this.#byUser.keys();
  }

  /** Starts nothing more and waits for what is in flight, at most `limit`; then that is aborted. */
  async close(limit: Seconds): Promise<void> {
    const cancel = this.parts.clock.after(limit * 1000, () => this.#stop.abort(new Error('the daemon is stopping')));
    await this.#queue.stop();
    cancel();
    for (const key of this.#held.keys()) await this.#writeHeld(key);
  }

  async #writeHeld(key: string): Promise<void> {
    const { credentials, log } = this.parts;
    const item = this.#items.get(key);
    if (item === undefined) return;
    try {
      await writeHeld(item.id, { credentials, held: this.#held });
    } catch (thrown) {
      log.error(`${key}: its new refresh token is lost, a login will be needed: ${(thrown as Error).message}`);
    }
  }

  async #look(user: string): Promise<void> {
    const found = await this.parts.credentials.scan(user);
    const known = new Map<string, Stamp>();
    const disk = new Map<string, Stamp>();
    // What is being refreshed changes by our own hand: it is looked at again when that is over.
    const ours = (key: string) => this.#queue.isRunning(key) && this.#passedOver.add(key);
    for (const key of this.#byUser.get(user) ?? [])
      if (!ours(key)) known.set(key, (this.#items.get(key) as Item).stamp);
    for (const [key, { stamp }] of found) if (!ours(key)) disk.set(key, stamp);
    const { added, changed, gone } = plan(disk, known);
    for (const key of gone) this.#drop(key);
    for (const key of added) await this.#add(key, found.get(key) as Found);
    for (const key of changed) await this.#renew(key, found.get(key) as Found);
    if (added.length + changed.length + gone.length > 0) this.parts.changed(user);
  }

  #lookFailed(user: string, thrown: unknown): void {
    this.parts.log.error(`cannot look at ${user}'s credentials: ${(thrown as Error).message}`);
  }

  async #add(key: string, { id, provider, stamp, written }: Found): Promise<void> {
    const now = this.parts.clock.now();
    const item: Item = {
      id,
      provider,
      stamp,
      state: 'new',
      since: now,
      failures: 0,
      refusals: 0,
      refreshes: 0,
      tried: [],
    };
    this.#items.set(key, item);
    const mine = this.#byUser.get(id.user) ?? new Set();
    this.#byUser.set(id.user, mine.add(key));
    const dead = this.parts.remembered?.(key, stamp);
    if (dead) Object.assign(item, { state: 'login-needed', ...dead });
    else await this.#begin(key, item, written);
  }

  /** The `.top` is another one: a login, or someone mended it. */
  async #renew(key: string, { id, provider, stamp, written }: Found): Promise<void> {
    const item = this.#items.get(key);
    if (item === undefined) return;
    Object.assign(item, { id, provider, stamp, failures: 0, refusals: 0 });
    delete item.trouble;
    delete item.missing;
    this.#become(item, 'new');
    await this.#begin(key, item, written);
  }

  /** One that the disk keeps from us must be tried again, and keep nobody from theirs. */
  async #begin(key: string, item: Item, written: EpochMs): Promise<void> {
    try {
      await this.#goOn(key, item, written);
    } catch (thrown) {
      const what = `it cannot be looked at: ${(thrown as Error).message}`;
      this.#failed(key, item, failureOf(thrown) ?? { kind: 'storage', what });
    }
  }

  /** Goes on from what is on disk: waits for the token there to come due, or fetches one now. */
  async #goOn(key: string, item: Item, written: EpochMs): Promise<void> {
    const life = await this.parts.credentials.life(item.id);
    const top = await this.parts.credentials.read(item.id);
    const now = this.parts.clock.now();
    delete item.life;
    if (life) item.life = life;
    delete item.scopes;
    delete item.audience;
    if (top.trouble === undefined) {
      if (top.grant.scopes) item.scopes = top.grant.scopes;
      if (top.grant.audience !== undefined) item.audience = top.grant.audience;
    }
    // A grant newer than the token was brought by a login, or by a refresh that a crash cut short.
    if (life && life.expires > now && written <= life.issued) {
      this.#become(item, 'fresh');
      this.#schedule(key, item, dueAt(life, this.parts.minimum(), spreadOf(key)));
    } else {
      this.parts.log.info(`${key}: a grant without a token of its own; fetching one`);
      this.#schedule(key, item, now);
    }
  }

  #drop(key: string): void {
    const item = this.#items.get(key);
    if (item === undefined) return;
    this.#queue.delete(key);
    this.#items.delete(key);
    this.#held.delete(key);
    const mine = this.#byUser.get(item.id.user);
    mine?.delete(key);
    if (mine?.size === 0) this.#byUser.delete(item.id.user);
    this.parts.log.info(`${key}: removed`);
    this.#tried(item);
  }

  #schedule(key: string, item: Item, due: EpochMs): void {
    item.due = due;
    const provider = this.parts.provider(item.provider);
    this.#queue.set(key, due - this.parts.clock.now(), provider ? issuerOf(provider) : item.provider);
  }

  async #run(key: string): Promise<Ended> {
    const item = this.#items.get(key);
    const provider = item && this.parts.provider(item.provider);
    if (item === undefined) return { well: true };
    const ended =
      provider === undefined
        ? this.#failed(key, item, unknown(item.provider))
        : this.#settle(key, item, provider, await this.#refresh(item, provider));
    if (this.#passedOver.delete(key)) this.#lookSoon(item.id.user);
    this.#tried(item);
    this.parts.changed(item.id.user);
    return ended;
  }

  async #refresh(item: Item, provider: Provider): Promise<Outcome> {
    try {
      return await refreshOnce(item.id, {
        credentials: this.parts.credentials,
        issuer: (client) => this.parts.issuer(provider, client),
        grant: this.parts.grant,
        scopes: provider.scopes,
        stop: this.#stop.signal,
        held: this.#held,
      });
    } catch (thrown) {
      // The disk, a bug, or the abort of a stop. One credential's must not end the others'.
      const what = `the refresh broke off: ${(thrown as Error).message}`;
      return { kind: 'failed', stamp: item.stamp, failure: failureOf(thrown) ?? { kind: 'transient', what } };
    }
  }

  #settle(key: string, item: Item, provider: Provider, outcome: Outcome): Ended {
    const { log } = this.parts;
    switch (outcome.kind) {
      case 'refreshed':
        this.#refreshed(key, item, provider, outcome);
        return { well: true };
      case 'superseded':
        log.info(`${key}: replaced or removed while it was being refreshed; looking again`);
        item.stamp = '';
        this.#lookSoon(item.id.user);
        return { well: true };
      case 'gone':
        this.#drop(key);
        return { well: true };
      case 'damaged':
        this.#damaged(key, item, outcome);
        return { well: true };
      case 'failed':
        item.stamp = outcome.stamp;
        return this.#failed(key, item, outcome.failure);
    }
  }

  #refreshed(key: string, item: Item, provider: Provider, outcome: Extract<Outcome, { kind: 'refreshed' }>): void {
    const { token } = outcome;
    const life: Life = { issued: token.issued, expires: token.expires };
    item.stamp = outcome.stamp;
    item.life = life;
    item.failures = 0;
    item.refusals = 0;
    item.refreshes++;
    delete item.trouble;
    this.#become(item, 'fresh');
    this.#noteMissing(key, item, outcome.missing);
    this.#warnOfShort(provider, token);
    const due = epochMs(Math.max(dueAt(life, this.parts.minimum(), spreadOf(key)), token.issued + soonest));
    this.#schedule(key, item, due);
    const [valid, next] = [token.expires - token.issued, due - token.issued].map((ms) => spell(ms / 1000));
    this.parts.log.info(`${key}: refreshed at ${issuerOf(provider)}; valid for ${valid}, next in ${next}`);
  }

  #noteMissing(key: string, item: Item, missing: Scopes): void {
    const before = item.missing?.length ?? 0;
    if (missing.length === 0) delete item.missing;
    else item.missing = missing;
    if (missing.length > before)
      this.parts.log.warn(`${key}: the issuer no longer grants ${plain(spaced(missing), 300)}`);
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

  #damaged(key: string, item: Item, { trouble, stamp }: Extract<Outcome, { kind: 'damaged' }>): void {
    item.stamp = stamp ?? item.stamp;
    item.trouble = {
      kind: 'storage',
      what: `what is stored is ${trouble}`,
      hint: `run: ${loginCommand(item.id.handle === undefined ? { provider: item.provider } : { provider: item.provider, handle: item.id.handle })}`,
    };
    delete item.due;
    this.#become(item, 'damaged');
    this.parts.log.warn(`${key}.top is ${trouble}: left alone until it is replaced`);
  }

  #failed(key: string, item: Item, failure: Failure): Ended {
    const { clock, log, random } = this.parts;
    item.failures++;
    item.refusals = failure.kind === 'refused' && failure.code === 'http_400' ? item.refusals + 1 : 0;
    const dead = failure.kind === 'login-needed' || item.refusals >= refusalsUntilDead;
    if (dead) {
      const command = loginCommand({
        provider: item.provider,
        ...(item.id.handle !== undefined && { handle: item.id.handle }),
      });
      item.trouble = { kind: 'login-needed', what: failure.what, hint: `run: ${command}` };
      delete item.due;
      this.#become(item, 'login-needed');
      log.warn(`${key}: login needed: ${failure.what}; left alone until then`);
      return { well: true };
    }
    const pause = backoff(item.failures, random(), failure.wait);
    item.trouble = {
      kind: failure.kind,
      what: failure.what,
      ...(failure.hint !== undefined && { hint: failure.hint }),
    };
    this.#become(item, 'retrying');
    this.#schedule(key, item, later(clock.now(), pause));
    const left = item.life ? `; the token on disk is good for ${spell((item.life.expires - clock.now()) / 1000)}` : '';
    log.warn(`${key}: ${failure.what}; again in ${spell(pause)}${left}`);
    const everyones =
      failure.kind === 'transient' ||
      failure.kind === 'protocol' ||
      failure.code === 'invalid_client' ||
      (failure.code?.startsWith('http_') && failure.code !== 'http_400');
    return { well: !everyones, ...(failure.wait !== undefined && { asked: failure.wait }) };
  }

  /** Its issuer is being left alone after failures of others: that is how it stands as well. */
  #deferred(key: string): void {
    const item = this.#items.get(key);
    if (item === undefined) return;
    if (item.state === 'new' || item.state === 'fresh') {
      item.trouble = { kind: 'transient', what: 'its issuer does not answer well; it waits its turn' };
      this.#become(item, 'retrying');
      this.parts.changed(item.id.user);
    }
    this.#tried(item);
  }

  #become(item: Item, state: State): void {
    if (item.state === state) return;
    item.state = state;
    item.since = this.parts.clock.now();
  }

  #tried(item: Item): void {
    for (const resolve of item.tried.splice(0)) resolve();
  }

  /** After the job that is just ending has left the queue. */
  #lookSoon(user: string): void {
    this.parts.clock.after(0, () => void this.look(user));
  }

  #health(item: Item): Health & { readonly stamp: Stamp } {
    const { id, provider, state, since, life, due, trouble, missing, refreshes, stamp, scopes, audience } = item;
    const configured = this.parts.provider(provider);
    return {
      user: id.user,
      provider,
      service: id.service,
      issuer: configured ? issuerOf(configured) : provider,
      state,
      since,
      refreshes,
      stamp,
      ...(id.handle !== undefined && { handle: id.handle }),
      ...(life !== undefined && { life }),
      ...(due !== undefined && { due }),
      ...(trouble !== undefined && { trouble }),
      ...(missing !== undefined && { missing }),
      ...(scopes !== undefined && { scopes }),
      ...(audience !== undefined && { audience }),
    };
  }
}

const unknown = (provider: string): Failure => ({
  kind: 'config',
  what: `no provider "${provider}" is configured any more`,
  hint: 'configure it again; its tokens end by themselves',
});
