import { getEventListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import type { TokenSet } from '../../src/core/credential.js';
import type { Failed, FailureKind } from '../../src/core/failure.js';
import type { DeviceCode } from '../../src/core/ports.js';
import { pollOnce } from '../../src/grants/device.js';
import { refresh } from '../../src/grants/refresh.js';
import * as fault from '../helpers/faults.js';
import { keeping } from '../helpers/rotation.js';
import { failureIn, faultyFor, never, open, serve, soon, until } from './kit.js';

type Expected = FailureKind | 'good';

/** At a login; a refresh differs where it says so. Without `hang`, which ends by being stopped. */
const atLogin: Readonly<Record<string, Expected>> = {
  'status 500': 'transient',
  'status 502': 'transient',
  'status 503': 'transient',
  'status 503 retry-after 2': 'transient',
  'status 429 retry-after 2': 'transient',
  'status 400': 'refused',
  reset: 'transient',
  'reset, unprocessed': 'transient',
  truncated: 'transient',
  'malformed JSON': 'protocol',
  HTML: 'protocol',
  huge: 'protocol',
  drip: 'good',
  redirect: 'protocol',
  invalid_grant: 'login-needed',
  invalid_client: 'refused',
  access_denied: 'denied',
  expired_token: 'expired',
  slow_down: 'transient',
  authorization_pending: 'transient',
  'without refresh_token': 'good',
  'with {"refresh_token":""}': 'good',
  'without token_type': 'protocol',
  'with {"token_type":"mac"}': 'protocol',
  'without expires_in': 'good',
  'with {"expires_in":0}': 'good',
  'with {"expires_in":-1}': 'good',
  'with {"expires_in":"3600"}': 'good',
  'with {"expires_in":1000000000000}': 'good',
  'with {"scope":"openid"}': 'good',
  'id_token with {"iss":"https://other.example"}': 'protocol',
  'id_token with {"aud":"somebody-else"}': 'protocol',
  // No nonce is sent in the device flow, so none is compared.
  'id_token with {"nonce":"not-yours"}': 'good',
  'id_token changed': 'protocol',
  'id_token bad signature': 'protocol',
  'id_token alg none': 'protocol',
};
const atRefresh: Readonly<Record<string, Expected>> = Object.fromEntries(
  Object.entries(atLogin).map(([name, kind]) => [name, name.startsWith('id_token') ? 'good' : kind]),
);
const faults = fault.tokenFaults.filter(({ name }) => name !== 'hang');

/** Faults after which the new refresh token still came through to us. */
const lost = ['reset', 'truncated', 'malformed JSON'];

async function code(issuer: ReturnType<typeof open>): Promise<DeviceCode> {
  return await issuer.device({ scope: 'openid offline_access' }, never);
}

test('every fault is expected to come to something', () => {
  expect(Object.keys(atLogin).sort()).toEqual(faults.map(({ name }) => name).sort());
});

describe.each(faults)('$name', (spoil) => {
  test('at a refresh', async () => {
    const faulty = await faultyFor();
    const issuer = open({ issuer: faulty.url });
    const refreshToken = faulty.grant();
    faulty.next('token', spoil);
    const seen: string[] = [];
    const rotated = async (next: string) => void seen.push(next);
    const asked = refresh(issuer, { refreshToken }, keeping(rotated), never);
    const expected = atRefresh[spoil.name];
    if (expected === 'good') good(await asked, spoil.name);
    else expect((await failureIn(asked, refreshToken)).kind).toBe(expected);
    // Whatever became of the answer: what the issuer will accept next is what we have.
    const rotatedAway = spoil.processed && !lost.includes(spoil.name) && !/refresh_token/.test(spoil.name);
    expect(seen).toHaveLength(rotatedAway ? 1 : 0);
    for (const next of seen) expect(faulty.accepts(next)).toBe(true);
  });

  test('at a login', async () => {
    const faulty = await faultyFor();
    const issuer = open({ issuer: faulty.url });
    const device = await code(issuer);
    faulty.next('token', spoil);
    const request = { stop: never, identify: true };
    const grantType = 'urn:ietf:params:oauth:grant-type:device_code';
    const asked = issuer.token(grantType, { device_code: device.deviceCode }, request);
    const expected = atLogin[spoil.name];
    if (expected !== 'good') {
      const failure = await failureIn(asked, device.deviceCode);
      expect(failure.kind).toBe(expected);
      if (/retry-after/.test(spoil.name)) expect(failure.wait).toBe(2);
      return;
    }
    const token = await asked;
    good(token, spoil.name);
    expect(token.subject).toEqual({ iss: faulty.url, sub: 'alice', name: 'alice' });
  });

  test('at a poll', async () => {
    const faulty = await faultyFor();
    const issuer = open({ issuer: faulty.url });
    const device = await code(issuer);
    faulty.next('token', spoil);
    const reply = await pollOnce(issuer, device, never);
    const kinds = { good: 'token', transient: 'unreachable' } as Record<string, string>;
    const said = { slow_down: 'slow-down', authorization_pending: 'pending' } as Record<string, string>;
    expect(reply.kind).toBe(said[spoil.name] ?? kinds[atLogin[spoil.name] ?? ''] ?? 'refused');
  });
});

const named = (list: readonly (readonly [fault.Fault, FailureKind])[]) =>
  list.map(([spoil, kind]) => [spoil.name, spoil, kind] as const);

function good(token: TokenSet, name: string): void {
  expect(token.accessToken).toMatch(/^access-/);
  expect(token.tokenType).toBe('bearer');
  const life = (token.expires - token.issued) / 1000;
  const none = /without expires_in|:0}|:-1}/.test(name);
  expect(token.lifeFrom).toBe(none ? 'default' : 'expires_in');
  expect(life).toBe(none ? 1200 : /:1000000000000}/.test(name) ? 366 * 86_400 : 3600);
  if (/refresh_token/.test(name)) expect(token.refreshToken).toBeUndefined();
  else expect(token.refreshToken).toMatch(/^refresh-/);
  if (name === 'with {"scope":"openid"}') expect(token.scopes).toEqual(['openid']);
}

