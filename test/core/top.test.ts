import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type AnyGrant, type Grant, kindOf, type RequestGrant } from '../../src/core/credential.js';
import { nameTrouble } from '../../src/core/names.js';
import { flows } from '../../src/core/provider.js';
import { spaced } from '../../src/core/scopes.js';
import { epochMs } from '../../src/core/time.js';
import { formatGrant, formatRequest, parseTop, type TopOf } from '../../src/core/top.js';

const cilogon: TopOf = { id: { service: 'cilogon' }, flow: 'device' };
const prod: TopOf = { id: { service: 'cilogon', handle: 'prod' }, flow: 'device' };
const parse = (content: unknown, of: Partial<TopOf> = {}) =>
  parseTop(typeof content === 'string' ? content : JSON.stringify(content), { ...cilogon, ...of });

describe('a refresh token', () => {
  test('alone, and with what it was given for', () => {
    expect(parse({ refresh_token: 'r' })).toEqual({ refreshToken: 'r' });
    expect(
      parse({
        refresh_token: 'r',
        scopes: 'b a',
        audience: 'https://x.example',
        granted_at: 1_700_000_000,
        refresh_token_expires_at: 1_800_000_000,
        granted_by: { iss: 'https://i.test', sub: 'alice' },
      }),
    ).toEqual({
      refreshToken: 'r',
      scopes: ['a', 'b'],
      audience: 'https://x.example',
      since: 1_700_000_000_000,
      ends: 1_800_000_000_000,
      by: { iss: 'https://i.test', sub: 'alice' },
    });
  });

  test('scopes with commas as condor_credd writes them, in any order of the keys, and by the name that Pelican reads', () => {
    // As seen: {"scopes": "storage.read:/ b,c", "audience": "https://a", …}, pretty-printed.
    expect(
      parse('{\n  "scopes": "storage.read:/ b,c",\n  "audience": "https://a",\n  "refresh_token": "r"\n}\n'),
    ).toEqual({ refreshToken: 'r', scopes: ['b', 'c', 'storage.read:/'], audience: 'https://a' });
    expect(parse({ refresh_token: 'r', scope: 'a' })).toMatchObject({ scopes: ['a'] });
    expect(parse({ refresh_token: 'r', scope: 'a', scopes: 'b' })).toMatchObject({ scopes: ['b'] });
  });

  test('empty wishes are none', () => {
    expect(parse({ refresh_token: 'r', scopes: ' , ', audience: '' })).toEqual({ refreshToken: 'r' });
    expect(parse({ refresh_token: 'r', scopes: null, audience: null })).toEqual({ refreshToken: 'r' });
  });

  test.each([
    ['', 'not a JSON object'],
    ['null', 'not a JSON object'],
    ['[1]', 'not a JSON object'],
    ['"r"', 'not a JSON object'],
    ['alice', 'not a JSON object'],
    ['{"refresh_token":"r"', 'not a JSON object'],
    ['{}', 'without a refresh_token'],
    ['{"refresh_token":""}', 'without a refresh_token'],
    ['{"refresh_token":5}', 'without a refresh_token'],
    ['{"refresh_token":["r"]}', 'without a refresh_token'],
    ['{"__proto__":{"refresh_token":"r"}}', 'without a refresh_token'],
    ['{"access_token":"a"}', 'without a refresh_token'],
    ['{"refresh_token":"r\\n"}', 'with a refresh_token that cannot be one'],
    ['{"refresh_token":"é"}', 'with a refresh_token that cannot be one'],
    ['{"refresh_token":"r","scopes":"a \\"b"}', 'with scopes that cannot be'],
    ['{"refresh_token":"r","scopes":"é"}', 'with scopes that cannot be'],
    ['{"refresh_token":"r","audience":"a\\u0000"}', 'with an audience that cannot be'],
  ])('%s is %s', (text, trouble) => {
    expect(parse(text)).toBe(trouble);
  });

  test('bounds: as long as the broker admits, and not a character more', () => {
    const tokens = (n: number) => parse({ refresh_token: 'r'.repeat(n) });
    expect(tokens(16_384)).toMatchObject({ refreshToken: 'r'.repeat(16_384) });
    expect(tokens(16_385)).toBe('with a refresh_token that cannot be one');
    const scopes = (n: number) => parse({ refresh_token: 'r', scopes: 's'.repeat(n) });
    expect(scopes(4096)).toMatchObject({ scopes: ['s'.repeat(4096)] });
    expect(scopes(4097)).toBe('with scopes that cannot be');
    const audience = (n: number) => parse({ refresh_token: 'r', audience: 'x'.repeat(n) });
    expect(audience(512)).toMatchObject({ audience: 'x'.repeat(512) });
    expect(audience(513)).toBe('with an audience that cannot be');
  });

  test.each([0, -1, 4e9, 1e300, '1700000000', null, true])('%o is no moment', (value) => {
    expect(parse({ refresh_token: 'r', granted_at: value, refresh_token_expires_at: value })).toEqual({
      refreshToken: 'r',
    });
  });

  test.each([0, null, 'alice', {}, { iss: 'i' }, { iss: 1, sub: 's' }, []])('%o is nobody', (value) => {
    expect(parse({ refresh_token: 'r', granted_by: value })).toEqual({ refreshToken: 'r' });
  });

  test('is final where HTCondor’s web flow got none', () => {
    expect(parse({ refresh_token: '', scopes: 'a', audience: 'x' }, { final: true })).toEqual({
      kind: 'final',
      scopes: ['a'],
      audience: 'x',
    });
    expect(parse('', { final: true })).toBe('not a JSON object');
  });
});

