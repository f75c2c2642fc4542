import { most, placesFor, shareOf, withWritten } from '../core/batch.js';
import { Heap } from '../core/heap.js';
import type { Clock, Random } from '../core/ports.js';
import { ScheduleTime } from '../core/steady.js';
import type { Seconds } from '../core/time.js';
import { idle, Jobs, running, set, waiting } from './jobs.js';
import { Lane } from './lane.js';

/** What has been in flight for so long takes nobody's place any more: milliseconds. */
const hanging = 2000;
/** But there are never more in flight than so many times the places, hanging or not. */
const overbooked = 4;
/**
 * Of one person at once: fewer than any issuer is asked at once, since a job may have to wait for another of the same person's,
 * and would keep the others' places meanwhile.
 */
const mostEach = 4;
/** The wall clock is looked at this often at the least, so that a leap of it is seen: milliseconds. */
const glance = 15_000;
/** Who waits for a place that may be there when they are late enough is looked at again: milliseconds. */
const soon = 50;
/** So many are moved or told in one go: for a few milliseconds. */
const slice = 1000;

/** How a job ended for the issuer that it asked; `well` false makes it be asked less. */
export interface Ended {
  readonly well: boolean;
  readonly asked?: Seconds;
}

export interface QueueParts {
  readonly clock: Clock;
  readonly random: Random;
  /** How many may be in flight, if it has to be fewer than {@link most}. */
  readonly places?: number | undefined;
  /**
   * Does the job. Must not reject. `answered`: its issuer has answered well and is asked for nothing else, so that the place is
   * another's while what came is written; nothing happens where it is told twice, or late.
   */
  run(name: string, answered: () => void): Promise<Ended>;
  /** The job is due, but its issuer is being left alone. */
  deferred(name: string): void;
}

/** How the queue stands. */
export interface Backlog {
  /** Due, and not begun yet. */
  readonly waiting: number;
  /** By how much the first of these is late: milliseconds. */
  readonly lateMs: number;
  readonly inFlight: number;
}

interface Flight {
  readonly lane: Lane;
  /** Begun, or answered. */
  since: number;
  answered: boolean;
}

/**
 * Named jobs, each at its time, each in the lane of its issuer. A name is in it once, and its job never runs twice at once:
 * whoever sets a name that is running has it run again afterwards. Whatever there is to do is done in O(log n), or in slices.
 */
export class Queue {
  readonly #jobs = new Jobs();
  /** Those that are not due yet. */
  readonly #later = new Heap(this.#jobs);
  readonly #lanes: Lane[] = [];
  readonly #laneNumbers = new Map<string, number>();
  /** Those that take a place, the longest in flight first; those that have been answered, likewise; and those that hang. */
  readonly #inFlight = new Map<number, Flight>();
  readonly #answered = new Map<number, Flight>();
  readonly #hanging = new Map<number, Flight>();
  /** How many of each person's are in flight. */
  readonly #busy = new Map<number, number>();
  /** When those that are in flight are to run again, and where. */
  readonly #again = new Map<number, { readonly due: number; readonly lane: number; readonly ahead: boolean }>();
  /** Those of a lane whose gate has closed, of whom it has not been told yet. */
  readonly #untold = new Map<Lane, { readonly jobs: Int32Array; told: number }>();
  readonly #time: ScheduleTime;
  readonly #most: number;
  /** The lane that was let in last. */
  #turn = 0;
  #disarm: () => void = () => {};
  /** What the timer is set to. */
  #wakesAt = Number.POSITIVE_INFINITY;
  #stopped = false;
  #drained: (() => void)[] = [];

  constructor(private readonly parts: QueueParts) {
    this.#time = new ScheduleTime(parts.clock.now(), parts.clock.steady());
    this.#most = Math.min(most, parts.places ?? most);
  }

  get running(): number {
    return this.#inFlight.size + this.#answered.size + this.#hanging.size;
  }

  isRunning(name: string): boolean {
    const job = this.#jobs.find(name);
    return job !== undefined && this.#jobs.state[job] === running;
  }

