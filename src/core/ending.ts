import type { EpochMs } from './time.js';

/** When a grant ends, as an issuer's answers tell it: some prolong it at each refresh, some do not. */
export interface Ending {
  readonly at: EpochMs;
  /** When it was told. */
  readonly seen: EpochMs;
  /** The same moment was told again later: refreshes do not prolong it. */
  readonly fixed?: boolean;
}

/** Two answers within this time tell nothing, and the first of them is gone by: milliseconds. */
const patience = 30_000;

export function afterAnswer(before: Ending | undefined, at: EpochMs, now: EpochMs): Ending {
  if (before === undefined) return { at, seen: now };
  if (now - before.seen < patience) return before;
  return { at, seen: now, fixed: at - before.at < (now - before.seen) / 2 };
}
