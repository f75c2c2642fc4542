import { describe, expect, test } from 'vitest';
import { backoff } from '../../src/core/backoff.js';
import { afterAnswer, type Batch, most } from '../../src/core/batch.js';
import { seconds } from '../../src/core/time.js';
import { reset, status, unprocessed } from '../helpers/faults.js';
import type { Faulty } from '../helpers/faulty.js';
import { accessPoint, faultyFor, until } from '../programs/kit.js';
import { type Conduct, many, rate } from './many.js';

const minute = 60_000;
/** An issuer that is back is asked within so long: daemon/gate.ts and keeper.ts. */
const noticed = minute;
const latency = 50;

/** How often one goes ahead to see whether the issuer is back, in so long: the pauses of daemon/gate.ts, the shortest. */
function probesIn(ms: number): number {
  let [number, passed] = [0, 0];
  for (; passed < ms; number++) passed += backoff(number + 1, 0.999, undefined, seconds(60)) * 1000;
  return number;
}

describe('an issuer that is down for an hour', () => {
  const users = 5000;
  const kinds: readonly Conduct[] = ['error', 'reset', 'down', 'hang'];

  test.each(
    kinds
      .flatMap((kind) => [60, 3, 20].map((length) => [kind, length] as const))
      .filter(([kind, length]) => kind === 'down' || length === 60),
  )(
    `%s, %i min, ${users} credentials: few requests meanwhile, no storm afterwards, and all fresh within the time that core/batch.ts allows`,
    async (kind, length) => {
      const m = many({ latency });
      for (let n = 0; n < users; n++) m.login(`u${n}`);
      await m.keeper.sweep();
      await m.clock.pass(35 * minute);
      expect(m.states()).toEqual({ fresh: users });
      const issuer = m.issuer();
      issuer.conduct = kind;
      const before = issuer.requests.length;
      await m.clock.pass(length * minute);
      // Those that were in flight when it broke, the three people whose trouble is the issuer's, and then one at a time.
      const meanwhile = issuer.requests.length - before;
      expect(meanwhile).toBeGreaterThan(length === 60 ? 30 : 3);
      expect(meanwhile).toBeLessThanOrEqual(most + 3 + probesIn(length * minute));

      issuer.conduct = 'well';
      const [back, from] = [m.clock.steady(), issuer.requests.length];
      // What hangs is given up first.
      const late = noticed + (kind === 'hang' ? 20_000 : 0);
      await m.clock.pass(late);
      const first = issuer.requests.slice(from).find(({ well }) => well)?.at ?? Number.NaN;
      expect(first - back).toBeLessThanOrEqual(late);
      const due = users - (m.states().fresh ?? 0);
      const allowed = rate(users, latency);
      await m.clock.pass((allowed.at(-1) ?? 0) + 1000);
      const good = issuer.requests.slice(from).filter(({ well }) => well);
      for (const [n, { at }] of good.slice(0, users).entries())
        expect(at - first, `request ${n}`).toBeGreaterThanOrEqual((allowed[n] as number) - 1);
      // All that were due, one after the other without a pause.
      if (length === 60)
        expect((good[users - 1]?.at ?? Number.NaN) - first).toBeLessThan(1.05 * (allowed.at(-1) as number) + 1000);
      expect(m.states()).toEqual({ fresh: users });
      expect(m.short()).toBe(0);
      expect(due).toBeLessThan(users);
      // Nor does anything come of it later.
      const calm = issuer.requests.length;
      await m.clock.pass(10 * minute);
      expect(issuer.requests.length - calm).toBeLessThan(users / 2);
      expect(issuer.reuse).toBe(0);
      await end(m);
    },
    60_000,
  );

  test.each([1, 2, 3, 10])(
    'with %i credentials: it is asked each minute when their tokens are, and they are fresh within that',
    async (users) => {
      const m = many({ latency });
      for (let n = 0; n < users; n++) m.login(`u${n}`);
      await m.keeper.sweep();
      await m.clock.pass(35 * minute);
      const issuer = m.issuer();
      for (const kind of kinds) {
        issuer.conduct = kind;
        const before = issuer.requests.length;
        await m.clock.pass(60 * minute);
        expect(issuer.requests.length - before).toBeLessThanOrEqual(users * probesIn(60 * minute));
        expect(m.short()).toBe(users);
        issuer.conduct = 'well';
        await m.clock.pass(noticed + (kind === 'hang' ? 20_000 : 0) + 1000);
        expect([kind, m.states(), m.short()]).toEqual([kind, { fresh: users }, 0]);
        await m.clock.pass(35 * minute);
      }
      expect(issuer.reuse).toBe(0);
      await end(m);
    },
  );

  async function end(m: ReturnType<typeof many>) {
    await Promise.all([m.keeper.close(seconds(0)), m.clock.pass(0)]);
  }
});

