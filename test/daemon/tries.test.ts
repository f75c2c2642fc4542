import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { later, seconds } from '../../src/core/time.js';
import { formatRequest } from '../../src/core/top.js';
import type { Item } from '../../src/daemon/item.js';
import { Slices } from '../../src/daemon/slices.js';
import { Tries } from '../../src/daemon/tries.js';
import { store } from '../grants/kit.js';
import { hours, minutes, type Station, station } from './kit.js';

const item = (key: string) => ({ key }) as Item;

/** Whether it is over by now. */
async function isOver(promise: Promise<void>): Promise<boolean> {
  let over = false;
  void promise.then(() => {
    over = true;
  });
  await turn();
  return over;
}

test('a round is over when each that was added has been tried once', async () => {
  const [a, b, tries] = [item('a'), item('b'), new Tries()];
  const round = tries.begin();
  for (const one of [a, b]) round.add(one);
  const over = round.over();
  tries.tried(a);
  tries.tried(a);
  expect(await isOver(over)).toBe(false);
  tries.tried(b);
  expect(await isOver(over)).toBe(true);
});

test('what is tried while others are still being added is not waited for any more', async () => {
  const [a, b, tries] = [item('a'), item('b'), new Tries()];
  const round = tries.begin();
  round.add(a);
  tries.tried(a);
  round.add(b);
  tries.tried(b);
  expect(await isOver(round.over())).toBe(true);
  expect(await isOver(tries.begin().over())).toBe(true);
});

test('rounds do not wait for each other', async () => {
  const [a, b, tries] = [item('a'), item('b'), new Tries()];
  const [first, second] = [tries.begin(), tries.begin()];
  first.add(a);
  second.add(a);
  second.add(b);
  const [overFirst, overSecond] = [first.over(), second.over()];
  tries.tried(a);
  expect([await isOver(overFirst), await isOver(overSecond)]).toEqual([true, false]);
  tries.tried(b);
  expect(await isOver(overSecond)).toBe(true);
});

test('others have their turn after a millisecond, and their time is not counted as ours', async () => {
  let now = 0;
  const slices = new Slices({ steady: () => now });
  let theirs = 0;
  setImmediate(() => {
    theirs++;
    now += 100;
  });
  now = 0.9;
  await slices.others();
  expect(theirs).toBe(0);
  now = 1.5;
  await slices.others();
  expect(theirs).toBe(1);
  now += 0.5;
  expect(slices.spent).toBeCloseTo(2);
});

/** Nobody is due, nor being asked for. */
const idle = (s: Station) => expect(s.keeper.backlog()).toMatchObject({ waiting: 0, inFlight: 0 });

test('a login that waits, and that is found to have ended by what is made from it, is not waited for any more', async () => {
  const s = station();
  s.login(s.book().grant());
  await s.keeper.sweep();
  await s.clock.pass(1000);
  await s.clock.pass((s.health()?.due ?? 0) - s.clock.now() - 500);
  // Of one person four are asked for at once: the login comes due, and waits.
  const hold = s.book().hold();
  for (const handle of ['a', 'b', 'c', 'd'])
    store(
      s,
      `cilogon_${handle}`,
      formatRequest({ service: 'cilogon', handle }, { from: '', scopes: [`scope-${handle}`] }),
    );
  await s.keeper.sweep();
  await s.clock.pass(1000);
  expect(s.keeper.backlog()).toMatchObject({ waiting: 1, inFlight: 4 });
  const settled = s.keeper.settled();
  expect(await isOver(settled)).toBe(false);
  s.book().refusal = { kind: 'login-needed', what: 'book refused: invalid_grant', code: 'invalid_grant' };
  hold.release();
  await s.clock.pass(1000);
  idle(s);
  expect(s.health()?.state).toBe('login-needed');
  expect(await isOver(settled)).toBe(true);
});

test('one that waits, and has got a token by a login meanwhile, is not waited for any more', async () => {
  const s = station();
  const holds = Array.from({ length: 8 }, () => s.book().hold());
  for (let n = 0; n < 9; n++) s.login(s.book().grant(), { user: `user${n}` });
  await s.keeper.sweep();
  const settled = s.keeper.settled();
  await s.clock.pass(10);
  const asked = new Set(s.book().asked.map(({ parameters }) => parameters.refresh_token));
  const user = Array.from({ length: 9 }, (_, n) => `user${n}`).find(
    (one) => !asked.has(s.top('cilogon', one)),
  ) as string;
  s.login(s.book().grant(), { user });
  const id = { user, service: 'cilogon' };
  const top = await s.credentials.read(id);
  const issued = s.clock.now();
  await s.credentials.publish(id, top.stamp as string, {
    accessToken: 'of-the-login',
    tokenType: 'bearer',
    issued,
    expires: later(issued, seconds(3600)),
    lifeFrom: 'expires_in',
  });
  await s.keeper.look(user);
  for (const hold of holds) hold.release();
  await s.clock.pass(minutes(1));
  idle(s);
  expect(s.use('cilogon', user).access_token).toBe('of-the-login');
  expect(await isOver(settled)).toBe(true);
});

test('others have their turn while very many are asked whether they are due', async () => {
  const s = station();
  for (let n = 0; n < 1100; n++) s.login(s.book().grant(), { user: `user${n}` });
  await s.keeper.sweep();
  await s.clock.pass(hours(1));
  s.login(s.book().grant(), { user: 'late' });
  await s.keeper.look('late');
  const { steady } = s.clock;
  let reads = 0;
  // Each look at it is two milliseconds after the one before.
  Object.assign(s.clock, { steady: () => steady() + 2 * reads++ });
  const settled = s.keeper.settled();
  const atFirst = reads;
  for (let n = 0; n < 20; n++) await turn();
  // It has looked at the clock after 256, and went on only when others had had theirs.
  expect(reads).toBeGreaterThanOrEqual(atFirst + 6);
  Object.assign(s.clock, { steady });
  await s.clock.pass(1000);
  await settled;
  expect(s.health('late/cilogon')?.state).toBe('fresh');
});
