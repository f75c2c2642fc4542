import { userInfo } from 'node:os';
import { join } from 'node:path';
import { loadConfig } from '../../config/load.js';
import type { Config } from '../../core/config.js';
import { exitCode, Failed, failureOf } from '../../core/failure.js';
import type { Health } from '../../core/health.js';
import { keyOf, stem } from '../../core/names.js';
import type { Kept } from '../../core/ports.js';
import { findProvider, issuerOf } from '../../core/provider.js';
import type { Snapshot } from '../../core/snapshot.js';
import { harmlessJson } from '../../core/text.js';
import { seconds } from '../../core/time.js';
import { lastTold, readAll, readMine } from '../../status/read.js';
import { table } from '../../status/table.js';
import { openPersonalStore } from '../../stores/personal.js';
import { stateDir } from '../../stores/state.js';
import { systemClock as clock } from '../../system/clock.js';

export interface StatusOptions {
  readonly json: boolean;
  readonly watch: boolean;
  readonly config?: string;
}

interface View {
  readonly healths: readonly Health[];
  /** Of the daemon that keeps them; undefined: none has told of itself. */
  readonly daemon?: Pick<Snapshot, 'pid' | 'at' | 'swept'>;
  readonly alive: boolean;
  /** Where they are kept. */
  readonly where: 'condor' | 'own';
  readonly everybody: boolean;
}

/** Shows how credentials stand. Resolves to 0, or to 79 when one of the person's own needs a login. */
export async function runStatus(options: StatusOptions): Promise<number> {
  const config = await loadConfig({ env: process.env, ...(options.config !== undefined && { file: options.config }) });
  if (options.watch) return watch(config, options.json);
  const view = await look(config);
  process.stdout.write(options.json ? `${json(view)}\n` : `${text(view).join('\n')}\n`);
  return codeOf(view);
}

async function look(config: Config): Promise<View> {
  const uid = process.getuid?.() ?? -1;
  if (config.credDir !== undefined) {
    const everybody = uid === 0;
    const snapshot = everybody ? readAll(config.statusDir) : readMine(config.statusDir, uid);
    return {
      healths: snapshot?.credentials ?? [],
      where: 'condor',
      everybody,
      alive: (snapshot !== undefined && isAlive(snapshot.pid)) || (!everybody && hasTold(config)),
      ...(snapshot && { daemon: snapshot }),
    };
  }
  const dir = stateDir(process.env);
  const snapshot = readAll(join(dir, 'status'));
  const alive = snapshot !== undefined && isAlive(snapshot.pid);
  const store = await openPersonalStore({ env: process.env, choice: 'stay' });
  const healths: Health[] = [];
  for (const id of await store.list()) {
    const kept = await store.load(id).catch((thrown) => damagedOf(id, thrown));
    if (kept && 'state' in kept) {
      healths.push(kept);
      continue;
    }
    const told = snapshot?.credentials.find((health) => stem(health) === id);
    if (kept) healths.push(told && (alive || told.state === 'login-needed') ? told : healthOf(config, kept));
  }
  return { healths, where: 'own', everybody: false, alive, ...(snapshot && { daemon: snapshot }) };
}

/** One that cannot be read does not hide the others. */
function damagedOf(id: string, thrown: unknown): Health {
  const trouble = failureOf(thrown);
  if (trouble === undefined) throw thrown;
  const user = userInfo().username;
  return { user, provider: id, service: id, issuer: id, state: 'damaged', since: clock.now(), trouble, refreshes: 0 };
}

/** How a credential stands that no daemon keeps. */
function healthOf(config: Config, kept: Kept): Health {
  const provider = findProvider(config.providers, kept.provider);
  const id = {
    user: userInfo().username,
    service: kept.provider,
    ...(kept.handle !== undefined && { handle: kept.handle }),
  };
  const { token } = kept;
  return {
    ...id,
    provider: kept.provider,
    issuer: provider ? issuerOf(provider) : keyOf(id),
    state: token ? 'fresh' : 'new',
    since: kept.since,
    refreshes: 0,
    ...(token && { life: { issued: token.issued, expires: token.expires } }),
  };
}

/**
 * Whether credmond has written lately, which it does after every full pass. Who has no credentials has no file of their own
 * that names its pid, or one that is older than its last restart.
 */
function hasTold({ statusDir, sweep }: Config): boolean {
  return clock.now() - (lastTold(statusDir) ?? 0) < (2 * sweep + 10) * 1000;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function text(view: View): string[] {
  const { healths, where, alive, daemon, everybody } = view;
  const columns = process.stdout.columns ?? 120;
  const lines = table(healths, { now: clock.now(), columns, users: everybody });
  if (healths.length === 0)
    lines.push(everybody ? 'Nobody has logged in.' : 'You are not logged in to any provider. Run: credmon login');
  if (!alive) {
    const who = where === 'condor' ? 'credmond does not run' : 'No credmond --user runs';
    const hint =
      where === 'condor'
        ? 'tell whoever runs this machine (condor_who -daemons)'
        : 'start it, or let credmon token refresh on demand';
    if (where === 'condor' || healths.length > 0)
      lines.push(
        '',
        `${who}${daemon ? '' : ' or has not told of itself'}: nothing is refreshed by itself. ${capital(hint)}.`,
      );
  }
  return lines;
}

const capital = (words: string): string => words.charAt(0).toUpperCase() + words.slice(1);

function json(view: View): string {
  const credentials = view.healths.map((health) => {
    const { stamp: _, ...shown } = health as Health & { stamp?: string };
    return shown;
  });
  return harmlessJson({
    daemon: view.daemon && { pid: view.daemon.pid, at: view.daemon.at, swept: view.daemon.swept, alive: view.alive },
    credentials,
  });
}

function codeOf(view: View): number {
  const needed = !view.everybody && view.healths.some(({ state }) => state === 'login-needed');
  return needed ? exitCode({ kind: 'login-needed' }) : 0;
}

/** Once a second, until Ctrl-C: on a terminal in place, elsewhere one JSON line or table after the other when it changes. */
async function watch(config: Config, asJson: boolean): Promise<number> {
  const stop = new AbortController();
  process.once('SIGINT', () => stop.abort());
  const { stdout } = process;
  const inPlace = stdout.isTTY === true && !asJson;
  if (inPlace) stdout.write('\u001B[?1049h\u001B[?25l');
  try {
    let before = '';
    for (;;) {
      const view = await look(config);
      const now = asJson ? json(view) : text(view).join('\n');
      if (inPlace) stdout.write(`\u001B[H${frame(now)}`);
      else if (now !== before) stdout.write(`${now}\n`);
      before = now;
      await clock.sleep(seconds(1), stop.signal);
    }
  } catch (thrown) {
    if (!stop.signal.aborted || thrown instanceof Failed) throw thrown;
    return exitCode({ kind: 'cancelled' });
  } finally {
    if (inPlace) stdout.write('\u001B[?25h\u001B[?1049l');
  }
}

/** As many lines as the terminal has, each cleared to its end. */
function frame(text: string): string {
  const rows = process.stdout.rows ?? 24;
  const lines = text.split('\n').slice(0, rows - 1);
  return `${lines.map((line) => `${line}\u001B[K`).join('\n')}\u001B[J`;
}
