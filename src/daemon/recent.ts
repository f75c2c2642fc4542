/** The names that were added last; with too many, the oldest are forgotten. */
export class Recent {
  readonly #names = new Set<string>();

  constructor(private readonly most: number) {}

  has(name: string): boolean {
    return this.#names.has(name);
  }

  add(name: string): void {
    this.#names.delete(name);
    this.#names.add(name);
    const [oldest] = this.#names;
    if (this.#names.size > this.most && oldest !== undefined) this.#names.delete(oldest);
  }

  delete(name: string): void {
    this.#names.delete(name);
  }
}
