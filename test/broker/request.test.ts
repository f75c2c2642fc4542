import { describe, expect, test } from 'vitest';
import { orderOf } from '../../src/broker/request.js';
import { failureOf } from '../../src/core/failure.js';
import type { Provider } from '../../src/core/provider.js';
import { provider } from './kit.js';

const providers = new Map<string, Provider>(
  ['cilogon', 'dune', 'dune_production'].map((name) => [name, { ...provider, name }]),
);
const login = (more: object) => orderOf({ kind: 'login', provider: 'cilogon', ...more }, providers);

function failure(more: object) {
  try {
    login(more);
  } catch (thrown) {
    return failureOf(thrown);
  }
  return undefined;
}

describe('orderOf', () => {
  test('takes a provider by its name in any case, and calls it by the configured one', () => {
    expect(login({ provider: 'CILogon', handle: 'x' })).toMatchObject({ provider: { name: 'cilogon' }, handle: 'x' });
  });

  test('an unknown provider is answered with the nearest', () => {
    expect(failure({ provider: 'cilogn' })).toMatchObject({
      kind: 'config',
      what: 'the broker knows no provider "cilogn"',
      hint: 'did you mean cilogon? There is: cilogon, dune, dune_production',
    });
  });

  test.each(['../../etc', '/etc/passwd', '..', '.', 'a/b', 'x_', 'a b', '\u0000', '\u001b[2J', 'x'.repeat(129)])(
    'the handle %j is refused',
    (handle) => expect(failure({ handle })?.kind).toBe('usage'),
  );

  test.each(['../cilogon', '__proto__', 'constructor', 'cilogon/../dune', '\u001b[2J'])(
    'the provider %j is not known',
    (name) => {
      const { kind, what } = failure({ provider: name }) ?? {};
      expect(kind).toBe('config');
      expect(what).not.toContain('\u001b');
    },
  );

  test('a handle cannot make one provider’s file another’s', () => {
    expect(failure({ provider: 'dune', handle: 'production' })?.what).toBe(
      'the handle "production" of dune would be taken for the provider dune_production',
    );
    expect(failure({ provider: 'dune', handle: 'Production_x' })?.kind).toBe('usage');
    expect(login({ provider: 'dune', handle: 'test' })).toMatchObject({ handle: 'test' });
    expect(login({ provider: 'dune_production', handle: 'x' })).toMatchObject({ handle: 'x' });
  });

  test('several at once: each is checked like the first', () => {
    const also = [
      { handle: 'w', scopes: ['write:/'] },
      { handle: 'x', audience: 'https://x.example' },
    ];
    expect(login({ also })).toMatchObject({ provider: { name: 'cilogon' }, also });
    expect(login({ also: [] })).not.toHaveProperty('also');
    expect(login({ handle: 'w', also: [{}] })).toMatchObject({ handle: 'w', also: [{}] });
    expect(login({ also: [{ handle: 'w', scopes: [] }] }).also).toEqual([{ handle: 'w' }]);
    expect(failure({ also: [{ handle: '../x' }] })?.what).toContain('cannot be a handle');
    expect(failure({ also: [{ handle: 'w', scopes: ['a b'] }] })?.what).toContain('"a b" is no scope');
    expect(failure({ also: [{ handle: 'w', audience: 'ä' }] })?.kind).toBe('usage');
    const dune = { provider: 'dune', also: [{ handle: 'x' }, { handle: 'production' }] };
    expect(failure(dune)?.what).toContain('would be taken for the provider dune_production');
  });

  test.each<[string, object, string]>([
    ['the first', { also: [{}] }, 'cilogon is asked for twice'],
    ['the first by its handle', { handle: 'w', also: [{ handle: 'w' }] }, 'cilogon_w is asked for twice'],
    ['another', { also: [{ handle: 'w' }, { handle: 'w', scopes: ['a'] }] }, 'cilogon_w is asked for twice'],
  ])('what is there as %s is not asked for again', (_, more, what) => {
    expect(failure(more)?.what).toContain(what);
  });

  test('all together are no more than fits into a line', () => {
    const also = (n: number, make: (i: number) => object) =>
      Array.from({ length: n }, (_, i) => ({ handle: `h${i}`, ...make(i) }));
    const words = (i: number, n: number, length: number) =>
      Array.from({ length: n }, (_, j) => `${i}.${j}.`.padEnd(length, 'x'));
    expect(failure({ also: also(16, (i) => ({ scopes: words(i, 60, 30) })) })?.what).toContain('more than 128');
    expect(failure({ also: also(16, (i) => ({ scopes: words(i, 6, 200) })) })?.what).toContain('4096 characters');
    expect(failure({ also: also(16, () => ({ audience: 'a'.repeat(500) })) })?.what).toContain(
      'too long for one login',
    );
    expect(
      login({ also: also(16, (i) => ({ scopes: words(i, 7, 30), audience: 'a'.repeat(100) })) }).also,
    ).toHaveLength(16);
  });

  test('scopes and audience', () => {
    expect(login({ scopes: [] })).not.toHaveProperty('scopes');
    expect(login({ scopes: ['read:/a'], audience: 'https://a.example' })).toMatchObject({ scopes: ['read:/a'] });
    expect(failure({ scopes: ['a b'] })?.what).toContain('"a b" is no scope');
    expect(failure({ scopes: ['a"b'] })?.kind).toBe('usage');
    expect(failure({ scopes: Array(64).fill('x'.repeat(100)) })?.what).toContain('more than 4096 characters');
    expect(failure({ audience: 'a\u0007' })?.kind).toBe('usage');
    expect(failure({ audience: 'ä' })?.kind).toBe('usage');
  });
});
