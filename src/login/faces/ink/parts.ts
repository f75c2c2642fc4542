import { hasEnded, type LoginState } from '../../../core/login.js';
import { plain } from '../../../core/text.js';
import type { EpochMs } from '../../../core/time.js';
import { href, hyperlink, shownLink } from '../links.js';
import type { Tint } from '../tint.js';
import { cells, fold } from '../width.js';
import * as words from '../words.js';
import { bigLetters } from './letters.js';
import type { Part, Rows } from './squeeze.js';

export type Code = Extract<LoginState, { at: 'code' }>;

/** All that a frame shows; the same view and size always give the same frame. */
export interface View {
  readonly state: LoginState;
  readonly setting: words.Setting;
  /** Which login of `setting.total` this is. */
  readonly number: number;
  readonly now: EpochMs;
  /** Turns of the spinner. */
  readonly tick: number;
  readonly look: Tint;
  readonly qrWanted: boolean;
  /** There is a keyboard. */
  readonly keys: boolean;
  readonly canOpen: boolean;
  /** Answers a key for a moment. */
  readonly notice: string | undefined;
  /** A new code is being offered. */
  readonly offering: boolean;
  /** Closed in the middle: only what is worth keeping is left. */
  readonly closing: boolean;
}

export type Key = readonly [key: string, does: string];

/**
 * What is lost with each thing that gives way (see squeeze.ts). A QR code stands between the two halves: nothing that
 * is worth more than it is given up to make room for it.
 */
export const worth = {
  blank: 0,
  bigCode: 10,
  grant: 12,
  particulars: 15,
  longTrouble: 30,
  whom: 40,
  qr: 50,
  issuer: 54,
  box: 55,
  grants: 56,
  step: 58,
  keys: 75,
  title: 80,
  trouble: 85,
  status: 90,
  link: 95,
  code: 100,
} as const;

const part = (...ways: readonly (readonly [rows: Rows, worth: number])[]): Part =>
  ways.map(([rows, lost]) => ({ rows, worth: lost }));
const optional = (rows: Rows, lost: number): Part => part([rows, lost], [[], Infinity]);

/** Rows that lose the last of them first. */
const shrinking = (rows: Rows, lost: number): Part =>
  part(...rows.map((_, i) => [rows.slice(0, rows.length - i), lost] as const), [[], Infinity]);

/** A blank line; of several the one with the smallest `order` goes first. */
export const blank = (order = 0): Part => optional([''], worth.blank + order / 10);

/** Texts begin behind a margin of one; what belongs to a step, behind its number. */
const margin = ' ';
const hang = '    ';

const folded = (text: string, width: number, look: (line: string) => string = (line) => line): Rows =>
  fold(text, Math.max(1, width - margin.length)).map((line) => margin + look(line));

export function head(view: View, width: number): readonly Part[] {
  const { look, setting, number, state } = view;
  const person = words.whom(setting);
  const count = (setting.total ?? 1) > 1 ? ` (${number} of ${setting.total})` : '';
  const at = words.issuer(state.ask);
  const details = words.particulars(state.ask).join(', ');
  const both = person === undefined ? at : `${at} for ${person}`;
  const subtitle: readonly Part[] =
    cells(both) < width
      ? [optional(folded(both, width, look.dim), worth.whom)]
      : [
          optional(folded(at, width, look.dim), worth.issuer),
          optional(person === undefined ? [] : folded(`for ${person}`, width, look.dim), worth.whom),
        ];
  return [
    optional(folded(words.title(state.ask) + count, width, look.bold), worth.title),
    ...subtitle,
    ...(details === '' ? [] : [optional(folded(details, width, look.dim), worth.particulars)]),
  ];
}

const step = (number: number, text: string, width: number, look: Tint): Rows =>
  fold(text, Math.max(1, width - hang.length)).map(
    (line, i) => (i === 0 ? `${margin}${look.accent(look.bold(String(number)))}  ` : hang) + line,
  );

/** Where the link stands: under its step, below everything (a QR code leaves no room beside it), or above the frame. */
export type LinkPlace = 'here' | 'below' | 'above';

