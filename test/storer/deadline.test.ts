import { expect, test } from 'vitest';
import { failureOf } from '../../src/core/failure.js';
import { seconds } from '../../src/core/time.js';
import { deadline } from '../../src/storer/deadline.js';

test('aborts with what may pass: not with what looks like a fault of ours', async () => {
  const stop = deadline(seconds(0.01));
  expect(stop.aborted).toBe(false);
  await new Promise((resolve) => stop.addEventListener('abort', resolve));
  expect(failureOf(stop.reason)).toMatchObject({ kind: 'transient', what: expect.stringContaining('within 0.01 s') });
});