describe('a good ID token that is a little off', () => {
  test.each<[string, (now: number) => fault.Json, Expected]>([
    // Half a minute is forgiven: clocks differ.
    ['expired ten seconds ago', (now) => ({ exp: now - 10 }), 'good'],
    ['expired a minute ago', (now) => ({ exp: now - 60 }), 'protocol'],
    ['issued to others too, for us', () => ({ aud: ['somebody-else', 'public-cli'], azp: 'public-cli' }), 'good'],
    ['issued to us too, for somebody else', () => ({ aud: ['public-cli', 'other'], azp: 'other' }), 'protocol'],
    ['not valid yet', (now) => ({ nbf: now + 7200 }), 'protocol'],
    ['without a subject', () => ({ sub: undefined }), 'protocol'],
    ['without an end', () => ({ exp: undefined }), 'protocol'],
    ['without a beginning', () => ({ iat: undefined }), 'protocol'],
  ])('%s', async (_, change, expected) => {
    const faulty = await faultyFor();
    const issuer = open({ issuer: faulty.url });
    const device = await code(issuer);
    faulty.next('token', fault.idToken(change(Math.floor(Date.now() / 1000))));
    const request = { stop: never, identify: true };
    const asked = issuer.token('urn:x', { device_code: device.deviceCode }, request);
    if (expected === 'good') expect((await asked).subject?.sub).toBe('alice');
    else expect((await failureIn(asked)).kind).toBe(expected);
  });

  test.each([
    ['keys that cannot be had', fault.status(503), 'transient'],
    ['keys that are a page', fault.html, 'protocol'],
    ['no key that fits', fault.set({ keys: [] }), 'protocol'],
    ['keys that are none', fault.set({ keys: 5 }), 'protocol'],
    ['a reset', fault.reset, 'transient'],
  ] as const)('with %s', async (_, spoil, kind) => {
    const faulty = await faultyFor();
    const issuer = open({ issuer: faulty.url });
    const device = await code(issuer);
    faulty.always('jwks', spoil);
    const asked = issuer.token('urn:x', { device_code: device.deviceCode }, { stop: never, identify: true });
    expect((await failureIn(asked)).kind).toBe(kind);
  });
});