describe('the other kinds', () => {
  test('client: whatever stands there', () => {
    for (const text of ['', 'alice', '{}', formatRequest({ service: 'other' }, {}), '{"refresh_token":"r"}'])
      expect(parse(text, { flow: 'client' })).toEqual({ kind: 'client' });
  });

  test('mytoken: in JSON or bare', () => {
    expect(parse({ mytoken: 'm', scopes: 'a' }, { flow: 'mytoken' })).toEqual({
      kind: 'mytoken',
      mytoken: 'm',
      scopes: ['a'],
    });
    expect(parse('  eyJ.a.b\n', { flow: 'mytoken' })).toEqual({ kind: 'mytoken', mytoken: 'eyJ.a.b' });
    expect(parse('m', { flow: 'device' })).toBe('not a JSON object');
    for (const text of ['', ' \n', 'a\nb', 'é', 'm'.repeat(16_385)])
      expect(parse(text, { flow: 'mytoken' })).toBe('not a JSON object');
    for (const body of [{}, { mytoken: '' }, { mytoken: 5 }, { refresh_token: 'r' }])
      expect(parse(body, { flow: 'mytoken' })).toBe('without a mytoken');
  });

  test('pelican: a subject token, until there is a refresh token', () => {
    expect(parse({ access_token: 'a', scopes: 's' }, { flow: 'pelican' })).toEqual({
      kind: 'subject',
      accessToken: 'a',
      scopes: ['s'],
    });
    expect(parse({ subject_token: 'a' }, { flow: 'pelican' })).toEqual({ kind: 'subject', accessToken: 'a' });
    expect(parse({ refresh_token: 'r', access_token: 'a' }, { flow: 'pelican' })).toEqual({ refreshToken: 'r' });
    expect(parse({}, { flow: 'pelican' })).toBe('without an access_token');
    expect(parse({ access_token: 'a\n' }, { flow: 'pelican' })).toBe('without an access_token');
    expect(parse({ refresh_token: '' }, { flow: 'pelican' })).toBe('without a refresh_token');
  });

  test('vault: a URL, with a token or without', () => {
    const url = 'https://vault.example:8200/v1/secret/oauth/creds/x';
    expect(parse({ vault_url: url, vault_token: 't' }, { flow: 'vault' })).toEqual({ kind: 'vault', url, token: 't' });
    expect(parse({ vault_url: url, scopes: 'a' }, { flow: 'vault' })).toEqual({ kind: 'vault', url, scopes: ['a'] });
    for (const vault_url of [undefined, '', 5, 'a b', 'é', 'x'.repeat(2049)])
      expect(parse({ vault_url, vault_token: 't' }, { flow: 'vault' })).toBe('without a vault_url');
    expect(parse({ vault_url: url, vault_token: '' }, { flow: 'vault' })).toBe('with a vault_token that cannot be one');
  });
});

