import fc from 'fast-check';
import { expect, test } from 'vitest';
import { most } from '../../src/core/batch.js';
import type { Clock } from '../../src/core/ports.js';
import { epochMs } from '../../src/core/time.js';
import { type Ended, Queue } from '../../src/daemon/queue.js';

/** CI runs the long mode of these in a step of its own; `npm test` has to stay quick. */
const runs = process.env.CREDMON_TEST_LONG === 'yes' ? 600 : 60;

/** In flight for so long, one hangs; an HTTP client gives up after so long: milliseconds. */
const [hanging, patience] = [2000, 20_000];
/** So many of one person's are in flight at the most. */
const mostEach = 4;
/** So many do for a steady load. */
const steady = 9;
/** For each place so many more are being written, whom their issuer has answered. */
const writing = 0.5;
/** So many times the places are in flight at the most, with those that hang. */
const overbooked = 4;

/** `good` always answers well and soon; of the others a history says how they do. */
const issuers = ['good', 'x', 'y', 'z'] as const;
type Name = (typeof issuers)[number];
const quick = 100;
const conduct = {
  well: { takes: 50, well: true },
  slow: { takes: 1500, well: true },
  failing: { takes: 30, well: false },
  hanging: { takes: patience, well: false },
};
type Conduct = keyof typeof conduct;

/** How soon a job has its turn at the good issuer, whatever the others do: milliseconds. */
function turnWithin({ people, turns }: Pick<Wanted, 'people' | 'turns'>, places: number): number {
  const share = (all: number) => Math.max(1, Math.floor(Math.min(places, all) / issuers.length));
  // A few people with many each are not late at any of their turns, and have what a steady load has.
  const each = (people * quick) / share(steady) < 1000 ? share(steady) : share(most);
  return hanging + 1000 + (people * turns * quick * 1.5) / each;
}

interface Wanted {
  readonly due: number;
  readonly at: Name;
  /** Since when it could begin: it is due, and does not run. */
  since: number;
  /** How many people have waited at its issuer meanwhile, and jobs of its own person's, at the most. */
  people: number;
  turns: number;
}

/** A queue in time that a history moves, and what must hold for it after each thing that happens. */
class Crowd {
  readonly broken: string[] = [];
  readonly queue: Queue;
  readonly #timers = new Set<{ readonly at: number; readonly fire: () => void }>();
  readonly #wanted = new Map<string, Wanted>();
  readonly #running = new Map<string, { since: number; answered: boolean; readonly at: Name }>();
  readonly #conduct = new Map<Name, Conduct>(issuers.map((name) => [name, 'well']));
  /** Whose answer is still to come. */
  #unanswered = 0;
  #now = 0;
  stopped = false;

