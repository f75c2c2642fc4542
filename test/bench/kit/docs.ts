import type { Kept, Row } from './outcome.js';
import type { Line, Plot } from './plot.js';
import { isSheet, tableOf } from './sheets.js';

/**
 * The page with what there is between its marks, and whose that was. `found`: a file that a bench left. The plots whose names
 * begin with a mark's and `-` are shown there, in folder plots/.
 */
export function filled(
  page: string,
  found: (name: string) => string | undefined,
  plots: Readonly<Record<string, Plot>> = {},
): { readonly text: string; readonly taken: readonly string[] } {
  const taken: string[] = [];
  const text = page.replace(/^<!-- ([a-z]+) -->\n[\s\S]*?^<!-- \/\1 -->$/gm, (whole: string, name: string): string => {
    const block = joined(blockOf(name, found), imagesOf(name, plots));
    if (block === undefined) return whole;
    taken.push(name);
    return `<!-- ${name} -->\n${block.trim()}\n<!-- /${name} -->`;
  });
  return { text, taken };
}

const joined = (...parts: readonly (string | undefined)[]): string | undefined => {
  const all = parts.filter((part) => part !== undefined).map((part) => part.trim());
  return all.length === 0 ? undefined : all.join('\n\n');
};

function blockOf(name: string, found: (name: string) => string | undefined): string | undefined {
  const written = found(`${name}.md`);
  if (written !== undefined) return written;
  const json = found(`${name}.json`);
  if (json !== undefined && isSheet(name)) return tableOf(name, JSON.parse(json));
  const printed = found(`${name}.txt`);
  if (printed === undefined) return undefined;
  // npm's own words are not the bench's.
  const lines = printed.split('\n').filter((line) => !/^(npm |> )/.test(line));
  return `\`\`\`text\n${lines.join('\n').trim()}\n\`\`\``;
}

function imagesOf(name: string, plots: Readonly<Record<string, Plot>>): string | undefined {
  const mine = Object.entries(plots).filter(([plot]) => plot.startsWith(`${name}-`));
  return mine.length === 0 ? undefined : mine.map(([plot, { title }]) => `![${title}](plots/${plot}.svg)`).join('\n');
}

const line = (name: string, rows: readonly Row[], x: string, y: string, factor = 1): Line => ({
  name,
  points: rows.filter((row) => row[y] !== undefined).map((row) => [Number(row[x]), Number(row[y]) * factor]),
});

/** Those that can be drawn of what there is, by the names of their files. */
export function plotsOf(kept: (name: string) => Kept | null): Readonly<Record<string, Plot>> {
  const plots: Record<string, Plot> = {};
  const steady = kept('steady');
  if (steady) {
    const rows = steady.rows.filter(({ credentials, users }) => credentials === users);
    const growth = { x: 'credentials', decades: true } as const;
    const of = (name: string, key: string, factor?: number) => line(name, rows, 'credentials', key, factor);
    plots['growth-time'] = {
      ...growth,
      title: 'From the start of credmond',
      y: 'seconds',
      lines: [of('to the first refresh', 'firstMs', 1e-3), of('to the end of a look', 'readyMs', 1e-3)],
      target: { name: 'target of the first', y: 3 },
    };
    plots['growth-memory'] = {
      ...growth,
      title: 'Memory, with tokens of 20 minutes',
      y: 'MB (RSS)',
      lines: [of('under load', 'rssMb'), of('at the most', 'peakMb')],
      target: { name: 'target', y: 150 },
    };
    plots['growth-descriptors'] = {
      ...growth,
      title: 'Open descriptors, with tokens of 20 minutes',
      y: 'descriptors',
      lines: [of('under load', 'descriptors')],
    };
    const requests = (steady.requests as number[][] | undefined)?.[steady.rows.indexOf(rows.at(-1) as Row)];
    const last = rows.at(-1);
    if (requests && last) {
      const mean = Number(last.perSecond);
      plots['growth-requests'] = {
        title: `Requests in each second, ${Number(last.credentials).toLocaleString('en-GB')} credentials`,
        x: 'second',
        y: 'requests',
        lines: [{ name: 'at the issuer', points: requests.map((count, second) => [second, count]) }],
        target: { name: '1.3 times the mean', y: 1.3 * mean },
      };
    }
  }
  const latency = kept('latency');
  if (latency) {
    const of = (name: string, key: string) => line(name, latency.rows, 'credentials', key);
    plots['latency-growth'] = {
      title: 'From a login to its token, less the issuer’s latency',
      x: 'credentials that are there',
      y: 'ms (median)',
      decades: true,
      lines: [
        of('a new user', 'newP50'),
        of('watched', 'watchedP50'),
        of('watched, SIGHUP', 'watchedHupP50'),
        of('not watched, SIGHUP', 'farHupP50'),
      ].filter(({ points }) => points.length > 0),
      target: { name: 'target', y: 30 },
    };
  }
  const million = kept('million');
  for (const [n, course] of ((million?.courses ?? []) as [number, number][][]).entries()) {
    const { credentials, begin } = million?.rows[n] ?? {};
    if (begin !== 'logins') continue;
    const name = Number(credentials).toLocaleString('en-GB');
    plots[`million-${credentials}`] = {
      title: `Simulated: the minutes after ${name} logins at 1,000 a second`,
      x: 'minute',
      y: 'requests a second',
      lines: [
        { name: 'most in the minute', points: course.map(([most], minute) => [minute, most]) },
        { name: 'mean of the minute', points: course.map(([, mean], minute) => [minute, mean]) },
      ],
    };
  }
  const soak = kept('soak');
  if (soak) {
    plots['soak-course'] = {
      title: 'An hour under everything at once',
      x: 'minute',
      y: 'MB (RSS), descriptors',
      lines: [line('memory', soak.rows, 'minute', 'rss'), line('descriptors', soak.rows, 'minute', 'descriptors')],
    };
  }
  return plots;
}
