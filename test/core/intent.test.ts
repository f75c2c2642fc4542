import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatIntent, parseIntent, slotBytes } from '../../src/core/intent.js';
import { epochMs } from '../../src/core/time.js';

const intent = { key: 'alice/dune_production', stamp: '12.1700000000123456789.64', since: epochMs(1_700_000_000_000) };
const line = formatIntent(intent) as string;

describe('the record of a refresh token that is out', () => {
  test('is read as it was written, and fills its slot', () => {
    expect(line).toHaveLength(slotBytes);
    expect(parseIntent(line)).toEqual(intent);
    const longest = `${'u'.repeat(128)}/${'s'.repeat(128)}_${'h'.repeat(128)}`;
    expect(parseIntent(formatIntent({ ...intent, key: longest }) as string)).toMatchObject({ key: longest });
  });

  test.each(['../x/y', 'alice', 'alice/', 'a b/c', 'alice/x y', 'alice/x\n', `${'u'.repeat(129)}/s`, 'alice/a/b'])(
    'is none of %j',
    (key) => expect(formatIntent({ ...intent, key })).toBeUndefined(),
  );

  test('cut short, shifted or with other bytes in it is damaged; whatever it is, nothing is thrown', () => {
    expect(parseIntent('\0'.repeat(slotBytes))).toBe('empty');
    expect(parseIntent(`\0${line.slice(1)}`)).toBe('empty');
    for (const bad of [line.slice(0, -1), ` ${line.slice(1)}`, line.replace('1 ', '2 '), line.replace('\n', 'x')])
      expect(parseIntent(bad)).toBe('damaged');
    fc.assert(
      fc.property(fc.nat(slotBytes - 1), fc.nat(255), (at, byte) => {
        const read = parseIntent(line.slice(0, at) + String.fromCharCode(byte) + line.slice(at + 1));
        if (typeof read === 'object') expect(read.key).toMatch(/^[A-Za-z0-9+=_.-]+\/[A-Za-z0-9+=_.-]+$/);
      }),
    );
  });
});
