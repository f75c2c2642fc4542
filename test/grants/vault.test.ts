import { describe, expect, onTestFinished, test } from 'vitest';
import { Failed } from '../../src/core/failure.js';
import type { Errand } from '../../src/core/ports.js';
import { anyService, type Provider } from '../../src/core/provider.js';
import { seconds } from '../../src/core/time.js';
import { vault } from '../../src/grants/vault.js';
import { hours, minutes, station } from '../daemon/kit.js';
import { canCertify } from '../helpers/certificates.js';
import { keeping } from '../helpers/rotation.js';
import { startVault, type Vault, type VaultOptions, vaultFaults } from '../helpers/vault.js';
import { certificates, errand, failure, found, http, provider, sleepy, store } from './kit.js';

let last = 0;
/** Vaults are asked on port 8200 alone: each test has an address of its own, also among runs side by side. */
const address = () => `127.${1 + (process.pid % 254)}.${1 + Math.floor(Math.random() * 254)}.${1 + (++last % 254)}`;

async function own(options: VaultOptions = {}): Promise<Vault> {
  const one = await startVault({ port: 8200, addresses: [address()], tls: certificates(), ...options });
  onTestFinished(() => one.stop());
  return one;
}

const trusting = (...vaultHosts: string[]): Provider => provider({ flow: 'vault', vaultHosts });
const alice = { issuer: 'dune', user: 'alice', role: 'production', scopes: ['storage.read:/dune', 'compute.read'] };

function asking(one: Vault, more: Partial<Errand> = {}) {
  return errand({ provider: trusting('localhost'), http: http(one.lookup), ...more });
}

describe.skipIf(!canCertify)('a Vault credential', () => {
  test('is read with the Vault token, for a token that lives long enough', async () => {
    const one = await own();
    const credential = one.credential(alice);
    const token = one.token(credential);
    const got = await vault({ kind: 'vault', url: credential.url, token }, asking(one, { minimum: seconds(2400) }));
    expect(one.requests).toHaveLength(1);
    expect(one.requests[0]).toMatchObject({
      method: 'GET',
      path: '/v1/secret/oauth/creds/dune/alice:production',
      query: { minimum_seconds: '2400' },
    });
    expect(one.requests[0]?.headers['x-vault-token']).toBe(token);
    expect(got).toMatchObject({ tokenType: 'Bearer', lifeFrom: 'expires_in' });
    // In Go's nanoseconds.
    expect((got.expires - got.issued) / 1000).toBeCloseTo(3 * 3600, -1);
  });

  test.each([
    ['creds', { scopes: 'compute.read,storage.read:/dune', audience: 'https://x.example' }],
    ['sts', { scopes: 'compute.read,storage.read:/dune', audiences: 'https://x.example' }],
  ])('is asked of %s for scopes and an audience by %o', async (kind, query) => {
    const one = await own();
    const credential = one.credential(alice);
    const url = kind === 'sts' ? credential.stsUrl : credential.url;
    const scopes = ['compute.read', 'storage.read:/dune'];
    const token = one.token(credential);
    await vault({ kind: 'vault', url, token, scopes, audience: 'https://x.example' }, asking(one));
    expect(one.requests[0]?.query).toEqual({ minimum_seconds: '360', ...query });
  });

  test('brings a token that lives from when it was asked for: the answer may come when the machine has slept for an hour', async () => {
    const told = await own();
    const silent = await own({ accessTokenLife: undefined, accessTokenFormat: 'opaque' });
    for (const [one, life] of [
      [told, 3 * 3600],
      [silent, 1200],
    ] as const) {
      const credential = one.credential(alice);
      const slept = sleepy(http(one.lookup));
      const got = await vault(
        { kind: 'vault', url: credential.url, token: one.token(credential) },
        asking(one, { clock: slept.clock, http: slept.http }),
      );
      expect((got.expires - got.issued) / 1000).toBeCloseTo(life, -1);
      expect(slept.clock.now() - got.issued).toBeGreaterThanOrEqual(hours(1));
    }
  });

  test('tells its end by the answer, else by the token, else it is what was asked for at the least', async () => {
    const lifeOf = async (options: VaultOptions, minimum: number, life?: number) => {
      const one = await own(options);
      const credential = one.credential(alice);
      const mine = { ...trusting('localhost'), ...(life !== undefined && { life: seconds(life) }) };
      const got = await vault(
        { kind: 'vault', url: credential.url, token: one.token(credential) },
        asking(one, { minimum: seconds(minimum), provider: mine }),
      );
      return [got.lifeFrom, Math.round((got.expires - got.issued) / 10_000) * 10];
    };
    expect(await lifeOf({}, 360)).toEqual(['expires_in', 10_800]);
    const silent = { accessTokenLife: undefined } as const;
    expect(await lifeOf({ ...silent, accessTokenFormat: 'opaque' }, 2400)).toEqual(['default', 2400]);
    expect(await lifeOf({ ...silent, accessTokenFormat: 'opaque' }, 60)).toEqual(['default', 1200]);
    expect(await lifeOf({ ...silent, accessTokenFormat: 'opaque' }, 60, 7200)).toEqual(['default', 7200]);
    // It says nothing, and the JWT does.
    const one = await own();
    const credential = one.credential(alice);
    const jwt = `e30.${Buffer.from(JSON.stringify({ exp: Math.round(Date.now() / 1000) + 900 })).toString('base64url')}.c2ln`;
    one.next({ status: 200, body: { data: { access_token: jwt }, warnings: null } });
    const got = await vault({ kind: 'vault', url: credential.url, token: 'hvs.x' }, asking(one));
    expect([got.lifeFrom, Math.round((got.expires - got.issued) / 10_000)]).toEqual(['jwt', 90]);
  });

  test('comes with warnings, which are told without the Vault token', async () => {
    const one = await own();
    const credential = one.credential(alice);
    const token = one.token(credential);
    await vault({ kind: 'vault', url: credential.url, token }, asking(one));
    credential.refusal = `invalid_grant for ${token}`;
    const mine = asking(one);
    await vault({ kind: 'vault', url: credential.url, token }, mine);
    expect(mine.warnings).toEqual([`${one.url} warns: token will expire: refresh failed: invalid_grant for …`]);
  });
});

