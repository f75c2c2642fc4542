import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type ClientRecord,
  fromClient,
  fromServer,
  longestLine,
  toClient,
  toServer,
} from '../../src/broker/records.js';
import { orderOf } from '../../src/broker/request.js';
import { shorten, showable, showableState } from '../../src/broker/state-record.js';
import type { Failure } from '../../src/core/failure.js';
import type { Ask, LoginState } from '../../src/core/login.js';
import { companionsOf, inAll } from '../../src/core/several.js';
import { epochMs } from '../../src/core/time.js';
import { provider } from './kit.js';

function attempt<T>(work: () => T): { readonly value?: T } {
  try {
    return { value: work() };
  } catch {
    return {};
  }
}

const bytes = (text: string) => new TextEncoder().encode(text);
const ask: Ask = { provider: 'cilogon', issuer: 'https://cilogon.org', scopes: ['openid'] };

const text = (longest: number) => fc.string({ unit: 'binary', maxLength: longest * 2 }).map((s) => shorten(s, longest));
const optional = <T extends object>(value: fc.Arbitrary<T>) => fc.oneof(fc.constant({}), value);
const scopes = fc.array(fc.stringMatching(/^[!#-[\]-~]{1,20}$/), { maxLength: 5 });
const asks: fc.Arbitrary<Ask> = fc
  .tuple(
    fc.record({ provider: text(100), issuer: text(100), scopes }),
    optional(fc.record({ handle: text(64) })),
    optional(fc.record({ audience: text(64) })),
    optional(fc.record({ also: fc.array(fc.record({ handle: text(64) }), { maxLength: 16 }), from: text(64) })),
  )
  .map(([a, b, c, d]) => ({ ...a, ...b, ...c, ...d }));
const failures: fc.Arbitrary<Failure> = fc.record({
  kind: fc.constantFrom('usage', 'config', 'transient', 'login-needed', 'cancelled'),
  what: text(500),
});
const moments = fc.integer({ min: 0, max: 4e12 }).map(epochMs);
const places = fc.constantFrom(
  { kind: 'condor', by: 'spool' } as const,
  { kind: 'keyring' } as const,
  {
    kind: 'file',
    path: '/home/alice/.local/state/credmon',
  } as const,
);
const links = fc.webUrl({ validSchemes: ['https'], withQueryParameters: true }).map((url) => new URL(url).href);
const states: fc.Arbitrary<LoginState> = fc.oneof(
  fc.record({ at: fc.constant('starting' as const), ask: asks }),
  fc.record({ at: fc.constant('expired' as const), ask: asks }),
  fc.record({
    at: fc.constant('code' as const),
    ask: asks,
    code: fc.constant('ABCD'),
    link: links,
    expires: moments,
    trouble: text(500),
  }),
  fc.record({ at: fc.constant('storing' as const), ask: asks, who: text(200), place: places }),
  fc.record({ at: fc.constant('waiting' as const), ask: asks, place: places, what: text(200) }),
  fc.record({
    at: fc.constant('done' as const),
    ask: asks,
    place: places,
    missing: scopes,
    expires: moments,
    note: text(500),
  }),
  fc.record({ at: fc.constant('kept' as const), ask: asks, place: places }),
  fc.record({ at: fc.constant('failed' as const), ask: asks, failure: failures }),
);

describe('records', () => {
  test('any bytes are a record or one failure, and never throw', () => {
    const anything = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.json().map(bytes),
      fc
        .dictionary(fc.constantFrom('v', 'kind', 'path', 'state', 'yes', '__proto__'), fc.anything())
        .map((o) => bytes(JSON.stringify(o) ?? '')),
    );
    fc.assert(
      fc.property(anything, (line) => {
        for (const read of [fromClient(line), fromServer(line)]) {
          if (read.failure) expect(read.failure.kind).toBe('protocol');
          else expect(read.record).toHaveProperty('kind');
        }
      }),
    );
  });

  test('every state survives the journey', () => {
    fc.assert(
      fc.property(states, (state) => {
        const line = toClient({ kind: 'state', state: state as never, grant: 'ab'.repeat(16) });
        expect(fromServer(bytes(line.trimEnd()))).toEqual({ record: { kind: 'state', state, grant: 'ab'.repeat(16) } });
      }),
    );
  });

  test('whatever an issuer says can be shown', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 3000 }), (said) => {
        const failure: Failure = { kind: 'refused', what: said, hint: said, code: said };
        const state = showableState({ at: 'failed', ask, failure });
        expect(fromServer(bytes(toClient({ kind: 'state', state: state as never }).trimEnd())).failure).toBeUndefined();
        const done = showableState({ at: 'storing', ask, who: said, place: { kind: 'keyring' } });
        expect(fromServer(bytes(toClient({ kind: 'state', state: done as never }).trimEnd())).failure).toBeUndefined();
      }),
    );
  });

  test('a secret in a failure is taken out', () => {
    const { what } = showable({ kind: 'transient', what: 'POST failed: refresh_token=abc123&x=1' });
    expect(what).toBe('POST failed: refresh_token=…&x=1');
  });

  test.each<[string, ClientRecord]>([
    ['proved', { kind: 'proved' }],
    ['login', { kind: 'login', provider: 'cilogon', handle: 'x', scopes: ['a:b'], audience: 'https://a' }],
    [
      'login for several',
      {
        kind: 'login',
        provider: 'cilogon',
        also: [
          { handle: 'x', scopes: ['a:b'] },
          { handle: 'y', audience: 'https://a' },
        ],
      },
    ],
    ['logout', { kind: 'logout', provider: 'cilogon' }],
    ['again', { kind: 'again', yes: false }],
  ])('%s survives the journey', (_, record) => {
    expect(fromClient(bytes(toServer(record).trimEnd()))).toEqual({ record });
  });

  test.each([
    ['nothing', ''],
    ['an array', '[]'],
    ['null', 'null'],
    ['a byte order mark', '\uFEFF{"v":1,"kind":"proved"}'],
    ['an extra key', '{"v":1,"kind":"proved","user":"root"}'],
    ['an extra key in a login', '{"v":1,"kind":"login","provider":"cilogon","uid":0}'],
    ['__proto__', '{"v":1,"kind":"proved","__proto__":{"user":"root"}}'],
    ['a word for a truth', '{"v":1,"kind":"again","yes":"true"}'],
    ['an unknown kind', '{"v":1,"kind":"shutdown"}'],
    ['a record of the broker', '{"v":1,"kind":"welcome","user":"alice"}'],
    ['65 scopes', JSON.stringify({ v: 1, kind: 'login', provider: 'p', scopes: Array(65).fill('a') })],
    ['a scope of 257 characters', JSON.stringify({ v: 1, kind: 'login', provider: 'p', scopes: ['a'.repeat(257)] })],
    [
      'an audience of 513 characters',
      JSON.stringify({ v: 1, kind: 'login', provider: 'p', audience: 'a'.repeat(513) }),
    ],
    ['17 more', JSON.stringify({ v: 1, kind: 'login', provider: 'p', also: Array(17).fill({ handle: 'a' }) })],
    ['a user among more', '{"v":1,"kind":"login","provider":"p","also":[{"handle":"a","user":"root"}]}'],
    ['a provider among more', '{"v":1,"kind":"login","provider":"p","also":[{"provider":"q"}]}'],
    ['more in more', '{"v":1,"kind":"login","provider":"p","also":[{"handle":"a","also":[]}]}'],
    ['more that is no list', '{"v":1,"kind":"login","provider":"p","also":{"handle":"a"}}'],
    ['a logout of more', '{"v":1,"kind":"logout","provider":"p","also":[]}'],
    ['deep nesting', `${'['.repeat(8000)}${']'.repeat(8000)}`],
  ])('%s is no record of a client', (_, line) => {
    expect(fromClient(bytes(line)).failure?.kind).toBe('protocol');
  });

  test('another version is named', () => {
    expect(fromClient(bytes('{"v":2,"kind":"proved"}')).failure?.what).toBe(
      'the client speaks version 2 of the protocol, and here it is version 1',
    );
  });

  test.each([
    ['a link to a script', { link: 'javascript:alert(1)' }],
    ['a link without https', { link: 'http://evil.example/' }],
    ['a link with a name in it', { link: 'https://cilogon.org@evil.example/' }],
    ['a terminal’s escape sequence', { code: '\u001b]0;owned\u0007' }],
    ['text that runs backwards', { trouble: 'a\u202eb' }],
    ['a key too many', { token: 'x' }],
  ])('a client refuses %s from a broker', (_, more) => {
    const state = { at: 'code', ask, code: 'ABCD', link: 'https://cilogon.org/device', expires: 1, ...more };
    expect(fromServer(bytes(JSON.stringify({ v: 1, kind: 'state', state }))).failure?.kind).toBe('protocol');
  });

  test('what the other side would not take is not sent', () => {
    const state = { at: 'starting', ask: { ...ask, scopes: Array(128).fill('x'.repeat(200)) } } as const;
    expect(() => toClient({ kind: 'state', state: state as never })).toThrow(`longer than ${longestLine} bytes`);
    expect(() => toServer({ kind: 'login', provider: '' })).toThrow('provider is wrong');
  });

  test('the largest request that may be is answered in lines that fit', () => {
    const scopes = Array.from({ length: 64 }, (_, i) => `${i}`.padEnd(63, 'x'));
    const big: Ask = { ...ask, handle: 'h'.repeat(128), audience: 'a'.repeat(512), scopes };
    const state = { at: 'done', ask: big, place: { kind: 'keyring' }, missing: scopes, who: '€'.repeat(200) } as const;
    expect(() => toClient({ kind: 'state', state: state as never })).not.toThrow();
  });

  test('whatever may be asked for at once is answered in lines that fit', () => {
    const providers = new Map([['cilogon', { ...provider, scopes: [] }]]);
    const scope = fc.tuple(fc.nat(99), fc.nat(256)).map(([i, n]) => `${i}`.padEnd(n, 'x') || 'y');
    const audience = fc.nat(512).map((n) => '"'.repeat(n));
    const wishes = fc.array(
      fc.record(
        {
          handle: fc.tuple(fc.nat(999), fc.nat(128)).map(([i, n]) => `${i}`.padEnd(n, 'h')),
          scopes: fc.array(scope, { maxLength: 64 }),
          audience,
        },
        { requiredKeys: ['handle'] },
      ),
      { minLength: 1, maxLength: 17, size: 'max' },
    );
    const link = `https://issuer.test/${'l'.repeat(2000)}`;
    let taken = 0;
    fc.assert(
      fc.property(wishes, ([first, ...also]) => {
        const { value } = attempt(() => orderOf({ kind: 'login', provider: 'cilogon', ...first, also }, providers));
        if (value === undefined) return;
        taken++;
        const scopes = inAll([value, ...(value.also ?? [])], { scopes: [] });
        const big: Ask = { ...ask, ...value, provider: 'cilogon', scopes, also: companionsOf(value.also ?? []) };
        const { provider: name, issuer, handle, audience: whom, also: more } = big;
        const asked = {
          provider: name,
          issuer,
          scopes,
          ...(handle && { handle }),
          ...(whom && { audience: whom }),
          also: more,
        };
        const all = [
          { at: 'code', ask: asked, code: 'ABCD', link, linkComplete: link, expires: 1, trouble: '€'.repeat(500) },
          { at: 'done', ask: asked, place: { kind: 'keyring' }, missing: scopes, who: '€'.repeat(200), expires: 1 },
        ];
        for (const state of all) expect(toClient({ kind: 'state', state: state as never }).length).toBeGreaterThan(0);
        const line = toServer({ kind: 'login', provider: 'cilogon', ...first, also } as ClientRecord);
        expect(fromClient(bytes(line.trimEnd())).failure).toBeUndefined();
      }),
      { numRuns: 500 },
    );
    expect(taken).toBeGreaterThan(20);
  });
});
