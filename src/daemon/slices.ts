import { setImmediate as breathe } from 'node:timers/promises';
import type { Clock } from '../core/ports.js';

/** Others have their turn when we have been at it for so long: milliseconds. */
const slice = 1;

/** For whoever has 100,000 things to do: others have their turn in between. */
export class Slices {
  #since: number;
  #spent = 0;

  constructor(private readonly clock: Pick<Clock, 'steady'>) {
    this.#since = clock.steady();
  }

  /** To be awaited between any two: nearly always it is over at once. */
  async others(): Promise<void> {
    const now = this.clock.steady();
    if (now - this.#since < slice) return;
    this.#spent += now - this.#since;
    await breathe();
    this.#since = this.clock.steady();
  }

  /** What it took of us so far, without what others did meanwhile: milliseconds. */
  get spent(): number {
    return this.#spent + this.clock.steady() - this.#since;
  }
}
