/*
 * How `credmon status --watch` does with very many credentials: how long a key waits for its answer, what of a core it takes,
 * and what it weighs.
 *
 *     npm run bench:watch [-- --credentials 1000,10000,100000] [-- --seconds 10] [-- --json FILE] [-- --markdown FILE]
 *
 * The built program on a pseudo-terminal of 80 columns and 24 rows (script(1)), on a status file as credmond writes it. A key
 * waits from the moment it is typed until the terminal has got what it draws, other programs' scheduling and the terminal itself
 * included: how long a character takes that cat(1) echoes there is measured beside it. Keys are typed
 *   - while the file is read from its start;
 *   - when all has been read and nothing changes but the time;
 *   - while credmond adds as much as it does when tokens of 20 minutes are refreshed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { Health } from '../../src/core/health.js';
import { everyone, lineOf } from '../../src/core/snapshot.js';
import { epochMs } from '../../src/core/time.js';
import { heading, keep, keepTable, type Row } from './kit/outcome.js';

const { values } = parseArgs({
  options: {
    credentials: { type: 'string', default: '1000,10000,100000' },
    seconds: { type: 'string', default: '10' },
    json: { type: 'string' },
    markdown: { type: 'string' },
  },
});
const span = Number(values.seconds);
/** Of the tokens: seconds. */
const life = 1200;
/** A key is typed so often: milliseconds. */
const every = 60;
const patience = 60_000;

const providers = ['cilogon', 'osdf', 'scitokens'];

/** One of very many; a few are in trouble. `issued`: milliseconds since 1970. */
function credential(n: number, issued: number): Health {
  const provider = providers[n % 3] as string;
  const state = n % 997 === 5 ? 'login-needed' : n % 331 === 7 ? 'retrying' : 'fresh';
  const what = state === 'fresh' ? undefined : 'the issuer says invalid_grant: the token is not active';
  return {
    user: `user${n}`,
    provider,
    service: provider,
    issuer: `https://${provider}.example.org`,
    state,
    since: epochMs(issued),
    life: { issued: epochMs(issued), expires: epochMs(issued + life * 1000) },
    ...(state !== 'login-needed' && { due: epochMs(issued + life * 600) }),
    refreshes: n % 50,
    ...(what !== undefined && {
      trouble: { kind: 'login-needed' as const, what, hint: `run: credmon login ${provider}` },
    }),
  };
}

const line = (n: number, issued: number): string => {
  const told = { ...credential(n, issued), stamp: `${n}:1700000000000000000` };
  return lineOf(told.user, JSON.stringify([told]));
};
// The process stands for credmond: it lives.
const summary = (): string => `${JSON.stringify({ v: 1, at: Date.now(), pid: process.pid, warning: 0 })}\n`;

/** A program on a terminal. */
class Terminal {
  readonly child: ChildProcess;
  #seen = '';
  #look = (): void => {};
  readonly begun = performance.now();
  /** When the title said that all had been read: milliseconds from the beginning. */
  read: number | undefined;

  constructor(command: string) {
    this.child = spawn('script', ['-qec', `stty cols 80 rows 24; exec ${command}`, '/dev/null'], {
      env: { PATH: process.env.PATH, TERM: 'xterm-256color', LANG: 'C.UTF-8' },
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    process.once('exit', () => this.child.kill('SIGKILL'));
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#seen += text;
      if (text.includes(', told ')) this.read ??= performance.now() - this.begun;
      this.#look();
    });
  }

  /** The program itself. */
  get pid(): number {
    const { pid } = this.child;
    return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')[0]);
  }

  /** How long it takes until this has been written, from now on: milliseconds. */
  until(what: string | RegExp): Promise<number> {
    this.#seen = '';
    const begun = performance.now();
    return new Promise((done, failed) => {
      const late = setTimeout(() => failed(new Error(`not within ${patience} ms: ${what}`)), patience);
      this.#look = () => {
        if (typeof what === 'string' ? !this.#seen.includes(what) : !what.test(this.#seen)) return;
        clearTimeout(late);
        this.#look = () => {};
        done(performance.now() - begun);
      };
    });
  }

