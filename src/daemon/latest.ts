/**
 * Names that wait for something, the one that came last first: when very many wait at once, a person who has just done
 * something need not wait for all of them. Who waits already and comes again is first again.
 */
export class Latest {
  readonly #waiting = new Set<string>();
  #order: string[] = [];

  get size(): number {
    return this.#waiting.size;
  }

  has(name: string): boolean {
    return this.#waiting.has(name);
  }

  add(name: string): void {
    this.#waiting.add(name);
    this.#order.push(name);
    // Those who came again are in it twice.
    if (this.#order.length > 2 * this.#waiting.size + 1000) this.#order = [...new Set(this.#order.reverse())].reverse();
  }

  delete(name: string): void {
    this.#waiting.delete(name);
  }

  /** At most `most` of them, who then wait no more. */
  take(most: number): string[] {
    const taken: string[] = [];
    while (taken.length < most) {
      const name = this.#order.pop();
      if (name === undefined) break;
      if (this.#waiting.delete(name)) taken.push(name);
    }
    return taken;
  }
}
