/*
 * credmond for an hour of real time under everything at once: is what it needs flat, and does every healthy credential stay
 * as fresh as it is guaranteed to be?
 *
 *     npm run soak [-- --minutes 60] [-- --credentials 2000] [-- --json FILE [-- --markdown FILE]] [-- --leak 50]
 *
 * The built credmond runs as a process of its own with three issuers in processes of theirs: `calm` is always well and ends
 * the family of a refresh token that is presented again; `rough` and `foul` honour one until its successor is used, and
 * misbehave in turns. People log in again and log out all the time, each followed by the SIGHUP of condor_credd. In the first
 * third credmond is killed now and then; memory is judged from the last start on. `--leak`: so many KB a second and a
 * descriptor every five are leaked by a module that is put into credmond, to see that the verdict can be another. Three
 * minutes do for a look at whether it all works; what they say of slow growth is little. docs/benchmarks.md keeps a result.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { bundled } from '../bench/kit/bundled.js';
import { heading, keep, type Row } from '../bench/kit/outcome.js';
import { makePoint } from '../bench/kit/point.js';
import { type Growth, growth, type Sample, type Standing, type Tolerance } from './flat.js';
import type { Mode, Order, SoakCounts, SoakIssuerOptions } from './issuer-main.js';
import { type Kept, markdown } from './kept.js';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '60' },
    credentials: { type: 'string', default: '2000' },
    leak: { type: 'string' },
    json: { type: 'string' },
    markdown: { type: 'string' },
  },
});
const [minutes, credentials] = [Number(values.minutes), Number(values.credentials)];

/** Of access tokens, and what must be left of them: seconds. */
const [life, minimum] = [120, 30];
/** How long the rough issuers are well at a time, and how long not: seconds. */
const [fair, bad] = [
  [20, 60],
  [5, 40],
] as const;
/** How soon after a login, a start or a bad issuer a credential must be as it should: seconds. */
const [soon, afterStart, afterBad] = [20, 20, 150];
/** A login or a logout each so many milliseconds, and a look at everything each so many. */
const [change, look] = [500, 5000];
const names = ['calm', 'rough', 'foul'] as const;
const faults = ['slow', 'down', 'error', 'busy', 'hang', 'reset', 'lost', 'half'] as const satisfies readonly Mode[];

interface Issuer {
  readonly url: string;
  readonly order: <T>(order: Order) => Promise<T>;
  readonly stop: () => void;
  mode: Mode;
  /** Since when it has been well: milliseconds since 1970. */
  well: number;
}

interface Credential {
  readonly user: string;
  readonly service: (typeof names)[number];
  /** Milliseconds since 1970; undefined: nobody has logged in. */
  login?: number;
  logout: number;
}

const between = ([from, to]: readonly [number, number]): number => from + (to - from) * Math.random();
const any = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)] as T;

async function startIssuer(options: SoakIssuerOptions): Promise<Issuer> {
  const child = fork(await bundled('test/soak/issuer-main.ts'), [JSON.stringify(options)]);
  const [{ url }] = (await once(child, 'message')) as [{ url: string }];
  // One order at a time: answers come in the order of the questions.
  let last: Promise<unknown> = Promise.resolve();
  const order = <T>(what: Order): Promise<T> => {
    const answer = last.then(async () => {
      child.send(what);
      return (await once(child, 'message'))[0] as T;
    });
    last = answer.catch(() => {});
    return answer;
  };
  return { url, order, stop: () => void child.kill('SIGKILL'), mode: 'well', well: 0 };
}

const issuers = new Map<string, Issuer>();
for (const name of names) issuers.set(name, await startIssuer({ life, grace: name !== 'calm' }));
const point = makePoint(Object.fromEntries([...issuers].map(([name, { url }]) => [name, url])), {
  token_minimum: minimum,
});
const issuerOf = ({ service }: Credential) => issuers.get(service) as Issuer;
const pathOf = ({ user, service }: Credential, ending: string) => join(point.creds, user, `${service}.${ending}`);
const read = (path: string): Record<string, unknown> | undefined => {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
};

const all: Credential[] = Array.from({ length: credentials }, (_, n) => ({
  user: `u${n >> 1}`,
  service: names[n % names.length] as Credential['service'],
  logout: 0,
}));

