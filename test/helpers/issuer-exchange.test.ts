import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { exchangeClient, type Issuer, type IssuerOptions, publicClient, robotClient, startIssuer } from './issuer.js';
import type { Behaviour, IssuerClient } from './issuer-provider.js';

const type = 'urn:ietf:params:oauth:token-type:';
const grant_type = 'urn:ietf:params:oauth:grant-type:token-exchange';
const any = 'https://wlcg.cern.ch/jwt/v1/any';
const scope = 'openid offline_access storage.read:/alice storage.create:/alice';

interface Answer {
  readonly status: number;
  readonly body: Record<string, string>;
}

async function ask(url: string, client: IssuerClient, fields: Record<string, string>): Promise<Answer> {
  const { client_id, client_secret = '', token_endpoint_auth_method: method } = client;
  const inBody = { client_id, ...(client_secret && { client_secret }) };
  const basic = method === 'client_secret_basic';
  const answer = await fetch(`${url}/token`, {
    method: 'POST',
    body: new URLSearchParams({ ...(basic ? {} : inBody), ...fields }),
    headers: basic ? { authorization: `Basic ${btoa(`${client_id}:${client_secret}`)}` } : {},
  });
  return { status: answer.status, body: (await answer.json()) as Record<string, string> };
}

async function login({ url, approve }: Issuer): Promise<Record<string, string>> {
  const fields = { client_id: publicClient.client_id, scope };
  const begun = await fetch(`${url}/device/auth`, { method: 'POST', body: new URLSearchParams(fields) });
  const { device_code = '', user_code = '' } = (await begun.json()) as Record<string, string>;
  await approve(user_code, { login: 'alice' });
  const device = 'urn:ietf:params:oauth:grant-type:device_code';
  return (await ask(url, publicClient, { grant_type: device, device_code })).body;
}

function claims(jwt = ''): Record<string, unknown> {
  return JSON.parse(Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString());
}

/** An issuer for one test. */
async function own(options: IssuerOptions): Promise<Issuer> {
  const issuer = await startIssuer(options);
  onTestFinished(() => issuer.stop());
  return issuer;
}

