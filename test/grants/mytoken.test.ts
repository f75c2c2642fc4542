import { describe, expect, onTestFinished, test } from 'vitest';
import type { MytokenGrant } from '../../src/core/credential.js';
import type { Errand, Http } from '../../src/core/ports.js';
import type { Provider } from '../../src/core/provider.js';
import { seconds } from '../../src/core/time.js';
import { mytoken } from '../../src/grants/mytoken.js';
import { hours, minutes, station } from '../daemon/kit.js';
import { canCertify } from '../helpers/certificates.js';
import { type Mytoken, type MytokenOptions, startMytoken } from '../helpers/mytoken.js';
import { keeping } from '../helpers/rotation.js';
import type { Fault } from '../helpers/served.js';
import { certificates, errand, failure, found, http, provider, sleepy, store } from './kit.js';

async function own(options: MytokenOptions = {}): Promise<Mytoken> {
  const server = await startMytoken({ tls: certificates(), ...options });
  onTestFinished(() => server.stop());
  return server;
}

function asking(server: Mytoken, more: Partial<Provider> = {}, errands: Partial<Errand> = {}) {
  return errand({ provider: provider({ flow: 'mytoken', issuer: server.url, ...more }), http: http(), ...errands });
}

const grantOf = (secret: string, more: Partial<MytokenGrant> = {}): MytokenGrant => ({
  kind: 'mytoken',
  mytoken: secret,
  ...more,
});

const rotating = { rotation: { on_AT: true, auto_revoke: true } } as const;

