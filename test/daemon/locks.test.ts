import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Locks } from '../../src/daemon/locks.js';

const waiting = Symbol('it waits');
/** What a promise has come to by now. */
const now = async <T>(promise: Promise<T>): Promise<T | typeof waiting> => {
  await turn();
  return Promise.race([promise, Promise.resolve(waiting)]);
};

describe('a credential in hand', () => {
  test('is nobody else’s until it is let go of, in the order in which they came', async () => {
    const locks = new Locks(() => {});
    const order: number[] = [];
    const first = await locks.take('a');
    const others = [1, 2, 3].map((n) =>
      locks.take('a').then(async (release) => {
        order.push(n);
        await turn();
        order.push(n);
        release();
      }),
    );
    await turn();
    expect(order).toEqual([]);
    first();
    await Promise.all(others);
    expect(order).toEqual([1, 1, 2, 2, 3, 3]);
  });

  test('keeps nobody from another one', async () => {
    const locks = new Locks(() => {});
    await locks.take('a');
    expect(await now(locks.take('b'))).toBeTypeOf('function');
  });

  test('it is told once, when nobody has it in hand any more', async () => {
    const freed: string[] = [];
    const locks: Locks = new Locks((key) => {
      expect(locks.has(key)).toBe(false);
      freed.push(key);
    });
    expect(locks.has('a')).toBe(false);
    const first = await locks.take('a');
    const second = locks.take('a');
    expect(locks.has('a')).toBe(true);
    first();
    expect([freed, locks.has('a')]).toEqual([[], true]);
    (await second)();
    expect([freed, locks.has('a')]).toEqual([['a'], false]);
  });

  test('to let go of it twice lets go of nobody else’s', async () => {
    const locks = new Locks(() => {});
    const first = await locks.take('a');
    first();
    const second = await locks.take('a');
    first();
    expect(locks.has('a')).toBe(true);
    expect(await now(locks.take('a'))).toBe(waiting);
    second();
  });

  test('whoever is told that it is free may take it there and then', async () => {
    let again: Promise<() => void> | undefined;
    const locks: Locks = new Locks((key) => {
      again ??= locks.take(key);
    });
    (await locks.take('a'))();
    expect(await now(again as Promise<() => void>)).toBeTypeOf('function');
    expect(locks.has('a')).toBe(true);
  });
});

test('whoever comes when, everybody gets it once, and nobody together with another', async () => {
  const names = ['a', 'b', 'c'];
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(fc.constantFrom(...names), fc.nat(3)), { maxLength: 12 }), async (comers) => {
      const freed: string[] = [];
      const locks = new Locks((key) => void freed.push(key));
      const inHand = new Set<string>();
      const order: number[] = [];
      await Promise.all(
        comers.map(async ([key, turns], n) => {
          const release = await locks.take(key);
          expect(inHand.has(key)).toBe(false);
          inHand.add(key);
          order.push(n);
          for (let i = 0; i < turns; i++) await turn();
          inHand.delete(key);
          release();
        }),
      );
      for (const name of names) {
        const mine = order.filter((n) => comers[n]?.[0] === name);
        expect(mine).toEqual([...mine].sort((x, y) => x - y));
        expect(freed.includes(name)).toBe(mine.length > 0);
        expect(locks.has(name)).toBe(false);
      }
      expect(order).toHaveLength(comers.length);
    }),
    { numRuns: 200 },
  );
});
