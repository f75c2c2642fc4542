import { userInfo } from 'node:os';
import { join } from 'node:path';
import type { Config } from '../../core/config.js';
import { exitCode, failureOf } from '../../core/failure.js';
import type { Health } from '../../core/health.js';
import { stem } from '../../core/names.js';
import { findProvider } from '../../core/provider.js';
import type { Snapshot } from '../../core/snapshot.js';
import { type SshLogins, sshLoginsInWords } from '../../core/ssh-logins.js';
import { capital, harmlessJson } from '../../core/text.js';
import { unwatchedNotice } from '../../core/watching.js';
import { healthOfKept } from '../../status/kept.js';
import { isAlive, isAtWork, readAll, readMine, readSshLogins } from '../../status/read.js';
import { table } from '../../status/table.js';
import { openPersonalStore } from '../../stores/personal.js';
import { stateDir } from '../../stores/state.js';
import { systemClock as clock } from '../../system/clock.js';

/** What a daemon tells has a stamp, which is nobody's business. */
type Shown = Health & Partial<Snapshot['credentials'][number]>;

/** What there is to show. */
export interface View {
  readonly healths: readonly Shown[];
  /** Of the daemon that keeps them; undefined: none has told of itself. */
  readonly daemon?: Pick<Snapshot, 'pid' | 'at' | 'swept' | 'unwatched'>;
  readonly alive: boolean;
  /** Where they are kept. */
  readonly where: 'condor' | 'own';
  readonly everybody: boolean;
  /** Where people log in by ssh and the broker. */
  readonly ssh?: SshLogins;
}

export async function look(config: Config): Promise<View> {
  const uid = process.getuid?.() ?? -1;
  if (config.credDir !== undefined) {
    const everybody = uid === 0;
    const snapshot = everybody ? readAll(config.statusDir) : readMine(config.statusDir, uid);
    const ssh = config.pam && readSshLogins(config.broker.socket);
    return {
      healths: snapshot?.credentials ?? [],
      where: 'condor',
      everybody,
      alive: everybody
        ? snapshot !== undefined && isAlive(snapshot.pid)
        : isAtWork({ dir: config.statusDir, sweep: config.sweep, now: clock.now() }, snapshot),
      ...(snapshot && { daemon: snapshot }),
      ...(ssh && { ssh }),
    };
  }
  const dir = stateDir(process.env);
  const snapshot = readAll(join(dir, 'status'));
  const alive = snapshot !== undefined && isAlive(snapshot.pid);
  const store = await openPersonalStore({ env: process.env, choice: 'stay' });
  const healths: Shown[] = [];
  for (const id of await store.list()) {
    const kept = await store.load(id).catch((thrown) => damagedOf(id, thrown));
    if (kept && 'state' in kept) {
      healths.push(kept);
      continue;
    }
    const told = snapshot?.credentials.find((health) => stem(health) === id);
    if (kept === undefined) continue;
    const own = () => healthOfKept(kept, userInfo().username, findProvider(config.providers, kept.provider));
    healths.push(told && (alive || told.state === 'login-needed') ? told : own());
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

export function text(view: View, config: Config): string[] {
  const { warning, providers } = config;
  const { healths, everybody } = view;
  const columns = process.stdout.columns ?? 120;
  const lines = table(healths, { now: clock.now(), columns, users: everybody, warning, providers });
  if (healths.length === 0)
    lines.push(everybody ? 'Nobody has logged in.' : 'You are not logged in to any provider. Run: credmon login');
  const notice = noticeOf(view, config);
  if (notice !== undefined) lines.push('', notice);
  if (view.ssh) lines.push('', `${sshLoginsInWords(view.ssh)}.`);
  return lines;
}

/** What ails credmond itself. */
export const noticeOf = (view: View, { sweep }: Pick<Config, 'sweep'>): string | undefined =>
  idleWords(view) ?? unwatchedNotice(view.daemon?.unwatched, sweep);

/** Undefined: somebody is at work. */
function idleWords({ healths, where, alive, daemon }: View): string | undefined {
  if (alive || (where === 'own' && healths.length === 0)) return undefined;
  const who = where === 'condor' ? 'credmond does not run' : 'No credmond --user runs';
  const hint =
    where === 'condor'
      ? 'tell whoever runs this machine (condor_who -daemons)'
      : 'start it, or let credmon token refresh on demand';
  return `${who}${daemon ? '' : ' or has not told of itself'}: nothing is refreshed by itself. ${capital(hint)}.`;
}

export function json(view: View): string {
  const { daemon, alive } = view;
  const credentials = view.healths.map(({ stamp: _, ...shown }) => shown);
  return harmlessJson({
    daemon: daemon && {
      ...{ pid: daemon.pid, at: daemon.at, swept: daemon.swept, alive },
      ...(daemon.unwatched !== undefined && { unwatched: daemon.unwatched }),
    },
    credentials,
    ...(view.ssh && { ssh: view.ssh }),
  });
}

/** 0, or 79 when one of the person's own needs a login. */
export function codeOf(view: View): number {
  const needed = !view.everybody && view.healths.some(({ state }) => state === 'login-needed');
  return needed ? exitCode({ kind: 'login-needed' }) : 0;
}