describe('the test issuer exchanges', () => {
  let issuer: Issuer;
  let before: Issuer['counts'];
  let usual: Behaviour;
  beforeAll(async () => {
    issuer = await startIssuer({ behaviour: { subjects: ['alice', 'bob'] } });
    usual = { ...issuer.behaviour };
  });
  beforeEach(() => {
    before = { ...issuer.counts };
    Object.assign(issuer.behaviour, usual);
  });
  afterAll(() => issuer.stop());

  const refresh = (refresh_token = '', more: Record<string, string> = {}, client = exchangeClient) =>
    ask(issuer.url, client, { grant_type: 'refresh_token', refresh_token, ...more });

  describe('a secret for a user’s tokens', () => {
    const asked = {
      grant_type,
      audience: exchangeClient.client_id,
      requested_token_type: `${type}refresh_token`,
      requested_subject: 'bob',
      scope: 'offline_access storage.read:/bob',
    };
    const impersonate = (more: Record<string, string> = {}, client = exchangeClient, url = issuer.url) =>
      ask(url, client, { ...asked, ...more });

    test('as Keycloak answers', async () => {
      const { status, body } = await impersonate();
      expect(status).toBe(200);
      expect(body).toEqual({
        access_token: expect.any(String),
        refresh_token: expect.any(String),
        issued_token_type: `${type}refresh_token`,
        expires_in: 60,
        scope: asked.scope,
        token_type: 'Bearer',
      });
      expect(claims(body.access_token)).toMatchObject({ sub: 'bob', scope: asked.scope, aud: any });
      expect(await issuer.introspect(body.access_token ?? '')).toBe(true);
      expect(issuer.counts.exchanges - before.exchanges).toBe(1);

      const renewed = await refresh(body.refresh_token);
      expect(renewed.body).toMatchObject({ scope: asked.scope, refresh_token: expect.any(String) });
      expect(renewed.body.refresh_token).not.toBe(body.refresh_token);
      expect(claims(renewed.body.access_token)).toMatchObject({ sub: 'bob', aud: any });
      expect((await refresh(body.refresh_token)).body.error).toBe('invalid_grant');
    });

    test('with an ID token where openid is among the scopes', async () => {
      const { body } = await impersonate({ scope: 'openid storage.read:/bob' });
      expect(claims(body.id_token)).toMatchObject({ iss: issuer.url, sub: 'bob', aud: 'exchanger' });
    });

    test('strictly by RFC 8693', async () => {
      issuer.behaviour.exchangeAnswer = 'strict';
      const { body } = await impersonate();
      expect(body).toMatchObject({ issued_token_type: `${type}refresh_token`, token_type: 'N_A' });
      expect(body.refresh_token).toBeUndefined();
      expect(Number(body.expires_in)).toBeGreaterThan(3600);
      expect((await refresh(body.access_token)).status).toBe(200);
    });

    test('without a refresh token', async () => {
      issuer.behaviour.exchangeAnswer = 'no-refresh-token';
      const { body } = await impersonate();
      expect(body).toMatchObject({ issued_token_type: `${type}access_token`, token_type: 'Bearer' });
      expect(body.refresh_token).toBeUndefined();
    });

    test('is refused to others, for others, and beyond what is known', async () => {
      const denied = {
        status: 403,
        body: { error: 'access_denied', error_description: 'Client not allowed to exchange' },
      };
      expect(await impersonate({ requested_subject: 'mallory' })).toMatchObject(denied);
      expect(await impersonate({ audience: 'public-cli' })).toMatchObject(denied);
      expect(await impersonate({ audience: 'nobody' })).toMatchObject({
        status: 400,
        body: { error: 'invalid_client' },
      });
      expect(await impersonate({ scope: 'storage.read:/bob nonsense' })).toMatchObject({
        status: 400,
        body: { error: 'invalid_scope' },
      });
      expect((await impersonate({ requested_token_type: `${type}saml2` })).body.error).toBe('invalid_request');
      const { client_secret, ...nameless } = exchangeClient;
      expect(await impersonate({}, { ...nameless, client_secret: `${client_secret}x` })).toMatchObject({ status: 401 });
      expect((await impersonate({}, robotClient)).body.error).toBe('invalid_request');

      const { may_impersonate: _, ...unmarked } = exchangeClient;
      const other = await own({ clients: [unmarked], behaviour: { subjects: ['bob'] } });
      expect(await impersonate({}, unmarked, other.url)).toMatchObject(denied);
    });
  });

  describe('a subject token', () => {
    let tokens: Record<string, string>;
    beforeEach(async () => {
      tokens = await login(issuer);
    });
    const exchange = (more: Record<string, string> = {}, client = exchangeClient) => {
      const subject = { subject_token: tokens.access_token ?? '', subject_token_type: `${type}access_token` };
      return ask(issuer.url, client, { grant_type, ...subject, ...more });
    };

    test('for an access token of the same or fewer scopes, and another audience', async () => {
      const same = await exchange();
      expect(same.body).toMatchObject({ scope, issued_token_type: `${type}access_token`, token_type: 'Bearer' });
      expect(same.body.refresh_token).toBeUndefined();
      expect(claims(same.body.access_token)).toMatchObject({ sub: 'alice', client_id: 'exchanger', scope });
      expect(claims(same.body.access_token).aud).toBe(claims(tokens.access_token).aud);

      const fewer = await exchange({ scope: 'storage.read:/alice/data', audience: 'https://dcache.example.org' });
      expect(claims(fewer.body.access_token)).toMatchObject({
        scope: 'storage.read:/alice/data',
        aud: 'https://dcache.example.org',
      });
    });

    test('for a refresh token of one’s own, which outlives the first', async () => {
      const asked = {
        requested_token_type: `${type}refresh_token`,
        scope: 'storage.read:/alice',
        audience: 'https://x.example',
      };
      const { body } = await exchange(asked);
      expect(body).toMatchObject({ issued_token_type: `${type}refresh_token`, scope: asked.scope });
      await fetch(`${issuer.url}/token/revocation`, {
        method: 'POST',
        body: new URLSearchParams({ client_id: publicClient.client_id, token: tokens.refresh_token ?? '' }),
      });
      expect((await refresh(tokens.refresh_token, {}, publicClient)).body.error).toBe('invalid_grant');
      const renewed = await refresh(body.refresh_token);
      expect(claims(renewed.body.access_token)).toMatchObject({
        scope: asked.scope,
        aud: 'https://x.example',
        sub: 'alice',
      });
      expect((await refresh(renewed.body.refresh_token, {}, publicClient)).body.error).toBe('invalid_grant');
    });

    test('that is a refresh token of the same client', async () => {
      const { body } = await exchange({ requested_token_type: `${type}refresh_token` });
      const mine = { subject_token: body.refresh_token ?? '', subject_token_type: `${type}refresh_token` };
      expect((await exchange({ ...mine, scope: 'storage.read:/alice' })).body.scope).toBe('storage.read:/alice');
      expect((await refresh(body.refresh_token)).status).toBe(200);
      const others = { subject_token: tokens.refresh_token ?? '', subject_token_type: `${type}refresh_token` };
      expect((await exchange(others)).body.error).toBe('invalid_request');
    });

    test('is refused beyond its scopes, to an audience unknown, and when it is none', async () => {
      expect((await exchange({ scope: 'storage.read:/' })).body.error).toBe('invalid_scope');
      expect((await exchange({ scope: 'storage.read:/alicex' })).body.error).toBe('invalid_scope');
      issuer.behaviour.audiences = ['https://known.example'];
      expect((await exchange({ audience: 'https://x.example' })).body.error).toBe('invalid_target');
      expect((await exchange({ subject_token: 'nonsense' })).body.error).toBe('invalid_request');
      expect((await exchange({ subject_token: `${tokens.access_token}AA` })).body.error).toBe('invalid_request');
      expect((await exchange({ subject_token_type: `${type}id_token` })).body.error).toBe('invalid_request');
      expect((await exchange({}, publicClient)).body.error).toBe('invalid_request');
      vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 61_000 });
      onTestFinished(() => void vi.useRealTimers());
      expect((await exchange()).body.error).toBe('invalid_request');
    });

    test('that is opaque, until its grant ends', async () => {
      const opaque = await own({ accessTokenFormat: 'opaque' });
      const { access_token: subject_token = '' } = await login(opaque);
      const subject = { grant_type, subject_token, subject_token_type: `${type}access_token` };
      const { body } = await ask(opaque.url, exchangeClient, { ...subject, scope: 'storage.read:/alice' });
      expect(body.access_token?.split('.')).toHaveLength(1);
      expect(await opaque.introspect(body.access_token ?? '')).toBe(true);
      opaque.revokeGrants();
      expect((await ask(opaque.url, exchangeClient, subject)).body.error).toBe('invalid_request');
    });
  });

  test('client credentials, for clients that have that grant', async () => {
    const asked = {
      grant_type: 'client_credentials',
      scope: 'storage.read:/robots nonsense',
      audience: 'https://x.example',
    };
    const { body } = await ask(issuer.url, robotClient, asked);
    expect(body).toEqual({
      access_token: expect.any(String),
      expires_in: 60,
      scope: 'storage.read:/robots',
      token_type: 'Bearer',
    });
    expect(claims(body.access_token)).toMatchObject({
      sub: 'robot',
      client_id: 'robot',
      scope: 'storage.read:/robots',
      aud: 'https://x.example',
    });
    expect(issuer.counts.clientCredentials - before.clientCredentials).toBe(1);
    expect(await ask(issuer.url, publicClient, asked)).toMatchObject({
      status: 400,
      body: { error: 'invalid_request' },
    });
    expect((await ask(issuer.url, { ...robotClient, client_secret: 'no' }, asked)).body.error).toBe('invalid_client');

    const opaque = await own({ accessTokenFormat: 'opaque' });
    const { access_token = '' } = (await ask(opaque.url, robotClient, asked)).body;
    expect(await opaque.introspect(access_token)).toBe(true);
  });

  describe('a refresh with fewer scopes', () => {
    const fewer = { scope: 'storage.read:/alice' };
    const narrow = (token = '') => refresh(token, fewer, publicClient);

    test('gives such a token, and keeps the refresh token’s own', async () => {
      const { refresh_token } = await login(issuer);
      const { body } = await narrow(refresh_token);
      expect(body.scope).toBe(fewer.scope);
      expect(claims(body.access_token).scope).toBe(fewer.scope);
      expect(body.refresh_token).not.toBe(refresh_token);
      const all = await refresh(body.refresh_token, {}, publicClient);
      expect(all.body.scope).toBe(scope);
      expect(claims(all.body.access_token).scope).toBe(scope);
    });

    test('is ignored', async () => {
      issuer.behaviour.narrowing = 'ignored';
      const { refresh_token } = await login(issuer);
      const { body } = await narrow(refresh_token);
      expect(body.scope).toBe(scope);
      expect(claims(body.access_token).scope).toBe(scope);
      const other = { scope: 'storage.read:/other' };
      expect((await refresh(body.refresh_token, other, publicClient)).body.scope).toBe(scope);
    });

    test('is refused, and costs nothing', async () => {
      issuer.behaviour.narrowing = 'refused';
      const { refresh_token } = await login(issuer);
      expect(await narrow(refresh_token)).toMatchObject({ status: 400, body: { error: 'invalid_scope' } });
      expect((await refresh(refresh_token, {}, publicClient)).status).toBe(200);
    });
  });

  test.each(['refresh_expires_in', 'refresh_token_expires_in'] as const)('answers with %s', async (name) => {
    const short = await own({ refreshTokenTtl: 1800, behaviour: { refreshExpiry: name, subjects: ['bob'] } });
    const first = await login(short);
    expect(Number(first[name])).toBeCloseTo(1800, -1);
    const renewed = await ask(short.url, publicClient, {
      grant_type: 'refresh_token',
      refresh_token: first.refresh_token ?? '',
    });
    expect(Number(renewed.body[name])).toBeCloseTo(1800, -1);
    const exchanged = await ask(short.url, exchangeClient, { grant_type, requested_subject: 'bob' });
    expect(Number(exchanged.body[name])).toBeCloseTo(1800, -1);
    const { access_token: subject_token = '' } = exchanged.body;
    const subject = { grant_type, subject_token, subject_token_type: `${type}access_token` };
    expect((await ask(short.url, exchangeClient, subject)).body[name]).toBeUndefined();
  });
});