  /** All that are due, whether their issuer is being left alone or not; in a fraction of a millisecond for 10^5. */
  backlog(): Backlog {
    const { state, due } = this.#jobs;
    const now = this.#now();
    let [waits, lateMs] = [0, 0];
    for (let job = 0; job < state.length; job++) {
      if (state[job] !== waiting && (state[job] !== set || (due[job] as number) > now)) continue;
      waits++;
      lateMs = Math.max(lateMs, now - (due[job] as number));
    }
    return { waiting: waits, lateMs, inFlight: this.running };
  }

  /**
   * In `ms` from now, in the lane of that issuer; less than 0: it goes before those that have been due for less. `ahead`:
   * somebody waits for it, so it goes before all others.
   */
  set(name: string, ms: number, lane: string, ahead = false): void {
    const due = this.#now() + ms;
    if (Number.isNaN(due)) throw new RangeError(`no time for ${name}`);
    const jobs = this.#jobs;
    const job = jobs.take(name);
    if (jobs.state[job] === running) {
      this.#again.set(job, { due, lane: this.#laneNumber(lane), ahead });
      return;
    }
    // Before its lane is another: else it would stay in the line of that one, and run twice.
    this.#takeOut(job);
    this.#setOut(job, due, this.#laneNumber(lane), ahead);
    if (due < this.#wakesAt) this.#arm();
  }

  delete(name: string): void {
    const job = this.#jobs.find(name);
    if (job === undefined) return;
    this.#again.delete(job);
    if (this.#jobs.state[job] === running) return;
    this.#takeOut(job);
    this.#jobs.giveUp(job);
  }

  /** So many milliseconds sooner than it was set, in the lane of that issuer; what is running goes on. */
  move(name: string, sooner: number, lane: string): void {
    const jobs = this.#jobs;
    const job = jobs.find(name);
    if (job === undefined || jobs.state[job] === running) return;
    const number = this.#laneNumber(lane);
    if (sooner === 0 && jobs.lane[job] === number) return;
    const due = (jobs.due[job] as number) - sooner;
    this.#takeOut(job);
    this.#setOut(job, due, number, jobs.ahead[job] === 1);
    if (due < this.#wakesAt) this.#arm();
  }

  /** Issuers may be asked in another way from now on: they are not left alone for what was before, but where they asked for it. */
  reopen(): void {
    for (const lane of this.#lanes) lane.gate.reopen();
    this.#arm();
  }

  /** Nothing is started any more; resolves when nothing is running. */
  stop(): Promise<void> {
    this.#stopped = true;
    this.#disarm();
    return this.running === 0 ? Promise.resolve() : new Promise((resolve) => this.#drained.push(resolve));
  }

  #now(): number {
    return this.#time.read(this.parts.clock.now(), this.parts.clock.steady());
  }

  #setOut(job: number, due: number, lane: number, ahead: boolean): void {
    const jobs = this.#jobs;
    jobs.due[job] = due;
    jobs.lane[job] = lane;
    jobs.ahead[job] = ahead ? 1 : 0;
    jobs.state[job] = set;
    this.#later.add(job, due);
  }

  #takeOut(job: number): void {
    const { state } = this.#jobs;
    if (state[job] === set) this.#later.delete(job);
    else if (state[job] === waiting) this.#laneOf(job).delete(job);
    else return;
    state[job] = idle;
  }

  #laneNumber(name: string): number {
    let number = this.#laneNumbers.get(name);
    if (number === undefined) {
      number = this.#lanes.push(new Lane(this.#jobs, this.parts.random)) - 1;
      this.#laneNumbers.set(name, number);
    }
    return number;
  }

  #laneOf(job: number): Lane {
    return this.#lanes[this.#jobs.lane[job] as number] as Lane;
  }

  #dueIn(now: number): number {
    const job = this.#later.first;
    return job === undefined ? Number.POSITIVE_INFINITY : (this.#jobs.at[job] as number) - now;
  }

