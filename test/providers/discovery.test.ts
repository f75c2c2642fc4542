import { describe, expect, test } from 'vitest';
import type { Clock } from '../../src/core/ports.js';
import { later } from '../../src/core/time.js';
import { systemClock } from '../../src/system/clock.js';
import * as fault from '../helpers/faults.js';
import { keeping } from '../helpers/rotation.js';
import { failureIn, faultyFor, never, open, type Reply, serve, soon, until } from './kit.js';

const oidcPath = '/.well-known/openid-configuration';
const oauthPath = '/.well-known/oauth-authorization-server';
const bearer = { access_token: 'opaque', token_type: 'Bearer', refresh_token: 'next', expires_in: 60 };
const endpoints = (url: string) => ({
  issuer: url,
  token_endpoint: `${url}/token`,
  device_authorization_endpoint: `${url}/device`,
});
const code = (url: string) => ({
  device_code: 'd',
  user_code: 'ABCD',
  verification_uri: `${url}/go`,
  expires_in: 60,
});

describe('discovery', () => {
  test('is done once, however many ask at the same time', async () => {
    const faulty = await faultyFor();
    const issuer = open({ issuer: faulty.url });
    await Promise.all([issuer.scopes(never), issuer.device({}, never), issuer.scopes(never)]);
    await issuer.device({}, never);
    expect(faulty.requests.map(({ endpoint }) => endpoint)).toEqual(['discovery', 'device', 'device']);
  });

  test('is done again after six hours, and after a failure', async () => {
    const faulty = await faultyFor();
    let steady = 0;
    const clock: Clock = { ...systemClock, steady: () => steady };
    const issuer = open({ issuer: faulty.url }, undefined, clock);
    faulty.next('discovery', fault.status(503));
    expect((await failureIn(issuer.scopes(never))).kind).toBe('transient');
    await issuer.scopes(never);
    steady = 6 * 3600 * 1000;
    await issuer.scopes(never);
    expect(faulty.requests).toHaveLength(2);
    steady++;
    await issuer.scopes(never);
    expect(faulty.requests).toHaveLength(3);
  });

  test('of an issuer that only does OAuth2 is RFC 8414’s', async () => {
    const { url, asked } = await serve((url) => ({
      [oauthPath]: { body: { ...endpoints(url), scopes_supported: ['a', 'b'] } },
      '/token': { body: bearer },
      '/device': { body: code(url) },
    }));
    const issuer = open({ issuer: url });
    expect(await issuer.scopes(never)).toEqual(['a', 'b']);
    expect(await issuer.device({}, never)).toMatchObject({ userCode: 'ABCD', link: `${url}/go` });
    const token = await issuer.token('refresh_token', { refresh_token: 'r' }, { stop: never, identify: true });
    expect(token).toMatchObject({ accessToken: 'opaque', refreshToken: 'next' });
    expect(token.subject).toBeUndefined();
    expect(asked.map(({ path }) => path)).toEqual([oidcPath, oauthPath, '/device', '/token']);
  });

  test('of an issuer with a path puts it where each of the two standards does', async () => {
    const { url, asked } = await serve((url) => ({
      [`${oauthPath}/tenant`]: { body: { ...endpoints(url), issuer: `${url}/tenant` } },
    }));
    await open({ issuer: `${url}/tenant` }).scopes(never);
    expect(asked.map(({ path }) => path)).toEqual([`/tenant${oidcPath}`, `${oauthPath}/tenant`]);
  });

  test.each<[string, Reply, string, RegExp]>([
    ['a page', { body: '<html>', headers: { 'content-type': 'text/html' } }, 'protocol', /standards/],
    ['no JSON', { body: '{,', headers: { 'content-type': 'application/json' } }, 'protocol', /standards/],
    ['a list', { body: [] }, 'protocol', /standards/],
    ['null', { body: 'null', headers: { 'content-type': 'application/json' } }, 'protocol', /standards/],
    ['no issuer', { body: {} }, 'protocol', /standards/],
    ['a redirect', { status: 301, headers: { location: 'https://x.example' }, body: '' }, 'protocol', /elsewhere/],
    ['403', { status: 403, body: '' }, 'refused', /HTTP 403/],
    ['500', { status: 500, body: '' }, 'transient', /HTTP 500/],
    ['429', { status: 429, headers: { 'retry-after': '7' }, body: '' }, 'transient', /HTTP 429/],
  ])('that brings %s', async (_, reply, kind, what) => {
    const { url } = await serve(() => ({ [oidcPath]: reply }));
    const failure = await failureIn(open({ issuer: url }).scopes(never));
    expect(failure.kind).toBe(kind);
    expect(failure.what).toMatch(what);
    expect(failure.what).toContain(url);
    if (reply.headers?.['retry-after']) expect(failure.wait).toBe(7);
  });

  test('that finds neither document', async () => {
    const { url } = await serve(() => ({}));
    expect(await failureIn(open({ issuer: url }).scopes(never))).toMatchObject({
      kind: 'refused',
      code: 'http_404',
      hint: 'check the issuer’s URL',
    });
  });

  test('of another issuer than was asked for is refused', async () => {
    const faulty = await faultyFor();
    faulty.next('discovery', fault.set({ issuer: 'https://other.example' }));
    const failure = await failureIn(open({ issuer: faulty.url }).scopes(never));
    expect(failure).toMatchObject({ kind: 'protocol', what: expect.stringContaining('issuer') });
    expect(failure.hint).toContain('issuer’s URL');
  });

  test('without a device endpoint says so, and names the knob', async () => {
    const faulty = await faultyFor();
    faulty.next('discovery', fault.without('device_authorization_endpoint'));
    expect(await failureIn(open({ issuer: faulty.url }).device({}, never))).toMatchObject({
      kind: 'unsupported',
      what: expect.stringContaining('offers no device flow'),
      hint: expect.stringContaining('test_DEVICE_URL'),
    });
    expect(
      await open({ issuer: faulty.url, deviceUrl: `${faulty.url}/device_authorization` }).device({}, never),
    ).toHaveProperty('userCode');
  });

  test.each(['token_endpoint', 'device_authorization_endpoint', 'revocation_endpoint', 'jwks_uri'])(
    'with a %s over plain http to elsewhere is refused',
    async (endpoint) => {
      const faulty = await faultyFor();
      faulty.next('discovery', fault.set({ [endpoint]: 'http://issuer.example/x' }));
      expect(await failureIn(open({ issuer: faulty.url }).device({}, never))).toMatchObject({
        kind: 'protocol',
        what: expect.stringContaining('without https: http://issuer.example/x'),
      });
    },
  );

  test.each(['token_endpoint', 'device_authorization_endpoint', 'jwks_uri', 'scopes_supported', 'revocation_endpoint'])(
    'with a %s that makes no sense is a failure and no bug',
    async (member) => {
      for (const value of [5, {}, 'x', '', null, [7]]) {
        const faulty = await faultyFor();
        faulty.always('discovery', fault.set({ [member]: value }));
        const issuer = open({ issuer: faulty.url });
        const outcomes = await Promise.allSettled([
          issuer.scopes(never),
          issuer.device({}, never),
          issuer.token('refresh_token', { refresh_token: faulty.grant() }, { stop: never, identify: true }),
          issuer.revoke('refresh', never),
        ]);
        for (const outcome of outcomes) {
          if (outcome.status === 'rejected')
            expect((await failureIn(Promise.reject(outcome.reason))).kind).toBeOneOf([
              'protocol',
              'refused',
              'unsupported',
            ]);
        }
      }
    },
  );

  test('with scopes_supported that is no list of words', async () => {
    for (const [given, read] of [
      [5, undefined],
      ['openid', undefined],
      [
        ['openid', 5, null, 'a'],
        ['openid', 'a'],
      ],
    ] as const) {
      const faulty = await faultyFor();
      faulty.next('discovery', fault.set({ scopes_supported: given }));
      expect(await open({ issuer: faulty.url }).scopes(never)).toEqual(read);
    }
  });
});