export function linkStep(view: View, width: number, place: LinkPlace, withQr: boolean): readonly Part[] {
  const where = place === 'here' ? 'this link' : `the link ${place}`;
  const text = withQr
    ? `Scan the QR code with your phone, or open ${where} in a browser${place === 'here' ? ':' : '.'}`
    : `Open ${where} in a browser on any device${place === 'here' ? ':' : '.'}`;
  return [optional(step(1, text, width, view.look), worth.step)];
}

/** The link on a line of its own and whole, so that the mouse can copy it; at the edge where it only fits there. */
export function linkLine(view: View, state: Code, columns: number): Part {
  const { text } = linkOf(state, columns);
  const indent = [hang, margin].find((blank) => blank.length + cells(text) <= columns) ?? '';
  return optional([indent + linked(state, columns, view.look)], worth.link);
}

/** The link as it is written down: with the code in it, unless only the one without fits into a row. */
export function linkOf(
  { link, linkComplete }: Code,
  columns: number,
): { readonly text: string; readonly complete: boolean } {
  const text = shownLink(linkComplete ?? link);
  const short = shownLink(link);
  if (linkComplete !== undefined && cells(text) > columns && cells(short) <= columns)
    return { text: short, complete: false };
  return { text, complete: linkComplete !== undefined };
}

/** Wherever the terminal knows OSC 8, it leads to the link with the code in it. */
export function linked(state: Code, columns: number, look: Tint): string {
  const { text } = linkOf(state, columns);
  const target = href(state.linkComplete ?? state.link);
  return target === undefined ? text : hyperlink(look.underline(text), target);
}

export function codeStep(view: View, state: Code, width: number, columns: number): readonly Part[] {
  const { look } = view;
  const code = plain(state.code, 64);
  const { complete } = linkOf(state, columns);
  const short = complete ? 'Check that you see this code there:' : `Enter this code there:`;
  // Spaced out it is easy to read and no good to copy, so that it stands in the text as well where it must be typed.
  const long = complete ? `Check that you see the code ${code} there:` : `Enter the code ${code} there:`;
  const big = bigLetters(code, width - hang.length, look)?.map((line) => hang + line);
  const box = boxed([...code].join(' '), width, look) ?? boxed(code, width, look);
  const bare = fold(code, Math.max(1, width - hang.length)).map((line) => hang + look.bold(line));
  const texts = step(2, big !== undefined || !complete ? long : short, width, look);
  return [
    optional(texts, worth.step),
    part(
      ...(big === undefined ? [] : [[['', ...big], worth.bigCode] as const]),
      ...(box === undefined ? [] : [[box, worth.box] as const]),
      [bare, worth.code],
      [[], Infinity],
    ),
  ];
}

function boxed(text: string, width: number, look: Tint): Rows | undefined {
  const inner = cells(text) + 4;
  if (hang.length + inner + 2 > width) return undefined;
  const edge = look.accent('│');
  return [
    hang + look.accent(`╭${'─'.repeat(inner)}╮`),
    `${hang}${edge}  ${look.bold(text)}  ${edge}`,
    hang + look.accent(`╰${'─'.repeat(inner)}╯`),
  ];
}

export function grantStep(view: View, width: number): readonly Part[] {
  const { look, state } = view;
  const all = words.grants(state.ask);
  const bare: Rows = step(3, 'Log in and approve.', width, look);
  if (all.length === 0) return [optional(bare, worth.step)];
  const intro = step(3, 'Log in and approve, so your jobs can', width, look);
  const bullet = (word: string): Rows =>
    fold(word, Math.max(1, width - hang.length - 2)).map(
      (line, i) => `${hang}${i === 0 ? look.accent('•') : ' '} ${line}`,
    );
  const items = all.map(bullet);
  const some = Array.from({ length: all.length }, (_, i) => {
    const shown = all.length - i;
    const more = i === 0 ? [] : [hang + look.dim(`… and ${i} more`)];
    return [[...intro, ...items.slice(0, shown).flat(), ...more], shown > 2 ? worth.grant : worth.grants] as const;
  });
  return [part(...some, [bare, worth.step], [[], Infinity])];
}