describe('a vault_url', () => {
  const path = '/v1/secret/oauth/creds/dune/alice:production';
  test.each([
    `http://vault.example:8200${path}`,
    `https://vault.example${path}`,
    `https://vault.example:443${path}`,
    `https://vault.example:08200${path}`,
    `https://vault.example:8200/v2/secret`,
    `https://vault.example:8200/v1`,
    `https://vault.example:8200/v1/`,
    `https://vault.example:8200/v1secret/x`,
    `https://vault.example:8200/v1/../ui/x`,
    `https://vault.example:8200/v1/secret/..`,
    `https://vault.example:8200/v1/%2e%2e/sys/x`,
    `https://vault.example:8200/v1/.%2E/sys/x`,
    `https://vault.example:8200/v1/a%2f..%2fb`,
    `https://vault.example:8200/v1/a%252e`,
    `https://vault.example:8200/v1/a%5c..`,
    `https://vault.example:8200/v1/a%0d%0ab`,
    `https://vault.example:8200/v1/a%zz`,
    `https://vault.example:8200/v1//a`,
    `https://vault.example:8200/v1/./a`,
    `https://vault.example:8200\\@evil.example/v1/x`,
    `https://me@vault.example:8200${path}`,
    `https://me:pw@vault.example:8200${path}`,
    `https://vault.example:8200${path}#x`,
    `https://vault.example:8200${path}?minimum_seconds=0`,
    `https://vault.example:8200:8200${path}`,
    `https://[::1]:8200${path}`,
    `https://vault.example:8200`,
    `HTTPS://vault.example:8200${path}`,
    ` https://vault.example:8200${path}`,
    'not a url',
  ])('%s is not asked', async (url) => {
    const mine = errand({ provider: trusting('vault.example', 'evil.example') });
    const found = await failure(vault({ kind: 'vault', url, token: 'hvs.secret' }, mine), 'hvs.secret');
    expect(found).toMatchObject({ kind: 'config', code: 'vault_url' });
  });

  test('leads to a host that is trusted, or nowhere', async () => {
    const leadsTo = (host: string, ...hosts: string[]) =>
      failure(
        vault(
          { kind: 'vault', url: `https://${host}:8200${path}`, token: 'hvs.secret' },
          errand({ provider: trusting(...hosts) }),
        ),
        'hvs.secret',
      );
    const none = await leadsTo('vault.example');
    expect(none).toMatchObject({ kind: 'config', what: expect.stringContaining('vault.example') });
    expect(none.hint).toContain('TRUSTED_VAULT_HOSTS');
    expect((await leadsTo('evil.example', 'vault.example')).hint).toContain('TRUSTED_VAULT_HOSTS');
    expect((await leadsTo('vault.example.', 'vault.example')).kind).toBe('config');
    expect((await leadsTo('sub.vault.example', 'vault.example')).kind).toBe('config');
    expect((await leadsTo('127.0.0.1', 'vault.example')).kind).toBe('config');
  });

  test.skipIf(!canCertify)('is told apart without regard to case', async () => {
    const one = await own();
    const credential = one.credential(alice);
    const url = credential.url.replace('localhost', 'LocalHost');
    const mine = asking(one, { provider: trusting('LOCALHOST') });
    expect((await vault({ kind: 'vault', url, token: one.token(credential) }, mine)).accessToken).toBeTruthy();
  });
});