describe('an endpoint at another host', () => {
  const endpoint = { token: '/token', device: '/device_authorization', revocation: '/revoke', jwks: '/jwks' } as const;
  const members = {
    token: 'token_endpoint',
    device: 'device_authorization_endpoint',
    revocation: 'revocation_endpoint',
    jwks: 'jwks_uri',
  } as const;
  const asks = {
    token: (issuer: ReturnType<typeof open>) =>
      issuer.token('refresh_token', { refresh_token: 'a-refresh-token' }, { stop: never }),
    device: (issuer: ReturnType<typeof open>) => issuer.device({}, never),
    revocation: (issuer: ReturnType<typeof open>) => issuer.revoke('a-refresh-token', never),
    jwks: (issuer: ReturnType<typeof open>, grant = 'x') =>
      issuer.token('urn:x', { device_code: grant }, { stop: never, identify: true }),
  } as const;
  type Name = keyof typeof members;

  test.each(Object.keys(members) as Name[])(
    'is sent nothing: %s; and as soon as it is at home again, all goes on',
    async (name) => {
      const [faulty, elsewhere] = [await faultyFor(), await faultyFor()];
      const issuer = open({ issuer: faulty.url });
      const { deviceCode } = await issuer.device({ scope: 'openid' }, never);
      const poisoned = open({ issuer: faulty.url }, 'hunter2!');
      faulty.next('discovery', fault.set({ [members[name]]: elsewhere.url + endpoint[name] }));
      const failure = await failureIn(asks[name](poisoned, deviceCode), 'a-refresh-token', 'hunter2!');
      expect(failure).toMatchObject({
        kind: 'protocol',
        what: `the metadata of ${faulty.url} name an endpoint at another host: ${elsewhere.url}${endpoint[name]}`,
        hint: expect.stringContaining(`set test_ENDPOINT_HOSTS = ${new URL(elsewhere.url).host}`),
      });
      expect(elsewhere.requests).toEqual([]);
      if (name === 'device') expect(await poisoned.device({}, never)).toHaveProperty('userCode');
      if (name === 'revocation') expect(await poisoned.revoke('x', never)).toBe(true);
      if (name === 'token') expect((await failureIn(asks.token(poisoned))).kind).toBe('login-needed');
    },
  );

  test('that tokens come from is seen before anybody approves', async () => {
    for (const member of ['token_endpoint', 'jwks_uri']) {
      const faulty = await faultyFor();
      faulty.next('discovery', fault.set({ [member]: 'https://elsewhere.example/x' }));
      const failure = await failureIn(open({ issuer: faulty.url }).device({}, never));
      expect(failure.what).toContain('at another host: https://elsewhere.example/x');
      expect(faulty.requests.map(({ endpoint }) => endpoint)).toEqual(['discovery']);
    }
  });

  test('that is not used is no matter', async () => {
    const faulty = await faultyFor();
    const members = { revocation_endpoint: 'https://a.example/r', userinfo_endpoint: 'https://b.example/u' };
    faulty.next('discovery', fault.set(members));
    const issuer = open({ issuer: faulty.url });
    expect(await issuer.device({}, never)).toHaveProperty('userCode');
    expect(await issuer.token('refresh_token', { refresh_token: faulty.grant() }, { stop: never })).toHaveProperty(
      'accessToken',
    );
  });

  test('is asked where the configuration names its host, or itself', async () => {
    const [faulty, elsewhere] = [await faultyFor(), await faultyFor()];
    faulty.always('discovery', fault.set({ token_endpoint: `${elsewhere.url}/token` }));
    const refreshToken = () => ({ refresh_token: elsewhere.grant() });
    for (const more of [
      { endpointHosts: [new URL(elsewhere.url).host] },
      { tokenUrl: `${elsewhere.url}/token` },
    ] as const) {
      const issuer = open({ issuer: faulty.url, ...more });
      expect(await issuer.token('refresh_token', refreshToken(), { stop: never })).toHaveProperty('accessToken');
    }
    const other = open({ issuer: faulty.url, endpointHosts: ['127.0.0.1'] });
    expect((await failureIn(other.token('refresh_token', refreshToken(), { stop: never }))).kind).toBe('protocol');
  });
});

