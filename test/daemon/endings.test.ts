import { renameSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Issuer } from '../../src/core/ports.js';
import { type EpochMs, epochMs, later, seconds } from '../../src/core/time.js';
import { formatRequest } from '../../src/core/top.js';
import { Keeper } from '../../src/daemon/keeper.js';
import { store } from '../grants/kit.js';
import { hours, minutes, type Options, provider, type Station, station } from './kit.js';

const day = 86_400;

/** Alice's login at an issuer whose answers tell when it ends. */
function telling(endsAt: (now: EpochMs) => EpochMs | undefined, options: Options = {}): Station {
  const s: Station = station({
    ...options,
    issuer: (): Issuer => ({
      ...s.book(),
      token: async (...call) => {
        const token = await s.book().token(...call);
        const grantEnds = endsAt(s.clock.now());
        return grantEnds === undefined ? token : { ...token, grantEnds };
      },
    }),
  });
  return s;
}

const begin = async (s: Station, more: Record<string, unknown> = {}) => {
  s.login(s.book().grant(), more);
  await s.keeper.sweep();
  await s.clock.pass(100);
  expect(s.health()?.state).toBe('fresh');
};

describe('when the login ends', () => {
  test('is not told where nobody tells', async () => {
    const s = telling(() => undefined);
    await begin(s);
    await s.clock.pass(hours(3));
    expect(s.health()).not.toHaveProperty('ends');
    expect(s.health()).not.toHaveProperty('granted');
  });

  test('by an issuer whose refreshes do not prolong it, once it has told twice', async () => {
    let end: EpochMs | undefined;
    const s = telling((now) => {
      end ??= later(now, 10 * day);
      return end;
    });
    await begin(s);
    expect(s.health()).not.toHaveProperty('ends');
    await s.clock.pass(hours(1));
    expect(s.health()?.ends).toBe(end);
    await s.clock.pass(hours(24));
    expect(s.health()?.ends).toBe(end);
  });

  test('not by one whose refreshes do, until they fail', async () => {
    const s = telling((now) => later(now, 10 * day));
    await begin(s);
    await s.clock.pass(hours(24));
    expect(s.health()).not.toHaveProperty('ends');
    s.book().refusal = { kind: 'transient', what: 'it is down' };
    await s.clock.pass(hours(1));
    expect(s.health()?.state).toBe('retrying');
    const ends = (s.health()?.ends ?? 0) - s.clock.now();
    expect(ends).toBeGreaterThan(hours(24 * 10 - 3));
    expect(ends).toBeLessThan(hours(24 * 10));
    s.book().refusal = undefined;
    await s.clock.pass(minutes(15));
    expect(s.health()).not.toHaveProperty('ends');
  });

  test('by the configuration, from when the person approved it; also after a restart', async () => {
    const s = telling(() => undefined, { providers: [provider('cilogon', { grantLife: seconds(10 * day) })] });
    const granted = Math.floor(s.clock.now() / 1000) - day;
    await begin(s, { granted_at: granted });
    const told = { granted: granted * 1000, ends: (granted + 10 * day) * 1000 };
    expect(s.health()).toMatchObject(told);
    await s.clock.pass(hours(5));
    expect(s.health()).toMatchObject(told);
    s.start();
    await s.keeper.sweep();
    expect(s.health()).toMatchObject(told);
  });

  test('by the configuration it is not known, where nobody noted when it was approved', async () => {
    const s = telling(() => undefined, { providers: [provider('cilogon', { grantLife: seconds(10 * day) })] });
    await begin(s);
    expect(s.health()).not.toHaveProperty('ends');
  });

  test('by what was noted at the login, which the first refresh shows to be fixed', async () => {
    const s = telling((now) => later(epochMs(start * 1000), 10 * day + 0 * now));
    const start = Math.floor(s.clock.now() / 1000) - 3600;
    await begin(s, { granted_at: start, refresh_token_expires_at: start + 10 * day });
    expect(s.health()).toMatchObject({ granted: start * 1000, ends: (start + 10 * day) * 1000 });
  });

  test('what was noted at the login is not taken for the end after refreshes have prolonged it, nor after a restart', async () => {
    const s = telling((now) => later(now, day));
    const start = Math.floor(s.clock.now() / 1000);
    await begin(s, { granted_at: start, refresh_token_expires_at: start + day });
    await s.clock.pass(hours(48));
    expect(s.health()).not.toHaveProperty('ends');
    s.start();
    s.book().refusal = { kind: 'transient', what: 'it is down' };
    await s.keeper.sweep();
    await s.clock.pass(hours(1));
    expect(s.health()?.state).toBe('retrying');
    // It has been prolonged since: either that is known, or nothing is said.
    expect(s.health()?.ends ?? Number.POSITIVE_INFINITY).toBeGreaterThan(s.clock.now());
  });

  test('by how long it lasts without a refresh, once refreshes fail', async () => {
    const s = station({ providers: [provider('cilogon', { grantIdle: seconds(day) })] });
    await begin(s);
    await s.clock.pass(hours(5));
    expect(s.health()).not.toHaveProperty('ends');
    s.book().refusal = { kind: 'transient', what: 'it is down' };
    await s.clock.pass(hours(2));
    const { life, ends, state } = s.health() ?? {};
    expect([state, ends]).toEqual(['retrying', later(life?.issued ?? epochMs(0), day)]);
  });

  test('another login begins anew', async () => {
    const s = telling(() => undefined, { providers: [provider('cilogon', { grantLife: seconds(day) })] });
    await begin(s, { granted_at: Math.floor(s.clock.now() / 1000) });
    expect(s.health()).toHaveProperty('ends');
    await begin(s);
    await s.clock.pass(1);
    await s.keeper.look('alice');
    await s.clock.pass(100);
    expect(s.health()).not.toHaveProperty('ends');
    expect(s.health()).not.toHaveProperty('granted');
  });
});

