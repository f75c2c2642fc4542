import { type EpochMs, epochMs } from './time.js';

/** Steps of the wall clock smaller than this are slewing and rounding, not jumps. */
const jump = 1000;

/**
 * The time a schedule is kept on: the steady clock, plus every leap forward of the wall clock. It never goes back: a
 * wall clock set back an hour delays nothing, one set forward (or a laptop that slept, during which the steady clock
 * stands still) makes due at once what has expired meanwhile.
 */
export class ScheduleTime {
  #drift: number;
  #lead = 0;

  constructor(wall: number, steady: number) {
    this.#drift = wall - steady;
  }

  /** Milliseconds, on a scale of its own. */
  read(wall: number, steady: number): number {
    const drift = wall - steady;
    const step = drift - this.#drift;
    if (Math.abs(step) > jump) {
      this.#drift = drift;
      this.#lead += Math.max(0, step);
    }
    return steady + this.#lead;
  }
}

/** One moment on both clocks. */
export interface Moment {
  readonly wall: EpochMs;
  readonly steady: number;
}

export const momentOf = (clock: { now(): EpochMs; steady(): number }): Moment => ({
  wall: clock.now(),
  steady: clock.steady(),
});

/**
 * When an answer was made, at the earliest, by the wall clock as it is now: the machine may have slept between request and
 * answer, during which the steady clock stands still, and the wall clock may have been set back.
 */
export function madeAt(sent: Moment, received: Moment): EpochMs {
  // The steady clock has fractions of a millisecond, which the wall clock has not.
  const took = Math.floor(received.steady - sent.steady);
  return epochMs(received.wall - Math.max(0, received.wall - sent.wall, took));
}
