import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openSpool, type SpoolDraft } from '../../src/broker/spool.js';
import { Failed } from '../../src/core/failure.js';
import type { Credentials } from '../../src/core/ports.js';
import type { Settled } from '../../src/core/snapshot.js';
import { epochMs } from '../../src/core/time.js';
import { Intake } from '../../src/daemon/intake.js';
import { unprivileged } from '../stores/room.js';
import { hours, provider, type Station, station } from './kit.js';

const own = () => process.geteuid?.() ?? 0;

/** A station with a spool; `alice` is uid 1001 there. */
async function open(more: { credentials?: (real: Credentials) => Credentials } = {}) {
  const s = station({ providers: [provider('cilogon'), provider('dune'), provider('dune_production')] });
  const spoolDir = join(s.base, 'spool');
  const spool = await openSpool({ dir: spoolDir, clock: s.clock });
  const settled: (Settled & { user: string })[] = [];
  const welcomed: string[] = [];
  const lookUps = { fail: 0 };
  const makeIntake = () =>
    new Intake({
      dir: spoolDir,
      uid: own(),
      credentials: more.credentials?.(s.credentials) ?? s.credentials,
      log: s.log,
      providers: () => s.configured,
      issuer: async (one) => s.book(one.name),
      uidsOf: async (users) => {
        if (lookUps.fail-- > 0) throw new Failed({ kind: 'transient', what: 'getent does not answer' });
        const accounts = { alice: 1001, bob: 1002 };
        return new Map(Object.entries(accounts).filter(([user]) => users.includes(user)));
      },
      welcome: async (user) => void welcomed.push(user),
      settled: (user, one) => void settled.push({ user, ...one }),
      look: (user) => s.keeper.look(user),
    });
  const draft = (refreshToken: string, over: object = {}): SpoolDraft =>
    ({
      kind: 'grant',
      user: 'alice',
      uid: 1001,
      provider: 'cilogon',
      refresh_token: refreshToken,
      ...over,
    }) as SpoolDraft;
  const logout = (over: object = {}): SpoolDraft =>
    ({ kind: 'logout', user: 'alice', uid: 1001, provider: 'cilogon', ...over }) as SpoolDraft;
  return {
    ...s,
    spoolDir,
    spool,
    settled,
    welcomed,
    lookUps,
    draft,
    logout,
    makeIntake,
    intake: makeIntake(),
    waiting: () => readdirSync(spoolDir),
  };
}

/** The last look is of the keeper; its refreshes have their own time. */
const go = (s: Station) => s.clock.pass(1);