/** As condor_credd stores and removes it; the SIGHUP that follows is one for all that come together. */
async function login(one: Credential): Promise<void> {
  const refreshToken = await issuerOf(one).order<string>({ what: 'grant' });
  mkdirSync(join(point.creds, one.user), { mode: 0o700, recursive: true });
  const temporary = pathOf(one, 'tmp');
  writeFileSync(temporary, JSON.stringify({ refresh_token: refreshToken }), { mode: 0o600 });
  renameSync(temporary, pathOf(one, 'top'));
  one.login = Date.now();
}

function logout(one: Credential): void {
  for (const ending of ['top', 'use']) rmSync(pathOf(one, ending), { force: true });
  delete one.login;
  one.logout = Date.now();
}

/** A run of credmond, from its start to its end. */
interface Run {
  readonly child: ChildProcess;
  readonly started: number;
  readonly rss: Sample[];
  readonly heap: Sample[];
  /** Descriptors of connections, which come and go with what is in flight, and all others. */
  readonly connections: Sample[];
  readonly others: Sample[];
}

const begun = Date.now();
const secondsNow = () => (Date.now() - begun) / 1000;
const leak =
  values.leak === undefined
    ? []
    : [
        '--import',
        `data:text/javascript,${encodeURIComponent(
          `import { openSync } from 'node:fs'; const kept = []; let n = 0; setInterval(() => { if (n++ % 5 === 0) openSync('/dev/null');
           kept.push(Array.from({ length: ${Number(values.leak)} * 64 }, () => ({ n })).map((one) => one)); }, 1000).unref();`,
        )}`,
      ];

function start(): Run {
  const child = spawn(
    process.execPath,
    ['--trace-gc', ...leak, resolve('bin/credmond.js'), '--config', point.config, '--log-file', point.log],
    { env: { PATH: process.env.PATH ?? '/usr/bin:/bin' }, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const run: Run = { child, started: Date.now(), rss: [], heap: [], connections: [], others: [] };
  // What is left after a full collection, which is what a leak adds to.
  createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
    const after = /Mark-Compact.*? -> ([\d.]+) \(/.exec(line)?.[1];
    if (after !== undefined) run.heap.push({ at: secondsNow(), value: Number(after) });
  });
  return run;
}

let run = start();
process.once('exit', () => {
  run.child.kill('SIGKILL');
  for (const { stop } of issuers.values()) stop();
});
const isUp = () => run.child.exitCode === null && run.child.signalCode === null;
const hangup = () => void (isUp() && existsSync(join(point.creds, 'CREDMON_COMPLETE')) && run.child.kill('SIGHUP'));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => {
    process.stdout.write(`ended by ${signal}\n`);
    process.exit(1);
  });
}

const kills: number[] = [];
async function kill(): Promise<void> {
  const ended = once(run.child, 'exit');
  run.child.kill('SIGKILL');
  await ended;
  kills.push(Date.now());
  rmSync(join(point.creds, 'CREDMON_COMPLETE'), { force: true });
  run = start();
}

/** What must not be, and the first that was seen of it. */
const wrong = new Map<string, string>();
const note = (rule: string, what: string) => void (wrong.has(rule) || wrong.set(rule, `${what}, ${secondsNow()} s`));

/** How many that are healthy have less left than is guaranteed, and how many that were deleted are back. */
function judge(): { readonly below: number; readonly back: number } {
  let [below, back] = [0, 0];
  const now = Date.now();
  const late = (since: number, s: number) => now - since > s * 1000;
  for (const one of all) {
    if (one.login === undefined) {
      if (!late(one.logout, soon) || !(existsSync(pathOf(one, 'top')) || existsSync(pathOf(one, 'use')))) continue;
      note('back', `${one.user}/${one.service} was deleted, and is back`);
      back++;
      continue;
    }
    const { mode, well } = issuerOf(one);
    if (dead.has(one) || mode !== 'well' || !late(well, afterBad)) continue;
    if (!late(one.login, soon) || !late(run.started, afterStart)) continue;
    const left = Number(read(pathOf(one, 'use'))?.expires_at ?? 0) - now / 1000;
    if (left >= minimum - 1) continue;
    note('below', `${one.user}/${one.service} has ${Math.round(left)} s left`);
    below++;
  }
  return { below, back };
}

