import type { Clock, Credentials, Log } from '../core/ports.js';
import { type Seconds, seconds } from '../core/time.js';
import type { Intake } from './intake.js';
import type { Keeper } from './keeper.js';
import type { Report } from './report.js';

/** How long what is in flight may take after SIGTERM. */
const grace = seconds(10);

export interface DaemonParts {
  readonly keeper: Keeper;
  readonly report: Report;
  readonly intake: Intake | undefined;
  readonly credentials: Credentials;
  readonly clock: Clock;
  readonly log: Log;
  sweep(): Seconds;
  /** Everything was looked at, and what was due was tried. */
  completed(): void;
  /** SIGHUP: the configuration may be another one. Throws Failed; then the old one stays. */
  reload(): Promise<void>;
  /** Begins to tell of changes: of users' folders by name, of the spool by `undefined`. */
  watch(seen: (user: string | undefined) => void): { add(user: string): void; close(): void };
}

export interface Daemon {
  /** Looks at everything, now. */
  wake(): void;
  /** Ends gracefully; `fast`: without waiting for what is in flight. */
  stop(fast: boolean): Promise<void>;
}

/** One full pass; how many credentials stand badly. */
export async function runOnce({ keeper, report, intake, completed }: DaemonParts): Promise<number> {
  await intake?.round();
  const bad = await keeper.pass();
  completed();
  report.swept();
  await keeper.close(grace);
  await report.flush();
  return bad;
}

/** From now on, until it is stopped: events at once, and a full pass now and then in case events were missed. */
export function startDaemon(parts: DaemonParts): Daemon {
  const { keeper, report, intake, credentials, clock, log } = parts;
  let stopped = false;
  let cancel = () => {};
  let passing: Promise<void> | undefined;
  let again = false;

  const watch = parts.watch((user) => {
    if (stopped) return;
    if (user === undefined) {
      void intake?.round();
      return;
    }
    watch.add(user);
    void keeper.look(user);
  });

  const pass = async (): Promise<void> => {
    cancel();
    await intake?.round();
    for (const user of await credentials.users()) watch.add(user);
    await keeper.pass();
    if (stopped) return;
    parts.completed();
    report.swept();
    log.debug('a full pass is over');
  };

  const wake = (): void => {
    if (stopped) return;
    if (passing) {
      again = true;
      return;
    }
    passing = pass()
      .catch((thrown) => log.error(`the pass was cut short: ${(thrown as Error).message}`))
      .finally(() => {
        passing = undefined;
        if (again) {
          again = false;
          wake();
        } else if (!stopped) cancel = clock.after(parts.sweep() * 1000, wake);
      });
  };

  wake();
  return {
    wake: () => {
      parts.reload().then(wake, (thrown) => {
        log.error(`${(thrown as Error).message}; the configuration stays as it was`);
        wake();
      });
    },
    async stop(fast) {
      stopped = true;
      cancel();
      watch.close();
      await keeper.close(fast ? seconds(0) : grace);
      await report.flush();
    },
  };
}
