import {
  type BigIntStats,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  lstatSync,
  open,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  unlinkSync,
  write,
  writeSync,
} from 'node:fs';
import { promisify } from 'node:util';
import type { Stamp } from '../core/plan.js';
import type { EpochMs } from '../core/time.js';
import { type DirHandle, openDir } from './folder.js';
import { errnoOf, storageFailed } from './trouble.js';

export { type DirHandle, openDir, syncNow } from './folder.js';
export { errnoOf, storageFailed } from './trouble.js';

// Of node:fs rather than node:fs/promises: a quarter more writes a second, and no handle that the collector may close.
// What is small is written at once, and only waited for where the disk is: each way to the thread pool and back is 50 to 100
// microseconds, of which a new refresh token that is in memory alone has no use.
const opening = promisify(open);
const writing = promisify(write);

const toWrite = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | constants.O_NOFOLLOW;
const toRead = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY;

export interface WriteOptions {
  /** Default 0600; the umask has no say. */
  readonly mode?: number;
  /** Given away before the first byte is in it. */
  readonly uid?: number;
  readonly gid?: number;
  /** It is to survive a power failure: file and folder are fsynced. */
  readonly durable: boolean;
  /**
   * Called right before the new file takes the old one's place, with nothing in between: is the file that will be
   * replaced still the one that was read ({@link stampAt})? What it throws is thrown on, and the old file stays.
   */
  readonly check?: () => void;
  /** Called with its stamp as soon as it is there, durable or not. Must not throw. */
  readonly placed?: (stamp: Stamp) => void;
  /** False: nobody asks for its stamp, which is then empty. */
  readonly stamped?: boolean;
}

/** What a file is to hold; of pieces no more than a few are had at a time, and others have their turn in between. */
export type Bytes = Uint8Array | string | Iterable<string>;

/**
 * Puts `bytes` under `name`, whole or not at all: a reader sees the old file or the new one. Resolves to the stamp of the
 * new file. Throws Failed('storage'); then the old file is whole and nothing is left behind, except where the folder's own
 * fsync fails, which is after the replacement.
 */
export async function writeSecret(
  dir: DirHandle | string,
  name: string,
  bytes: Bytes,
  options: WriteOptions,
): Promise<Stamp> {
  if (typeof dir !== 'string') return replace(dir, name, bytes, options);
  const folder = openDir(dir);
  try {
    return await replace(folder, name, bytes, options);
  } finally {
    folder.close();
  }
}

async function replace(
  dir: DirHandle,
  name: string,
  bytes: Bytes,
  { mode = 0o600, uid, gid, durable, check, placed, stamped = true }: WriteOptions,
): Promise<Stamp> {
  // Only what could be had again: a new refresh token is lost if the machine is while it waits.
  const underWay = durable ? undefined : dir.rounds.calm();
  if (underWay) await underWay;
  // Not before: a folder that is closed by then is refused here, and its number may be another's.
  const target = dir.at(name);
  const temporary = dir.at(strayName());
  let stray = false;
  let fd: number | undefined;
  try {
    // At first nobody but us may open it, whatever mode it is to have in the end.
    fd = openSync(temporary, toWrite, mode & 0o700);
    stray = true;
    // The mode first: that of what is another's already would take CAP_FOWNER. Mostly it is right as it was made, and whoever
    // watches the folder need not be told of a change.
    if ((fstatSync(fd).mode & 0o7777) !== mode) fchmodSync(fd, mode);
    if (uid !== undefined || gid !== undefined) fchownSync(fd, uid ?? -1, gid ?? -1);
    if (isPieces(bytes)) await writePieces(fd, bytes);
    else writeAllNow(fd, bytes);
    if (durable) await dir.rounds.sync(fd);
    check?.();
    renameSync(temporary, target);
    stray = false;
    // After the rename, since that moves ctime.
    const stamp = stamped ? stampOf(fstatSync(fd, { bigint: true })) : '';
    placed?.(stamp);
    if (durable) await syncFolder(dir);
    return stamp;
  } catch (thrown) {
    throw storageFailed('write', `${dir.path}/${name}`, thrown);
  } finally {
    if (fd !== undefined) closeSync(fd);
    if (stray) discard(temporary);
  }
}

