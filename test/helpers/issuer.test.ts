import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { Agent, request } from 'undici';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { confidentialClient, type Issuer, type IssuerOptions, publicClient, startIssuer } from './issuer.js';

const deviceGrant = 'urn:ietf:params:oauth:grant-type:device_code';
const scope = 'openid offline_access storage.read:/alice storage.create:/alice';
const openssl = '/usr/bin/openssl';
const publicCli = { client_id: publicClient.client_id };
const authorization = `Basic ${btoa(`${confidentialClient.client_id}:${confidentialClient.client_secret}`)}`;

interface Answer {
  readonly status: number;
  readonly body: Record<string, string>;
}

async function post(
  url: string,
  fields: Record<string, string>,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const answer = await fetch(url, { method: 'POST', body: new URLSearchParams(fields), headers });
  const body = await answer.text();
  return { status: answer.status, body: body ? JSON.parse(body) : {} };
}

interface Authorization {
  readonly device_code: string;
  readonly user_code: string;
  readonly verification_uri: string;
  readonly verification_uri_complete: string;
  readonly interval: number;
  readonly expires_in: number;
}

async function begin(url: string, more: Record<string, string> = {}): Promise<Authorization> {
  const { body } = await post(`${url}/device/auth`, { ...publicCli, scope, ...more });
  return body as unknown as Authorization;
}

function poll(url: string, device_code: string): Promise<Answer> {
  return post(`${url}/token`, { ...publicCli, grant_type: deviceGrant, device_code });
}

function refresh(url: string, refresh_token = '', more: Record<string, string> = {}): Promise<Answer> {
  return post(`${url}/token`, { ...publicCli, grant_type: 'refresh_token', refresh_token, ...more });
}

async function login(issuer: Issuer, more: Record<string, string> = {}): Promise<Record<string, string>> {
  const { device_code, verification_uri_complete } = await begin(issuer.url, more);
  await issuer.approve(verification_uri_complete, { login: 'alice' });
  const { status, body } = await poll(issuer.url, device_code);
  expect(status).toBe(200);
  return body;
}

/** An issuer for one test. */
async function own(options: IssuerOptions): Promise<Issuer> {
  const issuer = await startIssuer(options);
  onTestFinished(() => issuer.stop());
  return issuer;
}

function claims(jwt = ''): Record<string, unknown> {
  return JSON.parse(Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString());
}