  type(keys: string): void {
    this.child.stdin?.write(keys);
  }

  answer(keys: string, what: string | RegExp): Promise<number> {
    const answered = this.until(what);
    this.type(keys);
    return answered;
  }

  async end(keys: string): Promise<void> {
    const ended = once(this.child, 'exit');
    this.type(keys);
    await ended;
  }
}

/** The line of the filter with nothing in it: bold ends behind the slash. */
const noText = '/\u001B[22m';

/** Types into the filter, and takes it back; as many keys as there is time for. */
async function keys(terminal: Terminal, goOn: () => boolean): Promise<readonly number[]> {
  const waits: number[] = [await terminal.answer('/', 'Enter keeps it')];
  const word = 'user9';
  while (goOn()) {
    for (let n = 1; n <= word.length && goOn(); n++) {
      waits.push(await terminal.answer(word.charAt(n - 1), `/${word.slice(0, n)}`));
      await pause(every);
    }
    waits.push(await terminal.answer('\u0015', noText));
    await pause(every);
  }
  terminal.type('\u0015\r');
  return waits;
}

/** Of CPU, in ticks of 10 ms: proc(5), utime and stime. */
function cpuOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

function memoryOf(pid: number): { readonly rss: number; readonly peak: number } {
  const text = readFileSync(`/proc/${pid}/status`, 'utf8');
  const mb = (key: string) => Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(text)?.[1]) / 1024;
  return { rss: mb('VmRSS'), peak: mb('VmHWM') };
}

const at = (list: readonly number[], part: number): number =>
  [...list].sort((a, b) => a - b)[Math.min(list.length - 1, Math.floor(list.length * part))] ?? Number.NaN;

/** A character that the terminal's program gives back as it is: what of a key's time is not ours. */
async function echo(): Promise<number> {
  const terminal = new Terminal('sh -c "stty -echo raw; cat"');
  await pause(300);
  const waits: number[] = [];
  for (let n = 0; n < 40; n++) {
    waits.push(await terminal.answer(`<${n}>`, `<${n}>`));
    await pause(20);
  }
  terminal.child.kill('SIGKILL');
  return at(waits, 0.5);
}

