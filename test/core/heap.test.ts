import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Heap } from '../../src/core/heap.js';

type Act =
  | { readonly do: 'set'; readonly name: string; readonly at: number }
  | ({ readonly do: 'delete' | 'take' } & { readonly name: string });

const name = fc.constantFrom(...'abcdefghijklmnop');
const act: fc.Arbitrary<Act> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('set' as const), name, at: fc.integer({ min: -5, max: 20 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('delete' as const), name }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('take' as const), name }) },
);

/** The least time in the model, or undefined. */
const least = (model: ReadonlyMap<string, number>) => [...model.values()].sort((a, b) => a - b)[0];

test('whatever is done to it, the first is the earliest, and each name stands in it once', () => {
  fc.assert(
    fc.property(fc.array(act, { maxLength: 120 }), (acts) => {
      const heap = new Heap();
      const model = new Map<string, number>();
      for (const step of acts) {
        if (step.do === 'set') {
          heap.set(step.name, step.at);
          model.set(step.name, step.at);
        } else {
          const gone = step.do === 'take' ? heap.peek()?.name : step.name;
          if (gone !== undefined) expect(heap.delete(gone)).toBe(model.delete(gone));
        }
        expect(heap.size).toBe(model.size);
        expect(heap.peek()?.at).toBe(least(model));
        const first = heap.peek();
        if (first) expect(model.get(first.name)).toBe(first.at);
        for (const known of 'abcdefghijklmnop') expect(heap.at(known)).toBe(model.get(known));
      }
      const drained: number[] = [];
      for (let next = heap.peek(); next; next = heap.peek()) {
        drained.push(next.at);
        heap.delete(next.name);
      }
      expect(drained).toEqual([...model.values()].sort((a, b) => a - b));
    }),
  );
});

test('a name set again moves, both ways', () => {
  const heap = new Heap();
  for (const [who, at] of [
    ['a', 1],
    ['b', 2],
    ['c', 3],
  ] as const)
    heap.set(who, at);
  heap.set('a', 9);
  expect(heap.peek()).toEqual({ name: 'b', at: 2 });
  heap.set('c', 0);
  expect(heap.peek()).toEqual({ name: 'c', at: 0 });
  expect(heap.size).toBe(3);
});

test('empty, unknown, never and no time at all', () => {
  const heap = new Heap();
  expect(heap.peek()).toBeUndefined();
  expect(heap.delete('nobody')).toBe(false);
  expect(() => heap.set('a', Number.NaN)).toThrow(RangeError);
  expect(heap.size).toBe(0);
  heap.set('never', Number.POSITIVE_INFINITY);
  heap.set('soon', 1);
  expect(heap.peek()?.name).toBe('soon');
});
