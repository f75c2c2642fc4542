import { describe, expect, onTestFinished, test } from 'vitest';
import type { SubjectGrant } from '../../src/core/credential.js';
import type { Clock, Errand } from '../../src/core/ports.js';
import type { Provider } from '../../src/core/provider.js';
import { subject } from '../../src/grants/pelican.js';
import { systemClock } from '../../src/system/clock.js';
import { counted, hours, minutes, station } from '../daemon/kit.js';
import { canCertify } from '../helpers/certificates.js';
import { type HandClock, handClock } from '../helpers/clock.js';
import { type Pelican, type PelicanOptions, startPelican } from '../helpers/pelican.js';
import type { Fault } from '../helpers/served.js';
import { certificates, errand, failure, file, found, issuerOf, provider, store } from './kit.js';

async function own(options: PelicanOptions = {}): Promise<Pelican> {
  const one = await startPelican({ tls: certificates(), ...options });
  onTestFinished(() => one.stop());
  // Whatever a test does, nothing of value goes where a token points.
  onTestFinished(() => expect([one.evil.requests, one.evil.stolen()]).toEqual([[], []]));
  return one;
}

const namespaceOf = (one: Pelican) => `pelican://${new URL(one.url).host}${one.prefix}`;

/** By the namespace alone, as the configuration of HTCondor's own credmon has it. */
const configured = (one: Pelican, more: Partial<Provider> = {}): Provider =>
  provider({
    name: 'pel',
    flow: 'pelican',
    clientId: one.client.id,
    namespace: namespaceOf(one),
    caFile: file(certificates().ca),
    ...more,
  });

function asking(one: Pelican, more: Partial<Provider> = {}, clock: Clock = systemClock, errands: Partial<Errand> = {}) {
  const mine = configured(one, more);
  return errand({ provider: mine, clock, ...errands }, issuerOf(mine, one.client.secret, clock));
}

const grantOf = (accessToken: string, more: Partial<SubjectGrant> = {}): SubjectGrant => ({
  kind: 'subject',
  accessToken,
  ...more,
});
const tokens = (one: Pelican) => one.requests.filter(({ endpoint }) => endpoint === 'token');

