import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { RequestGrant } from '../../src/core/credential.js';
import type { Errand } from '../../src/core/ports.js';
import type { Provider } from '../../src/core/provider.js';
import { parseTop } from '../../src/core/top.js';
import { fetchToken } from '../../src/grants/index.js';
import { exchangeClient, type IssuerOptions, publicClient, startIssuer } from '../helpers/issuer.js';
import { serve } from '../providers/kit.js';
import { errand, failure, issuerOf, provider } from './kit.js';

const secret = exchangeClient.client_secret as string;
const scopes = ['storage.read:/alice'];

/** A provider whose client vouches for its users. */
const exchanging = (issuer: string, more: Partial<Provider> = {}): Provider =>
  provider({
    name: 'icecube',
    issuer,
    flow: 'exchange',
    clientId: exchangeClient.client_id,
    secretFile: '/etc/secret',
    scopes,
    ...more,
  });

/** The real issuer, that knows alice and bob, and alice's credential there. */
async function station(options: IssuerOptions = {}, more: Partial<Provider> = {}, on: Partial<Errand> = {}) {
  const issuer = await startIssuer({
    ...options,
    behaviour: { subjects: ['alice', 'bob', 'root'], ...options.behaviour },
  });
  onTestFinished(() => issuer.stop());
  const one = exchanging(issuer.url, more);
  const opened = issuerOf(one, secret);
  /** What is asked of the token endpoint: grant types, in turn. */
  const asked: { grantType: string; parameters: Readonly<Record<string, string>> }[] = [];
  const spied = {
    ...opened,
    token: (...call: Parameters<typeof opened.token>) => {
      asked.push({ grantType: call[0].split(':').at(-1) as string, parameters: call[1] });
      return opened.token(...call);
    },
  };
  const errands = errand({ provider: one, id: { user: 'alice', service: 'icecube' }, ...on }, spied);
  return {
    issuer,
    asked,
    errands,
    fetch: (grant: Partial<RequestGrant> = {}) => fetchToken({ kind: 'request', ...grant }, errands),
  };
}

const claims = (token: string): Record<string, unknown> =>
  JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());

