import type { Health } from '../../core/health.js';
import { stem } from '../../core/names.js';
import { parseLine, type Summary } from '../../core/snapshot.js';
import type { EpochMs } from '../../core/time.js';
import type { List } from './list.js';
import { type Row, Rows } from './row.js';
import { Tally } from './totals.js';

/** How many people are looked at before it is asked whether the time is over. */
const together = 500;

/** Who has which credentials, by the lines of everybody's file as they come; what is new goes to the list. */
export class Ledger {
  summary: Summary | undefined;
  readonly rows: Rows;
  readonly tally = new Tally();
  readonly #people = new Map<string, Row>();
  /** Those that have been told of since it was begun anew; undefined: it was not. */
  #seen: Set<string> | undefined;
  #gone: Iterator<string> | undefined;

  constructor(
    base: EpochMs,
    private readonly list: Pick<List, 'place' | 'remove'>,
  ) {
    this.rows = new Rows(base);
  }

  get people(): number {
    return this.#people.size;
  }

  add(line: string): void {
    const { summary, people } = parseLine(line);
    if (summary) this.summary = summary;
    for (const [user, credentials] of people) this.tell(user, credentials);
  }

  /** All that there is of one person. */
  tell(user: string, credentials: readonly Health[]): void {
    this.#seen?.add(user);
    const before = this.#people.get(user);
    const known = new Map<string, Row>();
    for (let row = before; row; row = row.next) known.set(nameOf(row.kind.name, row.kind), row);
    const stay = new Set<Row>();
    let first: Row | undefined;
    for (const health of credentials) {
      const name = nameOf(stem(health), health);
      let row = known.get(name);
      // What is told twice is there once.
      if (row && stay.has(row)) continue;
      if (row === undefined) row = this.rows.make(before?.user ?? user, health);
      else this.tally.count(row, -1);
      known.set(name, row);
      if (this.rows.take(row, health) || !row.placed) this.list.place(row);
      this.tally.count(row, 1);
      stay.add(row);
    }
    for (let row = before; row; row = row.next) {
      if (stay.has(row)) continue;
      this.list.remove(row);
      this.tally.count(row, -1);
    }
    for (const row of stay) {
      row.next = first;
      first = row;
    }
    if (first) this.#people.set(first.user, first);
    else this.#people.delete(user);
  }

  /** What comes from now on is all there is. */
  begin(): void {
    this.#seen = new Set();
    this.#gone = undefined;
  }

  /** All has come: whoever was not told of has none any more. True: the time was over before that was done. */
  end(over: () => boolean): boolean {
    if (this.#seen === undefined) return false;
    this.#gone ??= this.#people.keys();
    for (let count = 1; ; count++) {
      const { value: user, done } = this.#gone.next();
      if (done) break;
      if (!this.#seen.has(user)) this.tell(user, []);
      if (count % together === 0 && over()) return true;
    }
    this.#seen = this.#gone = undefined;
    return false;
  }

  /** All that one person has, as it is told. */
  healthsOf(user: string): readonly Health[] {
    const all: Health[] = [];
    for (let row = this.#people.get(user); row; row = row.next) all.push(this.rows.health(row));
    return all.reverse();
  }
}

const nameOf = (name: string, { provider, issuer }: Pick<Health, 'provider' | 'issuer'>): string =>
  `${name}\0${provider}\0${issuer}`;
