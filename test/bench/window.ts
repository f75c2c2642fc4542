/*
 * How long a grant is at risk: from the last byte of an answer with a new refresh token to its durable `.top`.
 *
 *     npm run bench:window [-- --credentials 2000] [-- --warm 300] [-- --rate 140] [-- --latency 50] [-- --dir DIR] [-- --json FILE]
 *                          [-- --markdown FILE]
 *
 * The built credmond refreshes so many credentials, `rate` of them coming due a second as with 100,000 credentials and
 * 20-minute tokens, then the same at once. Some are due before all others at the same rate, and are told apart: V8 is still
 * compiling then, and credmond runs for months. Taken in its own process, by undici's diagnostics channel and around fsync
 * (kit/window-main.ts). Beside it is what the two fsyncs of each took, which is the disk's share of the window, what an fsync
 * takes on the idle disk, and what a program takes that does nothing but these writes, as often. At the end: what the record
 * of refresh tokens that are out (.credmon-intents) costs.
 */
import { closeSync, constants, fsyncSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { Intents } from '../../src/daemon/intents.js';
import { openDir } from '../../src/stores/atomic.js';
import { systemClock } from '../../src/system/clock.js';
import { bundled } from './kit/bundled.js';
import { startBenchIssuer, tokenOf } from './kit/issuer.js';
import { heading, keep, keepTable, type Row } from './kit/outcome.js';
import { makePoint, startCredmond } from './kit/point.js';
import { replaceDurably } from './kit/replace.js';

const { values } = parseArgs({
  options: {
    credentials: { type: 'string', default: '2000' },
    warm: { type: 'string', default: '300' },
    rate: { type: 'string', default: '140' },
    latency: { type: 'string', default: '50' },
    dir: { type: 'string', default: '.build' },
    json: { type: 'string' },
    markdown: { type: 'string' },
  },
});
const count = Number(values.credentials);
const first = Number(values.warm);
const latency = Number(values.latency);
const dir = resolve(values.dir);

/** Milliseconds: kit/window-main.ts. */
interface Sample {
  readonly user: string;
  readonly window: number;
  readonly disk: number;
}

const at = (sorted: readonly number[], part: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
const sorted = (list: readonly number[]): number[] => [...list].sort((a, b) => a - b);

/** `rate`: how many come due a second; Infinity: all at once. */
async function measure(rate: number): Promise<Row> {
  const issuer = await startBenchIssuer({ latency, life: 36_000 });
  const point = makePoint({ demo: issuer.url }, { token_minimum: 3600 }, dir);
  try {
    const put = (user: string, due: number) => point.put(user, 'demo', { issued: due - 60, expires: due + 540 });
    const begin = Math.ceil(Date.now() / 1000) + 4 + Math.ceil((first + count) / 700);
    const steady = Number(values.rate);
    for (let n = 0; n < first; n++) put(`first${n}`, begin + n / steady);
    const then = begin + first / steady + 2;
    for (let n = 0; n < count; n++) put(`user${n}`, then + n / rate);
    const preload = pathToFileURL(await bundled('test/bench/kit/window-main.ts')).href;
    const credmond = await startCredmond(point, [`--import=${preload}`]);
    const limit = performance.now() + 60_000 + (then + count / rate) * 1000 - Date.now();
    while ((await issuer.counts()).refreshed < first + count) {
      if (performance.now() > limit)
        throw new Error(
          `not all were refreshed: ${JSON.stringify(await issuer.counts())}\n${readFileSync(point.log, 'utf8').slice(-2000)}`,
        );
      await pause(100);
    }
    await credmond.stop();
    const samples = JSON.parse(readFileSync(`${point.log}.window`, 'utf8')) as Sample[];
    const { atOnce } = await issuer.counts();
    const isFirst = ({ user }: Sample) => user.startsWith('first');
    const [cold, warm] = [samples.filter(isFirst), samples.filter((sample) => !isFirst(sample))];
    const windows = sorted(warm.map(({ window }) => window));
    const disks = sorted(warm.map(({ disk }) => disk));
    const ours = sorted(warm.map(({ window, disk }) => Math.max(0, window - disk)));
    return {
      load: Number.isFinite(rate) ? `${rate}/s` : 'at once',
      samples: warm.length,
      inFlight: atOnce,
      p50: at(windows, 0.5),
      p99: at(windows, 0.99),
      max: at(windows, 1),
      diskP50: at(disks, 0.5),
      diskP99: at(disks, 0.99),
      oursP50: at(ours, 0.5),
      oursP99: at(ours, 0.99),
      firstP99: at(sorted(cold.map(({ window }) => window)), 0.99),
    };
  } finally {
    await issuer.stop();
    point.remove();
  }
}

/** Of one fsync at a time of a small file, with nothing else going on: milliseconds. */
function idleDisk(): number[] {
  const point = makePoint({}, {}, dir);
  const fd = openSync(join(point.base, 'fsync'), constants.O_CREAT | constants.O_WRONLY, 0o600);
  const took: number[] = [];
  for (let n = 0; n < 500; n++) {
    writeSync(fd, 'x'.repeat(100));
    const begun = performance.now();
    fsyncSync(fd);
    took.push(performance.now() - begun);
  }
  closeSync(fd);
  point.remove();
  return sorted(took);
}

/** Of what the same disk writes take where nothing else is done, as many a second: the least there could be. Milliseconds. */
async function leastWindow(): Promise<number[]> {
  const point = makePoint({ demo: 'http://127.0.0.1' }, {}, dir);
  const users = Array.from({ length: Math.min(count, 1000) }, (_, n) => `user${n}`);
  for (const user of users) point.put(user);
  const took: number[] = [];
  const replace = async (user: string) => {
    const begun = performance.now();
    await replaceDurably(join(point.creds, user), 'demo.top', JSON.stringify({ refresh_token: tokenOf(user, 1) }));
    took.push(performance.now() - begun);
  };
  const begun = performance.now();
  const all = users.map(async (user, n) => {
    await pause((n * 1000) / Number(values.rate) - (performance.now() - begun));
    await replace(user);
  });
  await Promise.all(all);
  point.remove();
  return sorted(took);
}

/** Of a record that is written and taken out again: microseconds. */
function recordCost(): number {
  const point = makePoint({}, {}, dir);
  const folder = openDir(point.creds);
  const say = (text: string) => void process.stderr.write(`${text}\n`);
  const intents = new Intents(folder, { clock: systemClock, log: { error: say, warn: say, info: say, debug: say } });
  const times = 20_000;
  let begun = 0;
  for (let n = -1000; n < times; n++) {
    if (n === 0) begun = performance.now();
    intents.sending(`user${n & 63}/demo`, `12345.1700000000123456789.${n & 1023}`);
    intents.settled(`user${n & 63}/demo`);
  }
  const cost = ((performance.now() - begun) / times) * 1000;
  folder.close();
  rmSync(point.base, { recursive: true });
  return cost;
}

const idle = idleDisk();
const least = await leastWindow();
const rows = [await measure(Number(values.rate)), await measure(Number.POSITIVE_INFINITY)];
const cost = recordCost();
const ms = (value: unknown): string => Number(value).toFixed(2);
const lines = rows.map((row) =>
  [
    row.load,
    row.samples,
    row.inFlight,
    ...['p50', 'p99', 'max', 'diskP50', 'diskP99', 'oursP50', 'oursP99', 'firstP99'].map((key) => ms(row[key])),
  ]
    .map((cell) => String(cell).padStart(9))
    .join(''),
);
const head = ['load', 'samples', 'in flight', 'p50', 'p99', 'max', 'fsync50', 'fsync99', 'ours50', 'ours99', 'first99'];
process.stdout.write(
  `${heading(dir)}; issuer latency ${latency} ms\nLast byte of the answer to durable .top, ms (two fsyncs each; ` +
    `an fsync on the idle disk: ${ms(at(idle, 0.5))}, p99 ${ms(at(idle, 0.99))}; ` +
    `the same writes alone, ${values.rate}/s: ${ms(at(least, 0.5))}, p99 ${ms(at(least, 0.99))}):\n` +
    `${head.map((cell) => cell.padStart(9)).join('')}\n${lines.join('\n')}\nThe record of one refresh, written and taken out: ${cost.toFixed(1)} us\n`,
);
keep(
  values.json,
  rows,
  {
    idleFsyncMs: { p50: at(idle, 0.5), p99: at(idle, 0.99) },
    leastMs: { p50: at(least, 0.5), p99: at(least, 0.99) },
    recordUs: cost,
  },
  dir,
);
keepTable(
  values.markdown,
  [
    'load',
    'answers',
    'in flight',
    'p50, ms',
    'p99',
    'most',
    'two fsyncs of it: p50',
    'p99',
    'the rest: p50',
    'p99',
    `of the first ${first}: p99`,
  ],
  rows.map((row) => [
    String(row.load),
    Number(row.samples),
    Number(row.inFlight),
    ...['p50', 'p99', 'max', 'diskP50', 'diskP99', 'oursP50', 'oursP99', 'firstP99'].map((key) => ms(row[key])),
  ]),
  {
    dir,
    notes:
      `Issuer latency ${latency} ms; one fsync on the idle disk takes ${ms(at(idle, 0.5))} ms, p99 ${ms(at(idle, 0.99))}; ` +
      `a program that does these writes alone, ${values.rate} a second, ${ms(at(least, 0.5))} ms, p99 ${ms(at(least, 0.99))}; ` +
      `the record of one refresh, written and taken out, ${cost.toFixed(0)} µs.`,
  },
);
