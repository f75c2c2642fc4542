import { describe, expect, test } from 'vitest';
import { until } from '../programs/kit.js';
import { count, field, isLong } from './kit.js';
import { noShim, wallClock } from './shim.js';

/** How soon a leap of the wall clock is noticed, for which nothing wakes us, and as long again on a busy machine: milliseconds. */
const patience = 40_000;
const day = 86_400;

describe('the machine sleeps for a day: the wall clock is a day on, and the steady clock where it was', () => {
  test.skipIf(noShim)(
    `every token that has ended is replaced, once${isLong ? ', also where the issuer fails at first' : ''}; nothing is lost${noShim}`,
    { timeout: 4 * patience },
    async () => {
      const f = await field({ users: 10, issuer: { expiresIn: 3600, latency: 5 } });
      const clock = wallClock();
      clock.set(0);
      const daemon = f.start([], clock.env);
      await f.complete(daemon, patience);
      const healths = () => f.p.status().credentials as { state: string; life: { expires: number } }[];
      const refreshes = async () => (await f.issuer.counts()).refreshes;
      expect(await refreshes()).toBe(10);
      for (let n = 1; n <= count(1, 2); n++) {
        if (n === 2) await f.issuer.always('token', ['status', 503]);
        const before = f.uses();
        clock.set(n * day);
        if (n === 2) await until(() => healths().some(({ state }) => state === 'retrying'), 'it to be tried', patience);
        await f.issuer.always('token', null);
        const areNew = () => f.uses().every((use, one) => use !== before[one]);
        await until(areNew, `all to be replaced\n${daemon.err()}`, 2 * patience);
        const good = () =>
          healths().every((one) => one.state === 'fresh' && one.life.expires > Date.now() + n * day * 1000);
        await until(good, 'the status', patience);
        expect([await refreshes(), await f.lost(), await f.ahead()]).toEqual([10 * (n + 1), [], []]);
      }
      expect((await f.end(daemon, 'SIGTERM')).code).toBe(0);
      expect([(await f.issuer.counts()).reuse, f.torn(), f.strays()]).toEqual([0, [], []]);
    },
  );
});
