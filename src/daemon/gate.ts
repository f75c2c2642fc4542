import { backoff } from '../core/backoff.js';
import { afterAnswer, type Batch, firstBatch } from '../core/batch.js';
import type { Random } from '../core/ports.js';
import type { Seconds } from '../core/time.js';

/** People who fail with nobody faring well in between, after which the issuer is left alone for a while. */
const patience = 3;

/**
 * One issuer's door: how many requests it gets at once, and for how long it is left alone when it does not answer well. An
 * issuer's trouble is what several people have with it. What only one or two have may be of their own making, and is met by
 * the pauses of their own credentials: else one person's bad credentials would stop everybody's.
 * Times are schedule time, in milliseconds.
 */
export class Gate {
  #batch: Batch = firstBatch;
  #inside = 0;
  readonly #failed = new Set<string>();
  #pauses = 0;
  #closedUntil = 0;

  constructor(private readonly random: Random) {}

  /** Milliseconds until it would be worth asking again; 0: enter() now. Undefined: when someone leaves. */
  wait(now: number): number | undefined {
    if (now < this.#closedUntil) return this.#closedUntil - now;
    // After a pause one goes ahead to see; the others follow when it has come back well.
    const limit = this.#isShut() ? 1 : this.#batch.limit;
    return this.#inside < limit ? 0 : undefined;
  }

  /** Who should go ahead when only one may: not those who failed before, if there is somebody else. */
  prefers(user: string): boolean {
    return !this.#isShut() || !this.#failed.has(user);
  }

  enter(): void {
    this.#inside++;
  }

  /** `well`: the issuer answered, whatever it said of this one credential. */
  leave(user: string, well: boolean, now: number, asked?: Seconds): void {
    this.#inside--;
    if (well) {
      this.#batch = afterAnswer(this.#batch, true);
      this.#failed.clear();
      this.#pauses = 0;
      this.#closedUntil = 0;
      return;
    }
    if (!this.#failed.has(user)) this.#batch = afterAnswer(this.#batch, false);
    this.#failed.add(user);
    if (!this.#isShut()) return;
    this.#pauses++;
    this.#closedUntil = Math.max(this.#closedUntil, now + backoff(this.#pauses, this.random(), asked) * 1000);
  }

  #isShut(): boolean {
    return this.#failed.size >= patience;
  }
}
