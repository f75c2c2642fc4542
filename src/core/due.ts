import type { Room } from './level.js';
import { type EpochMs, epochMs, type Seconds } from './time.js';

/** What must still be left of a token on disk, whatever happens: CREDMON_OAUTH_TOKEN_MINIMUM. */
export interface Life {
  readonly issued: EpochMs;
  readonly expires: EpochMs;
}

/** So much earlier than it must be, for the refresh itself and a try or two more: a share of the life, and at most milliseconds. */
const [lead, longestLead] = [0.05, 60_000];
/** Before so much of a life is over it is not refreshed: a share of it. */
const soonest = 0.1;

/**
 * When to refresh: at a point between 50 % and 70 % of the real life, and always so early that the token on disk
 * outlives `minimum`; but not before a tenth of the life is over, so that short tokens do not become a storm.
 * `spread` in [0, 1) is fixed for a credential: 10^5 that were issued together do not come due together.
 */
export function dueAt({ issued, expires }: Life, minimum: Seconds, spread: number): EpochMs {
  const life = Math.max(0, expires - issued);
  const usual = issued + life * (0.5 + 0.2 * spread);
  const guaranteed = expires - minimum * 1000 - Math.min(life * lead, longestLead) - life * 0.1 * (1 - spread);
  return epochMs(Math.max(issued + life * soonest, Math.min(usual, guaranteed)));
}

/** What room there is about that point, for those whose time {@link Level} makes even. */
export function roomOf(life: Life, minimum: Seconds, spread: number): Room {
  const at = (one: number) => dueAt(life, minimum, one);
  const earliest = epochMs(life.issued + Math.max(0, life.expires - life.issued) * soonest);
  return { own: at(spread), from: at(0), to: at(1), earliest };
}

/** The same, but not after `end`. */
export function before(end: EpochMs, { own, from, to, earliest }: Room): Room {
  const at = (one: EpochMs) => epochMs(Math.min(one, end));
  return { own: at(own), from: at(from), to: at(to), earliest: at(earliest) };
}

/** Whether tokens of this life cannot keep the promise of {@link dueAt}. */
export function tooShort({ issued, expires }: Life, minimum: Seconds): boolean {
  return (expires - issued) * 0.8 < minimum * 1000;
}

/** A number in [0, 1) that is the same for a name at each start (FNV-1a, 32 bits). */
export function spreadOf(name: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) {
    hash ^= name.charCodeAt(i);
    hash = Math.imul(hash, 0x01000193);
  }
  // FNV leaves the top bits of short names alike: mix once more.
  hash ^= hash >>> 16;
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  return (hash >>> 0) / 2 ** 32;
}
