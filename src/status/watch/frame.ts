import { stateWords } from '../../core/health.js';
import type { Provider } from '../../core/provider.js';
import { plain } from '../../core/text.js';
import { type EpochMs, type Seconds, spell } from '../../core/time.js';
import type { Size } from '../../login/faces/ink/screen.js';
import { type Part, squeeze } from '../../login/faces/ink/squeeze.js';
import type { Tint } from '../../login/faces/tint.js';
import { cells, fold } from '../../login/faces/width.js';
import { details } from '../table.js';
import type { Ledger } from './ledger.js';
import type { Wish } from './list.js';
import type { Choice } from './model.js';
import { isTrouble, none, type Row, ranks } from './row.js';
import type { Counts, Times } from './totals.js';
import { brief, keys, many, number, orderWords, shortestStates, shortStates } from './words.js';

/** All that is drawn; the same view and size always give the same rows. */
export interface View {
  readonly choice: Choice;
  /** Those that are wished for, in order. */
  readonly shown: readonly Row[];
  readonly totals: Counts & Times;
  readonly ledger: Pick<Ledger, 'people' | 'rows' | 'healthsOf'>;
  readonly now: EpochMs;
  /** More than one person's. */
  readonly everybody: boolean;
  /** Who keeps them, and when it last told anything; undefined: nobody has. */
  readonly teller: { readonly name: string; readonly at: EpochMs } | undefined;
  /** Something is wrong with that: in sentences. */
  readonly notice: string | undefined;
  /** What else there is to say, of no credential. */
  readonly aside: string | undefined;
  /** Not all has been read, or found its place. */
  readonly reading: boolean;
  /** There is a keyboard. */
  readonly keys: boolean;
  readonly look: Tint;
  readonly warning: Seconds;
  readonly providers: ReadonlyMap<string, Pick<Provider, 'flow'>>;
}

type Lines = readonly string[];

export interface Frame {
  readonly rows: Lines;
  /** How many lines the list has. */
  readonly height: number;
}

/** Fewer lines are no list: the rest gives way for so many. */
const least = 6;
/** What is said of the row under the keys. */
const said = 3;

const margin = ' ';

const optional = (rows: Lines, worth: number): Part =>
  rows.length === 0
    ? []
    : [
        { rows, worth },
        { rows: [], worth: Infinity },
      ];

/** What is lost with each part that gives way. */
const worth = {
  blank: 0,
  aside: 5,
  providers: 10,
  firsts: 15,
  said: 20,
  place: 25,
  title: 30,
  counts: 40,
  head: 45,
  suspects: 50,
  keys: 60,
  notice: 90,
} as const;

/** As many rows as the terminal has but one, no wider than it is. */
export function frame(view: View, size: Size): Frame {
  const total = Math.max(0, size.rows - 1);
  const width = size.columns;
  const columns = columnsOf(view, width);
  const { page } = view.choice;
  const isList = page === 'list';
  const before: Part[] = [
    optional([title(view, width)], worth.title),
    ...(isList
      ? [
          optional(counts(view, width), worth.counts),
          optional(byProvider(view, width), worth.providers),
          optional(firsts(view, width), worth.firsts),
          optional(suspects(view, width), worth.suspects),
          optional(notice(view, width), worth.notice),
          optional(aside(view, width), worth.aside),
        ]
      : []),
    optional([''], worth.blank),
    isList ? optional([head(view, columns)], worth.head) : [],
  ];
  const after: Part[] = [
    isList ? optional([place(view, width)], worth.place) : [],
    isList ? optional(saying(view, width), worth.said) : [],
    optional([bottom(view, width)], worth.keys),
  ];
  const parts = squeeze([...before, ...after], Math.max(0, total - least)) ?? [];
  const above = parts.slice(0, before.length).flat();
  const below = parts.slice(before.length).flat();
  const height = Math.max(0, total - above.length - below.length);
  const middle = isList ? list(view, columns, height) : pages[page](view, width).slice(0, height);
  const filled = [...middle, ...Array<string>(Math.max(0, height - middle.length)).fill('')];
  return { rows: [...above, ...filled, ...below].slice(0, total), height };
}

