import { chmodSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Issuer } from '../../src/core/ports.js';
import { seconds } from '../../src/core/time.js';
import { formatRequest } from '../../src/core/top.js';
import { openIssuer } from '../../src/providers/issuer.js';
import { store } from '../grants/kit.js';
import { exchangeClient, startIssuer } from '../helpers/issuer.js';
import { exchangeGrant } from '../helpers/issuer-exchange.js';
import { keeping } from '../helpers/rotation.js';
import { unprivileged } from '../stores/room.js';
import { counted, hours, minutes, type Options, provider, type Station, station } from './kit.js';

/** As the storer has condor_credd store it. */
const request = (handle: string, more: { from?: string; scopes?: string[]; audience?: string } = { from: '' }) =>
  formatRequest({ service: 'cilogon', handle }, more);
const ask = (s: Station, handle: string, more?: Parameters<typeof request>[1]) =>
  store(s, `cilogon_${handle}`, request(handle, more));
const key = (handle?: string) => `alice/cilogon${handle === undefined ? '' : `_${handle}`}`;
const text = (s: Station, name: string) => readFileSync(s.at(name), 'utf8');
const narrow = (handle: string) => ({ from: '', scopes: [`scope-${handle}`] });

/** A login, and what is made from it: all of it looked at, and each has its first token. */
async function withMade(handles: readonly string[] = ['h'], options?: Options): Promise<Station> {
  const s = station(options);
  s.login(s.book().grant());
  for (const handle of handles) ask(s, handle, narrow(handle));
  await s.keeper.sweep();
  await s.clock.pass(100);
  for (const handle of handles) expect(s.health(key(handle))).toMatchObject({ state: 'fresh', refreshes: 1 });
  expect(s.health()).toMatchObject({ state: 'fresh' });
  return s;
}

/** No refresh token was ever used twice, nor by two at once, and the one on disk is the newest. */
function intact(s: Station): void {
  expect(s.book().counts).toMatchObject({ reuse: 0, each: 1 });
  expect(s.book().accepts(s.top())).toBe(true);
  const used = s.book().asked.map(({ parameters }) => parameters.refresh_token);
  expect(new Set(used).size).toBe(used.length);
}

describe('a credential that is made from a login', () => {
  test('gets its tokens by the login’s refresh token, which stays where it is', async () => {
    const s = await withMade();
    expect(s.use('cilogon_h').access_token).toMatch(/^cilogon-access-/);
    expect(s.use('cilogon_h').access_token).not.toBe(s.use().access_token);
    expect(s.health(key('h'))).toMatchObject({ grant: 'request', scopes: ['scope-h'], origin: '' });
    expect(s.health()).not.toHaveProperty('origin');
    // Neither copied nor written into: it is as it was stored.
    expect(text(s, 'cilogon_h.top')).toBe(request('h', narrow('h')));
    const scopes = s.book().asked.map(({ parameters }) => parameters.scope);
    expect(scopes.sort()).toEqual(['scope-h', undefined]);
    intact(s);
  });

  test('finds that its login has ended once, and is told of once', async () => {
    const s = await withMade();
    s.book().refusal = { kind: 'login-needed', what: 'book refused: invalid_grant', code: 'invalid_grant' };
    ask(s, 'h', narrow('other'));
    await s.keeper.sweep();
    await s.clock.pass(1000);
    expect(s.health(key('h'))).toMatchObject({ state: 'login-needed' });
    expect(s.health(key('h'))?.trouble?.what).toContain('invalid_grant');
    expect(s.log.with(`${key('h')}: login needed`, 'warn')).toHaveLength(1);
    expect(s.health()?.state).toBe('login-needed');
  });

  test('from one with a handle: that is its origin', async () => {
    const s = station();
    s.login(s.book().grant(), { handle: 'main' });
    ask(s, 'h', { from: 'main' });
    await s.keeper.sweep();
    await s.clock.pass(100);
    expect(s.health(key('h'))).toMatchObject({ state: 'fresh', origin: 'main' });
    expect(s.book().accepts(s.top('cilogon_main'))).toBe(true);
  });

  test('many of one login, for days: no refresh token is used twice, and every token is good at all times', async () => {
    const handles = ['a', 'b', 'c', 'd'];
    const s = await withMade(handles);
    for (let t = 0; t < 48; t++) {
      await s.clock.pass(minutes(30));
      if (t % 7 === 0) await s.keeper.sweep();
      for (const handle of [undefined, ...handles])
        expect(s.use(`cilogon${handle ? `_${handle}` : ''}`).expires_at * 1000 - s.clock.now()).toBeGreaterThan(
          360_000,
        );
    }
    expect(s.book().counts.refreshes).toBeGreaterThan(5 * 30);
    intact(s);
  });

  test('no line of the log has a token in it, and each tells what was done', async () => {
    const s = await withMade();
    await s.clock.pass(hours(3));
    s.login(s.book().grant());
    await s.keeper.look('alice');
    await s.clock.pass(hours(1));
    expect(s.log.lines.join('\n')).not.toMatch(/-(?:refresh|access)-\d/);
    expect(
      s.log.with('alice/cilogon_h: refreshed (request) at https://cilogon.example', 'debug').length,
    ).toBeGreaterThan(3);
    expect(s.log.with('error')).toEqual([]);
  });
});

