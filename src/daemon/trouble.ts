import type { Clock, Log } from '../core/ports.js';
import { errnoOf } from '../stores/atomic.js';

/** How soon what failed is tried again, and at last: milliseconds. */
const [first, last] = [500, 5000];

/** Something that is written again and again, and sometimes cannot be: told of once, and tried again after a pause. */
export class Trouble {
  #said = '';
  #inRow = 0;
  #pause = first / 2;
  #retry = Number.NEGATIVE_INFINITY;

  /** After `enough` failures in a row it is not one file, and nothing more is tried before the pause is over. */
  constructor(
    private readonly parts: { readonly clock: Pick<Clock, 'steady'>; readonly log: Pick<Log, 'error' | 'info'> },
    private readonly what: string,
    private readonly enough = 1,
  ) {}

  /** When what failed is tried again, by the steady clock. */
  get retry(): number {
    return this.#retry;
  }

  /** Until when nothing is tried at all. */
  get until(): number {
    return this.#inRow >= this.enough ? this.#retry : Number.NEGATIVE_INFINITY;
  }

  get isOn(): boolean {
    return this.until > this.parts.clock.steady();
  }

  failed(thrown: unknown): void {
    const { message } = thrown as Error;
    // Each message names another file.
    const why = errnoOf(thrown) ?? message;
    if (why !== this.#said) this.parts.log.error(`cannot write ${this.what}: ${message}`);
    this.#said = why;
    this.#inRow++;
    const now = this.parts.clock.steady();
    if (this.#retry > now) return;
    this.#pause = Math.min(last, this.#pause * 2);
    this.#retry = now + this.#pause;
  }

  /** One of many went well. */
  went(): void {
    this.#inRow = 0;
  }

  /** Nothing is left that could not be written, unless the last thing failed. */
  isOver(): void {
    if (this.#inRow > 0) return;
    if (this.#said !== '') this.parts.log.info(`${this.what} is written again`);
    this.#said = '';
    this.#pause = first / 2;
  }

  /** It is tried again at once. */
  hurry(): void {
    this.#retry = Number.NEGATIVE_INFINITY;
  }
}
