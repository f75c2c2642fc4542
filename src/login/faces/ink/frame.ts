import { type Qr, qr } from '../qr.js';
import { cells } from '../width.js';
import * as words from '../words.js';
import {
  blank,
  type Code,
  codeStep,
  grantStep,
  head,
  type Key,
  keyLine,
  linked,
  linkLine,
  linkOf,
  linkStep,
  otherParts,
  status,
  troubleLine,
  type View,
  worth,
} from './parts.js';
import type { Size } from './screen.js';
import { type Part, type Rows, squeeze } from './squeeze.js';

/** What is drawn, from the top: rows over the whole width, rows beside a QR code, and rows over the whole width. */
export interface Frame {
  readonly top: Rows;
  readonly left: Rows;
  /** Cells before the QR code, those of the gap with them. */
  readonly leftWidth: number;
  readonly code: Rows;
  readonly bottom: Rows;
}

/** The widest text that is pleasant to read; a frame does not spread over a whole wide screen. */
const longest = 76;
/** What the steps need beside a QR code. */
const leastBeside = 38;
const gap = 3;

/** A frame that is lower than the terminal, and no wider. */
export function frame(view: View, size: Size): Frame {
  const { state } = view;
  const width = Math.min(longest, size.columns);
  const height = Math.max(0, size.rows - 1);
  if (state.at !== 'code' || view.closing) return column(otherParts(view, width), height);
  const link = cells(linkOf(state, size.columns).text);
  const taken = link > size.columns ? Math.ceil(link / size.columns) : 0;
  // A link so long that it leaves no room scrolls away, as it would anyhow.
  const rest = height - taken >= 8 ? height - taken : height;
  const withCode = beside(view, state, size.columns, rest) ?? between(view, state, size.columns, rest);
  if (withCode && view.qrWanted) return withCode;
  return column(stacked(view, state, size.columns, withCode ? [['r', 'show QR']] : [], false).flat(), rest);
}

/** The link in its full length and with nothing around it, where it is too long for a row: it is the terminal that wraps it. */
export function linkAbove({ state, look }: View, { columns }: Size): string | undefined {
  if (state.at !== 'code' || cells(linkOf(state, columns).text) <= columns) return undefined;
  return linked(state, columns, look);
}

export const heightOf = ({ top, left, code, bottom }: Frame): number =>
  top.length + Math.max(left.length, code.length) + bottom.length;

const rowsOf = (parts: readonly Rows[]): Rows => parts.flat();

function column(parts: readonly Part[], height: number): Frame {
  return { top: rowsOf(squeeze(parts, height) ?? []), left: [], leftWidth: 0, code: [], bottom: [] };
}

/** The QR codes of a link that are at most so wide and high, those with the widest quiet zone first. */
function codes({ link, linkComplete }: Code, columns: number, rows: number): readonly Qr[] {
  const first = qr(linkComplete ?? link, { columns, rows });
  const second = first && qr(linkComplete ?? link, { columns, rows: first.height - 1 });
  return [first, second].filter((code) => code !== undefined);
}

/** Blank lines are worth more to the eye than a wider quiet zone, and both give way before the code does. */
const limits = [worth.blank, worth.blank + 1, worth.qr];

/** The steps on the left and the QR code on the right. */
function beside(view: View, state: Code, columns: number, height: number): Frame | undefined {
  if (columns < 80) return undefined;
  for (const limit of limits) {
    for (const code of codes(state, columns - leastBeside - gap - 1, height)) {
      const leftWidth = Math.min(longest, columns - code.width - gap - 1);
      const link = cells(linkOf(state, columns).text);
      const place = link + 4 <= leftWidth ? 'here' : link <= columns ? 'below' : 'above';
      const below = squeeze(
        [
          blank(),
          ...(place === 'below' ? [blank(), linkLine(view, state, columns)] : []),
          ...footer(view, state, columns, hideKey),
        ],
        height - code.height,
        limit,
      );
      const steps = [
        ...head(view, leftWidth),
        blank(3),
        ...linkStep(view, leftWidth, place, true),
        ...(place === 'here' ? [linkLine(view, state, leftWidth)] : []),
        blank(1),
        ...codeStep(view, state, leftWidth, columns),
        blank(2),
        ...grantStep(view, leftWidth),
      ];
      const left = below && squeeze(steps, height - rowsOf(below).length, worth.qr);
      if (below && left) {
        const [top = [], ...bottom] = below;
        return { top, left: rowsOf(left), leftWidth: leftWidth + gap, code: code.lines, bottom: rowsOf(bottom) };
      }
    }
  }
  return undefined;
}

/** The QR code below the first step, over the whole width. */
function between(view: View, state: Code, columns: number, height: number): Frame | undefined {
  const [before, after] = stacked(view, state, columns, hideKey, true);
  for (const limit of limits) {
    for (const code of codes(state, columns, height)) {
      const rows = squeeze([...before, ...after], height - code.height, limit);
      if (!rows) continue;
      const top = rowsOf(rows.slice(0, before.length));
      const bottom = rowsOf(rows.slice(before.length));
      return { top, left: [], leftWidth: code.width < columns ? 1 : 0, code: code.lines, bottom };
    }
  }
  return undefined;
}

/** Everything one below the other: what stands before a QR code, and after. */
function stacked(
  view: View,
  state: Code,
  columns: number,
  keys: readonly Key[],
  withQr: boolean,
): readonly [readonly Part[], readonly Part[]] {
  const width = Math.min(longest, columns);
  const fits = cells(linkOf(state, columns).text) <= columns;
  return [
    [
      blank(1),
      ...head(view, width),
      blank(4),
      ...linkStep(view, width, fits ? 'here' : 'above', withQr),
      ...(withQr ? [blank(0)] : []),
    ],
    [
      ...(withQr ? [blank(0)] : []),
      ...(fits ? [linkLine(view, state, columns)] : []),
      blank(2),
      ...codeStep(view, state, width, columns),
      blank(3),
      ...grantStep(view, width),
      ...footer(view, state, width, keys),
    ],
  ];
}

const hideKey: readonly Key[] = [['r', 'hide QR']];

function footer(view: View, state: Code, width: number, more: readonly Key[]): readonly Part[] {
  const keys: readonly Key[] = [
    ...(view.canOpen ? ([['o', 'open in browser']] as const) : []),
    ['c', 'copy code'],
    ...more,
    ['q', 'quit'],
  ];
  return [
    blank(5),
    troubleLine(view, state, width),
    status(view, words.capital(words.expectation(state)), width, words.validity(state.expires, view.now)),
    keyLine(view, keys, width),
  ];
}
