import { statSync } from 'node:fs';
import { NumberSet } from '../core/number-set.js';
import type { Clock } from '../core/ports.js';

/** An answer is believed until the second change of generation after it, half an hour to an hour: milliseconds. */
const generation = 30 * 60_000;
/** In a number: which generation it is of, beside the uid. Generations are counted to four, and forgotten at three. */
const [generations, none] = [4, -1];

/** Another one when this machine's own accounts are others. */
export function passwdStamp(): string {
  try {
    const { ino, ctimeMs } = statSync('/etc/passwd');
    return `${ino}.${ctimeMs}`;
  } catch {
    return '';
  }
}

export interface AccountNumbersParts {
  readonly clock: Pick<Clock, 'steady'>;
  /** The uids of those users who have accounts. Throws Failed('transient'). */
  ask(users: readonly string[]): Promise<ReadonlyMap<string, number>>;
  /** Another one when an account may be another's: then nothing that was remembered is believed. */
  stamp(): string;
}

/**
 * The numbers of accounts, remembered: to ask for one is a process, and a hundred a second come up. A number that somebody
 * else is given while it is remembered is noticed when that one comes up, or by `stamp`; of accounts that a name service
 * gives away without that, within the hour. One small number a person is kept: of 10^5 people that is 4 MB.
 */
export class AccountNumbers {
  /** uid (or {@link none}) times {@link generations}, plus the generation. */
  readonly #known = new Map<string, number>();
  #now = 0;
  #begun: number;
  #stamp: string;
  #left = new Set<number>();
  /** Numbers that somebody has or had, by all that is remembered, and some more. */
  readonly #taken = new NumberSet();

  constructor(private readonly parts: AccountNumbersParts) {
    this.#begun = parts.clock.steady();
    this.#stamp = parts.stamp();
  }

  /** Of those who have one. Throws Failed('transient'). */
  async of(users: readonly string[]): Promise<ReadonlyMap<string, number>> {
    this.#age();
    const asking = users.filter((user) => !this.#isBelieved(user));
    if (asking.length > 0) this.#learn(asking, await this.parts.ask(asking));
    const found = new Map<string, number>();
    for (const user of users) {
      const uid = this.#uidOf(user);
      if (uid !== undefined && uid !== none) found.set(user, uid);
    }
    return found;
  }

  /** Numbers that somebody had and nobody has any more, as far as is known: each is told of once. */
  left(): readonly number[] {
    if (this.#left.size === 0) return [];
    const gone = this.#left;
    this.#left = new Set();
    for (const user of this.#known.keys()) gone.delete(this.#uidOf(user) as number);
    return [...gone];
  }

  /** All that are known to be somebody's now. */
  all(): ReadonlySet<number> {
    return new Set([...this.#known.keys()].map((user) => this.#uidOf(user) as number));
  }

  #learn(asked: readonly string[], found: ReadonlyMap<string, number>): void {
    const fresh = new Set<number>();
    for (const user of asked) {
      const [before, uid] = [this.#uidOf(user), found.get(user) ?? none];
      if (before !== undefined && before !== none && before !== uid) this.#left.add(before);
      if (before !== uid && uid !== none) {
        // Else nobody can have had it: at a start nobody is known, and all are asked for.
        if (this.#taken.has(uid)) fresh.add(uid);
        this.#taken.add(uid);
      }
      this.#known.set(user, uid * generations + this.#now);
    }
    if (fresh.size === 0) return;
    // Whoever is remembered to have one of these had it before: is it still theirs as well?
    for (const user of this.#known.keys())
      if (fresh.has(this.#uidOf(user) as number) && found.get(user) === undefined) this.#doubt(user);
  }

  #uidOf(user: string): number | undefined {
    const known = this.#known.get(user);
    return known === undefined ? undefined : Math.floor(known / generations);
  }

  #ageOf(known: number): number {
    const of = known - Math.floor(known / generations) * generations;
    return (this.#now - of + generations) % generations;
  }

  #isBelieved(user: string): boolean {
    const known = this.#known.get(user);
    return known !== undefined && this.#ageOf(known) < 2;
  }

  #doubt(user: string): void {
    const uid = this.#uidOf(user);
    if (uid !== undefined) this.#known.set(user, uid * generations + ((this.#now + 2) % generations));
  }

  #age(): void {
    const stamp = this.parts.stamp();
    if (stamp !== this.#stamp) for (const user of this.#known.keys()) this.#doubt(user);
    this.#stamp = stamp;
    const now = this.parts.clock.steady();
    for (let passed = Math.floor((now - this.#begun) / generation); passed > 0; passed--) {
      this.#begun = now;
      this.#now = (this.#now + 1) % generations;
      for (const [user, known] of this.#known) if (this.#ageOf(known) === 3) this.#known.delete(user);
      if (this.#known.size > 0) continue;
      this.#taken.clear();
      return;
    }
  }
}
