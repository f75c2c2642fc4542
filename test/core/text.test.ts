import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { harmlessJson, plain } from '../../src/core/text.js';
import { hostileText } from '../helpers/faults.js';

const unit = fc.oneof(
  { weight: 3, arbitrary: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 1 }) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 0x10ffff }).map((point) => String.fromCodePoint(point)) },
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      ...[
        '\u001b',
        '\u001b[',
        '\u001b]',
        '\u009b',
        '\u0007',
        '\u0000',
        '\r\n',
        '\t',
        '\u007f',
        '\u202a',
        '\u202e',
        '\u2066',
      ],
      ...[
        '\u200b',
        '\u200d',
        '\u200e',
        '\u2028',
        '\u2029',
        '\u061c',
        '\ufeff',
        '\u00ad',
        '\ud83d',
        '\udc00',
        '\u{e0041}',
        '[2J',
        ';',
        'm',
      ],
    ),
  },
);
const hostile = fc.array(unit, { maxLength: 60 }).map((parts) => parts.join(''));

/** By category, and not by the list in the code: what a terminal may act on, or what reorders or hides other text. */
const harmful =
  /\p{Cc}|\p{Cs}|\p{Zl}|\p{Zp}|\p{Bidi_Control}|[\u200b-\u200f\u2060-\u206f\ufeff\u00ad\u{e0000}-\u{e0fff}]/u;

describe('a stranger’s text', () => {
  test('holds nothing that a terminal acts on, whatever it was', () => {
    fc.assert(
      fc.property(hostile, fc.integer({ min: 1, max: 40 }), (text, longest) => {
        const shown = plain(text, longest);
        expect(shown).not.toMatch(harmful);
        expect(shown.length).toBeLessThanOrEqual(longest);
        expect(plain(shown, longest)).toBe(shown);
      }),
      { numRuns: 3000 },
    );
  });

  test('is left as it is where it is harmless', () => {
    for (const text of ['Müller, Jörg', '東京 – OK', 'שלום', 'a (b) [c] {d}', '😀 x']) expect(plain(text)).toBe(text);
  });

  test('of several lines becomes one', () => {
    expect(plain(' a\r\n\tb\nc ')).toBe('a b c');
  });

  test('leaves nothing of the escape sequences that the faulty issuer sends', () => {
    expect(plain(hostileText)).toBe('EDOC31mABCD');
    expect(plain('\u001b[31mred\u001b[0m \u001b]8;;http://evil\u0007link\u001b]8;;\u0007 \u001bMup')).toBe(
      'red link up',
    );
  });

  test('is cut between characters, never within one', () => {
    expect(plain(`${'a'.repeat(8)}😀😀`, 10)).toBe(`${'a'.repeat(8)}…`);
    expect(plain('a'.repeat(11), 10)).toBe(`${'a'.repeat(9)}…`);
    expect(plain('a'.repeat(10), 10)).toBe('a'.repeat(10));
  });

  test('of ten megabytes costs nothing', () => {
    expect(plain('\u001b]'.repeat(5_000_000)).length).toBeLessThanOrEqual(200);
  });

  test.each([undefined, null, 5, {}, ['a'], true])('that is no text (%o) is nothing', (value) => {
    expect(plain(value)).toBe('');
  });
});

test('JSON for a terminal has nothing in it that acts on one, and reads back as it was', () => {
  const odd = { a: '\u009B31m\u202E\u2028\u0007\u007F\u200B', b: ['Zoë', 1] };
  const text = harmlessJson(odd);
  expect(text).toMatch(/^[\u0020-\u007E\u00A0-\u1FFF]*$/);
  expect(JSON.parse(text)).toEqual(odd);
});