/** Texts one behind the other in as many lines as it takes, or in `most` of them, with what is left out counted. */
function flow(
  items: readonly (readonly [text: string, look?: (text: string) => string])[],
  width: number,
  most = 2,
): Lines {
  const lines: string[] = [];
  let used = width;
  for (const [i, [text, look = (same: string) => same]] of items.entries()) {
    const left = items.length - i;
    const rest = `   … ${left} more`;
    // In the last line there must be room to say that there is more.
    const room = lines.length < most || left === 1 ? 0 : cells(rest);
    if (lines.length > 0 && used + 3 + cells(text) + room <= width) {
      lines[lines.length - 1] += `   ${look(text)}`;
      used += 3 + cells(text);
    } else if (lines.length < most) {
      lines.push(margin + look(cut(text, width - 1)));
      used = 1 + Math.min(cells(text), width - 1);
    } else {
      if (used + cells(rest) <= width) lines[lines.length - 1] += rest;
      break;
    }
  }
  return lines;
}

/** No wider than that, with an ellipsis where something is missing. */
function cut(text: string, width: number): string {
  if (cells(text) <= width) return text;
  if (width < 1) return '';
  let kept = '';
  for (const character of text) {
    if (cells(kept) + cells(character) > width - 1) break;
    kept += character;
  }
  return `${kept}…`;
}

const pad = (text: string, width: number): string => text + ' '.repeat(Math.max(0, width - cells(text)));

function title({ teller, now, reading, totals, look, everybody }: View, width: number): string {
  const name = everybody ? 'credmon status: everybody’s credentials' : 'credmon status: your credentials';
  const age = teller && Math.max(0, (now - teller.at) / 1000);
  const right = reading
    ? `reading … ${number(totals.count)}`
    : teller && age !== undefined
      ? `${teller.name}, told ${brief(age)} ago`
      : '';
  for (const left of [name, 'credmon status']) {
    const gap = width - 2 - cells(left) - cells(right);
    if (gap >= 2) return `${margin}${look.bold(left)}${' '.repeat(gap)}${look.dim(right)}`;
  }
  return margin + look.bold(cut('credmon status', width - 1));
}

function counts({ totals, ledger, everybody, look }: View, width: number): Lines {
  const { states } = totals;
  const of = (n: number, words: string, paint: (text: string) => string) =>
    n === 0 ? [] : [[`${number(n)} ${words}`, paint] as const];
  return flow(
    [
      [many(totals.count, 'credential')],
      ...(everybody ? [[many(ledger.people, 'person', 'people')] as const] : []),
      ...of(states['login-needed'], shortStates['login-needed'], look.bad),
      ...of(states.damaged, shortStates.damaged, look.bad),
      ...of(states.refused, shortStates.refused, look.bad),
      ...of(states.retrying, shortStates.retrying, look.wary),
      ...of(states.new, shortStates.new, look.accent),
      ...of(states.fresh, shortStates.fresh, look.good),
    ],
    width,
  );
}

function byProvider({ totals, everybody, look }: View, width: number): Lines {
  if (!everybody) return [];
  const isWell = totals.providers.every(({ trouble }) => trouble === 0);
  return flow(
    totals.providers.map(({ name, count, trouble }, i) => {
      const of = isWell ? number(count) : `${number(trouble)} of ${number(count)}`;
      const label = i === 0 && !isWell ? 'in trouble: ' : '';
      return [`${label}${plain(name, 40)} ${of}`, trouble === 0 ? look.dim : look.wary];
    }),
    width,
    1,
  );
}

function firsts({ totals, ledger, now, everybody, look }: View, width: number): Lines {
  const { first, late, ended } = totals;
  const items: [string, ((text: string) => string)?][] = [];
  if (first) {
    const left = brief((ledger.rows.moment(first.expires) - now) / 1000);
    items.push([`first token ends in ${left}: ${nameOf(first, everybody)}`]);
  }
  if (late > 0) items.push([`${number(late)} late`, look.wary]);
  if (ended > 0) items.push([many(ended, 'token has ended', 'tokens have ended'), look.bad]);
  return flow(items, width);
}