describe('a grant in the spool', () => {
  test('goes into the directory with its first token, and is told of', async () => {
    const s = await open();
    const [refreshToken, expires] = [s.book().grant(), epochMs(Date.now() + 3_600_000)];
    const id = await s.spool.put(
      s.draft(refreshToken, { access_token: 'first-access', expires_at: expires, token_type: 'bearer', who: 'Alice' }),
    );
    await s.intake.round();
    expect(s.top()).toBe(refreshToken);
    expect(s.use()).toMatchObject({ access_token: 'first-access', expires_at: Math.floor(expires / 1000) });
    expect(s.waiting()).toEqual([]);
    expect(s.welcomed).toEqual(['alice']);
    expect(s.settled).toEqual([{ user: 'alice', id, ok: true, what: 'login of Alice taken over' }]);
    await go(s);
    expect(s.health()).toMatchObject({ state: 'fresh', refreshes: 0 });
    expect(s.book().asked).toEqual([]);
    expect(s.log.lines.join('\n')).not.toMatch(/refresh-\d|first-access/);
  });

  test('without a token of its own gets its first one fetched', async () => {
    const s = await open();
    await s.spool.put(s.draft(s.book().grant(), { scopes: ['a'], audience: 'https://x.example', handle: 'h' }));
    await s.intake.round();
    await go(s);
    expect(s.health('alice/cilogon_h')).toMatchObject({ state: 'fresh', scopes: ['a'], audience: 'https://x.example' });
    expect(s.book().asked[0]?.parameters).toMatchObject({ scope: 'a', audience: 'https://x.example' });
  });

  test('replaces the one before, also a dead one', async () => {
    const s = await open();
    s.login('dead');
    await s.keeper.sweep();
    await go(s);
    expect(s.health()?.state).toBe('login-needed');
    await s.spool.put(s.draft(s.book().grant()));
    await s.intake.round();
    await go(s);
    expect(s.health()?.state).toBe('fresh');
  });

  test('of several the last one counts, whatever order the folder lists them in', async () => {
    const s = await open();
    const grants = [1, 2, 3].map(() => s.book().grant());
    for (const grant of grants) {
      await s.spool.put(s.draft(grant));
      await s.clock.pass(2);
    }
    await s.intake.round();
    expect(s.top()).toBe(grants[2]);
    expect(s.settled.map(({ ok }) => ok)).toEqual([true, true, true]);
  });

  test('is gone from the spool before anybody can use it: a crash puts no old refresh token over a newer one', async () => {
    let waiting = -1;
    const s: Awaited<ReturnType<typeof open>> = await open({
      credentials: (real) => ({
        ...real,
        ...Object.fromEntries(
          (['users', 'scan', 'read', 'life', 'rotate', 'put', 'remove'] as const).map((name) => [name, real[name]]),
        ),
        publish: async (...given) => {
          waiting = s.waiting().length;
          await real.publish(...given);
        },
      }),
    });
    await s.spool.put(s.draft('r', { access_token: 'a', expires_at: epochMs(Date.now() + 1e6) }));
    await s.intake.round();
    expect(waiting).toBe(0);
  });

  test.each<[string, object, string]>([
    ['the number of another', { uid: 1002 }, 'alice is not uid 1002 on this machine'],
    ['no account', { user: 'mallory', uid: 1003 }, 'mallory is not uid 1003 on this machine'],
    ['an unknown provider', { provider: 'nowhere' }, 'credmond has no provider nowhere'],
    [
      'a handle that makes it another provider',
      { provider: 'dune', handle: 'production' },
      'the name of another provider',
    ],
  ])('with %s is taken away, said, and told of', async (_, over, what) => {
    const s = await open();
    await s.spool.put(s.draft('secret-refresh', over));
    await s.intake.round();
    expect(s.waiting()).toEqual([]);
    expect(readdirSync(s.dir)).toEqual([]);
    expect(s.settled).toMatchObject([{ ok: false, what: expect.stringContaining(what) }]);
    expect(s.log.with(what, 'warn')).toHaveLength(1);
    expect(s.log.lines.join('\n')).not.toContain('secret-refresh');
  });

  test('waits while it cannot be told whose it is', async () => {
    const s = await open();
    await s.spool.put(s.draft('r'));
    s.lookUps.fail = 3;
    for (let n = 0; n < 3; n++) await s.intake.round();
    expect(s.waiting()).toHaveLength(1);
    expect(s.settled).toEqual([]);
    expect(s.log.with('getent does not answer')).toHaveLength(1);
    await s.intake.round();
    expect([s.waiting(), s.top()]).toEqual([[], 'r']);
  });

  test('waits while the disk does not take it, and what came later of the same credential waits behind it', () =>
    unprivileged([], async () => {
      const s = await open();
      chmodSync(s.dir, 0o500);
      await s.spool.put(s.draft('first'));
      await s.intake.round();
      await s.clock.pass(2);
      await s.spool.put(s.draft('second'));
      for (let n = 0; n < 3; n++) await s.intake.round();
      expect(s.waiting()).toHaveLength(2);
      expect(s.log.with('tried again', 'error')).toHaveLength(1);
      chmodSync(s.dir, 0o770);
      await s.intake.round();
      expect([s.waiting(), s.top()]).toEqual([[], 'second']);
    }));

  test('that waits is not put over a later one', async () => {
    const s = await open();
    for (const token of ['first', 'second']) {
      await s.spool.put(s.draft(token));
      await s.spool.put(s.draft(token, { handle: 'h' }));
      await s.clock.pass(2);
    }
    // It fails for one of the two that came first; the other credential is not held up.
    s.lookUps.fail = 1;
    await s.intake.round();
    expect(s.waiting()).toHaveLength(2);
    await s.intake.round();
    expect([s.waiting(), s.top(), s.top('cilogon_h')]).toEqual([[], 'second', 'second']);
  });

  test('that was taken over and cannot be removed is not taken over again', () =>
    unprivileged([], async () => {
      const s = await open();
      const refreshToken = s.book().grant();
      await s.spool.put(s.draft(refreshToken));
      chmodSync(s.spoolDir, 0o500);
      await s.intake.round();
      await go(s);
      expect(s.book().accepts(s.top())).toBe(true);
      expect(s.top()).not.toBe(refreshToken);
      for (let n = 0; n < 3; n++) await s.intake.round();
      await s.clock.pass(hours(2));
      expect(s.book().accepts(s.top())).toBe(true);
      expect(s.book().counts.reuse).toBe(0);
      expect(s.log.with('cannot be removed (EACCES)', 'error')).toHaveLength(1);
      expect(s.settled).toHaveLength(1);
      chmodSync(s.spoolDir, 0o700);
      await s.intake.round();
      expect(s.waiting()).toEqual([]);
    }));

  test('for a folder that is a link leads nowhere, and others are not held up', async () => {
    const s = await open();
    const elsewhere = join(s.base, 'elsewhere');
    mkdirSync(elsewhere);
    symlinkSync(elsewhere, join(s.dir, 'alice'));
    await s.spool.put(s.draft('r'));
    await s.spool.put(s.draft('b', { user: 'bob', uid: 1002 }));
    await s.intake.round();
    expect(readdirSync(elsewhere)).toEqual([]);
    expect(s.top('cilogon', 'bob')).toBe('b');
    expect(s.waiting()).toHaveLength(1);
  });
});

