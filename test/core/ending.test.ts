import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { afterAnswer, type Ending } from '../../src/core/ending.js';
import { epochMs } from '../../src/core/time.js';

const minute = 60_000;
const day = 86_400_000;
/** Answers of an issuer at these moments, each telling `endAt` of it. */
const told = (moments: readonly number[], endAt: (now: number) => number): Ending =>
  moments.reduce<Ending | undefined>(
    (before, now) => afterAnswer(before, epochMs(endAt(now)), epochMs(now)),
    undefined,
  ) as Ending;

describe('when a grant ends', () => {
  test('one answer tells no more than a moment', () => {
    expect(afterAnswer(undefined, epochMs(day), epochMs(5))).toEqual({ at: day, seen: 5 });
  });

  test('an issuer that tells the same moment again does not prolong it', () => {
    expect(told([0, 30 * minute], () => day)).toEqual({ at: day, seen: 30 * minute, fixed: true });
  });

  test('whole seconds that its answers are cut to change nothing of that', () => {
    for (const off of [-1000, 1000]) expect(told([0, 2 * minute], (now) => day + (now > 0 ? off : 0)).fixed).toBe(true);
  });

  test('one that prolongs it at each refresh is told apart', () => {
    expect(told([0, 30 * minute], (now) => now + day)).toEqual({
      at: day + 30 * minute,
      seen: 30 * minute,
      fixed: false,
    });
    expect(told([0, 30 * minute, 60 * minute], (now) => now + day).fixed).toBe(false);
  });

  test('one that prolongs it up to a last moment is told apart when that is reached', () => {
    const capped = (now: number) => Math.min(now + day, 2 * day);
    expect(told([0, day / 2, day], capped).fixed).toBe(false);
    expect(told([0, day / 2, day, 1.5 * day], capped)).toEqual({ at: 2 * day, seen: 1.5 * day, fixed: true });
  });

  test('a new login begins anew', () => {
    const fixed = told([0, 30 * minute], () => day);
    expect(afterAnswer(fixed, epochMs(2 * day), epochMs(60 * minute)).fixed).toBe(false);
  });

  test('two answers in quick succession tell nothing, also many of them', () => {
    const first = told([0], () => day);
    expect(afterAnswer(first, epochMs(day), epochMs(29_999)).fixed).toBeUndefined();
    expect(afterAnswer(first, epochMs(day), epochMs(30_000)).fixed).toBe(true);
    expect(told([0, 10_000, 20_000, 31_000], (now) => now + day).fixed).toBe(false);
    expect(told([0, 10_000, 20_000, 31_000], () => day).fixed).toBe(true);
  });

  test('whatever the pace of the answers, those that prolong and those that do not are told apart', () => {
    const gaps = fc.array(fc.integer({ min: 1000, max: 3 * 3_600_000 }), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(gaps, fc.boolean(), (list, rolls) => {
        let now = 0;
        const moments = [0, ...list.map((gap) => (now += gap))];
        const whole = (ms: number) => Math.floor(ms / 1000) * 1000;
        const last = told(moments, (at) => (rolls ? whole(at) + day : 30 * day));
        if (last.fixed !== undefined) expect(last.fixed).toBe(!rolls);
        else expect(now).toBeLessThan(30_000);
        // What it says is never staler than that.
        if (rolls) expect(now + day - last.at).toBeLessThan(31_000);
      }),
    );
  });

  test('a clock that is set back tells nothing, and one that is set forward heals', () => {
    const rolling = told([hours(5), hours(5.5)], (now) => now + day);
    const back = afterAnswer(rolling, epochMs(hours(4) + day), epochMs(hours(4)));
    expect(back.fixed).toBe(false);
    expect(afterAnswer(back, epochMs(hours(6) + day), epochMs(hours(6))).fixed).toBe(false);
  });
});

function hours(n: number): number {
  return n * 3_600_000;
}
