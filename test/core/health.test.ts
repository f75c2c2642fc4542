import fc from 'fast-check';
import { expect, test } from 'vitest';
import { byTrouble, type Health, loginCommand, type State } from '../../src/core/health.js';
import { epochMs } from '../../src/core/time.js';

const states: readonly State[] = ['login-needed', 'damaged', 'retrying', 'new', 'fresh'];

function health(state: State, user = 'alice', expires?: number): Health {
  return {
    user,
    provider: 'p',
    service: 'p',
    issuer: 'https://i.example',
    state,
    since: epochMs(0),
    refreshes: 0,
    ...(expires !== undefined && { life: { issued: epochMs(0), expires: epochMs(expires) } }),
  };
}

test('worst first, then whose token ends first, then by name', () => {
  const sorted = [
    health('login-needed', 'z'),
    health('damaged', 'y'),
    health('retrying', 'b', 10),
    health('retrying', 'a', 20),
    health('new', 'x'),
    health('fresh', 'c', 5),
    health('fresh', 'a', 7),
    health('fresh', 'b', 7),
  ];
  expect([...sorted].reverse().sort(byTrouble)).toEqual(sorted);
});

test('it is an order', () => {
  const any = fc
    .tuple(
      fc.constantFrom(...states),
      fc.constantFrom('a', 'b'),
      fc.option(fc.integer({ min: 0, max: 3 }), { nil: undefined }),
    )
    .map(([state, user, expires]) => health(state, user, expires));
  fc.assert(
    fc.property(any, any, any, (a, b, c) => {
      expect(byTrouble(a, a)).toBe(0);
      expect(Math.sign(byTrouble(a, b)) + Math.sign(byTrouble(b, a))).toBe(0);
      if (byTrouble(a, b) <= 0 && byTrouble(b, c) <= 0) expect(byTrouble(a, c)).toBeLessThanOrEqual(0);
    }),
  );
});

test('the command that mends it', () => {
  expect(loginCommand({ provider: 'osdf' })).toBe('credmon login osdf');
  expect(loginCommand({ provider: 'osdf', handle: 'x' })).toBe('credmon login osdf --handle x');
  expect(loginCommand({ provider: 'osdf', scopes: ['storage.read:/data'], audience: 'https://x' })).toBe(
    'credmon login osdf --scope storage.read:/data --audience https://x',
  );
});
