import { connect } from 'node:net';
import { Agent, request } from 'undici';
import { describe, expect, onTestFinished, test } from 'vitest';
import { canCertify, makeCertificates } from './certificates.js';
import { startVault, type Vault, type VaultOptions, vaultFaults } from './vault.js';

interface Answer {
  readonly status: number;
  readonly body: {
    readonly data?: Record<string, string>;
    readonly errors?: string[];
    readonly warnings?: string[] | null;
  };
}

async function own(options: VaultOptions = {}): Promise<Vault> {
  const vault = await startVault(options);
  onTestFinished(() => vault.stop());
  return vault;
}

async function read(url: string, token: string, query: Record<string, string> = {}): Promise<Answer> {
  const answer = await fetch(`${url}?${new URLSearchParams(query)}`, { headers: { 'x-vault-token': token } });
  return { status: answer.status, body: (await answer.json()) as Answer['body'] };
}

function claims(jwt = ''): Record<string, unknown> {
  return JSON.parse(Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString());
}

const alice = { issuer: 'dune', user: 'alice', role: 'production', scopes: ['storage.read:/dune', 'compute.read'] };

describe('the test Vault', () => {
  test('gives the access token it has while that lives long enough, else a new one', async () => {
    let time = 1_800_000_000_000;
    const vault = await own({ now: () => time });
    const credential = vault.credential(alice);
    const token = vault.token(credential);
    expect(credential.url).toBe(`${vault.url}/v1/secret/oauth/creds/dune/alice:production`);

    const first = await read(credential.url, token, { minimum_seconds: '2400' });
    expect(first).toMatchObject({
      status: 200,
      body: { data: { access_token: expect.any(String), type: 'Bearer', server: 'dune' }, warnings: null },
    });
    expect(Date.parse(first.body.data?.expire_time ?? '')).toBeCloseTo(time + 3 * 3_600_000, -3);
    expect(claims(first.body.data?.access_token)).toMatchObject({ sub: 'alice', scope: alice.scopes.join(' ') });
    expect(await read(credential.url, token, { minimum_seconds: '2400' })).toMatchObject({
      body: { data: first.body.data },
    });
    time += 8_500_000;
    const second = await read(credential.url, token, { minimum_seconds: '2400' });
    expect(second.body.data?.access_token).not.toBe(first.body.data?.access_token);
    expect(vault.counts.refreshes).toBe(2);
    const [asked] = vault.requests;
    expect(asked).toMatchObject({ address: '127.0.0.1', path: '/v1/secret/oauth/creds/dune/alice:production' });
    expect(asked?.query).toEqual({ minimum_seconds: '2400' });
    expect(asked?.headers['x-vault-token']).toBe(token);
    expect(await read(credential.url, token, { minimum_seconds: '99999' })).toMatchObject({
      status: 400,
      body: { errors: ['token expired'] },
    });
  });

  test('narrows at sts only', async () => {
    const vault = await own();
    const credential = vault.credential(alice);
    const token = vault.token(credential);
    const fewer = { scopes: 'storage.read:/dune/raw', audiences: 'https://dcache.example', audience: 'ignored' };
    const all = await read(credential.url, token, fewer);
    expect(claims(all.body.data?.access_token)).toMatchObject({ scope: alice.scopes.join(' ') });
    const narrow = await read(credential.stsUrl, token, fewer);
    expect(claims(narrow.body.data?.access_token)).toMatchObject({ scope: fewer.scopes, aud: fewer.audiences });
    expect(narrow.body.data?.server).toBeUndefined();
    expect((await read(credential.stsUrl, token, fewer)).body.data).toEqual(narrow.body.data);
    expect(vault.counts).toEqual({ refreshes: 1, exchanges: 1 });
    expect(await read(credential.stsUrl, token, { scopes: 'storage.read:/' })).toMatchObject({
      status: 400,
      body: { errors: ['exchange failed: invalid_scope'] },
    });
  });

  test('denies tokens it does not know, and paths that are not theirs', async () => {
    const vault = await own();
    const [mine, others] = [vault.credential(alice), vault.credential({ ...alice, user: 'bob' })];
    const token = vault.token(mine);
    const policy = { status: 403, body: { errors: ['1 error occurred:\n\t* permission denied\n\n'] } };
    const unknown = {
      status: 403,
      body: { errors: ['2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n'] },
    };
    expect(await read(others.url, token)).toMatchObject(policy);
    expect(await read(`${vault.url}/v1/sys/mounts`, token)).toMatchObject(policy);
    expect((await read(mine.url, token)).status).toBe(200);
    vault.revoke(token);
    expect(await read(mine.url, token)).toMatchObject(unknown);
    mine.remove();
    expect(await read(mine.url, vault.token(mine))).toEqual({ status: 404, body: { errors: [] } });
  });

  test('tells when the issuer behind it refuses: first in a warning, in the end as an error', async () => {
    let time = Date.now();
    const vault = await own({ now: () => time, accessTokenLife: 600, accessTokenFormat: 'opaque' });
    const credential = vault.credential(alice);
    const token = vault.token(credential);
    expect((await read(credential.url, token)).body.data?.access_token).not.toContain('.');
    credential.refusal = 'server rejected request: invalid_grant';
    expect((await read(credential.url, token)).body.warnings).toEqual([
      'token will expire: refresh failed: server rejected request: invalid_grant',
    ]);
    time += 600_000;
    expect(await read(credential.url, token)).toMatchObject({
      status: 400,
      body: { errors: ['refresh failed: server rejected request: invalid_grant'] },
    });
  });

  test('fails when told to', async () => {
    const vault = await own({ accessTokenLife: undefined });
    const credential = vault.credential(alice);
    const token = vault.token(credential);
    vault.next(vaultFaults.sealed, vaultFaults.internal, vaultFaults.limited, 'reset', 'truncated');
    expect(await read(credential.url, token)).toEqual({ status: 503, body: { errors: ['Vault is sealed'] } });
    expect((await read(credential.url, token)).status).toBe(500);
    expect((await read(credential.url, token)).status).toBe(429);
    await expect(read(credential.url, token)).rejects.toThrow();
    await expect(read(credential.url, token)).rejects.toThrow();
    expect((await read(credential.url, token)).body.data?.expire_time).toBeUndefined();
    vault.always('hang');
    const signal = AbortSignal.timeout(100);
    await expect(fetch(credential.url, { signal })).rejects.toThrow('timeout');
    vault.always(undefined);
    vault.latency = 50;
    const started = performance.now();
    expect((await read(credential.url, token)).status).toBe(200);
    expect(performance.now() - started).toBeGreaterThan(45);
  });

  test('has several addresses, and some where nobody answers', async () => {
    const vault = await own({ addresses: ['127.0.0.2', '127.0.0.3'], dead: ['127.0.0.4'], closed: ['127.0.0.5'] });
    expect(vault.addresses).toEqual(['127.0.0.4', '127.0.0.5', '127.0.0.2', '127.0.0.3']);
    await expect(fetch(`http://127.0.0.5:${vault.port}/v1/x`)).rejects.toThrow('fetch failed');
    for (const address of ['127.0.0.2', '127.0.0.3']) await fetch(`http://${address}:${vault.port}/v1/x`);
    expect(vault.requests.map(({ address }) => address)).toEqual(['127.0.0.2', '127.0.0.3']);

    const socket = connect(vault.port, '127.0.0.4');
    onTestFinished(() => void socket.destroy());
    const outcome = new Promise((done) => void socket.once('connect', () => done('connected')).once('error', done));
    const patience = new Promise((done) => void setTimeout(() => done('nothing'), 300));
    expect(await Promise.race([outcome, patience])).toBe('nothing');

    const dispatcher = new Agent({ connect: { lookup: vault.lookup, autoSelectFamily: true } });
    onTestFinished(() => dispatcher.close());
    const { statusCode } = await request(`http://vault.example:${vault.port}/v1/x`, { dispatcher });
    expect(statusCode).toBe(403);
  });

  test.skipIf(!canCertify)('https, by an authority of its own', async () => {
    const tls = makeCertificates(['DNS:vault.example', 'DNS:localhost']);
    const vault = await own({ tls });
    const credential = vault.credential(alice);
    expect(credential.url).toMatch(/^https:\/\/localhost:\d+\/v1\//);
    await expect(fetch(credential.url)).rejects.toThrow('fetch failed');
    const dispatcher = new Agent({ connect: { ca: tls.ca } });
    onTestFinished(() => dispatcher.close());
    const headers = { 'x-vault-token': vault.token(credential) };
    expect((await request(credential.url, { dispatcher, headers })).statusCode).toBe(200);
  });
});
