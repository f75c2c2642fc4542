/*
 * What credmond needs by the day: with so many credentials, when nothing is due, and when tokens of 20 minutes are refreshed
 * all the time.
 *
 *     npm run bench:steady [-- --credentials 1000,10000,100000] [-- --each 5] [-- --idle 125] [-- --load 45]
 *                          [-- --dir /dev/shm] [-- --json FILE] [-- --markdown FILE]
 *
 * Each count with a user for each credential, the largest also with --each of them a user. The built credmonds are processes of
 * their own, each with a directory and an issuer process of its own. First all of them have tokens of a day of which none comes
 * due: when they have told everybody's status they are watched together, for two sweeps (one a minute) and more. Then each is
 * started again on tokens of 20 minutes that are somewhere in their lives: timed to the first `.use` and to the end of the first
 * look at all, and watched when it has settled; the largest one at a time.
 * The credential directory lies where the project does, or in --dir: /dev/shm asks nothing of a disk. About ten minutes.
 */
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { dueAt, spreadOf } from '../../src/core/due.js';
import { epochMs, seconds } from '../../src/core/time.js';
import { atRest } from './kit/at-rest.js';
import { bundled } from './kit/bundled.js';
import { type BenchIssuer, startBenchIssuer } from './kit/issuer.js';
import { heading, keep, type Row } from './kit/outcome.js';
import { type Credmond, makePoint, type Point, startCredmond } from './kit/point.js';
import { show } from './kit/sheets.js';

const { values } = parseArgs({
  options: {
    credentials: { type: 'string', default: '1000,10000,100000' },
    each: { type: 'string', default: '5' },
    idle: { type: 'string', default: '125' },
    load: { type: 'string', default: '45' },
    dir: { type: 'string' },
    json: { type: 'string' },
    markdown: { type: 'string' },
  },
});
const counts = values.credentials.split(',').map(Number);
const [each, idleFor, loadFor] = [Number(values.each), Number(values.idle), Number(values.load)];

/** Of the tokens that the issuers give, and what must be left of one, as by default: seconds. */
const [life, minimum] = [1200, 360];
const day = 86_400;
/** From the first look at all to the load that is watched: seconds. */
const settling = 30;
/** Milliseconds. */
const latency = 50;

interface Layout {
  readonly credentials: number;
  readonly each: number;
}

interface Place extends Layout {
  readonly issuer: BenchIssuer;
  readonly point: Point;
  readonly ids: readonly (readonly [user: string, service: string])[];
}

const services = Array.from({ length: each }, (_, n) => (n === 0 ? 'demo' : `demo_h${n}`));

async function place({ credentials, each }: Layout): Promise<Place> {
  const issuer = await startBenchIssuer({ latency, life });
  const point = makePoint({ demo: issuer.url }, { token_minimum: minimum }, values.dir, 60);
  const ids = Array.from(
    { length: credentials },
    (_, n) => [`user${Math.floor(n / each)}`, services[n % each] as string] as const,
  );
  return { credentials, each, issuer, point, ids };
}

/** Tokens of a day, an hour old and more: none of them comes due today. */
function populate({ point, ids }: Place): void {
  for (const [user, service] of ids) {
    const issued = Date.now() / 1000 - 3600 * (1 + Math.random());
    point.put(user, service, { issued, expires: issued + day });
  }
}

/** Tokens that are somewhere between one refresh and the next at `begin`: seconds since 1970. */
function renew({ point, ids }: Place, begin: number): void {
  for (const [user, service] of ids) {
    const token = { issued: epochMs(0), expires: epochMs(life * 1000) };
    const period = dueAt(token, seconds(minimum), spreadOf(`${user}/${service}`)) / 1000;
    const issued = begin - period * Math.random();
    point.renew(user, service, { issued, expires: issued + life });
  }
}

/** Once it has told everybody's status. */
async function idle(credmond: Credmond): Promise<number> {
  await atRest(credmond);
  return share(credmond, idleFor);
}

/** Of a core, its own and that of its children. */
async function share(credmond: Credmond, seconds: number): Promise<number> {
  const [before, since] = [credmond.cpu(), performance.now()];
  await pause(seconds * 1000);
  const after = credmond.cpu();
  return (after.own + after.children - before.own - before.children) / (performance.now() - since);
}

