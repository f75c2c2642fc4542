import { expect, test } from 'vitest';
import { growth } from './flat.js';

const tolerance = { share: 0.05, amount: 1 };
/** An hour, every five seconds: saw teeth as a collector leaves them, on top of what `leaked` says. */
const samples = (leaked: (at: number) => number) =>
  Array.from({ length: 720 }, (_, n) => ({ at: n * 5, value: 80 + ((n * 7) % 30) + leaked(n * 5) }));

test('what comes and goes is flat, and what it usually is are the lows', () => {
  expect(
    growth(
      samples(() => 0),
      60,
      tolerance,
    ),
  ).toMatchObject({ flat: true });
  expect(
    growth(
      samples(() => 0),
      60,
      tolerance,
    ).usual,
  ).toBeLessThan(84);
});

test('a slow leak under it is none, and is told as much as it is', () => {
  const { flat, grown } = growth(
    samples((at) => (at / 3600) * 10),
    60,
    tolerance,
  );
  expect(flat).toBe(false);
  expect(grown).toBeGreaterThan(8);
  expect(grown).toBeLessThan(12);
});

test('a few odd minutes are no leak, nor is what shrinks', () => {
  expect(
    growth(
      samples((at) => (at > 1000 && at < 1300 ? 50 : 0)),
      60,
      tolerance,
    ).flat,
  ).toBe(true);
  expect(
    growth(
      samples((at) => at / -100),
      60,
      tolerance,
    ).flat,
  ).toBe(true);
});

test('of too few stretches nothing can be said', () => {
  expect(growth(samples(() => 0).slice(0, 30), 60, tolerance).flat).toBe(false);
});

test('of connections, which an issuer that hangs has many of at a time, the middle is looked at', () => {
  // Bursts of up to 70 that last for some time, as an hour of the soak has them.
  let seed = 7;
  const random = () => {
    seed = (seed * 48_271) % 0x7fffffff;
    return seed / 0x7fffffff;
  };
  let now = 40;
  const bursts = Array.from({ length: 420 }, (_, n) => {
    if (n % 4 === 0) now = 18 + 70 * random() ** 2;
    return { at: n * 5, value: Math.round(now) };
  });
  const leaking = bursts.map(({ at, value }) => ({ at, value: value + Math.floor(at / 40) }));
  const few = { share: 0, amount: 24 };
  expect(growth(bursts, 60, few, 'middle')).toMatchObject({ flat: true });
  const { flat, grown } = growth(leaking, 60, few, 'middle');
  expect(flat).toBe(false);
  expect(grown).toBeGreaterThan(35);
  expect(grown).toBeLessThan(70);
});
