import { describe, expect, test } from 'vitest';
import type { Config } from '../../src/core/config.js';
import type { Provider } from '../../src/core/provider.js';
import { claim, strangers } from '../../src/storer/needs.js';
import { creddStore } from '../../src/stores/credd.js';
import { provider } from '../daemon/kit.js';
import { storeTool } from './kit.js';

const stop = new AbortController().signal;
const config = (providers: readonly Provider[], others: readonly string[] = []) =>
  ({ providers: new Map(providers.map((one) => [one.name, one])), others }) as unknown as Config;
const ask = (...services: readonly string[]) => services.map((service) => ({ service }));

describe('whose a service is', () => {
  test('ours, another credmon’s, or nobody’s', () => {
    const { known, unknown } = claim(
      ask('cilogon', 'scitokens', 'SciTokens', 'who'),
      config([provider('cilogon', { scopes: ['a'], secretFile: '/etc/secret' })], ['scitokens', 'cilogon']),
    );
    const asked = { service: 'cilogon' };
    expect(known).toEqual([{ request: asked, asked, provider: { name: 'cilogon', flow: 'device', scopes: ['a'] } }]);
    expect(unknown).toEqual(ask('who'));
  });

  test('a name that goes on after a provider’s is that one’s handle: it is the same file', () => {
    const { known, unknown } = claim(ask('cilogon_ro', 'box_x'), config([provider('cilogon')], ['box']));
    expect(known).toMatchObject([{ request: { service: 'cilogon', handle: 'ro' }, asked: { service: 'cilogon_ro' } }]);
    expect(unknown).toEqual([]);
  });

  test('without regard to case', () => {
    expect(claim(ask('CILogon'), config([provider('cilogon')])).known).toHaveLength(1);
  });

  test('where every name is Vault’s, those of other credmons are not', () => {
    const all = config([provider('*', { flow: 'vault' }), provider('cilogon')], ['scitokens', 'cilogon']);
    const { known, unknown } = claim(ask('anything', 'scitokens', 'cilogon'), all);
    expect(known.map(({ request, provider: { name } }) => [request.service, name])).toEqual([
      ['anything', '*'],
      ['cilogon', 'cilogon'],
    ]);
    expect(unknown).toEqual([]);
  });
});

describe('a name that nobody knows', () => {
  const told = async (service: string, stored: readonly string[] = [], others: readonly string[] = []) => {
    const tool = storeTool({ stored });
    const credd = creddStore({ env: { PATH: `${tool.bin}:/usr/bin:/bin` } });
    return strangers(ask(service), config([provider('cilogon'), provider('icecube')], others), { credd, stop });
  };

  test('is taken for the one that was meant', async () => {
    expect(await told('cilogn')).toEqual([
      { kind: 'config', what: 'no credential service "cilogn" is known here', hint: 'did you mean cilogon?' },
    ]);
    expect(await told('icecub')).toMatchObject([{ hint: 'did you mean icecube?' }]);
    expect(await told('scitoken', [], ['scitokens'])).toMatchObject([{ hint: 'did you mean scitokens?' }]);
  });

  test('and like no other: all are told', async () => {
    expect(await told('something-else')).toMatchObject([{ hint: 'there is: cilogon, icecube' }]);
  });

  test('a list that says "all" is no name', async () => {
    for (const name of ['x', 'ab'])
      expect(await told(name, [], ['*'])).toMatchObject([{ hint: 'there is: cilogon, icecube' }]);
  });

  test('and which the person has stored: it is theirs, and nothing is said', async () => {
    expect(await told('homemade', ['homemade'])).toEqual([]);
  });
});
