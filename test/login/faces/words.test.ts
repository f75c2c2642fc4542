import { describe, expect, test } from 'vitest';
import type { EpochMs } from '../../../src/core/time.js';
import { copySequence, href, hyperlink, shownLink } from '../../../src/login/faces/links.js';
import { cells, fold } from '../../../src/login/faces/width.js';
import { approved, countdown, grants, outcome, particulars, validity, whom } from '../../../src/login/faces/words.js';
import { code, done, hostile, start } from './states.js';

describe('words', () => {
  test.each([
    [0.2, '1 s'],
    [59, '59 s'],
    [60, '1 min 0 s'],
    [252, '4 min 12 s'],
    [3599.5, '1 h 0 min'],
    [9000, '2 h 30 min'],
    [-4, '0 s'],
  ])('%d s are counted down as %s', (seconds, words) => {
    expect(countdown(seconds)).toBe(words);
  });

  test('a code that has run out is not valid for 0 s', () => {
    expect(validity(code.expires, start)).toBe('code valid for 4 min 12 s');
    expect(validity(start, start)).toBe('the code has run out');
  });

  test('what permits something is named before what identifies, each once', () => {
    const scopes = ['openid', 'storage.read:/a', 'read:/a', 'compute.create'];
    expect(grants({ ...code.ask, scopes })).toEqual(['read files below /a', 'create jobs', 'know who you are']);
  });

  test('several at once are named, a great many in part', () => {
    expect(particulars({ ...code.ask, also: [{ handle: 'write' }] })).toEqual(['and for handle write']);
    const also = [{ handle: 'write' }, { audience: 'https://se.example' }];
    expect(particulars({ ...code.ask, handle: 'read', also })).toEqual([
      'handle read',
      'and for handles write, no handle (for use at https://se.example)',
    ]);
    const many = Array.from({ length: 16 }, (_, i) => ({ handle: `h${i}` }));
    expect(particulars({ ...code.ask, also: many })).toEqual(['and for handles h0, h1, h2, h3, h4 and 11 more']);
    expect(particulars({ ...code.ask, also: [{ handle: hostile, audience: hostile }] }).join()).not.toMatch(/\p{Cc}/u);
    expect(outcome({ ...done, ask: { ...code.ask, also: many } }, start).facts).toContainEqual({
      label: 'And for',
      text: 'handles h0, h1, h2, h3, h4 and 11 more',
    });
  });

  test('what nobody had to approve is not said to be approved', () => {
    const ask = { ...code.ask, handle: 'write', from: '' };
    expect(approved({ at: 'waiting', ask, place: done.place, what: 'x' })).toBe('Made from your login to cilogon');
    const { who: _, ...rest } = done;
    expect(outcome({ ...rest, ask: { ...ask, from: 'read' } }, start).headline).toBe(
      'Made from your login to cilogon, handle read',
    );
  });

  test('whom it is for, as far as it is known', () => {
    expect(whom({ account: 'alice', host: 'ap' })).toBe('alice@ap');
    expect(whom({ host: 'ap' })).toBe('ap');
    expect(whom({})).toBeUndefined();
  });

  test('a refresh that is far off has its day, one that is due has none', () => {
    const refresh = (ms: number) =>
      outcome({ ...done, refresh: (start + ms) as EpochMs }, start).facts.find((f) => f.label === 'First refresh')
        ?.text;
    expect(refresh(3 * 86_400_000)).toMatch(/^in 3 days, at 2026-11-2\d \d\d:\d\d$/);
    expect(refresh(-5)).toBe('due now');
  });
});

describe('links', () => {
  test('are what they really are, in ASCII', () => {
    expect(href('https://cilogon.org/device')).toBe('https://cilogon.org/device');
    expect(href('https://bücher.example/ä?ö=\u0007')).toBe('https://xn--bcher-kva.example/%C3%A4?%C3%B6=');
    expect(href('http://evil.example/')).toBeUndefined();
    expect(href('javascript:alert(1)')).toBeUndefined();
    expect(shownLink('javascript:alert(1)\u0007')).toBe('javascript:alert(1)');
    expect(shownLink(hostile)).toBe('AB1mC D');
  });

  test('OSC 8 and OSC 52', () => {
    expect(hyperlink('text', 'https://x.example/')).toBe('\u001B]8;;https://x.example/\u0007text\u001B]8;;\u0007');
    expect(copySequence('ABC-DEF')).toBe(`\u001B]52;c;${btoa('ABC-DEF')}\u0007`);
  });
});

describe('lines', () => {
  test('break at spaces, and long words where they must', () => {
    expect(fold('one two three', 8)).toEqual(['one two', 'three']);
    expect(fold('one two three', 8, 2)).toEqual(['one two', '  three']);
    expect(fold('abcdefghij', 4)).toEqual(['abcd', 'efgh', 'ij']);
    expect(fold('', 4)).toEqual(['']);
    expect(fold('x', 0)).toEqual([]);
  });

  test('are measured in cells', () => {
    expect(cells('abc')).toBe(3);
    expect(cells('漢字')).toBe(4);
    expect(cells('e\u0301')).toBe(1);
    expect(fold('漢字漢字', 5)).toEqual(['漢字', '漢字']);
  });
});
