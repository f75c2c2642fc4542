import { join } from 'node:path';
import { failureOf } from '../../core/failure.js';
import type { Health } from '../../core/health.js';
import type { Clock } from '../../core/ports.js';
import { everyone, type Summary } from '../../core/snapshot.js';
import { type EpochMs, type Seconds, spell } from '../../core/time.js';
import { unwatchedNotice } from '../../core/watching.js';
import { isAlive } from '../read.js';
import { Follow } from './follow.js';
import type { Ledger } from './ledger.js';

/** Where a screen has its credentials from. */
export interface Feed {
  readonly everybody: boolean;
  /** All that there was has been taken in. */
  readonly isRead: boolean;
  /** Who keeps them, and when that last told anything. */
  readonly teller: { readonly name: string; readonly at: EpochMs } | undefined;
  /** What is wrong with that, and what to do. */
  notice(): string | undefined;
  /** Looks whether there is anything new; `news`: where that takes a while, when there is. */
  look(news: () => void): void;
  /** Takes in what is new until the time is over; whether there is more. */
  read(over: () => boolean): boolean;
  close(): void;
}

export interface EveryoneParts {
  readonly dir: string;
  readonly ledger: Ledger;
  readonly clock: Pick<Clock, 'now'>;
  /** How often credmond tells of itself, whatever happens. */
  readonly sweep: Seconds;
  /** Where its log is. */
  readonly log?: string;
}

/** Everybody's, by the file that credmond adds to. */
export function everyoneFeed({ dir, ledger, clock, sweep, log }: EveryoneParts): Feed {
  const path = join(dir, everyone);
  const follow = new Follow({
    path,
    line: (line) => ledger.add(line),
    begin: () => ledger.begin(),
    end: (over) => ledger.end(over),
  });
  const itsLog = log === undefined ? 'its log' : `its log (${log})`;
  const start = `Run: condor_on -subsystem CREDMON_OAUTH; why it ended says ${itsLog}.`;
  return {
    everybody: true,
    get isRead() {
      return follow.isRead || follow.hindrance !== undefined;
    },
    get teller() {
      return ledger.summary && { name: `credmond ${ledger.summary.pid}`, at: ledger.summary.at };
    },
    notice() {
      const { hindrance } = follow;
      if (hindrance === 'missing') return `credmond has told nothing: there is no ${path}. ${start}`;
      if (hindrance !== undefined) {
        const why = /^E(?:ACCES|PERM)$/.test(hindrance.code)
          ? 'only root and HTCondor’s group may'
          : 'it is tried again';
        return `Cannot read ${path} (${hindrance.code}): ${why}.`;
      }
      return ledger.summary && troubleOf(ledger.summary);
    },
    look: () => follow.look(),
    read: (over) => follow.read(over),
    close: () => follow.close(),
  };

  function troubleOf({ pid, at, unwatched }: Summary): string | undefined {
    const ago = (clock.now() - at) / 1000;
    if (!isAlive(pid))
      return `credmond does not run: nothing is refreshed, and what stands here is ${spell(ago)} old. ${start}`;
    if (ago > 2 * sweep + 60)
      return `credmond runs, but has told nothing for ${spell(ago)}. Look at the disk, ${itsLog} and credmon doctor.`;
    return unwatchedNotice(unwatched, sweep);
  }
}

/** What is known of a person's own. */
export interface Own {
  readonly healths: readonly Health[];
  readonly teller?: { readonly name: string; readonly at: EpochMs };
  readonly notice?: string;
}

/** A person's own: few, and told all at once. */
export function ownFeed(ledger: Ledger, ask: () => Promise<Own>): Feed {
  let own: Own | undefined;
  let trouble: string | undefined;
  let asking = false;
  let isNew = false;
  const answered = (answer: Own) => {
    [own, isNew, trouble] = [answer, true, undefined];
  };
  return {
    everybody: false,
    get isRead() {
      return (own !== undefined && !isNew) || trouble !== undefined;
    },
    get teller() {
      return own?.teller;
    },
    notice: () => trouble ?? own?.notice,
    look(news) {
      if (asking) return;
      asking = true;
      const failed = (thrown: unknown) => {
        const failure = failureOf(thrown);
        trouble = failure ? `${failure.what}${failure.hint === undefined ? '' : `: ${failure.hint}`}` : String(thrown);
      };
      ask()
        .then(answered, failed)
        .finally(() => {
          asking = false;
          news();
        });
    },
    read(over) {
      if (own === undefined || !isNew) return false;
      const people = new Map<string, Health[]>();
      for (const health of own.healths) people.set(health.user, [...(people.get(health.user) ?? []), health]);
      ledger.begin();
      for (const [user, healths] of people) ledger.tell(user, healths);
      isNew = false;
      return ledger.end(over);
    },
    close() {},
  };
}