function suspects({ totals, everybody, look }: View, width: number): Lines {
  const { suspects: count, suspected } = totals;
  if (count === 0) return [];
  const shown = suspected.slice(0, 3);
  const rest = count === shown.length ? '' : ` and ${number(count - shown.length)} more`;
  const names = shown.map((row) => nameOf(row, everybody)).join(', ');
  const text = `${many(count, 'login')} may be lost: ${names}${rest}. The next refresh tells; /lost lists them.`;
  return marked(look.wary('!'), text, width, 2);
}

function notice({ notice: text, look }: View, width: number): Lines {
  return text === undefined ? [] : marked(look.bad('✗'), text, width, 4);
}

const aside = ({ aside: text, look }: View, width: number): Lines =>
  text === undefined ? [] : [margin + look.dim(cut(plain(text, 400), width - 1))];

/** `! text`, the later lines under the text. */
function marked(mark: string, text: string, width: number, most: number): Lines {
  const room = Math.max(1, width - 3);
  const lines = fold(text, room);
  const shown = lines.length > most ? [...lines.slice(0, most - 1), cut(lines.slice(most - 1).join(' '), room)] : lines;
  return shown.map((line, i) => (i === 0 ? `${margin}${mark} ${line}` : `   ${line}`));
}

const nameOf = (row: Row, everybody: boolean): string =>
  `${everybody ? `${plain(row.user, 32)} ` : ''}${plain(row.kind.name, 60)}`;

/** Of each column how wide it is; 0: it is left out. */
interface Columns {
  readonly user: number;
  readonly name: number;
  readonly state: number;
  readonly ends: number;
  readonly refresh: number;
  readonly trouble: number;
}

/** Cells of the shortest words for a state. */
const shortest = 7;
/** The mark in front, and what is between two columns. */
const [mark, gap] = [2, 2];

function columnsOf({ everybody, totals: { widths } }: View, width: number): Columns {
  const wanted = {
    user: everybody ? Math.min(24, Math.max(4, widths.user)) : 0,
    name: Math.min(40, Math.max(8, widths.name)),
    state: 12,
    ends: 8,
    refresh: 8,
    trouble: 16,
  };
  const sum = () => mark + Object.values(wanted).reduce((all, one) => all + (one === 0 ? 0 : one + gap), -gap);
  // What is said of the row under the keys has it as well.
  if (sum() > width) wanted.trouble = 0;
  const names = () => wanted.user + wanted.name;
  const shorten = (user: number, name: number) => {
    for (; sum() > width && (wanted.user > user || wanted.name > name); )
      if (wanted.name > name && (wanted.name >= wanted.user || wanted.user <= user)) wanted.name--;
      else wanted.user--;
  };
  const [user, name] = [Math.min(wanted.user, 12), Math.min(wanted.name, 16)];
  shorten(user, name);
  if (sum() > width) wanted.refresh = 0;
  if (sum() > width) wanted.state = shortest;
  if (sum() > width) wanted.ends = 0;
  shorten(Math.min(user, 8), Math.min(name, 10));
  shorten(Math.min(user, 4), Math.min(name, 4));
  if (sum() > width) wanted.state = 0;
  if (wanted.trouble > 0 || (sum() + gap + 16 <= width && names() > 0))
    wanted.trouble = width - (wanted.trouble > 0 ? sum() - wanted.trouble : sum() + gap);
  return wanted;
}

/** Cells in their columns; the last one that is there is not padded. */
function lay(columns: Columns, texts: Readonly<Record<keyof Columns, string>>): string {
  const names = (Object.keys(columns) as (keyof Columns)[]).filter((name) => columns[name] > 0);
  return names
    .map((name) => pad(cut(texts[name], columns[name]), columns[name]))
    .join(' '.repeat(gap))
    .trimEnd();
}

function head({ look }: View, columns: Columns): string {
  const texts = {
    user: 'USER',
    name: 'PROVIDER',
    state: 'STATE',
    ends: 'ENDS IN',
    refresh: 'REFRESH',
    trouble: 'TROUBLE',
  };
  return look.dim(' '.repeat(mark) + lay(columns, texts));
}

