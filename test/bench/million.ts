/*
 * The daemon's schedule with very many credentials, by simulation: are refreshes even, is every token replaced in time, and what
 * does it take?
 *
 *     npm run bench:million [-- --credentials 100000,1000000] [-- --minutes 20] [-- --life 1200] [-- --latency 20]
 *                           [-- --json FILE] [-- --markdown FILE]
 *
 * Each run is a process (kit/million-main.ts) with the real Keeper and its queue over credentials and an issuer in memory, and a clock
 * that is moved by hand. Twice a count: with credentials that are somewhere between two refreshes, and after a thousand people
 * a second have logged in until all have, who come back together if nothing is done about it. Some minutes a million.
 */
import { execFileSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { bundled } from './kit/bundled.js';
import type { Course, CourseOutcome } from './kit/million-main.js';
import { heading, keep, type Row } from './kit/outcome.js';
import { show } from './kit/sheets.js';

const { values } = parseArgs({
  options: {
    credentials: { type: 'string', default: '100000,1000000' },
    minutes: { type: 'string', default: '20' },
    life: { type: 'string', default: '1200' },
    latency: { type: 'string', default: '20' },
    json: { type: 'string' },
    markdown: { type: 'string' },
  },
});
const [minutes, life, latency] = [Number(values.minutes), Number(values.life), Number(values.latency)];

console.log(heading());
const rows: Row[] = [];
const courses: (readonly (readonly [number, number])[])[] = [];
const program = await bundled('test/bench/kit/million-main.ts');
for (const credentials of values.credentials.split(',').map(Number)) {
  for (const begin of ['anywhere', 'logins'] as const) {
    const course: Course = { credentials, begin, minutes, life, latency };
    const args = ['--expose-gc', '--max-old-space-size=4096', program, JSON.stringify(course)];
    const { minutes: each, ...row }: CourseOutcome = JSON.parse(
      execFileSync(process.execPath, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }),
    );
    rows.push({ credentials, begin, ...row });
    courses.push(each);
    console.log(
      `${credentials} ${begin}: ${row.perSecond.toFixed(1)}/s, at most ${row.overMean.toFixed(2)} times that; an hour takes ${row.hourTakes.toFixed(0)} s`,
    );
  }
}
show('million', keep(values.json, rows, { minutes, life, latency, courses }), values.markdown);
