import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Part, squeeze } from '../../../src/login/faces/ink/squeeze.js';

const part = (...ways: readonly (readonly [rows: number, worth: number])[]): Part =>
  ways.map(([rows, worth]) => ({ rows: Array.from({ length: rows }, (_, i) => `${i}`), worth }));
const heights = (rows: ReturnType<typeof squeeze>) => rows?.map((r) => r.length);

describe('parts that are too high together', () => {
  const title = part([2, 80], [1, 90], [0, Infinity]);
  const blank = part([1, 0], [0, Infinity]);
  const list = part([5, 12], [3, 60], [1, Infinity]);

  test('stay as they are where there is room', () => {
    expect(heights(squeeze([title, blank, list], 8))).toEqual([2, 1, 5]);
  });

  test('give way one after the other, what is worth least first', () => {
    expect(heights(squeeze([title, blank, list], 7))).toEqual([2, 0, 5]);
    expect(heights(squeeze([title, blank, list], 6))).toEqual([2, 0, 3]);
    expect(heights(squeeze([title, blank, list], 3))).toEqual([2, 0, 1]);
    expect(heights(squeeze([title, blank, list], 2))).toEqual([1, 0, 1]);
    expect(heights(squeeze([title, blank, list], 1))).toEqual([0, 0, 1]);
  });

  test('are refused where something too worthy would have to go', () => {
    expect(heights(squeeze([title, blank, list], 5, 50))).toEqual([2, 0, 3]);
    expect(squeeze([title, blank, list], 4, 50)).toBeUndefined();
    expect(squeeze([title, blank, list], 0)).toBeUndefined();
  });

  test('are never higher than they may be', () => {
    const anyPart = fc.array(fc.tuple(fc.nat(6), fc.nat(100)), { maxLength: 4 }).map((ways) => part(...ways));
    fc.assert(
      fc.property(fc.array(anyPart, { maxLength: 8 }), fc.nat(40), fc.nat(120), (parts, height, limit) => {
        const rows = squeeze(parts, height, limit);
        if (rows) expect(rows.flat().length).toBeLessThanOrEqual(height);
      }),
    );
  });
});
