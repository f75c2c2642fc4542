/*
 * One simulated run, in a process of its own (node --expose-gc million-main.mjs '{"credentials": …}'): the real Keeper with its
 * queue, over credentials and an issuer in memory and a clock that is moved by hand. Prints one line of JSON.
 */

import { dueAt, spreadOf } from '../../../src/core/due.js';
import type { Clock, Credentials, Log } from '../../../src/core/ports.js';
import { epochMs, type Seconds, seconds } from '../../../src/core/time.js';
import { Keeper } from '../../../src/daemon/keeper.js';
import { provider } from '../../helpers/provider.js';

export interface Course {
  readonly credentials: number;
  /** `anywhere`: each is somewhere between two refreshes. `logins`: a thousand people log in a second, until all have. */
  readonly begin: 'anywhere' | 'logins';
  /** That are watched, once all are there: minutes. */
  readonly minutes: number;
  /** Of access tokens: seconds. */
  readonly life: number;
  /** Of the issuer: milliseconds. */
  readonly latency: number;
}

export interface CourseOutcome {
  readonly requests: number;
  readonly perSecond: number;
  readonly most: number;
  readonly overMean: number;
  readonly inFlight: number;
  /** What was left of a token when the next took its place: seconds. */
  readonly leastLeft: number;
  /** Real seconds for a simulated hour. */
  readonly hourTakes: number;
  /** Of the live heap, and resident: bytes a credential. */
  readonly heapEach: number;
  readonly rssMb: number;
  /** Most and mean in a second, in each minute. */
  readonly minutes: readonly (readonly [most: number, mean: number])[];
}

const course: Course = JSON.parse(process.argv[2] ?? '');
const { credentials: count, life, latency } = course;
const minimum = seconds(360);
const quiet: Log = { error: (text) => console.error(text), warn: () => {}, info: () => {}, debug: () => {} };

/** Time that only goes on when all has come to rest: the timers in the order of their times, the last first. */
let now = 1_700_000_000_000;
const timers: { readonly at: number; readonly fire: () => void }[] = [];
const clock: Clock = {
  now: () => epochMs(now),
  steady: () => now,
  after(ms, fire) {
    const timer = { at: now + Math.max(0, ms), fire };
    let place = timers.length;
    while (place > 0 && (timers[place - 1] as { at: number }).at <= timer.at) place--;
    timers.splice(place, 0, timer);
    return () => {
      const there = timers.indexOf(timer);
      if (there >= 0) timers.splice(there, 1);
    };
  },
  sleep: (span) => new Promise((done) => void clock.after(span * 1000, done)),
};
/** Nothing here waits for anything but timers: when the loop has gone around, all has been done. */
const rest = () => new Promise<void>((resolve) => setImmediate(resolve));

async function until(end: number): Promise<void> {
  for (let timer = timers.at(-1); timer !== undefined && timer.at <= end; timer = timers.at(-1)) {
    timers.pop();
    now = Math.max(now, timer.at);
    timer.fire();
    await rest();
  }
  now = end;
}

/** What is on disk, in columns: by the number in the user's name. */
const there = new Uint8Array(count);
const generation = new Int32Array(count);
const issuedAt = new Float64Array(count).fill(Number.NaN);
const expiresAt = new Float64Array(count);
const numberOf = (user: string): number => Number(user.slice(4));
const idOf = (n: number) => ({ user: `user${n}`, service: 'demo' });
const stampOf = (n: number): string => `${n}.${generation[n]}`;
const grantOf = (n: number) => ({ kind: 'refresh', refreshToken: `token-${n}-${generation[n]}` }) as const;