describe('the device endpoint', () => {
  test('hostile text in a user code is taken out', async () => {
    const faulty = await faultyFor();
    faulty.next('device', fault.set({ user_code: fault.hostileText }));
    const { userCode } = await code(open({ issuer: faulty.url }));
    expect(userCode).toBe('EDOC31mABCD');
  });

  test.each(['verification_uri', 'verification_uri_complete'])(
    'hostile text in %s stays in the address',
    async (member) => {
      const faulty = await faultyFor();
      faulty.next('device', fault.set({ [member]: `https://issuer.example/${fault.hostileText}` }));
      const { link, linkComplete } = await code(open({ issuer: faulty.url }));
      const shown = member === 'verification_uri' ? link : linkComplete;
      expect(shown).toMatch(/^https:\/\/issuer\.example\/[\x21-\x7e]+$/);
    },
  );

  test.each<[string, fault.Json]>([
    ['plain http', { verification_uri: 'http://issuer.example/device', verification_uri_complete: undefined }],
    ['plain http in the complete one', { verification_uri_complete: 'http://issuer.example/device?x' }],
    ['a script', { verification_uri: 'javascript:alert(1)' }],
    ['somebody’s password', { verification_uri: 'https://user:pw@issuer.example/' }],
    ['no address', { verification_uri: 'device' }],
    ['an endless address', { verification_uri: `https://issuer.example/${'x'.repeat(3000)}` }],
    ['no device code', { device_code: undefined }],
    ['an empty device code', { device_code: '' }],
    ['no user code', { user_code: undefined }],
    ['a user code that cannot be seen', { user_code: '\u200b\u202e' }],
    ['no address at all', { verification_uri: undefined }],
    ['no end', { expires_in: undefined }],
    ['an end that is none', { expires_in: 'never' }],
    ['an end before the beginning', { expires_in: -5 }],
  ])('%s is refused', async (_, members) => {
    const faulty = await faultyFor();
    faulty.next('device', fault.set(members));
    const failure = await failureIn(code(open({ issuer: faulty.url })));
    expect(failure.kind).toBe('protocol');
    expect(failure.what.length).toBeLessThan(400);
  });

  test.each([
    [{ interval: undefined }, undefined],
    [{ interval: null }, undefined],
    [{ interval: 0 }, undefined],
    [{ interval: -1 }, undefined],
    [{ interval: '7' }, 7],
    [{ interval: 'often' }, undefined],
    [{ interval: 9.5 }, 9.5],
  ])('an interval of %o', async (members, interval) => {
    const faulty = await faultyFor();
    faulty.next('device', fault.set(members));
    expect((await code(open({ issuer: faulty.url }))).interval).toBe(interval);
  });

  test('a code is waited for an hour at most', async () => {
    const faulty = await faultyFor();
    faulty.next('device', fault.set({ expires_in: 1e9 }));
    const before = Date.now();
    const { expires } = await code(open({ issuer: faulty.url }));
    expect(expires).toBeGreaterThanOrEqual(before + 3_600_000);
    expect(expires).toBeLessThanOrEqual(Date.now() + 3_600_000);
  });

  test.each(
    named([
      [fault.status(500), 'transient'],
      [fault.status(404), 'refused'],
      [fault.reset, 'transient'],
      [fault.truncated, 'transient'],
      [fault.malformed, 'protocol'],
      [fault.html, 'protocol'],
      [fault.huge(8), 'protocol'],
      [fault.redirect('https://elsewhere.example'), 'protocol'],
      [fault.error('invalid_client'), 'refused'],
      [fault.error('invalid_scope', 'no such scope: x'), 'refused'],
      [fault.error('unauthorized_client'), 'refused'],
    ]),
  )('%s', async (_, spoil, kind) => {
    const faulty = await faultyFor();
    faulty.next('device', spoil);
    expect((await failureIn(code(open({ issuer: faulty.url })))).kind).toBe(kind);
  });
});

describe('revocation', () => {
  test.each(
    named([
      [fault.status(503), 'transient'],
      [fault.reset, 'transient'],
      [fault.error('invalid_client'), 'refused'],
      [fault.error('unsupported_token_type'), 'refused'],
      [fault.error('invalid_request', 'what is refresh-0123456789abcdef?'), 'refused'],
    ]),
  )('%s', async (_, spoil, kind) => {
    const faulty = await faultyFor();
    faulty.next('revocation', spoil);
    const failure = await failureIn(open({ issuer: faulty.url }).revoke('refresh-0123456789abcdef', never));
    expect(failure.kind).toBe(kind);
  });

  test('of an issuer that offers none is not done', async () => {
    const faulty = await faultyFor();
    faulty.next('discovery', fault.without('revocation_endpoint'));
    expect(await open({ issuer: faulty.url }).revoke('x', never)).toBe(false);
  });
});