  /** One timer for all: to the earliest job, to the gate that opens first, and to the places that there will be. */
  #arm(): void {
    this.#disarm();
    if (this.#stopped) return;
    const now = this.#now();
    let next = Math.min(glance, this.#dueIn(now));
    if (this.#untold.size > 0) next = 0;
    for (const lane of this.#lanes) {
      if (lane.first === undefined) continue;
      const wait = lane.gate.wait(now);
      if (wait !== 0) next = Math.min(next, wait ?? glance);
      else if (this.running < this.#room(lane)) next = Math.min(next, this.#placeIn(lane, now));
    }
    this.#wakesAt = now + next;
    this.#disarm = this.parts.clock.after(Math.max(0, next), () => this.#tick());
  }

  /** When there may be a place for whoever is first in that lane, though nothing ends. */
  #placeIn(lane: Lane, now: number): number {
    const [[first], [second]] = [this.#inFlight.values(), this.#answered.values()];
    const hangs = Math.min(first?.since ?? now, second?.since ?? now) + hanging - now;
    return this.#places(lane, now) < this.#most ? Math.min(soon, hangs) : hangs;
  }

  /** How many may be in flight over all, for those who wait in that lane. */
  #places(lane: Lane, now: number): number {
    return Math.min(this.#most, placesFor(lane.people, lane.took, this.#lateBy(lane, now)));
  }

  #lateBy(lane: Lane, now: number): number {
    const [first, { at, due }] = [lane.first, this.#jobs];
    // Neither those who have had a turn just now are late, nor those who go ahead of their time.
    return first === undefined ? 0 : now - Math.max(at[first] as number, due[first] as number);
  }

  #tick(): void {
    const now = this.#now();
    for (const flights of [this.#inFlight, this.#answered]) {
      for (const [job, flight] of flights) {
        if (now - flight.since < hanging) break;
        this.#landed(job, flight);
        this.#hanging.set(job, flight);
      }
    }
    this.#lineUp(now);
    this.#tell();
    for (let lane = this.#nextLane(now); lane !== undefined; lane = this.#nextLane(now)) {
      const job = lane.first as number;
      if (this.#busyOf(job) < mostEach) this.#start(job, lane, now);
      else lane.rest();
    }
    this.#arm();
  }

  /** What is due goes to the line of its issuer. */
  #lineUp(now: number): void {
    for (let n = 0; n < slice; n++) {
      const job = this.#later.first;
      if (job === undefined || (this.#jobs.at[job] as number) > now) return;
      this.#later.delete(job);
      this.#jobs.state[job] = waiting;
      const lane = this.#laneOf(job);
      lane.add(job);
      if (lane.gate.isClosed(now)) this.parts.deferred(this.#jobs.nameOf(job));
    }
  }

  /** Those who stood in line before the gate closed are put off as well. */
  #tell(): void {
    for (const [lane, rest] of this.#untold) {
      const end = Math.min(rest.jobs.length, rest.told + slice);
      for (; rest.told < end; rest.told++) {
        const job = rest.jobs[rest.told] as number;
        if (this.#jobs.state[job] === waiting && this.#laneOf(job) === lane)
          this.parts.deferred(this.#jobs.nameOf(job));
      }
      if (end === rest.jobs.length) this.#untold.delete(lane);
    }
  }

  /** Of those who may begin one: the lane with the fewest in flight, and of these each in its turn. */
  #nextLane(now: number): Lane | undefined {
    const count = this.#lanes.length;
    let best: Lane | undefined;
    let number = 0;
    for (let n = 1; n <= count; n++) {
      const lane = this.#lanes[(this.#turn + n) % count] as Lane;
      if (best !== undefined && lane.fresh >= best.fresh) continue;
      if (lane.first === undefined || lane.gate.wait(now) !== 0 || !this.#hasPlace(lane, now)) continue;
      best = lane;
      number = (this.#turn + n) % count;
    }
    if (best !== undefined) this.#turn = number;
    return best;
  }

  /** An issuer of which nothing is in flight may always be asked: others, slow, hanging or many, are nothing to it. */
  #hasPlace(lane: Lane, now: number): boolean {
    if (this.#stopped) return false;
    if (this.running >= this.#room(lane)) return lane.running === 0;
    if (lane.fresh === 0) return true;
    const asked = this.#inFlight.size;
    if (asked >= this.#most || asked + this.#answered.size >= withWritten(this.#most)) return false;
    return asked < this.#places(lane, now) || lane.fresh < shareOf(this.#busyLanes());
  }

  /**
   * How many there may be in all, hanging or not, for that lane to begin another: what hangs there counts twice, so that of
   * n issuers that hang each has an (n + 1)th, and the others have as much.
   */
  #room(lane: Lane): number {
    return this.#most * overbooked - (lane.running - lane.fresh);
  }

  /** Of how many issuers something is in flight, or waits. */
  #busyLanes(): number {
    let count = 0;
    for (const lane of this.#lanes) if (lane.fresh > 0 || lane.first !== undefined) count++;
    return count;
  }

  #busyOf(job: number): number {
    return this.#busy.get(this.#jobs.who[job] as number) ?? 0;
  }

  #start(job: number, lane: Lane, now: number): void {
    const jobs = this.#jobs;
    lane.start(job, now);
    jobs.state[job] = running;
    const flight: Flight = { lane, since: now, answered: false };
    this.#inFlight.set(job, flight);
    this.#busy.set(jobs.who[job] as number, this.#busyOf(job) + 1);
    this.parts
      .run(jobs.nameOf(job), () => this.#makePlace(job, flight))
      .then((ended) => {
        this.#ended(job, flight, ended);
        if (this.#stopped && this.running === 0) for (const done of this.#drained.splice(0)) done();
        if (!this.#stopped) this.#tick();
      });
  }

  /** It takes no place any more, if it took one. */
  #landed(job: number, flight: Flight): boolean {
    for (const flights of [this.#inFlight, this.#answered]) {
      // The same name may run again by now.
      if (flights.get(job) !== flight) continue;
      flights.delete(job);
      flight.lane.fresh--;
      return true;
    }
    return false;
  }

  #makePlace(job: number, flight: Flight): void {
    const { lane, since } = flight;
    // How it fares with whoever goes ahead is known at the end.
    if (flight.answered || lane.gate.isShut || !this.#landed(job, flight)) return;
    const now = this.#now();
    lane.gate.leave();
    lane.timed(now - since);
    lane.fresh++;
    flight.answered = true;
    flight.since = now;
    this.#answered.set(job, flight);
    if (!this.#stopped) this.#tick();
  }

  #ended(job: number, flight: Flight, { well, asked }: Ended): void {
    const jobs = this.#jobs;
    const { lane, since } = flight;
    const now = this.#now();
    const who = jobs.who[job] as number;
    if (!this.#landed(job, flight)) this.#hanging.delete(job);
    lane.running--;
    this.#leave(who, now);
    const [wasClosed, hadFailed] = [lane.gate.isClosed(now), lane.gate.hasFailed(who)];
    if (!flight.answered) {
      lane.gate.leave();
      if (well) lane.timed(now - since);
    }
    lane.gate.fared(who, well, now, asked);
    jobs.fared[job] = well ? 1 : 0;
    if (!well && !hadFailed) lane.putBehind(who);
    if (!wasClosed && lane.gate.isClosed(now)) this.#untold.set(lane, { jobs: lane.all(), told: 0 });
    const again = this.#again.get(job);
    if (again === undefined) {
      jobs.giveUp(job);
      return;
    }
    this.#again.delete(job);
    this.#setOut(job, again.due, again.lane, again.ahead);
  }

  /** One of theirs is over. */
  #leave(who: number, now: number): void {
    const busy = (this.#busy.get(who) ?? 1) - 1;
    if (busy > 0) this.#busy.set(who, busy);
    else this.#busy.delete(who);
    for (const lane of this.#lanes) lane.wake(who, now);
  }
}
