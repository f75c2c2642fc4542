import { againFor } from '../core/again.js';
import type { GrantKind } from '../core/credential.js';
import { byTrouble, type Health, stateWords } from '../core/health.js';
import { endsSoon } from '../core/match.js';
import { stem } from '../core/names.js';
import type { Provider } from '../core/provider.js';
import { originOf, requestFor } from '../core/renewal.js';
import { plain } from '../core/text.js';
import { type EpochMs, type Seconds, spell } from '../core/time.js';

export interface TableOptions {
  readonly now: EpochMs;
  readonly columns: number;
  /** Whether there is more than one user to tell apart. */
  readonly users: boolean;
  /** How long before a login ends that is told. */
  readonly warning: Seconds;
  /** Whose they are, for how they are had again; of one that is not there it is taken that people log in to it. */
  readonly providers?: ReadonlyMap<string, Pick<Provider, 'flow'>>;
}

/** One line a credential, worst first; below each that has trouble, what it is and what to do. */
export function table(healths: readonly Health[], options: TableOptions): string[] {
  const { now, columns, users } = options;
  const rows = [...healths].sort(byTrouble).map((health) => ({ health, cells: cellsOf(health, now, users) }));
  const head = [...(users ? ['USER'] : []), 'PROVIDER', 'BY', 'STATE', 'TOKEN ENDS', 'NEXT REFRESH'];
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
    lines.push(...details(health, healths, options).map((line) => `  ${line}`));
  }
  return lines;
}

function cellsOf(health: Health, now: EpochMs, users: boolean): string[] {
  const ends = health.life?.expires;
  const end =
    ends === undefined ? '–' : ends <= now ? 'it has ended' : `in ${spell((ends - now) / 1000)}${lifeOf(health)}`;
  const state = health.state === 'fresh' && ends !== undefined && ends <= now ? 'ended' : stateWords[health.state];
  const next = health.due === undefined ? '–' : health.due <= now ? 'now' : `in ${spell((health.due - now) / 1000)}`;
  return [...(users ? [plain(health.user, 40)] : []), plain(stem(health), 60), ways[wayOf(health)], state, end, next];
}

/** What the issuer gave it at first. */
const lifeOf = ({ life }: Health): string =>
  life === undefined ? '' : ` of ${spell(Math.max(0, life.expires - life.issued) / 1000)}`;

/** How its tokens are had. */
const ways: Readonly<Record<GrantKind | 'made', string>> = {
  refresh: 'login',
  final: 'login',
  request: 'exchange',
  made: 'from a login',
  subject: 'exchange',
  client: 'client',
  vault: 'Vault',
  mytoken: 'mytoken',
};

const wayOf = ({ grant, origin }: Health): GrantKind | 'made' => (origin === undefined ? (grant ?? 'refresh') : 'made');

/** For a narrow terminal: a line for each cell. */
const tall = (cells: readonly string[], head: readonly string[]): string[] =>
  cells.map((cell, i) => (i === 0 ? cell : `  ${(head[i] ?? '').toLowerCase()}: ${cell}`));

/** What there is to say of one beside its line: what ails it, and what to do. `all`: what it may be made from. */
export function details(
  health: Health,
  all: readonly Health[],
  { now, warning, providers }: Pick<TableOptions, 'now' | 'warning' | 'providers'>,
): string[] {
  const { trouble, missing, state, since, origin, ends, suspect } = health;
  const lines: string[] = [];
  if (origin !== undefined)
    lines.push(`made from the login ${stem({ service: health.service, ...(origin !== '' && { handle: origin }) })}`);
  if (ends !== undefined && state !== 'login-needed') {
    lines.push(ends > now ? `the login ends in ${spell((ends - now) / 1000)}` : 'the login has ended');
    const login = originOf(health, all);
    if (endsSoon({ ...login, ends }, now, warning)) {
      const flow = providers?.get(health.provider)?.flow ?? 'device';
      lines.push(`→ ${againFor(flow, requestFor(login), { force: true })}`);
    }
  }
  if (trouble) {
    const long = state === 'fresh' ? '' : ` (since ${spell((now - since) / 1000)} ago)`;
    lines.push(`${plain(trouble.what, 300)}${long}`);
    if (trouble.hint !== undefined) lines.push(`→ ${plain(trouble.hint, 300)}`);
  }
  // After that the trouble itself tells.
  if (suspect !== undefined && state !== 'login-needed')
    lines.push(
      `its login may be lost: a refresh ${spell((now - suspect) / 1000)} ago had no known end; the next one tells`,
    );
  if (missing?.length) lines.push(`the issuer no longer grants: ${plain(missing.join(' '), 300)}`);
  return lines;
}
