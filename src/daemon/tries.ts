import type { Item } from './item.js';

interface Round {
  readonly left: Set<Item>;
  /** Once all that are waited for have been added. */
  over?: () => void;
}

/** For whoever waits until each of some credentials has been tried once, put off or dropped. */
export class Tries {
  readonly #rounds = new Set<Round>();

  /** They are added one after the other, and what is tried meanwhile is not waited for any more. `over` resolves after the last. */
  begin(): { add(item: Item): void; over(): Promise<void> } {
    const round: Round = { left: new Set() };
    this.#rounds.add(round);
    return {
      add: (item) => void round.left.add(item),
      over: () =>
        new Promise((resolve) => {
          round.over = resolve;
          this.#check(round);
        }),
    };
  }

  tried(item: Item): void {
    for (const round of this.#rounds) if (round.left.delete(item)) this.#check(round);
  }

  #check(round: Round): void {
    if (round.over === undefined || round.left.size > 0) return;
    this.#rounds.delete(round);
    round.over();
  }
}
