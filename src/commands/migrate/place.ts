import {
  type BigIntStats,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  lstatSync,
  openSync,
} from 'node:fs';
import { basename, dirname } from 'node:path';
import { type DirHandle, errnoOf, openDir, storageFailed } from '../../stores/atomic.js';
import type { Was } from './backup.js';
import { changedMeanwhile, modeOf } from './survey.js';

/** Why there is nothing to work in: a folder on the way is gone, or something else has taken its place. */
export type Missing = 'gone' | 'changed';

/**
 * Does something in the folder that `path` (from `dir`) lies in, which is held open meanwhile: condor's account may rename
 * what is in the credential directory. Throws Failed('storage') where that itself cannot be opened.
 */
export async function inFolderOf<T>(
  dir: string,
  path: string,
  work: (folder: DirHandle, name: string) => T | Promise<T>,
): Promise<T | Missing> {
  const root = openDir(dir);
  let folder: DirHandle;
  try {
    const user = dirname(path);
    folder = user === '.' ? root : root.sub(user);
  } catch (thrown) {
    root.close();
    if (!changedMeanwhile(thrown)) throw thrown;
    return errnoOf(thrown) === 'ENOENT' ? 'gone' : 'changed';
  }
  try {
    return await work(folder, basename(path));
  } finally {
    folder.close();
    root.close();
  }
}

export function wasOf(stat: BigIntStats): Was {
  return { dev: `${stat.dev}`, ino: `${stat.ino}`, size: `${stat.size}`, mtimeNs: `${stat.mtimeNs}`, ...modeOf(stat) };
}

/** As it is now; undefined when it is gone. */
export function statOf(folder: DirHandle, name: string): BigIntStats | undefined {
  return lstatSync(folder.at(name), { bigint: true, throwIfNoEntry: false });
}

/**
 * Gives a file or folder a mode and owners, if it is the one that is meant and (`may`) may be given them; whether it was. A
 * folder's size and time change with what is in it, so it is the same as long as its number is.
 */
export function setMode(
  open: () => number,
  to: Pick<Was, 'mode' | 'uid' | 'gid'>,
  meant: Was,
  may: (stat: BigIntStats) => boolean = () => true,
): boolean {
  let fd: number;
  try {
    fd = open();
  } catch (thrown) {
    if (changedMeanwhile(thrown)) return false;
    throw thrown;
  }
  try {
    const stat = fstatSync(fd, { bigint: true });
    if (!isSame(stat, meant) || (!stat.isDirectory() && stat.nlink > 1n) || !may(stat)) return false;
    const { uid, gid } = modeOf(stat);
    // chown(2) takes setuid and setgid bits away, so the mode comes last.
    if (uid !== to.uid || gid !== to.gid) fchownSync(fd, to.uid, to.gid);
    fchmodSync(fd, to.mode);
    return true;
  } finally {
    closeSync(fd);
  }
}

/** Whether two things have one number: inode numbers are those of a file system, whose own is not in old backups. */
export const sameNumber = (a: Pick<Was, 'dev' | 'ino'>, b: Pick<Was, 'dev' | 'ino'>): boolean =>
  a.ino === b.ino && (a.dev === undefined || b.dev === undefined || a.dev === b.dev);

export function isSame(stat: BigIntStats, was: Was): boolean {
  const now = wasOf(stat);
  if (!sameNumber(now, was)) return false;
  return stat.isDirectory() || (stat.isFile() && now.size === was.size && now.mtimeNs === was.mtimeNs);
}

/** Opens whatever is there, without following a link or waiting for a FIFO. Throws Failed('storage'). */
export const opener = (folder: DirHandle, name: string): (() => number) =>
  opening(folder.at(name), `${folder.path}/${name}`, constants.O_NONBLOCK);

/** Opens a folder itself, and nothing that a link in its place leads to. Throws Failed('storage'). */
export const folderOpener = (path: string): (() => number) => opening(path, path, constants.O_DIRECTORY);

function opening(real: string, path: string, flags: number): () => number {
  return () => {
    try {
      return openSync(real, constants.O_RDONLY | constants.O_NOFOLLOW | flags);
    } catch (thrown) {
      throw storageFailed('open', path, thrown);
    }
  };
}