function list(view: View, columns: Columns, height: number): Lines {
  const { choice, shown } = view;
  if (shown.length === 0) return nothing(view);
  return shown
    .slice(choice.top, choice.top + height)
    .map((row, i) => line(row, choice.top + i === choice.at, view, columns));
}

function nothing({ choice: { wish }, totals, reading, everybody, look }: View): Lines {
  if (reading) return [];
  if (totals.count > 0 && wish.text === '') return [`   ${look.good('✓')} None is in trouble.`];
  if (totals.count > 0) return ['   None has that in it.'];
  return [everybody ? '   Nobody has logged in.' : '   You are not logged in to any provider. Run: credmon login'];
}

function line(row: Row, isAt: boolean, { ledger, now, look }: View, columns: Columns): string {
  const { expires, due, more } = row;
  const seconds = ledger.rows.seconds(now);
  const hasEnded = expires !== none && expires <= seconds;
  const texts = {
    user: plain(row.user, 60),
    name: plain(row.kind.name, 60),
    state: wordOf(row, hasEnded, columns.state <= shortest),
    ends: expires === none ? '–' : hasEnded ? 'ended' : brief(expires - seconds),
    refresh: due === none ? '–' : due <= seconds ? 'now' : brief(due - seconds),
    trouble: plain(more?.trouble?.what, 200),
  };
  const text = lay(columns, texts);
  const paint = paintOf(row, hasEnded, look);
  const at = isAt ? `${look.accent('▸')} ` : '  ';
  if (columns.state === 0) return at + (isAt ? look.bold(text) : text);
  // The names have no more cells than characters: see core/names.ts. What is not such a name is cut all the same.
  const [before, after] = around(text, columns);
  const painted = before + paint(text.slice(before.length, text.length - after.length)) + after;
  return at + (isAt ? look.bold(painted) : painted);
}

function wordOf(row: Row, hasEnded: boolean, isNarrow: boolean): string {
  const words = isNarrow ? shortestStates : shortStates;
  if (row.suspect) return isNarrow ? 'lost?' : 'maybe lost';
  return row.state === 'fresh' && hasEnded ? 'ended' : words[row.state];
}

/** What stands before and behind the column with the state. */
function around(text: string, columns: Columns): readonly [before: string, after: string] {
  const start = (columns.user > 0 ? columns.user + gap : 0) + (columns.name > 0 ? columns.name + gap : 0);
  let [used, i] = [0, 0];
  for (const character of text) {
    if (used >= start) break;
    used += cells(character);
    i += character.length;
  }
  return [text.slice(0, i), text.slice(i + columns.state)];
}

function paintOf(row: Row, hasEnded: boolean, look: Tint): (text: string) => string {
  if (row.rank < ranks.suspect) return look.bad;
  if (isTrouble(row) || hasEnded) return look.wary;
  return row.state === 'new' ? look.accent : look.good;
}

function place({ choice, shown, totals, look }: View, width: number): string {
  const { wish, at } = choice;
  const where = shown.length === 0 ? 'none' : `${number(at + 1)} of ${number(shown.length)}`;
  const of = shown.length === totals.count ? '' : ` (${number(totals.count)} in all)`;
  return margin + look.dim(cut([`${where}${of}`, ...wishes(wish)].join(', '), width - 1));
}

const wishes = ({ order, trouble, text }: Wish): readonly string[] => [
  orderWords[order],
  ...(trouble ? ['only trouble'] : []),
  ...(text === '' ? [] : [`with “${text}”`]),
];

/** Of the row under the keys, in as many lines whatever it is, so that the list stays where it is. */
function saying(view: View, width: number): Lines {
  const row = view.shown[view.choice.at];
  const { look } = view;
  const lines = row === undefined ? [] : [look.bold(cut(nameOf(row, view.everybody), width - 1)), ...about(row, view)];
  return Array.from({ length: said }, (_, i) => {
    const text = lines[i];
    return text === undefined ? '' : margin + (i === 0 ? text : cut(text, width - 1));
  });
}

