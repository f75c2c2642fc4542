/*
 * What it costs credmond to tell of very many: the status files and the metrics.
 *
 *     npm run bench:told [-- --credentials 100000] [-- --rate 140] [-- --seconds 40] [-- --json FILE] [-- --markdown FILE]
 *
 * The real Keeper, Report and Metrics over credentials in memory, each user with one, all fresh; no issuer and no network, so
 * that what is left is the telling. First the metrics, counted and written; then everybody's file, begun; then so many refreshes a
 * second, of which the status tells, for so long. Of each: how long, CPU, the longest that the event loop was kept, and memory.
 */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { Credentials } from '../../src/core/ports.js';
import type { Provider } from '../../src/core/provider.js';
import { everyone } from '../../src/core/snapshot.js';
import { epochMs, seconds } from '../../src/core/time.js';
import { AccountNumbers } from '../../src/daemon/account-numbers.js';
import { Keeper } from '../../src/daemon/keeper.js';
import { Metrics } from '../../src/daemon/metrics.js';
import { MetricsFile } from '../../src/daemon/metrics-file.js';
import { Report } from '../../src/daemon/report.js';
import { StatusFiles } from '../../src/daemon/status-files.js';
import { systemClock as clock } from '../../src/system/clock.js';
import { heading, keep, keepTable, type Row } from './kit/outcome.js';

const { values } = parseArgs({
  options: {
    credentials: { type: 'string', default: '100000' },
    rate: { type: 'string', default: '140' },
    seconds: { type: 'string', default: '40' },
    json: { type: 'string' },
    markdown: { type: 'string' },
  },
});
const count = Number(values.credentials);
const rate = Number(values.rate);
const span = Number(values.seconds);

const base = mkdtempSync(join(tmpdir(), 'credmon-bench-'));
process.once('exit', () => rmSync(base, { recursive: true, force: true }));
const provider: Provider = {
  ...{ name: 'demo', issuer: 'https://issuer.example', clientId: 'bench' },
  ...{ flow: 'device', scopes: ['openid'], bare: false },
};
const providers = new Map([[provider.name, provider]]);
const life = { issued: clock.now(), expires: epochMs(clock.now() + 36_000_000) };
const users = Array.from({ length: count }, (_, n) => `user${n}`);
const log = { error: console.error, warn: console.error, info: () => {}, debug: () => {} };

const credentials: Credentials = {
  users: async () => users,
  scan: async (user) =>
    new Map([
      [`${user}/demo`, { id: { user, service: 'demo' }, provider: 'demo', stamp: '1.2.3', written: epochMs(0) }],
    ]),
  read: async ({ user }) => ({ grant: { kind: 'refresh', refreshToken: `r-${user}` }, stamp: '1.2.3' }),
  life: async () => life,
  rotate: async () => '1.2.3',
  publish: async () => {},
  put: async () => '1.2.3',
  remove: async () => true,
};
const keeper: Keeper = new Keeper({
  ...{ credentials, clock, log, random: Math.random },
  provider: () => provider,
  fetch: () => Promise.reject(new Error('nothing is due')),
  minimum: () => seconds(360),
  changed: () => {},
});
const uids = new Map(users.map((user, n) => [user, 100_000 + n]));
let learning = 0;
class Timed extends AccountNumbers {
  override async of(asked: readonly string[]): Promise<ReadonlyMap<string, number>> {
    const begun = performance.now();
    const found = await super.of(asked);
    learning += performance.now() - begun;
    return found;
  }
}
const report = new Report({
  ...{ keeper, clock, log },
  config: () => ({ providers, warning: seconds(259_200) }),
  numbers: new Timed({
    clock,
    ask: async (asked) => new Map(asked.map((user) => [user, uids.get(user) ?? 0])),
    stamp: () => '',
  }),
  files: new StatusFiles(join(base, 'status'), undefined),
});
const metrics = new Metrics({
  ...{ keeper, clock, log },
  config: () => ({ providers, minimum: seconds(360), metrics: { file: join(base, 'credmon.prom') } }),
  build: { version: 'bench', node: process.versions.node },
  began: clock.now(),
  usage: () => ({ cpuSeconds: 0, residentBytes: 0, descriptors: undefined, mostDescriptors: undefined }),
  lines: {},
  ssh: () => undefined,
  file: new MetricsFile(clock),
  listener: { listen: async () => {}, close: async () => {} },
});

