import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { afterAnswer, type Batch, firstBatch, placesFor, placesWithin } from '../../src/core/batch.js';

/** After so many good answers. */
function grown(good: number, batch: Batch): Batch {
  for (let n = 0; n < good; n++) batch = afterAnswer(batch, true);
  return batch;
}

describe('how many at once', () => {
  test('is always between 1 and 64, is halved by each failure, and grows by one at a time', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { maxLength: 300 }), (answers) => {
        let batch = firstBatch;
        for (const well of answers) {
          const before = batch;
          batch = afterAnswer(batch, well);
          expect(batch.limit).toBeGreaterThanOrEqual(1);
          expect(batch.limit).toBeLessThanOrEqual(64);
          if (well) expect(batch.limit - before.limit).toBeOneOf([0, 1]);
          else expect(batch).toEqual({ limit: Math.max(1, Math.floor(before.limit / 2)), wins: 0, careful: true });
        }
      }),
    );
  });

  test('doubles with each full round until the first failure', () => {
    expect(grown(8, firstBatch).limit).toBe(16);
    expect(grown(24, firstBatch).limit).toBe(32);
    expect(grown(56, firstBatch).limit).toBe(64);
    expect(grown(57, firstBatch).limit).toBe(64);
  });

  test('is one more with each full round after a failure', () => {
    const half = afterAnswer(firstBatch, false);
    expect(grown(3, half).limit).toBe(4);
    expect(grown(4, half).limit).toBe(5);
    expect(grown(8, half).limit).toBe(5);
    expect(grown(9, half).limit).toBe(6);
  });

  test('recovers from the bottom, and is as free as before when it has come to the top', () => {
    let batch = firstBatch;
    for (let i = 0; i < 10; i++) batch = afterAnswer(batch, false);
    expect(batch.limit).toBe(1);
    const rounds = Array.from({ length: 63 }, (_, n) => n + 1).reduce((sum, limit) => sum + limit, 0);
    expect(grown(rounds - 1, batch).limit).toBe(63);
    expect(grown(rounds + 1, batch)).toEqual({ limit: 64, wins: 0, careful: false });
  });
});

describe('how many of these are used', () => {
  test('a few while all are on time, and as many as it takes for all to be asked for within a second', () => {
    expect(placesFor(0, 50, 0)).toBe(9);
    expect(placesFor(100, 50, 0)).toBe(9);
    expect(placesFor(400, 50, 0)).toBe(20);
    expect(placesFor(100_000, 50, 0)).toBe(64);
    expect(placesFor(1, 50, -5000)).toBe(9);
  });

  test('fewer where few descriptors may be open', () => {
    expect([undefined, 1024, 256, 64, 3].map(placesWithin)).toEqual([64, 64, 36, 4, 1]);
  });

  test('all when someone is late by a second, whatever else is said', () => {
    expect(placesFor(1, 0, 250)).toBe(9);
    expect(placesFor(1, 0, 625)).toBe(36);
    expect(placesFor(1, 0, 1000)).toBe(64);
    expect(placesFor(1, 0, 1e9)).toBe(64);
  });
});
