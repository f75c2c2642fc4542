import { accessSync, constants, statSync } from 'node:fs';
import { constants as system } from 'node:os';
import { join } from 'node:path';
import type { Config } from '../../core/config.js';
import { exitCode, Failed } from '../../core/failure.js';
import { everyone } from '../../core/snapshot.js';
import { sshLoginsInWords } from '../../core/ssh-logins.js';
import { seconds } from '../../core/time.js';
import { chooseFace, wantsColour } from '../../login/faces/index.js';
import { inkBundle } from '../../login/ink-bundle.js';
import { readSshLogins } from '../../status/read.js';
import { everyoneFeed, ownFeed } from '../../status/watch/feeds.js';
import { Ledger } from '../../status/watch/ledger.js';
import { List } from '../../status/watch/list.js';
import { systemClock as clock } from '../../system/clock.js';
import { json, look, noticeOf, text } from './view.js';

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Until it is quit: on a terminal a screen, elsewhere one JSON line or table after the other when it changes. Resolves to 0, or
 * to what a shell makes of the signal that ended it.
 */
export async function watch(config: Config, asJson: boolean): Promise<number> {
  const stop = new AbortController();
  const onSignal = (signal: (typeof signals)[number]) => stop.abort(signal);
  // Not once: Ink's signal-exit ends the process at a signal that nobody else listens to, and counts after that.
  for (const signal of signals) process.on(signal, onSignal);
  try {
    const { stdout, env } = process;
    const face = chooseFace({ json: asJson, plain: env.INK_SCREEN_READER === 'true', stdout, env });
    const ended = face === 'ink' ? await onScreen(config, stop.signal) : await inLines(config, asJson, stop.signal);
    if (ended === 'quit') return 0;
    const signal = stop.signal.reason as (typeof signals)[number] | undefined;
    return signal === undefined || signal === 'SIGINT' ? exitCode({ kind: 'cancelled' }) : 128 + system.signals[signal];
  } finally {
    for (const signal of signals) process.off(signal, onSignal);
  }
}

async function onScreen(config: Config, stop: AbortSignal): Promise<'quit' | 'cancelled'> {
  const { watchScreen } = (await import(inkBundle)) as typeof import('../ink.js');
  const { stdin, stdout, env } = process;
  const { warning, providers, statusDir, sweep, log } = config;
  const list = new List();
  const ledger = new Ledger(clock.now(), list);
  const feed = mayReadAll(config)
    ? everyoneFeed({ dir: statusDir, ledger, clock, sweep, ...(log.file !== undefined && { log: log.file }) })
    : ownFeed(ledger, async () => {
        const view = await look(config);
        const notice = noticeOf(view, config);
        const { healths, daemon, where } = view;
        const name = `credmond ${where === 'own' ? '--user ' : ''}${daemon?.pid}`;
        return { healths, ...(daemon && { teller: { name, at: daemon.at } }), ...(notice !== undefined && { notice }) };
      });
  // A terminal that has gone takes no modes either: its end is told by SIGHUP.
  stdin.on('error', () => {});
  const { pam, broker } = config;
  const aside = () => {
    const logins = pam && readSshLogins(broker.socket);
    return logins && sshLoginsInWords(logins);
  };
  const colour = wantsColour(env);
  return watchScreen({ stdin, stdout, clock, feed, ledger, list, colour, warning, providers, aside, stop });
}

/** Root, HTCondor's group, and whose the credentials are: that is so also before credmond has told anything. */
function mayReadAll({ credDir, statusDir }: Config): boolean {
  if (credDir === undefined) return false;
  const uid = process.getuid?.();
  try {
    if (uid === 0 || statSync(credDir).uid === uid) return true;
  } catch {
    // Where nobody may look, it is none of theirs.
  }
  try {
    accessSync(join(statusDir, everyone), constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

/** Looks once a second. */
async function inLines(config: Config, asJson: boolean, stop: AbortSignal): Promise<'cancelled'> {
  try {
    for (let before = ''; ; ) {
      const view = await look(config);
      const now = asJson ? json(view) : text(view, config).join('\n');
      if (now !== before) process.stdout.write(`${now}\n`);
      before = now;
      await clock.sleep(seconds(1), stop);
    }
  } catch (thrown) {
    if (!stop.aborted || thrown instanceof Failed) throw thrown;
    return 'cancelled';
  }
}
