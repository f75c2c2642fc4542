import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { until } from '../programs/kit.js';
import { count, field } from './kit.js';

describe('SIGTERM in mid-run', () => {
  const rounds = count(5, 40);

  test(`${rounds} times at random moments: 0 within 10 s, and nothing is lost`, async () => {
    const f = await field({ users: 24, issuer: { expiresIn: 1, latency: 20, lag: 20 } });
    const begun = performance.now();
    const first = f.start();
    await f.complete(first);
    const whole = performance.now() - begun;
    await f.end(first, 'SIGTERM');
    for (let n = 0; n < rounds; n++) {
      const before = (await f.issuer.counts()).refreshes;
      const daemon = f.start();
      // Before there is anybody to hear it a signal just ends the process.
      await until(async () => (await f.issuer.counts()).refreshes > before, 'the first refresh');
      await new Promise((resolve) => setTimeout(resolve, 0.6 * Math.random() * whole));
      const { code, ms } = await f.end(daemon, 'SIGTERM');
      expect(code).toBe(0);
      expect(ms).toBeLessThan(10_000);
      expect(await f.lost(), `after ${n + 1}`).toEqual([]);
      expect([...f.torn(), ...f.strays(), ...(await f.ahead())]).toEqual([]);
      expect(existsSync(join(f.p.dir, 'pid'))).toBe(false);
    }
    expect((await f.issuer.counts()).reuse).toBe(0);
  }, 120_000);

  test.each(['SIGTERM', 'SIGQUIT'] as const)(
    '%s while an issuer hangs: it ends in time, and whoever waits is named',
    async (signal) => {
      const f = await field({ users: 3 });
      await f.issuer.always('token', ['unprocessed', ['hang']]);
      const daemon = f.start();
      await until(async () => ((await f.issuer.counts()).asked.token ?? 0) > 0, 'a request');
      const { code, ms } = await f.end(daemon, signal);
      expect(code).toBe(0);
      expect(ms).toBeLessThan(signal === 'SIGTERM' ? 10_000 : 2000);
      expect(await f.lost()).toEqual([]);
      const told = f.p.status().credentials as { suspect?: number }[];
      expect(told.filter(({ suspect }) => suspect !== undefined).length).toBeGreaterThan(0);
      // It was not processed: with the next start all is well, and nobody is suspected any more.
      await f.issuer.always('token', null);
      const next = f.start();
      await f.complete(next);
      await f.end(next, 'SIGTERM');
      expect(f.p.status().credentials).toMatchObject(Array(3).fill({ state: 'fresh' }));
      expect(JSON.stringify(f.p.status())).not.toContain('"suspect"');
      expect((await f.issuer.counts()).reuse).toBe(0);
    },
    60_000,
  );
});
