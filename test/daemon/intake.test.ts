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
import { describe, expect, onTestFinished, test } from 'vitest';
import { openSpool, type SpoolDraft } from '../../src/broker/spool.js';
import { Failed } from '../../src/core/failure.js';
import type { Credentials } from '../../src/core/ports.js';
import { inAll, ownScopes } from '../../src/core/several.js';
import type { Settled } from '../../src/core/snapshot.js';
import { epochMs } from '../../src/core/time.js';
import { Intake } from '../../src/daemon/intake.js';
import * as device from '../../src/grants/device.js';
import { openIssuer } from '../../src/providers/issuer.js';
import { jwtClaims } from '../../src/providers/jwt.js';
import { type IssuerOptions, publicClient, startIssuer } from '../helpers/issuer.js';
import { exchangeGrant } from '../helpers/issuer-exchange.js';
import { unprivileged } from '../stores/room.js';
import { counted, hours, type Options, provider, type Station, station } from './kit.js';

/** Of which both ways may be asked. */
const client = {
  ...publicClient,
  grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token', exchangeGrant],
};

const own = () => process.geteuid?.() ?? 0;

/** A station with a spool; `alice` is uid 1001 there. */
async function open(more: Options & { credentials?: (real: Credentials) => Credentials } = {}) {
  const s = station({ providers: [provider('cilogon'), provider('dune'), provider('dune_production')], ...more });
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
      clock: s.clock,
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
      passOver: (key) => s.keeper.passOver(key),
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

  test('is not looked at between its grant and its first token, and nothing is fetched for it', async () => {
    let look = async (): Promise<unknown> => undefined;
    const s = await open({
      credentials: (real) => ({
        ...real,
        publish: async (...what) => {
          await look();
          return real.publish(...what);
        },
      }),
    });
    look = () => s.keeper.look('alice');
    const expires = epochMs(Date.now() + 3_600_000);
    await s.spool.put(s.draft(s.book().grant(), { access_token: 'first-access', expires_at: expires }));
    await s.intake.round();
    await go(s);
    expect(s.use()).toMatchObject({ access_token: 'first-access' });
    expect(s.health()).toMatchObject({ state: 'fresh', refreshes: 0 });
    expect(s.book().asked).toEqual([]);
  });

  test('without a token of its own gets its first one fetched', async () => {
    const s = await open();
    await s.spool.put(s.draft(s.book().grant(), { scopes: ['a'], audience: 'https://x.example', handle: 'h' }));
    await s.intake.round();
    await go(s);
    expect(s.health('alice/cilogon_h')).toMatchObject({ state: 'fresh', scopes: ['a'], audience: 'https://x.example' });
    expect(s.book().asked[0]?.parameters).toMatchObject({ scope: 'a', audience: 'https://x.example' });
  });

  test('8: is not put in the place of another person’s', async () => {
    const s = await open();
    const [iss, first, theirs, again] = ['https://i.test', s.book().grant(), s.book().grant(), s.book().grant()];
    await s.spool.put(s.draft(first, { iss, sub: 'alice' }));
    await s.intake.round();
    expect(JSON.parse(readFileSync(s.at('cilogon.top'), 'utf8'))).toMatchObject({ granted_by: { iss, sub: 'alice' } });
    await s.spool.put(s.draft(theirs, { iss, sub: 'mallory' }));
    await s.intake.round();
    expect(s.top()).toBe(first);
    expect(s.settled.at(-1)).toMatchObject({ ok: false, what: expect.stringContaining('another person’s login') });
    expect(s.waiting()).toEqual([]);
    expect(s.book().revoked).toEqual([]);
    await s.spool.put(s.draft(again, { iss, sub: 'alice' }));
    await s.intake.round();
    expect(s.top()).toBe(again);
  });

  test('of an ssh login takes the place of one that was asked for alike, and of no other', async () => {
    const s = await open();
    const [own, seeded, later] = [s.book().grant(), s.book().grant(), s.book().grant()];
    await s.spool.put(s.draft(own, { scopes: ['a'] }));
    await s.intake.round();
    await s.spool.put(s.draft(seeded, { seed: true }));
    await s.intake.round();
    expect(s.top()).toBe(own);
    expect(s.book().revoked).toEqual([]);
    expect(s.waiting()).toEqual([]);
    expect(s.settled.at(-1)).toMatchObject({ ok: true, what: expect.stringContaining('stays') });
    await s.spool.put(s.logout());
    await s.intake.round();
    for (const grant of [later, s.book().grant()]) {
      await s.spool.put(s.draft(grant, { seed: true }));
      await s.intake.round();
      expect(s.top()).toBe(grant);
    }
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

describe('a grant for several', () => {
  const both = {
    scopes: ['read'],
    also: [
      { handle: 'w', scopes: ['write'] },
      { handle: 'x', scopes: ['move'] },
    ],
  };
  /** The same credentials, but this happens before each `put`. */
  const putting = (then: (stem: string) => unknown) => ({
    credentials: (real: Credentials): Credentials =>
      new Proxy(real, {
        get: (target, name) =>
          name === 'put'
            ? async (...given: Parameters<Credentials['put']>) => {
                await then(given[0].handle ?? '');
                return target.put(...given);
              }
            : Reflect.get(target, name),
      }),
  });
  const file = (s: Station, name: string) => JSON.parse(readFileSync(s.at(`${name}.top`), 'utf8'));

  test('is put there first, then what is to be made from it, and only then is the record taken away', async () => {
    const order: string[] = [];
    const s: Awaited<ReturnType<typeof open>> = await open(
      putting((name) => order.push(`${name || 'owner'} ${s.waiting().length}`)),
    );
    const at = s.clock.now();
    const id = await s.spool.put(s.draft(s.book().grant(), { ...both, who: 'Alice', ends: epochMs(at + 9e9) }));
    await s.intake.round();
    expect(order).toEqual(['owner 1', 'w 1', 'x 1']);
    expect(s.waiting()).toEqual([]);
    expect(file(s, 'cilogon')).toEqual({
      refresh_token: expect.any(String),
      scopes: 'read',
      granted_at: Math.floor(at / 1000),
      refresh_token_expires_at: Math.floor((at + 9e9) / 1000),
    });
    const request = { credmon_request: 1, provider: 'cilogon', from: '' };
    expect(file(s, 'cilogon_w')).toEqual({ ...request, handle: 'w', scopes: 'write' });
    expect(file(s, 'cilogon_x')).toEqual({ ...request, handle: 'x', scopes: 'move' });
    expect(s.settled).toEqual([
      { user: 'alice', id, ok: true, what: 'login of Alice taken over, and 2 more to be made from it' },
    ]);
    await go(s);
    for (const name of ['cilogon', 'cilogon_w', 'cilogon_x']) expect(s.health(`alice/${name}`)?.state).toBe('fresh');
    expect(s.book().asked.map(({ parameters }) => parameters.scope)).toEqual(expect.arrayContaining(['read', 'write']));
    expect(s.book().counts.reuse).toBe(0);
  });

  test('with a handle of its own: the others are made from that', async () => {
    const s = await open();
    await s.spool.put(s.draft(s.book().grant(), { handle: 'own', also: [{ handle: 'w', audience: 'https://w' }] }));
    await s.intake.round();
    const request = { credmon_request: 1, provider: 'cilogon', handle: 'w', from: 'own', audience: 'https://w' };
    expect(file(s, 'cilogon_w')).toEqual(request);
  });

  test('does not hand the token of all to the jobs of one', async () => {
    const s = await open();
    const token = { access_token: 'token-of-all', expires_at: epochMs(Date.now() + 3_600_000) };
    await s.spool.put(s.draft(s.book().grant(), { ...both, ...token }));
    await s.intake.round();
    expect(existsSync(s.at('cilogon.use'))).toBe(false);
    await go(s);
    expect(s.use().access_token).not.toBe('token-of-all');
  });

  test('that is held up half-way goes on from there: a refresh meanwhile is not undone', async () => {
    let full = true;
    const s: Awaited<ReturnType<typeof open>> = await open(
      putting((name) => {
        if (name === 'w' && full) throw new Failed({ kind: 'storage', what: 'no space left' });
      }),
    );
    const refreshToken = s.book().grant();
    await s.spool.put(s.draft(refreshToken, both));
    await s.intake.round();
    expect([s.top(), s.waiting().length]).toEqual([refreshToken, 1]);
    await s.keeper.sweep();
    await go(s);
    const newer = s.top();
    expect(newer).not.toBe(refreshToken);
    // Whoever comes later for one of its credentials waits behind it.
    await s.spool.put(s.draft(s.book().grant(), { handle: 'w' }));
    await s.intake.round();
    expect(existsSync(s.at('cilogon_w.top'))).toBe(false);
    full = false;
    await s.intake.round();
    expect([s.top(), s.waiting()]).toEqual([newer, []]);
    expect(file(s, 'cilogon_w')).toHaveProperty('refresh_token');
    await s.clock.pass(hours(3));
    expect(s.book().counts.reuse).toBe(0);
  });

  test.each([
    ['at once', 0],
    ['a day later', hours(24)],
  ])('that a crash left half done is taken again %s, and puts no old refresh token over a newer one', async (_, ms) => {
    let crashed = false;
    const s: Awaited<ReturnType<typeof open>> = await open(
      putting((name) => {
        if (name === 'w' && !crashed) throw new Failed({ kind: 'storage', what: 'the power went' });
      }),
    );
    const refreshToken = s.book().grant();
    await s.spool.put(s.draft(refreshToken, both));
    await s.intake.round();
    await s.keeper.sweep();
    await s.clock.pass(1 + ms);
    const newer = s.top();
    expect(newer).not.toBe(refreshToken);
    crashed = true;
    await s.makeIntake().round();
    expect([s.top(), s.waiting()]).toEqual([newer, []]);
    await s.clock.pass(hours(3));
    for (const name of ['cilogon', 'cilogon_w', 'cilogon_x']) expect(s.health(`alice/${name}`)?.state).toBe('fresh');
    expect(s.book().counts.reuse).toBe(0);
  });

  test('that was left from before a later login does not come over that', async () => {
    const s = await open();
    await s.spool.put(s.draft('old', both));
    const [since, later] = [Math.floor(s.clock.now() / 1000) + 60, s.book().grant()];
    await s.clock.pass(120_000);
    s.login(later, { granted_at: since });
    await s.intake.round();
    expect([s.top(), s.waiting()]).toEqual([later, []]);
  });

  test('nor does it after a logout, when the later one has come from elsewhere', async () => {
    const s = await open();
    await s.spool.put(s.draft(s.book().grant()));
    await s.intake.round();
    await s.spool.put(s.logout());
    await s.intake.round();
    await s.spool.put(s.draft('old', both));
    const [since, later] = [Math.floor(s.clock.now() / 1000) + 60, s.book().grant()];
    await s.clock.pass(120_000);
    s.login(later, { granted_at: since });
    await s.intake.round();
    expect([s.top(), s.waiting()]).toEqual([later, []]);
  });

  test('is believed over one that says it is of a time to come: the clock was wrong once', async () => {
    const s = await open();
    s.login('of-a-wrong-clock', { granted_at: Math.floor(s.clock.now() / 1000) + 86_400 });
    await s.spool.put(s.draft('new', both));
    await s.intake.round();
    expect(s.top()).toBe('new');
  });

  test.each<[string, object, string]>([
    ['one name twice', { also: [{ handle: 'w' }, { handle: 'w' }] }, 'two of its credentials have one name'],
    ['itself as another', { also: [{}] }, 'two of its credentials have one name'],
    ['another provider', { provider: 'dune', also: [{ handle: 'production' }] }, 'the name of another provider'],
  ])('and for %s is taken away whole, and said', async (_, over, what) => {
    const s = await open();
    await s.spool.put(s.draft('secret-refresh', over));
    await s.intake.round();
    expect([s.waiting(), readdirSync(s.dir)]).toEqual([[], []]);
    expect(s.settled).toMatchObject([{ ok: false, what: expect.stringContaining(what) }]);
  });
});

describe('with a real issuer', () => {
  const scopes = ['openid', 'offline_access', 'storage.read:/alice'];
  const write = ['storage.create:/alice'];

  test.each<[string, Partial<IssuerOptions>]>([
    ['a refresh that asks for less', {}],
    ['token exchange, where refreshes give all there is', { behaviour: { narrowing: 'ignored' } }],
    ['token exchange, where refreshes do not take scopes', { behaviour: { narrowing: 'refused' } }],
  ])('one approval, and each credential has just its own scopes: by %s', async (_, more) => {
    const issuer = await startIssuer({ clients: [client], accessTokenTtl: 3600, ...more });
    onTestFinished(() => issuer.stop());
    const one = provider('cilogon', { issuer: issuer.url, clientId: client.client_id, scopes });
    const s: Awaited<ReturnType<typeof open>> = await open({ providers: [one], issuer: () => counted(real, s.work) });
    const real = openIssuer(one, undefined, s.clock);
    onTestFinished(() => real.close());
    const stop = new AbortController().signal;
    const also = [{ handle: 'w', scopes: write }];
    const code = await device.requestCode(real, { scopes: inAll([{}, ...also], one) }, stop);
    await issuer.approve(code.userCode, { login: 'alice' });
    const reply = await device.pollOnce(real, code, stop);
    if (reply.kind !== 'token') throw new Error(`not approved: ${JSON.stringify(reply)}`);
    expect(reply.token.scopes).toEqual(expect.arrayContaining([...scopes, ...write]));
    const own = ownScopes({}, also, one);
    await s.spool.put(s.draft(reply.token.refreshToken ?? '', { also, ...(own && { scopes: own }) }));
    await s.intake.round();
    await go(s);
    const scopesOf = (name: string) => String(jwtClaims(s.use(name).access_token)?.scope).split(' ');
    const narrows = more.behaviour === undefined;
    expect(scopesOf('cilogon').toSorted()).toEqual([...scopes].toSorted());
    expect(issuer.counts.exchanges).toBe(narrows ? 0 : 2);
    expect(scopesOf('cilogon_w')).toEqual(write);
    const refreshToken = s.top();
    await s.clock.pass(hours(1));
    expect(s.top()).not.toBe(refreshToken);
    for (const name of ['cilogon', 'cilogon_w']) {
      expect(s.health(`alice/${name}`)).toMatchObject({ state: 'fresh' });
      expect(s.health(`alice/${name}`)?.refreshes).toBeGreaterThan(1);
    }
    expect(issuer.counts).toMatchObject({ logins: 1, reuse: 0 });
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

  test('that a crash has kept until after a later login takes that away no more', async () => {
    const s = await open();
    await s.spool.put(s.logout());
    await s.clock.pass(2000);
    const refreshToken = s.book().grant();
    const since = s.clock.now();
    await s.credentials.put({ user: 'alice', service: 'cilogon' }, { refreshToken, since });
    await s.intake.round();
    expect(s.top()).toBe(refreshToken);
    expect(s.book().revoked).toEqual([]);
    expect(s.settled).toMatchObject([{ ok: true, what: 'what is there is of a later login, and stays' }]);
    expect(s.waiting()).toEqual([]);
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
