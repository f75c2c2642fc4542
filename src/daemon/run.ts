import type { Clock, Credentials, Log } from '../core/ports.js';
import { type Seconds, seconds } from '../core/time.js';
import type { Intake } from './intake.js';
import type { Keeper } from './keeper.js';
import type { Report } from './report.js';

/** How long what is in flight may take after SIGTERM. */
const grace = seconds(10);

/** The configuration is read at most once in so many milliseconds. */
const betweenReloads = 3000;

export interface DaemonParts {
  readonly keeper: Keeper;
  readonly report: Report;
  readonly intake: Intake | undefined;
  readonly credentials: Credentials;
  readonly clock: Clock;
  readonly log: Log;
  sweep(): Seconds;
  /** Everything was looked at, and what was due was tried. */
  completed(): Promise<void>;
  /** SIGHUP: the configuration may be another one; whether it is. Throws Failed; then the old one stays. */
  reload(): Promise<boolean>;
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
  await completed();
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
    await parts.completed();
    report.swept();
    log.debug('a full pass is over');
  };

  const cutShort = (thrown: unknown) => log.error(`the pass was cut short: ${(thrown as Error).message}`);

  const wake = (): void => {
    if (stopped) return;
    if (passing) {
      // That one may be waiting for an issuer which hangs.
      again = true;
      void intake?.round();
      keeper.sweep().catch(cutShort);
      return;
    }
    passing = pass()
      .catch(cutShort)
      .finally(() => {
        passing = undefined;
        if (again) {
          again = false;
          wake();
        } else if (!stopped) cancel = clock.after(parts.sweep() * 1000, wake);
      });
  };

  let reloaded = Number.NEGATIVE_INFINITY;
  let reloading = false;
  /** condor_credd sends a SIGHUP for every credential that is stored: those that come together are one. */
  const reloadSoon = (): void => {
    if (reloading || stopped) return;
    reloading = true;
    clock.after(Math.max(0, reloaded + betweenReloads - clock.steady()), async () => {
      reloaded = clock.steady();
      reloading = false;
      await parts.reload().then(
        (changed) => changed && wake(),
        (thrown) => log.error(`${(thrown as Error).message}; the configuration stays as it was`),
      );
    });
  };

  wake();
  return {
    wake: () => {
      // At once: condor_config_val was seen to take 5 s.
      wake();
      reloadSoon();
    },
    async stop(fast) {
      stopped = true;
      cancel();
      watch.close();
      const limit = new Promise<void>((resolve) => clock.after(grace * 1000, resolve));
      await keeper.close(fast ? seconds(0) : grace);
      if (!fast) await Promise.race([intake?.settle(), limit]);
      await report.flush();
    },
  };
}
