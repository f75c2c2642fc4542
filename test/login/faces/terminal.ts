import { EventEmitter } from 'node:events';
import { cells } from '../../../src/login/faces/width.js';

export interface Cell {
  readonly text: string;
  /** A number of the 256 colours; undefined for the terminal's own. */
  readonly fg: number | undefined;
  readonly bg: number | undefined;
  readonly link: string | undefined;
}

const blank: Cell = { text: ' ', fg: undefined, bg: undefined, link: undefined };

/**
 * A terminal in memory: enough of one for what the faces write, and strict, so that a sequence it does not know fails the
 * test. Resizing reflows nothing; tearing is for tmux to try.
 */
export class FakeTerminal extends EventEmitter {
  readonly isTTY = true;
  columns: number;
  rows: number;
  cursorShown = true;
  scrollbackWiped = false;
  clipboard: string | undefined;
  /** The alternate screen; the other one stays as it is meanwhile. */
  alternate = false;
  /** All bytes written. */
  written = '';
  private grid: Cell[][] = [[]];
  private readonly scrollback: Cell[][] = [];
  private x = 0;
  private y = 0;
  private pen: Cell = blank;

  constructor(columns: number, rows: number) {
    super();
    this.columns = columns;
    this.rows = rows;
  }

  write(text: string): boolean {
    this.written += text;
    for (let rest = text; rest !== ''; rest = rest.slice(this.take(rest))) {}
    return true;
  }

  resize(columns: number, rows: number): void {
    this.columns = columns;
    this.rows = rows;
    while (this.grid.length > rows) this.scrollUp();
    this.y = Math.min(this.y, rows - 1);
    this.emit('resize');
  }

  screen(): readonly string[] {
    return this.grid.map(lineText);
  }

  text(): string {
    return this.screen().join('\n').trimEnd();
  }

  history(): string {
    return [...this.scrollback, ...this.grid].map(lineText).join('\n').trimEnd();
  }

  cellRows(): readonly (readonly Cell[])[] {
    return this.grid;
  }

  get cursorColumn(): number {
    return this.x;
  }

  /** Takes what stands at the start of `text`, and says how long it was. */
  private take(text: string): number {
    if (text.startsWith('\r')) {
      this.x = 0;
      return 1;
    }
    if (text.startsWith('\n')) {
      this.lineFeed();
      return 1;
    }
    if (text.startsWith('\u001B[')) return this.csi(text);
    if (text.startsWith('\u001B]')) return this.osc(text);
    const character = String.fromCodePoint(text.codePointAt(0) ?? 0);
    if (character < ' ' || (character >= '\u007F' && character < '\u00A0')) {
      throw new Error(`control character on the terminal: ${JSON.stringify(text.slice(0, 20))}`);
    }
    this.put(character);
    return character.length;
  }

  private put(character: string): void {
    const width = cells(character);
    if (width === 0) return;
    if (this.x + width > this.columns) {
      this.x = 0;
      this.lineFeed();
    }
    const row = this.row();
    while (row.length < this.x) row.push(blank);
    row[this.x] = { ...this.pen, text: character };
    if (width === 2) row[this.x + 1] = { ...this.pen, text: '' };
    this.x += width;
  }

  private lineFeed(): void {
    this.y += 1;
    if (this.y >= this.rows) {
      this.scrollUp();
      this.y = this.rows - 1;
    }
    this.row();
  }

  private scrollUp(): void {
    const gone = this.grid.shift();
    if (gone) this.scrollback.push(gone);
  }

  private row(): Cell[] {
    while (this.grid.length <= this.y) this.grid.push([]);
    const row = this.grid[this.y];
    if (!row) throw new Error('no such row');
    return row;
  }

  private csi(text: string): number {
    const end = [...text].findIndex((character, i) => i >= 2 && character >= '@' && character <= '~');
    const parameters = text.slice(2, end);
    const final = text[end];
    const first = Number(parameters || '0');
    if (final === 'm') this.sgr(parameters.split(';').map(Number));
    else if (final === 'A') this.y = Math.max(0, this.y - (first || 1));
    else if (final === 'H' && parameters === '') this.x = this.y = 0;
    else if (final === 'J' && first === 2) this.grid = [[]];
    else if (parameters === '?1049') this.alternate = final === 'h';
    else if (final === 'K' && first === 2) this.grid[this.y] = [];
    else if (final === 'J' && first === 0) {
      this.row().length = Math.min(this.row().length, this.x);
      this.grid.length = this.y + 1;
    } else if (final === 'J' && first === 3) this.scrollbackWiped = true;
    else if (parameters === '?25') this.cursorShown = final === 'h';
    else if (parameters !== '?2026') throw new Error(`unknown sequence ${JSON.stringify(text.slice(0, end + 1))}`);
    return end + 1;
  }

  private sgr(codes: readonly number[]): void {
    const [first = 0, mode, colour] = codes;
    if (first === 38 && mode === 5) this.pen = { ...this.pen, fg: colour };
    else if (first === 48 && mode === 5) this.pen = { ...this.pen, bg: colour };
    else if (first === 39) this.pen = { ...this.pen, fg: undefined };
    else if (first === 49) this.pen = { ...this.pen, bg: undefined };
    else if (first >= 30 && first <= 37) this.pen = { ...this.pen, fg: first - 30 };
    else if (![1, 2, 4, 22, 24].includes(first)) throw new Error(`unknown look ${codes.join(';')}`);
  }

  private osc(text: string): number {
    const end = text.indexOf('\u0007');
    const body = text.slice(2, end);
    if (body.startsWith('8;;')) this.pen = { ...this.pen, link: body.slice(3) || undefined };
    else if (body.startsWith('52;c;')) this.clipboard = Buffer.from(body.slice(5), 'base64').toString();
    else throw new Error(`unknown OSC ${JSON.stringify(body)}`);
    return end + 1;
  }
}

const lineText = (row: readonly Cell[]): string =>
  Array.from(row, (cell) => cell?.text ?? ' ')
    .join('')
    .trimEnd();

/** A keyboard. */
export class FakeStdin extends EventEmitter {
  isTTY: boolean;
  raw = false;
  private waiting: string | null = null;

  constructor(isTTY = true) {
    super();
    this.isTTY = isTTY;
  }
  type(keys: string): void {
    this.waiting = keys;
    this.emit('readable');
  }
  read(): string | null {
    const keys = this.waiting;
    this.waiting = null;
    return keys;
  }
  setRawMode(on: boolean): void {
    this.raw = on;
  }
  setEncoding(): void {}
  ref(): void {}
  unref(): void {}
}
