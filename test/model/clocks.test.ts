import { describe, expect, test } from 'vitest';
import { memoryDirectory } from './memory.js';
import { ids, World } from './world.js';

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;

/** Everybody has logged in an hour ago. */
async function usual(): Promise<World> {
  const world = new World({
    directory: (now) => memoryDirectory({ services: () => ['cilogon', 'igwn'], now }),
    rotations: ['strict', 'strict'],
  });
  world.start();
  for (const n of ids.keys()) world.login(n);
  world.sweep();
  await world.forward(hour);
  return world;
}

const requests = (world: World): number => world.issuers.reduce((sum, one) => sum + one.requests, 0);
/** Of the access token on disk, in real time: milliseconds. */
const left = (world: World) => world.accounts.map((account) => world.left(account) ?? Number.NaN);

function intact(world: World): void {
  expect(world.broken).toEqual([]);
  expect([...(world.keeper?.healths() ?? [])].map(({ state }) => state)).toEqual(ids.map(() => 'fresh'));
  for (const ms of left(world)) expect(ms).toBeGreaterThanOrEqual(6 * minute);
}

describe('the machine sleeps for a day', () => {
  test.each([
    ['and its steady clock stands still, as CLOCK_MONOTONIC does', true],
    ['and its steady clock runs on, as CLOCK_BOOTTIME does', false],
  ])('%s: within 15 s each credential has been refreshed, once', async (_, still) => {
    const world = await usual();
    const before = requests(world);
    world.suspend(day, still);
    for (const ms of left(world)) expect(ms).toBeLessThan(0);
    await world.forward(16_000);
    intact(world);
    expect(requests(world) - before).toBe(ids.length);
    await world.forward(5 * minute);
    expect(requests(world) - before).toBe(ids.length);
    await world.forward(day);
    intact(world);
  });

  test('with an outage right after it: all are refreshed when that is over', async () => {
    const world = await usual();
    world.suspend(day, true);
    for (const at of [0, 1]) world.issuer(at, 'reset');
    await world.forward(10 * minute);
    for (const at of [0, 1]) world.issuer(at, 'well');
    await world.forward(hour);
    intact(world);
  });

  test('and credmond is started anew while the clock is still that of yesterday', async () => {
    const world = await usual();
    world.kill(true);
    world.leap(-day);
    world.start();
    await world.forward(16_000);
    intact(world);
    world.leap(day);
    await world.forward(day);
    intact(world);
  });
});

describe('the wall clock leaps', () => {
  test.each([
    ['an hour forward', hour, true],
    ['a day forward', day, true],
    ['an hour back', -hour, false],
    ['a day back', -day, false],
  ])('%s, and a day later to where it was', async (_, step, past) => {
    const world = await usual();
    const before = requests(world);
    world.leap(step);
    await world.forward(16_000);
    intact(world);
    // Past the end of all tokens each is fetched anew, once; back, only what was due by the time that has really gone by.
    if (past) expect(requests(world) - before).toBe(ids.length);
    else expect(requests(world) - before).toBeLessThan(ids.length);
    for (let n = 0; n < 24; n++) {
      await world.forward(hour);
      intact(world);
    }
    world.leap(-step);
    for (let n = 0; n < 24; n++) {
      await world.forward(hour);
      intact(world);
    }
    // Of twenty minutes each, refreshed at half of that at the soonest.
    expect(requests(world) - before).toBeLessThan(ids.length * 49 * 6);
  });
});
