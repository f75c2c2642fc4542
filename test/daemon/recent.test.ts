import { expect, test } from 'vitest';
import { Once } from '../../src/daemon/once.js';
import { Recent } from '../../src/daemon/recent.js';

test('the last are remembered, and no more', () => {
  const recent = new Recent(3);
  for (const name of ['a', 'b', 'c', 'a', 'd']) recent.add(name);
  expect(['a', 'b', 'c', 'd'].filter((name) => recent.has(name))).toEqual(['a', 'c', 'd']);
  recent.delete('c');
  recent.add('e');
  expect(['a', 'c', 'd', 'e'].filter((name) => recent.has(name))).toEqual(['a', 'd', 'e']);
});

test('what is met again and again is said once, also among many', () => {
  const lines: string[] = [];
  const once = new Once((text) => void lines.push(text));
  for (const text of ['x', 'y', 'x', 'y', 'x']) once.say(text);
  expect(lines).toEqual(['x', 'y']);
  for (let n = 0; n < 20_000; n++) {
    once.say(`${n}`);
    once.say('x');
  }
  expect(lines.filter((text) => text === 'x')).toHaveLength(1);
  once.say('0');
  expect(lines.filter((text) => text === '0')).toHaveLength(2);
});