describe('what nobody logs in to does not end as a login does', () => {
  /** Refreshes come ever nearer to the end of a session that cannot last longer. */
  const shrinking = (options: Options = {}) => {
    let end: EpochMs | undefined;
    return telling((now) => {
      end ??= later(now, day);
      return end;
    }, options);
  };

  test('at an exchange provider, whose session is made anew without anybody', async () => {
    const exchanging = provider('cilogon', { flow: 'exchange', secretFile: '/secret', grantIdle: seconds(day) });
    const s = shrinking({ providers: [exchanging] });
    await begin(s);
    await s.clock.pass(hours(5));
    expect(s.health()).not.toHaveProperty('ends');
    s.book().refusal = { kind: 'transient', what: 'it is down' };
    await s.clock.pass(hours(2));
    expect(s.health()?.state).toBe('retrying');
    expect(s.health()).not.toHaveProperty('ends');
  });

  test('made from a login: that one ends', async () => {
    const s = shrinking();
    store(s, 'cilogon_h', formatRequest({ service: 'cilogon', handle: 'h' }, { from: '' }));
    await begin(s);
    await s.clock.pass(hours(5));
    expect(s.health()).toHaveProperty('ends');
    expect(s.health('alice/cilogon_h')).toMatchObject({ state: 'fresh', origin: '' });
    expect(s.health('alice/cilogon_h')).not.toHaveProperty('ends');
  });
});

