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
