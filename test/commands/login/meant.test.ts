import { expect, test } from 'vitest';
import { meantBy } from '../../../src/commands/login/meant.js';
import type { Config } from '../../../src/core/config.js';
import { failureOf } from '../../../src/core/failure.js';
import type { Flow, Provider } from '../../../src/core/provider.js';

const config = (flows: Readonly<Record<string, Flow>>, preferred?: string) =>
  ({
    providers: new Map(Object.entries(flows).map(([name, flow]) => [name, { name, flow } as Provider])),
    ...(preferred !== undefined && { preferred }),
  }) as unknown as Config;

test('the default, else the only one that people log in to', () => {
  expect(meantBy(config({ a: 'device', b: 'device' }, 'b'), 'login')).toBe('b');
  expect(meantBy(config({ a: 'exchange', b: 'device' }), 'login')).toBe('b');
});

test('of several none is taken for it', () => {
  const failure = (flows: Readonly<Record<string, Flow>>) => {
    try {
      return meantBy(config(flows), 'ensure');
    } catch (thrown) {
      return failureOf(thrown);
    }
  };
  expect(failure({ a: 'device', b: 'device', c: 'vault' })).toEqual({
    kind: 'usage',
    what: 'there are several providers, and none is the default: a, b',
    hint: 'name the one that is meant: credmon ensure a',
  });
  expect(failure({ c: 'vault', d: 'client' })).toMatchObject({ what: expect.stringContaining('c, d') });
});