describe.skipIf(!canCertify)('a mytoken', () => {
  test('brings an access token from where the server says', async () => {
    const server = await own();
    const secret = server.make();
    const mine = asking(server);
    const token = await mytoken(grantOf(secret), mine);
    expect(token).toMatchObject({
      tokenType: 'Bearer',
      lifeFrom: 'expires_in',
      scopes: expect.arrayContaining(['openid']),
    });
    expect(token.expires - token.issued).toBe(3_600_000);
    expect(server.requests.map(({ path }) => path)).toEqual([
      '/.well-known/mytoken-configuration',
      '/api/v0/token/access',
    ]);
    expect(server.requests[1]?.params).toEqual({ grant_type: 'mytoken', mytoken: secret });
    expect(mine.kept).toEqual([]);
  });

  test('or from where the configuration says, which alone is asked', async () => {
    const server = await own();
    const token = await mytoken(
      grantOf(server.make({ type: 'short_token' })),
      asking(server, { tokenUrl: server.endpoint }),
    );
    expect(token.accessToken).toBeTruthy();
    expect(server.requests).toHaveLength(1);
  });

  test('is narrowed by what the credential names, else by what is configured', async () => {
    const server = await own();
    const secret = server.make({ restriction: { scopes: ['storage.read:/', 'compute.read'] } });
    const mine = asking(server, { tokenUrl: server.endpoint, scopes: ['compute.read'], audience: 'https://x.example' });
    await mytoken(grantOf(secret), mine);
    const narrow = await mytoken(grantOf(secret, { scopes: ['storage.read:/a'], audience: 'https://y.example' }), mine);
    expect(narrow.scopes).toEqual(['storage.read:/a']);
    expect(server.requests.map(({ params }) => [params.scope, params.audience])).toEqual([
      ['compute.read', 'https://x.example'],
      ['storage.read:/a', 'https://y.example'],
    ]);
  });

  test('of a server that moves is followed within the hour, and not asked for each time', async () => {
    const server = await own();
    let time = Date.now();
    const clock = { now: () => time as ReturnType<Errand['clock']['now']>, steady: () => 0 };
    const mine = asking(server, {}, { clock });
    const asked = () => server.requests.filter(({ endpoint }) => endpoint === 'configuration').length;
    const secret = server.make();
    for (const step of [0, minutes(59), minutes(2)]) {
      time += step;
      await mytoken(grantOf(secret), mine);
    }
    expect(asked()).toBe(2);
    // The clock was set back.
    time -= hours(5);
    await mytoken(grantOf(secret), mine);
    expect(asked()).toBe(3);
    // Configured anew.
    await mytoken(grantOf(secret), asking(server));
    expect(asked()).toBe(4);
  });

  test('brings one that lives from when it was asked for: the answer may come when the machine has slept for an hour', async () => {
    const server = await own();
    const slept = sleepy(http());
    const token = await mytoken(
      grantOf(server.make()),
      asking(server, { tokenUrl: server.endpoint }, { clock: slept.clock, http: slept.http }),
    );
    expect(token.expires - token.issued).toBe(3_600_000);
    expect(slept.clock.now() - token.issued).toBeGreaterThanOrEqual(hours(1));
  });

  test('of a server that is being asked where: all who come meanwhile wait for that, and each can leave', async () => {
    const one = provider({ flow: 'mytoken', issuer: 'https://mytoken.example' });
    const endpoint = 'https://mytoken.example/token';
    const asked: AbortSignal[] = [];
    let tell: (status: number) => void = () => {};
    const call: Http = async (url, { stop }) => {
      const body = { access_token: 'a', access_token_endpoint: endpoint };
      if (url === endpoint) return { status: 200, headers: {}, body };
      asked.push(stop);
      const status = await new Promise<number>((resolve, reject) => {
        tell = resolve;
        stop.addEventListener('abort', () => reject(stop.reason), { once: true });
      });
      return { status, headers: {}, body };
    };
    const leave = () => new AbortController();
    const ask = (stop: AbortSignal) => mytoken(grantOf('m'), errand({ provider: one, http: call, stop }));
    // With the last who leaves it is given up.
    const alone = leave();
    const given = ask(alone.signal);
    alone.abort(new Error('left'));
    await expect(given).rejects.toThrow('left');
    expect([asked.length, asked[0]?.aborted]).toEqual([1, true]);
    // The first leaves, the others go on.
    const [first, rest] = [leave(), leave().signal];
    const [gone, ...all] = [first.signal, rest, rest, rest].map(ask);
    first.abort(new Error('left'));
    await expect(gone).rejects.toThrow('left');
    tell(200);
    expect(await Promise.all(all)).toHaveLength(3);
    expect([asked.length, asked[1]?.aborted]).toEqual([2, false]);
  });

  test('tells its end by the answer, else by the token, else as configured', async () => {
    const server = await own();
    const secret = server.make();
    const lifeOf = async (body: object) => {
      server.next({ status: 200, body: { token_type: 'Bearer', ...body } });
      const token = await mytoken(grantOf(secret), asking(server, { tokenUrl: server.endpoint, life: seconds(777) }));
      return [token.lifeFrom, Math.round((token.expires - token.issued) / 1000)];
    };
    expect(await lifeOf({ access_token: 'opaque', expires_in: '600' })).toEqual(['expires_in', 600]);
    expect(await lifeOf({ access_token: 'opaque', expires_in: 'soon' })).toEqual(['default', 777]);
    const payload = Buffer.from(JSON.stringify({ exp: Math.round(Date.now() / 1000) + 600 })).toString('base64url');
    expect((await lifeOf({ access_token: `e30.${payload}.c2ln` }))[0]).toBe('jwt');
  });
});

describe.skipIf(!canCertify)('a mytoken that rotates', () => {
  test('is kept before anything of the answer is judged', async () => {
    const server = await own();
    const secret = server.make(rotating);
    const next = 'next-mytoken-s3cret';
    for (const broken of [
      { status: 200, body: { token_update: { mytoken: next } } },
      { status: 200, body: { access_token: 5, token_update: { mytoken: next } } },
      { status: 500, body: { error: next, token_update: { mytoken: next } } },
      { status: 400, body: { error: 'x', error_description: next, token_update: { mytoken: next } } },
    ] satisfies Fault[]) {
      server.next(broken);
      const mine = asking(server, { tokenUrl: server.endpoint });
      await failure(mytoken(grantOf(secret), mine), secret, next);
      expect(mine.kept).toEqual([next]);
    }
  });

  test('that cannot be kept brings no access token', async () => {
    const server = await own();
    const rotation = keeping(async () => {
      throw new Error('the disk is full');
    });
    await expect(mytoken(grantOf(server.make(rotating)), asking(server, {}, { rotation }))).rejects.toThrow(
      'the disk is full',
    );
  });

  test.each([{}, { mytoken: '' }, { mytoken: 5 }, null, 'x'])('an update that is none: %o', async (token_update) => {
    const server = await own();
    server.next({ status: 200, body: { access_token: 'a', token_update } });
    const mine = asking(server, { tokenUrl: server.endpoint });
    expect(await mytoken(grantOf(server.make()), mine)).toMatchObject({ accessToken: 'a' });
    expect(mine.kept).toEqual([]);
  });
});