describe('a request', () => {
  const request = { credmon_request: 1, provider: 'cilogon' };

  test('names what it is stored under, and what it wants', () => {
    expect(parse(request)).toEqual({ kind: 'request' });
    expect(parse({ ...request, handle: 'prod', from: '', scopes: 'b,a', audience: 'x' }, prod)).toEqual({
      kind: 'request',
      from: '',
      scopes: ['a', 'b'],
      audience: 'x',
    });
    expect(parse({ ...request, from: 'other', refresh_token: 'r' })).toEqual({
      kind: 'request',
      from: 'other',
      refreshToken: 'r',
    });
  });

  test('as condor_store_cred leaves it: pretty-printed, its keys in another order, scopes with commas', () => {
    const text =
      '{\n  "scopes": "storage.read:/,b",\n  "audience": "https://a",\n  "from": "",\n  "handle": "prod",\n  "provider": "cilogon",\n  "credmon_request": 1\n}\n';
    expect(parse(text, prod)).toEqual({
      kind: 'request',
      from: '',
      scopes: ['b', 'storage.read:/'],
      audience: 'https://a',
    });
  });

  test.each(flows.filter((flow) => flow !== 'client'))('is one whatever the flow: %s', (flow) => {
    expect(parse(request, { flow })).toEqual({ kind: 'request' });
    expect(parse(request, { flow, final: true })).toEqual({ kind: 'request' });
    expect(parse({ ...request, credmon_request: 2 }, { flow })).toBe('a request of a version that is not known');
  });

  test.each([2, 0, '1', true, null, [1], {}, 1.5])('of version %o is none', (credmon_request) => {
    // Nor is it anything else that may be in the same text.
    const more = { refresh_token: 'r', mytoken: 'm', access_token: 'a', vault_url: 'https://v' };
    for (const flow of flows.filter((one) => one !== 'client'))
      expect(parse({ ...more, ...request, credmon_request }, { flow })).toBe(
        'a request of a version that is not known',
      );
  });

  test.each([
    'scope',
    'user',
    'username',
    'sub',
    'subject',
    'requested_subject',
    'client_id',
    'issuer',
    'token_url',
    'grant_type',
    'Provider',
    'constructor',
    'toString',
    'granted_at',
    'access_token',
    'vault_url',
    'mytoken',
    '',
  ])('with %o in it is none', (key) => {
    expect(parse({ ...request, [key]: 'x' })).toBe('a request with something in it that no request has');
  });

  test('with keys of prototypes in it is none, and they act on nothing', () => {
    for (const key of ['__proto__', 'constructor', 'prototype', 'hasOwnProperty'])
      expect(parse(`{"credmon_request":1,"provider":"cilogon",${JSON.stringify(key)}:{"from":"x","polluted":1}}`)).toBe(
        'a request with something in it that no request has',
      );
    expect(parse('{"__proto__":{"credmon_request":1,"provider":"cilogon"}}')).toBe('without a refresh_token');
    expect(parse('{"credmon_request":1,"__proto__":{"provider":"cilogon"}}')).toMatch(/^a request/);
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });

  test.each([
    [{ provider: 'other' }, cilogon],
    [{ provider: 'CILogon' }, cilogon],
    [{ provider: ['cilogon'] }, cilogon],
    [{ provider: undefined }, cilogon],
    [{ handle: 'prod' }, cilogon],
    [{ handle: '' }, cilogon],
    [{ handle: null }, cilogon],
    [{}, prod],
    [{ handle: 'Prod' }, prod],
    [{ handle: 'other' }, prod],
  ] as const)('%j is for another credential than that of %j', (more, of) => {
    expect(parse({ ...request, ...more }, of)).toBe('a request for another credential');
  });

  test.each([
    ['', cilogon],
    ['prod', prod],
  ] as const)('from %o is from itself there', (from, of) => {
    const handle = of.id.handle === undefined ? {} : { handle: of.id.handle };
    expect(parse({ ...request, ...handle, from }, of)).toBe('a request to be made from itself');
  });

  test.each([5, null, ['a'], {}, '..', '../bob', 'a/b', 'bob/cilogon', '.a', 'a_', 'x'.repeat(129), 'é'])(
    'from %o is from nothing',
    (from) => {
      expect(parse({ ...request, from })).toBe('a request that names no login to be made from');
    },
  );

  test('wishes that are no text are not passed over: that would be a wish for something else', () => {
    for (const key of ['scopes', 'audience'])
      for (const value of [['a'], 5, {}, true])
        expect(parse({ ...request, [key]: value })).toBe('a request with something in it that no request has');
    expect(parse({ ...request, scopes: '', audience: '' })).toEqual({ kind: 'request' });
    expect(parse({ ...request, scopes: '"' })).toBe('with scopes that cannot be');
    expect(parse({ ...request, scopes: 's'.repeat(4097) })).toBe('with scopes that cannot be');
    expect(parse({ ...request, audience: 'é' })).toBe('with an audience that cannot be');
    expect(parse({ ...request, refresh_token: '' })).toBe('with a refresh_token that cannot be one');
    expect(parse({ ...request, refresh_token: 5 })).toBe('with a refresh_token that cannot be one');
  });
});

