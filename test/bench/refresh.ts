/*
 * How many credentials a second credmond refreshes when very many are due at once, and what each costs: against what the disk
 * and the HTTP client allow, measured in the same run.
 *
 *     npm run bench:refresh [-- --credentials 4000] [-- --warm 1000] [-- --latencies 0,50,200] [-- --dir DIR]
 *                           [-- --peer ROOT] [-- --json FILE] [-- --markdown FILE] [-- --profile DIR]
 *
 * The built credmond runs as a process of its own on a directory with so many users, one credential each, whose access tokens
 * all come due in the same second, a while after it has looked at everything. The issuer is a process of its own as well
 * (kit/issuer-main.ts) and rotates every refresh token, so each refresh is one that waits for the disk: `.top` durable, then
 * `.use`. Counted from the first request to the last `.use` on disk; CPU is credmond's from before the first to half a second
 * after the last, by /proc. Some are due a while before the others and are told apart: it has just been started, and V8 is
 * still compiling; the ceilings are of warm programs as well, and credmond runs for months. At the end the issuer is asked whether a grant was lost or a rotated token used again.
 *
 * The ceilings are measured right before each, in the same place: what the disk does with nothing else to do, and what
 * openid-client does without a disk; further what one process does that has to do both and nothing else. All files lie in
 * DIR (default: .build of the project). Last, in the same place and at the same issuer, HTCondor's own OAuth credmon, which
 * waits for no disk, from the Debian tree of the end-to-end suites (npm run test:e2e:prepare) or another ROOT.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { template } from '../e2e/lab/room.js';
import { bundled } from './kit/bundled.js';
import { type BenchIssuer, startBenchIssuer } from './kit/issuer.js';
import { heading, keep, keepTable, type Row } from './kit/outcome.js';
import { peerHerd, whyNot } from './kit/peer.js';
import { type Credmond, makePoint, type Point, startCredmond } from './kit/point.js';

const { values } = parseArgs({
  options: {
    credentials: { type: 'string', default: '4000' },
    warm: { type: 'string', default: '1000' },
    latencies: { type: 'string', default: '0,50,200' },
    dir: { type: 'string', default: '.build' },
    json: { type: 'string' },
    markdown: { type: 'string' },
    profile: { type: 'string' },
    peer: { type: 'string', default: template('trixie') },
  },
});
const count = Number(values.credentials);
const first = Number(values.warm);
const latencies = values.latencies.split(',').map(Number);
const dir = resolve(values.dir);
/** As many requests as credmond may have in flight. */
const atOnce = 64;
/** HTCondor's own credmon asks for one after the other, and takes about so much for each besides: a run of so long, in ms. */
const [peerTakes, peerRun] = [5, 15_000];
/** What is aimed at: refreshes a second, or a part of what disk and client allow. */
const targets: Readonly<Record<number, string>> = { 0: '80 % of the ceiling', 50: '1,000/s' };

interface Ceiling {
  readonly rate: number;
  readonly cpuMs: number;
}

/** Of a program in kit/, with that many threads of libuv. */
async function ceiling(name: string, threads: number, ...args: readonly (string | number)[]): Promise<Ceiling> {
  const env = { ...process.env, UV_THREADPOOL_SIZE: `${threads}` };
  const file = await bundled(`test/bench/kit/${name}-main.ts`);
  return JSON.parse(execFileSync(process.execPath, [file, ...args.map(String)], { env, encoding: 'utf8' }));
}

/** The best of what a program does with Node's usual number of threads, and with many; each in a folder of its own. */
async function onDisk(measure: (threads: number, folder: string) => Promise<Ceiling>): Promise<Ceiling> {
  let best: Ceiling = { rate: 0, cpuMs: 0 };
  for (const threads of [4, 16]) {
    mkdirSync(dir, { recursive: true });
    const folder = mkdtempSync(resolve(dir, 'bench-disk-'));
    const measured = await measure(threads, folder);
    if (measured.rate > best.rate) best = measured;
    rmSync(folder, { recursive: true, force: true });
  }
  return best;
}

const users = Array.from({ length: count }, (_, n) => `user${n}`);
const warm = Array.from({ length: first }, (_, n) => `first${n}`);

