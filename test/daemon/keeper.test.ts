import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import type { Failure } from '../../src/core/failure.js';
import { seconds } from '../../src/core/time.js';
import { unprivileged } from '../stores/room.js';
import { hours, minutes, provider, type Station, station } from './kit.js';

const transient: Failure = { kind: 'transient', what: 'it is down' };

/** One credential that was looked at and has got its first token. */
async function fresh(options?: Parameters<typeof station>[0], more: Record<string, unknown> = {}): Promise<Station> {
  const s = station(options);
  s.login(s.book().grant(), more);
  await s.keeper.sweep();
  await s.clock.pass(100);
  expect(s.health()).toMatchObject({ state: 'fresh', refreshes: 1 });
  return s;
}

describe('a token that stays fresh', () => {
  test('a new grant gets its first token at once, and jobs find it', async () => {
    const s = station();
    const first = s.book().grant();
    s.login(first);
    await s.keeper.sweep();
    expect(s.health()).toMatchObject({ state: 'new', user: 'alice', service: 'cilogon', refreshes: 0 });
    await s.clock.pass(0);
    expect(s.use().access_token).toMatch(/^cilogon-access-/);
    expect(s.health()).toMatchObject({ state: 'fresh', refreshes: 1 });
    expect(s.top()).not.toBe(first);
    expect(s.book().accepts(s.top())).toBe(true);
  });

  test('is refreshed once between 50 % and 70 % of its life, each at a point of its own that stays', async () => {
    const s = station();
    const names = Array.from({ length: 30 }, (_, n) => `user${n}`);
    for (const user of names) s.login(s.book().grant(), { user });
    await s.keeper.sweep();
    await s.clock.pass(1);
    expect(s.book().asked).toHaveLength(30);
    const share = (user: string) => s.due(`${user}/cilogon`) / hours(1);
    const shares = names.map(share);
    expect(Math.min(...shares)).toBeGreaterThan(0.499);
    expect(Math.max(...shares)).toBeLessThan(0.7);
    expect(Math.max(...shares) - Math.min(...shares)).toBeGreaterThan(0.1);
    expect(new Set(shares.map((one) => one.toFixed(4))).size).toBeGreaterThan(25);
    s.start();
    await s.keeper.sweep();
    for (const [n, user] of names.entries()) expect(share(user)).toBeCloseTo(shares[n] ?? 0, 3);
    await s.clock.pass(hours(1) * 0.49);
    expect(s.book().asked).toHaveLength(30);
    await s.clock.pass(hours(1) * 0.22);
    expect(s.book().asked).toHaveLength(60);
    expect(
      new Set(
        s
          .book()
          .asked.slice(30)
          .map(({ at }) => at),
      ).size,
    ).toBeGreaterThan(20);
    expect(s.book().counts).toMatchObject({ reuse: 0, each: 1 });
  });

  test('to the millisecond', async () => {
    const s = await fresh();
    await s.clock.pass(s.due() - 1);
    expect(s.book().asked).toHaveLength(1);
    await s.clock.pass(1);
    expect(s.book().asked).toHaveLength(2);
  });

  test.each([600, 900, 3600])('of %i s always leaves the guaranteed 360 s', async (life) => {
    const s = station();
    s.book().life = seconds(life);
    s.login(s.book().grant());
    await s.keeper.sweep();
    await s.clock.pass(0);
    for (let t = 0; t < 2 * life; t += 10) {
      await s.clock.pass(10_000);
      expect(s.use().expires_at * 1000 - s.clock.now()).toBeGreaterThanOrEqual(360_000);
    }
    expect(s.log.with('too short')).toEqual([]);
    expect(s.book().counts).toMatchObject({ reuse: 0, each: 1 });
  });

  test('that is too short for the guarantee is said once, with both numbers, and makes no storm', async () => {
    const s = station();
    s.book().life = seconds(40);
    for (const user of ['alice', 'bob', 'carol']) s.login(s.book().grant(), { user });
    await s.keeper.sweep();
    await s.clock.pass(minutes(10));
    const [line, ...more] = s.log.with('too short', 'warn');
    expect(more).toEqual([]);
    expect(line).toContain('live 40 s');
    expect(line).toContain('360 s (CREDMON_OAUTH_TOKEN_MINIMUM)');
    // Each at a tenth of the life at the soonest.
    expect(s.book().asked.length).toBeLessThanOrEqual(3 * (600 / 4 + 1));
    expect(s.health()?.state).toBe('fresh');
    expect(s.book().counts.reuse).toBe(0);
  });

  test('of the grant before, when a login came in the same tick of the file system’s clock', async () => {
    const s = await fresh();
    const theirs = s.book().grant();
    s.login(theirs);
    for (const ending of ['use', 'top'])
      utimesSync(s.at(`cilogon.${ending}`), s.clock.now() / 1000, s.clock.now() / 1000);
    await s.keeper.look('alice');
    await s.clock.pass(100);
    expect(s.book().asked.at(-1)?.parameters.refresh_token).toBe(theirs);
    expect(s.book().accepts(s.top())).toBe(true);
  });

  test('from an issuer that does not rotate: the .top is never written', async () => {
    const s = station();
    s.book().rotates = false;
    const path = s.login(s.book().grant());
    const before = lstatSync(path, { bigint: true });
    await s.keeper.sweep();
    await s.clock.pass(hours(12));
    expect(s.book().counts.refreshes).toBeGreaterThan(15);
    const after = lstatSync(path, { bigint: true });
    expect([after.ino, after.ctimeNs]).toEqual([before.ino, before.ctimeNs]);
  });

  test('what is on disk is gone on from, also by another daemon: no token is fetched before its time', async () => {
    const s = await fresh();
    const use = readFileSync(s.at('cilogon.use'), 'utf8');
    s.start();
    await s.keeper.sweep();
    await s.clock.pass(minutes(25));
    expect(s.book().asked).toHaveLength(1);
    expect(readFileSync(s.at('cilogon.use'), 'utf8')).toBe(use);
    expect(s.health()).toMatchObject({ state: 'fresh', refreshes: 0 });
  });

  test('with scopes of its own: they are asked for, and what the issuer no longer grants is said once', async () => {
    const s = station();
    s.book().scopes_ = ['a', 'b'];
    s.login(s.book().grant(), { scopes: 'b,a', audience: 'https://x.example' });
    await s.keeper.sweep();
    await s.clock.pass(1);
    expect(s.book().asked[0]?.parameters).toMatchObject({ scope: 'a b', audience: 'https://x.example' });
    expect(s.health()).not.toHaveProperty('missing');
    s.book().scopes_ = ['a'];
    await s.clock.pass(hours(3));
    expect(s.health()).toMatchObject({ state: 'fresh', missing: ['b'] });
    expect(s.log.with('no longer grants b', 'warn')).toHaveLength(1);
    s.book().scopes_ = ['a', 'b'];
    await s.clock.pass(hours(1));
    expect(s.health()).not.toHaveProperty('missing');
  });

  test('with the provider’s own scopes: what the issuer no longer grants is said too', async () => {
    const s = station({ providers: [provider('cilogon', { scopes: ['a', 'b', 'offline_access'] })] });
    s.book().scopes_ = ['a'];
    s.login(s.book().grant());
    await s.keeper.sweep();
    await s.clock.pass(1);
    expect(s.book().asked[0]?.parameters).not.toHaveProperty('scope');
    expect(s.health()).toMatchObject({ state: 'fresh', missing: ['b'] });
  });
});

