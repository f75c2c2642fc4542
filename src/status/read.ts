import { closeSync, constants, fstatSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Failed } from '../core/failure.js';
import type { Clock } from '../core/ports.js';
import {
  Everyone,
  everyone,
  fileOf,
  parseSnapshot,
  type Snapshot,
  type Summary,
  userOfLine,
} from '../core/snapshot.js';
import { parseSshLogins, type SshLogins, sshLoginsFile } from '../core/ssh-logins.js';
import { type EpochMs, type Seconds, seconds } from '../core/time.js';
import { Lines } from '../system/lines.js';

/** Bytes of what the broker tells: it is a few hundred. */
const largest = 16 * 1024;

/** One person's status file; undefined when credmond has written none. Throws Failed('storage'). */
export const readMine = (dir: string, uid: number): Snapshot | undefined =>
  reading(join(dir, fileOf(uid)), (file) => parseSnapshot(readFileSync(file, 'utf8')));

/** Everybody's, for those who may read it. Throws Failed('storage'). */
export const readAll = (dir: string): Snapshot | undefined => eachLine(dir, (line, all) => all.add(line))?.snapshot();

/** What credmond tells of itself in everybody's, without reading that of anybody. Throws Failed('storage'). */
export const readSummary = (dir: string): Summary | undefined =>
  eachLine(dir, (line, all) => userOfLine(line) === undefined && all.add(line))?.summary;

function eachLine(dir: string, take: (line: string, all: Everyone) => void): Everyone | undefined {
  return reading(join(dir, everyone), (file) => {
    const lines = Lines.open(file);
    if (lines === undefined) return undefined;
    const all = new Everyone();
    try {
      while (lines.next((line) => take(line, all)));
      take(lines.rest(), all);
    } finally {
      lines.close();
    }
    return all;
  });
}

/**
 * What became of ssh logins, by the broker that listens at `socket`; undefined where none tells. The folder is the broker's:
 * whoever broke into it is not to hold up root's status by a FIFO or an endless device.
 */
export function readSshLogins(socket: string): SshLogins | undefined {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  try {
    const fd = openSync(join(dirname(socket), sshLoginsFile), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    try {
      const room = Buffer.alloc(largest);
      return fstatSync(fd).isFile() ? parseSshLogins(room.toString('utf8', 0, readSync(fd, room))) : undefined;
    } finally {
      closeSync(fd);
    }
  } catch {
    return undefined;
  }
}

/** When everybody's was last written, as anyone may see: epoch milliseconds; undefined: never. */
export function lastTold(dir: string): number | undefined {
  try {
    return statSync(join(dir, everyone), { throwIfNoEntry: false })?.mtimeMs;
  } catch {
    // Where nobody may look, nobody is told.
    return undefined;
  }
}

/**
 * Whether credmond is at work: it has written lately, which it does after every full pass, or the one that wrote `snapshot`
 * still runs. Who has no credentials has no file of their own that names its pid.
 */
export function isAtWork(
  { dir, sweep, now }: { readonly dir: string; readonly sweep: Seconds; readonly now: EpochMs },
  snapshot?: Pick<Snapshot, 'pid'>,
): boolean {
  return now - (lastTold(dir) ?? 0) < (2 * sweep + 10) * 1000 || (snapshot !== undefined && isAlive(snapshot.pid));
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function reading<T>(file: string, read: (file: string) => T): T | undefined {
  try {
    return read(file);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new Failed(
      {
        kind: 'storage',
        what: `cannot read ${file} (${code})`,
        hint: 'only root and HTCondor’s group see everybody’s credentials',
      },
      { cause },
    );
  }
}

/**
 * How often a file is looked at by someone who waits for it: a submit waits for the first token, which is mostly there in a
 * moment; whoever has waited for a second waits for something slower.
 */
const [often, seldom, moment] = [seconds(0.015), seconds(0.1), 1000];

/** The first answer other than undefined that `ask` gives; undefined after `limit`. Throws the signal's reason. */
export async function until<T>(
  ask: () => T | undefined,
  { clock, limit, stop }: { readonly clock: Clock; readonly limit: Seconds; readonly stop: AbortSignal },
): Promise<T | undefined> {
  const begun = clock.steady();
  for (;;) {
    const answer = ask();
    const waited = clock.steady() - begun;
    if (answer !== undefined || waited >= limit * 1000) return answer;
    await clock.sleep(waited < moment ? often : seldom, stop);
  }
}
