import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fileOf, lineOf, parseEveryone, parseSnapshot, type Snapshot, userOfLine } from '../../src/core/snapshot.js';
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

describe('everybody’s', () => {
  const told = (user: string, more = {}) => ({ user, service: 's', state: 'fresh', ...more });
  const line = (user: string, ...credentials: object[]) => lineOf(user, JSON.stringify(credentials));
  const head = (more = {}) => `${JSON.stringify({ v: 1, at: 1, pid: 2, ...more })}\n`;

  test('what a later line says takes the place of what an earlier one said', () => {
    const text =
      head() +
      line('alice', told('alice'), told('alice', { handle: 'h' })) +
      line('bob', told('bob')) +
      line('alice', told('alice', { state: 'retrying' })) +
      line('bob') +
      head({ swept: 9 });
    expect(parseEveryone(text)).toEqual({
      v: 1,
      at: 1,
      pid: 2,
      swept: 9,
      credentials: [told('alice', { state: 'retrying' })],
    });
  });

  test('a line that is not whole, or nothing we know, says nothing', () => {
    const whole = head() + line('alice', told('alice'));
    for (let cut = 1; cut < 20; cut++)
      expect(parseEveryone(whole + line('alice').slice(0, -cut - 1))?.credentials).toHaveLength(1);
    for (const odd of [
      '',
      'null',
      '7',
      '"x"',
      '[]',
      '{}',
      '{"v":2}',
      '{"user":1,"credentials":[]}',
      '{"user":"alice"}',
    ])
      expect(parseEveryone(`${whole}${odd}\n`)?.credentials).toHaveLength(1);
    expect(parseEveryone(line('alice', told('alice')))).toBeUndefined();
  });

  test('as it was written at first', () => {
    const old = JSON.stringify({
      v: 1,
      at: 1,
      pid: 2,
      credentials: [told('alice'), told('bob'), told('alice', { handle: 'h' })],
    });
    expect(parseEveryone(old)?.credentials).toHaveLength(3);
  });

  test('whose a line is, without reading it', () => {
    expect(userOfLine(line('alice', told('bob')))).toBe('alice');
    for (const other of [head(), '', '{"user":"a\\"b","credentials":[]}']) expect(userOfLine(other)).toBeUndefined();
  });
});
