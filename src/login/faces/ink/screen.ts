import { EventEmitter } from 'node:events';
import { cells } from '../width.js';

/** What is needed of the terminal's output stream; `process.stdout` fits. */
export interface TerminalOut {
  readonly columns?: number | undefined;
  readonly rows?: number | undefined;
  write(text: string): unknown;
  on(event: 'resize', listener: () => void): unknown;
  off(event: 'resize', listener: () => void): unknown;
}

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

/** A terminal that says nothing, or 0 as some do before their first resize, is taken for the VT100's size. */
export const sizeOf = (out: TerminalOut): Size => ({ columns: out.columns || 80, rows: out.rows || 24 });

export interface Screen {
  /** Replaces the last frame, writing only the lines that differ. */
  draw(frame: string): void;
  /** Leaves the last frame where it is; the next one is drawn below it. */
  commit(): void;
  /** Writes lines above the frame that stay there, however they wrap. Draw again afterwards. */
  above(lines: string): void;
  /** To be called first after the size has changed. True when what was there had to go, so that `above` is lost too. */
  resized(): boolean;
  /** Sequences that draw nothing. */
  send(sequence: string): void;
  /** The cursor is back, below the last frame. Nothing is written from then on. */
  close(): void;
}

const esc = (rest: string): string => `\u001B[${rest}`;
const hideCursor = esc('?25l');
const showCursor = esc('?25h');
/** Synchronised output (DEC mode 2026): terminals without it ignore it. */
const inOneGo = (text: string): string => `${esc('?2026h')}${text}${esc('?2026l')}`;

/**
 * Draws Ink's frames on a terminal in place of Ink's own log-update, which (6.8) wipes the scrollback with ED 3 as soon as
 * the last frame is taller than the terminal is *now*, so at every shrinking; rewrites 3 KB of QR code for a spinner's
 * turn; shows nothing at all until the end where CI is set; and leaves torn frames behind when the terminal reflows.
 *
 * The cursor always rests in column one below the frame. Frames must be lower than the terminal, their lines no wider.
 * `linear` is for screen readers: nothing is taken back, only lines that were not there are added.
 */
export function openScreen(out: TerminalOut, { linear = false } = {}): Screen {
  let lines: readonly string[] = [];
  let widest = 0;
  /** All that is on the screen was drawn here since it was last cleared. */
  let ours = false;
  let size = sizeOf(out);
  let hidden = false;
  let closed = false;

  const write = (text: string): void => {
    if (!closed && text !== '') out.write(text);
  };
  const toTop = (): string => (lines.length > 0 ? `${esc(`${lines.length}A`)}\r` : '\r');

  return {
    draw(frame) {
      const next = frame === '' ? [] : frame.split('\n');
      if (linear) {
        const known = lines.every((line, i) => line === next[i]) ? lines.length : 0;
        write(
          next
            .slice(known)
            .map((line) => `${line}\r\n`)
            .join(''),
        );
        lines = next;
        return;
      }
      const changes = difference(lines, next);
      if (changes !== undefined) write(inOneGo(`${hidden ? '' : hideCursor}${toTop()}${changes}`));
      hidden = true;
      lines = next;
      widest = Math.max(0, ...next.map((line) => cells(bare(line))));
    },
    commit() {
      lines = [];
      widest = 0;
      ours = false;
    },
    above(text) {
      write(inOneGo(`${toTop()}${esc('J')}${text}\r\n`));
      lines = [];
    },
    resized() {
      const before = size;
      size = sizeOf(out);
      // Terminals that grow may fetch lines back from the scrollback.
      if (size.rows > before.rows) ours = false;
      if (linear || (widest <= size.columns && lines.length < size.rows)) return false;
      // The frame is torn: reflowed, cut off or scrolled out, each terminal in its own way. What is above the cursor is
      // pushed up into the scrollback, where nothing is lost, and the frame starts anew at the top.
      write(`${ours ? '' : '\r\n'.repeat(size.rows - 1)}${esc('H')}${esc('J')}`);
      lines = [];
      widest = 0;
      ours = true;
      return true;
    },
    send: write,
    close() {
      if (hidden) write(showCursor);
      closed = true;
    },
  };
}

/** From the first row of `old` to below `next`; undefined when they are the same. Lines end in CR LF: raw mode. */
function difference(old: readonly string[], next: readonly string[]): string | undefined {
  if (old.length === next.length && old.every((line, i) => line === next[i])) return undefined;
  // EL before the text: after a line as wide as the terminal the cursor is still on its last cell.
  const rows = next.map((line, i) => (line === old[i] ? '\r\n' : `${esc('2K')}${line}\r\n`));
  return rows.join('') + (old.length > next.length ? esc('J') : '');
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the sequences that our own frames hold.
const sequences = /\u001B(?:\[[\d;]*m|\]8;[^\u0007]*\u0007)/g;

/** A line without its looks and links. */
export const bare = (line: string): string => line.replace(sequences, '');

/**
 * What Ink takes for stdout. In its debug mode Ink writes one whole frame a `write` and nothing else, so Ink lays out and
 * a {@link Screen} draws. Without `isTTY` Ink leaves the cursor and synchronised output alone.
 */
export class Canvas extends EventEmitter {
  private readonly out: TerminalOut;
  private readonly screen: Screen;
  /** Set at the end: Ink writes a last blank line where CI is set. */
  finished = false;

  constructor(out: TerminalOut, screen: Screen) {
    super();
    this.out = out;
    this.screen = screen;
  }
  get columns(): number {
    return sizeOf(this.out).columns;
  }
  get rows(): number {
    return sizeOf(this.out).rows;
  }
  write(frame: string): boolean {
    if (!this.finished) this.screen.draw(frame);
    return true;
  }
}
