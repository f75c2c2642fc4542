import { backoff } from '../core/backoff.js';
import { afterAnswer, type Batch, firstBatch } from '../core/batch.js';
import type { Random } from '../core/ports.js';
import { type Seconds, seconds } from '../core/time.js';

/** People who fail with nobody faring well in between, after which the issuer is left alone for a while. */
const patience = 3;
/** An issuer that was left alone is asked by one so often at the least: else it may be back for long before that is noticed. */
const longest = seconds(60);
/** So many of those who failed are told apart: of more it is plainly the issuer's trouble. */
const remembered = 1000;

/**
 * One issuer's door: how many requests it gets at once, and for how long it is left alone when it does not answer well. An
 * issuer's trouble is what several people have with it. What only one or two have may be of their own making, and is met by
 * the pauses of their own credentials: else one person's bad credentials would stop everybody's.
 * People are numbers here (jobs.ts). Times are schedule time, in milliseconds.
 */
export class Gate {
  #batch: Batch = firstBatch;
  #inside = 0;
  /** Those who failed since somebody fared well. */
  readonly #failed = new Set<number>();
  /** Those whose last one failed, however well others fared since. */
  readonly #troubled = new Set<number>();
  #pauses = 0;
  #closedUntil = 0;
  /** Until when it has asked to be left alone. */
  #askedUntil = 0;

  constructor(private readonly random: Random) {}

  /** Milliseconds until it would be worth asking again; 0: enter() now. Undefined: when someone leaves. */
  wait(now: number): number | undefined {
    if (now < this.#closedUntil) return this.#closedUntil - now;
    // After a pause one goes ahead to see; the others follow when it has come back well.
    const limit = this.isShut ? 1 : this.#batch.limit;
    return this.#inside < limit ? 0 : undefined;
  }

  isClosed(now: number): boolean {
    return now < this.#closedUntil;
  }

  /**
   * Who should not be the one that goes ahead, if there is somebody else: those with troubles of their own would shut the gate
   * again and again, one a pause, while all the others wait.
   */
  hasFailed(who: number): boolean {
    return this.#troubled.has(who);
  }

  enter(): void {
    this.#inside++;
  }

  leave(): void {
    this.#inside--;
  }

  /** `well`: the issuer answered, whatever it said of this one credential. */
  fared(who: number, well: boolean, now: number, asked?: Seconds): void {
    if (well) {
      this.#batch = afterAnswer(this.#batch, true);
      this.#failed.clear();
      this.#troubled.delete(who);
      this.#pauses = 0;
      this.#closedUntil = 0;
      return;
    }
    if (!this.#failed.has(who)) this.#batch = afterAnswer(this.#batch, false);
    if (this.#failed.size < remembered) this.#failed.add(who);
    if (this.#troubled.size < remembered) this.#troubled.add(who);
    if (!this.isShut) return;
    // What was in flight when it closed is of the same trouble, however much that was.
    if (!this.isClosed(now)) this.#pauses++;
    const until = now + backoff(this.#pauses, this.random(), asked, longest) * 1000;
    this.#closedUntil = Math.max(this.#closedUntil, until);
    if (asked !== undefined) this.#askedUntil = until;
  }

  /** It may be asked in another way from now on: one goes ahead to see, unless it has asked to be left alone. */
  reopen(): void {
    this.#pauses = 0;
    this.#closedUntil = Math.min(this.#closedUntil, this.#askedUntil);
  }

  /** Several people have failed, and nobody has fared well since: one at a time sees whether it is back. */
  get isShut(): boolean {
    return this.#failed.size >= patience;
  }
}
