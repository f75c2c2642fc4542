/** Of many jobs, each a small number: when each comes, and where in a {@link Heap} it stands; -1 in none. */
export class Places {
  at = new Float64Array(0);
  place = new Int32Array(0);

  /** Makes room for the numbers below `size`. */
  grow(size: number): void {
    this.at = enlarged(this.at, new Float64Array(size));
    this.place = enlarged(this.place, new Int32Array(size).fill(-1));
  }
}

/** `larger` with what `column` holds. */
export function enlarged<T extends { readonly length: number; set(from: ArrayLike<number>): void }>(
  column: ArrayLike<number>,
  larger: T,
): T {
  larger.set(column);
  return larger;
}

/**
 * Earliest first. Heaps of the same `places` share their jobs, each of which stands in one of them at most. What there is a
 * job is 4 bytes here and 12 there, of which a process of a hundred thousand has good use. All operations O(log n).
 */
export class Heap {
  #jobs = new Int32Array(8);
  #size = 0;

  constructor(private readonly places: Places) {}

  get size(): number {
    return this.#size;
  }

  get first(): number | undefined {
    return this.#size === 0 ? undefined : this.#jobs[0];
  }

  /** Must stand in none. Throws RangeError for no time at all. */
  add(job: number, at: number): void {
    if (Number.isNaN(at)) throw new RangeError('not a time');
    if (this.#size === this.#jobs.length) this.#jobs = enlarged(this.#jobs, new Int32Array(2 * this.#size));
    this.places.at[job] = at;
    this.#up(this.#size++, job);
  }

  /** Must stand in this one. */
  delete(job: number): void {
    const place = this.places.place[job] as number;
    this.places.place[job] = -1;
    const last = this.#jobs[--this.#size] as number;
    if (last === job) return;
    this.#up(place, last);
    this.#down(this.places.place[last] as number, last);
  }

  /** All of them, in no order. */
  all(): Int32Array {
    return this.#jobs.slice(0, this.#size);
  }

  #put(job: number, place: number): void {
    this.#jobs[place] = job;
    this.places.place[job] = place;
  }

  /** `job` belongs at `place` or above. */
  #up(place: number, job: number): void {
    const { at } = this.places;
    const mine = at[job] as number;
    let here = place;
    while (here > 0) {
      const parent = (here - 1) >> 1;
      const other = this.#jobs[parent] as number;
      if ((at[other] as number) <= mine) break;
      this.#put(other, here);
      here = parent;
    }
    this.#put(job, here);
  }

  /** `job` belongs at `place` or below. */
  #down(place: number, job: number): void {
    const { at } = this.places;
    const mine = at[job] as number;
    let here = place;
    for (;;) {
      let child = 2 * here + 1;
      if (child >= this.#size) break;
      if (child + 1 < this.#size && this.#at(child + 1) < this.#at(child)) child++;
      if (this.#at(child) >= mine) break;
      this.#put(this.#jobs[child] as number, here);
      here = child;
    }
    this.#put(job, here);
  }

  #at(place: number): number {
    return this.places.at[this.#jobs[place] as number] as number;
  }
}