describe('metadata that were good', () => {
  const past = async () => {
    const faulty = await faultyFor();
    const time = { steady: 0 };
    const issuer = open({ issuer: faulty.url }, undefined, { ...systemClock, steady: () => time.steady });
    const refresh = () => issuer.token('refresh_token', { refresh_token: faulty.grant() }, { stop: never });
    const discoveries = () => faulty.requests.filter(({ endpoint }) => endpoint === 'discovery').length;
    await refresh();
    return { faulty, time, refresh, discoveries };
  };

  test.each([
    fault.status(500),
    fault.reset,
    fault.html,
    fault.status(404),
    fault.set({ issuer: 'https://x.example' }),
  ])('are gone by while there are no others to be had, and these are asked for every minute: %o', async (spoil) => {
    const { faulty, time, refresh, discoveries } = await past();
    faulty.always('discovery', spoil);
    time.steady = 7 * 3600 * 1000;
    expect(await refresh()).toHaveProperty('accessToken');
    expect(await refresh()).toHaveProperty('accessToken');
    const asked = discoveries();
    time.steady += 61_000;
    expect(await refresh()).toHaveProperty('accessToken');
    expect(discoveries()).toBeGreaterThan(asked);
    faulty.always('discovery', undefined);
    time.steady += 61_000;
    await refresh();
    const last = discoveries();
    time.steady += 3600 * 1000;
    await refresh();
    expect(discoveries()).toBe(last);
  });

  test.each([fault.status(404), fault.status(410), fault.status(405), fault.html, fault.redirect('https://x.example')])(
    'are doubted when an endpoint is none any more, and then the one that took its place is asked: %o',
    async (spoil) => {
      const { faulty, time, refresh, discoveries } = await past();
      faulty.always('token', spoil);
      await failureIn(refresh());
      await failureIn(refresh());
      // Not at every failure: they were asked for just now.
      expect(discoveries()).toBe(1);
      time.steady = 61_000;
      await failureIn(refresh());
      expect(discoveries()).toBe(2);
      faulty.always('token', undefined);
      faulty.always('discovery', fault.set({ token_endpoint: `${faulty.url}/moved` }));
      time.steady = 2 * 61_000;
      await failureIn(refresh());
      expect(faulty.requests.at(-1)?.path).toBe('/moved');
    },
  );

  test.each([fault.status(503), fault.reset, fault.error('invalid_client'), fault.error('invalid_grant')])(
    'are not doubted for other troubles: %o',
    async (spoil) => {
      const { faulty, time, refresh, discoveries } = await past();
      faulty.always('token', spoil);
      await failureIn(refresh());
      time.steady = 61_000;
      await failureIn(refresh());
      expect(discoveries()).toBe(1);
    },
  );
});

