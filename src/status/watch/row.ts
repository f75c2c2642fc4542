import type { Health, State } from '../../core/health.js';
import { stem } from '../../core/names.js';
import { type EpochMs, epochMs } from '../../core/time.js';

/** What many credentials have in common: one object for all of them. */
export interface Kind extends Pick<Health, 'provider' | 'service' | 'handle' | 'issuer'> {
  /** `service_handle`. */
  readonly name: string;
}

/** What few have, or a list does not show. */
type More = Omit<
  Health,
  'user' | 'provider' | 'service' | 'handle' | 'issuer' | 'state' | 'life' | 'due' | 'refreshes'
>;

/** What may be lost stands above what is merely tried again. */
export const ranks = {
  'login-needed': 0,
  damaged: 1,
  refused: 2,
  suspect: 3,
  retrying: 4,
  new: 5,
  fresh: 6,
} as const satisfies Readonly<Record<State | 'suspect', number>>;

const rankOf = (state: State, suspect: boolean): number =>
  suspect ? Math.min(ranks[state], ranks.suspect) : ranks[state];

/** No such time. */
export const none = -(2 ** 30);

/**
 * One credential of very many: a {@link Health} in some 200 bytes. Times are whole seconds since a common base, since V8 keeps
 * integers of that size in the object itself, and a number of milliseconds in 16 bytes of its own.
 */
export class Row {
  state: State = 'new';
  /** How bad it is; 0 is the worst. */
  rank: number = ranks.new;
  issued = none;
  expires = none;
  due = none;
  more: More | undefined;
  /** The next of the same person. */
  next: Row | undefined;
  /** The list's: it is in there; it has to find its place anew; it is among those that are shown. */
  placed = false;
  moved = false;
  shown = false;

  constructor(
    readonly user: string,
    readonly kind: Kind,
  ) {}

  /** It is not known whether its login is lost; where that is known, its state says so. */
  get suspect(): boolean {
    return this.rank === ranks.suspect;
  }
}

/** Those that somebody should look at. */
export const isTrouble = (row: Row): boolean => row.rank <= ranks.retrying;

/** Strings and lists that are kept once, however many have them; past so many they are not worth it. */
const mostShared = 20_000;

/** Makes rows of what is told, and tells it back. */
export class Rows {
  readonly #kinds = new Map<string, Kind>();
  readonly #shared = new Map<string, unknown>();

  /** `base`: what times are counted from. */
  constructor(private readonly base: EpochMs) {}

  make(user: string, health: Health): Row {
    return new Row(user, this.kindOf(health));
  }

  kindOf({ provider, service, handle, issuer }: Health): Kind {
    const key = `${provider}\0${service}\0${handle ?? '\0'}\0${issuer}`;
    const known = this.#kinds.get(key);
    if (known) return known;
    const name = stem({ service, ...(handle !== undefined && { handle }) });
    const kind = { provider, service, ...(handle !== undefined && { handle }), issuer, name };
    if (this.#kinds.size >= mostShared) this.#kinds.clear();
    this.#kinds.set(key, kind);
    return kind;
  }

  /** Takes over what is told now; whether anything of it is new. */
  take(row: Row, { state, life, due, ...rest }: Health): boolean {
    const issued = this.seconds(life?.issued);
    const expires = this.seconds(life?.expires);
    const next = this.seconds(due);
    const more = this.#more(state, rest);
    const same =
      row.state === state &&
      row.issued === issued &&
      row.expires === expires &&
      row.due === next &&
      isSame(row.more, more);
    if (same) return false;
    const rank = rankOf(state, more?.suspect !== undefined);
    Object.assign(row, { state: this.#once(state, state), rank, issued, expires, due: next, more });
    return true;
  }

  /** The other way round; to the second. */
  health(row: Row): Health {
    const { user, kind, state, issued, expires, due, more } = row;
    const { name: _, ...id } = kind;
    return {
      since: this.moment(0),
      ...more,
      user,
      ...id,
      state,
      refreshes: 0,
      ...(expires !== none && { life: { issued: this.moment(issued), expires: this.moment(expires) } }),
      ...(due !== none && { due: this.moment(due) }),
    };
  }

  moment = (seconds: number): EpochMs => epochMs(this.base + seconds * 1000);

  seconds(at: EpochMs | undefined): number {
    if (at === undefined || !Number.isFinite(at)) return none;
    return Math.max(none + 1, Math.min(-none, Math.floor((at - this.base) / 1000)));
  }

  #more(state: State, told: Omit<Health, 'state' | 'life' | 'due'>): More | undefined {
    const { since, trouble, missing, scopes, audience, grant, origin, ends, granted, suspect } = told;
    const usual = grant === undefined || grant === 'refresh';
    const rest = [trouble, missing, scopes, audience, origin, ends, suspect];
    if (state === 'fresh' && usual && rest.every((one) => one === undefined)) return undefined;
    return {
      since,
      ...(trouble && { trouble: this.#once(`${trouble.kind}\0${trouble.what}\0${trouble.hint ?? ''}`, trouble) }),
      ...(missing && { missing: this.#once(`\0${missing.join(' ')}`, missing) }),
      ...(scopes && { scopes: this.#once(`\0${scopes.join(' ')}`, scopes) }),
      ...(audience !== undefined && { audience: this.#once(audience, audience) }),
      ...(usual ? {} : { grant }),
      ...(origin !== undefined && { origin: this.#once(origin, origin) }),
      ...(ends !== undefined && { ends }),
      ...(granted !== undefined && { granted }),
      ...(suspect !== undefined && { suspect }),
    };
  }

  #once<T>(key: string, value: T): T {
    const known = this.#shared.get(key);
    if (known !== undefined) return known as T;
    if (this.#shared.size >= mostShared) this.#shared.clear();
    this.#shared.set(key, value);
    return value;
  }
}

/** Made in one place, so that the same always has the same JSON. */
const isSame = (a: More | undefined, b: More | undefined): boolean =>
  a === undefined || b === undefined ? a === b : JSON.stringify(a) === JSON.stringify(b);
