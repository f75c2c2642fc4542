import { byTrouble, type Health, type State } from '../core/health.js';
import { stem } from '../core/names.js';
import { plain } from '../core/text.js';
import { type EpochMs, spell } from '../core/time.js';

export interface TableOptions {
  readonly now: EpochMs;
  readonly columns: number;
  /** Whether there is more than one user to tell apart. */
  readonly users: boolean;
}

const words: Readonly<Record<State, string>> = {
  new: 'waiting for its first token',
  fresh: 'fresh',
  retrying: 'refresh failed, trying again',
  'login-needed': 'login needed',
  damaged: 'damaged',
};

/** One line a credential, worst first; below each that has trouble, what it is and what to do. */
export function table(healths: readonly Health[], { now, columns, users }: TableOptions): string[] {
  const rows = [...healths].sort(byTrouble).map((health) => ({ health, cells: cellsOf(health, now, users) }));
  const head = [...(users ? ['USER'] : []), 'PROVIDER', 'STATE', 'TOKEN ENDS', 'NEXT REFRESH'];
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map(({ cells }) => (cells[i] ?? '').length)));
  const lay = (cells: readonly string[]) =>
    cells
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd();
  const narrow = widths.reduce((sum, w) => sum + w + 2, 0) > columns;
  const lines = narrow || rows.length === 0 ? [] : [lay(head)];
  for (const { health, cells } of rows) {
    lines.push(...(narrow ? tall(cells, head) : [lay(cells)]));
    lines.push(...details(health, now).map((line) => `  ${line}`));
  }
  return lines;
}

function cellsOf(health: Health, now: EpochMs, users: boolean): string[] {
  const ends = health.life?.expires;
  const end = ends === undefined ? '–' : ends <= now ? 'it has ended' : `in ${spell((ends - now) / 1000)}`;
  const state = health.state === 'fresh' && ends !== undefined && ends <= now ? 'ended' : words[health.state];
  const next = health.due === undefined ? '–' : health.due <= now ? 'now' : `in ${spell((health.due - now) / 1000)}`;
  return [...(users ? [plain(health.user, 40)] : []), plain(stem(health), 60), state, end, next];
}

/** For a narrow terminal: a line for each cell. */
const tall = (cells: readonly string[], head: readonly string[]): string[] =>
  cells.map((cell, i) => (i === 0 ? cell : `  ${(head[i] ?? '').toLowerCase()}: ${cell}`));

function details({ trouble, missing, state, since }: Health, now: EpochMs): string[] {
  const lines: string[] = [];
  if (trouble) {
    const long = state === 'fresh' ? '' : ` (since ${spell((now - since) / 1000)} ago)`;
    lines.push(`${plain(trouble.what, 300)}${long}`);
    if (trouble.hint !== undefined) lines.push(`→ ${plain(trouble.hint, 300)}`);
  }
  if (missing?.length) lines.push(`the issuer no longer grants: ${plain(missing.join(' '), 300)}`);
  return lines;
}
