import type { Config } from '../core/config.js';
import type { Health } from '../core/health.js';
import type { Clock, Log } from '../core/ports.js';
import { lineOf, noteOf, type Settled, type Summary } from '../core/snapshot.js';
import { ofNobody, standingOf } from '../core/standing.js';
import type { EpochMs, Seconds } from '../core/time.js';
import type { AccountNumbers } from './account-numbers.js';
import type { Keeper } from './keeper.js';
import { Latest } from './latest.js';
import type { LoginFiles } from './login-files.js';
import type { StatusFiles } from './status-files.js';
import { Trouble } from './trouble.js';

/** How many settled spool records are told of for each person. */
const remembered = 20;
/** Changes that follow each other this closely are told of together: milliseconds. */
const gather = 25;
/**
 * What nobody waits for is told of this much later for each credential there is, and at last after so long: ten are told of
 * at once, 10^5 every 15 s, so that few processes look up many accounts. Milliseconds.
 */
const [calmEach, calmest] = [0.15, 15_000];
/** How many people are told of at a time. */
const together = 200;
/** After some that nobody waits for there is a pause of so many times what they took, but not for longer: milliseconds. */
const [pauses, longestPause] = [9, 1000];
/** So much is added to everybody's file before it is begun anew, or as much as it began with: characters. */
const leastAdded = 64 * 1024;
/** So many failed writes in a row are the disk's, and not one person's. */
const inRow = 3;
const never = Number.POSITIVE_INFINITY;

/**
 * What is new about a person's credentials.
 *   state    somebody may be waiting to hear of it
 *   found    they were there when credmond came up, and stand well
 *   refresh  nothing but that a token lives until later
 */
export type News = 'state' | 'found' | 'refresh';

export interface ReportParts {
  readonly keeper: Pick<Keeper, 'users' | 'healths' | 'size'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly files: Pick<StatusFiles, 'tell' | 'forget' | 'begin' | 'add' | 'sweep'>;
  /** The errno with which the system lets us watch no more folders. */
  unwatched?(): string | undefined;
  /** As it is now. */
  config(): Pick<Config, 'providers' | 'preferred' | 'warning' | 'pam'>;
  /** Whose files there are. */
  readonly numbers: Pick<AccountNumbers, 'of' | 'left' | 'all'>;
  /** For the login hook; where people's logins are nothing to us, there are none. */
  readonly logins?: Pick<LoginFiles, 'tell' | 'tellNobody' | 'forget' | 'sweep' | 'outdated'>;
}

type Logins = NonNullable<ReportParts['logins']>;

/** A person, and whether what the login hook reads may say something else now. */
type Person = readonly [user: string, login: boolean];

/** Keeps the status files true: at once where somebody may be waiting, soon otherwise, and again where a write failed. */
export class Report {
  readonly #settled = new Map<string, Settled[]>();
  readonly #urgent = new Latest();
  /** Those whom nobody waits for. */
  readonly #calm = new Map<string, boolean>();
  #calmAt = 0;
  /** Those whose files could not be written. */
  readonly #failed = new Set<string>();
  readonly #failedLogins = new Set<string>();
  /** Of those who are tried again: everybody's file has them as they are. */
  readonly #inAll = new Set<string>();
  readonly #own: Trouble;
  readonly #logins: Trouble;
  readonly #accounts: Trouble;
  readonly #everyone: Trouble;
  /** Of everybody's file: characters that it began with, and that were added since. Undefined: it is to be begun anew. */
  #begun: number | undefined;
  #added = 0;
  /** What is to be said of credmond itself is another thing. */
  #news = true;
  #nobodyTold = false;
  #swept: EpochMs | undefined;
  #tidied = false;
  #loginsTidied = false;
  #writing: Promise<void> | undefined;
  /** When the next round is, by the steady clock, and what calls it off. */
  #at = never;
  #cancel = (): void => {};

  constructor(private readonly parts: ReportParts) {
    this.#own = new Trouble(parts, 'the status', inRow);
    this.#logins = new Trouble(parts, 'what the login hook reads', inRow);
    this.#accounts = new Trouble(parts, 'each person’s status');
    this.#everyone = new Trouble(parts, 'everybody’s status');
  }

  changed(user: string, news: News = 'state'): void {
    this.#inAll.delete(user);
    if (news === 'state') this.#urgent.add(user);
    else this.#calmly(user, news === 'found');
    this.#schedule();
  }

