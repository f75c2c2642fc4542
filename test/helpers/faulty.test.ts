import { createPublicKey, verify } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import * as fault from './faults.js';
import { type Faulty, startFaulty } from './faulty.js';

let faulty: Faulty;
beforeEach(async () => {
  faulty = await startFaulty({ pending: 1 });
});
afterEach(() => faulty.stop());

async function ask(path: string, form?: Record<string, string>, headers: Record<string, string> = {}) {
  const body = form && new URLSearchParams({ client_id: 'me', ...form });
  const asked = body ? { method: 'POST', body, headers } : {};
  return await fetch(faulty.url + path, { ...asked, redirect: 'manual', signal: AbortSignal.timeout(1000) });
}

async function askJson(path: string, form?: Record<string, string>): Promise<Record<string, string>> {
  return (await (await ask(path, form)).json()) as Record<string, string>;
}

const refresh = (refresh_token = '') => ask('/token', { grant_type: 'refresh_token', refresh_token });
const refreshJson = async (token?: string) => (await (await refresh(token)).json()) as Record<string, string>;
const part = (jwt = '', index = 0) => JSON.parse(Buffer.from(jwt.split('.')[index] ?? '', 'base64url').toString());

/** Whether the ID token is signed by the published key. */
async function genuine(jwt = ''): Promise<boolean> {
  const jwks = (await (await ask('/jwks')).json()) as { keys: [{ kty: string }] };
  const key = createPublicKey({ key: jwks.keys[0], format: 'jwk' });
  const [header, payload, signature = ''] = jwt.split('.');
  const how = { key, dsaEncoding: 'ieee-p1363' } as const;
  return verify('sha256', Buffer.from(`${header}.${payload}`), how, Buffer.from(signature, 'base64url'));
}

describe('without faults', () => {
  test('a login', async () => {
    const metadata = await askJson('/.well-known/openid-configuration');
    expect(metadata).toMatchObject({ issuer: faulty.url, token_endpoint: `${faulty.url}/token` });
    const { device_code = '' } = await askJson('/device_authorization', { scope: 'openid storage.read:/' });
    const poll = { grant_type: 'urn:ietf:params:oauth:grant-type:device_code', device_code };
    expect(await askJson('/token', poll)).toEqual({ error: 'authorization_pending' });
    const tokens = await askJson('/token', poll);
    expect(tokens).toMatchObject({ token_type: 'Bearer', expires_in: 3600, scope: 'openid storage.read:/' });
    expect(part(tokens.id_token, 1)).toMatchObject({ iss: faulty.url, aud: 'me', sub: 'alice' });
    expect(await genuine(tokens.id_token)).toBe(true);
    expect(await askJson('/token', poll)).toEqual({ error: 'invalid_grant' });
    const seen = faulty.requests.map(({ endpoint, params }) => [endpoint, params.device_code]);
    expect(seen.slice(0, 3)).toEqual([
      ['discovery', undefined],
      ['device', undefined],
      ['token', device_code],
    ]);
  });

  test('a replaced refresh token ends the family', async () => {
    const first = faulty.grant();
    const second = (await refreshJson(first)).refresh_token ?? '';
    expect([faulty.accepts(first), faulty.accepts(second)]).toEqual([false, true]);
    expect(await refreshJson(first)).toEqual({ error: 'invalid_grant' });
    expect(faulty.accepts(second)).toBe(false);
    expect(faulty.counts).toMatchObject({ reuse: 1, refreshes: 1 });
  });

  test('a revoked refresh token', async () => {
    const token = faulty.grant();
    await ask('/revoke', { token });
    expect(faulty.accepts(token)).toBe(false);
  });

  test('latency, and the most requests at once', async () => {
    faulty.latency = 20;
    await Promise.all([refresh(), refresh(), refresh()]);
    expect(faulty.counts.peak).toBe(3);
  });
});

