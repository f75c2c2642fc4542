import { type EpochMs, epochMs } from './time.js';

/** Between when a refresh may be: see `roomOf` in due.ts. */
export interface Room {
  /** Where it is when nothing speaks against it. */
  readonly own: EpochMs;
  /** Where it is spread by itself. */
  readonly from: EpochMs;
  /** And never later than that. */
  readonly to: EpochMs;
  /** If it must be: it is early, but not useless. */
  readonly earliest: EpochMs;
}

/** So many seconds are counted, then the next ones take their places again: 18 hours, which nearly all are within. */
const ring = 1 << 16;
/** Seconds with fewer are left as they come: with few credentials each has its own place, the same at each start. */
const few = 8;
/** A place is made more even with so many seconds behind it. */
const nearby = 16;
/** Elsewhere so many places are looked at, in all that is usual and in all that is early. */
const looks = 64;
/** A second is full with so many times what comes by on average, and some. */
const [share, some] = [1.05, 1];
/** How much the newest counts for what is usual. */
const weight = 1 / 256;

/**
 * Keeps refreshes from coming in herds: what was issued in one minute comes due in one, and comes back in one. Of what is
 * ahead it is counted how much comes in each second. A full second gives way to another of the same spread, and where all are
 * full to an earlier one: once refreshed early, they are spread for good. And what is random is made even among neighbours.
 */
export class Level {
  readonly #counts = new Int32Array(ring);
  #size = 0;
  /** From one refresh of a credential to the next, of all that were placed of late: milliseconds. */
  #usual = 0;

  /** It comes then: counts until it is taken out by {@link delete}. */
  add(at: EpochMs): void {
    this.#change(at, 1);
  }

  /** Must have been added for this time. */
  delete(at: EpochMs): void {
    this.#change(at, -1);
  }

  /** When it had best come, from `now` on. Is not counted by this. `issued`: when its time began. */
  place({ own, from, to, earliest }: Room, issued: EpochMs, now: EpochMs): EpochMs {
    const period = own - issued;
    if (period > 0) this.#usual += (period - this.#usual) * (this.#usual === 0 ? 1 : weight);
    if (own <= now || this.#at(own) < few) return own;
    const full = this.#size > 0 && this.#usual > 0 ? (share * this.#size * 1000) / this.#usual + some : few;
    let best = own;
    for (let at: number = own; at <= Math.min(to, own + nearby * 1000); at += 1000)
      if (this.#at(at) < this.#at(best)) best = epochMs(at);
    if (this.#at(best) < full) return best;
    for (const at of elsewhere({ own, from, to, earliest }, now)) {
      if (this.#at(at) < this.#at(best)) best = epochMs(at);
      if (this.#at(best) < full) return best;
    }
    return best;
  }

  #at(at: number): number {
    return this.#counts[Math.floor(at / 1000) & (ring - 1)] as number;
  }

  #change(at: EpochMs, by: number): void {
    const second = Math.floor(at / 1000) & (ring - 1);
    this.#counts[second] = (this.#counts[second] as number) + by;
    this.#size += by;
  }
}

/** All over what is usual, around from its own place, so that not all look at the same; then what is early, the latest first. */
function* elsewhere({ own, from, to, earliest }: Room, now: EpochMs): Iterable<number> {
  const [begin, first] = [Math.max(from, now), Math.max(earliest, now)];
  const step = strideOf(to - begin);
  for (let at = own + step; at <= to; at += step) yield at;
  for (let at = own - step; at >= begin; at -= step) yield at;
  const early = strideOf(begin - first);
  for (let at = own - Math.ceil((own - begin) / early) * early; at >= first; at -= early) yield at;
}

/** In whole seconds: milliseconds. */
const strideOf = (span: number): number => 1000 * Math.max(1, Math.ceil(span / looks / 1000));
