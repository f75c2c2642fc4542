import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Heap, Places } from '../../src/core/heap.js';

const job = fc.nat(15);
const act = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('add' as const), job, at: fc.integer({ min: -5, max: 20 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('delete' as const), job }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('take' as const), job }) },
);

function places(size = 16): Places {
  const made = new Places();
  made.grow(size);
  return made;
}

const least = (model: ReadonlyMap<number, number>) => (model.size === 0 ? undefined : Math.min(...[...model.values()]));

test('whatever is done to two of the same places, the first of each is its earliest, and each job stands in one', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(1), act), { maxLength: 150 }), (acts) => {
      const shared = places();
      const both = [0, 1].map(() => ({ heap: new Heap(shared), model: new Map<number, number>() }));
      for (const [which, step] of acts) {
        const { heap, model } = both[which] as (typeof both)[number];
        const job = step.do === 'take' ? (heap.first ?? 0) : step.job;
        for (const one of both) if (one.model.delete(job)) one.heap.delete(job);
        if (step.do === 'add') {
          heap.add(job, step.at);
          model.set(job, step.at);
        }
        for (const one of both) {
          expect(one.heap.size).toBe(one.model.size);
          expect(one.heap.first === undefined ? undefined : shared.at[one.heap.first]).toBe(least(one.model));
          if (one.heap.first !== undefined) expect(one.model.has(one.heap.first)).toBe(true);
        }
        for (let n = 0; n < 16; n++)
          expect((shared.place[n] as number) >= 0).toBe(both.some(({ model }) => model.has(n)));
      }
      for (const { heap, model } of both) {
        const drained: number[] = [];
        for (let first = heap.first; first !== undefined; first = heap.first) {
          drained.push(shared.at[first] as number);
          heap.delete(first);
        }
        expect(drained).toEqual([...model.values()].sort((a, b) => a - b));
      }
    }),
  );
});

test('it grows, and so do the places, with what is in them', () => {
  const shared = places(8);
  const heap = new Heap(shared);
  for (let n = 0; n < 8; n++) heap.add(n, -n);
  shared.grow(4096);
  for (let n = 8; n < 4096; n++) heap.add(n, -n);
  expect([heap.size, heap.first]).toEqual([4096, 4095]);
  for (let n = 4095; n > 0; n--) heap.delete(n);
  expect([heap.size, heap.first, shared.at[0]]).toEqual([1, 0, -0]);
});

test('empty, never and no time at all', () => {
  const heap = new Heap(places());
  expect(heap.first).toBeUndefined();
  expect(() => heap.add(0, Number.NaN)).toThrow(RangeError);
  expect(heap.size).toBe(0);
  heap.add(1, Number.POSITIVE_INFINITY);
  heap.add(2, 1);
  expect(heap.first).toBe(2);
});
