import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, rmdirSync, utimesSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { fail } from '../../core/failure.js';
import { openDir, readBounded, removeSecret, storageFailed, writeSecret } from '../../stores/atomic.js';

/** A file of the machine: its bytes as latin1. */
export interface There {
  readonly text: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Epoch seconds. */
  readonly mtime?: number;
}

const limit = 4 * 1024 * 1024;

/** Undefined: there is none. Throws Failed: `unsupported` for what is no file of its own, `storage` for what cannot be read. */
export async function look(path: string): Promise<There | undefined> {
  if (!existsSync(dirname(path))) return undefined;
  const dir = openDir(dirname(path));
  try {
    const read = await readBounded(dir, basename(path), { limit });
    if (read.trouble === 'absent') return undefined;
    if (read.trouble === 'empty') return { text: '', mode: 0o644, uid: 0, gid: 0 };
    if (read.trouble !== undefined)
      return fail(
        'unsupported',
        `${path} is not changed: ${read.trouble === 'not a file' ? 'it is a symbolic link, or no file' : read.trouble}`,
        'something else manages it: have that write the lines (see docs/ssh.md)',
      );
    const { mode, uid, gid, mtimeNs } = read.stat;
    return {
      text: read.bytes.toString('latin1'),
      ...{ mode: Number(mode & 0o7777n), uid: Number(uid), gid: Number(gid), mtime: Number(mtimeNs / 1000n) / 1e6 },
    };
  } finally {
    dir.close();
  }
}

/** Puts a file there whole, or takes it away (undefined): a reader finds the old one or the new one, also after a power failure. */
export async function put(path: string, to: There | undefined): Promise<void> {
  if (to === undefined && !existsSync(dirname(path))) return;
  const dir = openDir(dirname(path));
  try {
    const { text, mode, uid, gid, mtime } = to ?? {};
    if (text === undefined) await removeSecret(dir, basename(path), { durable: true });
    else {
      const whose = { ...(uid !== undefined && { uid }), ...(gid !== undefined && { gid }) };
      const bytes = Buffer.from(text, 'latin1');
      await writeSecret(dir, basename(path), bytes, { mode: mode ?? 0o644, ...whose, durable: true });
      if (mtime !== undefined) utimesSync(path, mtime, mtime);
    }
  } finally {
    dir.close();
  }
  if (to !== undefined) await relabel(path);
}

/** Folders that are not there yet; those that were made, the uppermost first. */
export function makeFolders(path: string): readonly string[] {
  const made: string[] = [];
  for (let folder = path; !existsSync(folder); folder = dirname(folder)) made.unshift(folder);
  try {
    for (const folder of made) mkdirSync(folder, { mode: 0o755 });
  } catch (thrown) {
    throw storageFailed('make', path, thrown);
  }
  return made;
}

/** If nothing is in it. */
export function removeFolder(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // Somebody else has put something there, or it has gone.
  }
}

/** A new file has the label of its folder; the policy may want another. Where there is no SELinux there is no such program. */
function relabel(path: string): Promise<void> {
  if (!existsSync('/sys/fs/selinux/enforce')) return Promise.resolve();
  return new Promise((resolve) => {
    execFile('/usr/sbin/restorecon', [path], { timeout: 10_000 }, () => resolve());
  });
}
