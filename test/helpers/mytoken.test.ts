import { Agent, request } from 'undici';
import { describe, expect, onTestFinished, test } from 'vitest';
import { canCertify, makeCertificates } from './certificates.js';
import { type Mytoken, type MytokenOptions, startMytoken } from './mytoken.js';

interface Answer {
  readonly status: number;
  readonly body: Record<string, string> & { readonly token_update?: { mytoken: string } };
}

async function own(options: MytokenOptions = {}): Promise<Mytoken> {
  const server = await startMytoken(options);
  onTestFinished(() => server.stop());
  return server;
}

async function ask({ endpoint }: Mytoken, mytoken: string, more: Record<string, string> = {}): Promise<Answer> {
  const headers = { 'content-type': 'application/json' };
  const body = JSON.stringify({ grant_type: 'mytoken', mytoken, ...more });
  const answer = await fetch(endpoint, { method: 'POST', headers, body });
  return { status: answer.status, body: (await answer.json()) as Answer['body'] };
}

function claims(jwt = ''): Record<string, unknown> {
  return JSON.parse(Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString());
}

describe('the test mytoken server', () => {
  test('says where its endpoints are', async () => {
    const server = await own();
    for (const name of ['mytoken', 'openid']) {
      const configuration = await (await fetch(`${server.url}/.well-known/${name}-configuration`)).json();
      expect(configuration).toMatchObject({ issuer: server.url, access_token_endpoint: server.endpoint });
    }
  });

  test('gives access tokens for a mytoken, asked in JSON or in a form', async () => {
    const server = await own();
    const mytoken = server.make();
    expect(claims(mytoken)).toMatchObject({ iss: server.url, oidc_iss: 'https://op.example' });
    const { status, body } = await ask(server, mytoken, { scope: 'storage.read:/a', audience: 'https://x.example' });
    expect(status).toBe(200);
    const scope = 'openid offline_access storage.read:/';
    expect(body).toEqual({
      access_token: expect.any(String),
      token_type: 'Bearer',
      expires_in: 3600,
      scope,
      audience: ['https://wlcg.cern.ch/jwt/v1/any'],
    });
    expect(claims(body.access_token)).toMatchObject({ sub: 'alice', scope });
    const form = new URLSearchParams({ grant_type: 'refresh_token', refresh_token: mytoken });
    expect((await fetch(server.endpoint, { method: 'POST', body: form })).status).toBe(200);
    expect(server.requests.map(({ params }) => params.grant_type)).toEqual(['mytoken', 'refresh_token']);
  });

  test('looks at scope and audience where the mytoken is restricted', async () => {
    const server = await own();
    const restriction = { scopes: ['storage.read:/a'], audiences: ['https://x.example', 'https://y.example'] };
    const mytoken = server.make({ restriction });
    expect((await ask(server, mytoken)).body).toMatchObject({
      scope: 'storage.read:/a',
      audience: restriction.audiences,
    });
    const fewer = { scope: 'storage.read:/a/b', audience: 'https://y.example' };
    expect(claims((await ask(server, mytoken, fewer)).body.access_token)).toMatchObject({
      scope: fewer.scope,
      aud: [fewer.audience],
    });
    const refused = { status: 403, body: { error: 'usage_restricted' } };
    expect(await ask(server, mytoken, { scope: 'storage.read:/b' })).toMatchObject(refused);
    expect(await ask(server, mytoken, { audience: 'https://z.example' })).toMatchObject(refused);
  });

  test('rotates', async () => {
    const server = await own();
    const first = server.make({ rotation: { on_AT: true, auto_revoke: true }, expiresIn: 86_400 });
    const { body } = await ask(server, first);
    const second = body.token_update?.mytoken ?? '';
    expect(body.token_update).toMatchObject({ mytoken_type: 'token', rotation: { on_AT: true } });
    expect(second).not.toBe(first);
    expect(server.accepts(first)).toBe(false);
    expect(server.accepts(second)).toBe(true);
    expect(await ask(server, first)).toEqual({ status: 401, body: { error: 'invalid_token' } });
    expect((await ask(server, second)).status).toBe(401);
    expect(server.counts).toEqual({ accessTokens: 1, rotations: 1, reuse: 1 });

    const short = server.make({ rotation: { on_AT: true }, type: 'short_token' });
    const next = (await ask(server, short)).body.token_update?.mytoken ?? '';
    expect((await ask(server, short)).status).toBe(401);
    expect((await ask(server, next)).status).toBe(200);
  });

  test('refuses', async () => {
    let time = Date.now();
    const server = await own({ now: () => time, accessTokenFormat: 'opaque' });
    const invalid = { status: 401, body: { error: 'invalid_token' } };
    const mytoken = server.make({ expiresIn: 60 });
    expect((await ask(server, mytoken)).body.audience).toBeUndefined();
    expect(await ask(server, 'nonsense')).toMatchObject(invalid);
    expect(await ask(server, mytoken, { grant_type: 'password' })).toMatchObject({
      status: 400,
      body: { error: 'invalid_grant', error_description: 'Unsupported grant_type' },
    });
    expect(await ask(server, mytoken, { oidc_issuer: 'https://other.example' })).toMatchObject({
      status: 400,
      body: { error: 'invalid_request' },
    });
    expect(await ask(server, server.make({ capabilities: ['tokeninfo'] }))).toMatchObject({
      status: 403,
      body: { error: 'insufficient_capabilities' },
    });
    server.refusal = { status: 400, error: 'invalid_grant', error_description: 'Token not found' };
    expect(await ask(server, mytoken)).toEqual({
      status: 400,
      body: { error: 'oidc_error', error_description: 'invalid_grant: Token not found' },
    });
    server.refusal = undefined;
    const other = server.make();
    server.revoke(other);
    expect(await ask(server, other)).toMatchObject(invalid);
    time += 60_000;
    expect(await ask(server, mytoken)).toMatchObject(invalid);
  });

  test('fails when told to', async () => {
    const server = await own();
    const mytoken = server.make({ rotation: { on_AT: true } });
    server.next({ status: 500, body: { error: 'internal_server_error' } }, 'reset', 'lost');
    expect((await ask(server, mytoken)).status).toBe(500);
    await expect(ask(server, mytoken)).rejects.toThrow();
    expect(server.accepts(mytoken)).toBe(true);
    await expect(ask(server, mytoken)).rejects.toThrow();
    expect(server.accepts(mytoken)).toBe(false);
    expect(server.counts.rotations).toBe(1);
  });

  test.skipIf(!canCertify)('https, by an authority of its own', async () => {
    const tls = makeCertificates();
    const server = await own({ tls });
    const dispatcher = new Agent({ connect: { ca: tls.ca } });
    onTestFinished(() => dispatcher.close());
    const body = new URLSearchParams({ grant_type: 'mytoken', mytoken: server.make() }).toString();
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    expect((await request(server.endpoint, { dispatcher, method: 'POST', headers, body })).statusCode).toBe(200);
  });
});
