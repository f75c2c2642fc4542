import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Failed } from '../../src/core/failure.js';
import { Superseded } from '../../src/core/ports.js';
import { pollOnce, requestCode } from '../../src/grants/device.js';
import { refresh } from '../../src/grants/refresh.js';
import { confidentialClient, publicClient, type Issuer as Real, startIssuer } from '../helpers/issuer.js';
import { keeping } from '../helpers/rotation.js';
import { failureIn, never, open } from './kit.js';

const scopes = ['offline_access', 'openid', 'storage.create:/alice', 'storage.read:/alice'];
const secret = confidentialClient.client_secret ?? '';

let real: Real;
let fixed: Real;
beforeAll(async () => {
  real = await startIssuer({ slowDown: false });
  fixed = await startIssuer({ slowDown: false, rotate: false, accessTokenFormat: 'opaque' });
});
afterAll(() => Promise.all([real.stop(), fixed.stop()]));

type Client = 'public' | 'confidential';
const opened = (client: Client, at = real) =>
  client === 'public'
    ? open({ issuer: at.url, clientId: publicClient.client_id })
    : open({ issuer: at.url, clientId: confidentialClient.client_id }, secret);

async function login(client: Client, at = real, audience?: string) {
  const issuer = opened(client, at);
  const code = await requestCode(issuer, { scopes, ...(audience !== undefined && { audience }) }, never);
  await at.approve(code.linkComplete ?? code.userCode, { login: 'alice' });
  const reply = await pollOnce(issuer, code, never);
  if (reply.kind !== 'token') throw new Error(`no token but ${reply.kind}`);
  return { issuer, token: reply.token };
}
const nothing = keeping();
const claims = (jwt: string) => JSON.parse(Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString());

