import fc from 'fast-check';
import { expect, test } from 'vitest';
import { jwtExpiry } from '../../src/providers/jwt.js';

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
const jwt = (claims: unknown) => `${encode({ alg: 'ES256' })}.${encode(claims)}.c2ln`;

test('the exp claim, in milliseconds', () => {
  expect(jwtExpiry(jwt({ exp: 1_800_000_000 }))).toBe(1_800_000_000_000);
});

test.each([
  ['opaque'],
  [''],
  ['a.b'],
  ['a.b.c'],
  ['..'],
  [jwt({})],
  [jwt({ exp: 'soon' })],
  [jwt({ exp: -1 })],
  [jwt({ exp: 0 })],
  [jwt({ exp: null })],
  [jwt(null)],
  [jwt(5)],
  [`a.${Buffer.from('{').toString('base64url')}.c`],
])('%o does not tell', (token) => {
  expect(jwtExpiry(token)).toBeUndefined();
});

test('whatever the token is, nothing is thrown', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.json().map((text) => `a.${Buffer.from(text).toString('base64url')}.c`),
      ),
      (token) => {
        const exp = jwtExpiry(token);
        if (exp !== undefined) expect(exp).toBeGreaterThan(0);
      },
    ),
  );
});