function measure(): void {
  if (!isUp()) return;
  try {
    const at = secondsNow();
    const status = readFileSync(`/proc/${run.child.pid}/status`, 'utf8');
    run.rss.push({ at, value: Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1024 });
    const links = readdirSync(`/proc/${run.child.pid}/fd`).map((fd) => linkOf(`/proc/${run.child.pid}/fd/${fd}`));
    const connections = links.filter((link) => link.startsWith('socket:')).length;
    run.connections.push({ at, value: connections });
    run.others.push({ at, value: links.length - connections });
  } catch {
    // It has just been killed.
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return 'closed meanwhile';
  }
}

/** Those whose grant has ended: only another login helps, and comes. */
const dead = new Set<Credential>();
let lost = 0;
async function findLost(): Promise<void> {
  for (const name of names) {
    const mine = all.filter((one) => one.service === name && one.login !== undefined);
    const tokens = mine.map((one) => String(read(pathOf(one, 'top'))?.refresh_token ?? ''));
    const taken = await (issuers.get(name) as Issuer).order<boolean[]>({ what: 'accepts', tokens });
    for (const [n, one] of mine.entries()) {
      if (taken[n] || tokens[n] !== read(pathOf(one, 'top'))?.refresh_token) continue;
      // It may be in flight: the issuer has rotated, and credmond has not heard of it yet.
      if (!dead.has(one)) {
        dead.add(one);
        continue;
      }
      dead.delete(one);
      lost++;
      if (name !== 'calm') note('lost', `${one.user}/${name} lost its grant, at an issuer with a grace period`);
      await login(one);
    }
    for (const [n, one] of mine.entries()) if (taken[n]) dead.delete(one);
  }
}

const counts = async () => {
  const them = await Promise.all([...issuers.values()].map(({ order }) => order<SoakCounts>({ what: 'counts' })));
  const sum = (of: (one: SoakCounts) => number) => them.reduce((all, one) => all + of(one), 0);
  return {
    refreshes: sum(({ refreshes }) => refreshes),
    failed: sum(({ failed }) => failed),
    reuse: sum(({ reuse }) => reuse),
    reused: them[0]?.reused ?? [],
    graceReuse: (them[1]?.reuse ?? 0) + (them[2]?.reuse ?? 0),
  };
};

// The outside, each part at its own pace.

const end = begun + minutes * 60_000;
const goesOn = () => Date.now() < end;
const rest = (ms: number) => pause(Math.max(0, Math.min(ms, end - Date.now())));
const rough = async (issuer: Issuer): Promise<void> => {
  while (goesOn()) {
    await rest(between(fair) * 1000);
    issuer.mode = any(faults);
    await issuer.order({ what: 'mode', mode: issuer.mode });
    await rest(between(bad) * 1000);
    await issuer.order({ what: 'mode', mode: 'well' });
    Object.assign(issuer, { mode: 'well', well: Date.now() });
  }
};
const people = async (): Promise<void> => {
  for (let n = 0; goesOn(); n++) {
    await rest(change);
    const one = any(all);
    if (one.login !== undefined && n % 3 === 0) logout(one);
    else await login(one);
    // Those who have been away come back.
    const away = all.find(({ login: at, logout: since }) => at === undefined && Date.now() - since > 60_000);
    if (away) await login(away);
    if (n % 4 === 0) hangup();
  }
};
const killer = async (): Promise<void> => {
  for (let n = 0; n < 3; n++) {
    await rest((minutes * 60_000) / 9);
    await kill();
  }
};
const looker = async (): Promise<void> => {
  while (goesOn()) {
    await rest(look);
    measure();
    seen.push(judge());
  }
};
const seen: { below: number; back: number }[] = [];

process.stdout.write(`${heading()}\n${credentials} credentials, tokens of ${life} s, ${minimum} s guaranteed\n`);
for (const one of all) await login(one);
const working = Promise.all([
  people(),
  killer(),
  looker(),
  ...[...issuers].filter(([name]) => name !== 'calm').map(([, issuer]) => rough(issuer)),
]);
let broken: unknown;
working.catch((thrown) => {
  broken = thrown;
});