describe('one refresh token, several who want it', () => {
  /** Everything that is due at once, with the first request held. */
  async function together(s: Station, handles: readonly (string | undefined)[]) {
    const held = s.book().hold();
    // Past the point where each is due; what is in flight stands still.
    await s.clock.pass(Math.max(...handles.map((handle) => s.due(key(handle)))));
    await held.there;
    return held;
  }

  test('two made from it and the login itself, all due at once: one after the other', async () => {
    const s = await withMade(['a', 'b']);
    for (let n = 0; n < 8; n++) {
      const before = s.book().asked.length;
      const held = await together(s, [undefined, 'a', 'b']);
      expect(s.book().asked).toHaveLength(before + 1);
      held.release();
      await s.clock.pass(100);
      expect(s.book().asked).toHaveLength(before + 3);
      for (const handle of [undefined, 'a', 'b']) expect(s.health(key(handle))?.state).toBe('fresh');
      intact(s);
    }
  });

  test('also when everything is looked at meanwhile', async () => {
    const s = await withMade(['a', 'b']);
    const held = await together(s, [undefined, 'a', 'b']);
    await Promise.all([s.keeper.sweep(), s.keeper.look('alice'), s.keeper.look('alice')]);
    held.release();
    await s.clock.pass(100);
    await s.keeper.sweep();
    await s.clock.pass(minutes(5));
    intact(s);
    expect(s.log.with('replaced or removed')).toEqual([]);
  });

  test('a daemon that ends and another that begins in the middle of it', async () => {
    const s = await withMade(['a', 'b']);
    for (let n = 0; n < 6; n++) {
      const held = await together(s, [undefined, 'a', 'b']);
      const closed = s.keeper.close(seconds(10));
      held.release();
      await s.clock.rest();
      await closed;
      s.start();
      await s.keeper.sweep();
      await s.clock.pass(minutes(1));
      for (const handle of [undefined, 'a', 'b']) expect(s.health(key(handle))?.state).toBe('fresh');
      intact(s);
    }
  });

  test('another person’s do not wait', async () => {
    const s = await withMade(['a']);
    const held = await together(s, [undefined, 'a']);
    s.login(s.book().grant(), { user: 'bob' });
    await s.keeper.look('bob');
    await s.clock.pass(100);
    expect(s.health('bob/cilogon')?.state).toBe('fresh');
    held.release();
    await s.clock.pass(100);
    expect(s.book().counts.reuse).toBe(0);
  });
});

