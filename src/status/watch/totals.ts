import { noneYet, type State } from '../../core/health.js';
import { isTrouble, type Kind, none, type Row } from './row.js';

/** What there is to say of all of them together, whatever the time is. */
export interface Counts {
  readonly count: number;
  readonly states: Readonly<Record<State, number>>;
  /** Those with most trouble first. */
  readonly providers: readonly { readonly name: string; readonly count: number; readonly trouble: number }[];
  /** It is not known whether their logins are lost: how many, and some. */
  readonly suspects: number;
  readonly suspected: readonly Row[];
  /** Characters of the longest names that there have been. */
  readonly widths: { readonly user: number; readonly name: number };
}

/** What changes as time goes by. */
export interface Times {
  /** Jobs find a token that is of no use any more. */
  readonly ended: number;
  /** They should have been refreshed, or tried again, for more than {@link slack}. */
  readonly late: number;
  /** Of those that have not ended, the one whose token ends first. */
  readonly first: Row | undefined;
}

/** A refresh takes a moment, and with very many it is told of half a minute later: seconds. */
const slack = 60;
/** How many suspects are named. */
const named = 3;

/** Counts as things change, so that very many need not be gone through. */
export class Tally {
  readonly #states = noneYet();
  readonly #kinds = new Map<Kind, { count: number; trouble: number }>();
  readonly #suspects = new Set<Row>();
  readonly #widths = { user: 0, name: 0 };
  #count = 0;

  /** `times`: 1 for one that is there now, -1 for one as it was until now. */
  count(row: Row, times: 1 | -1): void {
    const { state, kind, user } = row;
    this.#count += times;
    this.#states[state] += times;
    const all = this.#kinds.get(kind) ?? { count: 0, trouble: 0 };
    all.count += times;
    if (isTrouble(row)) all.trouble += times;
    if (all.count === 0) this.#kinds.delete(kind);
    else if (all.count === 1) this.#kinds.set(kind, all);
    if (row.suspect && times > 0) this.#suspects.add(row);
    else this.#suspects.delete(row);
    if (user.length > this.#widths.user) this.#widths.user = user.length;
    if (kind.name.length > this.#widths.name) this.#widths.name = kind.name.length;
  }

  counts(): Counts {
    const providers = new Map<string, { name: string; count: number; trouble: number }>();
    for (const [kind, { count, trouble }] of this.#kinds) {
      const all = providers.get(kind.provider) ?? { name: kind.provider, count: 0, trouble: 0 };
      all.count += count;
      all.trouble += trouble;
      providers.set(kind.provider, all);
    }
    const suspected: Row[] = [];
    for (const row of this.#suspects) {
      if (suspected.length === named) break;
      suspected.push(row);
    }
    return {
      count: this.#count,
      states: this.#states,
      providers: [...providers.values()].sort((a, b) => b.trouble - a.trouble || b.count - a.count),
      suspects: this.#suspects.size,
      suspected,
      widths: this.#widths,
    };
  }
}

/** `now`: seconds since the base of the rows. Goes through all of them: two milliseconds or three for 10^5. */
export function timesOf(rows: readonly Row[], now: number): Times {
  let [ended, late] = [0, 0];
  let first: Row | undefined;
  for (const row of rows) {
    const { expires, due } = row;
    if (expires > now) {
      if (first === undefined || expires < first.expires) first = row;
    } else if (expires !== none) ended++;
    if (due !== none && due < now - slack) late++;
  }
  return { ended, late, first };
}