describe('leaving while discovery hangs', () => {
  test('ends at once, and does not end it for others', async () => {
    const faulty = await faultyFor();
    faulty.latency = 30;
    const issuer = open({ issuer: faulty.url });
    const stop = new AbortController();
    const one = issuer.scopes(stop.signal);
    const other = issuer.scopes(never);
    await until(() => faulty.requests.length === 1);
    stop.abort(new Error('enough'));
    await soon(one);
    await expect(one).rejects.toThrow('enough');
    expect(await other).toBeUndefined();
    expect(faulty.requests).toHaveLength(1);
  });

  test('lets the issuer be closed at once', async () => {
    const faulty = await faultyFor();
    faulty.next('discovery', fault.hang);
    const issuer = open({ issuer: faulty.url });
    const stop = new AbortController();
    const asked = issuer.scopes(stop.signal);
    await until(() => faulty.requests.length === 1);
    stop.abort(new Error('enough'));
    await soon(asked);
    await soon(issuer.close());
  });

  test('leaves the next one a discovery of its own', async () => {
    const faulty = await faultyFor();
    faulty.next('discovery', fault.hang);
    const issuer = open({ issuer: faulty.url });
    const stop = new AbortController();
    const asked = issuer.device({}, stop.signal);
    await until(() => faulty.requests.length === 1);
    stop.abort(new Error('enough'));
    const next = issuer.device({}, never);
    await expect(asked).rejects.toThrow('enough');
    expect(await next).toHaveProperty('userCode');
  });
});