describe('what comes in between wins', () => {
  /** The credential's own refresh is in flight, and it has the login in hand. */
  async function inFlight(s: Station) {
    // The login's own is not due for long.
    s.login(s.book().grant());
    await s.keeper.look('alice');
    await s.clock.pass(minutes(1));
    const held = s.book().hold();
    ask(s, 'h', narrow('h'));
    await s.keeper.look('alice');
    await s.clock.pass(100);
    await held.there;
    expect(s.book().asked.at(-1)?.parameters.scope).toBe('scope-h');
    return async () => {
      held.release();
      await s.clock.pass(100);
    };
  }

  test.each([true, false])('the login is made anew (looked at meanwhile: %s)', async (looked) => {
    const s = await withMade();
    const release = await inFlight(s);
    const theirs = s.book().grant();
    s.login(theirs);
    if (looked) await s.keeper.look('alice');
    await release();
    await s.keeper.sweep();
    await s.clock.pass(minutes(1));
    expect(s.book().asked.map(({ parameters }) => parameters.refresh_token)).toContain(theirs);
    for (const handle of [undefined, 'h']) expect(s.health(key(handle))?.state).toBe('fresh');
    intact(s);
  });

  test('the login is removed: it does not come back, and what was made from it says what is missing', async () => {
    const s = await withMade();
    const release = await inFlight(s);
    rmSync(s.at('cilogon.top'));
    rmSync(s.at('cilogon.use'));
    await s.keeper.look('alice');
    await release();
    await s.keeper.sweep();
    await s.clock.pass(minutes(1));
    expect(s.health()).toBeUndefined();
    expect(() => text(s, 'cilogon.top')).toThrow('ENOENT');
    expect(s.health(key('h'))).toMatchObject({
      state: 'login-needed',
      trouble: {
        what: 'the login cilogon that it is made from is not there any more',
        hint: 'run: credmon login cilogon',
      },
    });
  });

  test('it is removed itself: no token of it appears, and the login has lost nothing', async () => {
    const s = await withMade();
    const release = await inFlight(s);
    rmSync(s.at('cilogon_h.top'));
    rmSync(s.at('cilogon_h.use'));
    await s.keeper.look('alice');
    await release();
    await s.keeper.sweep();
    expect(s.health(key('h'))).toBeUndefined();
    expect(() => text(s, 'cilogon_h.use')).toThrow('ENOENT');
    intact(s);
    await s.clock.pass(hours(2));
    intact(s);
    expect(s.health()?.state).toBe('fresh');
  });

  test('it is asked for otherwise: the late answer is not taken for that', async () => {
    const s = await withMade();
    const release = await inFlight(s);
    ask(s, 'h', { from: '', scopes: ['others'] });
    await s.keeper.look('alice');
    await release();
    await s.clock.pass(minutes(1));
    expect(s.health(key('h'))).toMatchObject({ state: 'fresh', scopes: ['others'] });
    expect(s.book().asked.at(-1)?.parameters.scope).toBe('others');
    intact(s);
  });

  test('the login’s file is only touched, or given scopes: nothing is thrown away for it', async () => {
    for (const touch of [
      (s: Station) => chmodSync(s.at('cilogon.top'), 0o400),
      (s: Station) => void s.login(s.top(), { scopes: 'scope-h,b' }),
    ]) {
      const s = await withMade();
      const release = await inFlight(s);
      touch(s);
      await release();
      await s.keeper.sweep();
      await s.clock.pass(minutes(1));
      expect(s.health(key('h'))?.state).toBe('fresh');
      intact(s);
    }
  });

  test('the whole folder is swept: nothing comes back', async () => {
    const s = await withMade();
    const release = await inFlight(s);
    rmSync(join(s.dir, 'alice'), { recursive: true });
    await release();
    await s.keeper.sweep();
    await s.clock.pass(hours(3));
    expect([...s.keeper.healths()]).toEqual([]);
  });
});

