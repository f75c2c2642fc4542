import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readPattern } from '../../src/core/pattern.js';

function fitOf(source: string, text: string): Readonly<Record<string, string>> | undefined {
  const pattern = readPattern(source);
  if (typeof pattern === 'string') throw new Error(pattern);
  const found = pattern.fit(text);
  return found && Object.fromEntries(found);
}

/** The same from RegExp. */
function nativeFit(source: string, text: string): Readonly<Record<string, string>> | undefined {
  const found = new RegExp(`^(?:${source})$`, 'u').exec(text);
  if (found === null) return undefined;
  const named = Object.entries(found.groups ?? {});
  return Object.fromEntries([...found.entries(), ...named].filter(([, caught]) => caught !== undefined));
}

/** Patterns of all that is understood, over few letters, so that they often fit. */
const { pattern: patterns } = fc.letrec<{ pattern: string; part: string; atom: string }>((tie) => ({
  pattern: fc
    .array(
      fc.oneof({ weight: 8, arbitrary: fc.array(tie('part'), { minLength: 1, maxLength: 4 }) }, fc.constant([''])),
      { minLength: 1, maxLength: 3 },
    )
    .map((parts) => parts.map((part) => part.join('')).join('|')),
  part: fc
    .tuple(
      tie('atom'),
      fc.constantFrom(
        ...Array.from({ length: 8 }, () => ''),
        '',
        '*',
        '+',
        '?',
        '*?',
        '+?',
        '??',
        '{2}',
        '{0,2}',
        '{1,}',
        '{1,3}?',
        '{0}',
      ),
    )
    .filter(([atom, repeat]) => repeat === '' || !/^[\^$]$/.test(atom))
    .map((both) => both.join('')),
  atom: fc.oneof(
    { maxDepth: 4, depthIdentifier: 'nested' },
    fc.constantFrom(
      'a',
      'b',
      '.',
      '[ab]',
      '[^a]',
      '[]',
      '[^]',
      '\\w',
      '\\W',
      '\\d',
      '^',
      '$',
      '\\.',
      'é',
      '😀',
      '\\x61',
      '\\u0062',
      '\\p{L}',
      '[\\]b]',
    ),
    tie('pattern').map((one) => `(${one})`),
    tie('pattern').map((one) => `(?:${one})`),
  ),
}));
const texts = fc.string({ unit: fc.constantFrom('a', 'b', '.', '1', 'é', '😀', '\n', ']'), maxLength: 8 });

describe('a pattern', () => {
  test('fits and catches what RegExp would', () => {
    let usable = 0;
    fc.assert(
      fc.property(patterns, fc.array(texts, { minLength: 8, maxLength: 8 }), (source, some) => {
        const pattern = readPattern(source);
        if (typeof pattern === 'string') return;
        usable++;
        for (const text of ['', ...some])
          expect([source, text, fitOf(source, text)]).toEqual([source, text, nativeFit(source, text)]);
      }),
      { numRuns: 3000 },
    );
    expect(usable).toBeGreaterThan(300);
  });

  test.each([
    ['([a-z]+)@uni\\.example', 'alice@uni.example', 'alice'],
    ['(?<user>[^@]+)@(?:.+\\.)?uni\\.example', 'bob@cs.uni.example', 'bob'],
    ['https?://cilogon\\.org/server[A-Z]/users/(\\d+)', 'http://cilogon.org/serverE/users/4711', '4711'],
    ['^([a-z][a-z0-9_-]{0,31})$', 'a-1', 'a-1'],
    ['/vo/(?:dev|ops)/(\\p{Ll}+)', '/vo/ops/é', 'é'],
  ])('that people write is understood: %s', (source, text, user) => {
    expect(fitOf(source, text)?.[1]).toBe(user);
    expect(fitOf(source, `${text}\n`)).toBeUndefined();
    expect(fitOf(source, `@${text}`)).toBeUndefined();
  });

  test.each([
    '(a+)+b',
    '(a|a)*b',
    '(a|aa)+b',
    '([a-z]+)*b',
    '(.*a){12}b',
    'a*a*a*a*a*a*a*a*a*a*b',
    '(a?){40}b',
    '(?:a?a?a?a?a?a?a?a?a?a?){4}a{30}b',
    '((a+)+)+b',
    '(.+)+@(.+)+\\.(.+)+',
    '^(([a-z])+.)+[A-Z]([a-z])+$',
    '(\\w+\\s?)+b',
    '(?:x|(?:a+)+)+b',
  ])('that takes RegExp for ever is done in no time, or not taken: %s', (source) => {
    const pattern = readPattern(source);
    if (typeof pattern === 'string') return expect(pattern).toMatch(/^repeats something that may be empty/);
    const started = process.cpuUsage();
    for (const text of ['a'.repeat(256), `${'a'.repeat(255)}!`, `${'a '.repeat(127)}!`]) pattern.fit(text);
    // A few milliseconds of our own, however busy the machine is; RegExp would not be done with the first in a year.
    expect(process.cpuUsage(started).user / 1000).toBeLessThan(1000);
  });

  test.each([
    ['(a)\\1', 'not understood here: \\1'],
    ['(?<n>a)\\k<n>', 'not understood here: \\k<n>'],
    ['(?=a)a', 'not understood here: (?=a)a'],
    ['(?<!a)b', 'not understood here: (?<!a)b'],
    ['\\bx', 'not understood here: \\bx'],
    ['\\uD83D\\uDE00', 'not understood here'],
    ['(a*)*', 'repeats something that may be empty'],
    ['(?:a|)+', 'repeats something that may be empty'],
    ['a{9999}', 'is too much'],
    ['((a{20}){20}){20}', 'is too much'],
    ['(a{1,300}){1,300}', 'is too much'],
    ['x'.repeat(513), 'has more than 512 characters'],
    ['(', 'is no regular expression: Unterminated group'],
    ['a)|(?:b', "is no regular expression: Unmatched ')'"],
    ['\\', 'is no regular expression'],
    ['[a', 'is no regular expression'],
    ['a{2', 'is no regular expression'],
    ['(?i)a', 'is no regular expression'],
  ])('is refused: %s', (source, why) => {
    expect(readPattern(source)).toContain(why);
  });

  test('of any text is read or refused, and fits or does not, and nothing is thrown', () => {
    const sources = fc.string({ unit: fc.constantFrom(...'ab()[]{}*+?|\\^$.,:<>=!-019dpkuxP'), maxLength: 24 });
    fc.assert(
      fc.property(fc.oneof(sources, fc.string({ unit: 'binary' })), texts, (source, text) => {
        const pattern = readPattern(source);
        if (typeof pattern === 'string') return;
        expect(fitOf(source, text)).toEqual(nativeFit(source, text));
      }),
      { numRuns: 5000 },
    );
  });

  test('fits nothing that has more than 256 characters', () => {
    expect(fitOf('a*', 'a'.repeat(256))).toBeDefined();
    expect(fitOf('a*', 'a'.repeat(257))).toBeUndefined();
    expect(fitOf('(?:😀)*', '😀'.repeat(256))).toBeDefined();
  });
});
