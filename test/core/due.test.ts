import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { dueAt, spreadOf, tooShort } from '../../src/core/due.js';
import { epochMs, seconds } from '../../src/core/time.js';

const issued = fc.integer({ min: 0, max: 4e12 });
const span = fc.integer({ min: 0, max: 30 * 86_400 });
const spread = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const lifeOf = (from: number, seconds: number) => ({ issued: epochMs(from), expires: epochMs(from + seconds * 1000) });
/** Floating-point rounding on a number of 4e12. */
const rounding = 0.01;

describe('when a token is refreshed', () => {
  test('never before it was issued, never after it has expired, whatever the numbers', () => {
    fc.assert(
      fc.property(issued, fc.integer({ min: -86_400, max: 30 * 86_400 }), span, spread, (from, life, minimum, s) => {
        const due = dueAt(lifeOf(from, life), seconds(minimum), s);
        expect(due).toBeGreaterThanOrEqual(from);
        expect(due).toBeLessThanOrEqual(Math.max(from, from + life * 1000) + rounding);
      }),
    );
  });

  test('always so early that the minimum is left, wherever that is possible', () => {
    fc.assert(
      fc.property(issued, span, fc.double({ min: 0, max: 0.8, noNaN: true }), spread, (from, life, part, s) => {
        const minimum = life * part;
        const due = dueAt(lifeOf(from, life), seconds(minimum), s);
        expect(from + life * 1000 - due).toBeGreaterThanOrEqual(minimum * 1000 - rounding);
      }),
    );
  });

  test('a bit earlier than that, for the refresh itself and another try', () => {
    const [from, life, minimum] = [1_000_000, 1200, 360];
    expect(from + life * 1000 - dueAt(lifeOf(from, life), seconds(minimum), 0.9999)).toBeGreaterThan(
      (minimum + 59) * 1000,
    );
    // Of a day none needs more than a minute.
    const early = from + 86_400_000 - dueAt(lifeOf(from, 86_400), seconds(40_000), 0.9999);
    expect(early).toBeGreaterThan(40_059_000);
    expect(early).toBeLessThan(40_070_000);
  });

  test('between 50 % and 70 % of a life that is long for its minimum', () => {
    fc.assert(
      fc.property(issued, fc.integer({ min: 1, max: 30 * 86_400 }), spread, (from, life, s) => {
        const due = dueAt(lifeOf(from, life), seconds(life * 0.1), s);
        expect(due).toBeGreaterThanOrEqual(from + life * 500 - rounding);
        expect(due).toBeLessThan(from + life * 700 + rounding);
      }),
    );
  });

  test('not before a tenth of a short life is over, so that short tokens are no storm', () => {
    fc.assert(
      fc.property(issued, span, span, spread, (from, life, minimum, s) => {
        expect(dueAt(lifeOf(from, life), seconds(minimum), s)).toBeGreaterThanOrEqual(from + life * 100 - rounding);
      }),
    );
  });

  test('a life is too short exactly when 80 % of it is less than the minimum', () => {
    expect(tooShort(lifeOf(0, 450), seconds(360))).toBe(false);
    expect(tooShort(lifeOf(0, 449), seconds(360))).toBe(true);
    expect(tooShort(lifeOf(0, 0), seconds(0))).toBe(false);
  });

  test('by hand: an hour, and the default minimum of six minutes', () => {
    const hour = lifeOf(1_000_000, 3600);
    expect(dueAt(hour, seconds(360), 0)).toBe(1_000_000 + 1_800_000);
    expect(dueAt(hour, seconds(360), 0.5)).toBe(1_000_000 + 2_160_000);
  });
});

describe('the spread of a credential', () => {
  test('is the same at each start, and in [0, 1)', () => {
    expect(spreadOf('alice/cilogon')).toBe(spreadOf('alice/cilogon'));
    // Pinned: were it another number after an update, a whole machine would come due in another order.
    expect(spreadOf('alice/cilogon')).toBeCloseTo(0.61817, 4);
    fc.assert(
      fc.property(fc.string(), (name) => {
        expect(spreadOf(name)).toBeGreaterThanOrEqual(0);
        expect(spreadOf(name)).toBeLessThan(1);
      }),
    );
  });

  test.each([
    ['users of one service', (i: number) => `user${i}/cilogon`],
    ['handles of one user', (i: number) => `alice/dune_${i}`],
    ['numbered accounts', (i: number) => `${String(i).padStart(5, '0')}/osdf`],
  ])('spreads %s evenly', (_, nameOf) => {
    const buckets = new Array<number>(20).fill(0);
    const count = 20_000;
    for (let i = 0; i < count; i++) {
      const bucket = Math.floor(spreadOf(nameOf(i)) * buckets.length);
      buckets[bucket] = (buckets[bucket] ?? 0) + 1;
    }
    // Six standard deviations of a fair draw.
    const fair = count / buckets.length;
    for (const found of buckets) expect(Math.abs(found - fair)).toBeLessThan(6 * Math.sqrt(fair));
  });
});
