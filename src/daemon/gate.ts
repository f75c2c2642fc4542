import { backoff } from '../core/backoff.js';
import { afterAnswer, type Batch, firstBatch } from '../core/batch.js';
import type { Random } from '../core/ports.js';
import type { Seconds } from '../core/time.js';

/** Failures in a row after which an issuer is left alone for a while; fewer may be one person's trouble. */
const patience = 3;

/**
 * One issuer's door: how many requests it gets at once, and for how long it is left alone when it does not answer well.
 * Times are schedule time, in milliseconds.
 */
export class Gate {
  #batch: Batch = firstBatch;
  #inside = 0;
  #failures = 0;
  #closedUntil = 0;

  constructor(private readonly random: Random) {}

  /** Milliseconds until it would be worth asking again; 0: enter() now. Undefined: when someone leaves. */
  wait(now: number): number | undefined {
    if (now < this.#closedUntil) return this.#closedUntil - now;
    // After a pause one goes ahead to see; the others follow when it has come back well.
    const limit = this.#failures >= patience ? 1 : this.#batch.limit;
    return this.#inside < limit ? 0 : undefined;
  }

  enter(): void {
    this.#inside++;
  }

  /** `well`: the issuer answered, whatever it said of this one credential. */
  leave(well: boolean, now: number, asked?: Seconds): void {
    this.#inside--;
    this.#batch = afterAnswer(this.#batch, well);
    if (well) {
      this.#failures = 0;
      this.#closedUntil = 0;
      return;
    }
    this.#failures++;
    if (this.#failures >= patience || asked !== undefined) {
      const pause = backoff(Math.max(1, this.#failures - patience + 1), this.random(), asked);
      this.#closedUntil = Math.max(this.#closedUntil, now + pause * 1000);
    }
  }
}