const rss = (): number => process.memoryUsage.rss() / 1e6;

interface Watched {
  /** It is done so often, and told of one. */
  readonly times?: number;
  /** To look at memory and the loop a thousand times a second takes 3 % of a core itself. */
  readonly closely?: boolean;
}

async function measured(what: string, work: () => Promise<void>, { times = 1, closely = true }: Watched = {}) {
  (globalThis as { gc?: () => void }).gc?.();
  const seen = monitorEventLoopDelay({ resolution: 1 });
  const before = rss();
  let most = before;
  const looking = setInterval(
    () => {
      most = Math.max(most, rss());
    },
    closely ? 5 : 1000,
  );
  if (closely) seen.enable();
  const [cpu, begun] = [process.cpuUsage(), performance.now()];
  for (let n = 0; n < times; n++) await work();
  const ms = performance.now() - begun;
  const { user, system } = process.cpuUsage(cpu);
  await pause(5);
  seen.disable();
  clearInterval(looking);
  const row = {
    what,
    ms: ms / times,
    cpuMs: (user + system) / 1e3 / times,
    // Node tells how long a millisecond was.
    ...(closely && { longestMs: Math.max(0, seen.max / 1e6 - 1) }),
    moreMb: Math.max(most, rss()) - before,
  };
  const longest = row.longestMs === undefined ? '' : `, longest ${row.longestMs.toFixed(1)} ms`;
  const [time, spent, more] = [row.ms.toFixed(0), row.cpuMs.toFixed(1), row.moreMb.toFixed(1)];
  console.log(
    `${what.padEnd(58)} ${time.padStart(7)} ms ${spent.padStart(8)} ms CPU, ${more.padStart(5)} MB more${longest}`,
  );
  return row;
}

console.log(`${heading(base)}; ${count} credentials`);
for (const user of users) await keeper.look(user);
const rows: Row[] = [];
rows.push(await measured('metrics: counted and written, once each 15 s', () => metrics.once(), { times: 10 }));
rows.push(await measured('everybody’s status file: begun', () => report.flush()));
const begun = statSync(join(base, 'status', everyone)).size;
for (const user of users) report.changed(user, 'found');
rows.push(await measured('each person’s status file: written, all of them', () => report.flush()));
console.log(`    of which the numbers of accounts took ${learning.toFixed(0)} ms`);
learning = 0;
let next = 0;
const idle = await measured(`nothing, for ${span} s`, () => pause(span * 1000), { closely: false });
rows.push(idle);
const refreshing = async () => {
  const end = performance.now() + span * 1000;
  for (let due = performance.now(); due < end; due += 1000) {
    for (let n = 0; n < rate; n++) report.changed(users[next++ % count] as string, 'refresh');
    await pause(Math.max(0, due + 1000 - performance.now()));
  }
};
const steady = await measured(`${rate} refreshes a second, for ${span} s: told of`, refreshing, { closely: false });
const share = (steady.cpuMs - idle.cpuMs) / (span * 1000);
rows.push({ ...steady, share });
console.log(`    that is ${(100 * share).toFixed(2)} % of a core`);
const size = statSync(join(base, 'status', everyone)).size;
console.log(`    everybody’s file: ${(begun / 1e6).toFixed(1)} MB begun, ${(size / 1e6).toFixed(1)} MB now`);
console.log(`    the metrics are ${((100 * Number(rows[0]?.cpuMs)) / 15_000).toFixed(2)} % of a core`);
keep(values.json, rows, { credentials: count, rate }, base);
const number = (value: unknown, digits: number): string => (value === undefined ? '' : Number(value).toFixed(digits));
const cells = rows.map(({ what = '', ms, cpuMs, longestMs, moreMb }) => [
  ...[String(what), number(ms, 0), number(cpuMs, 1), number(longestMs, 1), number(moreMb, 1)],
]);
const part = (of: number): string => `${(100 * of).toFixed(2)} % of a core`;
const notes = `${count} credentials. The metrics are ${part(Number(rows[0]?.cpuMs) / 15_000)}, the status with ${rate} refreshes a second ${part(share)}.`;
const head = ['what', 'ms', 'CPU, ms', 'loop kept at most, ms', 'memory more, MB'];
keepTable(values.markdown, head, cells, { dir: base, notes });
process.exit(0);