function about(row: Row, { ledger, now, warning, providers, everybody }: View): Lines {
  const health = ledger.rows.health(row);
  // Others of the same person matter only to one that is made from them.
  const all = health.origin === undefined ? [health] : ledger.healthsOf(row.user);
  const lines = details(health, all, { now, warning, providers });
  // It is not for whoever looks at everybody's to run.
  return everybody ? lines.map((line) => line.replace(/^→ run: /, `→ ${plain(row.user, 32)} has to run: `)) : lines;
}

function bottom({ choice, keys: hasKeys, look }: View, width: number): string {
  if (!hasKeys) return margin + look.dim(cut('Ctrl-C quits', width - 1));
  if (choice.typing) {
    const text = `${margin}/${choice.wish.text}`;
    const hint = 'Enter keeps it, Esc ends it';
    const room = width - cells(text) - 4;
    return `${look.bold(text)}${look.accent('▏')}${room >= cells(hint) ? `  ${look.dim(hint)}` : ''}`;
  }
  let line = '';
  let used = 0;
  const ours = choice.page === 'list' ? keys : ([['Esc', 'back', '']] as const);
  const quit = ours.at(-1);
  for (const item of ours) {
    const [key, does] = item;
    const takes = cells(key) + 1 + does.length + (used === 0 ? 1 : 3);
    // The way out is always there.
    const left = item === quit || quit === undefined ? 0 : cells(quit[0]) + 1 + quit[1].length + 3;
    if (used + takes + left > width) continue;
    line += `${used === 0 ? margin : '   '}${look.bold(key)} ${look.dim(does)}`;
    used += takes;
  }
  return line;
}

const pages = { help, details: allOf } as const;

function help({ look }: View, width: number): Lines {
  return [
    ...keys.flatMap(([key, , long]) =>
      fold(long, Math.max(1, width - 10)).map((text, i) =>
        i === 0 ? `${margin}${look.bold(pad(key, 7))} ${text}` : `         ${text}`,
      ),
    ),
    '',
    ...fold(
      'ENDS IN: of the token that jobs have. REFRESH: when the next is fetched, or tried for. Late: more than a minute past that. Maybe lost: credmond was killed before an issuer’s answer came, which may have replaced the refresh token; those are tried first, and whose login is lost is told so, with the command.',
      Math.max(1, width - 2),
    ).map((text) => margin + text),
  ];
}

/** All there is to say of the row under the keys. */
function allOf(view: View, width: number): Lines {
  const row = view.shown[view.choice.at];
  if (row === undefined) return [];
  const { ledger, now, look, everybody } = view;
  const { state, since, life, due, issuer, provider, scopes, audience } = ledger.rows.health(row);
  const facts: (readonly [string, string])[] = [
    ['provider', `${plain(provider, 60)} (${plain(issuer, 200)})`],
    ['state', `${stateWords[state]}${row.more ? `, since ${spell((now - since) / 1000)}` : ''}`],
    ...(life
      ? [
          [
            'token',
            life.expires <= now
              ? `ended ${spell((now - life.expires) / 1000)} ago`
              : `ends in ${brief((life.expires - now) / 1000)} of ${spell(Math.max(0, life.expires - life.issued) / 1000)}`,
          ] as const,
        ]
      : []),
    ...(due ? [['refresh', due <= now ? 'now' : `in ${brief((due - now) / 1000)}`] as const] : []),
    ...(scopes ? [['scopes', plain(scopes.join(' '), 2000)] as const] : []),
    ...(audience === undefined ? [] : [['audience', plain(audience, 300)] as const]),
  ];
  const label = 10;
  return [
    margin + look.bold(cut(nameOf(row, everybody), width - 1)),
    ...facts.flatMap(([name, text]) =>
      fold(text, Math.max(1, width - label - 1)).map(
        (part, i) => margin + look.dim(pad(i === 0 ? name : '', label)) + part,
      ),
    ),
    '',
    ...about(row, view).flatMap((text) => fold(text, Math.max(1, width - 2), 2).map((part) => margin + part)),
  ];
}
