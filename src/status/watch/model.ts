import { plain } from '../../core/text.js';
import { type Order, orders, type Wish } from './list.js';
import type { Row } from './row.js';

/** What a person has chosen to see. */
export interface Choice {
  readonly wish: Wish;
  /** A text to filter by is being typed. */
  readonly typing: boolean;
  /** What takes the list's place. */
  readonly page: 'list' | 'help' | 'details';
  /** Which row the keys are at, and which is the first on the screen. */
  readonly at: number;
  readonly top: number;
  /** The row that they are at: it is followed wherever it goes. Undefined: the first one, whichever that is. */
  readonly row: Row | undefined;
}

export const firstChoice: Choice = {
  wish: { order: 'trouble', trouble: false, text: '' },
  typing: false,
  page: 'list',
  at: 0,
  top: 0,
  row: undefined,
};

/** A text to filter by has no more characters. */
const longest = 60;

/** What one moves through: the rows, and how many of them are on the screen at once. */
export interface Extent {
  readonly rows: readonly Row[];
  readonly height: number;
}

/** A key by its name, else a character. Undefined: to leave. */
export function press(choice: Choice, key: string, extent: Extent): Choice | undefined {
  if (key === 'ctrl-c') return undefined;
  if (choice.typing) return typed(choice, key, extent);
  if (choice.page !== 'list' && ['escape', 'enter', '?', 'q', 'left'].includes(key)) return { ...choice, page: 'list' };
  const { wish, at } = choice;
  const page = Math.max(1, extent.height - 1);
  switch (key) {
    case 'q':
      return undefined;
    case '?':
    case 'h':
      return { ...choice, page: 'help' };
    case 'up':
    case 'k':
      return moved(choice, at - 1, extent);
    case 'down':
    case 'j':
      return moved(choice, at + 1, extent);
    case 'pageup':
    case 'b':
      return moved(choice, at - page, extent);
    case 'pagedown':
    case ' ':
      return moved(choice, at + page, extent);
    case 'home':
    case 'g':
      return moved(choice, 0, extent);
    case 'end':
    case 'G':
      return moved(choice, extent.rows.length - 1, extent);
    case 'enter':
    case 'right':
      return extent.rows.length === 0 ? choice : { ...choice, page: 'details' };
    case '/':
      return { ...choice, page: 'list', typing: true };
    case 't':
      return wishing(choice, { trouble: !wish.trouble });
    case 's':
      return wishing(choice, { order: after(wish.order, 1) });
    case 'S':
      return wishing(choice, { order: after(wish.order, -1) });
    case 'escape':
      return wish.text === '' && !wish.trouble ? choice : wishing(choice, { text: '', trouble: false });
    default:
      return choice;
  }
}

function typed(choice: Choice, key: string, extent: Extent): Choice | undefined {
  const { text } = choice.wish;
  switch (key) {
    case 'enter':
      return { ...choice, typing: false };
    case 'escape':
      return { ...wishing(choice, { text: '' }), typing: false };
    case 'backspace':
      return text === '' ? { ...choice, typing: false } : wishing(choice, { text: [...text].slice(0, -1).join('') });
    case 'ctrl-u':
      return wishing(choice, { text: '' });
    case 'up':
    case 'down':
    case 'pageup':
    case 'pagedown':
      return press({ ...choice, typing: false }, key, extent);
    default:
      return isText(key) && text.length < longest ? wishing(choice, { text: text + key }) : choice;
  }
}

/** One character that does nothing to a terminal: a pasted text has what it likes. */
const isText = (key: string): boolean => key === ' ' || ([...key].length === 1 && plain(key) === key);

/** Another list begins at its first row. */
const wishing = (choice: Choice, more: Partial<Wish>): Choice => ({
  ...choice,
  page: 'list',
  wish: { ...choice.wish, ...more },
  at: 0,
  top: 0,
  row: undefined,
});

const after = (order: Order, step: number): Order =>
  orders[(orders.indexOf(order) + step + orders.length) % orders.length] as Order;

function moved(choice: Choice, to: number, { rows, height }: Extent): Choice {
  const at = Math.max(0, Math.min(rows.length - 1, to));
  return { ...choice, at, top: inSight(choice.top, at, rows.length, height), row: at === 0 ? undefined : rows[at] };
}

/** The list is another one, or the screen is: the same row stays under the keys, and where it was on the screen. */
export function follow(choice: Choice, { rows, height }: Extent): Choice {
  const found = choice.row === undefined ? 0 : rows.indexOf(choice.row);
  const at = Math.max(0, found < 0 ? Math.min(choice.at, rows.length - 1) : found);
  const top = inSight(choice.row === undefined ? 0 : choice.top + at - choice.at, at, rows.length, height);
  const row = at === 0 ? undefined : rows[at];
  return at === choice.at && top === choice.top && row === choice.row ? choice : { ...choice, at, top, row };
}

/** The first row on the screen, so that the row `at` is in sight and no line is left empty for nothing. */
const inSight = (top: number, at: number, count: number, height: number): number =>
  Math.max(0, Math.min(top, at, count - height), at - height + 1);
