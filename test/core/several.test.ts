import { describe, expect, test } from 'vitest';
import { companionsOf, inAll, ownScopes } from '../../src/core/several.js';

const provider = { scopes: ['openid', 'read:/'] };
const nothing = { scopes: [] };

describe('one approval for several', () => {
  test('asks for the scopes of all, each once; who names none wants the provider’s own', () => {
    expect(inAll([{ scopes: ['a', 'b'] }, { scopes: ['b', 'c'] }, {}], provider)).toEqual([
      'a',
      'b',
      'c',
      'openid',
      'read:/',
    ]);
    expect(inAll([{}], provider)).toEqual(provider.scopes);
    expect(inAll([{}, {}], nothing)).toEqual([]);
  });

  test.each<[string, string[] | undefined, string[] | undefined, { scopes: string[] }, string[] | undefined]>([
    ['what it asked for', ['a'], ['b'], provider, ['a']],
    ['what it asked for, alone', ['a'], undefined, provider, ['a']],
    ['the provider’s own, where another wants more', undefined, ['write:/'], provider, provider.scopes],
    ['nothing, where nobody wants more', undefined, ['read:/'], provider, undefined],
    ['nothing, where all want the same', undefined, undefined, provider, undefined],
    ['nothing, where nothing is configured', undefined, ['write:/'], nothing, undefined],
  ])('the first keeps %s', (_, first, other, of, own) => {
    const wish = (scopes: string[] | undefined) => (scopes ? { scopes } : {});
    expect(ownScopes(wish(first), [wish(other)], of)).toEqual(own);
  });

  test('the faces are told of handles and audiences, and of nothing else', () => {
    expect(companionsOf([{ handle: 'w', scopes: ['a'] }, { audience: 'https://x' }])).toEqual([
      { handle: 'w' },
      { audience: 'https://x' },
    ]);
  });
});
