import { fchmodSync, mkdirSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { setImmediate as breathe } from 'node:timers/promises';
import { Failed } from '../core/failure.js';
import { type EpochMs, later } from '../core/time.js';
import { type DirHandle, isStray, openDir, removeSecret, sweepStrays } from '../stores/atomic.js';

/** Leftovers of crashed writes are removed when they are this old: seconds. */
const strayAge = 60;
/** How many names are looked at before others have their turn. */
const together = 100;

/**
 * A folder that we tell things in, open for as long as `work` takes; it is made where it is missing. `mode`: made so where it
 * is not, whatever the umask. Throws Failed: 'storage', or 'config' where it is another account's.
 */
export async function inOwnFolder<T>(
  path: string,
  work: (folder: DirHandle) => Promise<T>,
  { mode }: { readonly mode?: number } = {},
): Promise<T> {
  mkdirSync(path, { recursive: true, mode: 0o755 });
  const folder = openDir(path);
  try {
    if (folder.stat.uid !== BigInt(process.geteuid?.() ?? -1)) {
      throw new Failed({
        kind: 'config',
        what: `the status folder ${path} belongs to another account`,
        hint: 'name one of its own with CREDMON_STATUS_DIR',
      });
    }
    if (mode !== undefined && (Number(folder.stat.mode) & 0o7777) !== mode) fchmodSync(folder.fd, mode);
    return await work(folder);
  } finally {
    folder.close();
  }
}

/** Takes away the files that are nobody's any more, and what crashed writes left. Throws Failed('storage'). */
export async function tidy(folder: DirHandle, isNobodys: (name: string) => boolean, now: EpochMs): Promise<void> {
  const names = await readdir(folder.here);
  if (names.some(isStray)) sweepStrays(folder, later(now, -strayAge));
  let looked = 0;
  for (const name of names) {
    if (++looked % together === 0) await breathe();
    if (isNobodys(name)) await removeSecret(folder, name, { durable: false });
  }
}
