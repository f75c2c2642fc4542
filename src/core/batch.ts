/**
 * How many requests one issuer gets at once: halves when it fails. Until it first fails each good answer makes it one more,
 * which doubles it with each full round; afterwards a full round that went well does, so that an issuer that comes back is
 * not stormed. Each request in flight is a grant at risk should the machine die: how many of these are used is for
 * {@link placesFor} to say.
 */
export interface Batch {
  readonly limit: number;
  readonly wins: number;
  /** It has failed since it last stood at the top. */
  readonly careful: boolean;
}

const least = 1;
/** As many as there are over all issuers. */
export const most = 64;

/**
 * With those that their issuer has answered, and that are being written, there may be half as many more: how many refresh
 * tokens are out at once.
 */
export const withWritten = (places: number): number => Math.floor(places * 1.5);

export const firstBatch: Batch = { limit: 8, wins: 0, careful: false };

export function afterAnswer(batch: Batch, well: boolean): Batch {
  if (!well) return { limit: Math.max(least, Math.floor(batch.limit / 2)), wins: 0, careful: true };
  if (batch.limit === most) return batch.careful ? { limit: most, wins: 0, careful: false } : batch;
  const wins = batch.wins + 1;
  if (batch.careful && wins < batch.limit) return { ...batch, wins };
  return { ...batch, limit: batch.limit + 1, wins: 0 };
}

/** What a steady load does with: with 140 a second that take 60 ms each eight are always busy, and would come to be late. */
const steady = 9;
/** From so late on there are more places, and all of them when it is so late: milliseconds. */
const behind = 250;
const late = 1000;

/**
 * How many requests may be in flight, for those who wait at one issuer: as many as it takes to have asked for all of them
 * within a second, and all there are when the first of them is late by that. `took`: one request, in milliseconds.
 */
export function placesFor(waiting: number, took: number, lateBy: number): number {
  const within = (waiting * took) / late;
  const catching = steady + (most - steady) * ((lateBy - behind) / (late - behind));
  return Math.floor(Math.min(most, Math.max(steady, within, catching)));
}

/**
 * How many of these one of so many issuers has in any case. Without that an issuer with thousands in arrears takes all places,
 * and a few people with many credentials each at another, who are not late at any of their turns, get one at a time.
 */
export const shareOf = (issuers: number): number => Math.max(1, Math.floor(steady / issuers));

/** What the daemon has open besides. */
const besides = 40;
/** One refresh has a connection, a folder and two files, and there may be half as many more ({@link withWritten}). */
const each = 6;

/** How many requests may be in flight with so many descriptors: with too few none could be written down. */
export const placesWithin = (descriptors: number | undefined): number =>
  descriptors === undefined ? most : Math.max(1, Math.min(most, Math.floor((descriptors - besides) / each)));