/** Whether something as large as a secret could be written there now, and made durable: else throws Failed('storage'). */
export async function probe(dir: DirHandle): Promise<void> {
  const temporary = dir.at(strayName());
  let fd: number | undefined;
  try {
    fd = openSync(temporary, toWrite, 0o600);
    writeAllNow(fd, Buffer.alloc(4096));
    await dir.rounds.sync(fd);
    await syncFolder(dir);
  } catch (thrown) {
    throw storageFailed('write in', dir.path, thrown);
  } finally {
    if (fd !== undefined) {
      closeSync(fd);
      discard(temporary);
    }
  }
}

/** Bytes of many pieces that are written at once. */
const atOnce = 64 * 1024;

/** Pieces by way of one buffer: as many small ones would stay in memory until the collector comes by. */
async function writePieces(fd: number, pieces: Iterable<string>): Promise<void> {
  const room = Buffer.allocUnsafe(atOnce);
  let used = 0;
  const flush = async (): Promise<void> => {
    await writeAll(fd, room.subarray(0, used));
    used = 0;
  };
  for (const piece of pieces) {
    // A character of a string is at most three bytes.
    if (piece.length * 3 > room.length - used) await flush();
    if (piece.length * 3 > room.length) await writeAll(fd, piece);
    else used += room.write(piece, used);
  }
  await flush();
}

const isPieces = (bytes: Bytes): bytes is Iterable<string> =>
  typeof bytes !== 'string' && !(bytes instanceof Uint8Array);

async function writeAll(fd: number, bytes: Uint8Array | string): Promise<void> {
  const all = bytesOf(bytes);
  for (let done = 0; done < all.length; ) {
    done += (await writing(fd, all, done, all.length - done, null)).bytesWritten;
  }
}

function writeAllNow(fd: number, bytes: Uint8Array | string): void {
  const all = bytesOf(bytes);
  for (let done = 0; done < all.length; ) done += writeSync(fd, all, done, all.length - done, null);
}

const bytesOf = (bytes: Uint8Array | string): Uint8Array => (typeof bytes === 'string' ? Buffer.from(bytes) : bytes);

/** What was put into it, renamed there or removed from it survives a power failure when this resolves. Throws the system's error. */
export async function syncFolder(dir: DirHandle): Promise<void> {
  try {
    await dir.rounds.sync(dir.fd);
  } catch (thrown) {
    // Some network file systems have no fsync for folders: their servers write renames down by themselves.
    if (errnoOf(thrown) !== 'EINVAL' && errnoOf(thrown) !== 'ENOTSUP') throw thrown;
  }
}

function discard(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // The error that brought us here says more; sweepStrays comes by later.
  }
}

/**
 * Takes `name` away; whether it was there. `check` as in {@link WriteOptions}. With `durable` it stays away after a power
 * failure. Throws Failed('storage').
 */
export async function removeSecret(
  dir: DirHandle,
  name: string,
  { durable, check }: Pick<WriteOptions, 'durable' | 'check'>,
): Promise<boolean> {
  const target = dir.at(name);
  check?.();
  try {
    unlinkSync(target);
    if (durable) await syncFolder(dir);
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT') return false;
    throw storageFailed('remove', `${dir.path}/${name}`, thrown);
  }
  return true;
}

/** Of a stray's name: bytes. */
const nameBytes = 12;
/** Drawn for many names at once. */
const drawn = Buffer.alloc(64 * nameBytes);
let used = drawn.length;

export function strayName(): string {
  if (used === drawn.length) {
    // Not of node:crypto: that takes milliseconds to load, also for those who only read.
    crypto.getRandomValues(drawn);
    used = 0;
  }
  used += nameBytes;
  return `.credmon-${drawn.toString('hex', used - nameBytes, used)}.tmp`;
}

/** Whether a file with this name is a write under way, or one that a crash cut short. */
export const isStray = (name: string): boolean => /^\.credmon-[0-9a-f]{24}\.tmp$/.test(name);

/** Removes what crashed writes left, if it was last written before `before`; how many. Throws Failed('storage'). */
export function sweepStrays(dir: DirHandle, before: EpochMs): number {
  let removed = 0;
  try {
    for (const name of readdirSync(dir.here)) {
      if (!isStray(name)) continue;
      const stat = lstatSync(dir.at(name), { throwIfNoEntry: false });
      if (stat === undefined || !stat.isFile() || stat.mtimeMs >= before) continue;
      unlinkSync(dir.at(name));
      removed++;
    }
  } catch (thrown) {
    if (errnoOf(thrown) !== 'ENOENT') throw storageFailed('sweep', dir.path, thrown);
  }
  return removed;
}