describe.each<Client>(['public', 'confidential'])('a real issuer and a %s client', (client) => {
  test('a code, and polls until somebody approves', async () => {
    const issuer = opened(client);
    const before = Date.now();
    const code = await requestCode(issuer, { scopes }, never);
    expect(code).toMatchObject({ link: real.verificationPage, interval: 1 });
    expect(code.linkComplete).toBe(`${real.verificationPage}?user_code=${code.userCode}`);
    expect(code.expires).toBeGreaterThanOrEqual(before + 300_000);
    expect(await pollOnce(issuer, code, never)).toEqual({ kind: 'pending' });
    await real.approve(code.userCode, { login: 'alice' });
    const reply = await pollOnce(issuer, code, never);
    expect(reply).toMatchObject({
      kind: 'token',
      token: {
        tokenType: 'bearer',
        lifeFrom: 'expires_in',
        scopes,
        subject: { iss: real.url, sub: 'alice', name: 'alice' },
        refreshToken: expect.any(String),
      },
    });
    if (reply.kind !== 'token') return;
    expect(reply.token.expires - reply.token.issued).toBe(60_000);
    expect(await real.introspect(reply.token.accessToken)).toBe(true);
    expect(await pollOnce(issuer, code, never)).toMatchObject({ kind: 'refused', failure: { code: 'invalid_grant' } });
  });

  test('a refresh, whose new refresh token is handed over and waited for before anything is judged', async () => {
    const { issuer, token } = await login(client);
    const order: string[] = [];
    const rotated = async (next: string) => {
      order.push(next);
      await pause(10);
      order.push('durable');
    };
    const first = await refresh(issuer, { refreshToken: token.refreshToken ?? '' }, keeping(rotated), never);
    order.push('judged');
    expect(order).toEqual([first.refreshToken, 'durable', 'judged']);
    expect(first.refreshToken).not.toBe(token.refreshToken);
    expect(first.scopes).toEqual(scopes);
    expect(first.subject).toBeUndefined();
    expect(await real.introspect(first.accessToken)).toBe(true);
    const second = await refresh(issuer, { refreshToken: first.refreshToken ?? '' }, nothing, never);
    expect(second.accessToken).not.toBe(first.accessToken);
  });

  test('a refresh token that was used before is a login that is needed', async () => {
    const { issuer, token } = await login(client);
    const used = token.refreshToken ?? '';
    await refresh(issuer, { refreshToken: used }, nothing, never);
    const failure = await failureIn(refresh(issuer, { refreshToken: used }, nothing, never), used);
    expect(failure).toMatchObject({ kind: 'login-needed', code: 'invalid_grant' });
  });

  test.each([
    ['a failure of ours', new Failed({ kind: 'storage', what: 'the disk is full' }), 'storage'],
    ['anything else', new Superseded('a login came in between'), 'protocol'],
  ])('why a new refresh token could not be kept can be told: %s', async (_, trouble, kind) => {
    const { issuer, token } = await login(client);
    const rotated = async () => {
      throw trouble;
    };
    const failed = refresh(issuer, { refreshToken: token.refreshToken ?? '' }, keeping(rotated), never);
    expect((await failureIn(failed)).kind).toBe(kind);
    const chain: unknown[] = [await failed.catch((thrown: unknown) => thrown)];
    for (let error = chain[0]; error instanceof Error; error = error.cause) chain.push(error);
    expect(chain).toContain(trouble);
  });

  test('fewer scopes, and an audience', async () => {
    const { issuer, token } = await login(client, real, 'https://dcache.example');
    expect(claims(token.accessToken).aud).toBe('https://dcache.example');
    const grant = { refreshToken: token.refreshToken ?? '', scopes: ['storage.read:/alice'] };
    const fewer = await refresh(issuer, grant, nothing, never);
    expect(fewer.scopes).toEqual(['storage.read:/alice']);
    expect(claims(fewer.accessToken)).toMatchObject({ scope: 'storage.read:/alice', aud: 'https://dcache.example' });
    const more = { refreshToken: fewer.refreshToken ?? '', scopes: ['storage.read:/'] };
    expect(await failureIn(refresh(issuer, more, nothing, never))).toMatchObject({
      kind: 'refused',
      code: 'invalid_scope',
      hint: expect.stringContaining('--scope'),
    });
  });

  test('a revocation', async () => {
    const { issuer, token } = await login(client);
    const before = real.counts.revocations;
    expect(await issuer.revoke(token.refreshToken ?? '', never)).toBe(true);
    expect(real.counts.revocations).toBe(before + 1);
    const again = refresh(issuer, { refreshToken: token.refreshToken ?? '' }, nothing, never);
    expect((await failureIn(again)).kind).toBe('login-needed');
    // RFC 7009 §2.2: one that is unknown is no error.
    expect(await issuer.revoke('unknown', never)).toBe(true);
  });

  test('an issuer that does not rotate', async () => {
    const { issuer, token } = await login(client, fixed);
    const seen: string[] = [];
    const rotated = async (next: string) => void seen.push(next);
    for (let i = 0; i < 2; i++) {
      const next = await refresh(issuer, { refreshToken: token.refreshToken ?? '' }, keeping(rotated), never);
      expect(await fixed.introspect(next.accessToken)).toBe(true);
    }
    expect(new Set(seen)).toEqual(new Set([token.refreshToken]));
  });

  test('somebody says no', async () => {
    const issuer = opened(client);
    const code = await requestCode(issuer, { scopes }, never);
    await real.deny(code.userCode);
    expect(await pollOnce(issuer, code, never)).toMatchObject({ kind: 'refused', failure: { kind: 'denied' } });
  });
});

describe('a client that the issuer does not know', () => {
  test('by name', async () => {
    const failure = await failureIn(open({ issuer: real.url, clientId: 'nobody' }).device({}, never));
    expect(failure).toMatchObject({
      kind: 'refused',
      code: 'invalid_client',
      hint: expect.stringContaining('_CLIENT_ID'),
    });
  });

  test('by its secret, which is not repeated', async () => {
    const wrong = open({ issuer: real.url, clientId: confidentialClient.client_id }, 'wrong-secret');
    const failure = await failureIn(wrong.device({}, never), 'wrong-secret', btoa('confidential:wrong-secret'));
    expect(failure).toMatchObject({ kind: 'refused', code: 'invalid_client' });
  });
});

test('a scope that nobody knows is left out by this issuer, and that can be seen', async () => {
  const issuer = opened('public');
  const code = await requestCode(issuer, { scopes: [...scopes, 'nonsense'] }, never);
  await real.approve(code.userCode, { login: 'bob' });
  expect(await pollOnce(issuer, code, never)).toMatchObject({ token: { scopes, subject: { sub: 'bob' } } });
});

test('the metadata say which scopes there are', async () => {
  expect(await opened('public').scopes(never)).toContain('offline_access');
});
