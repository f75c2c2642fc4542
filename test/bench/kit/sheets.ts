import { writeFileSync } from 'node:fs';
import type { Kept, Row } from './outcome.js';

/** One line of a table: what is measured, and of each run the figure. */
interface Measure {
  readonly what: string;
  /** As it is written in the table. */
  readonly target?: string;
  /** '' where this run has none. */
  figure(row: Row): string;
  /** Whether a run keeps to the target; undefined where it is none of this run's. */
  met?(row: Row): boolean | undefined;
}

/** How the JSON of a bench becomes a table: a column a run. */
interface Sheet {
  /** Of a column. */
  head(row: Row): string;
  /** What is to be known of how it was run. */
  note(kept: Kept): string;
  readonly measures: readonly Measure[];
}

const count = (value: unknown): string =>
  Number(value).toLocaleString('en-GB', { maximumFractionDigits: 0 }).replaceAll('.', ',');
const number = (key: string, digits = 0, factor = 1) => ({
  figure: (row: Row): string => {
    if (row[key] === undefined) return '';
    return digits === 0 ? count(Number(row[key]) * factor) : (Number(row[key]) * factor).toFixed(digits);
  },
});
const below = (key: string, most: number) => ({ met: (row: Row): boolean => Number(row[key]) <= most });
const layout = ({ credentials, users }: Row): string =>
  credentials === users ? count(credentials) : `${count(credentials)} of ${count(users)} users`;

const steady: Sheet = {
  head: layout,
  note: ({ latency, life, idleFor, loadFor }) =>
    `Idle: ${idleFor} s, with a sweep each 60. Load: ${loadFor} s of tokens that live for ${Number(life) / 60} minutes, issuer latency ${latency} ms.`,
  measures: [
    { what: 'start to the first refresh, s', target: '3', ...number('firstMs', 2, 1e-3), ...below('firstMs', 3000) },
    { what: 'start to the end of the first look at all, s', ...number('readyMs', 2, 1e-3) },
    { what: 'idle: CPU, % of a core', target: '1', ...number('idleCpu', 2, 100), ...below('idleCpu', 0.01) },
    { what: 'load: refreshes a second', ...number('perSecond', 1) },
    {
      what: 'most in any second, times that',
      target: '1.3 at 100,000',
      ...number('overMean', 2),
      // Of a few a second, whole numbers are further apart than that.
      met: ({ overMean, perSecond }) => (Number(perSecond) > 50 ? Number(overMean) <= 1.3 : undefined),
    },
    { what: 'CPU, % of a core', ...number('loadCpu', 1, 100) },
    { what: 'requests in flight at once', target: 'under 10', ...number('inFlight'), ...below('inFlight', 9) },
    { what: 'event loop late, ms: median', ...number('delayP50', 1) },
    { what: 'p99', target: '50', ...number('delayP99', 1), ...below('delayP99', 50) },
    { what: 'longest', ...number('delayMax', 1) },
    { what: 'memory (RSS), MB', target: '150', ...number('rssMb'), ...below('rssMb', 150) },
    { what: 'at the most since the start, MB', ...number('peakMb') },
    { what: 'open descriptors', ...number('descriptors') },
    { what: 'refused by the issuer', target: '0', ...number('refused'), ...below('refused', 0) },
  ],
};

const over = (what: string, key: string): readonly Measure[] => [
  { what: `${what}: median`, target: '30', ...number(`${key}P50`, 1), ...below(`${key}P50`, 30) },
  { what: 'p99', ...number(`${key}P99`, 1) },
];

const latency: Sheet = {
  head: ({ credentials }) => count(credentials),
  note: ({ rounds, latency }) =>
    `From the \`.top\` to its \`.use\`, less what the issuer takes (${latency} ms and its own work), ms; ${rounds} rounds each, one at a time.`,
  measures: [
    { what: 'folders watched', ...number('watched_') },
    { what: 'the issuer, asked directly', ...number('issuer', 1) },
    ...over('a new user', 'new'),
    ...over('with SIGHUP', 'newHup'),
    ...over('another handle of one who is there, watched', 'watched'),
    ...over('with SIGHUP', 'watchedHup'),
    ...over('of one who is not watched, with SIGHUP', 'farHup'),
  ],
};

const million: Sheet = {
  head: ({ credentials, begin }) => `${count(credentials)}${begin === 'logins' ? ', logins' : ''}`,
  note: ({ minutes, life, latency }) =>
    `${minutes} simulated minutes each, tokens of ${Number(life) / 60} minutes of which 6 are promised, issuer latency ${latency} ms; logins: 1,000 a second, until all have.`,
  measures: [
    { what: 'refreshes', ...number('requests') },
    { what: 'a second', ...number('perSecond', 1) },
    { what: 'most in any second, times that', target: '1.3', ...number('overMean', 2), ...below('overMean', 1.3) },
    { what: 'requests in flight at once', ...number('inFlight') },
    {
      what: 'least that was left of a token when the next came, s',
      target: '360',
      ...number('leastLeft', 1),
      met: ({ leastLeft }) => Number(leastLeft) >= 360,
    },
    { what: 'live heap of the schedule, bytes a credential', ...number('heapEach') },
    { what: 'memory of the whole simulation (RSS), MB', ...number('rssMb') },
    { what: 'a simulated hour takes, s', ...number('hourTakes') },
  ],
};

const sheets = { steady, latency, million } satisfies Record<string, Sheet>;

export const isSheet = (name: string): name is keyof typeof sheets => Object.hasOwn(sheets, name);

const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;

function place({ machine, versions, date }: Kept): string {
  const { cores, cpu, kernel, fileSystem } = machine;
  return `${date.slice(0, 16)}Z, ${cores} x ${cpu}, Linux ${kernel}, ${fileSystem}, Node ${versions.node}, credmon ${versions.credmon}.`;
}

function verdict({ met, figure }: Measure, rows: readonly Row[]): string {
  const all = rows.map((row) => (figure(row) === '' ? undefined : met?.(row))).filter((one) => one !== undefined);
  return all.length === 0 ? '' : all.every(Boolean) ? 'yes' : 'no';
}

/** For docs/benchmarks.md. */
export function tableOf(name: keyof typeof sheets, kept: Kept): string {
  const sheet: Sheet = sheets[name];
  const { rows } = kept;
  const measures = sheet.measures.filter(({ figure }) => rows.some((row) => figure(row) !== ''));
  return [
    `${place(kept)} ${sheet.note(kept)}`,
    '',
    line(['', 'target', ...rows.map(sheet.head), 'met']),
    line(['---', '---', ...rows.map(() => '--:'), '---']),
    ...measures.map((measure) =>
      line([measure.what, measure.target ?? '', ...rows.map(measure.figure), verdict(measure, rows)]),
    ),
    '',
  ].join('\n');
}

/** For people, and where a file is named for the docs as well. */
export function show(name: keyof typeof sheets, kept: Kept, file: string | undefined): void {
  const table = tableOf(name, kept);
  process.stdout.write(table);
  if (file !== undefined) writeFileSync(file, table);
}
