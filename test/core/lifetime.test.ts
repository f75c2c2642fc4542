import { expect, test } from 'vitest';
import { expiryIn, lifetime, numberIn } from '../../src/core/lifetime.js';
import { epochMs, later, seconds } from '../../src/core/time.js';

const now = epochMs(1_800_000_000_000);

test.each([
  [{ expiresIn: 600, exp: later(now, 60) }, 600, 'expires_in'],
  [{ expiresIn: undefined, exp: later(now, 60) }, 60, 'jwt'],
  [{ expiresIn: 0, exp: later(now, 60) }, 60, 'jwt'],
  [{ expiresIn: -5, exp: later(now, -5) }, 1200, 'default'],
  [{ expiresIn: Number.NaN }, 1200, 'default'],
  [{}, 1200, 'default'],
  [{ expiresIn: 1e12 }, 366 * 86_400, 'expires_in'],
  [{ exp: epochMs(9e15) }, 366 * 86_400, 'jwt'],
])('%o: %d s, from %s', (told, life, from) => {
  const { expires, lifeFrom } = lifetime(told, now, seconds(1200));
  expect([(expires - now) / 1000, lifeFrom]).toEqual([life, from]);
});

test('claims and numbers that are none', () => {
  expect([
    expiryIn({ exp: 5 }),
    expiryIn({ exp: '5' }),
    expiryIn({ exp: 0 }),
    expiryIn({}),
    expiryIn(undefined),
  ]).toEqual([5000, undefined, undefined, undefined, undefined]);
  expect(['5', 5, 'x', null, Number.POSITIVE_INFINITY].map(numberIn)).toEqual([5, 5, undefined, undefined, undefined]);
});