/** What tells one state of a file from the next: see core/plan.ts. */
// Joined, since a template is kept as the parts that it is made of, and there is one for each credential.
export const stampOf = ({ ino, ctimeNs, size }: BigIntStats): Stamp => [ino, ctimeNs, size].join('.');

/** Whether anything bears this name now. Throws Failed('storage'). */
export function isAt(dir: DirHandle, name: string): boolean {
  try {
    return lstatSync(dir.at(name), { throwIfNoEntry: false }) !== undefined;
  } catch (thrown) {
    throw storageFailed('look at', `${dir.path}/${name}`, thrown);
  }
}

/** The stamp of what bears this name now; undefined when nothing does. Made for `check`. Throws Failed('storage'). */
export function stampAt(dir: DirHandle, name: string): Stamp | undefined {
  try {
    const stat = lstatSync(dir.at(name), { bigint: true, throwIfNoEntry: false });
    return stat && stampOf(stat);
  } catch (thrown) {
    throw storageFailed('look at', `${dir.path}/${name}`, thrown);
  }
}

/**
 * Why a file is not read. `not a file`: a symbolic link, folder, FIFO, socket or device is in its place.
 * `hard link`: it has further names, so that someone may have put it there who could not have read it.
 */
type ReadTrouble = 'absent' | 'not a file' | 'too large' | 'empty' | 'wrong owner' | 'hard link';

export interface WasRead {
  readonly bytes: Buffer;
  readonly stamp: Stamp;
  readonly stat: BigIntStats;
  readonly trouble?: never;
}

export interface NotRead {
  readonly trouble: ReadTrouble;
}

export interface ReadLimits {
  /** In bytes. */
  readonly limit: number;
  /** The accounts whose file it may be. Default: anyone's. */
  readonly owners?: readonly number[];
}

/**
 * Reads a small file that others may have put there. Never waits for a FIFO, never follows a symbolic link. Throws
 * Failed('storage') when the system does not let us read what is there.
 */
export async function readBounded(dir: DirHandle, name: string, limits: ReadLimits): Promise<WasRead | NotRead> {
  const path = dir.at(name);
  try {
    // Only this may have to wait for the disk; the rest of a small file has then come along, mostly.
    return readOpened(await opening(path, toRead), limits);
  } catch (thrown) {
    return unopened(thrown, dir, name);
  }
}

/**
 * {@link readBounded} at once: for programs that have nothing else to do, and where what is read was listed or written a
 * moment ago and there is so much of it that the thread pool's hundred microseconds each would count.
 */
export function readBoundedNow(dir: DirHandle, name: string, limits: ReadLimits): WasRead | NotRead {
  const path = dir.at(name);
  try {
    return readOpened(openSync(path, toRead), limits);
  } catch (thrown) {
    return unopened(thrown, dir, name);
  }
}

/**
 * The file may change in place, grow or shrink under us: the stamp is that of before, so it is seen as changed later.
 * It may have been replaced or removed since it was opened: then this is what it was just before.
 */
function readOpened(fd: number, { limit, owners }: ReadLimits): WasRead | NotRead {
  try {
    const stat = fstatSync(fd, { bigint: true });
    if (!stat.isFile()) return { trouble: 'not a file' };
    if (owners && !owners.includes(Number(stat.uid))) return { trouble: 'wrong owner' };
    if (stat.nlink > 1n) return { trouble: 'hard link' };
    if (stat.size > BigInt(limit)) return { trouble: 'too large' };
    const room = Buffer.allocUnsafe(Number(stat.size) + 1);
    let length = 0;
    // As long as it was said to be, and nothing came after that: there is no need to read its end once more.
    for (let got = -1; got !== 0 && length !== room.length - 1 && length < room.length; length += got) {
      got = readSync(fd, room, length, room.length - length, null);
    }
    if (length === 0) return { trouble: 'empty' };
    if (length > limit) return { trouble: 'too large' };
    return { bytes: room.subarray(0, length), stamp: stampOf(stat), stat };
  } finally {
    closeSync(fd);
  }
}

function unopened(thrown: unknown, dir: DirHandle, name: string): NotRead {
  switch (errnoOf(thrown)) {
    case 'ENOENT':
      return { trouble: 'absent' };
    case 'ELOOP': // a symbolic link
    case 'ENXIO': // a socket, or a device without a driver
    case 'ENODEV':
      return { trouble: 'not a file' };
    default:
      throw storageFailed('read', `${dir.path}/${name}`, thrown);
  }
}