describe.skipIf(!canCertify)('what a mytoken server says', () => {
  const html: Fault = { status: 403, body: '<html>403</html>' };
  test.each<[string, Fault, object]>([
    [
      'a token that it does not know',
      { status: 401, body: { error: 'invalid_token' } },
      { kind: 'login-needed', code: 'invalid_token' },
    ],
    [
      'the login behind it has ended',
      { status: 400, body: { error: 'oidc_error', error_description: 'invalid_grant: Token revoked' } },
      { kind: 'login-needed' },
    ],
    [
      'so, with a status of its own',
      { status: 500, body: { error: 'oidc_error', error_description: 'invalid_grant' } },
      { kind: 'login-needed' },
    ],
    [
      'another error of the provider',
      { status: 400, body: { error: 'oidc_error', error_description: 'invalid_scope' } },
      { kind: 'refused', code: 'mytoken_oidc_error' },
    ],
    // Not a word about the token: "Unsupported grant_type".
    [
      'invalid_grant',
      { status: 400, body: { error: 'invalid_grant', error_description: 'Unsupported grant_type' } },
      { kind: 'refused' },
    ],
    [
      'what it cannot do',
      { status: 403, body: { error: 'insufficient_capabilities' } },
      { kind: 'refused', hint: expect.stringContaining('AT') },
    ],
    [
      'what it may not do',
      { status: 403, body: { error: 'usage_restricted' } },
      { kind: 'refused', hint: expect.stringContaining('restrictions') },
    ],
    ['trouble', { status: 500, body: { error: 'internal_server_error' } }, { kind: 'transient' }],
    ['too much', { status: 429, body: {}, headers: { 'retry-after': '9' } }, { kind: 'transient', wait: 9 }],
    ['a redirect', { status: 307, headers: { location: 'https://evil.example/' } }, { kind: 'protocol' }],
    ['a portal', html, { kind: 'protocol' }],
    ['a portal that says yes', { status: 200, body: '<html>' }, { kind: 'protocol' }],
    ['a proxy’s 401', { status: 401, body: '<html>' }, { kind: 'protocol' }],
    ['a gateway', { status: 502, body: '<html>' }, { kind: 'transient' }],
    ['nothing', 'reset', { kind: 'transient' }],
    ['half', 'truncated', { kind: 'transient' }],
  ])('%s', async (_, fault, expected) => {
    const server = await own();
    const secret = server.make({ type: 'short_token' });
    server.next(fault);
    const why = await failure(mytoken(grantOf(secret), asking(server, { tokenUrl: server.endpoint })), secret);
    expect(why).toMatchObject(expected);
    if (why.kind === 'login-needed') expect(why.hint).toContain('condor_store_cred add-oauth -s dune');
    expect(server.requests).toHaveLength(1);
  });

  test('is quoted without the mytoken', async () => {
    const server = await own();
    const secret = server.make({ type: 'short_token' });
    server.next({ status: 400, body: { error: secret, error_description: `bad: ${secret}` } });
    const why = await failure(mytoken(grantOf(secret), asking(server, { tokenUrl: server.endpoint })), secret);
    expect(why).toMatchObject({ what: expect.stringContaining('… (bad: …)') });
  });

  test('of itself is judged', async () => {
    const server = await own();
    const secret = server.make();
    for (const [body, kind] of [
      [{ issuer: server.url }, 'config'],
      [{ issuer: 'https://other.example', access_token_endpoint: server.endpoint }, 'protocol'],
      [{ issuer: server.url, access_token_endpoint: 'http://plain.example/' }, 'protocol'],
      [{ issuer: server.url, access_token_endpoint: 'http://127.0.0.1/' }, 'protocol'],
      [{ issuer: server.url, access_token_endpoint: 'https://other.example/token' }, 'protocol'],
    ] as const) {
      const asked: string[] = [];
      const answers: Errand['http'] = async (url) => {
        asked.push(url);
        return { status: 200, headers: {}, body };
      };
      const why = await failure(mytoken(grantOf(secret), asking(server, {}, { http: answers })), secret);
      expect(why).toMatchObject({ kind, hint: expect.stringMatching(/dune_(?:ISSUER|ENDPOINT_HOSTS)/) });
      // The mytoken goes nowhere.
      expect(asked).toEqual([`${server.url}/.well-known/mytoken-configuration`]);
    }
    const missing: Errand['http'] = async () => ({ status: 404, headers: {}, body: {} });
    expect((await failure(mytoken(grantOf(secret), asking(server, {}, { http: missing })))).kind).toBe('config');
    const { issuer: _, ...nowhere } = provider({ flow: 'mytoken' });
    expect((await failure(mytoken(grantOf(secret), errand({ provider: nowhere })))).kind).toBe('config');
  });
});

