import type { Clock, Log } from '../core/ports.js';

/** So many lines are written of what befalls one after the other within so many milliseconds; of the rest, how many they were. */
const [most, span] = [60, 60_000];

/** Warnings that may be as many as there are credentials, when all of them meet the same trouble: a full disk, for one. */
export class Ration {
  #since = Number.NEGATIVE_INFINITY;
  #said = 0;
  #more = 0;

  constructor(private readonly parts: { readonly clock: Clock; readonly log: Log }) {}

  warn(text: string): void {
    const { clock, log } = this.parts;
    const now = clock.steady();
    if (now - this.#since >= span) [this.#since, this.#said] = [now, 0];
    if (this.#said++ < most) {
      log.warn(text);
      return;
    }
    log.debug(text);
    if (this.#more++ > 0) return;
    clock.after(span - (now - this.#since), () => {
      log.warn(`${this.#more} more such lines within a minute: credmon status tells of each credential`);
      this.#more = 0;
    });
  }
}
