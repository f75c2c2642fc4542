import { stateWords } from '../../core/health.js';
import { isTrouble, none, type Row } from './row.js';

export const orders = ['trouble', 'user', 'provider', 'ends', 'refresh'] as const;
/** What a list is sorted by. */
export type Order = (typeof orders)[number];

export interface Wish {
  readonly order: Order;
  /** Only those that somebody should look at. */
  readonly trouble: boolean;
  /** Only those with this text in what is shown of them, capitals or not; '': all. */
  readonly text: string;
}

/** How many rows are dealt with before it is asked whether the time is over. */
const [lot, stride] = [1000, 2000];

type Compare = (a: Row, b: Row) => number;

const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const byName: Compare = (a, b) => byText(a.user, b.user) || byText(a.kind.name, b.kind.name);
/** What has no such time comes last. */
const byTime = (a: number, b: number): number => (a === none ? -none : a) - (b === none ? -none : b);

const compares: Readonly<Record<Order, Compare>> = {
  trouble: (a, b) => a.rank - b.rank || a.expires - b.expires || byName(a, b),
  user: byName,
  provider: (a, b) => byText(a.kind.name, b.kind.name) || byText(a.user, b.user),
  ends: (a, b) => byTime(a.expires, b.expires) || byName(a, b),
  refresh: (a, b) => byTime(a.due, b.due) || byName(a, b),
};

/**
 * Very many credentials in order, and those of them that are wished for. What has changed finds its place when there is time
 * for it, a little at a time; until all of it has, what is shown stays as it was.
 */
export class List {
  #all: readonly Row[] = [];
  #shown: readonly Row[] = [];
  #wish: Wish = { order: 'trouble', trouble: false, text: '' };
  #matches: ((row: Row) => boolean) | undefined;
  #moved: Row[] = [];
  #removed = false;
  /** What has been wished for and is not done. */
  #sort = false;
  #filter = false;
  #job: Iterator<void> | undefined;

  /** All there are. */
  get all(): readonly Row[] {
    return this.#all;
  }

  get shown(): readonly Row[] {
    return this.#shown;
  }

  /** There is {@link work}. */
  get busy(): boolean {
    return this.#job !== undefined || this.#moved.length > 0 || this.#removed || this.#sort || this.#filter;
  }

  /** One that is new, or stands otherwise than before. Not while there is work that was begun. */
  place(row: Row): void {
    if (!row.moved) this.#moved.push(row);
    row.moved = true;
  }

  remove(row: Row): void {
    row.moved = false;
    row.placed = false;
    this.#removed = true;
  }

  wish(wish: Wish): void {
    const { order, trouble, text } = this.#wish;
    const sort = wish.order !== order;
    if (!sort && wish.trouble === trouble && wish.text === text) return;
    this.#wish = wish;
    this.#matches = matching(wish);
    if (sort) this.#sort = true;
    this.#filter = true;
    // What was begun for another order is of no use. For another text it is: whoever types quickly holds nothing up.
    if (sort) this.#job = undefined;
  }

  /** Goes on until the time is over; whether there is more to do. */
  work(over: () => boolean): boolean {
    while (this.busy) {
      this.#job ??= this.#work();
      if (this.#job.next().done) this.#job = undefined;
      if (over()) break;
    }
    return this.busy;
  }

  *#work(): Generator<void> {
    if (this.#sort || this.#removed || this.#moved.length > 0) yield* this.#settle();
    while (this.#filter) {
      this.#filter = false;
      // Another wish begins it anew.
      for (let i = 0; i < this.#all.length && !this.#filter; i += stride) {
        for (const row of this.#all.slice(i, i + stride)) row.shown = this.#matches?.(row) ?? true;
        yield;
      }
    }
    this.#shown = this.#matches ? this.#all.filter(({ shown }) => shown) : this.#all;
  }

  /** All that has moved is put in its place. */
  *#settle(): Generator<void> {
    const compare = compares[this.#wish.order];
    const pending = this.#moved.filter(({ moved }) => moved);
    let settled: readonly Row[] = this.#sort ? [] : this.#all.filter(({ moved, placed }) => placed && !moved);
    if (this.#sort) for (const row of this.#all) if (row.placed && !row.moved) pending.push(row);
    yield;
    for (let i = 0; i < pending.length; i += lot) {
      const some = pending.slice(i, i + lot).sort(compare);
      for (const row of some) row.shown = this.#matches?.(row) ?? true;
      settled = merged(settled, some, compare);
      yield;
    }
    for (const row of pending) {
      row.placed = true;
      row.moved = false;
    }
    this.#all = settled;
    this.#moved = [];
    this.#removed = false;
    this.#sort = false;
  }
}

/** Both are in order. Where in the first one each of the second goes is looked up, so that few cost few comparisons. */
function merged(a: readonly Row[], b: readonly Row[], compare: Compare): readonly Row[] {
  if (a.length === 0) return b;
  const both: Row[] = [];
  let from = 0;
  const copy = (to: number) => {
    for (; from < to; from++) both.push(a[from] as Row);
  };
  for (const row of b) {
    let [low, high] = [from, a.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compare(a[middle] as Row, row) <= 0) low = middle + 1;
      else high = middle;
    }
    copy(low);
    both.push(row);
  }
  copy(a.length);
  return both;
}

/** Undefined: all of them. */
function matching({ trouble, text }: Wish): ((row: Row) => boolean) | undefined {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean).map(holding);
  if (!trouble && words.length === 0) return undefined;
  return (row) =>
    (!trouble || isTrouble(row)) &&
    words.every(
      (holds) =>
        holds.once(row.kind.name) ||
        holds.once(stateWords[row.state]) ||
        (row.suspect && holds.once('suspect lost')) ||
        holds.now(row.user) ||
        (row.more?.trouble !== undefined && holds.once(row.more.trouble.what)),
    );
}

/** Whether a text holds a word, capitals or not; what very many share is looked at once. */
function holding(word: string): { now(text: string): boolean; once(text: string): boolean } {
  const pattern = new RegExp(word.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'), 'i');
  const known = new Map<string, boolean>();
  const now = (text: string): boolean => pattern.test(text);
  return {
    now,
    once(text) {
      let found = known.get(text);
      if (found === undefined) {
        found = now(text);
        if (known.size < 10_000) known.set(text, found);
      }
      return found;
    },
  };
}
