/** One piece of work for all who want what comes of it: each can leave at once, and with the last who leaves it is given up. */
export class Shared<T> {
  readonly #nobody = new AbortController();
  readonly #result: Promise<T>;
  #waiting = 0;
  #isOfNoUse = false;

  constructor(work: (stop: AbortSignal) => Promise<T>) {
    this.#result = work(this.#nobody.signal);
    this.#result.catch(() => {
      this.#isOfNoUse = true;
    });
  }

  /** It failed, or was given up: whoever comes now must begin anew. */
  get isOfNoUse(): boolean {
    return this.#isOfNoUse;
  }

  /** Rejects with the reason of `stop` as soon as that is aborted. */
  async wait(stop: AbortSignal): Promise<T> {
    this.#waiting++;
    try {
      return await waitFor(this.#result, stop);
    } finally {
      this.#waiting--;
      if (this.#waiting === 0 && stop.aborted) {
        this.#isOfNoUse = true;
        this.#nobody.abort();
      }
    }
  }
}

/** Leaves at once, with the reason of `stop`; what is waited for goes on. */
export function waitFor<T>(shared: Promise<T>, stop: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const leave = () => reject(stop.reason);
    if (stop.aborted) return leave();
    stop.addEventListener('abort', leave, { once: true });
    shared.then(resolve, reject).finally(() => stop.removeEventListener('abort', leave));
  });
}
