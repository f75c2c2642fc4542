import { expect, test } from 'vitest';
import { AccountNumbers } from '../../src/daemon/account-numbers.js';
import { handClock } from '../helpers/clock.js';
import { minutes } from './kit.js';

function office() {
  const clock = handClock();
  const accounts = new Map([
    ['alice', 1001],
    ['bob', 1002],
  ]);
  const asked: string[][] = [];
  const machine = { stamp: 'a' };
  const numbers = new AccountNumbers({
    clock,
    ask: async (users) => {
      asked.push([...users]);
      return new Map([...accounts].filter(([user]) => users.includes(user)));
    },
    stamp: () => machine.stamp,
  });
  return { clock, accounts, asked, machine, numbers };
}

test('are asked for once an hour at most and once in half an hour at least, also of those who have none', async () => {
  const o = office();
  for (let n = 0; n < 120; n++) {
    expect(await o.numbers.of(['alice', 'ghost'])).toEqual(new Map([['alice', 1001]]));
    await o.clock.pass(minutes(1));
  }
  expect(o.asked.length).toBeGreaterThanOrEqual(2);
  expect(o.asked.length).toBeLessThanOrEqual(4);
  expect(o.asked[0]).toEqual(['alice', 'ghost']);
});

test('an account that is another’s now is seen at once where this machine’s own are others', async () => {
  const o = office();
  await o.numbers.of(['alice']);
  o.accounts.delete('alice');
  o.accounts.set('carol', 1001);
  o.machine.stamp = 'b';
  expect(await o.numbers.of(['alice'])).toEqual(new Map());
  // Nobody is known who has it now.
  expect(o.numbers.left()).toEqual([1001]);
  expect(o.numbers.left()).toEqual([]);
});

test('and when the one comes up who has the number now', async () => {
  const o = office();
  await o.numbers.of(['alice', 'bob']);
  o.accounts.delete('alice');
  o.accounts.set('carol', 1001);
  expect(await o.numbers.of(['carol'])).toEqual(new Map([['carol', 1001]]));
  expect(await o.numbers.of(['alice', 'bob'])).toEqual(new Map([['bob', 1002]]));
  expect(o.asked.at(-1)).toEqual(['alice']);
  // It is carol's: her file is not to be taken away.
  expect(o.numbers.left()).toEqual([]);
});

test('and within the hour in any case', async () => {
  const o = office();
  await o.numbers.of(['alice']);
  o.accounts.set('alice', 3003);
  await o.clock.pass(minutes(61));
  expect(await o.numbers.of(['alice'])).toEqual(new Map([['alice', 3003]]));
  expect(o.numbers.left()).toEqual([1001]);
  expect(o.numbers.all()).toEqual(new Set([3003]));
  await o.clock.pass(minutes(1000));
  o.accounts.set('alice', 3004);
  expect(await o.numbers.of(['alice'])).toEqual(new Map([['alice', 3004]]));
});

test('two names of one number do not have each other asked for again and again', async () => {
  const o = office();
  o.accounts.set('toor', 1001);
  for (let n = 0; n < 10; n++) for (const user of ['alice', 'toor']) await o.numbers.of([user]);
  expect(o.asked.length).toBeLessThanOrEqual(4);
  expect(o.numbers.left()).toEqual([]);
});

test('the largest number there is stays what it is; who has not come up for hours is forgotten', async () => {
  const o = office();
  o.accounts.set('nobody', 2 ** 32 - 2);
  expect((await o.numbers.of(['nobody'])).get('nobody')).toBe(2 ** 32 - 2);
  for (let n = 0; n < 5; n++) {
    await o.clock.pass(minutes(31));
    await o.numbers.of(['alice']);
  }
  expect(o.numbers.all()).toEqual(new Set([1001]));
});

test('a name service that does not answer is a failure, and nothing is remembered of it', async () => {
  const o = office();
  const down = new AccountNumbers({ clock: o.clock, ask: () => Promise.reject(new Error('down')), stamp: () => '' });
  await expect(down.of(['alice'])).rejects.toThrow('down');
  expect(down.all()).toEqual(new Set());
});
