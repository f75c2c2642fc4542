import type { GrantKind } from '../core/credential.js';
import type { Life } from '../core/due.js';
import type { Ending } from '../core/ending.js';
import type { Failure } from '../core/failure.js';
import type { Health, State } from '../core/health.js';
import { type CredentialId, keyOf } from '../core/names.js';
import type { Stamp } from '../core/plan.js';
import { issuerOf, type Provider } from '../core/provider.js';
import type { Scopes } from '../core/scopes.js';
import { type EpochMs, epochMs, later } from '../core/time.js';

/** What a grant tells of itself, and the configuration of it. */
export interface Facts {
  readonly grant?: GrantKind;
  readonly scopes?: Scopes;
  readonly audience?: string;
  /** The handle of the login that it is made from; '' for none. */
  readonly origin?: string;
  readonly granted?: EpochMs;
  /** When the grant ends, by the configuration or by what was noted at the login. */
  readonly ends?: EpochMs;
  /** When it ends, by what the issuer's answers tell. */
  readonly told?: Ending;
}

const nothing: Facts = {};

/** What is alike of very many credentials is kept once. Users choose scopes, so there may be too many to remember them all. */
const alike = new Map<string, object>();
const mostAlike = 1000;

function once<T extends object>(value: T): T {
  const text = JSON.stringify(value);
  const known = alike.get(text);
  if (known !== undefined) return known as T;
  if (alike.size === mostAlike) alike.clear();
  alike.set(text, value);
  return value;
}

/** The same facts, or what is alike of them, as one object with those of others. */
export function shared(facts: Facts): Facts {
  const { scopes, granted, ends, told } = facts;
  if (granted === undefined && ends === undefined && told === undefined) return once(facts);
  return scopes === undefined ? facts : { ...facts, scopes: once(scopes) };
}

/** What is to be said of few. */
interface Rare {
  readonly failures: number;
  readonly refusals: number;
  readonly trouble: Pick<Failure, 'kind' | 'what' | 'hint'> | undefined;
  readonly missing: Scopes | undefined;
  readonly handle: string | undefined;
}

const usual: Rare = { failures: 0, refusals: 0, trouble: undefined, missing: undefined, handle: undefined };

/**
 * What is known of one credential. There may be a hundred thousand and more: every field is there from the beginning, since
 * V8 keeps an object that loses fields as a table of its own, which is five times as large.
 */
export class Item {
  readonly user: string;
  state: State = 'new';
  refreshes = 0;
  due: EpochMs | undefined = undefined;
  facts: Facts = nothing;
  /** The next one of the same user's: see book.ts. */
  next: Item | undefined = undefined;
  #issued: EpochMs | undefined = undefined;
  #expires: EpochMs | undefined = undefined;
  #service: string;
  #rare = usual;

  constructor(
    readonly key: string,
    { user, service, handle }: CredentialId,
    public provider: string,
    public stamp: Stamp,
    public since: EpochMs,
  ) {
    this.user = user;
    this.#service = service;
    this.#differ('handle', handle);
  }

  get id(): CredentialId {
    const { handle } = this.#rare;
    return { user: this.user, service: this.#service, ...(handle !== undefined && { handle }) };
  }

  /** Which part of its name is the handle is the configuration's to say, and that may be another one. */
  set id({ service, handle }: CredentialId) {
    this.#service = service;
    this.#differ('handle', handle);
  }

  get failures(): number {
    return this.#rare.failures;
  }

  set failures(count: number) {
    this.#differ('failures', count);
  }

  get refusals(): number {
    return this.#rare.refusals;
  }

  set refusals(count: number) {
    this.#differ('refusals', count);
  }

  get trouble(): Rare['trouble'] {
    return this.#rare.trouble;
  }

  set trouble(trouble: Rare['trouble']) {
    this.#differ('trouble', trouble);
  }

  get missing(): Scopes | undefined {
    return this.#rare.missing;
  }

  set missing(scopes: Scopes | undefined) {
    this.#differ('missing', scopes);
  }

  #differ<K extends keyof Rare>(key: K, value: Rare[K]): void {
    if (this.#rare[key] !== value) this.#rare = { ...this.#rare, [key]: value };
  }

  /** When the access token that jobs have ends. */
  get expires(): EpochMs | undefined {
    return this.#expires;
  }

  /** Of the access token that jobs have. */
  get life(): Life | undefined {
    const [issued, expires] = [this.#issued, this.#expires];
    return issued === undefined || expires === undefined ? undefined : { issued, expires };
  }

  set life(life: Life | undefined) {
    this.#issued = life?.issued;
    this.#expires = life?.expires;
  }

  become(state: State, now: EpochMs): void {
    if (this.state === state) return;
    this.state = state;
    this.since = now;
  }

  /** Whether only another hand can bring it on: nothing is asked for it by itself. */
  get waits(): boolean {
    return this.state === 'login-needed' || this.state === 'damaged' || this.state === 'refused';
  }
}

/** The key of the login that it is made from; undefined where it is a login itself. */
export function originOf({ user, id: { service }, facts: { origin } }: Item): string | undefined {
  if (origin === undefined) return undefined;
  return keyOf({ user, service, ...(origin !== '' && { handle: origin }) });
}

/** What is told of it. `provider`: its own, as it is configured now. */
export function healthOf(
  item: Item,
  provider: Provider | undefined,
  suspect?: EpochMs,
): Health & { readonly stamp: Stamp } {
  const { id, state, since, life, due, trouble, missing, refreshes, stamp, facts } = item;
  const { scopes, audience, grant, granted, origin } = facts;
  const ends = endOf(item, provider);
  return {
    user: id.user,
    provider: item.provider,
    service: id.service,
    issuer: provider ? issuerOf(provider) : item.provider,
    state,
    since,
    refreshes,
    stamp,
    ...(id.handle !== undefined && { handle: id.handle }),
    ...(life !== undefined && { life }),
    // Where it comes in its life is a fraction.
    ...(due !== undefined && { due: epochMs(Math.ceil(due)) }),
    ...(trouble !== undefined && { trouble }),
    ...(missing !== undefined && { missing }),
    ...(scopes !== undefined && { scopes }),
    ...(audience !== undefined && { audience }),
    ...(grant !== undefined && { grant }),
    ...(ends !== undefined && { ends }),
    ...(granted !== undefined && { granted }),
    ...(origin !== undefined && { origin }),
    ...(suspect !== undefined && { suspect }),
  };
}

/**
 * When only a login brings another grant; undefined where it is not known, or refreshes put it off, or where nobody logs in:
 * what comes by exchange is exchanged anew, and of what is made from a login it is that login which ends.
 */
export function endOf({ facts, life, state }: Item, provider: Provider | undefined): EpochMs | undefined {
  const { ends, told, origin } = facts;
  if (provider?.flow !== 'device' || origin !== undefined) return undefined;
  if (state === 'fresh') return ends ?? (told?.fixed ? told.at : undefined);
  // One that each refresh prolongs ends if these fail.
  const idle = provider.grantIdle !== undefined && life ? later(life.issued, provider.grantIdle) : undefined;
  const all = [ends, told?.at, idle].filter((end) => end !== undefined);
  return all.length === 0 ? undefined : epochMs(Math.min(...all));
}