describe.skipIf(!canCertify)('a subject token', () => {
  test('becomes tokens of our client, at the issuer that the federation names', async () => {
    const one = await own();
    const mine = asking(one);
    const given = one.subjectToken();
    const token = await subject(grantOf(given), mine);
    expect(one.requests.map(({ endpoint }) => endpoint)).toEqual(['federation', 'director', 'metadata', 'token']);
    expect(tokens(one)[0]?.params).toMatchObject({
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token: given,
      subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    });
    expect(tokens(one)[0]?.params).not.toHaveProperty('scope');
    expect(one.read(token.accessToken)).toMatchObject({ iss: one.issuer, sub: 'alice' });
    expect(token.expires - token.issued).toBe(3_600_000);
    expect(mine.kept).toEqual([token.refreshToken]);
    expect(one.accepts(mine.kept[0] ?? '')).toBe(true);
  });

  test('or at the one that the configuration names, whose federation is not asked', async () => {
    const one = await own();
    await subject(grantOf(one.subjectToken()), asking(one, { issuer: one.issuer }));
    await subject(grantOf(one.subjectToken()), asking(one, { tokenUrl: one.tokenEndpoint }));
    expect(one.requests.map(({ endpoint }) => endpoint)).toEqual(['metadata', 'token', 'token']);
  });

  // Unlike HTCondor's: whose storer writes `scopes` where its credmon reads `scope`, so that jobs get all there is; and
  // which would get no refresh token if it did ask for scopes.
  test('is narrowed by scopes and audience, and lasts all the same', async () => {
    const one = await own();
    const mine = asking(one);
    const scopes = ['storage.read:/data/alice/run1'];
    const given = one.subjectToken({ aud: ['https://x.example'] });
    const token = await subject(grantOf(given, { scopes, audience: 'https://x.example' }), mine);
    expect(tokens(one)[0]?.params).toMatchObject({
      scope: 'storage.read:/data/alice/run1 offline_access',
      audience: 'https://x.example',
    });
    expect(mine.kept).toHaveLength(1);
    expect(one.read(token.accessToken)).toMatchObject({
      scope: 'storage.read:/data/alice/run1 offline_access',
      aud: expect.arrayContaining(['https://x.example']),
    });
    await subject(grantOf(one.subjectToken(), { scopes: ['offline_access', 'wlcg'] }), mine);
    await subject(grantOf(one.subjectToken()), asking(one, { scopes: ['wlcg'] }));
    expect(
      tokens(one)
        .map(({ params }) => params.scope)
        .slice(1),
    ).toEqual(['offline_access wlcg', 'wlcg offline_access']);
  });

  // Unlike HTCondor's: which asks whatever server the token names, and sends it our client's secret.
  test('is sent to no issuer that it names itself', async () => {
    const one = await own();
    const forged = one.evil.subjectToken();
    const why = await failure(subject(grantOf(forged), asking(one)), one.client.secret, forged);
    expect(why).toMatchObject({ kind: 'login-needed', what: expect.stringContaining(`it is from ${one.evil.url}`) });
    const configuredOne = await failure(subject(grantOf(forged), asking(one, { issuer: one.issuer })), forged);
    expect(configuredOne.what).toContain(one.evil.url);
    // Of the right one, nothing is said of it.
    const ended = await failure(subject(grantOf(one.subjectToken({ exp: 5 })), asking(one)));
    expect(ended.what).not.toContain('it says');
  });

  test('that has ended needs another', async () => {
    const one = await own();
    const mine = asking(one);
    const why = await failure(subject(grantOf(one.subjectToken({ exp: 5 })), mine));
    expect(why).toMatchObject({ kind: 'login-needed', what: expect.stringContaining('it has ended') });
    for (const part of ['condor_store_cred delete-oauth -s pel', 'condor_submit', 'pelican token fetch'])
      expect(why.hint).toContain(part);
    // RFC 8693 §2.2.2 has another word for it.
    one.next('token', { status: 400, body: { error: 'invalid_request' } });
    expect((await failure(subject(grantOf(one.subjectToken({ exp: 5 })), mine))).kind).toBe('login-needed');
    one.next('token', { status: 400, body: { error: 'invalid_request' } });
    expect((await failure(subject(grantOf(one.subjectToken()), mine))).kind).toBe('refused');
  });

  test.each<[string, Fault, object]>([
    [
      'our client',
      { status: 401, body: { error: 'invalid_client' } },
      { kind: 'refused', code: 'invalid_client', hint: expect.stringContaining('pel_CLIENT_ID') },
    ],
    [
      'what it may do',
      { status: 400, body: { error: 'unauthorized_client' } },
      { kind: 'refused', hint: expect.stringContaining('token exchange') },
    ],
    [
      'the audience',
      { status: 400, body: { error: 'invalid_target' } },
      { kind: 'refused', hint: 'ask for another audience' },
    ],
    ['the person', { status: 403, body: { error: 'access_denied' } }, { kind: 'refused' }],
    ['nothing that it can help', { status: 500, body: { error: 'server_error' } }, { kind: 'transient' }],
    [
      'nothing but goes elsewhere',
      { status: 307, headers: { location: 'https://evil.example' } },
      { kind: 'protocol' },
    ],
    ['nothing at all', 'reset', { kind: 'transient' }],
  ])('the issuer refuses %s', async (_, fault, expected) => {
    const one = await own();
    one.next('token', fault);
    const given = one.subjectToken();
    const why = await failure(subject(grantOf(given), asking(one)), one.client.secret, given);
    expect(why).toMatchObject(expected);
    expect(tokens(one)).toHaveLength(1);
  });
});