test('more may be promised of tokens from now on: those that are there are refreshed as much sooner', async () => {
  const s = await fresh();
  const due = s.due();
  expect(due).toBeGreaterThan(minutes(29));
  s.minimum = seconds(0);
  s.keeper.reconsider();
  expect(s.due()).toBe(due);
  s.minimum = seconds(2700);
  s.keeper.reconsider();
  // Of an hour, 45 minutes and a little more are to be left.
  expect(s.due()).toBeLessThan(minutes(15));
  expect(s.due()).toBeGreaterThan(minutes(7));
  await s.clock.pass(s.due());
  expect(s.health()?.refreshes).toBe(2);
  s.minimum = seconds(360);
  s.keeper.reconsider();
  expect(s.due()).toBeLessThan(minutes(15));
});

test('a clock that is set back after the answer and before the token is written: the next refresh is no later for that', async () => {
  const s: Station = station({
    issuer: () => ({
      ...s.book(),
      token: async (...asked) => {
        const token = await s.book().token(...asked);
        if (s.book().asked.length === 2) s.clock.jump(-hours(25));
        return token;
      },
    }),
  });
  s.login(s.book().grant());
  await s.keeper.sweep();
  await s.clock.pass(100);
  await s.clock.pass(s.due());
  expect(s.health()).toMatchObject({ state: 'fresh', refreshes: 2 });
  expect(s.due()).toBeLessThanOrEqual(hours(1) * 0.7);
  await s.clock.pass(hours(1) * 0.7);
  expect(s.health()?.refreshes).toBe(3);
});