interface Load {
  readonly row: Row;
  /** Requests in each second. */
  readonly requests: readonly number[];
}

/** When the first of all tokens since `begun` was there: milliseconds after it; Infinity: none is yet. */
const firstAfter = (begun: number, { point, ids }: Place): number => {
  const written = ids.map(([user, service]) => point.published(user, service)).filter((at) => at >= begun);
  return Math.min(...written) - begun;
};

async function load(place: Place): Promise<Load> {
  const { issuer, point, credentials, each } = place;
  const took = performance.now();
  renew(place, Date.now() / 1000);
  // What it took to write them is as much as they are older now.
  const begun = Date.now();
  console.log(`${credentials} tokens renewed in ${((performance.now() - took) / 1000).toFixed(0)} s`);
  const credmond = await startCredmond(point, [`--import=${preload}`]);
  running.push(credmond);
  let firstMs = firstAfter(begun, place);
  // Of few credentials none may come due before everybody was looked at.
  for (; firstMs === Number.POSITIVE_INFINITY; firstMs = firstAfter(begun, place)) {
    if (Date.now() - begun > life * 1000) throw new Error('nothing was refreshed within the life of a token');
    await pause(100);
  }
  await pause(settling * 1000);
  await issuer.reset();
  credmond.child.kill('SIGUSR2');
  const loadCpu = await share(credmond, loadFor);
  const seen = await issuer.counts();
  credmond.child.kill('SIGUSR2');
  const file = `${point.log}.delay`;
  while (!existsSync(file)) await pause(20);
  const delay = JSON.parse(readFileSync(file, 'utf8'));
  const { rss, peak } = credmond.memory();
  const requests = Array.from({ length: loadFor }, (_, n) => seen.seconds[n] ?? 0);
  const mean = requests.reduce((sum, n) => sum + n, 0) / requests.length;
  const row = {
    credentials,
    users: credentials / each,
    firstMs,
    readyMs: credmond.readyMs,
    rssMb: rss / 2 ** 20,
    peakMb: peak / 2 ** 20,
    descriptors: credmond.descriptors(),
    perSecond: mean,
    most: Math.max(...requests),
    overMean: Math.max(...requests) / mean,
    inFlight: seen.atOnce,
    loadCpu,
    delayP50: delay.p50,
    delayP99: delay.p99,
    delayMax: delay.max,
    refused: seen.refused + seen.reused,
  };
  await credmond.stop();
  return { row, requests };
}

const layouts: Layout[] = counts.map((credentials) => ({ credentials, each: 1 }));
if (each > 1) layouts.push({ credentials: Math.max(...counts), each });
const preload = pathToFileURL(await bundled('test/bench/kit/delay-main.ts')).href;
console.log(heading(values.dir));
const places: Place[] = [];
const running: Credmond[] = [];
try {
  for (const layout of layouts) {
    const one = await place(layout);
    places.push(one);
    populate(one);
  }
  console.log(`${places.reduce((sum, { credentials }) => sum + credentials, 0)} credentials written`);
  for (const { point } of places) running.push(await startCredmond(point));
  const shares = await Promise.all(running.map(idle));
  await Promise.all(running.map((credmond) => credmond.stop()));
  console.log(`idle: ${shares.map((one) => `${(one * 100).toFixed(2)} %`).join(', ')}`);
  const largest = Math.max(...counts);
  const small = await Promise.all(places.filter(({ credentials }) => credentials < largest).map(load));
  const loads: Load[] = [...small];
  for (const one of places) if (one.credentials === largest) loads.push(await load(one));
  const rows = loads.map(({ row }, n) => ({ ...row, idleCpu: shares[n] as number }));
  const requests = loads.map((one) => one.requests);
  show('steady', keep(values.json, rows, { latency, life, idleFor, loadFor, requests }, values.dir), values.markdown);
} finally {
  for (const credmond of running) await credmond.stop('SIGKILL');
  for (const { issuer, point } of places) {
    await issuer.stop();
    point.remove();
  }
}
