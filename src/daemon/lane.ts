import { Heap } from '../core/heap.js';
import type { Random } from '../core/ports.js';
import { Gate } from './gate.js';
import type { Jobs } from './jobs.js';

/** So far behind the others go those who failed before: milliseconds. */
const lastOfAll = 24 * 3_600_000;
/** So far ahead of the others go those whom somebody waits for: milliseconds. */
const firstOfAll = 1e12;
/** Behind those who came in the same moment: milliseconds. */
const justBehind = 1e-3;

/**
 * One issuer, and who stands in front of its gate: a line of people, each with their own jobs behind them. The first is who
 * has been due for longest; whoever has had a turn goes behind all who have been due since before that. So it does not
 * matter to the others how many jobs one person has.
 */
export class Lane {
  readonly gate: Gate;
  /** In flight: all, and all but those that have hung for long. */
  running = 0;
  fresh = 0;
  /** The first job of each person, but for those who rest. */
  readonly #line: Heap;
  /** The last job of each person; the one behind it is the first again. */
  readonly #last = new Map<number, number>();
  /** Those who have as many in flight as one person may. */
  readonly #resting = new Set<number>();
  #took = 0;

  constructor(
    private readonly jobs: Jobs,
    random: Random,
  ) {
    this.#line = new Heap(jobs);
    this.gate = new Gate(random);
  }

  /** Whose turn it is. */
  get first(): number | undefined {
    return this.#line.first;
  }

  /** For how long a request of late had its place: milliseconds. */
  get took(): number {
    return this.#took;
  }

  /** The issuer answered well, and its place was another's after so many milliseconds. */
  timed(ms: number): void {
    this.#took += (ms - this.#took) * (this.#took === 0 ? 1 : 0.1);
  }

  /** How many people wait, but for those who rest. */
  get people(): number {
    return this.#line.size;
  }

  /** Those whose turn it may be, and all behind them. */
  all(): Int32Array {
    const { next } = this.jobs;
    const all: number[] = [];
    for (const last of this.#last.values()) {
      for (let job = next[last] as number; ; job = next[job] as number) {
        all.push(job);
        if (job === last) break;
      }
    }
    return Int32Array.from(all);
  }

  add(job: number): void {
    const { next, who } = this.jobs;
    const person = who[job] as number;
    const last = this.#last.get(person);
    if (last === undefined) {
      next[job] = job;
      this.#last.set(person, job);
      this.#enter(job, Number.NEGATIVE_INFINITY);
      return;
    }
    const first = next[last] as number;
    next[last] = job;
    next[job] = first;
    // It is more urgent than the others of the same person: then it is their first.
    if (this.#rank(job) >= this.#rank(first)) this.#last.set(person, job);
    else if (!this.#resting.has(person)) {
      this.#line.delete(first);
      this.#enter(job, Number.NEGATIVE_INFINITY);
    }
  }

  /** It is taken out; whoever is behind it moves up, but is not due before `notBefore`. */
  delete(job: number, notBefore = Number.NEGATIVE_INFINITY): void {
    const { next, who, place } = this.jobs;
    const person = who[job] as number;
    const wasFirst = (place[job] as number) >= 0;
    if (wasFirst) this.#line.delete(job);
    const last = this.#last.get(person) as number;
    if (next[job] === job) {
      this.#last.delete(person);
      this.#resting.delete(person);
      return;
    }
    let before = last;
    while (next[before] !== job) before = next[before] as number;
    next[before] = next[job] as number;
    if (last === job) this.#last.set(person, before);
    if (wasFirst) this.#enter(next[job] as number, notBefore);
  }

  /** Its turn has come: the next job of the same person goes behind all who are due by now. */
  start(job: number, now: number): void {
    this.delete(job, now + justBehind);
    this.gate.enter();
    this.running++;
    this.fresh++;
  }

  /** Whoever is first has no turn, nor have their other jobs, until {@link wake}. */
  rest(): void {
    const job = this.#line.first as number;
    this.#line.delete(job);
    this.#resting.add(this.jobs.who[job] as number);
  }

  wake(person: number, now: number): void {
    if (!this.#resting.delete(person)) return;
    this.#enter(this.jobs.next[this.#last.get(person) as number] as number, now);
  }

  /** The issuer failed somebody: then others see first whether it is back. */
  putBehind(person: number): void {
    const last = this.#last.get(person);
    if (last === undefined || this.#resting.has(person)) return;
    const first = this.jobs.next[last] as number;
    this.#line.delete(first);
    this.#enter(first, Number.NEGATIVE_INFINITY);
  }

  #enter(job: number, notBefore: number): void {
    const { fared, who } = this.jobs;
    const due = Math.max(this.#rank(job), notBefore);
    if (this.gate.hasFailed(who[job] as number)) this.#line.add(job, due + lastOfAll);
    // When the gate is shut it is they who tell whether it is the issuer's trouble, and not those who never fared well.
    else this.#line.add(job, this.gate.isShut && fared[job] === 1 ? due - 2 * firstOfAll : due);
  }

  #rank(job: number): number {
    const { due, ahead } = this.jobs;
    return (due[job] as number) - (ahead[job] === 1 ? firstOfAll : 0);
  }
}