describe.skipIf(!canCertify)('what a Vault says', () => {
  const at = `https://localhost:8200`;
  test.each([
    ['denied', { kind: 'login-needed', code: 'denied_for_good' }],
    ['forbidden', { kind: 'login-needed', code: 'denied_for_good' }],
    ['forbiddenByProxy', { kind: 'protocol' }],
    ['sealed', { kind: 'transient', what: `${at} has trouble of its own (HTTP 503: Vault is sealed)` }],
    ['internal', { kind: 'transient' }],
    ['gateway', { kind: 'transient' }],
    ['limited', { kind: 'transient', wait: 7 }],
    ['redirect', { kind: 'protocol', what: expect.stringContaining('not followed') }],
    ['noToken', { kind: 'protocol' }],
    ['noData', { kind: 'protocol' }],
    ['notJson', { kind: 'protocol' }],
  ] as const)('%s: %o', async (name, expected) => {
    const one = await own();
    const credential = one.credential(alice);
    one.next(vaultFaults[name]);
    const token = one.token(credential);
    expect(await failure(vault({ kind: 'vault', url: credential.url, token }, asking(one)), token)).toMatchObject(
      expected,
    );
    expect(one.requests).toHaveLength(1);
  });

  test('an authority that is not trusted is named with the knobs that there are', async () => {
    const one = await own();
    const credential = one.credential(alice);
    for (const [name, knob] of [
      [anyService, 'AUTH_SSL_CLIENT_CAFILE'],
      ['dune', '_CA_FILE'],
    ] as const) {
      const mine = asking(one, { provider: { ...trusting('localhost'), name }, http: http(one.lookup, 'others') });
      const why = await failure(vault({ kind: 'vault', url: credential.url, token: 'hvs.secret' }, mine), 'hvs.secret');
      expect(why).toMatchObject({ kind: 'protocol', hint: expect.stringContaining(knob) });
    }
    expect(one.requests).toEqual([]);
  });

  test('a token that is not known', async () => {
    const one = await own();
    const { url } = one.credential(alice);
    const found = await failure(vault({ kind: 'vault', url, token: 'hvs.unknown' }, asking(one)), 'hvs.unknown');
    expect(found).toMatchObject({ kind: 'login-needed', code: 'denied_for_good' });
    expect(found.hint).toContain('condor_submit');
  });

  // All of these may be mended at the Vault, by htgettoken, with the `.top` as it is; and they are one person's trouble.
  test('nothing there, no token that lives long enough, and a login that the issuer has ended: each is tried again', async () => {
    const one = await own();
    const credential = one.credential(alice);
    const token = one.token(credential);
    const read = (more: Partial<Errand> = {}) =>
      failure(vault({ kind: 'vault', url: credential.url, token }, asking(one, more)), token);
    const short = await read({ minimum: seconds(20_000) });
    expect(short).toMatchObject({ kind: 'refused', code: 'vault_short' });
    expect(short.hint).toContain('CREDMON_OAUTH_TOKEN_MINIMUM');
    one.next({ status: 400, body: { errors: [`refresh failed: server says "${token}" is invalid_grant`] } });
    expect(await read()).toMatchObject({
      kind: 'refused',
      code: 'vault_400',
      what: `${at} refused (HTTP 400: refresh failed: server says "…" is invalid_grant)`,
      hint: expect.stringContaining('condor_submit'),
    });
    credential.remove();
    expect(await read()).toMatchObject({
      kind: 'refused',
      code: 'vault_nothing',
      what: `${at} has nothing at /v1/secret/oauth/creds/dune/alice:production`,
    });
  });

  test.each(['hang', 'reset', 'truncated'] as const)(
    'an answer that does not come whole (%s) is trouble that passes',
    async (fault) => {
      const one = await own();
      const credential = one.credential(alice);
      one.next(fault);
      const stop = new AbortController();
      const asked = vault(
        { kind: 'vault', url: credential.url, token: one.token(credential) },
        asking(one, { stop: stop.signal }),
      );
      if (fault !== 'hang') return expect((await failure(asked)).kind).toBe('transient');
      while (one.requests.length === 0) await new Promise(setImmediate);
      stop.abort(new Error('enough'));
      await expect(asked).rejects.toThrow('enough');
    },
  );
});

