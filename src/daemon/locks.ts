/** Who has a credential in hand: one at a time, in the order in which they came. */
export class Locks {
  readonly #last = new Map<string, Promise<void>>();

  /** `freed` is called when nobody has it in hand any more. */
  constructor(private readonly freed: (key: string) => void) {}

  has(key: string): boolean {
    return this.#last.has(key);
  }

  /** Resolves, when everybody before has let go, to the function that lets go. */
  async take(key: string): Promise<() => void> {
    const before = this.#last.get(key);
    let release: () => void = () => {};
    const mine = new Promise<void>((resolve) => {
      release = () => {
        resolve();
        if (this.#last.get(key) !== mine) return;
        this.#last.delete(key);
        this.freed(key);
      };
    });
    this.#last.set(key, mine);
    await before;
    return release;
  }
}