describe('an issuer that fails', () => {
  test('for a while: it is asked less and less until its token is, the token on disk stays, and it goes on by itself', async () => {
    const s = await fresh();
    const use = readFileSync(s.at('cilogon.use'), 'utf8');
    const top = s.top();
    s.book().refusal = transient;
    await s.clock.pass(s.due());
    const since = s.clock.steady();
    expect(s.health()).toMatchObject({ state: 'retrying', trouble: { kind: 'transient', what: 'it is down' } });
    const end = () => (s.health()?.life?.expires ?? 0) - s.clock.now();
    // What is promised of it is 6 minutes.
    const promised = since + end() - minutes(6);
    await s.clock.pass(end() - minutes(2));
    const pauses = s
      .book()
      .asked.slice(2)
      .map(({ at }, i, all) => Math.round((at - (all[i - 1]?.at ?? since)) / 1000));
    const all = s.book().asked.slice(2);
    const before = all.filter(({ at }) => at < promised).length;
    expect(pauses.slice(0, 9)).toEqual([2, 5, 10, 20, 30, 60, 60, 120, 120]);
    // It is tried a minute before that begins to be broken, and each minute from then on.
    expect(promised - (all[before - 1] as { at: number }).at).toBeLessThanOrEqual(60_000);
    expect(pauses.slice(before).every((pause) => pause === 60)).toBe(true);
    expect(before).toBeLessThan(16);
    expect(all.length - before).toBe(5);
    expect(readFileSync(s.at('cilogon.use'), 'utf8')).toBe(use);
    expect(s.top()).toBe(top);
    s.book().refusal = undefined;
    await s.clock.pass(minutes(1));
    expect(s.health()).toMatchObject({ state: 'fresh', refreshes: 2 });
    expect(s.health()).not.toHaveProperty('trouble');
    expect(s.book().counts).toMatchObject({ reuse: 0, each: 1 });
  });

  test('is asked again at once when the configuration is another, and after short pauses', async () => {
    const s = await fresh();
    s.book().refusal = transient;
    await s.clock.pass(minutes(50));
    const asked = s.book().asked.length;
    const left = s.due();
    expect(left).toBeGreaterThan(10_000);
    s.keeper.reconsider();
    await s.clock.pass(0);
    expect(s.book().asked).toHaveLength(asked + 1);
    expect(s.due()).toBe(2000);
    s.book().refusal = undefined;
    await s.clock.pass(2000);
    expect(s.health()).toMatchObject({ state: 'fresh' });
    // Those that stand well are none of that.
    s.keeper.reconsider();
    await s.clock.pass(minutes(1));
    expect(s.book().asked).toHaveLength(asked + 2);
  });

  test('also where the wrong one is just being asked', async () => {
    const s = await fresh();
    s.book().refusal = transient;
    await s.clock.pass(minutes(50));
    const { there, release } = s.book().hold();
    await s.clock.pass(s.due());
    await there;
    s.keeper.reconsider();
    release();
    await s.clock.rest();
    expect(s.health()?.state).toBe('retrying');
    s.book().refusal = undefined;
    await s.clock.pass(2000);
    expect(s.health()).toMatchObject({ state: 'fresh' });
  });

  test('and is left alone: one goes ahead when the configuration is another, then all', async () => {
    const s = station();
    const users = Array.from({ length: 40 }, (_, n) => `user${n}`);
    for (const user of users) s.login(s.book().grant(), { user });
    s.book().refusal = transient;
    await s.keeper.sweep();
    await s.clock.pass(minutes(30));
    const asked = s.book().asked.length;
    s.keeper.reconsider();
    await s.clock.pass(0);
    expect(s.book().asked).toHaveLength(asked + 1);
    s.book().refusal = undefined;
    s.keeper.reconsider();
    await s.clock.pass(0);
    expect(users.map((user) => s.health(`${user}/cilogon`)?.state)).toEqual(users.map(() => 'fresh'));
    expect(s.book().asked).toHaveLength(asked + 41);
  });

  test('and whose name was wrong is nothing to those who wait for it, when another is configured', async () => {
    const s = station({ providers: [provider('cilogon', { issuer: 'https://wrong.example' })] });
    const users = Array.from({ length: 10 }, (_, n) => `user${n}`);
    for (const user of users) s.login(s.book().grant(), { user });
    // It asks for a pause, and so it is left alone for that long.
    s.book().refusal = { ...transient, wait: seconds(3600) };
    await s.keeper.sweep();
    await s.clock.pass(minutes(1));
    const asked = s.book().asked.length;
    s.keeper.reconsider();
    await s.clock.pass(minutes(10));
    expect(s.book().asked).toHaveLength(asked);
    s.configured.set('cilogon', provider('cilogon'));
    s.book().refusal = undefined;
    s.keeper.reconsider();
    await s.clock.pass(0);
    expect(users.map((user) => s.health(`${user}/cilogon`)?.state)).toEqual(users.map(() => 'fresh'));
  });

  test('and asks for time gets it', async () => {
    const s = await fresh();
    s.book().refusal = { ...transient, wait: seconds(100) };
    await s.clock.pass(s.due());
    const asked = s.book().asked.length;
    await s.clock.pass(99_000);
    expect(s.book().asked).toHaveLength(asked);
    await s.clock.pass(2_000);
    expect(s.book().asked).toHaveLength(asked + 1);
  });

  const gone: Failure = { kind: 'login-needed', what: 'refused: invalid_grant', code: 'invalid_grant' };

  test('a grant that is dead is not asked for again, also after a restart, until there is another', async () => {
    const s = await fresh();
    s.book().refusal = gone;
    await s.clock.pass(s.due());
    const since = s.health()?.since;
    const asked = s.book().asked.length;
    expect(s.health()).toMatchObject({
      state: 'login-needed',
      trouble: { kind: 'login-needed', what: 'refused: invalid_grant', hint: 'run: credmon login cilogon' },
    });
    expect(s.health()).not.toHaveProperty('due');
    const [top, use] = ['cilogon.top', 'cilogon.use'].map((name) => readFileSync(s.at(name), 'utf8'));
    await s.clock.pass(hours(24));
    await s.keeper.sweep();
    s.start();
    expect(await s.keeper.pass()).toBe(1);
    await s.clock.pass(hours(24));
    expect(s.health()).toMatchObject({ state: 'login-needed', since, trouble: { hint: 'run: credmon login cilogon' } });
    await s.clock.pass(1000);
    s.start();
    await s.keeper.sweep();
    await s.clock.pass(hours(1));
    expect(s.book().asked).toHaveLength(asked);
    expect(['cilogon.top', 'cilogon.use'].map((name) => readFileSync(s.at(name), 'utf8'))).toEqual([top, use]);
    s.book().refusal = undefined;
    s.login(s.book().grant());
    await s.keeper.look('alice');
    await s.clock.pass(1);
    expect(s.health()).toMatchObject({ state: 'fresh' });
    expect(s.book().asked).toHaveLength(asked + 1);
  });

  test('with a handle, the command that mends it names the handle', async () => {
    const s = station();
    s.book().refusal = gone;
    s.login('dead', { handle: 'prod' });
    await s.keeper.sweep();
    await s.clock.pass(1);
    expect(s.health('alice/cilogon_prod')?.trouble?.hint).toBe('run: credmon login cilogon --handle prod');
  });

  test('a 400 without JSON, from an issuer that knows no invalid_grant, is not tried for ever', async () => {
    const s = await fresh();
    s.book().refusal = { kind: 'refused', what: 'refused the request (HTTP 400)', code: 'http_400' };
    await s.clock.pass(s.due());
    expect(s.health()?.state).toBe('retrying');
    await s.clock.pass(hours(24));
    expect(s.health()).toMatchObject({ state: 'login-needed' });
    expect(s.book().asked.length).toBeLessThan(10);
  });

  test.each(['http_404', 'http_403', 'http_421', 'invalid_client', 'invalid_scope'])(
    '%s is the issuer’s or the administrator’s trouble: no grant is given up for it',
    async (code) => {
      const s = await fresh();
      s.book().refusal = { kind: 'refused', what: `refused (${code})`, code };
      await s.clock.pass(hours(3));
      expect(s.health()).toMatchObject({ state: 'retrying' });
      expect(s.book().asked.length).toBeLessThan(40);
      s.book().refusal = undefined;
      await s.clock.pass(minutes(11));
      expect(s.health()).toMatchObject({ state: 'fresh' });
    },
  );

  test('is given up on by all its credentials after a few, and the pass ends', async () => {
    const s = station();
    s.book().refusal = transient;
    for (let n = 0; n < 40; n++) s.login(s.book().grant(), { user: `user${n}` });
    let bad: number | undefined;
    void s.keeper.pass().then((count) => {
      bad = count;
    });
    await s.clock.pass(1000);
    expect(bad).toBe(40);
    expect(s.book().asked.length).toBeLessThan(20);
    expect([...s.keeper.healths()].every(({ state }) => state === 'retrying')).toBe(true);
    s.book().refusal = undefined;
    await s.clock.pass(minutes(2));
    expect([...s.keeper.healths()].every(({ state }) => state === 'fresh')).toBe(true);
    expect(s.book().counts).toMatchObject({ reuse: 0, each: 1 });
  });

  test('does not delay what another one keeps, nor one that hangs', async () => {
    const s = station({ providers: [provider('cilogon'), provider('dead'), provider('hung')] });
    s.book('dead').refusal = transient;
    const hangs = Array.from({ length: 200 }, () => s.book('hung').hold());
    for (let n = 0; n < 100; n++)
      for (const service of ['cilogon', 'dead', 'hung'])
        s.login(s.book(service).grant(), { user: `user${n}`, service });
    await s.keeper.sweep();
    await s.clock.pass(1000);
    const good = [...s.keeper.healths()].filter((one) => one.provider === 'cilogon');
    expect(good.filter(({ state }) => state === 'fresh')).toHaveLength(100);
    await s.clock.pass(hours(2));
    expect(good.length).toBe(100);
    for (const { life } of [...s.keeper.healths()].filter((one) => one.provider === 'cilogon'))
      expect((life?.expires ?? 0) - s.clock.now()).toBeGreaterThan(360_000);
    for (const hang of hangs) hang.release();
    await s.clock.pass(minutes(2));
    expect([...s.keeper.healths()].filter((one) => one.provider === 'hung' && one.state === 'fresh')).toHaveLength(100);
    for (const name of ['cilogon', 'dead', 'hung']) expect(s.book(name).counts).toMatchObject({ reuse: 0 });
  });

  test('one person’s damaged credentials do not delay another’s, nor their own', async () => {
    const s = station();
    s.login(s.book().grant(), { user: 'bob' });
    s.login(s.book().grant());
    mkdirSync(s.at('cilogon_dir.top'));
    writeFileSync(s.at('cilogon_empty.top'), '');
    writeFileSync(s.at('cilogon_huge.top'), Buffer.alloc(10 << 20));
    writeFileSync(s.at('cilogon_list.top'), '[1]');
    expect(await Promise.all([s.keeper.pass(), s.clock.pass(100)])).toEqual([4, undefined]);
    expect([s.health()?.state, s.health('bob/cilogon')?.state]).toEqual(['fresh', 'fresh']);
    const damaged = [...s.keeper.healths()].filter(({ state }) => state === 'damaged');
    expect(damaged.map(({ trouble }) => trouble?.what).sort()).toEqual([
      'what is stored is empty',
      'what is stored is not a JSON object',
      'what is stored is not a file',
      'what is stored is too large',
    ]);
    expect(s.health('alice/cilogon_empty')?.trouble?.hint).toBe('run: credmon login cilogon --handle empty');
    const said = s.log.lines.length;
    await s.keeper.sweep();
    await s.clock.pass(minutes(10));
    await s.keeper.sweep();
    expect(s.log.lines).toHaveLength(said);
    s.login(s.book().grant(), { handle: 'empty' });
    await s.keeper.look('alice');
    await s.clock.pass(1);
    expect(s.health('alice/cilogon_empty')?.state).toBe('fresh');
  });

  test('a file that the system does not let us read delays nothing else, and is tried again', () =>
    unprivileged([], async () => {
      const s = station();
      for (const handle of ['a', 'b', 'c']) s.login(s.book().grant(), { handle });
      writeFileSync(s.at('cilogon_a.use'), '{}', { mode: 0o000 });
      await s.keeper.sweep();
      await s.clock.pass(1);
      expect(['b', 'c'].map((handle) => s.health(`alice/cilogon_${handle}`)?.state)).toEqual(['fresh', 'fresh']);
      expect(s.health('alice/cilogon_a')).toMatchObject({ state: 'retrying', trouble: { kind: 'storage' } });
      chmodSync(s.at('cilogon_a.use'), 0o400);
      await s.clock.pass(minutes(1));
      expect(s.health('alice/cilogon_a')?.state).toBe('fresh');
    }));

  test('a provider that is not configured any more holds nothing up', async () => {
    const s = station({ providers: [provider('cilogon'), provider('old')] });
    s.login(s.book().grant());
    s.login(s.book('old').grant(), { service: 'old' });
    await s.keeper.sweep();
    s.configured.delete('old');
    let over = false;
    void s.keeper.pass().then(() => {
      over = true;
    });
    await s.clock.pass(minutes(1));
    expect(over).toBe(true);
    expect([...s.keeper.healths()].map(({ provider }) => provider)).toEqual(['cilogon']);
    expect(existsSync(s.at('old.top'))).toBe(true);
  });
});