describe('the request', () => {
  /** A server that notes what it is asked. */
  async function wire(more: Partial<Provider> = {}, user = 'alice') {
    const { url, asked } = await serve((base) => ({
      '/.well-known/openid-configuration': { body: { issuer: base, token_endpoint: `${base}/token` } },
      '/token': { body: { access_token: 'a', token_type: 'Bearer', expires_in: 60, refresh_token: 'r-1' } },
    }));
    const one = exchanging(url, more);
    const e = errand({ provider: one, id: { user, service: 'icecube' } }, issuerOf(one, secret));
    return { tokens: () => asked.filter(({ path }) => path === '/token'), e };
  }

  test('is that of the IceCube credmon: the subject is whose the folder is, the client proves itself', async () => {
    const { tokens, e } = await wire();
    await fetchToken({ kind: 'request' }, e);
    expect(tokens().map(({ method, params }) => [method, params])).toEqual([
      [
        'POST',
        {
          grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
          audience: 'exchanger',
          requested_token_type: 'urn:ietf:params:oauth:token-type:refresh_token',
          requested_subject: 'alice',
          scope: 'storage.read:/alice',
        },
      ],
    ]);
    const basic = Buffer.from(
      `${encodeURIComponent('exchanger')}:${encodeURIComponent(secret).replaceAll('-', '%2D')}`,
    );
    expect(
      decodeURIComponent(
        Buffer.from(tokens()[0]?.headers.authorization?.replace('Basic ', '') ?? '', 'base64').toString(),
      ),
    ).toBe(decodeURIComponent(basic.toString()));
    expect(e.kept).toEqual(['r-1']);
  });

  test('for the scopes and the audience of the grant, else of the provider; without any none is named', async () => {
    const { tokens, e } = await wire({ audience: 'https://usual', allowedAudiences: ['https://asked'] });
    await fetchToken({ kind: 'request' }, e);
    await fetchToken({ kind: 'request', scopes: ['b', 'a'], audience: 'https://asked' }, e);
    expect(tokens().map(({ params }) => [params.scope, params.audience])).toEqual([
      ['storage.read:/alice', 'https://usual'],
      ['b a', 'https://asked'],
    ]);
    const bare = await wire({ scopes: [] });
    await fetchToken({ kind: 'request' }, bare.e);
    expect(bare.tokens()[0]?.params).not.toHaveProperty('scope');
  });

  test('with what an earlier one brought it is a refresh', async () => {
    const { tokens, e } = await wire();
    await fetchToken({ kind: 'request', refreshToken: 'r-0', scopes: ['a'] }, e);
    expect(tokens().map(({ params }) => params)).toEqual([
      { grant_type: 'refresh_token', refresh_token: 'r-0', scope: 'a' },
    ]);
  });

  test('whatever stands in a .top, the subject is whose the folder is, and the secret goes to the one issuer', async () => {
    const { tokens, e } = await wire({ allowedScopes: ['storage.read:/{username}'] });
    const key = fc.constantFrom(
      ...['credmon_request', 'provider', 'handle', 'from', 'scopes', 'scope', 'audience', 'refresh_token'],
      ...['user', 'subject', 'requested_subject', 'username', 'sub', 'client_id', 'client_secret', 'token_url'],
      ...['issuer', 'grant_type', 'subject_token', '__proto__', 'constructor'],
    );
    const value = fc.constantFrom<unknown>(
      ...[1, 'icecube', 'bob', '', 'storage.read:/bob', 'storage.read:/alice/../bob', 'storage.read:/alice/a,openid'],
      ...['a&requested_subject=bob', 'https://evil.example', ['bob'], { requested_subject: 'bob' }, null],
    );
    const more = fc.array(fc.tuple(key, value), { maxLength: 4 });
    let good = 0;
    await fc.assert(
      fc.asyncProperty(more, async (entries) => {
        const all = [['credmon_request', 1], ['provider', 'icecube'], ...entries];
        const text = `{${all.map(([k, v]) => `${JSON.stringify(k)}:${JSON.stringify(v)}`).join(',')}}`;
        const grant = parseTop(text, { id: { service: 'icecube' }, flow: 'exchange' });
        if (typeof grant === 'string' || ('from' in grant && grant.from !== undefined)) return;
        const before = tokens().length;
        await fetchToken(grant, e).catch(() => undefined);
        for (const { params } of tokens().slice(before)) {
          good++;
          expect(params.requested_subject ?? 'alice').toBe('alice');
          expect(params.audience ?? 'exchanger').toBe('exchanger');
          expect(params).not.toHaveProperty('subject_token');
          for (const scope of (params.scope ?? '').split(' '))
            expect(scope).toMatch(/^(?:storage\.read:\/alice(?:\/a)?)?$/);
          expect(['refresh_token', 'urn:ietf:params:oauth:grant-type:token-exchange']).toContain(params.grant_type);
        }
      }),
      { numRuns: 400 },
    );
    expect(good).toBeGreaterThan(20);
  });
});