describe('a hang is ended by whoever asked, at once', () => {
  const asks = {
    discovery: (issuer: ReturnType<typeof open>, stop: AbortSignal) => issuer.scopes(stop),
    device: (issuer: ReturnType<typeof open>, stop: AbortSignal) => issuer.device({}, stop),
    token: (issuer: ReturnType<typeof open>, stop: AbortSignal) => issuer.token('refresh_token', {}, { stop }),
    revocation: (issuer: ReturnType<typeof open>, stop: AbortSignal) => issuer.revoke('x', stop),
  } as const;

  test.each(Object.keys(asks) as (keyof typeof asks)[])('at %s', async (endpoint) => {
    const faulty = await faultyFor();
    faulty.next(endpoint, fault.hang);
    const issuer = open({ issuer: faulty.url });
    const stop = new AbortController();
    const asked = asks[endpoint](issuer, stop.signal);
    await until(() => faulty.requests.some((request) => request.endpoint === endpoint));
    const reason = new Error('enough');
    stop.abort(reason);
    await soon(asked);
    await expect(asked).rejects.toBe(reason);
    await soon(issuer.close());
  });

  test('at the keys of an ID token', async () => {
    const faulty = await faultyFor();
    faulty.next('jwks', fault.hang);
    const issuer = open({ issuer: faulty.url });
    const device = await code(issuer);
    const stop = new AbortController();
    const asked = pollOnce(issuer, device, stop.signal);
    await until(() => faulty.requests.some(({ endpoint }) => endpoint === 'jwks'));
    stop.abort(new Error('enough'));
    await soon(asked);
    await expect(asked).rejects.toThrow('enough');
  });

  test('before anything was asked', async () => {
    const faulty = await faultyFor();
    const issuer = open({ issuer: faulty.url });
    for (const ask of Object.values(asks))
      await expect(ask(issuer, AbortSignal.abort(new Error('no')))).rejects.toThrow('no');
    expect(faulty.requests).toHaveLength(0);
  });
});

test('a signal that lives for months has nothing left on it by the requests of the day', async () => {
  const faulty = await faultyFor();
  const issuer = open({ issuer: faulty.url });
  const stop = new AbortController();
  faulty.next('token', fault.status(503));
  await failureIn(issuer.token('refresh_token', {}, { stop: stop.signal }));
  await issuer.token('refresh_token', { refresh_token: faulty.grant() }, { stop: stop.signal });
  await issuer.scopes(stop.signal);
  expect(getEventListeners(stop.signal, 'abort')).toEqual([]);
  // Where Node keeps the signals that AbortSignal.any made of it.
  const kept = Object.getOwnPropertySymbols(stop.signal).filter(
    ({ description }) => description === 'kDependantSignals',
  );
  for (const symbol of kept) {
    expect((stop.signal as unknown as Record<symbol, Set<unknown> | undefined>)[symbol]?.size ?? 0).toBe(0);
  }
});

describe('an issuer that repeats our secrets', () => {
  const spoil = (secret: string) => [
    fault.error('invalid_grant', `the token ${secret} is unknown`),
    fault.error('invalid_grant', `${'x'.repeat(195)} ${secret}`),
    fault.error(secret, 'oops'),
  ];

  test.each([0, 1, 2])('is not quoted on that: %d', async (which) => {
    const faulty = await faultyFor();
    const refreshToken = '1//0gQWERTYUIOP-opaque';
    faulty.next('token', spoil(refreshToken)[which] as fault.Fault);
    const issuer = open({ issuer: faulty.url });
    await failureIn(refresh(issuer, { refreshToken }, keeping(), never), refreshToken, '0gQWE');
  });

  test('not on the client’s either', async () => {
    const faulty = await faultyFor();
    faulty.next('device', fault.error('invalid_client', 'wrong secret: hunter2!'));
    await failureIn(open({ issuer: faulty.url }, 'hunter2!').device({}, never), 'hunter2!');
  });

  test('and broken JSON is not quoted', async () => {
    const { url } = await serve(() => ({
      '/token': { headers: { 'content-type': 'application/json' }, body: '{"access_token":sEcReT1234567890}' },
    }));
    const asked = open({ tokenUrl: `${url}/token` }).token('refresh_token', {}, { stop: never });
    expect((await failureIn(asked, 'sEcReT')).kind).toBe('protocol');
  });
});