describe('a login that has ended', () => {
  /** Dead for want of its login, which is not there. */
  async function dead(how: 'removed' | 'revoked'): Promise<Station> {
    const s = await withMade();
    if (how === 'removed') for (const ending of ['top', 'use']) rmSync(s.at(`cilogon.${ending}`));
    else await s.book().revoke(s.top(), new AbortController().signal);
    await s.keeper.sweep();
    await s.clock.pass(hours(2));
    expect(s.health(key('h'))).toMatchObject({
      state: 'login-needed',
      trouble: { hint: 'run: credmon login cilogon' },
    });
    expect(s.health(key('h'))).not.toHaveProperty('due');
    return s;
  }
  const again = async (s: Station) => {
    s.login(s.book().grant());
    await s.keeper.look('alice');
    await s.clock.pass(minutes(1));
    expect(s.health()?.state).toBe('fresh');
  };

  test.each<[string, (s: Station) => void]>([
    ['removed', (s) => rmSync(s.at('cilogon.top'))],
    ['damaged', (s) => store(s, 'cilogon', '{"refresh_token":')],
  ])('%s: what is made from it is told so at once, not when its own token comes due', async (_, end) => {
    const s = await withMade(['h', 'other']);
    const asked = s.book().asked.length;
    end(s);
    await s.keeper.look('alice');
    await s.clock.pass(100);
    for (const handle of ['h', 'other'])
      expect(s.health(key(handle))).toMatchObject({
        state: 'login-needed',
        trouble: { hint: 'run: credmon login cilogon' },
      });
    expect(s.book().asked).toHaveLength(asked);
    // Jobs have what there is until it ends.
    expect(s.use('cilogon_h').access_token).toMatch(/^cilogon-access-/);
    await again(s);
    for (const handle of ['h', 'other']) expect(s.health(key(handle))?.state).toBe('fresh');
    intact(s);
  });

  test('revoked: what is made from it is told so as soon as the login itself is', async () => {
    const s = await withMade(['h', 'other']);
    await s.book().revoke(s.top(), new AbortController().signal);
    const asked = s.book().asked.length;
    const states = () => [undefined, 'h', 'other'].map((handle) => s.health(key(handle))?.state);
    for (let n = 0; n < 10_000 && !states().includes('login-needed'); n++) await s.clock.pass(1000);
    expect(states()).toEqual(['login-needed', 'login-needed', 'login-needed']);
    expect(s.book().asked).toHaveLength(asked + 1);
  });

  test.each(['removed', 'revoked'] as const)(
    '%s: what is made from it asks nobody until it is made anew, and then goes on',
    async (how) => {
      const s = await dead(how);
      const asked = s.book().asked.length;
      await s.clock.pass(hours(24));
      await s.keeper.sweep();
      expect(s.book().asked).toHaveLength(asked);
      await again(s);
      expect(s.health(key('h'))).toMatchObject({ state: 'fresh' });
      expect(s.book().asked).toHaveLength(asked + 2);
      intact(s);
    },
  );

  test.each(['removed', 'revoked'] as const)('%s, and credmond restarted: the same', async (how) => {
    const s = await dead(how);
    // So that it is told of on disk, from which the next one has it.
    await s.clock.pass(minutes(1));
    const asked = s.book().asked.length;
    s.start();
    await s.keeper.sweep();
    await s.clock.pass(minutes(1));
    expect(s.health(key('h'))?.state).toBe('login-needed');
    expect(s.book().asked).toHaveLength(asked);
    await again(s);
    expect(s.health(key('h'))).toMatchObject({ state: 'fresh' });
    intact(s);
  });

  test.each(['removed', 'revoked'] as const)('%s, and made anew while no credmond ran: the same', async (how) => {
    const s = await dead(how);
    await s.clock.pass(minutes(1));
    await s.keeper.close(seconds(0));
    s.login(s.book().grant());
    s.start();
    await s.keeper.sweep();
    await s.clock.pass(minutes(1));
    for (const handle of [undefined, 'h']) expect(s.health(key(handle))?.state).toBe('fresh');
    intact(s);
  });

  test('what was asked for before the login is there begins with it', async () => {
    const s = station();
    ask(s, 'h', narrow('h'));
    await s.keeper.sweep();
    await s.clock.pass(minutes(1));
    expect(s.health(key('h'))?.state).toBe('login-needed');
    await again(s);
    expect(s.health(key('h'))?.state).toBe('fresh');
    intact(s);
  });

  test('another login, of another handle or another person, changes nothing', async () => {
    const s = await dead('removed');
    const asked = s.book().asked.length;
    s.login(s.book().grant(), { handle: 'x' });
    s.login(s.book().grant(), { user: 'bob' });
    await s.keeper.sweep();
    await s.clock.pass(minutes(1));
    expect(s.health(key('h'))?.state).toBe('login-needed');
    expect(s.book().asked).toHaveLength(asked + 2);
  });
});

