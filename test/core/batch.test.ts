import fc from 'fast-check';
import { expect, test } from 'vitest';
import { afterAnswer, firstBatch } from '../../src/core/batch.js';

test('always between 1 and 64, halved by each failure, one more for each round that went well', () => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { maxLength: 300 }), (answers) => {
      let batch = firstBatch;
      for (const well of answers) {
        const before = batch;
        batch = afterAnswer(batch, well);
        expect(batch.limit).toBeGreaterThanOrEqual(1);
        expect(batch.limit).toBeLessThanOrEqual(64);
        expect(batch.wins).toBeLessThan(batch.limit);
        if (well) expect(batch.limit - before.limit).toBeOneOf([0, 1]);
        else expect(batch).toEqual({ limit: Math.max(1, Math.floor(before.limit / 2)), wins: 0 });
      }
    }),
  );
});

test('a full round is as many good answers as the limit', () => {
  let batch = firstBatch;
  for (let i = 0; i < firstBatch.limit; i++) {
    expect(batch.limit).toBe(firstBatch.limit);
    batch = afterAnswer(batch, true);
  }
  expect(batch).toEqual({ limit: firstBatch.limit + 1, wins: 0 });
});

test('it recovers from the bottom and stops at the top', () => {
  let batch = firstBatch;
  for (let i = 0; i < 10; i++) batch = afterAnswer(batch, false);
  expect(batch.limit).toBe(1);
  for (let i = 0; i < 3000; i++) batch = afterAnswer(batch, true);
  expect(batch.limit).toBe(32);
});
