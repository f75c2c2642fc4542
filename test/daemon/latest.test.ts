import { expect, test } from 'vitest';
import { Latest } from '../../src/daemon/latest.js';

test('who came last is first, and who comes again is first again', () => {
  const latest = new Latest();
  for (const name of ['a', 'b', 'c', 'a']) latest.add(name);
  expect(latest.size).toBe(3);
  expect(latest.take(2)).toEqual(['a', 'c']);
  expect(latest.take(2)).toEqual(['b']);
  expect(latest.take(2)).toEqual([]);
});

test('nobody is lost or had twice, however often they come again', () => {
  const latest = new Latest();
  for (let n = 0; n < 20_000; n++) latest.add(`u${n % 7}`);
  expect(latest.take(100)).toEqual(['u0', 'u6', 'u5', 'u4', 'u3', 'u2', 'u1']);
  expect(latest.size).toBe(0);
});
