import { Failed, type Failure } from '../core/failure.js';
import type { Random } from '../core/ports.js';
import { seconds } from '../core/time.js';

export interface Limits {
  /** Connections of one user who has shown who it is. */
  readonly perUser: number;
  /** The same, of all users. */
  readonly inAll: number;
  /** Connections that have not shown whose they are. */
  readonly waiting: number;
  /** Codes asked of issuers, and logouts, a minute and user; as many may come at once. */
  readonly perMinute: number;
}

export const usualLimits: Limits = { perUser: 3, inAll: 200, waiting: 64, perMinute: 10 };

/** Who may have how much. Users are told by uid: one uid may have several names. */
export class Quota {
  readonly #limits: Limits;
  readonly #users = new Map<number, number>();
  readonly #buckets: Buckets<number>;
  #all = 0;

  constructor(limits: Limits = usualLimits) {
    this.#limits = limits;
    this.#buckets = new Buckets(limits.perMinute);
  }

  /** Flows under way. */
  get flows(): number {
    return this.#all;
  }

  /** Takes a place; what is returned gives it back, however often it is called. Throws Failed('transient'). */
  enter(uid: number): () => void {
    const own = this.#users.get(uid) ?? 0;
    if (own >= this.#limits.perUser) {
      throw new Failed({
        kind: 'transient',
        what: `you have ${own} logins under way already, which is as many as one person may have`,
        hint: 'finish or stop one of them (Ctrl-C), then try again',
      });
    }
    if (this.#all >= this.#limits.inAll) {
      throw new Failed({
        kind: 'transient',
        what: `${this.#all} logins are under way on this machine, which is as many as the broker takes`,
        hint: 'try again in a few minutes',
        wait: seconds(60),
      });
    }
    const leave = counted(this.#users, uid);
    this.#all++;
    let inside = true;
    return () => {
      if (!inside) return;
      inside = false;
      this.#all--;
      leave();
    };
  }

  /** Counts one request of a user. `now` in steady milliseconds. Throws Failed('transient'). */
  draw(uid: number, now: number): void {
    const wait = this.#buckets.draw(uid, now);
    if (wait === 0) return;
    throw new Failed({
      kind: 'transient',
      what: `more than ${this.#limits.perMinute} logins or logouts in a minute`,
      hint: `try again in ${wait} s`,
      wait: seconds(wait),
    });
  }
}

/** One more for a key; what is returned takes it away again, and is to be called once. */
export function counted<K>(counts: Map<K, number>, key: K): () => void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
  return () => {
    const left = (counts.get(key) ?? 1) - 1;
    if (left > 0) counts.set(key, left);
    else counts.delete(key);
  };
}

/** So many requests a minute for each key; as many may come at once: token buckets. */
export class Buckets<K> {
  readonly #buckets = new Map<K, { left: number; at: number }>();

  constructor(private readonly perMinute: number) {}

  /** Counts one; after how many seconds there is room for it, 0: now. `now` in steady milliseconds. */
  draw(key: K, now: number): number {
    const { perMinute } = this;
    const refill = (from: { left: number; at: number }) =>
      Math.min(perMinute, from.left + ((now - from.at) * perMinute) / 60_000);
    // A bucket that is full again says no more than one that is not there.
    if (this.#buckets.size > 1000) {
      for (const [other, bucket] of this.#buckets) if (refill(bucket) >= perMinute) this.#buckets.delete(other);
    }
    const bucket = this.#buckets.get(key);
    const left = bucket ? refill(bucket) : perMinute;
    const short = left < 1;
    this.#buckets.set(key, { left: short ? left : left - 1, at: now });
    return short ? Math.max(1, Math.ceil(((1 - left) * 60) / perMinute)) : 0;
  }
}

/**
 * A room where somebody gives way to a newcomer: whoever squats in it locks out nobody. Who goes is left to chance. Were it
 * who has waited longest, a flood faster than one room in the time that a proof takes would drive out everybody, for
 * certain, each time; so some get through, and the others try again.
 */
export class WaitingRoom<T> {
  readonly #room: number;
  readonly #random: Random;
  readonly #inside = new Set<T>();

  constructor(room: number, random: Random) {
    this.#room = room;
    this.#random = random;
  }

  get size(): number {
    return this.#inside.size;
  }

  /** Who has to go, if anybody. */
  enter(one: T): T | undefined {
    const unlucky = this.#inside.size < this.#room ? undefined : this.#pick();
    if (unlucky !== undefined) this.#inside.delete(unlucky);
    this.#inside.add(one);
    return unlucky;
  }

  leave(one: T): void {
    this.#inside.delete(one);
  }

  #pick(): T | undefined {
    return [...this.#inside][Math.floor(this.#random() * this.#inside.size)];
  }
}

export const gaveWay: Failure = {
  kind: 'transient',
  what: 'too many others connected to the broker before you had shown who you are',
  hint: 'try again',
};
