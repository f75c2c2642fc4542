import { describe, expect, test } from 'vitest';
import { groupsOf } from '../../../src/commands/login/group.js';
import { failureOf } from '../../../src/core/failure.js';
import type { Flow, Provider } from '../../../src/core/provider.js';
import { parseRequest } from '../../../src/core/request.js';

const provider = (name: string, flow: Flow = 'device'): [string, Provider] => [
  name,
  { name, flow, issuer: `https://${name}.test`, clientId: 'c', scopes: ['openid', 'read:/'], bare: false },
];
const providers = new Map([
  provider('cilogon'),
  provider('dune'),
  provider('dune_production'),
  provider('sky', 'exchange'),
  provider('robot', 'client'),
  provider('igwn', 'vault'),
  provider('osdf', 'pelican'),
  provider('my', 'mytoken'),
]);

const group = (words: readonly string[], more: readonly [string, Provider][] = [], others: readonly string[] = []) =>
  groupsOf(
    words.map((one, i) => ({ request: parseRequest(one), where: `${i}.sub` })),
    { providers: new Map([...providers, ...more]), others },
  );
function refusal(...words: string[]) {
  try {
    group(words);
  } catch (thrown) {
    return failureOf(thrown);
  }
  return undefined;
}

describe('requests', () => {
  test('are one group a provider, in the order in which they come', () => {
    const { groups, passedOver } = group([
      'dune&handle=x&options=--whatever',
      'cilogon&scopes=write:/,read:/&audience=https://a',
      'dune',
      'dune&handle=x',
    ]);
    expect(groups.map((one) => [one.provider.name, one.wishes])).toEqual([
      ['dune', [{ handle: 'x' }, {}]],
      ['cilogon', [{ scopes: ['read:/', 'write:/'], audience: 'https://a' }]],
    ]);
    expect(passedOver).toEqual([]);
  });

  test('for a service that is called like a handle are for the file that jobs find', () => {
    const { groups } = group(['cilogon_read&scopes=read:/', 'dune_production', 'cilogon&handle=write']);
    expect(groups.map((one) => [one.provider.name, one.wishes])).toEqual([
      ['cilogon', [{ handle: 'read', scopes: ['read:/'] }, { handle: 'write' }]],
      ['dune_production', [{}]],
    ]);
  });

  test('for strangers are left out, and those that nobody logs in to are passed over with a word', () => {
    const { groups, passedOver } = group(['box', 'sky&handle=x', 'robot', 'igwn', 'osdf', 'my', 'igwn', 'cilogon']);
    expect(groups).toHaveLength(1);
    expect(passedOver.map((line) => line.slice(0, 36))).toEqual([
      'sky_x: no login is needed: credmond ',
      'robot: no login is needed: credmond ',
      'igwn: not logged in to by credmon: r',
      'osdf: not logged in to by credmon: r',
      'my: not logged in to by credmon: mak',
    ]);
  });

  test('where Vault has every other name, those of other credmons are strangers all the same', () => {
    const any = [provider('*', 'vault')];
    expect(group(['scitokens', 'box'], any, ['SciTokens']).passedOver).toEqual([expect.stringMatching(/^box: /)]);
  });
});

describe('two that want one credential', () => {
  test('to be the same are one', () => {
    expect(group(['cilogon', 'cilogon&scopes=read:/,openid']).groups[0]?.wishes).toEqual([{}]);
  });

  test('with different scopes are refused, and both named', () => {
    expect(refusal('cilogon&handle=x&scopes=a', 'cilogon&handle=x&scopes=b')).toMatchObject({
      kind: 'usage',
      what: 'cilogon_x is asked for with different scopes: a (0.sub) and b (1.sub)',
      hint: expect.stringContaining('handle of its own'),
    });
    expect(refusal('cilogon', 'cilogon&scopes=b')?.what).toContain('openid read:/ (0.sub) and b (1.sub)');
    expect(refusal('cilogon_x&scopes=a', 'cilogon&handle=x&scopes=b')?.what).toContain('cilogon_x');
  });

  test('for different audiences as well', () => {
    expect(refusal('cilogon', 'cilogon&audience=https://b')?.what).toBe(
      'cilogon is asked for with different audiences: none (0.sub) and https://b (1.sub)',
    );
  });
});

describe('a name', () => {
  test('that would be another provider’s is refused', () => {
    expect(refusal('dune&handle=production')?.what).toBe(
      '0.sub: the handle "production" of dune would be taken for the provider dune_production',
    );
  });

  test('in another case than the provider’s is refused: jobs would not find the file', () => {
    expect(refusal('CILogon')).toMatchObject({
      what: '0.sub: jobs would look for CILogon.use, but the service is called cilogon here',
      hint: 'write cilogon instead of CILogon',
    });
  });
});
