import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { badScope, inWords, missing, notGranted, parseScopes, sameScopes, spaced } from '../../src/core/scopes.js';

const scope = fc.string({ unit: fc.constantFrom(...'abz:/.*-_09~!'), minLength: 1, maxLength: 12 });
const scopes = fc.array(scope, { maxLength: 8 });

describe('scopes are a set', () => {
  test.each([
    ['', []],
    ['  ', []],
    ['b a', ['a', 'b']],
    ['storage.read:/x,openid', ['openid', 'storage.read:/x']],
    [' a ,, b\t a\n', ['a', 'b']],
  ])('%o', (text, expected) => {
    expect(parseScopes(text)).toEqual(expected);
  });

  test('sorted, each once, the same for every order and separator', () => {
    fc.assert(
      fc.property(scopes, fc.constantFrom(' ', ',', ', ', '\t'), (list, separator) => {
        const parsed = parseScopes(list.join(separator));
        expect(parsed).toEqual([...new Set(list)].sort());
        expect(parseScopes([...list].reverse().join(separator))).toEqual(parsed);
        expect(parseScopes(spaced(parsed))).toEqual(parsed);
        expect(badScope(parsed)).toBeUndefined();
      }),
    );
  });

  test.each(['a"b', 'a\\b', 'ä', 'a\u007f', 'a\u0000', '', '\u202e'])('%o is no scope-token', (bad) => {
    expect(badScope(['openid', bad])).toBe(bad);
  });

  test('what is missing, and what is the same', () => {
    fc.assert(
      fc.property(scopes, scopes, (a, b) => {
        expect(missing(a, b)).toEqual(a.filter((s) => !b.includes(s)));
        expect(sameScopes(a, b)).toBe(spaced(parseScopes(spaced(a))) === spaced(parseScopes(spaced(b))));
        expect(missing(a, [...a, ...b])).toEqual([]);
      }),
    );
  });
});

test.each([
  ['openid', 'know who you are'],
  ['storage.read:/dune', 'read files below /dune'],
  ['read:/dune', 'read files below /dune'],
  ['storage.create:/', 'create files below /'],
  ['storage.modify:/a', 'change and delete files below /a'],
  ['write:/a', 'write files below /a'],
  ['wlcg.groups', 'see your groups'],
  ['wlcg.groups:/dune', 'see your groups (/dune)'],
  ['compute.cancel', 'cancel jobs'],
  ['compute.read', 'look at jobs'],
  ['condor:/READ', 'HTCondor READ'],
  ['something.else', 'something.else'],
  ['openid2', 'openid2'],
])('%s in words: %s', (given, words) => {
  expect(inWords(given)).toBe(words);
});

test('what was not granted: nothing where the answer is silent, and offline_access is in the refresh token', () => {
  expect(notGranted(['a', 'offline_access', 'b'], undefined)).toEqual([]);
  expect(notGranted(['a', 'offline_access', 'b'], ['a'])).toEqual(['b']);
});