describe('a disk that does not do its part', () => {
  /** The credential's refresh has rotated the login's token, which cannot be written. */
  async function unwritten(): Promise<Station> {
    const s = await withMade();
    await s.clock.pass(minutes(1));
    chmodSync(join(s.dir, 'alice'), 0o500);
    const before = s.top();
    await s.clock.pass(s.due(key('h')));
    expect(s.book().accepts(before)).toBe(false);
    expect(s.top()).toBe(before);
    expect(s.health(key('h'))).toMatchObject({ state: 'retrying', trouble: { kind: 'storage' } });
    return s;
  }

  test('the login’s new refresh token is held until it can be written, whoever writes it', () =>
    unprivileged([], async () => {
      const s = await unwritten();
      // Long enough for the login's own refresh to be due as well.
      await s.clock.pass(hours(1));
      chmodSync(join(s.dir, 'alice'), 0o700);
      await s.clock.pass(minutes(30));
      for (const handle of [undefined, 'h']) expect(s.health(key(handle))?.state).toBe('fresh');
      intact(s);
      expect(s.log.lines.join('\n')).not.toMatch(/-(?:refresh|access)-\d/);
    }));

  test('at the end of the daemon it is written once more, if it can be', () =>
    unprivileged([], async () => {
      const s = await unwritten();
      chmodSync(join(s.dir, 'alice'), 0o700);
      await Promise.all([s.keeper.close(seconds(10)), s.clock.rest()]);
      intact(s);
    }));

  test('when its folder was moved away and comes back, it is written at once, long before it is due', () =>
    unprivileged([], async () => {
      const s = await withMade();
      const [folder, away] = [join(s.dir, 'alice'), join(s.dir, '.away')];
      await s.clock.pass(s.due());
      ask(s, 'h', { from: '', scopes: ['others'] });
      chmodSync(folder, 0o500);
      await s.keeper.look('alice');
      await s.clock.pass(1000);
      expect(s.book().accepts(s.top())).toBe(false);
      renameSync(folder, away);
      await s.keeper.look('alice');
      expect([...s.keeper.healths()]).toEqual([]);
      chmodSync(away, 0o700);
      rmSync(join(away, 'cilogon_h.top'));
      renameSync(away, folder);
      await s.keeper.look('alice');
      await s.clock.pass(1000);
      intact(s);
    }));

  test('a login meanwhile wins, and what was held for it is forgotten', () =>
    unprivileged([], async () => {
      const s = await unwritten();
      chmodSync(join(s.dir, 'alice'), 0o700);
      s.login(s.book().grant());
      await s.keeper.look('alice');
      await s.clock.pass(minutes(15));
      for (const handle of [undefined, 'h']) expect(s.health(key(handle))?.state).toBe('fresh');
      intact(s);
    }));
});

describe('what a person makes from what', () => {
  test('from one that is itself made from another: refused, without asking anybody', async () => {
    const s = await withMade(['a']);
    const asked = s.book().asked.length;
    ask(s, 'b', { from: 'a' });
    await s.keeper.look('alice');
    await s.clock.pass(minutes(1));
    expect(s.health(key('b'))).toMatchObject({
      state: 'login-needed',
      trouble: { what: 'the login that it is made from has no refresh token' },
    });
    expect(s.book().asked).toHaveLength(asked);
  });

  test('one from the other: neither hangs, nobody else waits, and the daemon can end', async () => {
    const s = station();
    ask(s, 'a', { from: 'b' });
    ask(s, 'b', { from: 'a' });
    for (const [handle, from] of ['ab', 'bc', 'ca'])
      store(s, `cilogon_${handle}`, request(handle as string, { from: from as string }), 'carol');
    s.login(s.book().grant(), { user: 'bob' });
    await s.keeper.sweep();
    await s.clock.pass(minutes(1));
    for (const one of ['alice/cilogon_a', 'alice/cilogon_b', 'carol/cilogon_a', 'carol/cilogon_b', 'carol/cilogon_c'])
      expect([one, s.health(one)?.state]).toEqual([one, 'login-needed']);
    expect(s.health('bob/cilogon')?.state).toBe('fresh');
    expect(s.book().asked).toHaveLength(1);
    let closed = false;
    void s.keeper.close(seconds(1)).then(() => {
      closed = true;
    });
    await s.clock.pass(2000);
    expect(closed).toBe(true);
  });

  test('from a credential of another provider, whose name begins like this one’s: its secret goes nowhere', async () => {
    const s = station({ providers: [provider('dune'), provider('dune_production')] });
    s.login(s.book('dune_production').grant(), { service: 'dune_production', handle: 'x' });
    store(s, 'dune_h', formatRequest({ service: 'dune', handle: 'h' }, { from: 'production_x' }));
    await s.keeper.sweep();
    await s.clock.pass(minutes(1));
    expect(s.health('alice/dune_production_x')?.state).toBe('fresh');
    expect(s.book('dune').asked).toEqual([]);
    expect(s.health('alice/dune_h')?.state).toBe('login-needed');
  });

  test('of another person’s: there is no way to name it', async () => {
    const s = station();
    s.login(s.book().grant(), { user: 'bob' });
    for (const from of ['../bob/cilogon', 'bob', '..', '/', 'x/../../bob/cilogon'])
      store(s, 'cilogon_h', { credmon_request: 1, provider: 'cilogon', handle: 'h', from });
    await s.keeper.sweep();
    await s.clock.pass(minutes(1));
    expect(s.health(key('h'))?.state).toBe('damaged');
    ask(s, 'h', { from: '' });
    await s.keeper.look('alice');
    await s.clock.pass(minutes(1));
    expect(s.health(key('h'))?.state).toBe('login-needed');
    expect(s.book().asked).toHaveLength(1);
  });
});

