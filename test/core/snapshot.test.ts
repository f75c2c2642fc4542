import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fileOf, parseSnapshot, type Snapshot } from '../../src/core/snapshot.js';
import { epochMs } from '../../src/core/time.js';

const snapshot: Snapshot = { v: 1, at: epochMs(1), pid: 2, credentials: [] };

test('reads back what was written', () => {
  expect(parseSnapshot(JSON.stringify(snapshot))).toEqual(snapshot);
  expect(fileOf(1000)).toBe('1000.json');
});

test.each([
  '',
  'null',
  '5',
  '"v"',
  '[]',
  '{}',
  '{"v":2,"credentials":[]}',
  '{"v":1}',
  '{"v":1,"credentials":{}}',
  '{"v":1,',
])('%o is none', (text) => {
  expect(parseSnapshot(text)).toBeUndefined();
});

test('whatever stands in the file, nothing is thrown', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      const read = parseSnapshot(text);
      if (read !== undefined) expect(read.v).toBe(1);
    }),
  );
});