  constructor(
    readonly places: number,
    /** How long after a good answer, and a bad one, a job is to run again: milliseconds; 0: not any more. */
    private readonly again: { readonly well: number; readonly failed: number },
    /** How much of the time of those that go well is over when their issuer has answered; undefined: that is not told. */
    private readonly asking: number | undefined,
  ) {
    const clock: Clock = {
      now: () => epochMs(1_800_000_000_000 + this.#now),
      steady: () => this.#now,
      after: (ms, fire) => this.#after(ms, fire),
      sleep: () => Promise.reject(new Error('nobody sleeps here')),
    };
    this.queue = new Queue({
      clock,
      random: () => 0.5,
      places,
      run: (name, answered) => this.#run(name, answered),
      deferred: (name) => {
        const wanted = this.#wanted.get(name);
        if (wanted === undefined || wanted.due > this.#now) this.#break(`${name} is put off, and not due`);
        else if (wanted.at === 'good') this.#break(`${name} is put off, though its issuer is good`);
      },
    });
  }

  #after(ms: number, fire: () => void): () => void {
    const timer = { at: this.#now + Math.max(0, ms), fire };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  }

  #break(rule: string): void {
    this.broken.push(`${rule}, at ${this.#now} ms`);
  }

  #run(name: string, answered: () => void): Promise<Ended> {
    const wanted = this.#wanted.get(name);
    this.#wanted.delete(name);
    if (this.stopped) this.#break(`${name} begins after the end`);
    if (this.#running.has(name)) this.#break(`${name} runs twice at once`);
    if (wanted === undefined) this.#break(`${name} runs, and nobody wants it`);
    else if (wanted.due > this.#now + 1e-6) this.#break(`${name} runs ${wanted.due - this.#now} ms before its time`);
    const at = wanted?.at ?? 'good';
    const flight = { since: this.#now, answered: false, at };
    this.#running.set(name, flight);
    this.#bounds(personOf(name));
    const { takes, well } = at === 'good' ? { takes: quick, well: true } : conduct[this.#conduct.get(at) as Conduct];
    if (well && this.asking !== undefined) {
      this.#unanswered++;
      this.#after(takes * this.asking, () => {
        this.#unanswered--;
        Object.assign(flight, { since: this.#now, answered: true });
        answered();
      });
    }
    return new Promise((resolve) =>
      this.#after(takes, () => {
        this.#running.delete(name);
        const pause = well ? this.again.well : this.again.failed;
        if (pause > 0 && !this.#wanted.has(name)) this.set(name, pause, at);
        const next = this.#wanted.get(name);
        if (next) next.since = Math.max(next.since, this.#now);
        resolve({ well });
      }),
    );
  }

  /** Whenever something begins. */
  #bounds(person: string): void {
    let [all, fresh, asked, theirs] = [0, 0, 0, 0];
    for (const [name, { since, answered }] of this.#running) {
      all++;
      if (this.#now - since < hanging) fresh++;
      if (this.#now - since < hanging && !answered) asked++;
      if (personOf(name) === person) theirs++;
    }
    // An issuer of which nothing is in flight has a place in any case.
    const besides = issuers.length - 1;
    if (asked > this.places + besides) this.#break(`${asked} are in flight`);
    if (fresh > this.places * (1 + writing) + besides) this.#break(`${fresh} are in flight or being written`);
    if (all > this.places * overbooked + issuers.length - 1) this.#break(`${all} are in flight, with those that hang`);
    if (theirs > mostEach) this.#break(`${theirs} of ${person} are in flight`);
  }

  /** The rest of the rules, which hold when nothing goes on. */
  #judge(): void {
    const due = [...this.#wanted].filter(([name, { due }]) => due <= this.#now && !this.#running.has(name));
    const { waiting, inFlight } = this.queue.backlog();
    if (waiting !== due.length) this.#break(`${waiting} are said to wait, and ${due.length} do`);
    if (inFlight !== this.#running.size) this.#break(`${inFlight} are said to be in flight`);
    if (this.#timers.size > this.#running.size + this.#unanswered + 1) this.#break('there is a timer too many');
    if (this.stopped) return;
    const people = new Map<string, number>();
    const good = due.filter(([, { at }]) => at === 'good');
    for (const [name] of good) people.set(personOf(name), (people.get(personOf(name)) ?? 0) + 1);
    for (const [name, wanted] of good) {
      wanted.people = Math.max(wanted.people, people.size);
      wanted.turns = Math.max(wanted.turns, people.get(personOf(name)) as number);
      const [waited, within] = [this.#now - wanted.since, turnWithin(wanted, this.places)];
      if (waited > within) this.#break(`${name} has waited for ${waited} ms, of ${within}`);
    }
  }

  set(name: string, ms: number, at: Name, ahead = false): void {
    const due = this.#now + ms;
    this.#wanted.set(name, { due, at, since: Math.max(due, this.#now), people: 0, turns: 0 });
    this.queue.set(name, ms, at, ahead);
  }

  delete(name: string): void {
    this.#wanted.delete(name);
    this.queue.delete(name);
  }

  behave(at: Name, how: Conduct): void {
    this.#conduct.set(at, how);
  }

  async pass(ms: number): Promise<void> {
    const end = this.#now + ms;
    await settled();
    for (let timer = this.#next(end); timer; timer = this.#next(end)) {
      this.#now = Math.max(this.#now, timer.at);
      this.#timers.delete(timer);
      timer.fire();
      await settled();
      this.#judge();
      if (this.broken.length > 0) return;
    }
    this.#now = end;
  }

  #next(end: number) {
    let first: { readonly at: number; readonly fire: () => void } | undefined;
    for (const timer of this.#timers)
      if (timer.at <= end && (first === undefined || timer.at < first.at)) first = timer;
    return first;
  }

  /** Who waits, though all issuers answer well. */
  get left(): readonly string[] {
    return [...this.#wanted].filter(([, { due }]) => due <= this.#now).map(([name]) => name);
  }
}

const settled = () => new Promise<void>((resolve) => process.nextTick(resolve));
const personOf = (name: string): string => name.slice(0, name.indexOf('/'));

const at = fc.constantFrom(...issuers);
const ms = fc.oneof(fc.constant(0), fc.integer({ min: -5000, max: 20_000 }), fc.constant(-3_600_000));
const acts = fc.oneof(
  // One credential each of many people.
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('herd' as const), at, people: fc.integer({ min: 1, max: 150 }), ms }),
  },
  // Many credentials each of a few people.
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('mob' as const),
      at,
      people: fc.integer({ min: 1, max: 12 }),
      each: fc.integer({ min: 1, max: 40 }),
      ms,
      ahead: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('behave' as const),
      at: fc.constantFrom('x', 'y', 'z'),
      how: fc.constantFrom('well', 'slow', 'slow', 'failing', 'hanging', 'hanging'),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('remove' as const), at, people: fc.integer({ min: 1, max: 100 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reopen' as const) }) },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.constantFrom(1, 60, 700, 2500, 9000, 30_000) }),
  },
);

const histories = fc.record({
  places: fc.constantFrom(64, 16, 16, 6, 1),
  again: fc.constantFrom({ well: 0, failed: 0 }, { well: 0, failed: 1500 }, { well: 4000, failed: 1500 }),
  asking: fc.constantFrom(undefined, 0.9, 0.5, 0.1),
  acts: fc.array(acts, { minLength: 1, maxLength: 14 }),
});

type History = typeof histories extends fc.Arbitrary<infer H> ? H : never;

async function play({ places, again, asking, acts }: History): Promise<void> {
  const crowd = new Crowd(places, again, asking);
  const whole = () => expect(crowd.broken).toEqual([]);
  for (const act of acts) {
    switch (act.do) {
      case 'herd':
        for (let n = 0; n < act.people; n++) crowd.set(`${act.at}${n}/h`, act.ms + (n % 7), act.at);
        break;
      case 'mob':
        for (let n = 0; n < act.people; n++)
          for (let k = 0; k < act.each; k++) crowd.set(`${act.at}-mob${n}/${k}`, act.ms, act.at, act.ahead);
        break;
      case 'behave':
        crowd.behave(act.at as Name, act.how as Conduct);
        break;
      case 'remove':
        for (let n = 0; n < act.people; n++) crowd.delete(`${act.at}${n}/h`);
        break;
      case 'reopen':
        crowd.queue.reopen();
        break;
      case 'pass':
        await crowd.pass(act.ms);
    }
    whole();
  }
  for (const name of issuers) crowd.behave(name, 'well');
  // The longest pause of an issuer, a client's patience, and the time that all of it takes with one place.
  await crowd.pass(60_000 + patience + 700 * quick);
  whole();
  if (again.well === 0) expect(crowd.left).toEqual([]);
  const stopped = crowd.queue.stop();
  crowd.stopped = true;
  await crowd.pass(patience);
  await stopped;
  whole();
}

/** What such histories have found. */
const found: readonly History[] = [
  // With one place four of one issuer that hung kept everybody else waiting.
  {
    places: 1,
    again: { well: 0, failed: 0 },
    asking: undefined,
    acts: [
      { do: 'behave', at: 'x', how: 'hanging' },
      { do: 'mob', at: 'x', people: 1, each: 8, ms: 0, ahead: false },
      { do: 'pass', ms: 30_000 },
      { do: 'herd', at: 'good', people: 2, ms: 0 },
      { do: 'pass', ms: 1 },
    ],
  },
  // While one issuer was slow and far behind, three people's many at a good one were asked for one after the other.
  {
    places: 64,
    again: { well: 0, failed: 0 },
    asking: undefined,
    acts: [
      { do: 'behave', at: 'y', how: 'slow' },
      { do: 'mob', at: 'good', people: 3, each: 12, ms: 9001, ahead: false },
      { do: 'pass', ms: 9000 },
      { do: 'herd', at: 'y', people: 32, ms: -3_600_000 },
      { do: 'pass', ms: 9000 },
    ],
  },
  // All that may be in flight hung at one issuer, and a good one was asked for one after the other.
  {
    places: 16,
    again: { well: 4000, failed: 1500 },
    asking: undefined,
    acts: [
      { do: 'herd', at: 'y', people: 63, ms: 0 },
      { do: 'pass', ms: 9000 },
      { do: 'herd', at: 'good', people: 73, ms: 0 },
      { do: 'behave', at: 'y', how: 'hanging' },
      { do: 'pass', ms: 2500 },
      { do: 'pass', ms: 9000 },
    ],
  },
  // Two began to hang one after the other, and took what was left to a good one.
  {
    places: 16,
    again: { well: 4000, failed: 1500 },
    asking: undefined,
    acts: [
      { do: 'herd', at: 'x', people: 63, ms: 0 },
      { do: 'herd', at: 'y', people: 63, ms: 0 },
      { do: 'pass', ms: 9000 },
      { do: 'pass', ms: 9000 },
      { do: 'behave', at: 'x', how: 'hanging' },
      { do: 'pass', ms: 9000 },
      { do: 'behave', at: 'y', how: 'hanging' },
      { do: 'pass', ms: 1 },
      { do: 'herd', at: 'good', people: 100, ms: 0 },
      { do: 'pass', ms: 9000 },
      { do: 'pass', ms: 9000 },
    ],
  },
];

/**
 * Each at its time and never twice at once; at most {@link most} in flight, or as many as there is room for; at most four of
 * one person's; nobody waits long for a good issuer, however many wait elsewhere, fail or hang; nobody is forgotten.
 */
test(`in ${runs} random histories of four issuers and hundreds of people the queue keeps its rules`, {
  timeout: 900_000,
}, async () => {
  expect(most).toBe(64);
  await fc.assert(fc.asyncProperty(histories, play), { numRuns: runs, examples: found.map((one) => [one]) });
});
