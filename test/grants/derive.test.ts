import { describe, expect, onTestFinished, test } from 'vitest';
import type { AnyGrant, RequestGrant } from '../../src/core/credential.js';
import { renewed, type TokenSet } from '../../src/core/credential.js';
import { Failed, type FailureKind } from '../../src/core/failure.js';
import type { Issuer } from '../../src/core/ports.js';
import type { Provider } from '../../src/core/provider.js';
import { later, seconds } from '../../src/core/time.js';
import { fetchToken } from '../../src/grants/index.js';
import { systemClock } from '../../src/system/clock.js';
import { type IssuerOptions, startIssuer } from '../helpers/issuer.js';
import { exchangeGrant } from '../helpers/issuer-exchange.js';
import { keeping } from '../helpers/rotation.js';
import { never } from '../providers/kit.js';
import { errand, failure, issuerOf, provider } from './kit.js';

const deviceGrant = 'urn:ietf:params:oauth:grant-type:device_code';
const client = {
  client_id: 'deriving',
  token_endpoint_auth_method: 'none',
  grant_types: [deviceGrant, 'refresh_token', exchangeGrant],
};
const loginScopes = ['offline_access', 'openid', 'storage.create:/a', 'storage.read:/a', 'storage.read:/b'];

/** A login, and the credentials that are made from it. */
function derived(issuer: Issuer, one: Provider, start: AnyGrant) {
  let grant = start;
  const asked: { grantType: string; parameters: Readonly<Record<string, string>> }[] = [];
  const kept: string[] = [];
  const spied: Issuer = {
    ...issuer,
    token: (...call) => {
      asked.push({ grantType: call[0].split(':').at(-1) as string, parameters: call[1] });
      return issuer.token(...call);
    },
  };
  const own = errand({
    provider: one,
    id: { user: 'alice', service: one.name, handle: 'h' },
    issuer: async () => expect.fail('the credential has no client of its own'),
    rotation: keeping(async () => expect.fail('the credential has no refresh token of its own')),
    origin: async () => ({
      get grant() {
        return grant;
      },
      issuer: async () => spied,
      rotation: keeping(async (refreshToken) => {
        kept.push(refreshToken);
        grant = renewed(grant, refreshToken);
      }),
    }),
  });
  return {
    asked,
    kept,
    grant: () => grant,
    types: () => asked.map(({ grantType }) => grantType),
    fetch: (more: Partial<RequestGrant> = {}) => fetchToken({ kind: 'request', from: '', ...more }, own),
  };
}

/** At the real issuer, where alice has logged in. */
async function station(options: IssuerOptions = {}, login: { audience?: string } = {}, more: Partial<Provider> = {}) {
  const issuer = await startIssuer({ clients: [client], ...options });
  onTestFinished(() => issuer.stop());
  const one = provider({ name: 'cilogon', issuer: issuer.url, clientId: 'deriving', scopes: loginScopes, ...more });
  const opened = issuerOf(one);
  const code = await opened.device({ scope: loginScopes.join(' '), ...login }, never);
  await issuer.approve(code.userCode, { login: 'alice' });
  const first = await opened.token(deviceGrant, { device_code: code.deviceCode }, { stop: never });
  return { issuer, ...derived(opened, one, { refreshToken: first.refreshToken as string, ...login }) };
}

const claims = (token: TokenSet): Record<string, unknown> =>
  JSON.parse(Buffer.from(token.accessToken.split('.')[1] ?? '', 'base64url').toString());
const words = (scope: unknown) => String(scope).split(' ').sort();

