import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { dueAt, roomOf, spreadOf } from '../../src/core/due.js';
import { Level } from '../../src/core/level.js';
import { type EpochMs, epochMs, seconds } from '../../src/core/time.js';

/** Of tokens and of what must be left of one: seconds. */
const [life, minimum] = [1200, 360];
const begin = 1_700_000_000_000;
const lifeOf = (issued: number) => ({ issued: epochMs(issued), expires: epochMs(issued + life * 1000) });
const roomAt = (name: string, issued: number) => roomOf(lifeOf(issued), seconds(minimum), spreadOf(name));

interface Course {
  /** Refreshes in each second. */
  readonly perSecond: number[];
}

/** Each is refreshed when it is due, for so many seconds, from the first tokens on: milliseconds since the begin. */
function course(first: readonly number[], span: number, level: Level | undefined): Course {
  const due: [name: string, at: number][][] = Array.from({ length: span + life }, () => []);
  const perSecond: number[] = Array.from({ length: span }, () => 0);
  const place = (name: string, issued: number, now: number) => {
    const room = roomAt(name, begin + issued);
    const at = level?.place(room, epochMs(begin + issued), epochMs(begin + now)) ?? room.own;
    if (at > room.to || at < room.earliest) throw new Error(`${name} at ${at - begin}, out of its room`);
    level?.add(at);
    due[Math.floor((at - begin) / 1000)]?.push([name, at]);
  };
  for (const [n, issued] of first.entries()) place(`user${n}/demo`, issued, Math.max(0, issued));
  for (let second = 0; second < span; second++) {
    for (const [name, at] of due[second] ?? []) {
      perSecond[second] = (perSecond[second] as number) + 1;
      level?.delete(epochMs(at));
      place(name, at - begin, at - begin);
    }
    due[second] = [];
  }
  return { perSecond };
}

const mean = (list: readonly number[]): number => list.reduce((sum, n) => sum + n, 0) / list.length;
const overMean = (list: readonly number[]): number => Math.max(...list) / mean(list);

/** So many, wherever each of them is on its way from one refresh to the next. */
function anywhere(count: number): number[] {
  return Array.from({ length: count }, (_, n) => {
    const period = dueAt(lifeOf(0), seconds(minimum), spreadOf(`user${n}/demo`));
    return -period * ((n * 0.618_033_988_749) % 1);
  });
}

describe('how even refreshes are', () => {
  test('where 40,000 log in within 40 seconds, at most 1.3 times the mean from their first round on', () => {
    const first = Array.from({ length: 40_000 }, (_, n) => n);
    const hours = course(first, 7200, new Level()).perSecond.slice(900);
    expect(overMean(hours)).toBeLessThan(1.3);
    // Left to their names they come back together.
    expect(overMean(course(first, 7200, undefined).perSecond.slice(900))).toBeGreaterThan(2);
  });

  test('which costs no more refreshes than it must: the early ones come once', () => {
    const first = Array.from({ length: 40_000 }, (_, n) => n);
    const [even, own] = [new Level(), undefined].map((level) => mean(course(first, 7200, level).perSecond.slice(3600)));
    expect((even as number) / (own as number)).toBeLessThan(1.03);
  });

  test('a steady load is more even than chance', () => {
    const first = anywhere(40_000);
    const [even, own] = [new Level(), undefined].map((level) => course(first, 5400, level).perSecond.slice(1800));
    expect(overMean(even as number[])).toBeLessThan(1.1);
    expect(overMean(own as number[])).toBeGreaterThan(1.3);
  });

  test('few have each their own place, the same at each start', () => {
    const level = new Level();
    for (let n = 0; n < 100; n++) {
      const room = roomAt(`user${n}/demo`, begin);
      expect(level.place(room, epochMs(begin), epochMs(begin))).toBe(room.own);
      level.add(room.own);
    }
  });

  test('one that is late is late, and is not moved', () => {
    const level = new Level();
    const room = roomAt('alice/demo', begin);
    for (let n = 0; n < 100; n++) level.add(room.own);
    expect(level.place(room, epochMs(begin), epochMs(room.own + 1))).toBe(room.own);
  });

  test('what was taken out leaves its place', () => {
    const level = new Level();
    const room = roomAt('alice/demo', begin);
    for (let n = 0; n < 100; n++) level.add(room.own);
    expect(level.place(room, epochMs(begin), epochMs(begin))).not.toBe(room.own);
    for (let n = 0; n < 100; n++) level.delete(room.own);
    expect(level.place(room, epochMs(begin), epochMs(begin))).toBe(room.own);
  });

  test('whatever is in the way, none goes after its end, or before its beginning or now', () => {
    const span = fc.integer({ min: 0, max: 40 * 86_400 });
    const crowd = fc.array(fc.tuple(fc.integer({ min: -100, max: 50 * 86_400 }), fc.integer({ min: 1, max: 99 })));
    fc.assert(
      fc.property(
        span,
        span,
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        span,
        crowd,
        (long, least, at, aged, there) => {
          const level = new Level();
          const room = roomOf({ issued: epochMs(begin), expires: epochMs(begin + long * 1000) }, seconds(least), at);
          const now = epochMs(begin + aged * 1000);
          for (const [second, count] of there)
            for (let n = 0; n < count; n++) level.add(epochMs(begin + second * 1000) as EpochMs);
          const placed = level.place(room, epochMs(begin), now);
          expect(placed).toBeLessThanOrEqual(room.to);
          expect(placed).toBeGreaterThanOrEqual(Math.min(room.own, Math.max(room.earliest, now)));
        },
      ),
    );
  });
});