describe.skipIf(!canCertify)('the issuer of a namespace', () => {
  const ask = (mine: ReturnType<typeof asking>, one: Pelican) => subject(grantOf(one.subjectToken()), mine);
  const lookedUp = (one: Pelican) => one.requests.filter(({ endpoint }) => endpoint === 'director').length;

  test('is asked for by the hour, once for all', async () => {
    const one = await own();
    const clock: HandClock = handClock();
    const mine = asking(one, {}, clock);
    await Promise.all([ask(mine, one), ask(mine, one), ask(mine, one)]);
    expect(lookedUp(one)).toBe(1);
    await clock.pass(minutes(59));
    await ask(mine, one);
    expect(lookedUp(one)).toBe(1);
    await clock.pass(minutes(2));
    await ask(mine, one);
    expect(lookedUp(one)).toBe(2);
  });

  test.each(['federation', 'director'] as const)('stays while the %s does not answer', async (endpoint) => {
    const one = await own();
    const clock = handClock();
    const mine = asking(one, {}, clock);
    one.next(endpoint, { status: 503, body: 'down' });
    expect((await failure(ask(mine, one))).kind).toBe('transient');
    await ask(mine, one);
    one.always(endpoint, 'reset');
    await clock.pass(hours(2));
    await ask(mine, one);
    one.always(endpoint, undefined);
    const before = lookedUp(one);
    await clock.pass(minutes(2));
    await ask(mine, one);
    expect(lookedUp(one)).toBe(before + 1);
  });

  test('may become another', async () => {
    const [one, other] = [await own(), await own()];
    const clock = handClock();
    const mine = asking(one, {}, clock);
    await ask(mine, one);
    Object.assign(one.overrides.director, {
      'x-pelican-token-generation': `issuer=${other.issuer}, max-scope-depth=3, strategy=OAuth2`,
    });
    await clock.pass(hours(2));
    // Our client is none of the other's.
    const why = await failure(ask(mine, one));
    expect(why).toMatchObject({ kind: 'refused', code: 'invalid_client' });
    expect(tokens(other)).toHaveLength(1);
  });

  test('is the one that takes tokens, where the director names none that gives them', async () => {
    const one = await own();
    Object.assign(one.overrides.director, { 'x-pelican-token-generation': [] });
    await ask(asking(one), one);
    expect(tokens(one)).toHaveLength(1);
  });

  test.each<[string, Readonly<Record<string, string | string[]>>, string, string]>([
    [
      'several',
      {
        'x-pelican-token-generation': [],
        'x-pelican-authorization': ['issuer=https://a.example', 'issuer=https://b.example'],
      },
      'config',
      'several issuers',
    ],
    ['none', { 'x-pelican-token-generation': [], 'x-pelican-authorization': [] }, 'config', 'public'],
    [
      'one without https',
      { 'x-pelican-token-generation': 'issuer=http://127.0.0.1/x, strategy=OAuth2' },
      'protocol',
      'without https',
    ],
    [
      'nonsense',
      { 'x-pelican-token-generation': 'issuer=https://me:pw@x.example/, strategy=OAuth2' },
      'protocol',
      'without https',
    ],
  ])('is not guessed: the director names %s', async (_, headers, kind, text) => {
    const one = await own();
    Object.assign(one.overrides.director, headers);
    const why = await failure(ask(asking(one), one));
    expect(why).toMatchObject({
      kind,
      what: expect.stringContaining(text),
      hint: expect.stringContaining('pel_ISSUER'),
    });
    expect(tokens(one)).toEqual([]);
  });

  test('needs a prefix that there is', async () => {
    const one = await own();
    const why = await failure(ask(asking(one, { namespace: `pelican://${new URL(one.url).host}/nowhere` }), one));
    expect(why).toMatchObject({ kind: 'config', what: expect.stringContaining('No namespace found') });
  });

  test.each<[string, Fault, string]>([
    ['no JSON', { status: 200, body: '<html>' }, 'protocol'],
    ['no director', { status: 200, body: {} }, 'protocol'],
    ['a director without https', { status: 200, body: { director_endpoint: 'http://127.0.0.1' } }, 'protocol'],
    ['another place', { status: 302, headers: { location: 'https://evil.example' } }, 'protocol'],
    ['nothing', { status: 404, body: {} }, 'protocol'],
  ])('needs a federation that names its director, and not %s', async (_, fault, kind) => {
    const one = await own();
    one.next('federation', fault);
    expect((await failure(ask(asking(one), one))).kind).toBe(kind);
    expect(one.requests).toHaveLength(1);
  });

  test('is waited for no longer than anyone wants it', async () => {
    const one = await own();
    one.next('director', 'hang');
    const stop = new AbortController();
    const leaving = ask(asking(one, {}, systemClock, { stop: stop.signal }), one);
    while (lookedUp(one) === 0) await new Promise(setImmediate);
    stop.abort(new Error('enough'));
    await expect(leaving).rejects.toThrow('enough');
  });
});

