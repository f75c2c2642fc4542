import { fchmodSync, mkdirSync } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';
import { fail } from '../core/failure.js';
import { octal } from '../core/text.js';
import { type DirHandle, openDir, syncNow } from './folder.js';
import { errnoOf, storageFailed } from './trouble.js';

export type Env = Readonly<Record<string, string | undefined>>;

/** The person's folder for what credmon keeps: `$XDG_STATE_HOME/credmon` (XDG Base Directory Specification 0.8). */
export function stateDir(env: Env): string {
  const { XDG_STATE_HOME: state, HOME: home } = env;
  // "All paths set in these environment variables must be absolute. If relative, the path is to be ignored."
  if (state !== undefined && isAbsolute(state)) return join(state, 'credmon');
  if (home !== undefined && isAbsolute(home)) return join(home, '.local', 'state', 'credmon');
  return fail(
    'storage',
    'it is not known where your home folder is: neither XDG_STATE_HOME nor HOME holds an absolute path',
    'set HOME, or XDG_STATE_HOME to a folder of yours',
  );
}

const us = (): bigint => BigInt(process.geteuid?.() ?? -1);

/**
 * Opens a folder that only its owner may look into, and that is ours; undefined when it does not exist. One of ours
 * that is open to others is closed to them. Throws Failed('storage').
 */
export function openPrivate(path: string): DirHandle | undefined {
  let dir: DirHandle;
  try {
    dir = openDir(path);
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT') return undefined;
    throw thrown;
  }
  try {
    if (dir.stat.uid !== us()) {
      fail(
        'storage',
        `${path} is not your folder: it belongs to uid ${dir.stat.uid}`,
        'set HOME or XDG_STATE_HOME to a folder of yours, or run credmon as that account',
      );
    }
    if ((dir.stat.mode & 0o77n) !== 0n) tighten(dir);
    return dir;
  } catch (thrown) {
    dir.close();
    throw thrown;
  }
}

function tighten(dir: DirHandle): void {
  try {
    fchmodSync(dir.fd, 0o700);
  } catch (thrown) {
    fail(
      'storage',
      `others may look into ${dir.path}: its mode is ${octal(dir.stat.mode)}`,
      `chmod 700 ${dir.path}`,
      thrown,
    );
  }
}

/** {@link openPrivate}, creating it and what leads to it. Throws Failed('storage'). */
export function createPrivate(path: string): DirHandle {
  try {
    const first = mkdirSync(path, { recursive: true, mode: 0o700 });
    if (first !== undefined)
      for (let made = path; made.length >= first.length; made = dirname(made)) syncNow(dirname(made));
  } catch (thrown) {
    throw storageFailed('create', path, thrown);
  }
  return openPrivate(path) ?? fail('storage', `${path} was removed a moment ago`, 'try again');
}
