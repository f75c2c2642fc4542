import type { Socket } from 'node:net';
import { Failed, type Failure } from '../core/failure.js';
import type { Clock } from '../core/ports.js';
import { LineSplitter, type Piece } from './lines.js';
import {
  type ClientRecord,
  fromClient,
  longestLine,
  outOfTurn,
  type ServerRecord,
  toClient,
  tooLong,
} from './records.js';
import { showable } from './state-record.js';

/** A client that does not read what it is sent may make us keep this much: bytes. */
const mostUnread = 64 * 1024;
/** After the last record a client has this long to hang up (ms), and may still send this much (bytes). */
const lingerMs = 2000;
const lingerBytes = 64 * 1024;

const gone: Failure = { kind: 'cancelled', what: 'the client went away' };

interface Turn {
  readonly kinds: readonly ClientRecord['kind'][];
  take(record: ClientRecord): void;
}

/**
 * The broker's end of one connection. The client may speak only when it is asked to, one record at a time; whatever else
 * it sends ends the connection with one `bye` that says why. Reading never pauses, so its going away is seen at once.
 */
export class Connection {
  /** Resolves when the socket is closed; never rejects. */
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #stop = new AbortController();
  readonly #lines = new LineSplitter(longestLine);
  #turn: Turn | undefined;
  #ended = false;
  #discarded = 0;

  constructor(socket: Socket, clock: Clock) {
    this.#socket = socket;
    this.#clock = clock;
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#over(gone);
        resolve();
      });
    });
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('end', () => this.#over(gone));
    socket.on('error', () => this.#over(gone));
  }

  /** Aborted when the connection is over, for whatever reason; its reason is a Failed. */
  get stop(): AbortSignal {
    return this.#stop.signal;
  }

  /**
   * Sends `record`, to which the client has `ms` milliseconds to answer with one of `kinds`; else it is told `late`. The
   * answer is listened for before the record is sent, so it cannot come too early. Rejects with a Failed.
   */
  ask<K extends ClientRecord['kind']>(
    record: ServerRecord,
    kinds: readonly K[],
    ms: number,
    late: Failure,
  ): Promise<Extract<ClientRecord, { kind: K }>> {
    const { signal } = this.#stop;
    const answer = new Promise<Extract<ClientRecord, { kind: K }>>((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const cancel = this.#clock.after(ms, () => this.end(late));
      const leave = () => {
        cancel();
        reject(signal.reason);
      };
      signal.addEventListener('abort', leave, { once: true });
      const take = (given: ClientRecord) => {
        cancel();
        signal.removeEventListener('abort', leave);
        resolve(given as Extract<ClientRecord, { kind: K }>);
      };
      this.#turn = { kinds, take };
    });
    // Whoever asked may not have come to wait for it yet.
    answer.catch(() => undefined);
    this.send(record);
    return answer;
  }

  /** Throws Failed('protocol') for a record that the client would not take. */
  send(record: ServerRecord): void {
    if (this.#ended) return;
    const { failure } = record as { failure?: Failure };
    this.#socket.write(toClient(failure ? ({ ...record, failure: showable(failure) } as ServerRecord) : record));
    if (this.#socket.writableLength > mostUnread) this.#socket.destroy();
  }

  /** Says goodbye, once. `grant`: the spool's id of a logout. */
  end(failure?: Failure, grant?: string): void {
    if (this.#ended) return;
    this.send({ kind: 'bye', ...(failure && { failure }), ...(grant !== undefined && { grant }) } as ServerRecord);
    this.#over(failure ?? gone);
    this.#socket.end();
    const cancel = this.#clock.after(lingerMs, () => this.#socket.destroy());
    void this.closed.then(cancel);
  }

  /** Says goodbye and hangs up without waiting for the client to do so. */
  evict(failure: Failure): void {
    this.end(failure);
    this.#socket.destroySoon();
  }

  /** Hangs up. */
  destroy(): void {
    this.#socket.destroy();
  }

  #over(failure: Failure): void {
    this.#ended = true;
    this.#turn = undefined;
    if (!this.#stop.signal.aborted) this.#stop.abort(new Failed(failure));
  }

  #read(chunk: Buffer): void {
    if (this.#ended) {
      this.#discarded += chunk.length;
      if (this.#discarded > lingerBytes) this.#socket.destroy();
      return;
    }
    for (const piece of this.#lines.push(chunk)) {
      this.#take(piece);
      if (this.#ended) return;
    }
  }

  #take({ line }: Piece): void {
    const { record, failure } = line ? fromClient(line) : { failure: tooLong('the client') };
    const turn = this.#turn;
    if (failure) this.end(failure);
    else if (!turn?.kinds.includes(record.kind)) this.end(outOfTurn(record.kind));
    else {
      this.#turn = undefined;
      turn.take(record);
    }
  }
}