describe('without discovery', () => {
  test('the URLs that were set are enough', async () => {
    const { url, asked } = await serve((url) => ({
      '/token': { body: bearer },
      '/device': { body: code(url) },
      '/revoke': { body: {} },
    }));
    const given = { tokenUrl: `${url}/token`, deviceUrl: `${url}/device` };
    const issuer = open(given);
    expect(await issuer.scopes(never)).toBeUndefined();
    expect(await issuer.device({ scope: 'a' }, never)).toMatchObject({ deviceCode: 'd' });
    expect(await issuer.token('refresh_token', { refresh_token: 'r' }, { stop: never })).toHaveProperty('accessToken');
    expect(await issuer.revoke('r', never)).toBe(false);
    expect(await open({ ...given, revocationUrl: `${url}/revoke` }).revoke('r', never)).toBe(true);
    expect(asked.map(({ path }) => path)).toEqual(['/device', '/token', '/revoke']);
  });

  test('a token endpoint alone refreshes, and says that it cannot log in', async () => {
    const { url } = await serve(() => ({ '/token': { body: bearer } }));
    const issuer = open({ tokenUrl: `${url}/token` });
    expect(await issuer.token('refresh_token', { refresh_token: 'r' }, { stop: never })).toHaveProperty('accessToken');
    expect((await failureIn(issuer.device({}, never))).kind).toBe('unsupported');
  });

  test('an ID token is not looked at: nobody could verify it', async () => {
    const { url } = await serve(() => ({ '/token': { body: { ...bearer, id_token: 'nonsense' } } }));
    const token = await open({ tokenUrl: `${url}/token` }).token('x', {}, { stop: never, identify: true });
    expect(token.subject).toBeUndefined();
  });
});

describe('a token endpoint', () => {
  /** What was handed over, of an answer that then fails. */
  async function rotatedAt(tokenUrl: (url: string) => string, set: boolean): Promise<string[]> {
    const { url } = await serve((url) => ({
      [oidcPath]: { body: { ...endpoints(url), ...(!set && { token_endpoint: tokenUrl(url) }) } },
      '/token': { body: { access_token: 'a', refresh_token: 'rotated' } },
      '/': { body: { access_token: 'a', refresh_token: 'rotated' } },
    }));
    const seen: string[] = [];
    const rotated = async (token: string) => void seen.push(token);
    const issuer = open({ issuer: url, ...(set && { tokenUrl: tokenUrl(url) }) });
    const failure = await failureIn(
      issuer.token('refresh_token', { refresh_token: 'r' }, { stop: never, rotation: keeping(rotated) }),
    );
    expect(failure.kind).toBe('protocol');
    return seen;
  }

  test.each<[string, (url: string) => string]>([
    ['as it stands', (url) => `${url}/token`],
    ['in capitals', (url) => `${url.replace('http', 'HTTP')}/token`],
    ['with a path that goes back', (url) => `${url}/x/../token`],
    ['without a path', (url) => url],
    ['with a query', (url) => `${url}/token?tenant=1`],
  ])('written %s does not lose a new refresh token', async (_, tokenUrl) => {
    expect(await rotatedAt(tokenUrl, false)).toEqual(['rotated']);
    expect(await rotatedAt(tokenUrl, true)).toEqual(['rotated']);
  });
});

test('metadata may be as large as they are, but not huge', async () => {
  const { url } = await serve((url) => ({
    [oidcPath]: { body: { ...endpoints(url), padding: 'x'.repeat(100_000) } },
  }));
  expect(await open({ issuer: url }).scopes(never)).toBeUndefined();
  const faulty = await faultyFor();
  faulty.next('discovery', fault.huge(8));
  expect(await failureIn(open({ issuer: faulty.url }).scopes(never))).toMatchObject({
    kind: 'protocol',
    what: expect.stringContaining('too large'),
  });
});

test('a token lives from when it was asked for: the answer may come when the machine has slept for an hour', async () => {
  const faulty = await faultyFor();
  let asleep = 0;
  const clock: Clock = { ...systemClock, now: () => later(systemClock.now(), asleep) };
  const issuer = open({ issuer: faulty.url }, undefined, clock);
  const begun = systemClock.now();
  const token = await issuer.token(
    'refresh_token',
    { refresh_token: faulty.grant() },
    {
      stop: never,
      rotation: keeping(async () => {
        asleep = 3600;
      }),
    },
  );
  expect(clock.now() - begun).toBeGreaterThanOrEqual(3_600_000);
  expect(token.issued - begun).toBeLessThan(60_000);
  expect(token.expires - token.issued).toBe(3_600_000);
});
