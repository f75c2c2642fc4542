import type { State } from '../../core/health.js';

/** States in a word or two, for a column. */
export const shortStates: Readonly<Record<State, string>> = {
  'login-needed': 'login needed',
  damaged: 'damaged',
  refused: 'not allowed',
  retrying: 'retrying',
  new: 'waiting',
  fresh: 'fresh',
};

/** The same for 40 columns. */
export const shortestStates: Readonly<Record<State, string>> = {
  'login-needed': 'login!',
  damaged: 'damaged',
  refused: 'refused',
  retrying: 'retries',
  new: 'waiting',
  fresh: 'fresh',
};

/** "41 s", "12 min", "47 h", "120 days". */
export function brief(span: number): string {
  const s = Math.max(0, Math.floor(span));
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.floor(s / 60)} min`;
  if (s < 172_800) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86_400)} days`;
}

/** "100,000". */
export const number = (n: number): string => String(n).replace(/\B(?=(?:\d{3})+$)/g, ',');

/** "1 credential", "2,000 credentials". */
export const many = (n: number, one: string, more = `${one}s`): string => `${number(n)} ${n === 1 ? one : more}`;

/** What the keys do: for the line at the bottom as far as they fit, and for the page with all of them. */
export const keys: readonly (readonly [key: string, short: string, long: string])[] = [
  ['↑↓', 'move', 'up, down, PgUp, PgDn, Home, End (or k, j, b, space, g, G): move'],
  ['/', 'filter', 'filter by text: names, states, troubles; Enter keeps it, Esc ends it'],
  ['t', 'trouble', 'only those in trouble, or all'],
  ['s', 'sort', 'sort by trouble, user, provider, end, next refresh (S: backwards)'],
  ['Enter', 'details', 'all there is to say of one'],
  ['?', 'help', 'this page'],
  ['q', 'quit', 'quit (or Ctrl-C)'],
];

export const orderWords = {
  trouble: 'worst first',
  user: 'by user',
  provider: 'by provider',
  ends: 'by end of token',
  refresh: 'by next refresh',
} as const;