describe.skipIf(!canCertify)('kept by the daemon', () => {
  async function kept() {
    let now = () => Date.now();
    const server = await own({ now: () => now() });
    const s = station({
      providers: [provider({ name: 'dune', flow: 'mytoken', issuer: server.url })],
      http: http(),
    });
    now = () => s.clock.now();
    const go = async (ms = 0) => {
      await s.keeper.sweep();
      await s.clock.pass(ms);
    };
    const top = () => JSON.parse(found(s, 'dune.top') ?? '') as Record<string, string>;
    return { s, server, go, top };
  }

  test('each rotation is on disk, and the scopes with it', async () => {
    const { s, server, go, top } = await kept();
    store(s, 'dune', { mytoken: server.make(rotating), scopes: 'openid', audience: 'https://x.example' });
    await go(hours(10));
    expect(server.counts.rotations).toBeGreaterThan(10);
    expect(server.counts.reuse).toBe(0);
    expect(server.accepts(top().mytoken ?? '')).toBe(true);
    expect(Object.keys(top()).sort()).toEqual(['audience', 'mytoken', 'scopes']);
    expect(s.health('alice/dune')).toMatchObject({ state: 'fresh', grant: 'mytoken' });
    expect(s.use('dune')).toMatchObject({ token_type: 'Bearer', expires_in: 3600 });
    for (const line of s.log.lines) expect(line).not.toMatch(/eyJ/);
  });

  test('one that stands alone in the file', async () => {
    const { s, server, go, top } = await kept();
    store(s, 'dune', `${server.make({ ...rotating, type: 'short_token' })}\n`);
    await go(hours(2));
    expect(server.accepts(top().mytoken ?? '')).toBe(true);
    expect(server.counts.reuse).toBe(0);
  });

  test('the new one is on disk before the access token is, and when there is none', async () => {
    const { s, server, go, top } = await kept();
    store(s, 'dune', { mytoken: server.make(rotating) });
    server.next({ status: 200, body: { token_update: { mytoken: 'kept-all-the-same' } } });
    await go();
    expect([top().mytoken, found(s, 'dune.use')]).toEqual(['kept-all-the-same', undefined]);
    expect(s.health('alice/dune')).toMatchObject({ state: 'retrying', trouble: { kind: 'protocol' } });
  });

  test('one that the server does not honour any more is left alone until there is another', async () => {
    const { s, server, go } = await kept();
    const secret = server.make();
    store(s, 'dune', { mytoken: secret });
    await go();
    server.revoke(secret);
    await go(hours(1));
    expect(s.health('alice/dune')).toMatchObject({
      state: 'login-needed',
      trouble: { hint: expect.stringContaining('make another mytoken') },
    });
    const asked = server.requests.length;
    await go(hours(24));
    expect(server.requests).toHaveLength(asked);
    // As it was.
    expect(JSON.parse(found(s, 'dune.top') ?? '')).toEqual({ mytoken: secret });
    store(s, 'dune', { mytoken: server.make() });
    await go();
    expect(s.health('alice/dune')).toMatchObject({ state: 'fresh' });
  });
});