const name = fc
  .string({ unit: fc.constantFrom(...'abXY09+=_.-'), minLength: 1, maxLength: 8 })
  .filter((text) => nameTrouble(text) === undefined);
const scopes = fc
  .uniqueArray(fc.string({ unit: fc.constantFrom(...'ab:/.*&~!{}$'), minLength: 1, maxLength: 8 }), {
    minLength: 1,
    maxLength: 5,
  })
  .map((list) => list.sort());
const wanted = {
  scopes: fc.option(scopes, { nil: undefined }),
  audience: fc.option(fc.constantFrom('https://x/?a=b&c=d', 'a b', "it's"), { nil: undefined }),
};
const given = <T extends object>(value: T): T =>
  Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as T;
const id = fc
  .record({ service: name, handle: fc.option(name, { nil: undefined }) })
  .map((one) => given(one) as TopOf['id']);

describe('what is written is read back', () => {
  const moment = fc.option(
    fc.integer({ min: 1, max: 3_999_999_999 }).map((s) => epochMs(s * 1000)),
    { nil: undefined },
  );

  test('a grant', () => {
    const grants = fc.record({ refreshToken: fc.constantFrom('r', 'a b"\\'), ...wanted, since: moment, ends: moment });
    fc.assert(
      fc.property(grants, id, (grant, one) => {
        const whole = given(grant) as Grant;
        expect(parseTop(formatGrant(whole), { id: one, flow: 'device' })).toEqual(whole);
      }),
    );
  });

  test('a request, also after condor_store_cred has had it', () => {
    const requests = fc.record({ from: fc.option(fc.oneof(name, fc.constant('')), { nil: undefined }), ...wanted });
    fc.assert(
      fc.property(requests, id, fc.constantFrom(...flows), (request, one, flow) => {
        fc.pre(flow !== 'client' && request.from !== (one.handle ?? ''));
        const whole = { kind: 'request', ...given(request) } as RequestGrant;
        expect(parseTop(formatRequest(one, whole), { id: one, flow })).toEqual(whole);
        // It is given scopes and audience apart, with commas, and prints them before the rest, turned round.
        const { scopes: asked, audience, ...rest } = whole;
        const theirs = Object.entries(JSON.parse(formatRequest(one, rest)) as object).reverse();
        const stored = {
          ...(asked && { scopes: asked.join(',') }),
          ...(audience && { audience }),
          ...Object.fromEntries(theirs),
        };
        expect(parseTop(`${JSON.stringify(stored, undefined, 2)}\n`, { id: one, flow })).toEqual(whole);
      }),
    );
  });

  test('without a secret, in a request, whatever it is made of', () => {
    const text = formatRequest({ service: 'cilogon' }, { refreshToken: 'secret-1', scopes: ['a'] });
    expect(text).not.toContain('secret-1');
    expect(JSON.parse(text)).toEqual({ credmon_request: 1, provider: 'cilogon', scopes: 'a' });
  });
});