test('the issuer’s own process takes clients and behaviour, and changes it when told', async () => {
  // Below node_modules, so that the packages are found.
  const outfile = `node_modules/.cache/issuer-behave-${process.pid}.mjs`;
  const how = { bundle: true, packages: 'external', platform: 'node', format: 'esm' } as const;
  await build({ ...how, entryPoints: [fileURLToPath(new URL('./issuer-main.ts', import.meta.url))], outfile });
  onTestFinished(() => rmSync(outfile));
  const client = { ...exchangeClient, client_id: 'mine' };
  const behaviour = { subjects: ['bob'], refreshExpiry: 'refresh_expires_in', exchangeAnswer: 'no-refresh-token' };
  const settings = ['--clients', JSON.stringify([client]), '--behaviour', JSON.stringify(behaviour)];
  const child = spawn(process.execPath, [outfile, '--refresh-token-ttl', '1800', '--no-rotation', ...settings]);
  onTestFinished(() => void child.kill());
  const { url } = await new Promise<{ url: string }>((resolve) => {
    createInterface(child.stdout).once('line', (line) => resolve(JSON.parse(line)));
  });
  const asked = { grant_type, requested_subject: 'bob' };
  expect((await ask(url, client, asked)).body.refresh_token).toBeUndefined();
  const changes = { exchangeAnswer: 'keycloak', subjects: ['carol'], audiences: null };
  const told = await fetch(`${url}/control/behave`, { method: 'POST', body: JSON.stringify(changes) });
  expect(told.status).toBe(200);
  expect((await ask(url, client, asked)).body.error).toBe('access_denied');
  const { body } = await ask(url, client, { ...asked, requested_subject: 'carol' });
  expect(Number(body.refresh_expires_in)).toBeCloseTo(1800, -1);
  const renewed = await ask(url, client, { grant_type: 'refresh_token', refresh_token: body.refresh_token ?? '' });
  expect(renewed.body.refresh_token).toBe(body.refresh_token);
  expect(await (await fetch(`${url}/control/counts`)).json()).toMatchObject({ exchanges: 2, refreshes: 1 });
});