describe('the test issuer', () => {
  let issuer: Issuer;
  let before: Issuer['counts'];
  const since = (name: keyof Issuer['counts']) => issuer.counts[name] - before[name];

  beforeAll(async () => {
    issuer = await startIssuer();
  });
  beforeEach(() => {
    before = { ...issuer.counts };
  });
  afterAll(() => issuer.stop());

  test('publishes what a client needs', async () => {
    const metadata = await (await fetch(`${issuer.url}/.well-known/openid-configuration`)).json();
    expect(metadata).toMatchObject({
      issuer: issuer.url,
      device_authorization_endpoint: `${issuer.url}/device/auth`,
      token_endpoint: `${issuer.url}/token`,
      revocation_endpoint: `${issuer.url}/token/revocation`,
      introspection_endpoint: `${issuer.url}/token/introspection`,
      jwks_uri: `${issuer.url}/jwks`,
    });
    expect(since('discoveries')).toBe(1);
  });

  test('a device login, approved over its own pages', async () => {
    const device = await begin(issuer.url);
    expect(device).toMatchObject({ interval: 1, expires_in: 300, verification_uri: issuer.verificationPage });
    expect((await poll(issuer.url, device.device_code)).body.error).toBe('authorization_pending');

    await issuer.approve(device.user_code, { login: 'alice' });
    const { body } = await poll(issuer.url, device.device_code);

    expect(body).toMatchObject({ token_type: 'Bearer', expires_in: 60, scope });
    expect(claims(body.access_token)).toMatchObject({ iss: issuer.url, sub: 'alice', scope, 'wlcg.ver': '1.0' });
    expect(claims(body.id_token)).toMatchObject({
      iss: issuer.url,
      aud: 'public-cli',
      sub: 'alice',
      preferred_username: 'alice',
      name: 'Alice Example',
      email: 'alice@example.org',
    });
    expect(await issuer.introspect(body.access_token ?? '')).toBe(true);
    expect(await issuer.introspect(`${body.access_token}AAAA`)).toBe(false);
    expect(since('polls')).toBe(2);
    expect(since('logins')).toBe(1);
  });

  test('a denied login', async () => {
    const device = await begin(issuer.url);
    await issuer.deny(device.verification_uri_complete);
    expect((await poll(issuer.url, device.device_code)).body.error).toBe('access_denied');
  });

  test('a code that does not exist, or was used, cannot be approved', async () => {
    await expect(issuer.approve('BBBB-BBBB', { login: 'alice' })).rejects.toThrow('There is no such code');
    const { user_code } = await begin(issuer.url);
    await issuer.approve(user_code, { login: 'alice' });
    await expect(issuer.approve(user_code, { login: 'bob' })).rejects.toThrow('used already');
  });

  test('unknown scopes are left out, an audience is kept through refreshes', async () => {
    const asked = { scope: `${scope} nonsense`, audience: 'https://dcache.example.org' };
    const first = await login(issuer, asked);
    expect(first.scope).toBe(scope);
    expect(claims(first.access_token).aud).toBe('https://dcache.example.org');
    const { body } = await refresh(issuer.url, first.refresh_token);
    expect(claims(body.access_token).aud).toBe('https://dcache.example.org');
  });

  test('a refresh may ask for fewer scopes, and later for all again, but not for more', async () => {
    const first = await login(issuer);
    const fewer = await refresh(issuer.url, first.refresh_token, { scope: 'storage.read:/alice' });
    expect(fewer.body.scope).toBe('storage.read:/alice');
    expect(claims(fewer.body.access_token).scope).toBe('storage.read:/alice');
    const all = await refresh(issuer.url, fewer.body.refresh_token);
    expect(all.body.scope).toBe(scope);
    const more = await refresh(issuer.url, all.body.refresh_token, { scope: 'storage.read:/' });
    expect(more).toMatchObject({ status: 400, body: { error: 'invalid_scope' } });
  });

  test('a refresh token used twice ends the grant, and each time is counted', async () => {
    const first = await login(issuer);
    const second = (await refresh(issuer.url, first.refresh_token)).body;
    expect(second.refresh_token).not.toBe(first.refresh_token);
    expect((await refresh(issuer.url, first.refresh_token)).body.error).toBe('invalid_grant');
    expect((await refresh(issuer.url, second.refresh_token)).body.error).toBe('invalid_grant');
    expect((await refresh(issuer.url, first.refresh_token)).body.error).toBe('invalid_grant');
    expect(since('refreshes')).toBe(1);
    expect(since('refusals')).toBe(3);
    expect(since('reuse')).toBe(2);
  });

  test('of refreshes at the same moment one is served', async () => {
    const { refresh_token } = await login(issuer);
    const answers = await Promise.all(Array.from({ length: 5 }, () => refresh(issuer.url, refresh_token)));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 400, 400, 400, 400]);
    expect(since('reuse')).toBe(4);
  });

  test('revoked grants', async () => {
    const { refresh_token = '' } = await login(issuer);
    const revoked = await post(`${issuer.url}/token/revocation`, { ...publicCli, token: refresh_token });
    expect(revoked.status).toBe(200);
    expect((await refresh(issuer.url, refresh_token)).body.error).toBe('invalid_grant');
    expect(since('revocations')).toBe(1);

    const other = await login(issuer);
    issuer.revokeGrants();
    expect((await refresh(issuer.url, other.refresh_token)).body.error).toBe('invalid_grant');
    expect(since('reuse')).toBe(0);
  });

  test('a confidential client, and opaque tokens', async () => {
    const opaque = await own({ accessTokenFormat: 'opaque', rotate: false });
    const begun = await post(`${opaque.url}/device/auth`, { scope }, { authorization });
    await opaque.approve(begun.body.verification_uri_complete ?? '', { login: 'bob' });
    const poll = { grant_type: deviceGrant, device_code: begun.body.device_code ?? '' };
    const { body } = await post(`${opaque.url}/token`, poll, { authorization });
    const token = body.access_token ?? '';

    const introspected = await post(`${opaque.url}/token/introspection`, { token }, { authorization });
    expect(introspected.body).toMatchObject({ active: true, sub: 'bob', scope });
    expect(await opaque.introspect(token)).toBe(true);

    const again = { grant_type: 'refresh_token', refresh_token: body.refresh_token ?? '' };
    for (const _ of [1, 2]) {
      const refreshed = await post(`${opaque.url}/token`, again, { authorization });
      expect(refreshed.body.refresh_token).toBe(again.refresh_token);
    }
    opaque.revokeGrants();
    expect(await opaque.introspect(token)).toBe(false);
  });

  test('polling before the interval is over is told to slow down, by 5 s more each time', async () => {
    let now = 0;
    const slow = await own({ interval: 5, now: () => now });
    const { device_code } = await begin(slow.url);
    const answers: string[] = [];
    for (const wait of [0, 5, 4, 5, 15, 1]) {
      now += wait * 1000;
      answers.push((await poll(slow.url, device_code)).body.error ?? '');
    }
    const pending = 'authorization_pending';
    expect(answers).toEqual([pending, pending, 'slow_down', 'slow_down', pending, 'slow_down']);
    expect(slow.counts).toMatchObject({ polls: 6, slowDowns: 3 });
  });

  test('lifetimes follow Date.now, so a test can let them pass', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    onTestFinished(() => void vi.useRealTimers());
    const { access_token = '' } = await login(issuer);
    const { device_code } = await begin(issuer.url);
    vi.setSystemTime(Date.now() + 61_000);
    expect(await issuer.introspect(access_token)).toBe(false);
    vi.setSystemTime(Date.now() + 240_000);
    expect((await poll(issuer.url, device_code)).body.error).toBe('expired_token');
  });

  test.skipIf(!existsSync(openssl))('https', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'issuer-'));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
    const made = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost`;
    const names = ['-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', cert];
    execFileSync(openssl, [...made.split(' '), ...names], { stdio: 'ignore' });
    const tls = { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') };

    const secure = await own({ tls, hostname: 'localhost' });
    const dispatcher = new Agent({ connect: { ca: tls.cert } });
    const body = new URLSearchParams({ ...publicCli, scope }).toString();
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const answer = await request(`${secure.url}/device/auth`, { dispatcher, method: 'POST', headers, body });
    const { verification_uri_complete } = (await answer.body.json()) as Authorization;

    expect(verification_uri_complete).toMatch(/^https:\/\/localhost:\d+\/device\?user_code=/);
    await secure.approve(verification_uri_complete, { login: 'alice' });
    await dispatcher.close();
  });
});

test('as a process of its own it prints its address only, and obeys orders', async () => {
  // Below node_modules, so that the packages are found.
  const outfile = `node_modules/.cache/issuer-main-${process.pid}.mjs`;
  const how = { bundle: true, packages: 'external', platform: 'node', format: 'esm' } as const;
  await build({ ...how, entryPoints: [fileURLToPath(new URL('./issuer-main.ts', import.meta.url))], outfile });
  onTestFinished(() => rmSync(outfile));
  const child = spawn(process.execPath, [outfile, '--port', '0', '--access-token-ttl', '7', '--interval', '2']);
  onTestFinished(() => void child.kill());
  const errors = text(child.stderr);
  const lines: string[] = [];
  const { url } = await new Promise<{ url: string }>((resolve) => {
    createInterface(child.stdout).on('line', (line) => resolve(JSON.parse(lines[lines.push(line) - 1] ?? '')));
  });
  const order = async (what: string, asked: object, headers: Record<string, string> = {}) =>
    await fetch(`${url}/control/${what}`, { method: 'POST', body: JSON.stringify(asked), headers });

  const device = await begin(url);
  expect((await order('approve', { userCode: device.user_code }, { origin: 'https://evil.example' })).status).toBe(403);
  expect((await order('approve', { userCode: 'BBBB-BBBB' })).status).toBe(400);
  expect((await order('approve', { userCode: device.user_code, login: 'carol' })).status).toBe(200);
  const { body } = await poll(url, device.device_code);
  expect(claims(body.access_token).sub).toBe('carol');
  expect(body.expires_in).toBe(7);
  expect(await (await order('introspect', { token: body.access_token })).json()).toEqual({ active: true });
  expect((await fetch(`${url}/control/revoke-grants`, { method: 'POST' })).status).toBe(200);
  expect((await refresh(url, body.refresh_token)).body.error).toBe('invalid_grant');
  expect(await (await fetch(`${url}/control/counts`)).json()).toMatchObject({ polls: 1, logins: 1, refusals: 1 });

  child.kill('SIGTERM');
  expect(await new Promise((resolve) => child.once('exit', resolve))).toBe(0);
  expect(await errors).toBe('');
  expect(lines).toHaveLength(1);
});