const rows: Row[] = [];
const header = [
  'minute',
  'RSS MB',
  'heap MB',
  'conns',
  'other fds',
  'refreshes',
  'failed',
  'lost',
  'reuse',
  'below',
  'back',
  'kills',
];
process.stdout.write(`${header.map((name) => name.padStart(9)).join(' ')}\n`);
for (let minute = 1; minute <= minutes; minute++) {
  while (broken === undefined && Date.now() < begun + minute * 60_000) await pause(200);
  if (broken !== undefined) throw broken;
  if (!isUp()) note('ended', `credmond ended by itself with ${run.child.exitCode ?? run.child.signalCode}`);
  await findLost();
  const { refreshes, failed, reuse } = await counts();
  const mine = seen.splice(0);
  const row: Row = {
    minute,
    rss: Math.round(run.rss.at(-1)?.value ?? 0),
    heap: Math.round((run.heap.at(-1)?.value ?? 0) * 10) / 10,
    connections: run.connections.at(-1)?.value ?? 0,
    others: run.others.at(-1)?.value ?? 0,
    refreshes,
    failed,
    lost,
    reuse,
    below: Math.max(0, ...mine.map(({ below }) => below)),
    back: Math.max(0, ...mine.map(({ back }) => back)),
    kills: kills.length,
  };
  rows.push(row);
  process.stdout.write(
    `${Object.values(row)
      .map((value) => String(value).padStart(9))
      .join(' ')}\n`,
  );
}
await working;

// The verdict.

const { reused, reuse, graceReuse, refreshes } = await counts();
/** Of the last run without its beginning, in which it warms up. */
const judged = (samples: readonly Sample[]): readonly Sample[] => {
  const warm = (run.started - begun) / 1000;
  const from = warm + Math.min(300, (secondsNow() - warm) / 4);
  return samples.filter(({ at }) => at >= from);
};
const stretch = Math.max(10, minutes);
const measures: readonly (readonly [string, readonly Sample[], Tolerance, Standing])[] = [
  ['RSS, MB', run.rss, { share: 0.08, amount: 6 }, 'least'],
  ['heap after a full collection, MB', run.heap, { share: 0.08, amount: 1.5 }, 'least'],
  ['descriptors but for connections', run.others, { share: 0, amount: 4 }, 'least'],
  // An issuer that hangs has many for as long as it does, and some time after: the least is by chance, and so is the most.
  ['connections', run.connections, { share: 0, amount: 24 }, 'middle'],
];
const grew: [string, Growth][] = measures.map(([name, samples, tolerance, standing]) => [
  name,
  growth(judged(samples), stretch, tolerance, standing),
]);
for (const [name, { flat, usual, grown }] of grew) {
  const text = `${name}: ${usual.toFixed(1)}, grown by ${grown.toFixed(1)}`;
  process.stdout.write(`${flat ? 'flat' : 'NOT FLAT'}: ${text}\n`);
  if (!flat) note('flat', text);
}
/** At an issuer without a grace period only a kill between answer and disk can lose a grant. */
const unexplained = reused.filter((at) => !kills.some((kill) => at - kill > -1000 && at - kill < 120_000));
if (unexplained.length > 0)
  note('reuse', `${unexplained.length} refresh tokens were presented again, with no kill before`);
if (graceReuse > 0) note('reuse', `${graceReuse} refresh tokens were presented again after their successors were used`);
if (refreshes < (minutes * 60 * credentials) / (life * 2)) note('idle', `only ${refreshes} refreshes`);
const ended = once(run.child, 'exit');
const asked = Date.now();
run.child.kill('SIGTERM');
const [code] = await ended;
if (code !== 0 || Date.now() - asked > 11_000) note('end', `SIGTERM: ${code} after ${Date.now() - asked} ms`);
process.stdout.write(
  `${refreshes} refreshes, ${kills.length} kills, ${lost} grants lost, ${reuse} refresh tokens reused\n`,
);
for (const [rule, what] of wrong) process.stdout.write(`WRONG (${rule}): ${what}\n`);
process.stdout.write(wrong.size === 0 ? 'passed\n' : 'failed\n');
keep(values.json, rows, {
  minutes,
  credentials,
  life,
  minimum,
  passed: wrong.size === 0,
  wrong: [...wrong.values()],
  growth: Object.fromEntries(grew),
});
if (values.json !== undefined && values.markdown !== undefined)
  writeFileSync(values.markdown, markdown(JSON.parse(readFileSync(values.json, 'utf8')) as Kept));
if (wrong.size === 0) point.remove();
else process.stdout.write(`what is left lies in ${point.base}\n`);
process.exit(wrong.size === 0 ? 0 : 1);