describe('whatever stands in the file', () => {
  const theirs = [
    'refresh_token',
    'access_token',
    'subject_token',
    'mytoken',
    'vault_url',
    'vault_token',
    'granted_at',
  ];
  const own = ['handle', 'from', 'scopes', 'scope', 'audience', 'refresh_token', '__proto__'];
  const words = fc.constantFrom<unknown>('prod', '', 'a b', 'a,b', ',', '..', '{username}', 'r', 1, null, true);
  const entry = (keys: readonly string[]) =>
    fc.oneof(
      { weight: 8, arbitrary: fc.tuple(fc.constantFrom(...keys), words) },
      { weight: 1, arbitrary: fc.tuple(fc.string(), fc.jsonValue()) },
    );
  const written = (entries: readonly (readonly [string, unknown])[]) =>
    `{${entries.map(([key, one]) => `${JSON.stringify(key)}:${JSON.stringify(one)}`).join(',')}}`;
  const request = fc
    .array(entry(own), { maxLength: 4 })
    .map((more) => written([['credmon_request', 1], ['provider', 'cilogon'], ...more]));
  const body = fc.array(entry([...theirs, ...own, 'credmon_request', 'provider'])).map(written);
  const text = fc.oneof(body, request, fc.string(), fc.json());
  const of = fc.record({
    id: fc.constantFrom(cilogon.id, prod.id),
    flow: fc.constantFrom(...flows),
    final: fc.boolean(),
  });

  test('nothing is thrown, and what is made of it is bounded and can be sent', () => {
    const kinds = new Set<string>();
    fc.assert(
      fc.property(text, of, (content, one) => {
        const read: AnyGrant | string = parseTop(content, one);
        if (typeof read === 'string') return void expect(read).toMatch(/^[a-z ]+(?:a JSON object|[\w ]+)$/i);
        kinds.add(kindOf(read));
        expect(Object.keys(read)).not.toContain('__proto__');
        if ('scopes' in read) expect(spaced(read.scopes ?? [])).toMatch(/^[\x21\x23-\x5B\x5D-\x7E ]{1,4096}$/);
        if ('audience' in read) expect(read.audience).toMatch(/^[\x20-\x7E]{1,512}$/);
        for (const key of ['refreshToken', 'accessToken', 'mytoken', 'token'] as const)
          if (key in read) expect((read as unknown as Record<string, string>)[key]).toMatch(/^[\x20-\x7E]{1,16384}$/);
      }),
      { numRuns: 3000 },
    );
    expect([...kinds].sort()).toEqual(['client', 'final', 'mytoken', 'refresh', 'request', 'subject', 'vault']);
  });

  test('a request never says whose it is, nor anything beyond what it may say', () => {
    let requests = 0;
    fc.assert(
      fc.property(request, of, (content, one) => {
        const read = parseTop(content, one);
        if (typeof read === 'string' || read.kind !== 'request') return;
        requests++;
        for (const key of Object.keys(read))
          expect(['kind', 'from', 'scopes', 'audience', 'refreshToken']).toContain(key);
        if (read.from) expect(nameTrouble(read.from)).toBeUndefined();
        expect(read.from).not.toBe(one.id.handle ?? '');
      }),
      { numRuns: 3000 },
    );
    expect(requests).toBeGreaterThan(50);
  });
});
