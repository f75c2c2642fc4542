import { randomBytes } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { chmod, lstat, mkdir, readdir, rmdir, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Failed } from '../core/failure.js';
import type { Clock, Log } from '../core/ports.js';
import { octal } from '../core/text.js';
import { codeOf, storageFailed } from './trouble.js';

/**
 * Who is at the other end of a Unix socket? Node cannot ask the kernel (SO_PEERCRED), so it is HTCondor's FS method: we
 * name a fresh random path in a sticky folder of ours, the client makes a directory there, and lstat(2) says whose it is.
 * Its mode is exactly {@link proofMode}, which does two things. HTCondor's own clients make a directory of mode 0700
 * wherever their server names one, so a false HTCondor daemon could have a victim's tool make ours; but no other program
 * makes one of 0500. And nobody can move another's there: to give a directory a new parent, rename(2) wants write
 * permission on the directory itself.
 */

/** Removing an empty directory needs its parent's permission only, so it is no hindrance to whoever cleans up. */
export const proofMode = 0o500;

/** As many bits as a guess has to hit: 192. */
const randomLength = 24;
/** The kernel stamps files with a clock that is up to one tick (10 ms) behind. */
const slackMs = 100;
/** What a client left behind is swept away when it is this old. */
const strayMs = 60_000;

export interface Challenge {
  /** Where the client is to make a directory, of mode 0500. */
  readonly path: string;
  /** Whose directory is there. Throws Failed('refused') when it proves nothing. May be asked once. */
  look(): Promise<number>;
  /** Removes whatever is there, as the folder's owner may. Never throws. */
  drop(): Promise<void>;
}

export interface Challenges {
  fresh(): Challenge;
  /** Removes what clients have left behind. Never throws. */
  sweep(): Promise<void>;
}

/**
 * Makes the folder or verifies it: ours alone, sticky, and open to everybody to make directories in (1733, so that
 * nobody sees the others' names; an administrator may have made it 1777). Throws Failed('config').
 */
export async function openChallenges(dir: string, clock: Clock, log: Log): Promise<Challenges> {
  const dev = await prepareFolder(dir);
  return {
    fresh: () => challengeAt(join(dir, randomBytes(randomLength).toString('hex')), dev, clock, log),
    async sweep() {
      try {
        for (const name of await readdir(dir)) {
          const path = join(dir, name);
          const stat = await lstat(path).catch(() => undefined);
          if (stat && clock.now() - stat.ctimeMs > strayMs) await remove(path, log);
        }
      } catch (thrown) {
        log.warn(`the challenge folder ${dir} cannot be swept (${codeOf(thrown)})`);
      }
    },
  };
}

/** The folder's file system. */
async function prepareFolder(dir: string): Promise<bigint> {
  const own = process.geteuid?.() ?? -1;
  try {
    if ((await mkdir(dirname(dir), { recursive: true, mode: 0o755 })) !== undefined) await chmod(dirname(dir), 0o755);
    await mkdir(dir, { mode: 0o700 }).catch((thrown) => {
      if (codeOf(thrown) !== 'EEXIST') throw thrown;
    });
    const stat = await lstat(dir, { bigint: true });
    if (!stat.isDirectory()) throw wrong(dir, 'is not a folder');
    if (Number(stat.uid) !== own) throw wrong(dir, `belongs to uid ${stat.uid}, not to the broker (uid ${own})`);
    const mode = Number(stat.mode & 0o7777n);
    if (mode !== 0o1733 && mode !== 0o1777) await chmod(dir, 0o1733);
    return stat.dev;
  } catch (thrown) {
    throw storageFailed('make the challenge folder', dir, thrown);
  }
}

const wrong = (dir: string, what: string): Failed =>
  new Failed({
    kind: 'config',
    what: `the challenge folder ${dir} ${what}`,
    hint: 'remove it and start the broker again',
  });

function challengeAt(path: string, dev: bigint, clock: Clock, log: Log): Challenge {
  const since = clock.now();
  let used = false;
  return {
    path,
    async look() {
      if (used) throw refused('it was looked at before');
      used = true;
      let stat: BigIntStats;
      try {
        stat = await lstat(path, { bigint: true });
      } catch (thrown) {
        throw refused(codeOf(thrown) === 'ENOENT' ? 'nothing is there' : `it cannot be looked at (${codeOf(thrown)})`);
      }
      const trouble = proofTrouble(stat, { since, dev });
      if (trouble !== undefined) throw refused(trouble);
      return Number(stat.uid);
    },
    drop: () => remove(path, log),
  };
}

type Looks = Pick<BigIntStats, 'dev' | 'mode' | 'nlink' | 'ctimeMs' | 'birthtimeMs' | 'isDirectory' | 'isSymbolicLink'>;

interface Asked {
  /** Epoch milliseconds. */
  readonly since: number;
  /** The challenge folder's file system. */
  readonly dev: bigint;
}

/** Why what lies at a challenged path proves nothing; undefined when it does. */
export function proofTrouble(stat: Looks, { since, dev }: Asked): string | undefined {
  if (stat.isSymbolicLink()) return 'it is a symbolic link';
  if (!stat.isDirectory()) return 'it is not a directory';
  // Something is mounted there, and a FUSE file system says of its root whatever its owner likes.
  if (stat.dev !== dev) return 'it is on another file system';
  const mode = Number(stat.mode & 0o7777n);
  if (mode !== proofMode) return `its mode is ${octal(mode)}, not ${octal(proofMode)}`;
  // btrfs says 1, others 2: itself and its ".".
  if (stat.nlink > 2n) return 'there is something in it';
  const earliest = BigInt(Math.floor(since)) - BigInt(slackMs);
  // Zero: the file system does not keep it.
  const born = stat.birthtimeMs > 0n ? stat.birthtimeMs : stat.ctimeMs;
  if (stat.ctimeMs < earliest || born < earliest) return 'it was made before the broker asked for it';
  return undefined;
}

const refused = (what: string): Failed =>
  new Failed({
    kind: 'refused',
    what: `the broker could not tell who you are by the directory that it asked for: ${what}`,
    hint: 'try again; if it stays so, tell whoever runs this machine',
  });

async function remove(path: string, log: Log): Promise<void> {
  try {
    await rmdir(path);
  } catch (thrown) {
    const code = codeOf(thrown);
    if (code === 'ENOENT') return;
    if (code !== 'ENOTDIR') return log.debug(`${path} cannot be removed (${code})`);
    // A file or a symbolic link: unlink(2) takes the link itself, never what it points to.
    await unlink(path).catch((again) => log.debug(`${path} cannot be removed (${codeOf(again)})`));
  }
}
