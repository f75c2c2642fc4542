import { enlarged, Places } from '../core/heap.js';

/** What a job is doing. */
export const idle = 0;
export const set = 1;
export const waiting = 2;
export const running = 3;

/**
 * Named jobs as numbers, with what is known of each in columns: with a hundred thousand of them an object each would be three
 * times as large.
 */
export class Jobs extends Places {
  readonly #numbers = new Map<string, number>();
  readonly #names: string[] = [];
  readonly #free: number[] = [];
  state = new Uint8Array(0);
  /** The issuer that it asks, by its number. */
  lane = new Uint16Array(0);
  /** Whose it is: a number made from the user's name, which two may share; then they share their places. */
  who = new Int32Array(0);
  /** When it is due. Its place in a line may be that of another time: see lane.ts. */
  due = new Float64Array(0);
  /** 1: somebody waits for it, so that it goes before the others. */
  ahead = new Uint8Array(0);
  /** 1: its last run went well. */
  fared = new Uint8Array(0);
  /** Who waits behind it, of the same person's: see lane.ts. */
  next = new Int32Array(0);

  find(name: string): number | undefined {
    return this.#numbers.get(name);
  }

  /** That name's number, which it keeps until it is given up. */
  take(name: string): number {
    const known = this.#numbers.get(name);
    if (known !== undefined) return known;
    const job = this.#free.pop() ?? this.#names.length;
    if (job === this.state.length) this.grow(Math.max(64, 2 * job));
    this.#numbers.set(name, job);
    this.#names[job] = name;
    this.state[job] = idle;
    this.fared[job] = 0;
    this.who[job] = numberOf(name);
    return job;
  }

  giveUp(job: number): void {
    this.#numbers.delete(this.nameOf(job));
    this.#names[job] = '';
    this.#free.push(job);
  }

  nameOf(job: number): string {
    return this.#names[job] as string;
  }

  override grow(size: number): void {
    super.grow(size);
    this.state = enlarged(this.state, new Uint8Array(size));
    this.fared = enlarged(this.fared, new Uint8Array(size));
    this.lane = enlarged(this.lane, new Uint16Array(size));
    this.who = enlarged(this.who, new Int32Array(size));
    this.due = enlarged(this.due, new Float64Array(size));
    this.ahead = enlarged(this.ahead, new Uint8Array(size));
    this.next = enlarged(this.next, new Int32Array(size));
  }
}

/** Of the user in a key of core/names.ts, `user/…` (FNV-1a; 30 bits, which V8 keeps without an object of their own). */
function numberOf(name: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i);
    if (code === 0x2f) break;
    hash = Math.imul(hash ^ code, 0x01000193);
  }
  return (hash ^ (hash >>> 15)) & 0x3fffffff;
}
