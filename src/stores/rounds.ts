import { fsync } from 'node:fs';

interface Asked {
  readonly fd: number;
  done(): void;
  failed(thrown: unknown): void;
}

/**
 * The fsyncs of one tree, in rounds: those that are asked for while a round is under way begin together when all of it is over.
 * A journaling file system commits them in one go, and what is created or renamed meanwhile has to wait for that commit, in
 * system calls that stop the whole program: so {@link calm} tells when it is over. With many writes at once this halves the
 * time that they take in the kernel, and one alone loses nothing by it. What is durable, and in which order, is as ever: each
 * is told when its own fsync has ended.
 */
export class Rounds {
  #asked: Asked[] = [];
  #waiting: (() => void)[] = [];
  /** Of the round that is under way, how many have not ended. */
  #left = 0;
  #begins = false;

  /** fsync(2). Rejects with the system's error. */
  sync(fd: number): Promise<void> {
    return new Promise((done, failed) => {
      this.#asked.push({ fd, done, failed });
      this.#arm();
    });
  }

  /** Resolves when no round is under way; undefined: there is none. */
  calm(): Promise<void> | undefined {
    return this.#left === 0 ? undefined : new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** After everything that goes on now, since that may ask for some more. */
  #arm(): void {
    if (this.#begins || this.#left > 0 || this.#asked.length === 0) return;
    this.#begins = true;
    setImmediate(() => this.#begin());
  }

  #begin(): void {
    const round = this.#asked;
    this.#asked = [];
    this.#begins = false;
    this.#left = round.length;
    const ended: (() => void)[] = [];
    for (const { fd, done, failed } of round)
      fsync(fd, (thrown) => {
        ended.push(thrown ? () => failed(thrown) : done);
        if (--this.#left === 0) this.#end(ended);
      });
  }

  #end(ended: readonly (() => void)[]): void {
    for (const tell of ended) tell();
    for (const go of this.#waiting.splice(0)) go();
    this.#arm();
  }
}