const credentials: Credentials = {
  users: async () => Array.from({ length: count }, (_, n) => `user${n}`).filter((_, n) => there[n] === 1),
  scan: async (user) => {
    const n = numberOf(user);
    const found = { id: idOf(n), provider: 'demo', stamp: stampOf(n), written: epochMs((issuedAt[n] as number) - 1) };
    return new Map(there[n] === 1 ? [[`${user}/demo`, found]] : []);
  },
  read: async ({ user }) => ({ grant: grantOf(numberOf(user)), stamp: stampOf(numberOf(user)) }),
  life: async ({ user }) => {
    const n = numberOf(user);
    const issued = issuedAt[n] as number;
    return Number.isNaN(issued) ? undefined : { issued: epochMs(issued), expires: epochMs(expiresAt[n] as number) };
  },
  rotate: async ({ user }) => {
    const n = numberOf(user);
    generation[n] = (generation[n] as number) + 1;
    return stampOf(n);
  },
  publish: async ({ user }, _stamp, token) => {
    const n = numberOf(user);
    if (isWatched) leastLeft = Math.min(leastLeft, ((expiresAt[n] as number) - now) / 1000);
    issuedAt[n] = token.issued;
    expiresAt[n] = token.expires;
  },
  put: async () => '',
  remove: async () => false,
};

let isWatched = false;
let begun = now;
let [inFlight, mostInFlight, leastLeft] = [0, 0, Number.POSITIVE_INFINITY];
const perSecond: number[] = [];

const demo = provider('demo');
const keeper = new Keeper({
  credentials,
  clock,
  random: Math.random,
  log: quiet,
  provider: () => demo,
  fetch: async (_provider, _grant, { rotation }) => {
    if (isWatched) {
      const second = Math.floor((now - begun) / 1000);
      perSecond[second] = (perSecond[second] ?? 0) + 1;
      mostInFlight = Math.max(mostInFlight, inFlight + 1);
    }
    inFlight++;
    const issued = clock.now();
    await new Promise<void>((done) => void clock.after(latency, done));
    inFlight--;
    await rotation.keep('next');
    const expires = epochMs(issued + life * 1000);
    return { accessToken: 'x', tokenType: 'bearer', refreshToken: 'next', issued, expires, lifeFrom: 'expires_in' };
  },
  minimum: (): Seconds => minimum,
  changed: () => {},
});

const heap = (): number => {
  (globalThis as { gc?: () => void }).gc?.();
  return process.memoryUsage().heapUsed;
};
const before = heap();
for (let n = 0; n < count; n++) {
  there[n] = 1;
  if (course.begin === 'anywhere') {
    const token = { issued: epochMs(0), expires: epochMs(life * 1000) };
    const issued = now - dueAt(token, minimum, spreadOf(`user${n}/demo`)) * Math.random();
    issuedAt[n] = issued;
    expiresAt[n] = issued + life * 1000;
  } else if (n % 10 === 9) await until(now + 10);
  await keeper.look(`user${n}`);
}
// Those that this program has made overdue are no part of it.
const settled = course.begin === 'anywhere' ? 60 : 10;
await until(now + settled * 1000);
const heapEach = (heap() - before) / count;

begun = now;
isWatched = true;
const real = performance.now();
await until(now + course.minutes * 60_000);
const hourTakes = ((performance.now() - real) / 1000) * (60 / course.minutes);
const all = Array.from({ length: course.minutes * 60 }, (_, n) => perSecond[n] ?? 0);
const mean = (list: readonly number[]): number => list.reduce((sum, n) => sum + n, 0) / list.length;
const outcome: CourseOutcome = {
  requests: all.reduce((sum, n) => sum + n, 0),
  perSecond: mean(all),
  most: Math.max(...all),
  overMean: Math.max(...all) / mean(all),
  inFlight: mostInFlight,
  leastLeft,
  hourTakes,
  heapEach,
  rssMb: process.memoryUsage().rss / 2 ** 20,
  minutes: Array.from({ length: course.minutes }, (_, n) => all.slice(60 * n, 60 * n + 60)).map(
    (minute) => [Math.max(...minute), mean(minute)] as const,
  ),
};
process.stdout.write(`${JSON.stringify(outcome)}\n`);
process.exit();
