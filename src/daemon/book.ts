import { userOf } from '../core/names.js';
import type { Item } from './item.js';

/** All credentials that are known, by their users: most have one, or a few, so nothing but these is kept to find them by. */
export class Book {
  /** The first of each user's, on which the others hang. */
  readonly #first = new Map<string, Item>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(key: string): Item | undefined {
    let item = this.#first.get(userOf(key));
    while (item !== undefined && item.key !== key) item = item.next;
    return item;
  }

  has(key: string): boolean {
    return this.get(key) !== undefined;
  }

  /** After the others of its user. Must not be there yet. */
  add(item: Item): void {
    this.#size++;
    item.next = undefined;
    let last = this.#first.get(item.user);
    if (last === undefined) this.#first.set(item.user, item);
    while (last?.next !== undefined) last = last.next;
    if (last) last.next = item;
  }

  delete(item: Item): void {
    const first = this.#first.get(item.user);
    let before: Item | undefined;
    for (let here = first; here !== item; here = here.next) {
      if (here === undefined) return;
      before = here;
    }
    this.#size--;
    if (before !== undefined) before.next = item.next;
    else if (item.next !== undefined) this.#first.set(item.user, item.next);
    else this.#first.delete(item.user);
  }

  *all(): Iterable<Item> {
    for (const user of this.users()) yield* this.of(user);
  }

  *of(user: string): Iterable<Item> {
    // One that is deleted while its turn lasts still leads on to the others.
    for (let item = this.#first.get(user); item !== undefined; item = item.next) yield item;
  }

  /** Those who have any. */
  users(): Iterable<string> {
    return this.#first.keys();
  }
}
