import { Heap } from '../core/heap.js';
import type { Clock, Random } from '../core/ports.js';
import { ScheduleTime } from '../core/steady.js';
import type { Seconds } from '../core/time.js';
import { Gate } from './gate.js';

/** At most this many jobs at once, over all issuers. */
const most = 64;
/** The wall clock is looked at this often at the least, so that a leap of it is seen: milliseconds. */
const glance = 15_000;

/** How a job ended for the issuer that it asked; `well` false makes it be asked less. */
export interface Ended {
  readonly well: boolean;
  readonly asked?: Seconds;
}

export interface QueueParts {
  readonly clock: Clock;
  readonly random: Random;
  /** Does the job. Must not reject. */
  run(name: string): Promise<Ended>;
  /** The job is due, but its issuer is being left alone. */
  deferred(name: string): void;
}

/** Names are keys of core/names.ts: `user/…`. */
const userOf = (name: string): string => name.slice(0, name.indexOf('/'));

/** An issuer's gate, and who stands in front of it. */
interface Line {
  readonly gate: Gate;
  waiting: string[];
}

/**
 * Named jobs, each at its time, each in the lane of its issuer. A name is in it once, and its job never runs twice at once:
 * whoever sets a name that is running has it run again afterwards.
 */
export class Queue {
  readonly #heap = new Heap();
  readonly #lane = new Map<string, string>();
  readonly #gates = new Map<string, Line>();
  readonly #running = new Set<string>();
  readonly #again = new Map<string, number>();
  readonly #time: ScheduleTime;
  #disarm: () => void = () => {};
  #stopped = false;
  #drained: (() => void)[] = [];

  constructor(private readonly parts: QueueParts) {
    this.#time = new ScheduleTime(parts.clock.now(), parts.clock.steady());
  }

  get running(): number {
    return this.#running.size;
  }

  isRunning(name: string): boolean {
    return this.#running.has(name);
  }

  /** In `ms` from now, in the lane of that issuer. */
  set(name: string, ms: number, lane: string): void {
    const at = this.#now() + Math.max(0, ms);
    // Before its lane is another: else it would stay in the line of that one, and run twice.
    this.#leaveLine(name);
    this.#lane.set(name, lane);
    if (this.#running.has(name)) {
      this.#again.set(name, at);
      return;
    }
    this.#heap.set(name, at);
    this.#arm();
  }

  delete(name: string): void {
    this.#heap.delete(name);
    this.#again.delete(name);
    this.#leaveLine(name);
    if (!this.#running.has(name)) this.#lane.delete(name);
  }

  /** Nothing is started any more; resolves when nothing is running. */
  stop(): Promise<void> {
    this.#stopped = true;
    this.#disarm();
    return this.#running.size === 0 ? Promise.resolve() : new Promise((resolve) => this.#drained.push(resolve));
  }

  #now(): number {
    return this.#time.read(this.parts.clock.now(), this.parts.clock.steady());
  }

  /** One timer for all: to the earliest job, or to the earliest gate that opens. */
  #arm(): void {
    this.#disarm();
    if (this.#stopped) return;
    const now = this.#now();
    let next = glance;
    const head = this.#heap.peek();
    // With all places taken nothing can begin before one is left, and that ticks too.
    if (this.#running.size < most) {
      if (head) next = Math.min(next, head.at - now);
      for (const { gate, waiting } of this.#gates.values()) {
        if (waiting.length > 0) next = Math.min(next, gate.wait(now) ?? glance);
      }
    }
    this.#disarm = this.parts.clock.after(Math.max(0, next), () => this.#tick());
  }

  #tick(): void {
    const now = this.#now();
    // Another issuer is first each time, so that one with a long line does not take every place that becomes free.
    const [first] = this.#gates;
    if (first) {
      this.#gates.delete(first[0]);
      this.#gates.set(...first);
    }
    for (const line of this.#gates.values()) this.#drain(line, now);
    for (;;) {
      const head = this.#heap.peek();
      if (head === undefined || head.at > now || this.#running.size >= most) break;
      this.#heap.delete(head.name);
      const line = this.#line(head.name);
      if (line.waiting.length === 0 && line.gate.wait(now) === 0) this.#start(head.name, line);
      else {
        line.waiting.push(head.name);
        if ((line.gate.wait(now) ?? 0) > 0) this.parts.deferred(head.name);
      }
    }
    this.#arm();
  }

  #drain(line: Line, now: number): void {
    while (line.waiting.length > 0 && this.#running.size < most && line.gate.wait(now) === 0) {
      const preferred = line.waiting.findIndex((name) => line.gate.prefers(userOf(name)));
      const [name] = line.waiting.splice(Math.max(0, preferred), 1);
      this.#start(name as string, line);
    }
  }

  #start(name: string, line: Line): void {
    this.#running.add(name);
    line.gate.enter();
    this.parts.run(name).then(({ well, asked }) => {
      this.#running.delete(name);
      const now = this.#now();
      line.gate.leave(userOf(name), well, now, asked);
      // Those who stood in line before the gate closed are put off as well.
      if ((line.gate.wait(now) ?? 0) > 0) for (const waiting of line.waiting) this.parts.deferred(waiting);
      const again = this.#again.get(name);
      this.#again.delete(name);
      if (again !== undefined) this.#heap.set(name, again);
      if (this.#stopped && this.#running.size === 0) for (const done of this.#drained.splice(0)) done();
      if (!this.#stopped) this.#tick();
    });
  }

  #line(name: string): Line {
    const lane = this.#lane.get(name) ?? '';
    let line = this.#gates.get(lane);
    if (line === undefined) {
      line = { gate: new Gate(this.parts.random), waiting: [] };
      this.#gates.set(lane, line);
    }
    return line;
  }

  #leaveLine(name: string): void {
    const line = this.#gates.get(this.#lane.get(name) ?? '');
    const place = line?.waiting.indexOf(name) ?? -1;
    if (place >= 0) line?.waiting.splice(place, 1);
  }
}