  /** The configuration is another one: that is told to everybody. */
  reconfigured(): void {
    for (const user of this.parts.keeper.users()) this.#calmly(user, true);
    for (const user of this.#settled.keys()) this.#calmly(user, true);
    this.#news = true;
    this.#schedule();
  }

  swept(): void {
    this.#swept = this.parts.clock.now();
    this.#news = true;
    for (const user of this.parts.logins?.outdated(this.#swept) ?? []) this.#urgent.add(user);
    this.#schedule();
  }

  settled(user: string, settled: Settled): void {
    const mine = this.#settled.get(user) ?? [];
    this.#settled.set(user, [...mine, settled].slice(-remembered));
    this.changed(user);
  }

  /** Writes what there is to write, now; what nobody waits for only until `limit` has gone by. */
  async flush(limit?: Seconds): Promise<void> {
    await this.#writing;
    for (const trouble of [this.#own, this.#logins, this.#accounts, this.#everyone]) trouble.hurry();
    await this.#write(limit === undefined ? never : this.parts.clock.steady() + limit * 1000);
  }

  #calmly(user: string, login: boolean): void {
    const delay = Math.min(calmest, Math.max(gather, calmEach * this.parts.keeper.size));
    if (this.#calm.size === 0) this.#calmAt = this.parts.clock.steady() + delay;
    this.#calm.set(user, login || this.#calm.get(user) === true);
  }

  #schedule(): void {
    if (this.#writing) return;
    const at = this.#next();
    if (at >= this.#at) return;
    this.#cancel();
    this.#at = at;
    this.#cancel = this.parts.clock.after(at - this.parts.clock.steady(), () => void this.#write());
  }

  /** When there is something to write. */
  #next(): number {
    const soon = this.parts.clock.steady() + gather;
    const [own, everyone] = [this.#own.until, this.#everyone.until];
    return Math.min(
      this.#urgent.size > 0 ? Math.max(soon, own) : never,
      this.#calm.size > 0 ? Math.max(this.#calmAt, own) : never,
      this.#failed.size > 0 ? Math.max(soon, this.#own.retry, this.#accounts.until) : never,
      this.#failedLogins.size > 0 || !this.#nobodyTold ? Math.max(soon, this.#logins.retry) : never,
      this.#news || this.#begun === undefined ? Math.max(soon, everyone) : never,
      this.#mayTidy && !this.#tidied ? Math.max(soon, this.#own.retry) : never,
      this.#mayTidy && !this.#loginsTidied ? Math.max(soon, this.#logins.retry) : never,
    );
  }

  /** Everything was looked at, and everybody has been told of. */
  get #mayTidy(): boolean {
    return this.#swept !== undefined && this.#urgent.size + this.#calm.size + this.#failed.size === 0;
  }

  #write(end?: number): Promise<void> {
    this.#cancel();
    this.#at = never;
    this.#writing = this.#round(end).finally(() => {
      this.#writing = undefined;
      this.#schedule();
    });
    return this.#writing;
  }

  /** `end`: all of it, whether it is time for it or not, and what nobody waits for until then. */
  async #round(end?: number): Promise<void> {
    const { clock, config } = this.parts;
    // First of all: it says that there is a credmond again.
    this.#nobodyTold = await this.#toLogins((logins) => logins.tellNobody(ofNobody(config())));
    this.#tryAgain();
    while (!this.#own.isOn) {
      const urgent = this.#urgent.take(together);
      if (urgent.length > 0) {
        for (const user of urgent) this.#calm.delete(user);
        await this.#tell(urgent.map((user) => [user, true]));
        continue;
      }
      const begun = clock.steady();
      if (this.#calm.size === 0 || (end === undefined ? begun < this.#calmAt : begun >= end)) break;
      await this.#tell(taken(this.#calm, together));
      const now = clock.steady();
      this.#calmAt = now + Math.min(longestPause, pauses * (now - begun));
      if (end === undefined) break;
    }
    await this.#toEveryone();
    await this.#tidy();
    if (this.#failed.size === 0) for (const trouble of [this.#own, this.#accounts]) trouble.isOver();
    if (this.#failedLogins.size === 0) this.#logins.isOver();
  }

  #tryAgain(): void {
    const now = this.parts.clock.steady();
    if (this.#own.retry <= now && !this.#accounts.isOn) {
      this.#again(this.#failed);
    }
    if (this.#logins.retry > now) return;
    this.#again(this.#failedLogins);
  }

  #again(users: Set<string>): void {
    for (const user of users) {
      // Who waits to be told of has news.
      if (!this.#calm.has(user) && !this.#urgent.has(user)) this.#inAll.add(user);
      this.#urgent.add(user);
    }
    users.clear();
  }

  async #tell(people: readonly Person[]): Promise<void> {
    const { keeper, files } = this.parts;
    const uids = await this.#uidsOf(people.map(([user]) => user));
    let lines = '';
    for (const [user, login] of people) {
      const healths = [...keeper.healths(user)];
      const credentials = JSON.stringify(healths);
      if (!this.#inAll.delete(user)) lines += lineOf(user, credentials);
      if (uids === undefined || this.#own.isOn) {
        this.#failed.add(user);
        continue;
      }
      const uid = uids.get(user);
      try {
        if (uid !== undefined) await files.tell(uid, this.#textOf(user, credentials));
        this.#own.went();
      } catch (thrown) {
        this.#own.failed(thrown);
        this.#failed.add(user);
      }
      if (login) await this.#tellLogin(user, uid, healths);
      // Of people with a hundred credentials each two hundred are many megabytes.
      if (lines.length < leastAdded) continue;
      await this.#add(lines);
      lines = '';
    }
    if (lines !== '') await this.#add(lines);
  }

  async #uidsOf(users: readonly string[]): Promise<ReadonlyMap<string, number> | undefined> {
    if (this.#accounts.isOn) return undefined;
    const { numbers, files } = this.parts;
    try {
      const uids = await numbers.of(users);
      this.#accounts.went();
      for (const uid of numbers.left()) await files.forget(uid);
      return uids;
    } catch (thrown) {
      this.#accounts.failed(thrown);
      return undefined;
    }
  }

  async #tellLogin(user: string, uid: number | undefined, healths: readonly Health[]): Promise<void> {
    const { config, clock } = this.parts;
    const told = await this.#toLogins(async (logins) => {
      if (healths.length === 0) await logins.forget(user);
      else if (uid !== undefined) await logins.tell(user, uid, standingOf(healths, config(), clock.now()));
    });
    if (!told) this.#failedLogins.add(user);
  }

  /** Whether it went well. What goes wrong there must keep nobody from the status. */
  async #toLogins(work: (logins: Logins) => Promise<void>): Promise<boolean> {
    if (this.parts.logins === undefined) return true;
    if (this.#logins.isOn) return false;
    try {
      await work(this.parts.logins);
      this.#logins.went();
      return true;
    } catch (thrown) {
      this.#logins.failed(thrown);
      return false;
    }
  }

  /** What is left to say of credmond itself, or all of it. */
  async #toEveryone(): Promise<void> {
    if (this.#everyone.isOn) return;
    if (this.#begun !== undefined) {
      if (this.#news) await this.#add('');
      return;
    }
    this.#news = false;
    let length = 0;
    const lines = function* (this: Report): Iterable<string> {
      yield this.#summary();
      const { keeper } = this.parts;
      for (const user of keeper.users()) {
        const line = lineOf(user, JSON.stringify([...keeper.healths(user)]));
        length += line.length;
        yield line;
      }
    };
    try {
      await this.parts.files.begin(lines.call(this));
      [this.#begun, this.#added] = [length, 0];
      this.#everyone.went();
      this.#everyone.isOver();
    } catch (thrown) {
      this.#everyone.failed(thrown);
    }
  }

  async #add(lines: string): Promise<void> {
    if (this.#begun === undefined) return;
    const text = lines + this.#summary();
    this.#news = false;
    try {
      if (!(await this.parts.files.add(text))) this.#begun = undefined;
    } catch (thrown) {
      this.#begun = undefined;
      this.#everyone.failed(thrown);
    }
    this.#added += text.length;
    if (this.#begun !== undefined && this.#added > Math.max(leastAdded, this.#begun)) this.#begun = undefined;
  }

  /** Once: the files of those who are not there any more. */
  async #tidy(): Promise<void> {
    if (!this.#mayTidy) return;
    const now = this.parts.clock.now();
    if (!this.#tidied && !this.#own.isOn) {
      try {
        const numbers = this.parts.numbers.all();
        await this.parts.files.sweep((uid) => numbers.has(uid), now);
        this.#tidied = true;
      } catch (thrown) {
        this.#own.failed(thrown);
      }
    }
    if (this.#loginsTidied) return;
    const known = new Set(this.parts.keeper.users());
    this.#loginsTidied = await this.#toLogins((logins) => logins.sweep((user) => known.has(user), now));
  }

  /** A person's file. */
  #textOf(user: string, credentials: string): string {
    const settled = this.#settled.get(user);
    const more = settled === undefined ? '' : `,"settled":${JSON.stringify(settled)}`;
    return `${this.#about()},"credentials":${credentials}${more}}`;
  }

  #summary(): string {
    const refused = this.parts.unwatched?.();
    return `${this.#about(refused === undefined ? {} : { unwatched: refused })}}\n`;
  }

  /** What there is to say of credmond itself, as JSON whose end is left open. */
  #about(more: Partial<Summary> = {}): string {
    const { clock, config } = this.parts;
    const { providers, warning } = config();
    const summary: Summary = {
      v: 1,
      at: clock.now(),
      pid: process.pid,
      providers: [...providers.values()].map(noteOf),
      warning,
      ...(this.#swept !== undefined && { swept: this.#swept }),
      ...more,
    };
    return JSON.stringify(summary).slice(0, -1);
  }
}

/** The first few of them, which are in it no more. */
function taken(people: Map<string, boolean>, most: number): Person[] {
  const some: Person[] = [];
  for (const person of people) {
    if (some.length === most) break;
    people.delete(person[0]);
    some.push(person);
  }
  return some;
}