/** How many may be in flight when an issuer that failed has answered so many well: three people at the least have failed before. */
function limitAfter(answers: number): number {
  let batch: Batch = { limit: most / 2 ** 3, wins: 0, careful: true };
  for (let n = 0; n < answers; n++) batch = afterAnswer(batch, true);
  return batch.limit;
}

/** Those at the token endpoint, from a moment on. */
const asked = (issuer: Faulty, from: number) =>
  issuer.requests.filter(({ endpoint, at }) => endpoint === 'token' && at >= from);

describe.concurrent('a real credmond, and an issuer that is down for some seconds', () => {
  const users = Array.from({ length: 100 }, (_, n) => `u${n}`);
  const down: Readonly<Record<string, (issuer: Faulty, so: boolean) => unknown>> = {
    '500s': (issuer, so) => issuer.always('token', so ? status(500) : undefined),
    resets: (issuer, so) => issuer.always('token', so ? unprocessed(reset) : undefined),
    'refused connections': (issuer, so) => (so ? issuer.down() : issuer.up()),
  };

  test.each(Object.entries(down))(
    '%s: the bounds hold by the issuer’s own count',
    async (_, set) => {
      const issuer = await faultyFor({ expiresIn: 4, latency: 20 });
      const p = accessPoint({ top: { token_minimum: 0 }, providers: { test: { issuer: issuer.url } } });
      for (const user of users) p.login(issuer.grant(), { user });
      const daemon = p.credmond();
      const uses = () => users.map((user) => p.use('test', user).access_token);
      await until(uses, 'the first tokens', 60_000);
      const begun = Date.now();
      await set(issuer, true);
      // So long that all of them are overdue.
      await until(() => Date.now() - begun > 4000, 'some seconds to go by', 60_000);
      const meanwhile = asked(issuer, begun).length;
      expect(meanwhile).toBeLessThanOrEqual(most + 3 + probesIn(Date.now() - begun));
      const before = uses();
      const back = Date.now();
      await set(issuer, false);
      const isNew = () => uses().every((use, n) => use !== before[n]);
      await until(isNew, `all to be refreshed\n${daemon.err()}`, noticed + 30_000);
      const good = asked(issuer, back).filter(({ fault }) => fault === undefined);
      const first = good[0]?.at ?? Number.NaN;
      // Its third pause is 10 s at the most.
      expect(first - back).toBeLessThan(20_000);
      // No more at once than core/batch.ts lets them. What the issuer has answered, credmond knows of at that moment or later.
      for (const [n, { answered }] of good.entries()) {
        const known = answered - (good[0]?.answered ?? 0);
        expect(n + 1 - known, `in flight at request ${n}`).toBeLessThanOrEqual(limitAfter(known));
      }
      expect(issuer.counts.reuse).toBe(0);
      daemon.child.kill('SIGTERM');
      expect((await daemon.ended).code).toBe(0);
      expect(users.filter((user) => !issuer.accepts(p.top('test', user)))).toEqual([]);
    },
    180_000,
  );
});
