import fc from 'fast-check';
import { expect, test } from 'vitest';
import { NumberSet } from '../../src/core/number-set.js';

const highest = 2 ** 32 - 1;
const number = fc.oneof(
  fc.integer({ min: 0, max: 600 }),
  fc.integer({ min: highest - 600, max: highest }),
  fc.integer({ min: 0, max: highest }),
);

test('has what was added to it and nothing else', () => {
  fc.assert(
    fc.property(fc.array(number, { maxLength: 200 }), fc.array(number, { maxLength: 50 }), (added, others) => {
      const [set, real] = [new NumberSet(), new Set<number>()];
      for (const one of added) {
        set.add(one);
        real.add(one);
      }
      for (const one of [...added, ...others, ...added.map((n) => n + 1).filter((n) => n <= highest)])
        expect([one, set.has(one)]).toEqual([one, real.has(one)]);
      set.clear();
      expect(added.some((one) => set.has(one))).toBe(false);
    }),
  );
});