describe('at a real issuer', () => {
  test.each(['keycloak', 'no-refresh-token', 'strict'] as const)(
    'that answers as %s does: a token of alice’s',
    async (exchangeAnswer) => {
      const s = await station({ behaviour: { exchangeAnswer } });
      const token = await s.fetch();
      expect(await s.issuer.introspect(token.accessToken)).toBe(true);
      expect(claims(token.accessToken)).toMatchObject({ sub: 'alice', scope: 'storage.read:/alice' });
      expect(token.expires - token.issued).toBeGreaterThan(55_000);
      expect(s.errands.kept).toHaveLength({ keycloak: 1, 'no-refresh-token': 0, strict: 2 }[exchangeAnswer]);
      expect(s.issuer.counts).toMatchObject({ exchanges: 1, refreshes: exchangeAnswer === 'strict' ? 1 : 0 });
      expect(s.errands.kept).not.toContain(token.accessToken);
    },
  );

  test.each(['keycloak', 'strict'] as const)(
    '%s: the refresh token that it brought is used and rotated',
    async (exchangeAnswer) => {
      const s = await station({ behaviour: { exchangeAnswer } });
      await s.fetch({ scopes });
      for (let n = 0; n < 3; n++) await s.fetch({ scopes, refreshToken: s.errands.kept.at(-1) as string });
      expect(s.issuer.counts).toMatchObject({ exchanges: 1, reuse: 0, refusals: 0 });
      expect(new Set(s.errands.kept).size).toBe(s.errands.kept.length);
      expect(s.asked.map(({ grantType }) => grantType).slice(-3)).toEqual([
        'refresh_token',
        'refresh_token',
        'refresh_token',
      ]);
    },
  );

  test('without one it is exchanged each time', async () => {
    const s = await station({ behaviour: { exchangeAnswer: 'no-refresh-token' } });
    await s.fetch();
    await s.fetch();
    expect(s.issuer.counts).toMatchObject({ exchanges: 2, refreshes: 0 });
  });

  test.each([{}, { scopes }])(
    'a refresh token that is dead is no login’s end: it is exchanged anew (%j)',
    async (wanted) => {
      const s = await station();
      await s.fetch(wanted);
      s.issuer.revokeGrants();
      const token = await s.fetch({ ...wanted, refreshToken: s.errands.kept[0] as string });
      expect(claims(token.accessToken)).toMatchObject({ sub: 'alice' });
      expect(s.issuer.counts).toMatchObject({ exchanges: 2, refusals: 1 });
      expect(await s.issuer.introspect(token.accessToken)).toBe(true);
      await s.fetch({ ...wanted, refreshToken: s.errands.kept[1] as string });
      expect(s.issuer.counts).toMatchObject({ exchanges: 2, refreshes: 1, reuse: 0 });
    },
  );

  test('nor one that it never issued', async () => {
    const s = await station();
    const token = await s.fetch({ refreshToken: 'made-up-by-alice' });
    expect(claims(token.accessToken)).toMatchObject({ sub: 'alice' });
  });

  test('that takes no scopes at a refresh is not given up: it is exchanged anew', async () => {
    const s = await station({ behaviour: { narrowing: 'refused' } });
    await s.fetch({ scopes });
    const token = await s.fetch({ scopes, refreshToken: s.errands.kept[0] as string });
    expect(claims(token.accessToken)).toMatchObject({ sub: 'alice', scope: scopes[0] });
  });

  test('that is down is asked again later, with the same refresh token', async () => {
    const s = await station();
    await s.fetch();
    await s.issuer.stop();
    const { kind } = await failure(s.fetch({ refreshToken: s.errands.kept[0] as string }), secret);
    expect(kind).toBe('transient');
    expect(s.asked).toHaveLength(2);
    expect(s.errands.kept).toHaveLength(1);
  });

  test('that does not know alice: refused, and what to look at; no login would help', async () => {
    const s = await station({ behaviour: { subjects: ['bob'] } });
    expect(await failure(s.fetch(), secret)).toMatchObject({
      kind: 'refused',
      what: expect.stringMatching(/^no token for alice: .*access_denied \(Client not allowed to exchange\)/),
      hint: expect.stringContaining('does the issuer know alice'),
    });
    expect(s.issuer.counts.exchanges).toBe(0);
  });

  test('that does not believe the client says so', async () => {
    const s = await station();
    const one = exchanging(s.issuer.url);
    const e = errand({ provider: one }, issuerOf(one, 'wrong'));
    expect(await failure(fetchToken({ kind: 'request' }, e), 'wrong')).toMatchObject({
      kind: 'refused',
      code: 'invalid_client',
      hint: 'check icecube_CLIENT_ID and the secret in icecube_CLIENT_SECRET_FILE',
    });
  });

  test('that refuses a scope says so', async () => {
    const s = await station();
    expect(await failure(s.fetch({ scopes: ['no-such'] }))).toMatchObject({ kind: 'refused', code: 'invalid_scope' });
  });

  test('that knows no such audience says so', async () => {
    const s = await station({}, { audience: 'https://elsewhere' });
    expect(await failure(s.fetch())).toMatchObject({ kind: 'refused' });
  });

  test('a login that the client never had is no failure of ours, whoever asks', async () => {
    const s = await station({}, {}, { id: { user: 'bob', service: 'icecube' } });
    expect(claims((await s.fetch({ scopes: ['storage.read:/bob'] })).accessToken)).toMatchObject({ sub: 'bob' });
  });
});

