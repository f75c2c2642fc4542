import fc from 'fast-check';
import { expect, test } from 'vitest';
import { plan } from '../../src/core/plan.js';

const files = fc
  .dictionary(fc.constantFrom(...'abcdefgh'), fc.constantFrom('1', '2', '3'))
  .map((o) => new Map(Object.entries(o)));

test('says of each key exactly one thing, and nothing of those that stayed', () => {
  fc.assert(
    fc.property(files, files, (disk, known) => {
      const { added, changed, gone } = plan(disk, known);
      expect([...added, ...changed, ...gone].length).toBe(new Set([...added, ...changed, ...gone]).size);
      for (const key of 'abcdefgh') {
        expect(added.includes(key)).toBe(disk.has(key) && !known.has(key));
        expect(gone.includes(key)).toBe(!disk.has(key) && known.has(key));
        expect(changed.includes(key)).toBe(disk.has(key) && known.has(key) && disk.get(key) !== known.get(key));
      }
    }),
  );
});

test('an empty stamp is a stamp', () => {
  expect(plan(new Map([['a', '']]), new Map([['a', '']]))).toEqual({ added: [], changed: [], gone: [] });
});
