import type { Socket } from 'node:net';
import { Failed, type Failure } from '../../core/failure.js';
import type { Clock } from '../../core/ports.js';
import { type Answer, encode, type ModuleReader, type ModuleRecord, moduleReader, type Verdict } from './records.js';

/** What a module may open a connection with. */
export type Opening = Exclude<ModuleRecord, Answer>;

/** A module says at once what it wants, and hangs up at once after the verdict: milliseconds. */
const openingMs = 5000;
const farewellMs = 2000;

const gone: Failure = { kind: 'cancelled', what: 'the client or the PAM module went away' };

/**
 * The broker's end of one connection of the PAM module. The module speaks when it is its turn, one record at a time; for
 * whatever else comes it is hung up on, and then denies. Reading never pauses, so its going away is seen at once.
 */
export class Talk {
  /** Resolves when the socket is closed; never rejects. */
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #reader: ModuleReader = moduleReader();
  readonly #stop = new AbortController();
  #turn: ((record: ModuleRecord) => boolean) | undefined;
  #ended = false;

  constructor(socket: Socket, clock: Clock) {
    this.#socket = socket;
    this.#clock = clock;
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#over();
        resolve();
      });
    });
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('end', () => this.#over());
    socket.on('error', () => this.#over());
  }

  /** Aborted when it is over, for whatever reason; its reason is a Failed. */
  get stop(): AbortSignal {
    return this.#stop.signal;
  }

  /** The first record. Rejects with a Failed when none comes. */
  async opening(): Promise<Opening> {
    const cancel = this.#clock.after(openingMs, () => this.hangUp());
    try {
      return (await this.#next((record) => record.kind !== 'answer')) as Opening;
    } finally {
      cancel();
    }
  }

  /** What the person answers; there is no knowing when. Rejects with a Failed when the module goes away. */
  ask(text: string): Promise<Answer> {
    const answer = this.#next((record) => record.kind === 'answer') as Promise<Answer>;
    this.#send(encode({ kind: 'ask', text }));
    return answer;
  }

  show(text: string): void {
    this.#send(encode({ kind: 'show', text }));
  }

  /** The last word. False: nobody was there any more to hear it. */
  end(verdict: Verdict): boolean {
    if (this.#ended) return false;
    this.#send(encode(verdict));
    this.#over();
    this.#socket.end();
    const cancel = this.#clock.after(farewellMs, () => this.hangUp());
    void this.closed.then(cancel);
    return true;
  }

  hangUp(): void {
    this.#socket.destroy();
  }

  #next(fits: (record: ModuleRecord) => boolean): Promise<ModuleRecord> {
    const { signal } = this.#stop;
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const leave = () => reject(signal.reason);
      signal.addEventListener('abort', leave, { once: true });
      this.#turn = (record) => {
        if (!fits(record)) return false;
        signal.removeEventListener('abort', leave);
        resolve(record);
        return true;
      };
    });
  }

  #send(bytes: Uint8Array): void {
    if (!this.#ended) this.#socket.write(bytes);
  }

  #over(): void {
    this.#ended = true;
    this.#turn = undefined;
    if (!this.#stop.signal.aborted) this.#stop.abort(new Failed(gone));
  }

  #read(chunk: Buffer): void {
    // After the verdict one more answer may be on its way, to what was asked before.
    if (this.#ended) return;
    for (const { record } of this.#reader.push(chunk)) {
      const turn = this.#turn;
      this.#turn = undefined;
      if (record !== undefined && turn?.(record) === true) continue;
      this.hangUp();
      return;
    }
  }
}