describe('fewer scopes', () => {
  const narrow = { scopes: ['storage.read:/a'] };

  test('where the issuer narrows at a refresh: one refresh, and the login’s next one is whole', async () => {
    const s = await station();
    const token = await s.fetch(narrow);
    expect(claims(token)).toMatchObject({ sub: 'alice', scope: 'storage.read:/a' });
    expect(s.types()).toEqual(['refresh_token']);
    expect(s.kept).toHaveLength(1);
    expect(words(claims(await s.fetch({ scopes: loginScopes })).scope)).toEqual([...loginScopes].sort());
    expect(s.issuer.counts).toMatchObject({ reuse: 0, refusals: 0 });
  });

  test.each(['ignored', 'refused'] as const)(
    'where that is %s: by exchange, and nobody’s job gets the whole token',
    async (narrowing) => {
      const s = await station({ behaviour: { narrowing } });
      for (let n = 1; n <= 3; n++) {
        const token = await s.fetch(narrow);
        expect(claims(token)).toMatchObject({ sub: 'alice', scope: 'storage.read:/a' });
        expect(await s.issuer.introspect(token.accessToken)).toBe(true);
        expect(s.issuer.counts).toMatchObject({ exchanges: n, reuse: 0 });
      }
      // A refusal is met once; then it goes the way that works.
      const each = ['refresh_token', 'token-exchange'];
      const first = narrowing === 'refused' ? ['refresh_token', ...each] : each;
      expect(s.types()).toEqual([...first, ...each, ...each]);
      // Each was rotated, and each time the newest was used.
      const used = s.asked.flatMap(({ parameters }) => parameters.refresh_token ?? []);
      expect(new Set(used).size).toBe(3);
      expect(s.kept).toHaveLength(3);
      expect(s.asked.at(-1)?.parameters).toMatchObject({
        subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
        requested_token_type: 'urn:ietf:params:oauth:token-type:access_token',
        scope: 'storage.read:/a',
      });
    },
  );

  test('the refresh token of the login never leaves it: what is exchanged is an access token', async () => {
    const s = await station({ behaviour: { narrowing: 'ignored' } });
    const token = await s.fetch(narrow);
    expect(token).not.toHaveProperty('refreshToken');
    const [exchange] = s.asked.filter(({ grantType }) => grantType === 'token-exchange');
    expect(exchange?.parameters.subject_token).toMatch(/^eyJ/);
    for (const secret of [...s.kept, 'refresh_token'])
      expect(Object.values(exchange?.parameters ?? {})).not.toContain(secret);
  });

  test('a path below what the login has is made by exchange, as far as the issuer takes it for less', async () => {
    const s = await station();
    const token = await s.fetch({ scopes: ['storage.read:/a/deep'] });
    expect(claims(token)).toMatchObject({ scope: 'storage.read:/a/deep' });
    expect(s.types()).toEqual(['refresh_token', 'refresh_token', 'token-exchange']);
  });

  test('more than the login has is a login’s to bring', async () => {
    const s = await station();
    const failed = await failure(s.fetch({ scopes: ['storage.modify:/'] }), ...s.kept);
    expect(failed).toMatchObject({
      kind: 'login-needed',
      what: expect.stringMatching(/^it cannot be made from the login: .*invalid_scope/),
    });
    // The login itself has suffered nothing.
    await s.fetch(narrow);
    expect(s.issuer.counts.reuse).toBe(0);
  });

  test('from an issuer that neither narrows nor exchanges: a login is needed', async () => {
    const s = await station({
      clients: [{ ...client, grant_types: [deviceGrant, 'refresh_token'] }],
      behaviour: { narrowing: 'ignored' },
    });
    expect(await failure(s.fetch(narrow))).toMatchObject({
      kind: 'login-needed',
      what: expect.stringMatching(/^it cannot be made from the login: .*grant type is not allowed/),
    });
    expect(s.issuer.counts.reuse).toBe(0);
  });
});

