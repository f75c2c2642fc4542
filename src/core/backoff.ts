import { type Seconds, seconds } from './time.js';

/** Waits after the first, second, … failure in a row. Heavier at the front: most troubles are over within a minute. */
const table = [2, 5, 10, 20, 30, 60, 60, 120, 120, 300, 300, 600] as const;
const longestAsked = 3600;

/**
 * How long to wait after `failures` in a row (1 is the first). `chance` in [0, 1) takes up to a quarter off, so that
 * those who failed together do not come back together. `asked` is Retry-After: kept to, up to an hour. `longest`: no longer
 * of its own accord than this, where something is lost by waiting.
 */
export function backoff(failures: number, chance: number, asked?: Seconds, longest?: Seconds): Seconds {
  const whole = table[Math.min(Math.max(failures, 1), table.length) - 1] as number;
  const base = Math.min(whole, longest ?? whole);
  const own = base * (1 - 0.25 * chance);
  return seconds(Math.max(own, Math.min(asked ?? 0, longestAsked)));
}