describe.skipIf(!canCertify)('several addresses of one host', () => {
  // Unlike HTCondor's: which tries another address only when a connection is not answered, and IPv4 alone.
  test('one that answers nothing, and one that refuses, are passed over', async () => {
    const base = address();
    const one = await own({ dead: [`${base}`], addresses: [address()] });
    const credential = one.credential(alice);
    const refusing: typeof one.lookup = (host, options, done) =>
      one.lookup(host, options, (_, all) => done(null, [{ address: address(), family: 4 }, ...all]));
    const began = performance.now();
    const mine = asking(one, { http: http(refusing) });
    expect(
      (await vault({ kind: 'vault', url: credential.url, token: one.token(credential) }, mine)).accessToken,
    ).toBeTruthy();
    expect(performance.now() - began).toBeLessThan(8000);
  });
});

describe('a Vault token of another credential', () => {
  const there = (tops: Readonly<Record<string, string | undefined>>) => {
    const asked: string[] = [];
    const origin: Errand['origin'] = async (handle, service = 'dune') => {
      const name = handle === undefined ? service : `${service}_${handle}`;
      asked.push(name);
      if (!(name in tops)) throw new Failed({ kind: 'login-needed', what: 'not there', code: 'no_origin' });
      const token = tops[name];
      if (token === 'damaged') throw new Failed({ kind: 'login-needed', what: 'damaged' });
      const grant = { kind: 'vault', url: 'https://x', ...(token !== undefined && { token }) } as const;
      return { grant, issuer: async () => expect.fail('no issuer'), rotation: keeping() };
    };
    return { asked, origin };
  };
  async function sent(
    id: { service: string; handle?: string },
    tops: Record<string, string | undefined>,
    name = 'dune',
  ) {
    const { asked, origin } = there(tops);
    let token: string | undefined;
    const one = errand({
      provider: { ...trusting('localhost'), name },
      id: { user: 'alice', ...id },
      origin,
      http: async (_, { headers }) => {
        token = headers?.['x-vault-token'];
        return { status: 200, headers: {}, body: { data: { access_token: 'a' } } };
      },
    });
    const url = 'https://localhost:8200/v1/secret/oauth/creds/dune/alice:production';
    const failed = await vault({ kind: 'vault', url }, one).then(
      () => undefined,
      (thrown: Failed) => thrown.failure,
    );
    return { asked, token, failed };
  }

  test('is that of the name up to its last underscore', async () => {
    expect(await sent({ service: 'dune', handle: 'h1' }, { dune: 'T' })).toMatchObject({ asked: ['dune'], token: 'T' });
    const role = await sent({ service: 'dune', handle: 'production_h1' }, { dune_production: 'P', dune: 'T' });
    expect(role).toMatchObject({ asked: ['dune_production'], token: 'P' });
    const wild = await sent({ service: 'dune_production_h1' }, { dune_production: 'P', dune: 'T' }, anyService);
    expect(wild).toMatchObject({ asked: ['dune_production'], token: 'P' });
  });

  test('unlike HTCondor’s: of a handle with an underscore in it, too', async () => {
    expect(await sent({ service: 'dune', handle: 'my_h1' }, { dune: 'T' })).toMatchObject({
      asked: ['dune_my', 'dune'],
      token: 'T',
    });
    expect(await sent({ service: 'dune_a__b' }, { dune: 'T' }, anyService)).toMatchObject({
      asked: ['dune_a', 'dune'],
      token: 'T',
    });
  });

  test('that is not there any more ends it for good', async () => {
    const { failed, token } = await sent({ service: 'dune', handle: 'h1' }, {});
    expect([failed?.kind, failed?.code, token]).toEqual(['login-needed', 'denied_for_good', undefined]);
  });

  test('that has none either, or cannot be read, does not', async () => {
    const none = await sent({ service: 'dune', handle: 'h1' }, { dune: undefined });
    expect([none.failed?.kind, none.failed?.code]).toEqual(['refused', undefined]);
    const damaged = await sent({ service: 'dune', handle: 'h1' }, { dune: 'damaged' });
    expect([damaged.failed?.kind, damaged.failed?.code]).toEqual(['refused', undefined]);
    const alone = await sent({ service: 'dune' }, {});
    expect([alone.failed?.kind, alone.failed?.code, alone.asked]).toEqual(['login-needed', undefined, []]);
    const wild = await sent({ service: 'dune' }, {}, anyService);
    expect([wild.failed?.kind, wild.failed?.code, wild.asked]).toEqual(['login-needed', undefined, []]);
  });
});