describe('how a client says who it is', () => {
  async function sent(offered: unknown, secret: string | undefined, clientAuth?: 'basic' | 'post') {
    const faulty = await faultyFor();
    if (offered !== undefined) faulty.next('discovery', fault.set({ token_endpoint_auth_methods_supported: offered }));
    const issuer = open({ issuer: faulty.url, clientId: 'a:b c', ...(clientAuth && { clientAuth }) }, secret);
    await code(issuer);
    const { headers, params } = faulty.requests.find(({ endpoint }) => endpoint === 'device') ?? {};
    return [headers?.authorization, params?.client_id, params?.client_secret];
  }
  // RFC 6749 §2.3.1: both are encoded as in a form first.
  const basic = [`Basic ${btoa('a%3Ab+c:p%26w')}`, 'a:b c', undefined];
  const post = [undefined, 'a:b c', 'p&w'];

  test.each([
    [undefined, undefined, undefined, [undefined, 'a:b c', undefined]],
    [undefined, 'p&w', undefined, basic],
    [['client_secret_basic', 'client_secret_post'], 'p&w', undefined, basic],
    [['client_secret_post'], 'p&w', undefined, post],
    [['client_secret_basic'], 'p&w', 'post' as const, post],
    [['client_secret_post'], 'p&w', 'basic' as const, basic],
  ])('%o, %o, %o', async (offered, secret, clientAuth, expected) => {
    expect(await sent(offered, secret, clientAuth)).toEqual(expected);
  });
});

describe('an error with a challenge beside it', () => {
  const challenge = { 'www-authenticate': 'Basic realm="x"' };
  test.each<[number, object | string, FailureKind, string | undefined]>([
    [401, { error: 'invalid_client', error_description: 'the client has ended' }, 'refused', 'the client has ended'],
    [400, { error: 'invalid_grant' }, 'login-needed', undefined],
    [401, 'who are you?', 'refused', 'HTTP 401'],
    [400, 'what?', 'refused', 'HTTP 400'],
    [503, 'later', 'transient', 'HTTP 503'],
  ])('%d %o', async (status, body, kind, what) => {
    const { url } = await serve(() => ({ '/token': { status, headers: challenge, body } }));
    const asked = open({ tokenUrl: `${url}/token` }).token('refresh_token', {}, { stop: never });
    const failure = await failureIn(asked);
    expect(failure.kind).toBe(kind);
    if (what !== undefined) expect(failure.what).toContain(what);
  });
});

describe('answers that no issuer should send', () => {
  test.each<[unknown, Expected]>([
    [null, 'protocol'],
    [[], 'protocol'],
    ['text', 'protocol'],
    [{}, 'protocol'],
    [{ access_token: 5, token_type: 'Bearer' }, 'protocol'],
    [{ access_token: '', token_type: 'Bearer' }, 'protocol'],
    [{ access_token: 'a', token_type: 'Bearer', scope: ['a'] }, 'protocol'],
    [{ access_token: 'a', token_type: 'Bearer', refresh_token: 5 }, 'protocol'],
    [{ access_token: 'a', token_type: 'Bearer', scope: null, refresh_token: null, id_token: null }, 'good'],
    [{ access_token: 'a', token_type: 'bEARER', expires_in: true }, 'good'],
    [{ access_token: 'a', token_type: 'Bearer', id_token: 'nonsense' }, 'good'],
  ])('%o', async (body, expected) => {
    const { url } = await serve(() => ({
      '/token': { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) },
    }));
    const seen: string[] = [];
    const asked = open({ tokenUrl: `${url}/token` }).token(
      'refresh_token',
      {},
      {
        stop: never,
        rotation: keeping(async (token) => void seen.push(token)),
      },
    );
    if (expected === 'good') expect(await asked).toMatchObject({ accessToken: 'a', lifeFrom: 'default' });
    else expect((await failureIn(asked)).kind).toBe(expected);
    expect(seen).toEqual([]);
  });

  test('a Retry-After as a date', async () => {
    const { url } = await serve(() => ({
      '/token': { status: 503, headers: { 'retry-after': new Date(Date.now() + 60_000).toUTCString() }, body: '' },
    }));
    const { wait } = await failureIn(open({ tokenUrl: `${url}/token` }).token('x', {}, { stop: never }));
    expect(wait).toBeGreaterThan(50);
    expect(wait).toBeLessThanOrEqual(60);
  });

  test.each(['soon', '-5', '', '9'.repeat(400), 'Thu, 01 Jan 1970 00:00:00 GMT'])(
    'a Retry-After of %o',
    async (after) => {
      const { url } = await serve(() => ({ '/token': { status: 503, headers: { 'retry-after': after }, body: '' } }));
      const failure: Failed['failure'] = await failureIn(
        open({ tokenUrl: `${url}/token` }).token('x', {}, { stop: never }),
      );
      expect(failure.wait).toBeUndefined();
    },
  );
});
