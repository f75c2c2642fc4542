import { Failed, type Failure } from '../../core/failure.js';
import type { LoginState } from '../../core/login.js';
import type { Clock } from '../../core/ports.js';
import type { Harvest } from './harvest.js';
import type { CodeState } from './words.js';

/** How a flow ended. */
export type Ending =
  | { readonly kind: 'approved'; readonly harvest: Harvest }
  /** `shown`: there was a code by then. */
  | { readonly kind: 'failed'; readonly failure: Failure; readonly shown: boolean };

/** One code, and the polling for it. `states` yields as login/flow.ts does; `take` is called when that is over. */
export class Flow {
  /** Rejects with a Failed when there is no code to be had. */
  readonly shown: Promise<CodeState>;
  /** Never rejects. */
  readonly ended: Promise<Ending>;
  readonly #stop = new AbortController();
  #letGo: () => void = () => undefined;
  #ending: Ending | undefined;
  #shown = false;
  #trouble: string | undefined;

  /** `bug`: what to make of an error that is no Failed. */
  constructor(
    start: (stop: AbortSignal) => { states: AsyncIterable<LoginState>; take(): Harvest | undefined },
    bug: (thrown: unknown) => Failure,
  ) {
    let show: (state: CodeState) => void = () => undefined;
    let fail: (reason: Failed) => void = () => undefined;
    this.shown = new Promise((resolve, reject) => {
      show = resolve;
      fail = reject;
    });
    this.shown.catch(() => undefined);
    const { states, take } = start(this.#stop.signal);
    const failed = (failure: Failure) => ({ kind: 'failed', failure, shown: this.#shown }) as const;
    const run = this.#run(states, take, show, failed).catch((thrown) => failed(bug(thrown)));
    this.ended = run.then((ending) => {
      if (ending.kind === 'failed') fail(new Failed(ending.failure));
      else if (this.#stop.signal.aborted) this.#letGo();
      this.#ending = ending;
      return ending;
    });
  }

  /** Undefined: it goes on. */
  get ending(): Ending | undefined {
    return this.#ending;
  }

  /** What ails just now, though polling goes on. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** Ends it, and lets go of what it brought. */
  abort(failure: Failure): void {
    if (!this.#stop.signal.aborted) this.#stop.abort(new Failed(failure));
    if (this.#ending) this.#letGo();
  }

  async #run(
    states: AsyncIterable<LoginState>,
    take: () => Harvest | undefined,
    show: (state: CodeState) => void,
    failed: (failure: Failure) => Ending,
  ): Promise<Ending> {
    for await (const state of states) {
      this.#trouble = state.at === 'code' ? state.trouble : undefined;
      if (state.at === 'failed') return failed(state.failure);
      if (state.at !== 'code') continue;
      this.#shown = true;
      show(state);
    }
    const harvest = take();
    if (harvest === undefined) throw new Error('a login that is neither approved nor failed');
    this.#letGo = harvest.hold();
    return { kind: 'approved', harvest };
  }
}

/** Who wants a flow. Several with the same `first` factor are one person's windows. */
export interface Wanting {
  readonly user: string;
  readonly source: string;
  /** What was passed before, '' for nothing. */
  readonly first: string;
  readonly connection: string;
  /** Decoys are apart: an account may become one that nobody may log in to. */
  readonly decoy: boolean;
}

export interface Seat {
  readonly flow: Flow;
  /** How many others waited for it already. */
  readonly others: number;
  /** How many waited for it when it ended, this one among them. */
  together(): number;
  /** `linger`: its client may start over on the same connection, and is to find the same code. */
  leave(linger: boolean): void;
}

interface Entry {
  readonly key: string;
  readonly first: string;
  readonly flow: Flow;
  readonly connections: Set<string>;
  seats: number;
  /** Seats when it ended. */
  together: number;
  cancel: () => void;
}

/** How long a flow without anybody goes on: milliseconds. */
const lingerMs = 1500;

const gone: Failure = { kind: 'cancelled', what: 'nobody waits for this login any more' };
const overtaken: Failure = {
  kind: 'denied',
  what: 'another ssh login to this account from the same address has begun and taken the place of this one',
  hint: 'use that one, or try again',
};

/**
 * The flows under way: never more than one pending for a user and source. With a first factor passed all who come with the
 * same wait for the same approval. Otherwise nobody knows whose a second is, so it takes the place of the first. A client that
 * starts over on its connection finds its code again.
 */
export class Flows {
  readonly #entries = new Map<string, Entry>();
  readonly #all = new Set<Entry>();

  constructor(private readonly clock: Clock) {}

  /** All that somebody waits for, or that linger. */
  get size(): number {
    return this.#all.size;
  }

  /** Throws what `open` throws; then nothing has changed. */
  join(who: Wanting, open: () => Flow): Seat {
    // Whoever has passed no factor takes nobody's place who has.
    const key = JSON.stringify([who.user, who.source, who.first !== '', who.decoy]);
    const known = this.#entries.get(key);
    const entry = known && this.#fits(known, who) ? known : this.#open(key, who.first, known, open);
    entry.cancel();
    const others = entry.seats++;
    entry.connections.add(who.connection);
    let seated = true;
    const leave = (linger: boolean) => {
      if (!seated) return;
      seated = false;
      entry.seats--;
      if (entry.seats > 0) return;
      if (linger) entry.cancel = this.clock.after(lingerMs, () => this.#end(entry, gone));
      else this.#end(entry, gone);
    };
    return { flow: entry.flow, others, together: () => entry.together, leave };
  }

  /** Ends all of them. */
  close(failure: Failure): void {
    for (const entry of this.#all) this.#end(entry, failure);
  }

  /** What was approved for others is for those who saw the code. */
  #fits(entry: Entry, { first, connection }: Wanting): boolean {
    if (entry.connections.has(connection)) return true;
    return first !== '' && first === entry.first && entry.flow.ending === undefined;
  }

  #open(key: string, first: string, elder: Entry | undefined, open: () => Flow): Entry {
    const flow = open();
    if (elder && elder.flow.ending === undefined) this.#end(elder, overtaken);
    const entry: Entry = { key, first, flow, connections: new Set(), seats: 0, together: 0, cancel: () => undefined };
    this.#entries.set(key, entry);
    this.#all.add(entry);
    // What failed is of no use to anybody who comes later.
    void entry.flow.ended.then(({ kind }) => {
      entry.together = entry.seats;
      if (kind === 'failed') this.#forget(entry);
    });
    return entry;
  }

  #end(entry: Entry, failure: Failure): void {
    entry.cancel();
    this.#forget(entry);
    this.#all.delete(entry);
    entry.flow.abort(failure);
  }

  #forget(entry: Entry): void {
    if (this.#entries.get(entry.key) === entry) this.#entries.delete(entry.key);
    if (entry.seats === 0) {
      entry.cancel();
      this.#all.delete(entry);
    }
  }
}