test('whoever looks for its token at one after the other keeps none of them in hand', async () => {
  const url = 'https://vault.example:8200/v1/secret/oauth/creds/x';
  const asked: string[] = [];
  const s: Station = station({
    providers: [provider('dune', { flow: 'vault', vaultHosts: ['vault.example'] })],
    http: async (_, { headers }) => {
      asked.push(headers?.['x-vault-token'] ?? '');
      const expire_time = new Date(s.clock.now() + hours(1)).toISOString();
      return { status: 200, headers: {}, body: { data: { access_token: 'a', expire_time } } };
    },
  });
  store(s, 'dune', { vault_url: url, vault_token: 'of-dune' });
  store(s, 'dune_a_b', { vault_url: url, scopes: 'x' });
  await s.keeper.sweep();
  await s.clock.pass(100);
  expect(s.health('alice/dune_a_b')?.state).toBe('fresh');
  // The one that was looked for and was not there comes now.
  store(s, 'dune_a', { vault_url: url, vault_token: 'of-dune-a' });
  await s.keeper.look('alice');
  await s.clock.pass(100);
  expect(s.health('alice/dune_a')?.state).toBe('fresh');
  await s.clock.pass(hours(1));
  expect(asked.slice(-3).sort()).toEqual(['of-dune', 'of-dune-a', 'of-dune-a']);
});

