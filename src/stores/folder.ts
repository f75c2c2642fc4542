import { type BigIntStats, closeSync, constants, fstatSync, fsyncSync, openSync, statSync } from 'node:fs';
import { Rounds } from './rounds.js';
import { storageFailed } from './trouble.js';

/**
 * An open folder. What is named through {@link at} lies in this very folder, whatever is renamed or replaced on the way
 * to it meanwhile: Linux resolves /proc/self/fd/<n> to the open folder itself (Node has no openat(2)).
 */
export interface DirHandle {
  readonly fd: number;
  /** As it was opened, for messages. */
  readonly path: string;
  /** The folder itself, to be listed. */
  readonly here: string;
  /** As it was when opened. */
  readonly stat: BigIntStats;
  /** False where /proc is not there: then paths are what they are, and others may change what they lead to. */
  readonly pinned: boolean;
  /** Of the fsyncs of what lies in it: the same for all folders that were opened in it. */
  readonly rounds: Rounds;
  /** The path of an entry. Throws RangeError when `name` is not a single path component, and after close. */
  at(name: string): string;
  /** Opens a folder in this one. Throws Failed('storage'); errnoOf tells why. */
  sub(name: string): DirHandle;
  /** Only when nothing that was named through it is under way any more. May be called again. */
  close(): void;
}

/**
 * Opens a folder without following a symbolic link in the last place. Throws Failed('storage') whose cause is the system's
 * error. It is synchronous because it takes a few microseconds where the thread pool would take a hundred.
 */
export function openDir(path: string): DirHandle {
  return open(path, path, new Rounds());
}

/** A file's name within a folder, and nothing that leads out of it. */
function isComponent(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && !/[/\0]/.test(name);
}

/** `real` is what the system is asked for, `path` is what people are told. */
function open(real: string, path: string, rounds: Rounds): DirHandle {
  let fd: number;
  try {
    fd = openSync(real, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch (thrown) {
    throw storageFailed('open', path, thrown);
  }
  const stat = fstatSync(fd, { bigint: true });
  const pinned = procWorks(fd, stat);
  const here = pinned ? `/proc/self/fd/${fd}` : real;
  let closed = false;
  const at = (name: string): string => {
    if (!isComponent(name)) throw new RangeError(`not the name of a file in a folder: ${JSON.stringify(name)}`);
    // The number may be another file's by now.
    if (closed) throw new RangeError(`the folder ${path} is closed`);
    return `${here}/${name}`;
  };
  return {
    fd,
    path,
    here,
    stat,
    pinned,
    rounds,
    at,
    sub: (name) => open(at(name), `${path}/${name}`, rounds),
    close() {
      if (closed) return;
      closed = true;
      closeSync(fd);
    },
  };
}

/** A new folder's own entry is durable only when the folder above is. */
export function syncNow(path: string): void {
  let dir: DirHandle | undefined;
  try {
    dir = openDir(path);
    fsyncSync(dir.fd);
  } catch {
    // Where that cannot be opened or synced, the file's own fsync has to do.
  } finally {
    dir?.close();
  }
}

let proc: boolean | undefined;

/** Whether /proc is there and is this system's: found out once. */
function procWorks(fd: number, stat: BigIntStats): boolean {
  if (proc === undefined) {
    try {
      const seen = statSync(`/proc/self/fd/${fd}`, { bigint: true });
      proc = seen.ino === stat.ino && seen.dev === stat.dev;
    } catch {
      proc = false;
    }
  }
  return proc;
}
