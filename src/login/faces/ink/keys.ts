import type { Key } from 'ink';

const names = [
  ['upArrow', 'up'],
  ['downArrow', 'down'],
  ['leftArrow', 'left'],
  ['rightArrow', 'right'],
  ['pageUp', 'pageup'],
  ['pageDown', 'pagedown'],
  ['home', 'home'],
  ['end', 'end'],
  ['escape', 'escape'],
  ['return', 'enter'],
  // Terminals send for the backspace key what Ink calls delete.
  ['backspace', 'backspace'],
  ['delete', 'backspace'],
] as const;

const characters: Readonly<Record<string, string>> = {
  '\r': 'enter',
  '\n': 'enter',
  '\b': 'backspace',
  '\u007F': 'backspace',
};

/**
 * The keys that Ink (6.8) tells of by one call: a character as it is, `ctrl-` and a letter, or a name. What was read in one
 * piece, because it was typed while the program had something else to do, comes in one piece, a Ctrl-C in the middle of it.
 */
export function keysIn(input: string, key: Key): readonly string[] {
  const named = names.find(([name]) => key[name]);
  if (named) return [named[1]];
  if (key.ctrl) return [`ctrl-${input}`];
  if (key.meta) return [];
  return [...input].map((character) => characters[character] ?? withCtrl(character));
}

/** Ctrl and a letter are the letter's number (ECMA-48 §5.1). */
function withCtrl(character: string): string {
  const code = character.charCodeAt(0);
  return code >= 1 && code <= 26 ? `ctrl-${String.fromCharCode(code + 96)}` : character;
}
