// East Asian wide and emoji blocks take two cells, marks and joiners none (UAX #11, to the precision that a name needs:
// whoever draws truncates by the terminal's own rules, so that a wrong guess costs a character and never a row).
const wide =
  /[\u1100-\u115F\u2E80-\u303E\u3041-\uA4CF\uA960-\uA97C\uAC00-\uD7A3\uF900-\uFAFF\uFE30-\uFE6F\uFF01-\uFF60\uFFE0-\uFFE6\u{1F300}-\u{1FAFF}\u{20000}-\u{3FFFD}]/u;
const empty = /\p{Mn}|\p{Me}/u;

const cell = (character: string): number => (empty.test(character) ? 0 : wide.test(character) ? 2 : 1);

/** Terminal cells that a text without escape sequences takes. */
export function cells(text: string): number {
  let sum = 0;
  for (const character of text) sum += cell(character);
  return sum;
}

/** Lines of at most `width` cells, broken at spaces where there are any; later lines start with `indent` spaces. */
export function fold(text: string, width: number, indent = 0): readonly string[] {
  if (width < 1) return [];
  const hang = indent < width ? ' '.repeat(indent) : '';
  const lines: string[] = [];
  let line = '';
  let filled = false;
  for (const word of text.split(' ')) {
    for (const piece of pieces(word, Math.max(2, width - hang.length))) {
      if (filled && cells(line) + 1 + cells(piece) > width) {
        lines.push(line);
        line = hang + piece;
      } else {
        line = filled ? `${line} ${piece}` : line + piece;
      }
      filled = true;
    }
  }
  lines.push(line);
  return lines;
}

/** A word cut into pieces that fit. */
function pieces(word: string, width: number): readonly string[] {
  const cut: string[] = [];
  let piece = '';
  for (const character of word) {
    if (cells(piece) + cell(character) > width) {
      cut.push(piece);
      piece = '';
    }
    piece += character;
  }
  cut.push(piece);
  return cut;
}