describe('what comes in between wins', () => {
  /** Stands still with the next refresh in flight. */
  async function inFlight(): Promise<Station & { release(): Promise<void>; answer(): void }> {
    const s = await fresh();
    const held = s.book().hold();
    await s.clock.pass(s.due());
    await held.there;
    const release = async () => {
      held.release();
      await s.clock.pass(100);
    };
    return Object.assign(s, { release, answer: held.release });
  }

  test('a login', async () => {
    const s = await inFlight();
    const theirs = s.book().grant();
    s.login(theirs);
    await s.keeper.look('alice');
    expect(s.book().asked).toHaveLength(2);
    await s.release();
    // It was used once, by us, after the late answer had been thrown away.
    expect(s.book().asked.map(({ parameters }) => parameters.refresh_token)[2]).toBe(theirs);
    expect(s.book().accepts(s.top())).toBe(true);
    expect(s.health()).toMatchObject({ state: 'fresh' });
    expect(s.book().counts).toMatchObject({ reuse: 0, each: 1 });
    expect(s.log.with('replaced or removed while it was being refreshed')).toHaveLength(1);
  });

  test('a login that nobody told us of', async () => {
    const s = await inFlight();
    const theirs = s.book().grant();
    s.login(theirs);
    await s.release();
    expect(s.book().asked).toHaveLength(3);
    expect(s.book().accepts(s.top())).toBe(true);
    expect(s.book().counts.reuse).toBe(0);
  });

  test.each<[string, (s: Station) => void]>([
    ['a deletion of .top and .use', (s) => void ['top', 'use'].map((ending) => rmSync(s.at(`cilogon.${ending}`)))],
    ['a deletion of the .top', (s) => rmSync(s.at('cilogon.top'))],
    ['the sweep of the whole folder', (s) => rmSync(join(s.dir, 'alice'), { recursive: true })],
  ])('%s: nothing comes back', async (_, remove) => {
    for (const looked of [true, false]) {
      const s = await inFlight();
      remove(s);
      if (looked) await s.keeper.look('alice');
      await s.release();
      await s.clock.pass(hours(3));
      await s.keeper.sweep();
      const left = existsSync(join(s.dir, 'alice')) ? readdirSync(join(s.dir, 'alice')) : [];
      expect(left.filter((name) => name !== 'cilogon.use')).toEqual([]);
      expect([...s.keeper.healths()]).toEqual([]);
      expect(s.book().asked).toHaveLength(2);
      await Promise.all([s.keeper.close(seconds(10)), s.clock.rest()]);
      expect(s.log.with('', 'error')).toEqual([]);
      expect(s.log.with('should it come back, a login will be needed', 'info')).toHaveLength(1);
    }
  });

  test('a deletion and a login after it', async () => {
    const s = await inFlight();
    rmSync(join(s.dir, 'alice'), { recursive: true });
    await s.keeper.look('alice');
    const theirs = s.book().grant();
    s.login(theirs);
    await s.keeper.look('alice');
    await s.release();
    expect(s.health()).toMatchObject({ state: 'fresh' });
    expect(s.book().accepts(s.top())).toBe(true);
    expect(s.book().counts).toMatchObject({ reuse: 0, each: 1 });
  });

  test('but not what only touches the file: the new refresh token is not thrown away with it', async () => {
    const s = await inFlight();
    chmodSync(s.at('cilogon.top'), 0o400);
    await s.release();
    expect(s.book().accepts(s.top())).toBe(true);
    expect(s.health()?.state).toBe('fresh');
    expect(s.book().counts.reuse).toBe(0);
  });

  test('nor condor_credd adding scopes to the same grant', async () => {
    const s = await inFlight();
    s.login(s.top(), { scopes: 'a' });
    await s.release();
    expect(s.book().accepts(s.top())).toBe(true);
    expect(JSON.parse(readFileSync(s.at('cilogon.top'), 'utf8')).scopes).toBe('a');
    expect(s.book().counts.reuse).toBe(0);
  });

  test.each([
    ['before anybody looks', false],
    ['after it was missed', true],
  ])(
    'nor a folder that is moved away and comes back %s: its new refresh token is written at once',
    async (_, missed) => {
      const s = await inFlight();
      const [folder, away] = [join(s.dir, 'alice'), join(s.dir, '.away')];
      renameSync(folder, away);
      s.answer();
      await s.clock.rest();
      if (missed) await s.clock.pass(100);
      expect(s.health() === undefined).toBe(missed);
      renameSync(away, folder);
      await s.keeper.look('alice');
      await s.clock.pass(2000);
      expect(s.book().accepts(s.top())).toBe(true);
      expect(s.health()).toMatchObject({ state: 'fresh' });
      expect(s.book().counts).toMatchObject({ reuse: 0, each: 1 });
      expect(s.book().asked).toHaveLength(3);
    },
  );

  test('the end of the daemon waits for what is in flight, and what it brings is kept', async () => {
    const s = await inFlight();
    let closed = false;
    void s.keeper.close(seconds(10)).then(() => {
      closed = true;
    });
    await s.clock.pass(9000);
    expect(closed).toBe(false);
    await s.release();
    expect(closed).toBe(true);
    expect(s.book().accepts(s.top())).toBe(true);
    expect(s.use().expires_at * 1000).toBeGreaterThan(s.clock.now() + minutes(50));
    await s.clock.pass(hours(3));
    expect(s.book().asked).toHaveLength(2);
  });

  test('but not for longer than its limit', async () => {
    const s = await inFlight();
    let closed = false;
    void s.keeper.close(seconds(10)).then(() => {
      closed = true;
    });
    await s.clock.pass(10_000);
    expect(closed).toBe(true);
    expect(s.book().accepts(s.top())).toBe(true);
  });
});

