import { resolve } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { explainName, keyOf, nameTrouble, nearest, parseStem, stem } from '../../src/core/names.js';

const good = fc
  .string({ unit: fc.constantFrom(...'abcXYZ019+=_.-'), minLength: 1, maxLength: 20 })
  .filter((name) => nameTrouble(name) === undefined);
/** Strings that mostly look like names, and some that do not at all. */
const likely = fc.oneof(
  fc.string({ unit: fc.constantFrom(...'ab_.-/\\\u0000\n ~%\u2024'), maxLength: 200 }),
  fc.string({ unit: 'binary', maxLength: 140 }),
  fc.constantFrom('.', '..', '../x', 'a/..', '...', '.a', 'a..b', 'CON', '-rf', 'a\n', '\n', '__proto__', 'ａ'),
);

describe('nameTrouble', () => {
  test.each([
    ['', 'empty'],
    ['a'.repeat(129), 'too long'],
    ['x'.repeat(300), 'too long'],
    ['a b', 'characters'],
    ['a/b', 'characters'],
    ['a\u0000', 'characters'],
    ['a\n', 'characters'],
    ['a\u202e', 'characters'],
    ['müller', 'characters'],
    ['..', 'dots'],
    ['.hidden', 'dots'],
    ['a..b', 'dots'],
    ['dune_', 'trailing underscore'],
    ['_', 'trailing underscore'],
  ] as const)('%o: %s', (name, trouble) => {
    expect(nameTrouble(name)).toBe(trouble);
    expect(explainName(trouble)).toMatch(/^(it|only) /);
  });

  test.each(['a', 'cilogon', 'dune_production', 'a.b', 'A+b=c-d', '9', '_x', 'a'.repeat(128)])(
    '%o is a name',
    (name) => {
      expect(nameTrouble(name)).toBeUndefined();
    },
  );

  test('nothing that passes can leave a directory, or hide in one', () => {
    fc.assert(
      fc.property(likely, (name) => {
        if (nameTrouble(name) !== undefined) return;
        expect(name).not.toMatch(/[^\x21-\x7e]|[/\\]|\.\./);
        expect(name[0]).not.toBe('.');
        expect(name.length).toBeLessThanOrEqual(128);
        expect(resolve('/creds', name)).toBe(`/creds/${name}`);
        expect(resolve('/creds', `${name}.top`)).toBe(`/creds/${name}.top`);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('stems', () => {
  test('read back to what they were made of, also where services hold underscores', () => {
    fc.assert(
      fc.property(
        good,
        fc.option(good, { nil: undefined }),
        fc.array(good, { maxLength: 5 }),
        (service, handle, others) => {
          const made = stem(handle === undefined ? { service } : { service, handle });
          // Where another service's name begins the handle, HTCondor itself could not tell the two.
          const fits = (name: string) => `${made}_`.toLowerCase().startsWith(`${name}_`.toLowerCase());
          const services = [service, ...others.filter((name) => !fits(name) || name.length < service.length)];
          const read = parseStem(made, services);
          expect(read).toEqual({ service, provider: service, ...(handle !== undefined && { handle }) });
        },
      ),
    );
  });

  test('whatever stands on disk, what is read back is made of names', () => {
    fc.assert(
      fc.property(fc.oneof(likely, fc.constantFrom('\u212aube', '\u212aube_x', 'kube_\u212a')), (text) => {
        const read = parseStem(text, ['a', 'b', 'a_b', 'kube']);
        if (read === undefined) return;
        expect(nameTrouble(read.service)).toBeUndefined();
        if (read.handle !== undefined) expect(nameTrouble(read.handle)).toBeUndefined();
        expect(stem(read)).toBe(text);
      }),
      { numRuns: 2000 },
    );
  });

  test.each([
    ['dune', { service: 'dune', provider: 'dune' }],
    ['dune_production', { service: 'dune_production', provider: 'dune_production' }],
    ['dune_production_x', { service: 'dune_production', provider: 'dune_production', handle: 'x' }],
    ['dune_prod', { service: 'dune', provider: 'dune', handle: 'prod' }],
    ['DUNE_x', { service: 'DUNE', provider: 'dune', handle: 'x' }],
    ['cilogon_X', { service: 'cilogon', provider: 'CILogon', handle: 'X' }],
    ['dune_', undefined],
    ['dune_a_', undefined],
    ['dunex', undefined],
    ['dune_../x', undefined],
    ['', undefined],
  ])('%o', (text, expected) => {
    expect(parseStem(text, ['dune', 'dune_production', 'CILogon'])).toEqual(expected);
  });

  test('a key names the user too', () => {
    expect(keyOf({ user: 'alice', service: 'osdf', handle: 'x' })).toBe('alice/osdf_x');
  });
});

describe('nearest', () => {
  const known = ['cilogon', 'osdf', 'dune_production'];
  test.each([
    ['cilogin', 'cilogon'],
    ['CILOGON', 'cilogon'],
    ['osfd', 'osdf'],
    ['os', 'osdf'],
    ['dune_prodction', 'dune_production'],
    ['something-else', undefined],
  ])('%s: %s', (typed, meant) => {
    expect(nearest(typed, known)).toBe(meant);
  });

  test('a known name is always its own nearest', () => {
    fc.assert(
      fc.property(fc.uniqueArray(good, { minLength: 1, maxLength: 5, selector: (n) => n.toLowerCase() }), (names) => {
        for (const name of names) expect(nearest(name, names)).toBe(name);
      }),
    );
  });
});