describe('at a real issuer', () => {
  const device = 'urn:ietf:params:oauth:grant-type:device_code';
  const own = {
    client_id: 'own',
    token_endpoint_auth_method: 'none',
    grant_types: [device, 'refresh_token', exchangeGrant],
  };
  const scopes = ['offline_access', 'storage.read:/a', 'storage.read:/b'];

  test.each(['honoured', 'ignored', 'refused'] as const)(
    'narrowing %s: two made from a login, the login, and restarts: no refresh token is used twice',
    async (narrowing) => {
      const real = await startIssuer({ clients: [own], accessTokenTtl: 3600, behaviour: { narrowing } });
      onTestFinished(() => real.stop());
      const one = provider('cilogon', { issuer: real.url, clientId: 'own', scopes });
      const s: Station = station({ providers: [one], issuer: (): Issuer => counted(opened, s.work) });
      const opened = openIssuer(one, undefined, s.clock);
      onTestFinished(() => opened.close());
      const stop = new AbortController().signal;
      const code = await opened.device({ scope: scopes.join(' ') }, stop);
      await real.approve(code.userCode, { login: 'alice' });
      const { refreshToken = '' } = await opened.token(device, { device_code: code.deviceCode }, { stop });
      s.login(refreshToken);
      ask(s, 'a', { from: '', scopes: ['storage.read:/a'] });
      ask(s, 'b', { from: '', scopes: ['storage.read:/b'], audience: 'https://b' });
      const claims = (name: string) =>
        JSON.parse(Buffer.from(s.use(name).access_token.split('.')[1] ?? '', 'base64url').toString());
      for (let n = 0; n < 3; n++) {
        if (n > 0) s.start();
        await s.keeper.sweep();
        await s.clock.pass(minutes(50));
        expect(claims('cilogon_a')).toMatchObject({ sub: 'alice', scope: 'storage.read:/a' });
        expect(claims('cilogon_b')).toMatchObject({ sub: 'alice', scope: 'storage.read:/b', aud: 'https://b' });
        expect(String(claims('cilogon').scope).split(' ').sort()).toEqual(scopes);
        expect([...s.keeper.healths()].map(({ state }) => state)).toEqual(['fresh', 'fresh', 'fresh']);
        expect(real.counts).toMatchObject({ reuse: 0 });
      }
      expect(real.counts.refreshes).toBeGreaterThan(6);
      expect(text(s, 'cilogon_a.top') + text(s, 'cilogon_b.top')).not.toContain('refresh_token');
      expect(s.log.lines.join('\n')).not.toMatch(/eyJ/);
      expect(s.log.lines.join('\n')).not.toContain(s.top());
    },
  );

  /** Alice's request, of a provider whose client vouches for its users. */
  async function exchanging() {
    const real = await startIssuer({ accessTokenTtl: 3600, behaviour: { subjects: ['alice'] } });
    onTestFinished(() => real.stop());
    const one = provider('icecube', {
      issuer: real.url,
      flow: 'exchange',
      clientId: exchangeClient.client_id,
      secretFile: '/etc/secret',
      scopes: ['storage.read:/a'],
    });
    const s: Station = station({ providers: [one], issuer: () => counted(spied, s.work) });
    const opened = openIssuer(one, exchangeClient.client_secret, s.clock);
    onTestFinished(() => opened.close());
    /** Called before each request to the token endpoint. */
    const before: { call?: () => void } = {};
    const spied: Issuer = {
      ...opened,
      token: async (...call) => {
        const token = await opened.token(call[0], call[1], {
          ...call[2],
          rotation: keeping(async (refreshToken) => {
            before.call?.();
            await call[2].rotation?.keep(refreshToken);
          }),
        });
        return token;
      },
    };
    const put = (more: object = {}) => store(s, 'icecube', formatRequest({ service: 'icecube' }, more));
    const scope = () =>
      JSON.parse(Buffer.from(s.use('icecube').access_token.split('.')[1] ?? '', 'base64url').toString()).scope;
    return { real, s, put, scope, before };
  }

  test('a request without a login: what it brings is kept beside it, and used from then on, also after a restart', async () => {
    const { real, s, put, scope } = await exchanging();
    put({ scopes: ['storage.read:/a/b'] });
    await s.keeper.sweep();
    await s.clock.pass(100);
    expect(s.health('alice/icecube')).toMatchObject({ state: 'fresh', grant: 'request' });
    expect(s.health('alice/icecube')).not.toHaveProperty('origin');
    expect(scope()).toBe('storage.read:/a/b');
    expect(JSON.parse(text(s, 'icecube.top'))).toMatchObject({
      credmon_request: 1,
      provider: 'icecube',
      refresh_token: s.top('icecube'),
    });
    await s.clock.pass(hours(2));
    s.start();
    await s.keeper.sweep();
    await s.clock.pass(hours(2));
    expect(real.counts).toMatchObject({ exchanges: 1, reuse: 0 });
    expect(real.counts.refreshes).toBeGreaterThan(4);
    real.revokeGrants();
    await s.clock.pass(hours(2));
    expect(s.health('alice/icecube')?.state).toBe('fresh');
    expect(real.counts).toMatchObject({ exchanges: 2, reuse: 0 });
  });

  test('another request while it is being exchanged: what was brought for the former is not taken for the latter', async () => {
    const { s, put, scope, before } = await exchanging();
    put({ scopes: ['storage.read:/a'] });
    before.call = () => {
      delete before.call;
      put({ scopes: ['storage.read:/b'] });
    };
    await s.keeper.sweep();
    await s.clock.pass(minutes(1));
    await s.keeper.sweep();
    await s.clock.pass(minutes(1));
    expect(s.health('alice/icecube')).toMatchObject({ state: 'fresh', scopes: ['storage.read:/b'] });
    expect(scope()).toBe('storage.read:/b');
  });
});

test('what the administrator does not allow is asked for once, and again when the configuration is another', async () => {
  const one = provider('icecube', { flow: 'exchange', secretFile: '/etc/secret', allowedScopes: ['storage.read:/a'] });
  const s = station({ providers: [one] });
  store(s, 'icecube', formatRequest({ service: 'icecube' }, { scopes: ['storage.read:/b'] }));
  await s.keeper.sweep();
  await s.clock.pass(hours(2));
  expect(s.health('alice/icecube')).toMatchObject({ state: 'refused', trouble: { kind: 'refused' } });
  expect(s.health('alice/icecube')).not.toHaveProperty('due');
  expect(s.log.with('may not have the scope')).toHaveLength(1);
  expect(s.book('icecube').asked).toEqual([]);
  s.configured.set('icecube', { ...one, allowedScopes: ['storage.read:/b'] });
  s.keeper.reconsider();
  await s.clock.pass(100);
  expect(s.book('icecube').asked[0]?.parameters).toMatchObject({
    scope: 'storage.read:/b',
    requested_subject: 'alice',
  });
  expect(s.health('alice/icecube')?.state).not.toBe('refused');
});