const spinner = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

export function status(view: View, text: string, width: number, more?: string): Part {
  const { look, tick } = view;
  const turning = look.accent(spinner[tick % spinner.length] ?? '');
  const line = more === undefined ? text : `${text}; ${more}`;
  const rows =
    cells(line) + 3 <= width || more === undefined
      ? fold(line, Math.max(1, width - 3))
      : [...fold(text, Math.max(1, width - 3)), ...fold(more, Math.max(1, width - 3))];
  return optional(
    rows.map((row, i) => (i === 0 ? `${margin}${turning} ${row}` : `   ${row}`)),
    worth.status,
  );
}

export function troubleLine(view: View, state: Code, width: number): Part {
  const what = words.trouble(state);
  if (what === undefined) return [];
  const rows = marked(view.look.wary('!'), what, width);
  return rows.length > 1
    ? part([rows.slice(0, 3), worth.longTrouble], [[`${rows[0]} …`], worth.trouble], [[], Infinity])
    : optional(rows, worth.trouble);
}

/** `! text`, the later lines under the text. */
const marked = (mark: string, text: string, width: number): Rows =>
  fold(text, Math.max(1, width - 3)).map((line, i) => (i === 0 ? `${margin}${mark} ${line}` : `   ${line}`));

export function keyLine(view: View, keys: readonly Key[], width: number): Part {
  const { look, notice } = view;
  if (!view.keys) return [];
  if (notice !== undefined) return optional(folded(notice, width, look.dim), worth.keys);
  const rows: string[] = [];
  let used = width;
  for (const [key, does] of keys) {
    const takes = key.length + 1 + does.length;
    const item = `${look.bold(key)} ${look.dim(does)}`;
    if (rows.length > 0 && used + 3 + takes <= width) {
      rows[rows.length - 1] += `   ${item}`;
      used += 3 + takes;
    } else {
      rows.push(margin + item);
      used = margin.length + takes;
    }
  }
  return optional(rows, worth.keys);
}

/** Every state but the code's. */
export function otherParts(view: View, width: number): readonly Part[] {
  const { look, now, state } = view;
  if (hasEnded(state)) return outcomeParts(words.outcome(state, now), width, look);
  if (view.closing) return [optional(marked(look.bad('✗'), words.unfinished(state.ask), width), worth.code)];
  switch (state.at) {
    case 'starting':
      return [
        blank(),
        ...head(view, width),
        blank(),
        status(view, words.capital(words.expectation(state)), width),
        ...quit(view, width),
      ];
    case 'storing':
    case 'waiting':
      return [
        blank(),
        ...head(view, width),
        blank(),
        optional(marked(look.good('✓'), words.approved(state), width), worth.step),
        status(view, words.capital(words.expectation(state)), width),
        ...quit(view, width),
      ];
    case 'expired':
      return [
        blank(),
        ...head(view, width),
        blank(),
        optional(marked(look.wary('!'), words.ranOut, width), worth.status),
        ...(view.offering
          ? [
              blank(),
              keyLine(
                view,
                [
                  ['Enter', 'get a new code'],
                  ['q', 'quit'],
                ],
                width,
              ),
            ]
          : []),
      ];
    default:
      return [];
  }
}

const quit = (view: View, width: number): readonly Part[] => [blank(), keyLine(view, [['q', 'quit']], width)];

function outcomeParts({ good, headline, facts }: words.Outcome, width: number, look: Tint): readonly Part[] {
  const labels = Math.max(0, ...facts.map(({ label }) => label.length)) + 2;
  const beside = width - 3 - labels;
  return [
    shrinking(
      marked(good ? look.good('✓') : look.bad('✗'), headline, width).map((line) => (good ? look.bold(line) : line)),
      worth.code,
    ),
    ...facts.map(({ label, text }) => {
      const rows =
        beside >= 24
          ? fold(text, beside).map((line, i) => `   ${look.dim((i === 0 ? label : '').padEnd(labels))}${line}`)
          : fold(`${label}: ${text}`, Math.max(1, width - 3), 2).map((line) => `   ${line}`);
      return optional(rows, worth.keys);
    }),
  ];
}
