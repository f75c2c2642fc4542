import type { Clock, Credentials } from '../core/ports.js';
import type { Keeper } from './keeper.js';
import { Slices } from './slices.js';

/** After a sweep there is none for so many times what it took of us: else a SIGHUP for each stored credential is one each. */
const rest = 4;
/** And that is no longer than so many milliseconds. */
const longestRest = 5000;
/** In so many milliseconds each folder is looked into once, whatever it bears for a mark. */
const round = 3_600_000;
/** So many of those who wait for a login are looked at by each sweep; of others, what is written in place is seen later. */
const attended = 1000;

/** From so many folders on it is told that there are many. */
const many = 10_000;

export interface SweeperParts {
  readonly keeper: Pick<Keeper, 'look' | 'urgent' | 'users' | 'waiting'>;
  readonly credentials: Pick<Credentials, 'users' | 'mark'>;
  readonly clock: Clock;
  readonly watch: Watching;
  /** There are very many folders: before they are looked into. */
  many?(): void;
}

export interface Watching {
  /** How many may be watched. */
  readonly room: number;
  /** Tell of this user's folder from now on, if there is room; `first`: rather than of another. */
  add(user: string, first?: boolean): void;
  /** So many have a folder. */
  fit(users: number): void;
  /** A sweep begins: whose folders, which could not be watched, are to be added again. */
  again(): Iterable<string>;
}

/**
 * Finds what nobody told of. With very many folders most sweeps must be cheap, so a folder is looked into only
 *   - when it is not the one that it was: something came, went or was replaced in it, as HTCondor and we write files;
 *   - when its user waits for a login, or for a file to be mended: that may be written in place, which leaves no mark;
 *   - once an hour.
 * What is written in place for others is seen by the refresh, which reads what is there, and at once where it is watched.
 */
export class Sweeper {
  /** Of each folder, when it was last looked into; 0 where that could not be told. */
  readonly #marks = new Map<string, number>();
  #listed = 0;
  /** How far the looks of this hour have come: folders, and when that was. */
  #cursor = 0;
  #moved: number;
  #ended = 0;
  #last: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;
  #pause = 0;

  constructor(private readonly parts: SweeperParts) {
    this.#moved = parts.clock.steady();
  }

  /** Looks at whatever may have changed. Those who ask while one is under way share the one that follows it. */
  sweep(): Promise<void> {
    this.#next ??= this.#last.then(() => this.#rested()).then(() => this.#timed());
    this.#last = this.#next.catch(() => {});
    return this.#next;
  }

  /** What is looked for is something else from now on: each folder is looked into, whatever mark it bears. */
  anew(): void {
    for (const user of this.#marks.keys()) this.#marks.set(user, 0);
  }

  /** Looks into one folder now: something has happened there. */
  async look(user: string): Promise<void> {
    const { credentials, keeper } = this.parts;
    // Of before: whatever happens while it is looked into changes it.
    const mark = credentials.mark?.(user) ?? 0;
    if (mark !== 'gone') this.#marks.set(user, mark);
    const seen = await keeper.look(user);
    if (mark === 'gone') this.#marks.delete(user);
    else if (!seen) this.#marks.set(user, 0);
  }

  #rested(): Promise<void> | undefined {
    const { clock } = this.parts;
    const left = this.#ended + this.#pause - clock.steady();
    return left > 0 ? new Promise((resolve) => clock.after(left, resolve)) : undefined;
  }

  async #timed(): Promise<void> {
    const { clock } = this.parts;
    const slices = new Slices(clock);
    this.#next = undefined;
    try {
      await this.#sweep(slices);
    } finally {
      this.#ended = clock.steady();
      this.#pause = Math.min(longestRest, slices.spent * rest);
    }
  }

  async #sweep(slices: Slices): Promise<void> {
    const { credentials, keeper, watch } = this.parts;
    const unwatched = watch.again();
    const waiting = new Set<string>();
    for (const user of keeper.waiting()) {
      if (waiting.size === attended) break;
      waiting.add(user);
    }
    let places = 0;
    // More would take each other's.
    for (const user of waiting) if (places++ < watch.room) watch.add(user, true);
    for (const user of keeper.urgent()) {
      await this.look(user);
      await slices.others();
    }
    for (const user of unwatched) {
      watch.add(user);
      await slices.others();
    }
    await this.#list(slices);
    const owed = this.#owed();
    let number = 0;
    for (const [user, before] of this.#marks) {
      const mark = credentials.mark?.(user) ?? 0;
      const turn = owed(number++);
      if (mark !== 0 && mark === before && !turn && !waiting.has(user)) {
        // Nearly all: whatever is done here is done a hundred thousand times.
        if (number % 64 === 0) await slices.others();
        continue;
      }
      watch.add(user);
      await this.look(user);
      await slices.others();
    }
    // Those who are gone are known now.
    watch.fit(this.#marks.size);
  }

  /** Who is there, where that is not known; those who are not there any more are found when they are looked at. */
  async #list(slices: Slices): Promise<void> {
    const { credentials, keeper } = this.parts;
    const mark = credentials.mark?.(undefined) ?? 0;
    if (mark !== 0 && mark === this.#listed) return;
    let number = 0;
    for (const users of [await credentials.users(), keeper.users()]) {
      for (const user of users) {
        if (!this.#marks.has(user)) this.#marks.set(user, 0);
        if (++number % 1024 === 0) await slices.others();
      }
    }
    if (this.#marks.size > many) this.parts.many?.();
    this.parts.watch.fit(this.#marks.size);
    this.#listed = mark === 'gone' ? 0 : mark;
  }

  /** Whether it is a folder's turn to be looked into, by its number: a share of all that grows with the time since the last. */
  #owed(): (number: number) => boolean {
    const now = this.parts.clock.steady();
    const count = Math.floor((this.#marks.size * Math.max(0, now - this.#moved)) / round);
    if (count === 0) return () => false;
    const from = this.#cursor < this.#marks.size ? this.#cursor : 0;
    this.#cursor = from + count;
    this.#moved = now;
    return (number) => number >= from && number < from + count;
  }
}
