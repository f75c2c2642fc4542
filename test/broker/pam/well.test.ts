import { expect, test } from 'vitest';
import { becomesWell } from '../../../src/broker/pam/well.js';
import { handClock } from '../../helpers/clock.js';

test('a session opens once credmond has taken what was handed over', async () => {
  const clock = handClock();
  let [looks, opened] = [0, false];
  const taken = becomesWell(async () => ++looks === 3, clock).finally(() => {
    opened = true;
  });
  await clock.pass(44);
  expect([looks, opened]).toEqual([2, false]);
  await clock.pass(1);
  expect([looks, opened, await taken]).toEqual([3, true, true]);
});

test('and a second later without it, after few looks', async () => {
  const clock = handClock();
  let [looks, opened] = [0, false];
  const taken = becomesWell(async () => ++looks === 0, clock).finally(() => {
    opened = true;
  });
  await clock.pass(999);
  expect(opened).toBe(false);
  await clock.pass(1);
  expect([opened, await taken]).toEqual([true, false]);
  expect(looks).toBeLessThan(10);
});
