import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { bundled } from './kit/bundled.js';
import type { Course, CourseOutcome } from './kit/million-main.js';

test('20,000 who have logged in at 1,000 a second are refreshed evenly and in time, by the whole schedule in simulated time', async () => {
  const course: Course = { credentials: 20_000, begin: 'logins', minutes: 30, life: 1200, latency: 20 };
  const program = await bundled('test/bench/kit/million-main.ts');
  const { stdout } = await promisify(execFile)(process.execPath, [program, JSON.stringify(course)]);
  const { leastLeft, inFlight, minutes }: CourseOutcome = JSON.parse(stdout);
  expect(leastLeft).toBeGreaterThan(360);
  expect(inFlight).toBeLessThan(10);
  // Of 28 a second; before a tenth of its life is over none is refreshed.
  expect(Math.max(...minutes.map(([most]) => most))).toBeLessThan(1.35 * 28);
}, 60_000);