describe('another audience', () => {
  const other = { scopes: ['storage.read:/a'], audience: 'https://other' };

  test('is exchanged, with the scopes that it is asked for', async () => {
    const s = await station();
    expect(claims(await s.fetch(other))).toMatchObject({
      aud: 'https://other',
      scope: 'storage.read:/a',
      sub: 'alice',
    });
    expect(s.types()).toEqual(['refresh_token', 'token-exchange']);
    expect(s.asked[0]?.parameters).not.toHaveProperty('audience');
    expect(s.asked[0]?.parameters).not.toHaveProperty('scope');
  });

  test('the login’s own is not', async () => {
    const s = await station({}, { audience: 'https://own' });
    expect(claims(await s.fetch({ ...other, audience: 'https://own' }))).toMatchObject({ aud: 'https://own' });
    expect(s.types()).toEqual(['refresh_token']);
  });

  test('the provider’s own, where the login has another, is named to the issuer', async () => {
    const s = await station({}, { audience: 'https://special' }, { audience: 'https://usual' });
    expect(claims(await s.fetch({ scopes: ['storage.read:/a'] }))).toMatchObject({ aud: 'https://usual' });
    expect(s.types()).toEqual(['refresh_token', 'token-exchange']);
  });

  test('that the issuer does not know is a login’s to bring', async () => {
    const s = await station({ behaviour: { audiences: ['https://known'] } });
    expect(await failure(s.fetch(other))).toMatchObject({
      kind: 'login-needed',
      what: expect.stringMatching(/^it cannot be made from the login: .*invalid_target/),
    });
  });
});

describe('the login that it is made from', () => {
  test('has ended: it is that one which is to be made anew, and the command says so', async () => {
    const s = await station();
    s.issuer.revokeGrants();
    expect(await failure(s.fetch({ scopes: ['storage.read:/a'] }))).toMatchObject({
      kind: 'login-needed',
      code: 'invalid_grant',
      hint: 'run: credmon login cilogon',
    });
    expect(s.types()).toEqual(['refresh_token']);
  });

  test('is down: it is tried again later, and nothing is lost', async () => {
    const s = await station();
    await s.issuer.stop();
    expect(await failure(s.fetch({ scopes: ['storage.read:/a'] }))).toMatchObject({ kind: 'transient' });
    expect(s.kept).toEqual([]);
  });

  test.each<[string, AnyGrant]>([
    ['a request that is itself made from a login', { kind: 'request', from: 'other', refreshToken: 'r' }],
    ['a request that has brought nothing yet', { kind: 'request' }],
    ['a Vault token', { kind: 'vault', url: 'https://v', token: 't' }],
    ['a mytoken', { kind: 'mytoken', mytoken: 'm' }],
    ['a subject token', { kind: 'subject', accessToken: 'a' }],
    ['a client’s own', { kind: 'client' }],
    ['without anything to refresh', { kind: 'final' }],
  ])('is none: %s', async (_, grant) => {
    const issuer = { token: async () => expect.fail('nobody is asked') } as unknown as Issuer;
    const s = derived(issuer, provider({ name: 'cilogon', issuer: 'https://cilogon.example' }), grant);
    expect(await failure(s.fetch({ scopes: ['a'] }))).toEqual({
      kind: 'login-needed',
      what: 'the login that it is made from has no refresh token',
    });
  });

  test('may itself have come without a person', async () => {
    const s = derived(
      told(() => ({})),
      provider({ name: 'cilogon', issuer: 'https://x' }),
      { kind: 'request', refreshToken: 'r-0' },
    );
    await s.fetch({ scopes: ['a'] });
    expect(s.asked[0]?.parameters).toEqual({ refresh_token: 'r-0', scope: 'a' });
  });
});

/** An issuer that answers as told: an object is a token's, a failure is thrown. */
function told(
  answer: (grantType: string, parameters: Readonly<Record<string, string>>) => Partial<TokenSet> | Failed,
): Issuer {
  let n = 0;
  const token: Issuer['token'] = async (grantType, parameters, { rotation }) => {
    const given = answer(grantType, parameters);
    if (given instanceof Failed) throw given;
    const issued = systemClock.now();
    if (grantType === 'refresh_token') await rotation?.keep(`r-${++n}`);
    return {
      accessToken: `access-${n}`,
      tokenType: 'bearer',
      issued,
      expires: later(issued, seconds(60)),
      lifeFrom: 'expires_in',
      ...given,
    };
  };
  return { token } as unknown as Issuer;
}