describe('one refresh at a time', () => {
  test('for one credential, however often it is looked at and replaced', async () => {
    const s = await fresh();
    for (let n = 0; n < 40; n++) {
      const held = s.book().hold();
      await s.clock.pass(Math.max(0, s.due()));
      await held.there;
      const looks = [s.keeper.look('alice'), s.keeper.sweep()];
      if (n % 3 === 0) s.login(s.book().grant());
      looks.push(s.keeper.look('alice'));
      await Promise.all(looks);
      held.release();
      await s.clock.pass(50);
      expect(s.health()?.state).toBe('fresh');
    }
    expect(s.book().counts).toMatchObject({ reuse: 0, each: 1 });
    expect(s.book().accepts(s.top())).toBe(true);
  });

  test('also when its issuer moves to another address while it is being left alone', async () => {
    const s = await fresh();
    s.login(s.book().grant(), { user: 'bob' });
    s.login(s.book().grant(), { user: 'carol' });
    await s.keeper.sweep();
    await s.clock.pass(1);
    s.book().refusal = transient;
    await s.clock.pass(hours(1));
    s.configured.set('cilogon', provider('cilogon', { issuer: 'https://moved.example' }));
    s.book().refusal = undefined;
    const asked = s.book().asked.length;
    for (const user of ['alice', 'bob', 'carol']) s.login(s.book().grant(), { user });
    await s.keeper.sweep();
    await s.clock.pass(minutes(20));
    expect(s.book().asked).toHaveLength(asked + 3);
    expect(s.book().counts).toMatchObject({ reuse: 0, each: 1 });
  });

  test('a few at once for one issuer, and never more than 64', async () => {
    const s = station();
    const holds = Array.from({ length: 300 }, () => s.book().hold());
    for (let n = 0; n < 300; n++) s.login(s.book().grant(), { user: `user${n}` });
    await s.keeper.sweep();
    await s.clock.pass(1);
    expect(s.book().asked).toHaveLength(8);
    for (const hold of holds) hold.release();
    await s.clock.pass(1000);
    expect(s.book().counts).toMatchObject({ refreshes: 300, reuse: 0, each: 1 });
    expect(s.book().counts.all).toBeLessThanOrEqual(64);
    expect(s.book().counts.kept).toBeLessThanOrEqual(96);
  });

  test.each([
    ['96 with those being written, whom nobody asks for more', provider('cilogon'), 96],
    // The first eight are all that such an issuer gets until one of them is well.
    [
      'eight until they are written, where an exchange may follow the refresh',
      provider('cilogon', { flow: 'exchange', secretFile: '/etc/secret' }),
      8,
    ],
  ])('%s', async (_, one, count) => {
    const s = station({ providers: [one] });
    const { rotate } = s.credentials;
    let letGo = () => {};
    const free = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    Object.assign(s.credentials, {
      rotate: async (...given: Parameters<typeof rotate>) => {
        await free;
        return rotate(...given);
      },
    });
    for (let n = 0; n < 300; n++) s.login(s.book().grant(), { user: `user${n}` });
    await s.keeper.sweep();
    // Time goes on when what is being done has been done.
    const passing = s.clock.pass(1);
    await vi.waitUntil(() => s.book().asked.length >= count, { timeout: 15_000, interval: 2 });
    for (let n = 0; n < 20; n++) await new Promise(setImmediate);
    expect(s.book().asked).toHaveLength(count);
    letGo();
    await passing;
    await s.clock.pass(2000);
    expect(s.book().counts).toMatchObject({ refreshes: 300, reuse: 0, each: 1 });
  });

  test('a login goes before all that has been due for longer, also with the token of a login before', async () => {
    const s = station();
    s.book().life = seconds(3600);
    for (let n = 0; n < 300; n++) s.login(s.book().grant(), { user: `user${n}` });
    await s.keeper.sweep();
    await s.clock.pass(5000);
    expect(s.book().asked).toHaveLength(300);
    const holds = Array.from({ length: 400 }, () => s.book().hold());
    await s.clock.pass(hours(1));
    const { waiting, inFlight, lateMs } = s.keeper.backlog();
    expect([waiting, inFlight]).toEqual([236, 64]);
    expect(lateMs).toBeGreaterThan(60_000);
    const waits = s
      .book()
      .asked.slice(300)
      .map(({ parameters }) => parameters.refresh_token);
    const last = Array.from({ length: 300 }, (_, n) => `user${n}`).find(
      (user) => !waits.includes(s.top('cilogon', user)),
    );
    const [first, again] = [s.book().grant(), s.book().grant()];
    s.login(first, { user: 'zoe' });
    s.login(again, { user: last as string });
    for (const user of ['zoe', last as string]) await s.keeper.look(user);
    const before = s.book().asked.length;
    for (const hold of holds.slice(0, 2)) hold.release();
    await s.clock.pass(1);
    const asked = s.book().asked.slice(before, before + 2);
    expect(asked.map(({ parameters }) => parameters.refresh_token).sort()).toEqual([first, again].sort());
    for (const hold of holds) hold.release();
    await s.clock.pass(5000);
    expect(s.keeper.backlog()).toEqual({ waiting: 0, lateMs: 0, inFlight: 0 });
  });
});