describe.skipIf(!canCertify)('kept by the daemon', () => {
  async function kept(options: PelicanOptions = {}, more: Partial<Provider> = {}) {
    let now = () => Date.now();
    const one = await own({ now: () => now(), ...options });
    const issuers = new Map<Provider, ReturnType<typeof issuerOf>>();
    const s = station({
      providers: [configured(one, more)],
      issuer: (mine, clock) => {
        const there = issuers.get(mine) ?? counted(issuerOf(mine, one.client.secret, clock), s.work);
        issuers.set(mine, there);
        return there;
      },
    });
    now = () => s.clock.now();
    const go = async (ms = 0) => {
      await s.keeper.sweep();
      await s.clock.pass(ms);
    };
    const top = () => JSON.parse(found(s, 'pel.top') ?? '') as Record<string, string>;
    return { s, one, go, top };
  }

  test('the refresh token takes the place of the subject token, and is refreshed at the same issuer', async () => {
    const { s, one, go, top } = await kept();
    store(s, 'pel', { access_token: one.subjectToken(), scopes: 'storage.read:/data/alice/run1' });
    await go();
    expect(Object.keys(top()).sort()).toEqual(['refresh_token', 'scopes']);
    expect(s.health('alice/pel')).toMatchObject({ state: 'fresh', grant: 'subject' });
    expect(one.read(s.use('pel').access_token)).toMatchObject({ sub: 'alice' });
    const first = top().refresh_token;
    await go(hours(24));
    expect([one.counts.exchanges, one.counts.reuse]).toEqual([1, 0]);
    expect(one.counts.refreshes).toBeGreaterThan(20);
    expect(top().refresh_token).not.toBe(first);
    expect(one.accepts(top().refresh_token ?? '')).toBe(true);
    expect(s.health('alice/pel')).toMatchObject({ state: 'fresh', grant: 'refresh' });
    for (const line of s.log.lines) expect(line).not.toMatch(/eyJ|refresh-\w/);
  });

  test('the refresh token is on disk though the rest of the answer is faulty', async () => {
    const { s, one, go, top } = await kept();
    store(s, 'pel', { access_token: one.subjectToken() });
    Object.assign(one.overrides.token, { access_token: undefined });
    await go();
    expect([Object.keys(top()), found(s, 'pel.use')]).toEqual([['refresh_token'], undefined]);
    expect(s.health('alice/pel')).toMatchObject({ state: 'retrying', trouble: { kind: 'protocol' } });
  });

  test('without a refresh token the subject token stays and is exchanged again, while it lives', async () => {
    const { s, one, go, top } = await kept();
    const given = one.subjectToken({ exp: Math.round(s.clock.now() / 1000) + 4 * 3600 });
    one.client.scopes = one.client.scopes.filter((scope) => scope !== 'offline_access');
    store(s, 'pel', { access_token: given });
    await go(hours(3));
    expect(top()).toEqual({ access_token: given });
    expect(one.counts.exchanges).toBeGreaterThan(3);
    expect(s.health('alice/pel')?.state).toBe('fresh');
    await go(hours(3));
    expect(s.health('alice/pel')).toMatchObject({
      state: 'login-needed',
      trouble: { hint: expect.stringContaining('pelican token fetch') },
    });
    // Another one, as the storer brings it.
    store(s, 'pel', { access_token: one.subjectToken() });
    await go();
    expect(s.health('alice/pel')?.state).toBe('fresh');
  });

  test('a login that has ended says how to get another', async () => {
    const { s, one, go, top } = await kept();
    store(s, 'pel', { access_token: one.subjectToken() });
    await go();
    one.revoke();
    const before = top();
    await go(hours(1));
    expect(s.health('alice/pel')).toMatchObject({
      state: 'login-needed',
      trouble: { hint: expect.stringContaining('condor_store_cred delete-oauth -s pel') },
    });
    expect(top()).toEqual(before);
  });

  test('a `.top` that names servers of its own gets nothing from them', async () => {
    const { s, one, go } = await kept();
    const theirs = { token_url: `${one.evil.url}/token`, iss: one.evil.url, issuer: one.evil.url };
    store(s, 'pel', { access_token: one.evil.subjectToken(), ...theirs });
    store(s, 'pel_h', { refresh_token: 'stolen', client_id: 'x', client_secret: 'y', ...theirs });
    await go(hours(1));
    expect(s.health('alice/pel')?.state).toBe('login-needed');
    expect(s.health('alice/pel_h')?.state).toBe('login-needed');
    expect(one.evil.requests).toEqual([]);
  });
});
