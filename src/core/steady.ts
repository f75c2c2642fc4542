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
