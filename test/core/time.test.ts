import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { epochMs, later, longestTimer, seconds, spell, timerDelay } from '../../src/core/time.js';

test.each([-1, Number.NaN, Number.POSITIVE_INFINITY, -0.001])('%d is no duration', (n) => {
  expect(() => seconds(n)).toThrow(RangeError);
});

test('what a timer is given is always something that it takes', () => {
  fc.assert(
    fc.property(fc.double(), (ms) => {
      const delay = timerDelay(ms);
      expect(Number.isInteger(delay)).toBe(true);
      expect(delay).toBeGreaterThanOrEqual(0);
      expect(delay).toBeLessThanOrEqual(longestTimer);
      // Never early, except where no timer reaches.
      if (ms > 0) expect(delay).toBeGreaterThanOrEqual(Math.min(ms, longestTimer));
    }),
  );
  expect(timerDelay(Number.POSITIVE_INFINITY)).toBe(longestTimer);
  expect(timerDelay(2 ** 31)).toBe(longestTimer);
});

test('later, and earlier', () => {
  expect(later(epochMs(1000), 2.5)).toBe(3500);
  expect(later(epochMs(1000), -1)).toBe(0);
});

describe('a span in words', () => {
  test.each([
    [-5, '0 s'],
    [0.4, '0 s'],
    [41, '41 s'],
    [119.4, '119 s'],
    [119.6, '2 min'],
    [120, '2 min'],
    [720, '12 min'],
    [7199, '120 min'],
    [7200, '2 h'],
    [12_000, '3 h 20 min'],
    [10_795, '3 h'],
    [172_799, '48 h'],
    [172_800, '2 days'],
    [777_600, '9 days'],
  ])('%d s: %s', (span, words) => {
    expect(spell(span)).toBe(words);
  });
});