describe('what the administrator does not allow never reaches the issuer', () => {
  const allowed = { allowedScopes: ['storage.read:/{username}', 'openid'] };
  const none = async (s: Awaited<ReturnType<typeof station>>, grant: Partial<RequestGrant>) => {
    const failed = await failure(s.fetch(grant), secret);
    expect(s.asked).toEqual([]);
    expect(s.issuer.counts).toMatchObject({ discoveries: 0, exchanges: 0, refreshes: 0, refusals: 0 });
    expect(s.errands.kept).toEqual([]);
    return failed;
  };

  test.each([
    [['storage.read:/bob']],
    [['storage.read:/']],
    [['storage.read:/alicex']],
    [['storage.read:/alice/../bob']],
    [['storage.read:/alice', 'storage.modify:/alice']],
    [['compute.read']],
  ])('scopes: %j', async (asked) => {
    const s = await station({}, allowed);
    const failed = await none(s, { scopes: asked });
    expect(failed).toMatchObject({
      kind: 'refused',
      code: 'not_allowed',
      what: expect.stringMatching(/^alice may not have the scope \S+ from icecube$/),
      hint: expect.stringContaining('icecube_ALLOWED_SCOPES'),
    });
    // Nor with a refresh token that may have been got before it was forbidden.
    await none(s, { scopes: asked, refreshToken: 'r-earlier' });
  });

  test('scopes that are allowed do', async () => {
    const s = await station({}, allowed);
    expect((await s.fetch({ scopes: ['openid', 'storage.read:/alice/a'] })).scopes).toEqual([
      'openid',
      'storage.read:/alice/a',
    ]);
  });

  test('an audience that is neither the provider’s nor listed', async () => {
    const s = await station({}, { audience: 'exchanger', allowedAudiences: ['https://a'] });
    expect(await none(s, { audience: 'https://b' })).toMatchObject({
      kind: 'refused',
      code: 'not_allowed',
      what: 'alice may not have tokens for the audience https://b from icecube',
      hint: expect.stringContaining('icecube_ALLOWED_AUDIENCES'),
    });
    expect(claims((await s.fetch({ audience: 'exchanger' })).accessToken)).toMatchObject({ sub: 'alice' });
    const bare = await station();
    expect(await none(bare, { audience: 'exchanger' })).toMatchObject({ code: 'not_allowed' });
  });

  test('root', async () => {
    const s = await station({}, {}, { id: { user: 'root', service: 'icecube' } });
    expect(await none(s, {})).toMatchObject({ kind: 'refused', what: 'root gets no tokens by exchange' });
    expect(await none(s, { refreshToken: 'r' })).toMatchObject({ kind: 'refused' });
  });

  test.each([
    { flow: 'device' },
    { flow: 'pelican' },
    { flow: 'mytoken' },
    { flow: 'vault' },
    { secretFile: undefined } as unknown as Partial<Provider>,
  ] as Partial<Provider>[])('where nobody but a person can vouch for users: %j', async (more) => {
    const s = await station({}, more);
    for (const grant of [{}, { refreshToken: 'r' }])
      expect(await none(s, grant)).toEqual({ kind: 'login-needed', what: 'icecube gives no tokens without a login' });
  });

  test('what is made from a login of such a provider is bound by it as well', async () => {
    const s = await station({}, allowed, {
      id: { user: 'alice', service: 'icecube', handle: 'h' },
      origin: async () => expect.fail('the login is not touched'),
    });
    expect(await none(s, { from: '', scopes: ['storage.read:/bob'] })).toMatchObject({ code: 'not_allowed' });
    expect(await none(s, { from: '', scopes: ['openid'], audience: 'https://b' })).toMatchObject({
      code: 'not_allowed',
    });
  });
});

test('a public client cannot vouch for anybody, whatever the configuration says', async () => {
  const issuer = await startIssuer({ behaviour: { subjects: ['alice'] } });
  onTestFinished(() => issuer.stop());
  const one = exchanging(issuer.url, { clientId: publicClient.client_id });
  const failed = await failure(fetchToken({ kind: 'request' }, errand({ provider: one }, issuerOf(one))));
  expect(failed.kind).toBe('refused');
  expect(issuer.counts.exchanges).toBe(0);
});
