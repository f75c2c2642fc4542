import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Health } from '../../src/core/health.js';
import { seconds } from '../../src/core/time.js';
import { hang, unprocessed } from '../helpers/faults.js';
import { accessPoint, faultyFor, until } from '../programs/kit.js';
import { count } from './kit.js';
import { many } from './many.js';

const minute = 60_000;

/** Each hundredth person's are bad, in one of two ways. */
const isBad = (n: number): boolean => n % 100 === 0;

describe('one of three issuers hangs, and one person in a hundred has trouble of their own', () => {
  const users = count(2000, 10_000);
  const names = Array.from({ length: users }, (_, n) => `u${n}`);

  test(`${3 * users} credentials and a fake clock: every healthy one is refreshed before what is promised of it is touched`, async () => {
    const m = many({ issuers: ['one', 'two', 'hung'], life: seconds(1200) });
    for (const user of names) for (const issuer of ['one', 'two', 'hung']) m.login(user, issuer);
    for (const name of ['one', 'two'])
      m.issuer(name).refuse = (user) => {
        const n = Number(user.slice(1));
        if (!isBad(n)) return undefined;
        return n % 200 === 0
          ? { kind: 'login-needed', what: 'invalid_grant', code: 'invalid_grant' }
          : { kind: 'transient', what: 'HTTP 500, for this one alone' };
      };
    m.issuer('hung').conduct = 'hang';
    await m.keeper.sweep();
    await m.clock.pass(minute);
    await m.clock.pass(60 * minute);
    const healthy = names.filter((_, n) => !isBad(n)).flatMap((user) => [`${user}/one`, `${user}/two`]);
    const promised = 6 * minute;
    expect(healthy.filter((key) => !((m.least.get(key) ?? 0) >= promised))).toEqual([]);
    expect(healthy.filter((key) => m.left(key) < promised)).toEqual([]);
    // The one that hangs, with one at a time, each for as long as the client waits, and a pause after it.
    expect(m.issuer('hung').requests.length).toBeLessThan(64 + (60 * minute) / 20_000);
    const dead = names.filter((_, n) => n % 200 === 0);
    const asked = (name: string, user: string) => m.issuer(name).requests.filter((one) => one.user === user).length;
    expect(dead.filter((user) => asked('one', user) !== 1)).toEqual([]);
    expect([m.issuer('one').reuse, m.issuer('two').reuse]).toEqual([0, 0]);
    await Promise.all([m.keeper.close(seconds(0)), m.clock.pass(0)]);
  }, 120_000);

  test('more people have trouble of their own than there are pauses until the others are due: these wait for one pause at most', async () => {
    const m = many({ life: seconds(1200) });
    const [bad, healthy] = [names.slice(0, 100), names.slice(100, 120)];
    for (const user of [...healthy, ...bad]) m.login(user);
    const isBad = new Set(bad);
    m.issuer().refuse = (user) =>
      isBad.has(user) ? { kind: 'transient', what: 'HTTP 500, for this one alone' } : undefined;
    await m.keeper.sweep();
    await m.clock.pass(60 * minute);
    // The gate may just have been closed by those: daemon/gate.ts.
    const promised = 6 * minute - minute - 1000;
    expect(healthy.filter((user) => !((m.least.get(`${user}/test`) ?? 0) >= promised))).toEqual([]);
    expect(healthy.filter((user) => m.left(`${user}/test`) < promised)).toEqual([]);
    await Promise.all([m.keeper.close(seconds(0)), m.clock.pass(0)]);
  });

  const crowd = count(3000, 10_000);

  test(`one person with ${crowd} credentials and a fake clock delays nobody, also where all of these are overdue`, async () => {
    const m = many({ life: seconds(1200), latency: 100 });
    for (let n = 0; n < crowd; n++) m.login('whale', 'test', `h${n}`);
    const small = names.slice(0, 200);
    for (const user of small) m.login(user);
    const issuer = m.issuer();
    await m.keeper.sweep();
    await m.clock.pass(10 * minute);
    expect(m.states()).toEqual({ fresh: crowd + 200 });
    // So that they stand in line together.
    issuer.conduct = 'down';
    await m.clock.pass(15 * minute);
    issuer.conduct = 'well';
    const back = m.clock.steady();
    await m.clock.pass(minute + 5000);
    const good = issuer.requests.filter(({ at, well }) => well && at >= back);
    const last = good.findLastIndex(({ user }) => user !== 'whale');
    expect(new Set(good.slice(0, last + 1).map(({ user }) => user)).size).toBe(small.length + 1);
    // All others have had their turn when that one person has had a few.
    expect(good.slice(0, last).filter(({ user }) => user === 'whale').length).toBeLessThan(small.length);
    await m.clock.pass(20 * minute);
    expect(m.states()).toEqual({ fresh: crowd + 200 });
    const promised = 6 * minute;
    expect(small.filter((user) => m.left(`${user}/test`) < promised)).toEqual([]);
    expect(issuer.reuse).toBe(0);
    await Promise.all([m.keeper.close(seconds(0)), m.clock.pass(0)]);
  }, 120_000);

  const people = count(60, 200);
  const rounds = count(1, 4);
  const files = count(2000, 10_000);

  test(`a real credmond, ${3 * people} credentials, ${rounds} round${rounds === 1 ? '' : 's'}, and a person with ${files} files: the same, by the issuers’ own record`, async () => {
    const [life, minimum] = [10, 1];
    const good = [await faultyFor({ expiresIn: life }), await faultyFor({ expiresIn: life })];
    const hung = await faultyFor();
    hung.always('token', unprocessed(hang));
    const p = accessPoint({
      top: { token_minimum: minimum },
      providers: {
        one: { issuer: good[0]?.url ?? '' },
        two: { issuer: good[1]?.url ?? '' },
        hung: { issuer: hung.url },
      },
    });
    const all = Array.from({ length: people }, (_, n) => `u${n}`);
    for (const user of all) {
      p.login(good[0]?.grant() ?? '', { user, name: 'one' });
      p.login(good[1]?.grant() ?? '', { user, name: 'two' });
      p.login(hung.grant(), { user, name: 'hung' });
    }
    // Of each kind of trouble some, among everybody's.
    const bad: Record<string, string | Buffer> = {
      dead: JSON.stringify({ refresh_token: 'nobody-knows-this' }),
      damaged: '{"refresh_token": "tru',
      huge: Buffer.alloc(8 << 20, 0x20),
      empty: '{}',
    };
    for (const [kind, content] of Object.entries(bad))
      for (const name of ['one', 'two']) {
        mkdirSync(join(p.dir, kind), { recursive: true, mode: 0o700 });
        writeFileSync(p.at(`${name}.top`, kind), content, { mode: 0o600 });
      }
    // And a crowd of one, none of which the issuer honours.
    for (let n = 0; n < files; n++) {
      mkdirSync(join(p.dir, 'whale'), { recursive: true, mode: 0o700 });
      writeFileSync(p.at(`one_h${n}.top`, 'whale'), JSON.stringify({ refresh_token: `whale-${n}` }), { mode: 0o600 });
    }
    const daemon = p.credmond();
    await until(
      () => all.every((user) => p.use('one', user) && p.use('two', user)),
      `everybody’s first tokens\n${daemon.err().slice(-4000)}`,
      60_000,
    );
    const begun = Date.now();
    await until(() => Date.now() - begun > rounds * 0.7 * life * 1000, 'some rounds to go by', 120_000);
    const now = Date.now();
    const late: string[] = [];
    for (const [n, issuer] of good.entries()) {
      const times = new Map<number, number[]>();
      for (const { endpoint, grant, at } of issuer.requests)
        if (endpoint === 'token' && grant !== undefined) times.set(grant, [...(times.get(grant) ?? []), at]);
      for (const grant of all.keys()) {
        const mine = [...(times.get(grant) ?? []), now];
        const longest = Math.max(...mine.slice(1).map((at, i) => at - (mine[i] as number)));
        if (!(mine.length > rounds && longest <= (life - minimum) * 1000)) late.push(`${n} ${grant}: ${longest}`);
      }
      expect(issuer.counts.reuse).toBe(0);
    }
    expect(late).toEqual([]);
    const states = (user: string) =>
      (p.status().credentials as Health[]).filter((one) => one.user === user).map(({ state }) => state);
    expect(states('dead')).toEqual(['login-needed', 'login-needed']);
    for (const kind of ['damaged', 'huge', 'empty']) expect(states(kind)).toEqual(['damaged', 'damaged']);
    expect(states('whale')).toHaveLength(500);
    daemon.child.kill('SIGTERM');
    expect((await daemon.ended).code).toBe(0);
    expect(daemon.err().match(/whale has more credentials than are kept/g)).toHaveLength(1);
  }, 240_000);
});