describe('what is told of scopes', () => {
  const one = provider({ name: 'cilogon', issuer: 'https://x', scopes: ['a', 'b'] });
  const at = (scopes: readonly string[] | undefined) =>
    derived(
      told(() => (scopes ? { scopes } : {})),
      one,
      { refreshToken: 'r-0' },
    );

  test('an issuer that is silent has given what was asked', async () => {
    const s = at(undefined);
    await s.fetch({ scopes: ['a'] });
    expect(s.types()).toEqual(['refresh_token']);
  });

  test.each([[['a']], [['a', 'openid', 'offline_access']], [[]]])('%j is no more than a', async (scopes) => {
    const s = at(scopes);
    await s.fetch({ scopes: ['a'] });
    expect(s.types()).toEqual(['refresh_token']);
  });

  test('an exchange that gives more than was asked for is none: the job would have the login’s own', async () => {
    const s = at(['a', 'b']);
    expect(await failure(s.fetch({ scopes: ['a'] }))).toEqual({
      kind: 'login-needed',
      what: 'the issuer gives no narrower token than the login’s own',
    });
    expect(s.types()).toEqual(['refresh_token', 'token-exchange']);
    expect(s.asked.map(({ parameters }) => parameters.refresh_token)).toEqual(['r-0', undefined]);
  });

  test('without scopes of its own those of the provider are asked for', async () => {
    const s = at(['a', 'b']);
    await s.fetch({});
    expect(s.asked.map(({ parameters }) => parameters)).toEqual([{ refresh_token: 'r-0', scope: 'a b' }]);
  });
});

describe('what goes wrong on the way', () => {
  const one = provider({ name: 'cilogon', issuer: 'https://x', scopes: ['a', 'b'] });
  const fails = (kind: FailureKind, code?: string) =>
    new Failed({ kind, what: 'told so', ...(code !== undefined && { code }) });

  test.each([
    ['transient', undefined],
    ['protocol', undefined],
    ['refused', 'invalid_client'],
  ] as const)('%s (%s) at the narrowed refresh says nothing of narrowing', async (kind, code) => {
    const s = derived(
      told(() => fails(kind, code)),
      one,
      { refreshToken: 'r-0' },
    );
    expect((await failure(s.fetch({ scopes: ['a'] }))).kind).toBe(kind);
    expect(s.types()).toEqual(['refresh_token']);
  });

  test.each(['transient', 'protocol'] as const)('%s at the exchange is tried again', async (kind) => {
    const s = derived(
      told((type) => (type === 'refresh_token' ? { scopes: ['a', 'b'] } : fails(kind))),
      one,
      { refreshToken: 'r-0' },
    );
    expect((await failure(s.fetch({ scopes: ['a'] }))).kind).toBe(kind);
    expect(s.kept).toEqual(['r-1']);
    expect(s.grant()).toEqual({ refreshToken: 'r-1' });
  });

  test.each(['refused', 'denied', 'login-needed'] as const)(
    '%s at the exchange is a login’s to mend, of this credential',
    async (kind) => {
      const s = derived(
        told((type) => (type === 'refresh_token' ? { scopes: ['a', 'b'] } : fails(kind))),
        one,
        { refreshToken: 'r-0' },
      );
      expect(await failure(s.fetch({ scopes: ['a'] }))).toEqual({
        kind: 'login-needed',
        what: 'it cannot be made from the login: told so',
      });
    },
  );

  test.each(['invalid_client', 'http_403', 'http_404', 'http_400'])(
    '%s at the exchange says nothing of the login: it is tried again',
    async (code) => {
      const answers = (type: string) => (type === 'refresh_token' ? { scopes: ['a', 'b'] } : fails('refused', code));
      const s = derived(told(answers), one, { refreshToken: 'r-0' });
      expect(await failure(s.fetch({ scopes: ['a'] }))).toMatchObject({ kind: 'refused', code });
    },
  );

  test('the login’s end at the second refresh is the login’s end', async () => {
    let n = 0;
    const s = derived(
      told(() => (n++ === 0 ? fails('refused', 'invalid_scope') : fails('login-needed', 'invalid_grant'))),
      one,
      { refreshToken: 'r-0' },
    );
    expect(await failure(s.fetch({ scopes: ['a'] }))).toMatchObject({
      kind: 'login-needed',
      code: 'invalid_grant',
      hint: 'run: credmon login cilogon',
    });
  });
});