describe.skipIf(!canCertify)('kept by the daemon', () => {
  async function kept(name = 'dune', options: VaultOptions = {}) {
    let now = () => Date.now();
    const one = await own({ now: () => now(), ...options });
    const s = station({
      providers: [provider({ name, flow: 'vault', bare: true, vaultHosts: ['localhost'] })],
      http: http(one.lookup),
      minimum: 2400,
    });
    now = () => s.clock.now();
    const credential = one.credential(alice);
    const token = one.token(credential);
    const go = async (ms = 0) => {
      await s.keeper.sweep();
      await s.clock.pass(ms);
    };
    return { s, one, credential, token, go };
  }

  test('the token lies there bare, with a newline, and is another before it ends', async () => {
    const { s, credential, token, go } = await kept();
    const top = { vault_token: token, vault_url: credential.url };
    store(s, 'dune', top);
    await go();
    const first = found(s, 'dune.use');
    expect(first).toMatch(/^eyJ[\w-]+\.[\w-]+\.[\w-]+\n$/);
    expect(s.health('alice/dune')).toMatchObject({ state: 'fresh', grant: 'vault' });
    for (let i = 0; i < 60; i++) {
      await go(minutes(5));
      const claims = JSON.parse(Buffer.from((found(s, 'dune.use') ?? '').split('.')[1] ?? '', 'base64url').toString());
      expect(claims.exp * 1000 - s.clock.now()).toBeGreaterThan(0.9 * 2_400_000);
    }
    expect(found(s, 'dune.use')).not.toBe(first);
    expect(JSON.parse(found(s, 'dune.top') ?? '')).toEqual(top);
    // Vault's tokens are not short: it gives the one it has until that is.
    expect(s.log.with('too short')).toEqual([]);
    expect(s.log.lines.join('\n')).not.toContain(token);
  });

  test('a handle has the Vault token of the credential that it is a handle of', async () => {
    const { s, one, credential, token, go } = await kept();
    store(s, 'dune', { vault_token: token, vault_url: credential.url });
    store(s, 'dune_h1', { vault_url: credential.stsUrl, scopes: 'compute.read' });
    await go();
    expect(found(s, 'dune_h1.use')).toMatch(/^eyJ/);
    expect(found(s, 'dune_h1.use')).not.toBe(found(s, 'dune.use'));
    const handles = one.requests.filter(({ path }) => path.includes('/sts/'));
    expect(handles.map(({ headers, query }) => [headers['x-vault-token'], query.scopes])).toEqual([
      [token, 'compute.read'],
    ]);
  });

  test('under a provider for every name, too', async () => {
    const { s, credential, token, go } = await kept(anyService);
    store(s, 'dune_production', { vault_token: token, vault_url: credential.url });
    store(s, 'dune_production_h1', { vault_url: credential.stsUrl, scopes: 'compute.read' });
    await go();
    expect(found(s, 'dune_production_h1.use')).toMatch(/^eyJ/);
    expect(s.health('alice/dune_production_h1')).toMatchObject({ state: 'fresh', provider: '*' });
  });

  test('denied, it is taken away, and its handles with it when their turn comes', async () => {
    const { s, one, credential, token, go } = await kept();
    store(s, 'dune', { vault_token: token, vault_url: credential.url });
    store(s, 'dune_h1', { vault_url: credential.stsUrl, scopes: 'compute.read' });
    store(s, 'dune', { vault_token: 'hvs.bobs', vault_url: credential.url }, 'bob');
    await go();
    expect(found(s, 'dune.top', 'bob')).toBeUndefined();
    one.revoke(token);
    await go(hours(3));
    for (const name of ['dune.top', 'dune.use', 'dune_h1.top', 'dune_h1.use'])
      expect([name, found(s, name)]).toEqual([name, undefined]);
    await go();
    expect([...s.keeper.healths()]).toEqual([]);
    const asked = one.requests.length;
    await go(hours(24));
    expect(one.requests).toHaveLength(asked);
    expect(s.log.lines.join('\n')).not.toMatch(/hvs/);
  });

  test('denied while another login comes: that stays', async () => {
    const { s, one, credential, token, go } = await kept();
    one.latency = 100;
    store(s, 'dune', { vault_token: 'hvs.old', vault_url: credential.url });
    await s.keeper.sweep();
    const passing = s.clock.pass(0);
    while (one.requests.length === 0) await new Promise(setImmediate);
    const next = { vault_token: token, vault_url: credential.url };
    store(s, 'dune', next);
    await passing;
    await go();
    expect(JSON.parse(found(s, 'dune.top') ?? '')).toEqual(next);
    await go(minutes(1));
    expect(found(s, 'dune.use')).toMatch(/^eyJ/);
  });

  test('removed while it is being read, it is not brought back', async () => {
    const { s, one, credential, token, go } = await kept();
    one.latency = 100;
    store(s, 'dune', { vault_token: token, vault_url: credential.url });
    await s.keeper.sweep();
    const passing = s.clock.pass(0);
    while (one.requests.length === 0) await new Promise(setImmediate);
    await s.credentials.remove({ user: 'alice', service: 'dune' });
    await passing;
    await go(hours(1));
    expect([found(s, 'dune.top'), found(s, 'dune.use')]).toEqual([undefined, undefined]);
  });

  test('a host that is not trusted is never connected to', async () => {
    const { s, one, token, go } = await kept();
    store(s, 'dune', {
      vault_token: token,
      vault_url: 'https://evil.example:8200/v1/secret/oauth/creds/dune/alice:default',
    });
    await go(minutes(30));
    expect(one.requests).toEqual([]);
    expect(s.health('alice/dune')).toMatchObject({ state: 'retrying', trouble: { kind: 'config' } });
    expect(found(s, 'dune.top')).toBeDefined();
  });
});
