/** One look at a process: when (seconds), and what was counted or measured then. */
export interface Sample {
  readonly at: number;
  readonly value: number;
}

export interface Growth {
  readonly flat: boolean;
  /** What it is in the middle of the time. */
  readonly usual: number;
  /** By how much it has grown from the beginning to the end. */
  readonly grown: number;
}

/** What a measure may grow by and still be called flat: a share of what it usually is, and an amount that is nothing. */
export interface Tolerance {
  readonly share: number;
  readonly amount: number;
}

/** What stands for a stretch of time: the least where garbage comes and goes, and what stays is what leaks; else the middle. */
export type Standing = 'least' | 'middle';

/**
 * Whether a measure stays where it is, by what stands for each stretch of time; the slope is the median of those between all
 * pairs (Theil and Sen), which a few odd stretches do not move.
 */
export function growth(
  samples: readonly Sample[],
  stretch: number,
  { share, amount }: Tolerance,
  standing: Standing = 'least',
): Growth {
  const parts = new Map<number, Sample[]>();
  for (const sample of samples) {
    const n = Math.floor(sample.at / stretch);
    parts.set(n, [...(parts.get(n) ?? []), sample]);
  }
  const low = [...parts.values()].map((part) => {
    const sorted = [...part].sort((a, b) => a.value - b.value);
    return sorted[standing === 'least' ? 0 : Math.floor(sorted.length / 2)] as Sample;
  });
  const slopes = low.flatMap((a, n) => low.slice(n + 1).map((b) => (b.value - a.value) / (b.at - a.at)));
  const usual = median(low.map(({ value }) => value));
  const span = (low.at(-1)?.at ?? 0) - (low[0]?.at ?? 0);
  const grown = slopes.length === 0 ? 0 : median(slopes) * span;
  return { flat: low.length >= 4 && grown <= Math.max(amount, share * usual), usual, grown };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return ((sorted[Math.floor(middle)] ?? 0) + (sorted[Math.ceil(middle) - 1] ?? 0)) / 2;
}
