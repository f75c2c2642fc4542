import { failureOf } from '../core/failure.js';
import type { Clock, Credentials, Log } from '../core/ports.js';
import { type Seconds, seconds } from '../core/time.js';
import type { Intake } from './intake.js';
import type { Keeper } from './keeper.js';
import type { Metrics } from './metrics.js';
import type { Report } from './report.js';
import { Sweeper, type Watching } from './sweeper.js';

/** How long what is in flight may take after SIGTERM: all is over within ten seconds, which some give a service and no more. */
const grace = seconds(8);

/** How long what nobody waits to hear of may be written at the end: it is told by the next one. */
const lastWords = seconds(1);

/** The configuration is read at most once in so many milliseconds. */
const betweenReloads = 3000;

/** That it still cannot be read is said at most once in so many milliseconds. */
const betweenWords = 60_000;

/** Something changed in a user's folder, which is `leaving` where another's is watched in its place now; or in the spool. */
type Seen = (user: string | undefined, leaving?: boolean) => void;

export interface DaemonParts {
  readonly keeper: Keeper;
  readonly report: Report;
  readonly metrics?: Pick<Metrics, 'begin' | 'once' | 'passed' | 'reloaded' | 'stop'>;
  readonly intake: Intake | undefined;
  readonly credentials: Credentials;
  readonly clock: Clock;
  readonly log: Log;
  sweep(): Seconds;
  /** Everything was looked at, and what was due was tried. */
  completed(): Promise<void>;
  /** SIGHUP: the configuration may be another one; whether it is. Throws Failed; then the old one stays. */
  reload(): Promise<boolean>;
  /** A file that the configuration names, a client secret, is not the one that was read. */
  outdated(): boolean;
  /** There are very many users: before they are looked at. */
  many?(): void;
  /** Begins to tell of changes, and that some may not have been told. */
  watch(seen: Seen, lost: () => void): Watching & { close(): void };
}

export interface Daemon {
  /** Looks at everything, now. */
  wake(): void;
  /** Ends gracefully; `fast`: without waiting for what is in flight. */
  stop(fast: boolean): Promise<void>;
}

/** One full pass; how many credentials stand badly. */
export async function runOnce({ keeper, report, metrics, intake, completed, clock }: DaemonParts): Promise<number> {
  const begun = clock.steady();
  await intake?.round();
  const bad = await keeper.pass();
  await completed();
  report.swept();
  metrics?.passed(clock.steady() - begun);
  await metrics?.once();
  await keeper.close(grace);
  await report.flush();
  return bad;
}

/** From now on, until it is stopped: events at once, and a full pass now and then in case events were missed. */
export function startDaemon(parts: DaemonParts): Daemon {
  const { keeper, report, metrics, intake, clock, log } = parts;
  let stopped = false;
  let cancel = () => {};
  let passing: Promise<void> | undefined;
  /** The look of the next pass, which could not wait for the end of this one. */
  let ahead: Promise<unknown> | undefined;

  const watch = parts.watch(
    (user, leaving) => {
      if (stopped) return;
      if (user === undefined) {
        void intake?.round();
        return;
      }
      // Or those who give way to each other would never come to an end.
      if (!leaving) watch.add(user, true);
      void sweeper.look(user);
    },
    () => void (stopped || sweeper.sweep().catch(cutShort)),
  );
  const sweeper = new Sweeper({ ...parts, watch });

  const pass = async (looked?: Promise<unknown>): Promise<void> => {
    cancel();
    const begun = clock.steady();
    if (looked === undefined) await intake?.round();
    await (looked ?? sweeper.sweep());
    await keeper.settled();
    if (stopped) return;
    await parts.completed();
    report.swept();
    metrics?.passed(clock.steady() - begun);
    if (cut !== '') log.info('a full pass went through again');
    cut = '';
    // Whoever mends a secret need not know that we have to be told.
    if (parts.outdated()) reloadSoon();
    log.debug('a full pass is over');
  };

  /** What the last pass was cut short by: the next may be as well. */
  let cut = '';
  const cutShort = (thrown: unknown) => {
    const { message } = thrown as Error;
    if (message !== cut) log.error(`the pass was cut short: ${message}; tried again`);
    cut = message;
  };

  const wake = (): void => {
    if (stopped) return;
    if (passing) {
      // That one may be waiting for an issuer which hangs.
      ahead = Promise.all([intake?.round(), sweeper.sweep()]);
      // Told when that pass comes.
      ahead.catch(() => {});
      return;
    }
    passing = pass(ahead)
      .catch(cutShort)
      .finally(() => {
        passing = undefined;
        if (ahead) wake();
        else if (!stopped) cancel = clock.after(parts.sweep() * 1000, wake);
      });
    ahead = undefined;
  };

  let reloaded = Number.NEGATIVE_INFINITY;
  let reloading: 'soon' | 'now' | 'now and again' | undefined;
  let said: { readonly what: string; readonly at: number } | undefined;
  let cancelReload = () => {};
  /** Nobody has sent a SIGHUP for this one. */
  let byItself = false;
  /**
   * condor_credd sends a SIGHUP for every credential that is stored: those that come together are one. What is being read may
   * be of before, and is read again: but not side by side, or the older could be the last that is heard.
   */
  const reloadSoon = (): void => {
    if (stopped) return;
    if (reloading !== undefined) {
      if (reloading === 'now') reloading = 'now and again';
      return;
    }
    reloading = 'soon';
    clock.after(Math.max(0, reloaded + betweenReloads - clock.steady()), async () => {
      reloading = 'now';
      cancelReload();
      await parts.reload().then(
        (changed) => {
          metrics?.reloaded(true);
          if (said !== undefined && !changed) log.info('the configuration can be read again, and is the one in use');
          said = undefined;
          if (!changed) return;
          metrics?.begin();
          keeper.reconsider();
          sweeper.anew();
          report.reconfigured();
          wake();
        },
        (thrown) => {
          metrics?.reloaded(false);
          const what = (thrown as Error).message;
          // What asks HTCondor for it stood still: the other configuration may be there all the same.
          if (failureOf(thrown)?.kind === 'transient') {
            const tryAgain = () => {
              byItself = true;
              reloadSoon();
            };
            cancelReload = clock.after(betweenWords, tryAgain);
          }
          if (said?.what === what && (byItself || clock.steady() - said.at < betweenWords)) return;
          said = { what, at: clock.steady() };
          const hint = failureOf(thrown)?.hint;
          log.error(`${what}; the configuration stays as it was${hint === undefined ? '' : ` (${hint})`}`);
        },
      );
      reloaded = clock.steady();
      const once = reloading === 'now';
      reloading = undefined;
      if (!once) reloadSoon();
    });
  };

  wake();
  metrics?.begin();
  return {
    wake: () => {
      // At once: condor_config_val was seen to take 5 s.
      wake();
      byItself = false;
      reloadSoon();
    },
    async stop(fast) {
      stopped = true;
      cancel();
      cancelReload();
      watch.close();
      void metrics?.stop();
      const limit = new Promise<void>((resolve) => clock.after(grace * 1000, resolve));
      await keeper.close(fast ? seconds(0) : grace);
      if (!fast) await Promise.race([intake?.settle(), limit]);
      await report.flush(lastWords);
    },
  };
}
