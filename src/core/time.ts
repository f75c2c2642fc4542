/** A span of time in seconds: never negative, never NaN. */
export type Seconds = number & { readonly [unit]: 'seconds' };
/** A moment on the wall clock, in milliseconds since 1970-01-01 UTC. */
export type EpochMs = number & { readonly [unit]: 'epoch-ms' };

declare const unit: unique symbol;

/** The longest delay a Node timer takes: one millisecond more and it fires at once. */
export const longestTimer = 2 ** 31 - 1;

export function seconds(n: number): Seconds {
  if (!Number.isFinite(n) || n < 0) throw new RangeError(`not a duration in seconds: ${n}`);
  return n as Seconds;
}

export const epochMs = (n: number): EpochMs => n as EpochMs;

/** `from` plus a span; the span may be any number of seconds, also a negative one. */
export const later = (from: EpochMs, span: number): EpochMs => epochMs(from + span * 1000);

/** What a timer may be given: whole milliseconds from 0 to {@link longestTimer}. */
export function timerDelay(ms: number): number {
  if (!(ms > 0)) return 0;
  return Math.min(longestTimer, Math.ceil(ms));
}

/** "41 s", "12 min", "3 h 20 min", "9 days": how long something takes or has left, for people. */
export function spell(span: number): string {
  const s = Math.max(0, Math.round(span));
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172_800) {
    const minutes = Math.round((s % 3600) / 60);
    return minutes === 0 || minutes === 60 ? `${Math.round(s / 3600)} h` : `${Math.floor(s / 3600)} h ${minutes} min`;
  }
  return `${Math.round(s / 86_400)} days`;
}

/** "2026-11-25 14:05 UTC": a moment, for people who may read it later than it was written. */
export function utc(at: EpochMs): string {
  const date = new Date(at);
  return Number.isNaN(date.getTime())
    ? 'a day beyond reckoning'
    : `${date.toISOString().slice(0, -8).replace('T', ' ')} UTC`;
}
