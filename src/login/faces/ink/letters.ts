import type { Tint } from '../tint.js';

/** Five rows a letter, of as many columns as it needs; drawn with half blocks they are three lines high. */
const font: Readonly<Record<string, string>> = {
  A: ' ## /#  #/####/#  #/#  #',
  B: '### /#  #/### /#  #/### ',
  C: ' ###/#   /#   /#   / ###',
  D: '### /#  #/#  #/#  #/### ',
  E: '####/#   /### /#   /####',
  F: '####/#   /### /#   /#   ',
  G: ' ###/#   /# ##/#  #/ ###',
  H: '#  #/#  #/####/#  #/#  #',
  I: '###/ # / # / # /###',
  J: '  ##/   #/   #/#  #/ ## ',
  K: '#  #/# # /##  /# # /#  #',
  L: '#   /#   /#   /#   /####',
  M: '#   #/## ##/# # #/#   #/#   #',
  N: '#   #/##  #/# # #/#  ##/#   #',
  O: ' ## /#  #/#  #/#  #/ ## ',
  P: '### /#  #/### /#   /#   ',
  Q: ' ##  /#  # /#  # /# ## / ## #',
  R: '### /#  #/### /# # /#  #',
  S: ' ###/#   / ## /   #/### ',
  T: '#####/  #  /  #  /  #  /  #  ',
  U: '#  #/#  #/#  #/#  #/ ## ',
  V: '#   #/#   #/#   #/ # # /  #  ',
  W: '#   #/#   #/# # #/# # #/ # # ',
  X: '#   #/ # # /  #  / # # /#   #',
  Y: '#   #/ # # /  #  /  #  /  #  ',
  Z: '#####/   # /  #  / #   /#####',
  0: ' ### /#  ##/# # #/##  #/ ### ',
  1: ' # /## / # / # /###',
  2: '### /   #/ ## /#   /####',
  3: '### /   #/ ## /   #/### ',
  4: '#  #/#  #/####/   #/   #',
  5: '####/#   /### /   #/### ',
  6: ' ## /#   /### /#  #/ ## ',
  7: '####/   #/  # / #  / #  ',
  8: ' ## /#  #/ ## /#  #/ ## ',
  9: ' ## /#  #/ ###/   #/ ## ',
  '-': '   /   /###/   /   ',
};

/**
 * A code in letters three lines high; undefined when it has a character without a letter here (a small one, say: codes
 * may tell them apart) or is wider than `width`.
 */
export function bigLetters(code: string, width: number, look: Tint): readonly string[] | undefined {
  const glyphs = [...code].map((character) => font[character]?.split('/'));
  const rows = Array.from({ length: 6 }, (_, y) => glyphs.map((glyph) => glyph?.[y] ?? blank(glyph)).join('  '));
  const [top = ''] = rows;
  if (glyphs.includes(undefined) || top === '' || top.length > width) return undefined;
  return [0, 2, 4].map((y) => look.bold(halfBlocks(rows[y] ?? '', rows[y + 1] ?? '').trimEnd()));
}

const blank = (glyph: readonly string[] | undefined): string => ' '.repeat(glyph?.[0]?.length ?? 0);

const halfBlocks = (upper: string, lower: string): string =>
  [...upper].map((u, x) => (u === '#' ? (lower[x] === '#' ? '█' : '▀') : lower[x] === '#' ? '▄' : ' ')).join('');