describe('a token that nothing can be got after', () => {
  /** As HTCondor's web flow leaves it where `use_refresh_token` is false. */
  function final(use?: object): Station {
    const s = station();
    store(s, 'cilogon', { refresh_token: '', scopes: 'a' });
    const meta = { client_id: 'client', use_refresh_token: false };
    for (const [ending, content] of [
      ['meta', meta],
      ['use', use],
    ] as const)
      if (content) {
        store(s, 'moved', content);
        renameSync(s.at('moved.top'), s.at(`cilogon.${ending}`));
      }
    return s;
  }

  test('is left to jobs until it ends, and nobody is asked for another', async () => {
    const s = final({ access_token: 'theirs', expires_in: 3600 });
    await s.keeper.sweep();
    await s.clock.pass(minutes(59));
    expect(s.health()).toMatchObject({ state: 'fresh', grant: 'final', scopes: ['a'] });
    await s.clock.pass(minutes(2));
    expect(s.health()).toMatchObject({
      state: 'login-needed',
      trouble: {
        what: 'its access token has ended, and the login brought no refresh token',
        hint: 'run: credmon login cilogon --scope a',
      },
    });
    await s.clock.pass(hours(24));
    expect(s.book().asked).toEqual([]);
    expect(s.use().access_token).toBe('theirs');
  });

  test('and does not tell its end: is left to jobs for ever', async () => {
    const s = final({ access_token: 'theirs' });
    await s.keeper.sweep();
    await s.clock.pass(hours(24));
    expect(s.health()).toMatchObject({ state: 'fresh', grant: 'final' });
    expect(s.health()).not.toHaveProperty('due');
    expect(s.book().asked).toEqual([]);
  });

  test('that has ended already is told of at once, and after each restart only once', async () => {
    const s = final({ access_token: 'theirs', expires_at: 1_000_000_000 });
    await s.keeper.sweep();
    await s.clock.pass(minutes(1));
    expect(s.health()?.state).toBe('login-needed');
    const said = s.log.with('login needed').length;
    s.start();
    await s.keeper.sweep();
    await s.clock.pass(hours(1));
    expect(s.log.with('login needed')).toHaveLength(said);
  });
});

describe('what the log tells of a refresh', () => {
  test('whose, of which handle, how, where, what was wanted and what was got, and when the next is', async () => {
    const s = station();
    s.login(s.book().grant(), { handle: 'prod' });
    await s.keeper.sweep();
    await s.clock.pass(100);
    const [line, ...more] = s.log.with('refreshed');
    expect(more).toEqual([]);
    expect(line).toMatch(
      /^info: alice\/cilogon_prod: refreshed \(refresh\) at https:\/\/cilogon\.example; 6 min or more wanted, valid for 60 min, next in \d+ min$/,
    );
    expect(s.due('alice/cilogon_prod') / 60_000).toBeCloseTo(Number(/next in (\d+)/.exec(line ?? '')?.[1]), 0);
  });
});

describe('a token of Vault', () => {
  test.each([
    [600, 600],
    [undefined, 1800],
  ])('is fetched anew when it is %o s old', async (oldest, expected) => {
    const url = 'https://vault.example:8200/v1/secret/oauth/creds/x';
    const s = station({ providers: [provider('dune', { flow: 'vault' }), provider('cilogon')] });
    void s.keeper.close(seconds(0));
    store(s, 'dune', { vault_url: url, vault_token: 't' });
    s.login(s.book().grant());
    const fetched: string[] = [];
    const keeper = new Keeper({
      credentials: s.credentials,
      clock: s.clock,
      random: () => 0,
      log: s.log,
      provider: (name) => s.configured.get(name),
      fetch: async ({ name }) => {
        fetched.push(name);
        const issued = s.clock.now();
        return { accessToken: 'a', tokenType: 'bearer', issued, expires: later(issued, 3600), lifeFrom: 'expires_in' };
      },
      minimum: () => seconds(360),
      ...(oldest !== undefined && { oldest: () => seconds(oldest) }),
      changed: () => {},
    });
    await keeper.sweep();
    await s.clock.pass(100);
    const due = (name: string) => {
      const { due: at = 0, life } = [...keeper.healths()].find((one) => one.provider === name) ?? {};
      return (at - (life?.issued ?? 0)) / 1000;
    };
    // Between half of its life and 70 %, unless it is too old before.
    if (oldest === undefined) expect(due('dune')).toBeGreaterThanOrEqual(expected);
    else expect(due('dune')).toBe(expected);
    expect(due('cilogon')).toBeGreaterThanOrEqual(1800);
    await s.clock.pass(due('dune') * 1000 - 200);
    expect(fetched.filter((name) => name === 'dune')).toHaveLength(1);
    await s.clock.pass(1000);
    expect(fetched.filter((name) => name === 'dune')).toHaveLength(2);
    await keeper.close(seconds(0));
  });
});
