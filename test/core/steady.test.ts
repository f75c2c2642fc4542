import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { madeAt, ScheduleTime } from '../../src/core/steady.js';
import { epochMs } from '../../src/core/time.js';

const hour = 3_600_000;
const wall = 1_800_000_000_000;

function started() {
  return new ScheduleTime(wall, 500);
}

describe('the time of a schedule', () => {
  test('runs as the steady clock does', () => {
    const time = started();
    const first = time.read(wall, 500);
    expect(time.read(wall + 10_000, 10_500) - first).toBe(10_000);
  });

  test('a wall clock set back an hour delays nothing', () => {
    const time = started();
    const first = time.read(wall, 500);
    expect(time.read(wall + 1000 - hour, 1500) - first).toBe(1000);
    expect(time.read(wall + 61_000 - hour, 61_500) - first).toBe(61_000);
  });

  test('a wall clock set forward an hour makes due what has expired meanwhile', () => {
    const time = started();
    const first = time.read(wall, 500);
    expect(time.read(wall + 1000 + hour, 1500) - first).toBe(1000 + hour);
    expect(time.read(wall + 2000 + hour, 2500) - first).toBe(2000 + hour);
  });

  test('set back and then right again, nothing comes late', () => {
    const time = started();
    const first = time.read(wall, 500);
    time.read(wall - hour, 500);
    expect(time.read(wall + 1000, 1500) - first).toBeGreaterThanOrEqual(1000);
  });

  test('a machine that slept an hour, during which the steady clock stood still', () => {
    const time = started();
    const first = time.read(wall, 500);
    expect(time.read(wall + hour, 510) - first).toBe(hour);
  });

  test('slewing and rounding are no jumps', () => {
    const time = started();
    const first = time.read(wall, 500);
    expect(time.read(wall + 10_999, 10_500) - first).toBe(10_000);
    expect(time.read(wall + 19_001, 20_500) - first).toBe(20_000);
  });

  test('never goes back, and never lags behind either clock, whatever the wall clock does', () => {
    const move = fc.record({
      ticks: fc.integer({ min: 0, max: 100_000 }),
      jump: fc.oneof(fc.constant(0), fc.integer({ min: -2 * hour, max: 2 * hour })),
    });
    fc.assert(
      fc.property(fc.array(move, { maxLength: 40 }), (moves) => {
        const time = started();
        let [now, steady] = [wall, 500];
        let last = time.read(now, steady);
        for (const { ticks, jump } of moves) {
          now += ticks + jump;
          steady += ticks;
          const read = time.read(now, steady);
          expect(read - last).toBeGreaterThanOrEqual(ticks);
          last = read;
        }
      }),
    );
  });
});

describe('when an answer was made', () => {
  const at = (wallAt: number, steady: number) => ({ wall: epochMs(wallAt), steady });
  test.each([
    ['in a second, as long as it took', at(wall + 1000, 1500), wall],
    ['while the machine slept an hour, before that', at(wall + hour, 1500), wall],
    ['with a steady clock that runs on in sleep', at(wall + hour, 500 + hour), wall],
    ['while the clock was set back an hour, by the clock as it is now', at(wall - hour + 1000, 1500), wall - hour],
    ['while the clock was set forward, rather too early than too late', at(wall + hour + 1000, 1500), wall],
    ['at once', at(wall, 500), wall],
    ['in whole milliseconds, by a steady clock that has parts of them', at(wall + 10, 511.6), wall - 1],
  ])('%s', (_, received, expected) => expect(madeAt(at(wall, 500), received)).toBe(expected));
});
