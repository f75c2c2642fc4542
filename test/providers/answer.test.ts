import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { epochMs, seconds } from '../../src/core/time.js';
import { type Answer, lenient, subjectOf, tokenSet } from '../../src/providers/answer.js';

const now = epochMs(1_800_000_000_000);
const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
const jwt = (exp: number) => `${encode({})}.${encode({ exp })}.c2ln`;
const lifeOf = (answer: Partial<Answer>, life?: number) => {
  const set = tokenSet(
    { access_token: 'opaque', token_type: 'bearer', ...answer },
    now,
    life === undefined ? undefined : seconds(life),
  );
  return [(set.expires - now) / 1000, set.lifeFrom];
};

describe('how long a token lives', () => {
  test.each<[Partial<Answer>, number | undefined, [number, string]]>([
    [{ expires_in: 3600 }, 60, [3600, 'expires_in']],
    [{ expires_in: 3600, access_token: jwt(now / 1000 + 100) }, 60, [3600, 'expires_in']],
    [{ access_token: jwt(now / 1000 + 100) }, 60, [100, 'jwt']],
    [{}, 60, [60, 'default']],
    [{}, undefined, [1200, 'default']],
    [{ expires_in: 1e12 }, undefined, [366 * 86_400, 'expires_in']],
    [{ access_token: jwt(1e13) }, undefined, [366 * 86_400, 'jwt']],
    // A clock that is wrong, here or there, must not make a token that was just fetched due at once, for ever.
    [{ access_token: jwt(now / 1000 - 100) }, 60, [60, 'default']],
    [{ access_token: jwt(now / 1000) }, undefined, [1200, 'default']],
  ])('%o', (answer, life, expected) => {
    expect(lifeOf(answer, life)).toEqual(expected);
  });

  test('is always some time, and at most a year', () => {
    fc.assert(
      fc.property(
        fc.option(fc.double({ noNaN: true }), { nil: undefined }),
        fc.double({ noNaN: true }),
        (given, exp) => {
          const [life] = lifeOf({ ...(given !== undefined && { expires_in: given }), access_token: jwt(exp) });
          expect(life).toBeGreaterThan(0);
          expect(life).toBeLessThanOrEqual(366 * 86_400);
        },
      ),
    );
  });
});

test('what the answer is silent about is absent', () => {
  const set = tokenSet({ access_token: 'a', token_type: 'bearer' }, now, undefined);
  expect(Object.keys(set).sort()).toEqual(['accessToken', 'expires', 'issued', 'lifeFrom', 'tokenType']);
  const full = tokenSet({ access_token: 'a', token_type: 'bearer', refresh_token: 'r', scope: 'b a' }, now, undefined);
  expect(full).toMatchObject({ refreshToken: 'r', scopes: ['a', 'b'] });
});

describe('whose an ID token is', () => {
  const base = { iss: 'https://i.example', sub: 'http://i.example/users/1' };
  test.each([
    [{ preferred_username: 'alice', email: 'a@b' }, 'alice'],
    [{ eppn: 'alice@x', name: 'Alice' }, 'alice@x'],
    [{ email: 'a@b', name: 'Alice' }, 'a@b'],
    [{ name: 'Alice' }, 'Alice'],
    [{ preferred_username: '\u001b[2J\u202e', name: 5 }, base.sub],
    [{}, base.sub],
  ])('%o', (claims, name) => {
    expect(subjectOf({ ...base, ...claims })).toEqual({ ...base, name });
  });

  test('is harmless to show', () => {
    expect(subjectOf({ ...base, name: `\u001b]0;x\u0007Al\u202eice\n${'x'.repeat(500)}` }).name).toMatch(
      /^Alice x{50,}…$/,
    );
  });
});

describe('what of an answer is judged', () => {
  test('everything, as it came', () => {
    const body = {
      access_token: 'a',
      token_type: 'b',
      expires_in: 5,
      refresh_token: 'r',
      id_token: 'i',
      scope: 's',
      more: 1,
    };
    expect(lenient(body, true)).toEqual(body);
  });

  test.each([0, -1, null, 'soon', '', Number.NaN, [], {}, true, [5], 0.001, 'Infinity', '1e999'])(
    'but not an expires_in of %o',
    (expires_in) => {
      expect(lenient({ access_token: 'a', expires_in }, true)).toEqual({ access_token: 'a' });
    },
  );

  test.each([
    ['3600', 3600],
    [' 60 ', 60],
    [1.5, 1.5],
    [1e12, 1e12],
  ])('an expires_in of %o is a number', (given, expires_in) => {
    expect(lenient({ expires_in: given }, true)).toEqual({ expires_in });
  });

  test('nor what is null, nor an empty refresh token, nor an ID token that nobody looks at', () => {
    expect(lenient({ access_token: 'a', refresh_token: '', scope: null, id_token: null }, true)).toEqual({
      access_token: 'a',
    });
    expect(lenient({ access_token: 'a', refresh_token: null, id_token: 'x' }, false)).toEqual({ access_token: 'a' });
  });

  test.each([null, 5, 'x', [1], undefined])('%o stays what it is', (body) => {
    expect(lenient(body, true)).toEqual(body);
  });
});
