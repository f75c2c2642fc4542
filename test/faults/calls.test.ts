import { describe, expect, test } from 'vitest';
import { type Run, until } from '../programs/kit.js';
import { field } from './kit.js';
import { noShim, type Rule, shim } from './shim.js';

const patience = 60_000;

/** The calls of a refresh after the issuer's answer, in their order; `path` is below the user's folder. */
const calls: readonly (readonly [call: Rule[0], path: string])[] = [
  ['create', '/.credmon-'],
  ['write', '/.credmon-'],
  ['fsync', '/.credmon-'],
  ['rename', '/test.top$'],
  ['fsync', '$'],
  ['rename', '/test.use$'],
];
const points = calls.flatMap(([call, path]) =>
  (['KILL', 'KILLED'] as const).map((what) => ({
    what,
    name: `${what === 'KILL' ? 'before' : 'after'} ${call} …${path}`,
    call,
    path,
  })),
);
/** From here on the new refresh token is there. */
const renamed = points.findIndex(({ call, what }) => call === 'rename' && what === 'KILLED');

describe('SIGKILL', () => {
  test.skipIf(noShim)(
    `at each call of a refresh: only what is not renamed yet is lost, nothing is torn, and the rest goes on${noShim}`,
    { timeout: 4 * patience },
    async () => {
      const f = await field({ users: points.length });
      const disk = shim(f.p.dir);
      const first = f.start();
      await f.complete(first, patience);
      await f.end(first, 'SIGTERM');
      const keys = f.credentials.map(({ key }) => key);
      /** Until the status says of the first `killed` how they stand, and it is this one's. */
      const standAs = (daemon: Run, killed: number) => {
        const wanted = keys.map((key, n) => `${key} ${n < Math.min(killed, renamed) ? 'login-needed' : 'fresh'}`);
        return until(
          () => {
            const { pid, credentials } = f.p.status();
            const states = credentials.map((one: Record<string, string>) => `${one.user}/test ${one.state}`);
            return pid === daemon.pid && String(states.sort()) === String(wanted.sort());
          },
          `the status after ${killed}`,
          patience,
        );
      };
      for (const [n, { call, path, what, name }] of points.entries()) {
        disk.rule([call, what, `/user${n}${path}`]);
        const daemon = f.start([], disk.env);
        // Those before are asked for once, and then are known to be dead.
        await standAs(daemon, n);
        const [grant] = await f.issuer.grants(1);
        const before = f.uses()[n];
        f.p.login(grant as string, { user: `user${n}` });
        expect([name, (await daemon.ended).signal]).toEqual([name, 'SIGKILL']);
        expect([name, f.torn()]).toEqual([name, []]);
        // A new token is never there before the new refresh token is.
        const [kept] = await f.issuer.accepts([String(f.tops()[n])]);
        if (f.uses()[n] !== before) expect([name, kept]).toEqual([name, true]);
      }
      expect(await f.lost()).toEqual(keys.slice(0, renamed));

      const last = f.start();
      await f.complete(last, patience);
      await standAs(last, points.length);
      // Each was tried once, and no more.
      expect((await f.issuer.counts()).reuse).toBe(renamed);
      expect((await f.end(last, 'SIGTERM')).code).toBe(0);
    },
  );
});