describe('a logout in the spool', () => {
  test('revokes at the issuer, takes everything away, and says both', async () => {
    const s = await open();
    s.login(s.book().grant());
    await s.keeper.sweep();
    await go(s);
    const refreshToken = s.top();
    const id = await s.spool.put(s.logout());
    await s.intake.round();
    expect(s.book().revoked).toEqual([refreshToken]);
    expect(readdirSync(join(s.dir, 'alice'))).toEqual([]);
    expect([...s.keeper.healths()]).toEqual([]);
    expect(s.settled).toMatchObject([{ id, ok: true, what: 'removed; revoked at the issuer' }]);
    await s.clock.pass(hours(3));
    expect(s.book().asked).toHaveLength(1);
  });

  test('of what is not there is no failure', async () => {
    const s = await open();
    await s.spool.put(s.logout({ handle: 'h' }));
    await s.intake.round();
    expect(s.settled).toMatchObject([{ ok: true, what: 'there was nothing to log out from' }]);
    expect(s.waiting()).toEqual([]);
  });

  test('where the issuer does not answer removes it all the same, and says so', async () => {
    const s = await open();
    s.login('r');
    s.book().revoke = async () => {
      throw new Failed({ kind: 'transient', what: 'cannot reach it' });
    };
    await s.spool.put(s.logout());
    await s.intake.round();
    expect(existsSync(s.at('cilogon.top'))).toBe(false);
    expect(s.settled).toMatchObject([{ ok: true, what: 'removed; not revoked at the issuer: cannot reach it' }]);
  });

  test('of a damaged one removes it', async () => {
    const s = await open();
    mkdirSync(join(s.dir, 'alice'), { mode: 0o700 });
    writeFileSync(s.at('cilogon.top'), 'rubbish', { mode: 0o600 });
    await s.spool.put(s.logout());
    await s.intake.round();
    expect(readdirSync(join(s.dir, 'alice'))).toEqual([]);
    expect(s.settled).toMatchObject([{ ok: true, what: expect.stringContaining('not revoked') }]);
  });

  test('during a refresh: nothing comes back', async () => {
    const s = await open();
    s.login(s.book().grant());
    await s.keeper.sweep();
    await go(s);
    const held = s.book().hold();
    await s.clock.pass(s.due());
    await held.there;
    await s.spool.put(s.logout());
    await s.intake.round();
    held.release();
    await s.clock.pass(hours(3));
    expect(readdirSync(join(s.dir, 'alice'))).toEqual([]);
    expect([...s.keeper.healths()]).toEqual([]);
  });
});

describe('what is no record of the broker’s', () => {
  test('stays where it is, is said once, and holds nothing up', async () => {
    const s = await open();
    const name = (n: number) => `${1_700_000_000_000 + n}-${`${n}`.repeat(32).slice(0, 32)}.grant`;
    writeFileSync(join(s.spoolDir, name(1)), '{"refresh_token":"planted-token"', { mode: 0o600 });
    writeFileSync(join(s.spoolDir, name(2)), 'x'.repeat(100_000), { mode: 0o600 });
    writeFileSync(join(s.spoolDir, name(3)), '{}', { mode: 0o644 });
    mkdirSync(join(s.spoolDir, name(4)));
    writeFileSync(join(s.spoolDir, 'README'), 'not for us');
    await s.spool.put(s.draft('r'));
    for (let n = 0; n < 3; n++) await s.intake.round();
    expect(s.top()).toBe('r');
    expect(s.waiting()).toHaveLength(5);
    expect(s.log.with('not taken over', 'error')).toHaveLength(4);
    expect(s.log.lines.join('\n')).not.toContain('planted-token');
  });

  test('a spool that is not there, or cannot be read, is no reason to stop', async () => {
    const s = await open();
    rmSync(s.spoolDir, { recursive: true });
    await s.intake.round();
    expect(s.log.with('', 'error')).toEqual([]);
    writeFileSync(s.spoolDir, '');
    for (let n = 0; n < 3; n++) await s.intake.round();
    expect(s.log.with('the spool: ', 'error')).toHaveLength(1);
    expect(readFileSync(s.spoolDir, 'utf8')).toBe('');
  });
});