/** Tokens of ten minutes where an hour is wanted are due when a tenth of their life is over: all in the same moment. */
function populate(point: Point, names: readonly string[], within: number): number {
  const due = Math.ceil(Date.now() / 1000) + within;
  for (const user of names) point.put(user, 'demo', { issued: due - 60, expires: due + 540 });
  return due * 1000;
}

async function until(so: () => Promise<boolean> | boolean, what: string, ms: number): Promise<void> {
  const end = performance.now() + ms;
  while (!(await so())) {
    if (performance.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
    await pause(20);
  }
}

interface Herd {
  readonly rate: number;
  readonly cpuMs: number;
  /** Of those that were due first. */
  readonly firstCpuMs: number;
  readonly childrenMs: number;
  readonly atOnce: number;
  readonly connections: number;
  readonly peakMb: number;
  readonly lost: number;
  readonly reused: number;
}

/** Undefined: it took longer than so many seconds to look at everything. */
async function herdWithin(seconds: number, issuer: BenchIssuer, latency: number): Promise<Herd | undefined> {
  const point = makePoint({ demo: issuer.url }, { token_minimum: 3600 }, dir);
  let credmond: Credmond | undefined;
  try {
    const firstDue = populate(point, warm, seconds);
    const due = populate(point, users, Math.ceil(1.5 * seconds) + 2 + Math.ceil((first * latency) / 32_000));
    const profile = values.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${values.profile}`];
    credmond = await startCredmond(point, profile);
    if (Date.now() > firstDue - 1500) return undefined;
    await pause(firstDue - 300 - Date.now());
    const cold = credmond.cpu();
    await until(async () => (await issuer.counts()).refreshed >= first, 'the first to be refreshed', 120_000);
    await until(() => warm.every((user) => point.published(user) >= firstDue), 'the first .use', 30_000);
    await pause(500);
    const firstCpuMs = (credmond.cpu().own - cold.own) / Math.max(1, first);
    if (Date.now() > due - 500) return undefined;
    const { connections } = await issuer.counts();
    await issuer.reset();
    await pause(due - 300 - Date.now());
    const before = credmond.cpu();
    const deadline = 30_000 + count * (10 + latency);
    await until(async () => (await issuer.counts()).refreshed >= count, 'every refresh', deadline);
    const written = () => users.every((user) => point.published(user) >= due);
    await until(written, 'every .use', 30_000);
    await pause(500);
    const after = credmond.cpu();
    const { peak } = credmond.memory();
    const counts = await issuer.counts();
    const grants = await issuer.grants();
    await credmond.stop();
    const last = Math.max(...users.map((user) => point.published(user)));
    const lost = [...warm, ...users].filter((user) => {
      const there = point.onDisk(user);
      return there === undefined || grants.get(there.name) !== there.generation;
    });
    return {
      rate: count / ((last - counts.first) / 1000),
      cpuMs: (after.own - before.own) / count,
      firstCpuMs,
      childrenMs: (after.children - before.children) / count,
      atOnce: counts.atOnce,
      connections: connections + counts.connections,
      peakMb: peak / 2 ** 20,
      lost: lost.length,
      reused: counts.reused,
    };
  } finally {
    await credmond?.stop('SIGKILL');
    point.remove();
  }
}

async function herd(issuer: BenchIssuer, latency: number): Promise<Herd> {
  for (let seconds = 5 + Math.ceil((first + count) / 500); ; seconds *= 2) {
    await issuer.reset();
    const came = await herdWithin(seconds, issuer, latency);
    if (came) return came;
    if (seconds > 300) throw new Error('it takes too long to look at everything: fewer --credentials');
  }
}

const told = (rate: number): string => rate.toFixed(rate < 10 ? 1 : 0);
const cell = (name: string, { rate, cpuMs }: Ceiling, more = ''): string =>
  `  ${name.padEnd(26)}${told(rate).padStart(6)}/s  ${cpuMs.toFixed(2)} ms CPU each${more}`;

mkdirSync(dir, { recursive: true });
console.log(heading(dir));
console.log(`${count} credentials due at once, each refresh token rotated; files in ${dir}`);
const noPeer = whyNot(values.peer);
if (noPeer !== undefined) console.log(`HTCondor's own credmon is not run beside: ${noPeer}`);
const rows: Row[] = [];
const table: (string | number)[][] = [];
for (const latency of latencies) {
  const issuer = await startBenchIssuer({ latency });
  try {
    const many = Math.min(count, latency === 0 ? 4000 : 2000);
    const disk = await onDisk((threads, folder) => ceiling('disk', threads, folder, many, atOnce));
    const bare = await ceiling('client', 4, issuer.url, many, atOnce, 'bare');
    const client = await ceiling('client', 4, issuer.url, many, atOnce, 'openid');
    const both = await onDisk((threads, folder) =>
      ceiling('client', threads, issuer.url, many, atOnce, 'openid', folder),
    );
    const ours = await herd(issuer, latency);
    const some = Math.min(count, Math.ceil(peerRun / (latency + peerTakes)));
    const peer = noPeer === undefined ? await peerHerd(values.peer, issuer, some, dir) : undefined;
    const allowed = Math.min(disk.rate, client.rate);
    const ratio = ours.rate / allowed;
    rows.push({
      latency,
      credentials: count,
      ...ours,
      diskRate: disk.rate,
      diskCpuMs: disk.cpuMs,
      clientRate: client.rate,
      clientCpuMs: client.cpuMs,
      bareRate: bare.rate,
      bareCpuMs: bare.cpuMs,
      bothRate: both.rate,
      bothCpuMs: both.cpuMs,
      ratio,
      ...(peer && { peerVersion: peer.version, peerRate: peer.rate, peerCpuMs: peer.cpuMs }),
    });
    const target = targets[latency];
    const percent = `${(100 * ratio).toFixed(0)} %`;
    console.log(`issuer latency ${latency} ms${target === undefined ? '' : ` (target ${target})`}`);
    console.log(cell('the disk alone', disk));
    console.log(cell('undici alone, no disk', bare));
    console.log(cell('openid-client, no disk', client));
    console.log(cell('openid-client and disk', both));
    const more = ` (target 0.8), its children's ${ours.childrenMs.toFixed(2)}; of the first ${first} ${ours.firstCpuMs.toFixed(2)}`;
    console.log(cell('credmond', ours, more));
    console.log(
      `  ${percent} of the lesser of disk and client, ${((100 * ours.rate) / both.rate).toFixed(0)} % of both in one process; ` +
        `${ours.atOnce} in flight, ${ours.connections} connections, ${ours.peakMb.toFixed(0)} MB at the most`,
    );
    const times = peer && (ours.rate / peer.rate).toFixed(1);
    if (peer) console.log(cell(`HTCondor's ${peer.version}`, peer, `: credmon makes ${times} times as many`));
    console.log(`  grants lost: ${ours.lost}; rotated tokens used again: ${ours.reused}`);
    table.push([
      `${latency} ms`,
      told(ours.rate),
      ours.cpuMs.toFixed(2),
      ours.childrenMs.toFixed(2),
      ours.atOnce,
      `${told(disk.rate)} (${disk.cpuMs.toFixed(2)})`,
      `${told(client.rate)} (${client.cpuMs.toFixed(2)})`,
      `${told(both.rate)} (${both.cpuMs.toFixed(2)})`,
      percent,
      peer === undefined ? '' : `${told(peer.rate)} (${peer.cpuMs.toFixed(2)})`,
      times ?? '',
    ]);
  } finally {
    await issuer.stop();
  }
}
keep(values.json, rows, {}, dir);
keepTable(
  values.markdown,
  [
    'issuer latency',
    'refreshes/s',
    'CPU each, ms',
    'of children, ms',
    'in flight',
    'disk alone/s (ms)',
    'openid-client/s (ms)',
    'both in one process/s (ms)',
    'of the lesser',
    'HTCondor’s Python credmon/s (ms)',
    'times that',
  ],
  table,
  {
    dir,
    notes:
      `${count} credentials due at once; ${rows.reduce((sum, { lost }) => sum + Number(lost), 0)} grants lost, ` +
      `${rows.reduce((sum, { reused }) => sum + Number(reused), 0)} rotated tokens used again.`,
  },
);
