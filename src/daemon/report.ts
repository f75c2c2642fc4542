import type { Clock, Log } from '../core/ports.js';
import { everyone, fileOf, type Settled, type Snapshot } from '../core/snapshot.js';
import type { EpochMs } from '../core/time.js';
import type { Keeper } from './keeper.js';

/** How many settled spool records are told of for each person. */
const remembered = 20;
/** Changes that follow each other this closely are told of together: milliseconds. */
const gather = 25;

/** How many accounts are looked up at once. */
const together = 200;

export interface ReportParts {
  readonly keeper: Keeper;
  readonly clock: Clock;
  readonly log: Log;
  /** Writes one file of the status folder, whole or not at all; `uid`: whose it is, undefined: HTCondor's group's. */
  write(name: string, text: string, uid: number | undefined): Promise<void>;
  /** The uids of those users who have accounts. Throws Failed('transient'). */
  uidsOf(users: readonly string[]): Promise<ReadonlyMap<string, number>>;
}

/** Writes the status snapshots: a person's own at once, everybody's at most so often that it costs little. */
export class Report {
  readonly #settled = new Map<string, Settled[]>();
  readonly #dirty = new Set<string>();
  #allDirty = false;
  #writing: Promise<void> | undefined;
  #hurry: () => void = () => {};
  #nextAll = 0;
  #swept: EpochMs | undefined;

  constructor(private readonly parts: ReportParts) {}

  changed(user: string): void {
    this.#dirty.add(user);
    this.#allDirty = true;
    this.#soon(gather);
  }

  swept(): void {
    this.#swept = this.parts.clock.now();
    this.#allDirty = true;
    this.#soon(gather);
  }

  settled(user: string, settled: Settled): void {
    const mine = this.#settled.get(user) ?? [];
    this.#settled.set(user, [...mine, settled].slice(-remembered));
    this.changed(user);
  }

  /** Writes what there is to write, now. */
  async flush(): Promise<void> {
    this.#hurry();
    await this.#writing;
    this.#nextAll = 0;
    await this.#write();
  }

  #soon(ms: number): void {
    if (this.#writing) return;
    this.#writing = new Promise<void>((resolve) => {
      this.parts.clock.after(ms, resolve);
      this.#hurry = resolve;
    })
      .then(() => this.#write())
      .finally(() => {
        this.#writing = undefined;
        if (this.#dirty.size > 0) this.#soon(gather);
        else if (this.#allDirty) this.#soon(Math.max(gather, this.#nextAll - this.parts.clock.steady()));
      });
  }

  async #write(): Promise<void> {
    try {
      while (this.#dirty.size > 0) {
        const users = [...this.#dirty].slice(0, together);
        for (const user of users) this.#dirty.delete(user);
        const uids = await this.parts.uidsOf(users).catch(() => new Map<string, number>());
        for (const [user, uid] of uids) await this.parts.write(fileOf(uid), this.#text(user), uid);
      }
      const begun = this.parts.clock.steady();
      if (!this.#allDirty || begun < this.#nextAll) return;
      this.#allDirty = false;
      await this.parts.write(everyone, this.#text(undefined), undefined);
      // With very many credentials this takes its time: then it is done less often.
      this.#nextAll = this.parts.clock.steady() + Math.max(500, 20 * (this.parts.clock.steady() - begun));
    } catch (thrown) {
      this.parts.log.error(`cannot write the status: ${(thrown as Error).message}`);
    }
  }

  #text(user: string | undefined): string {
    const settled = user === undefined ? undefined : this.#settled.get(user);
    const snapshot: Snapshot = {
      v: 1,
      at: this.parts.clock.now(),
      pid: process.pid,
      credentials: [...this.parts.keeper.healths(user)],
      ...(this.#swept !== undefined && { swept: this.#swept }),
      ...(settled !== undefined && { settled }),
    };
    return JSON.stringify(snapshot);
  }
}
