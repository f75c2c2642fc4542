import fc from 'fast-check';
import { expect, test } from 'vitest';
import { backoff } from '../../src/core/backoff.js';
import { seconds } from '../../src/core/time.js';

const chance = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const failures = fc.integer({ min: 0, max: 1000 });

test('heavier at the front, never longer than ten minutes of its own accord', () => {
  const whole = Array.from({ length: 14 }, (_, i) => backoff(i + 1, 0));
  expect(whole).toEqual([2, 5, 10, 20, 30, 60, 60, 120, 120, 300, 300, 600, 600, 600]);
  expect(backoff(0, 0)).toBe(2);
});

test('chance takes up to a quarter off, and more failures never shorten the wait', () => {
  fc.assert(
    fc.property(failures, chance, (n, c) => {
      const most = backoff(n, 0);
      expect(backoff(n, c)).toBeLessThanOrEqual(most);
      expect(backoff(n, c)).toBeGreaterThanOrEqual(most * 0.75);
      expect(backoff(n + 1, c)).toBeGreaterThanOrEqual(backoff(n, c));
    }),
  );
});

test('Retry-After is kept to, up to an hour', () => {
  fc.assert(
    fc.property(failures, chance, fc.integer({ min: 0, max: 1e9 }), (n, c, asked) => {
      const wait = backoff(n, c, seconds(asked));
      expect(wait).toBeGreaterThanOrEqual(Math.min(asked, 3600));
      expect(wait).toBe(Math.max(backoff(n, c), Math.min(asked, 3600)));
    }),
  );
});