describe('a clock that jumps', () => {
  test.each([
    ['forward', hours(1)],
    ['back', -hours(1)],
  ])('an hour %s: no refresh is missed, and there is no storm', async (_, step) => {
    const s = station();
    s.book().life = seconds(6 * 3600);
    for (let n = 0; n < 20; n++) s.login(s.book().grant(), { user: `user${n}` });
    await s.keeper.sweep();
    await s.clock.pass(minutes(30));
    expect(s.book().asked).toHaveLength(20);
    s.clock.jump(step);
    await s.keeper.sweep();
    await s.clock.pass(minutes(1));
    expect(s.book().asked).toHaveLength(20);
    await s.clock.pass(hours(4.3));
    expect(s.book().asked).toHaveLength(40);
    s.clock.jump(-step);
    await s.keeper.sweep();
    await s.clock.pass(minutes(1));
    expect(s.book().asked).toHaveLength(40);
    await s.clock.pass(hours(24));
    for (const { life, state } of s.keeper.healths()) {
      expect(state).toBe('fresh');
      expect((life?.expires ?? 0) - s.clock.now()).toBeGreaterThan(360_000);
    }
    expect(s.book().asked.length).toBeLessThan(20 * 11);
    expect(s.book().counts).toMatchObject({ reuse: 0, each: 1 });
  });

  test('past the end of the tokens: they are replaced within 15 s, each once', async () => {
    const s = station();
    for (let n = 0; n < 20; n++) s.login(s.book().grant(), { user: `user${n}` });
    await s.keeper.sweep();
    await s.clock.pass(1000);
    s.clock.jump(hours(1));
    await s.clock.pass(15_000);
    expect(s.book().asked).toHaveLength(40);
    await s.clock.pass(minutes(20));
    expect(s.book().asked).toHaveLength(40);
  });

  test('back, with trouble: the pauses between tries stay what they are', async () => {
    const s = await fresh();
    s.book().refusal = transient;
    await s.clock.pass(s.due());
    s.clock.jump(-hours(1));
    s.book().refusal = undefined;
    await s.clock.pass(2000);
    expect(s.health()?.state).toBe('fresh');
  });
});

