/** Earliest first. Each name stands in it at most once; to set it again moves it. All operations O(log n). */
export class Heap {
  readonly #names: string[] = [];
  readonly #at = new Map<string, number>();
  readonly #place = new Map<string, number>();

  get size(): number {
    return this.#names.length;
  }

  at(name: string): number | undefined {
    return this.#at.get(name);
  }

  set(name: string, at: number): void {
    if (Number.isNaN(at)) throw new RangeError(`no time for ${name}`);
    const known = this.#place.get(name);
    this.#at.set(name, at);
    if (known === undefined) {
      this.#place.set(name, this.#names.length);
      this.#names.push(name);
      this.#up(this.#names.length - 1);
    } else {
      this.#down(this.#up(known));
    }
  }

  delete(name: string): boolean {
    const place = this.#place.get(name);
    if (place === undefined) return false;
    const last = this.#names.pop() as string;
    this.#place.delete(name);
    this.#at.delete(name);
    if (last !== name) {
      this.#names[place] = last;
      this.#place.set(last, place);
      this.#down(this.#up(place));
    }
    return true;
  }

  peek(): { readonly name: string; readonly at: number } | undefined {
    const name = this.#names[0];
    return name === undefined ? undefined : { name, at: this.#time(name) };
  }

  #time(name: string): number {
    return this.#at.get(name) as number;
  }

  #earlier(i: number, j: number): boolean {
    return this.#time(this.#names[i] as string) < this.#time(this.#names[j] as string);
  }

  #swap(i: number, j: number): void {
    const a = this.#names[i] as string;
    const b = this.#names[j] as string;
    this.#names[i] = b;
    this.#names[j] = a;
    this.#place.set(b, i);
    this.#place.set(a, j);
  }

  #up(i: number): number {
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!this.#earlier(i, parent)) break;
      this.#swap(i, parent);
      i = parent;
    }
    return i;
  }

  #down(i: number): void {
    for (;;) {
      let least = i;
      for (const child of [2 * i + 1, 2 * i + 2]) {
        if (child < this.#names.length && this.#earlier(child, least)) least = child;
      }
      if (least === i) return;
      this.#swap(i, least);
      i = least;
    }
  }
}
