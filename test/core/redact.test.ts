import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { redact } from '../../src/core/redact.js';

const names = [
  'access_token',
  'refresh_token',
  'id_token',
  'device_code',
  'client_secret',
  'subject_token',
  'actor_token',
  'vault_token',
  'code',
  'assertion',
  'password',
];
/** VSCHAR without what form encoding and JSON would change (RFC 6749 appendix A.12 and A.17). */
const token = fc.string({ unit: fc.constantFrom(...'abcXYZ0189-._~+/='), minLength: 8, maxLength: 40 });
/** Everything that a token may be made of, for the carriers that quote. */
const odd = fc.string({ unit: fc.constantFrom(...'abcXYZ019,;}{ &=:'), minLength: 8, maxLength: 40 });

const carriers: Readonly<Record<string, (name: string, secret: string) => string>> = {
  form: (name, secret) => `client_id=me&${name}=${secret}&scope=openid`,
  JSON: (name, secret) => JSON.stringify({ a: 1, [name]: secret, b: 2 }),
  'pretty JSON': (name, secret) => JSON.stringify({ [name]: secret, b: 2 }, null, 2),
  'JSON within JSON': (name, secret) => JSON.stringify({ body: JSON.stringify({ [name]: secret, b: 2 }) }),
  inspect: (name, secret) => inspect({ [name]: secret, b: 2 }),
  words: (name, secret) => `${name}: ${secret} was refused`,
};

describe('what is about to be shown', () => {
  test.each(Object.entries(carriers))('holds no secret parameter: %s', (_, carry) => {
    fc.assert(
      fc.property(fc.constantFrom(...names), token, (name, secret) => {
        expect(redact(carry(name, secret))).not.toContain(secret);
        expect(redact(carry(name.toUpperCase(), secret))).not.toContain(secret);
      }),
    );
  });

  test.each(['JSON', 'pretty JSON', 'JSON within JSON', 'inspect'])(
    'holds no part of one with odd characters: %s',
    (by) => {
      fc.assert(
        fc.property(fc.constantFrom(...names), odd, (name, secret) => {
          const shown = redact(carriers[by]?.(name, secret) ?? '');
          for (const part of secret.split(/[^a-zA-Z0-9]+/)) if (part.length > 3) expect(shown).not.toContain(part);
        }),
      );
    },
  );

  test('holds no JWT and no credentials of a header', () => {
    const jwt = 'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl';
    expect(redact(`got ${jwt}, and ${jwt.slice(0, -5)}.`)).not.toMatch(/eyJ|c2ln/);
    expect(redact('Authorization: Bearer abcdef123456')).toBe('Authorization: Bearer …');
    expect(redact('authorization: Basic Y2xpZW50OnNlY3JldA==')).toBe('authorization: Basic …');
  });

  test('keeps the rest', () => {
    const text = 'alice/cilogon: refreshed at https://issuer.example; valid for 20 min, next in 12 min';
    expect(redact(text)).toBe(text);
    expect(redact('{"access_token":"abc","expires_in":3600}')).toContain('"expires_in":3600');
    expect(redact('user_code=WDJB-MJHT')).toBe('user_code=WDJB-MJHT');
  });

  test('costs little, however long it is', () => {
    for (const unit of ['code', 'Bearer ', 'eyJaaaaaaaa.', 'code="', 'code=\\"', 'password: '])
      expect(redact(unit.repeat(50_000)).length).toBeGreaterThan(0);
  });
});