describe('a disk that does not do its part', () => {
  test('the new refresh token is held in memory, written when it can be, and the old file stays whole', () =>
    unprivileged([], async () => {
      const s = await fresh();
      const [before, bytes] = [s.top(), readFileSync(s.at('cilogon.top'), 'utf8')];
      chmodSync(join(s.dir, 'alice'), 0o500);
      await s.clock.pass(s.due());
      expect(readFileSync(s.at('cilogon.top'), 'utf8')).toBe(bytes);
      expect(s.book().accepts(before)).toBe(false);
      expect(s.health()).toMatchObject({ state: 'retrying', trouble: { kind: 'storage' } });
      const asked = s.book().asked.length;
      await s.clock.pass(minutes(5));
      // Nothing is asked with a token that the issuer has replaced.
      expect(s.book().asked).toHaveLength(asked);
      expect(statSync(s.at('cilogon.use')).mode & 0o777).toBe(0o400);
      chmodSync(join(s.dir, 'alice'), 0o700);
      await s.clock.pass(minutes(5));
      expect(s.health()?.state).toBe('fresh');
      expect(s.book().accepts(s.top())).toBe(true);
      expect(s.book().counts).toMatchObject({ reuse: 0, each: 1 });
      expect(s.log.lines.join('\n')).not.toContain('-refresh-');
    }));

  test('also when the file is touched meanwhile', () =>
    unprivileged([], async () => {
      const s = await fresh();
      chmodSync(join(s.dir, 'alice'), 0o500);
      await s.clock.pass(s.due());
      chmodSync(s.at('cilogon.top'), 0o400);
      await s.keeper.sweep();
      await s.clock.pass(1000);
      chmodSync(join(s.dir, 'alice'), 0o700);
      await s.clock.pass(minutes(5));
      expect(s.health()?.state).toBe('fresh');
      expect(s.book().accepts(s.top())).toBe(true);
      expect(s.book().counts.reuse).toBe(0);
    }));

  test('nobody else asks for one that could not be written either, and others go on', () =>
    unprivileged([], async () => {
      const s = await fresh();
      const others = Array.from({ length: 5 }, (_, n) => `h${n}`);
      for (const handle of others) s.login(s.book().grant(), { handle });
      s.login(s.book().grant(), { user: 'bob' });
      await s.keeper.sweep();
      await s.clock.pass(100);
      chmodSync(join(s.dir, 'alice'), 0o500);
      const asked = () => s.book().asked.length;
      const [before, refreshed] = [asked(), () => s.health('bob/cilogon')?.refreshes ?? 0];
      const done = refreshed();
      await s.clock.pass(hours(2));
      const bobs = refreshed() - done;
      expect(bobs).toBeGreaterThan(1);
      expect(asked() - before - bobs).toBeLessThan(others.length);
      expect(s.health()).toMatchObject({ state: 'retrying', trouble: { kind: 'storage' } });
      chmodSync(join(s.dir, 'alice'), 0o700);
      await s.clock.pass(hours(1));
      for (const key of ['alice/cilogon', ...others.map((handle) => `alice/cilogon_${handle}`)])
        expect([key, s.health(key)?.state]).toEqual([key, 'fresh']);
      expect(s.book().counts.reuse).toBe(0);
    }));

  test('at the end of the daemon it is written once more, if it can be', () =>
    unprivileged([], async () => {
      const s = await fresh();
      chmodSync(join(s.dir, 'alice'), 0o500);
      await s.clock.pass(s.due());
      chmodSync(join(s.dir, 'alice'), 0o700);
      await Promise.all([s.keeper.close(seconds(10)), s.clock.rest()]);
      expect(s.book().accepts(s.top())).toBe(true);
    }));

  /** Its new refresh token could not be written, and then its folder was moved away. */
  const heldAndAway = async () => {
    const s = await fresh();
    chmodSync(join(s.dir, 'alice'), 0o500);
    await s.clock.pass(s.due());
    renameSync(join(s.dir, 'alice'), join(s.dir, '.away'));
    await s.keeper.look('alice');
    return s;
  };

  test.each([
    ['is written when that is back', minutes(30), true],
    ['is forgotten after an hour', minutes(61), false],
  ])('what is held of a folder that is moved away %s', (_, long, kept) =>
    unprivileged([], async () => {
      const s = await heldAndAway();
      await s.clock.pass(long);
      expect(s.health()).toBeUndefined();
      chmodSync(join(s.dir, '.away'), 0o700);
      renameSync(join(s.dir, '.away'), join(s.dir, 'alice'));
      await s.keeper.sweep();
      await s.clock.pass(hours(1));
      expect(s.health()?.state).toBe(kept ? 'fresh' : 'login-needed');
      expect(s.book().accepts(s.top())).toBe(kept);
      expect(s.book().counts.reuse).toBe(kept ? 0 : 1);
    }),
  );

  test('what is held of a folder that is moved away is given up after an hour, which is said then', () =>
    unprivileged([], async () => {
      const s = await heldAndAway();
      const told = async (ms: number) => {
        await s.clock.pass(ms);
        await s.keeper.pass();
        return s.log.with('its new refresh token is lost, a login will be needed', 'error').length;
      };
      expect(await told(minutes(59))).toBe(0);
      expect(await told(minutes(2))).toBe(1);
      expect(await told(minutes(1))).toBe(1);
      chmodSync(join(s.dir, '.away'), 0o700);
    }));

  test('what is held when the daemon ends, of a folder that nobody has seen go, is told, and is a suspect of the next one', () =>
    unprivileged([], async () => {
      const s = await fresh({ noted: true });
      s.intents?.sending('alice/cilogon', (await s.credentials.scan('alice')).get('alice/cilogon')?.stamp ?? '');
      chmodSync(join(s.dir, 'alice'), 0o500);
      await s.clock.pass(s.due());
      renameSync(join(s.dir, 'alice'), join(s.dir, '.away'));
      await Promise.all([s.keeper.close(seconds(10)), s.clock.rest()]);
      expect(s.log.with('alice/cilogon: its new refresh token is lost, a login will be needed', 'error')).toHaveLength(
        1,
      );
      expect([...(s.intents?.suspects() ?? [])]).toEqual(['alice/cilogon']);
      chmodSync(join(s.dir, '.away'), 0o700);
    }));

  test('what is held of a folder that is moved away is not written over a login, nor into another’s', () =>
    unprivileged([], async () => {
      const s = await fresh();
      const old = readFileSync(s.at('cilogon.top'), 'utf8');
      chmodSync(join(s.dir, 'alice'), 0o500);
      await s.clock.pass(s.due());
      renameSync(join(s.dir, 'alice'), join(s.dir, '.away'));
      await s.keeper.look('alice');
      await s.clock.pass(minutes(1));
      const theirs = s.book().grant();
      s.login(theirs);
      // Whoever has got hold of the old file.
      s.login(JSON.parse(old).refresh_token, { user: 'bob' });
      await s.keeper.sweep();
      await s.clock.pass(1000);
      expect(
        s
          .book()
          .asked.map(({ parameters }) => parameters.refresh_token)
          .slice(-2),
      ).toContain(theirs);
      expect(s.health()?.state).toBe('fresh');
      expect(s.health('bob/cilogon')?.state).toBe('login-needed');
      expect(readFileSync(s.at('cilogon.top', 'bob'), 'utf8')).toBe(old);
      chmodSync(join(s.dir, '.away'), 0o700);
    }));

  test('a login meanwhile wins, and what was held is forgotten', () =>
    unprivileged([], async () => {
      const s = await fresh();
      chmodSync(join(s.dir, 'alice'), 0o500);
      await s.clock.pass(s.due());
      chmodSync(join(s.dir, 'alice'), 0o700);
      const theirs = s.book().grant();
      s.login(theirs);
      await s.keeper.look('alice');
      await s.clock.pass(minutes(5));
      expect(s.book().asked.at(-1)?.parameters.refresh_token).toBe(theirs);
      expect(s.book().accepts(s.top())).toBe(true);
      expect(s.book().counts.reuse).toBe(0);
    }));
});

test('no line of the log, whatever happens, has a token in it', async () => {
  const s = await fresh();
  for (const refusal of [transient, { kind: 'login-needed', what: 'x' }, undefined] as const) {
    s.book().refusal = refusal;
    s.login(s.book().grant());
    await s.keeper.look('alice');
    await s.clock.pass(hours(2));
  }
  expect(s.log.lines.join('\n')).not.toMatch(/-(?:refresh|access)-\d/);
});