describe('scripts', () => {
  test('one fault a request, then the habit, then health', async () => {
    faulty.next('token', fault.status(503, { 'retry-after': '7' }), fault.error('slow_down'));
    faulty.always('token', fault.status(500));
    const busy = await refresh();
    expect([busy.status, busy.headers.get('retry-after')]).toEqual([503, '7']);
    expect(await refreshJson()).toEqual({ error: 'slow_down' });
    expect((await refresh()).status).toBe(500);
    expect((await refresh()).status).toBe(500);
    faulty.always('token', undefined);
    expect((await refresh(faulty.grant())).status).toBe(200);
    const met = faulty.requests.map((request) => request.fault);
    expect(met).toEqual(['status 503 retry-after 7', 'slow_down', 'status 500', 'status 500', undefined]);
  });

  test('a lost answer has rotated the token, a request not looked at has not', async () => {
    const token = faulty.grant();
    faulty.next('token', fault.unprocessed(fault.reset), fault.reset);
    await expect(refresh(token)).rejects.toThrow('fetch failed');
    expect(faulty.accepts(token)).toBe(true);
    // One on the connection that was reset, before that is seen, never comes to the issuer.
    do await expect(refresh(token)).rejects.toThrow('fetch failed');
    while (faulty.requests.length < 2);
    expect(faulty.accepts(token)).toBe(false);
  });
});

describe('faults', () => {
  test('bodies that never make sense', async () => {
    faulty.next('token', fault.truncated, fault.malformed, fault.html, fault.huge(2), fault.hang);
    await expect((await refresh(faulty.grant())).text()).rejects.toThrow('terminated');
    await expect(refreshJson(faulty.grant())).rejects.toThrow(SyntaxError);
    expect((await refresh()).headers.get('content-type')).toBe('text/html');
    expect((await (await refresh()).text()).length).toBeGreaterThan(2 * 1024 * 1024);
    const signal = AbortSignal.timeout(50);
    await expect(fetch(`${faulty.url}/token`, { method: 'POST', signal })).rejects.toThrow('timeout');
  });

  test('a drip arrives whole, a redirect goes elsewhere', async () => {
    faulty.next('token', fault.drip(), fault.redirect('https://elsewhere.example/'));
    expect(await refreshJson(faulty.grant())).toHaveProperty('refresh_token');
    const moved = await refresh();
    expect([moved.status, moved.headers.get('location')]).toEqual([307, 'https://elsewhere.example/']);
  });

  test('answers with other or missing members', async () => {
    faulty.next('token', fault.without('refresh_token', 'token_type'), fault.set({ expires_in: '3600' }));
    const poor = await refreshJson(faulty.grant());
    expect(Object.keys(poor)).toEqual(['access_token', 'id_token', 'expires_in', 'scope']);
    expect((await refreshJson(faulty.grant())).expires_in).toBe('3600');
    faulty.next('discovery', ...fault.discoveryFaults);
    expect((await askJson('/.well-known/openid-configuration')).issuer).toBe('https://other.example');
    expect(await askJson('/.well-known/openid-configuration')).not.toHaveProperty('device_authorization_endpoint');
    faulty.next('device', ...fault.deviceFaults);
    expect((await askJson('/device_authorization', {})).user_code).toBe(fault.hostileText);
  });

  test('ID tokens that lie', async () => {
    const late = fault.idToken((claims) => ({ ...claims, exp: 1 }));
    faulty.next('token', late, fault.idToken({ aud: 'you' }), fault.idToken({}, 'bad signature'));
    const expired = (await refreshJson(faulty.grant())).id_token;
    expect(part(expired, 1).exp).toBe(1);
    expect(await genuine(expired)).toBe(true);
    expect(part((await refreshJson(faulty.grant())).id_token, 1).aud).toBe('you');
    expect(await genuine((await refreshJson(faulty.grant())).id_token)).toBe(false);
    faulty.next('token', fault.idToken({}, 'alg none'));
    expect(part((await refreshJson(faulty.grant())).id_token)).toEqual({ alg: 'none' });
  });

  test('every one has a name of its own', () => {
    const names = [...fault.tokenFaults, ...fault.discoveryFaults, ...fault.deviceFaults].map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
  });
});