async function measure(count: number): Promise<Row> {
  mkdirSync('.build', { recursive: true });
  const base = mkdtempSync(resolve('.build/bench-'));
  try {
    const status = join(base, 'status');
    mkdirSync(status);
    mkdirSync(join(base, 'creds'), { mode: 0o700 });
    const file = join(status, everyone);
    const fd = openSync(file, 'w', 0o640);
    writeSync(fd, summary());
    const now = Date.now();
    for (let n = 0; n < count; n++) writeSync(fd, line(n, now - (n % (life / 2)) * 1000));
    closeSync(fd);
    const config = join(base, 'credmon.toml');
    const tables = providers.map(
      (name) => `[providers.${name}]\nissuer = "https://${name}.example.org"\nclient_id = "x"\n`,
    );
    appendFileSync(
      config,
      `[credmond]\ncred_dir = "${join(base, 'creds')}"\nstatus_dir = "${status}"\nsweep_interval = 3600\n${tables.join('')}`,
    );

    const program = `${process.execPath} ${resolve('bin/credmon.js')} --config ${config} status --watch`;
    const terminal = new Terminal(program);
    const first = await terminal.until(/ of [\d,]+/);
    const reading = await keys(terminal, () => terminal.read === undefined);
    const { read = Number.NaN } = terminal;
    await terminal.end('q');

    // Once more, to weigh it without what keys leave behind.
    const quiet = new Terminal(program);
    while (quiet.read === undefined) await pause(50);
    await pause(1000);
    const { pid } = quiet;
    const cpuFor = async (work: () => Promise<unknown>): Promise<number> => {
      const [cpu, from] = [cpuOf(pid), performance.now()];
      await work();
      return (cpuOf(pid) - cpu) / (performance.now() - from);
    };
    const idle = await cpuFor(() => pause(span * 1000));
    const { rss, peak } = memoryOf(pid);
    const until = (end: number) => () => performance.now() < end;
    const still = await keys(quiet, until(performance.now() + (span * 1000) / 2));
    // In pieces, as credmond gathers them.
    let added = 0;
    const pieces = setInterval(() => {
      const due = Math.ceil(((count / (life * 0.6)) * 250) / 1000);
      const lines = Array.from({ length: due }, () => line(added++ % count, Date.now()));
      appendFileSync(file, lines.join('') + summary());
    }, 250);
    const load = await cpuFor(() => pause(span * 1000));
    const loaded = await keys(quiet, until(performance.now() + (span * 1000) / 2));
    clearInterval(pieces);
    const after = memoryOf(pid);
    await quiet.end('q');
    return {
      credentials: count,
      firstMs: first,
      readMs: read,
      readingKeys: reading.length,
      readingMedianMs: at(reading, 0.5),
      readingMostMs: Math.max(...reading),
      stillMedianMs: at(still, 0.5),
      stillMostMs: Math.max(...still),
      loadMedianMs: at(loaded, 0.5),
      loadMostMs: Math.max(...loaded),
      idleCpu: idle,
      loadCpu: load,
      rssMb: rss,
      afterMb: after.rss,
      peakMb: Math.max(peak, after.peak),
    };
  } finally {
    rmSync(base, { recursive: true, force: true });
  }
}

const rows: Row[] = [];
console.log(heading());
const echoMs = await echo();
console.log(`a character that cat(1) echoes on the same terminal: ${echoMs.toFixed(1)} ms`);
for (const count of values.credentials.split(',').map(Number)) {
  const row = await measure(count);
  rows.push(row);
  console.log(JSON.stringify(row, (_, value) => (typeof value === 'number' ? Math.round(value * 1000) / 1000 : value)));
}
const of = (row: Row, name: string, digits = 0) => Number(row[name]).toFixed(digits);
const share = (row: Row, name: string) => `${(Number(row[name]) * 100).toFixed(1)} %`;
const both = (row: Row, name: string) => `${of(row, `${name}MedianMs`)} / ${of(row, `${name}MostMs`)} ms`;
const head = [
  'credentials',
  'first frame',
  'all read',
  'key while reading (median / most)',
  'key, nothing new',
  'key under load',
  'CPU, nothing new',
  'CPU under load',
  'memory',
];
const cells = rows.map((row) => [
  Number(row.credentials).toLocaleString('en'),
  `${of(row, 'firstMs')} ms`,
  `${of(row, 'readMs')} ms`,
  both(row, 'reading'),
  both(row, 'still'),
  both(row, 'load'),
  share(row, 'idleCpu'),
  share(row, 'loadCpu'),
  `${of(row, 'rssMb')} MB`,
]);
for (const row of cells) console.log(row.map((cell, n) => `${head[n]}: ${cell}`).join('; '));
const [least, most] = [rows[0], rows.at(-1)] as [Row, Row];
const more = Number(most.credentials) - Number(least.credentials);
const each = ((Number(most.rssMb) - Number(least.rssMb)) * 2 ** 20) / more;
const notes = `A character that cat(1) echoes on the same terminal: ${echoMs.toFixed(1)} ms. Each further credential takes ${each.toFixed(0)} bytes.`;
console.log(more > 0 ? notes : '');
console.log('target: a key is answered within 50 ms, also while 100,000 are being read');
keep(values.json, rows, { echoMs, span });
keepTable(values.markdown, head, cells, { notes });
