import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fail } from '../../core/failure.js';
import { openDir, readBounded, storageFailed, writeSecret } from '../../stores/atomic.js';
import { createPrivate } from '../../stores/state.js';
import type { Change } from './plan.js';
import type { Work } from './survey.js';

/** A file or folder as it was before it was touched. */
export interface Was {
  /** Of its file system; not in old backups. */
  readonly dev?: string;
  readonly ino: string;
  readonly size: string;
  readonly mtimeNs: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export interface Entry {
  readonly work: Work;
  readonly was: Was;
  /** Of what is removed: the name of its copy. */
  readonly copy?: string;
}

/**
 * What it takes to undo a migration: the contents of what was removed, the modes and owners of what was changed. Refresh
 * tokens are not copied: issuers that rotate them revoke the whole login when an old one is used again.
 *   begun    nothing, something or all of it has been done
 *   applied  all of it
 *   undone   nothing of it is left
 */
export interface Manifest {
  readonly v: 1;
  readonly state: 'begun' | 'applied' | 'undone';
  /** The credential directory. */
  readonly dir: string;
  /** Its numbers; not in old backups. */
  readonly root?: { readonly dev: string; readonly ino: string };
  readonly entries: readonly Entry[];
  readonly dropIn: {
    readonly path: string;
    readonly changes: readonly Change[];
    /** The name of the copy of what was there before. */
    readonly before?: string;
  };
}

export interface Backup {
  readonly path: string;
  readonly manifest: Manifest;
}

const file = 'manifest.json';
const limit = 64 * 1024 * 1024;

/** Makes the folder of all backups: for root alone, in a folder that others may enter. Throws Failed('storage'). */
export function openBackups(root: string): void {
  try {
    mkdirSync(dirname(root), { recursive: true, mode: 0o755 });
  } catch (thrown) {
    throw storageFailed('make', dirname(root), thrown);
  }
  createPrivate(root).close();
}

/** The latest backup that is not undone; undefined where there is none. Throws Failed('storage'). */
export async function current(root: string): Promise<Backup | undefined> {
  const names = list(root).sort().reverse();
  for (const name of names) {
    const path = join(root, name);
    const manifest = await readManifest(path);
    if (manifest !== undefined && manifest.state !== 'undone') return { path, manifest };
  }
  return undefined;
}

/** A new folder for a backup. `now`: epoch milliseconds. */
export function makeFolder(root: string, now: number): string {
  const stamp = new Date(now).toISOString().replace(/[-:]|\.\d+/g, '');
  const names = list(root);
  let path = join(root, stamp);
  for (let i = 2; names.includes(path.slice(root.length + 1)); i++) path = join(root, `${stamp}.${i}`);
  createPrivate(path).close();
  return path;
}

/**
 * What was there before, by today's numbers: a file system may get another number when the machine starts (NFS, btrfs,
 * LVM), under which its files keep theirs. `now`: those of the credential directory.
 */
export function entriesBy({ root, entries }: Manifest, now: { readonly dev: string; readonly ino: string }): Entry[] {
  if (root === undefined || root.ino !== now.ino || root.dev === now.dev) return [...entries];
  return entries.map((entry) =>
    entry.was.dev === root.dev ? { ...entry, was: { ...entry.was, dev: now.dev } } : entry,
  );
}

/** A name that no copy has had: those of earlier runs stay until they are undone. */
export const newCopyName = (): string =>
  `copy-${Buffer.from(crypto.getRandomValues(new Uint8Array(12))).toString('hex')}`;

export async function writeManifest({ path, manifest }: Backup): Promise<void> {
  await writeSecret(path, file, `${JSON.stringify(manifest, undefined, 1)}\n`, { durable: true });
}

export async function writeCopy(path: string, name: string, bytes: Uint8Array): Promise<void> {
  await writeSecret(path, name, bytes, { durable: true });
}

/** Throws Failed('storage') where the copy is gone. */
export async function readCopy(path: string, name: string): Promise<Buffer> {
  const read = await reading(path, name);
  return read ?? fail('storage', `${path}/${name} is gone: what it was a copy of cannot be put back`);
}

/** They hold client secrets, and are of no use any more. */
export function dropCopies(path: string): void {
  for (const name of list(path)) if (name !== file) rmSync(join(path, name), { force: true });
}

async function readManifest(path: string): Promise<Manifest | undefined> {
  const bytes = await reading(path, file);
  if (bytes === undefined) return undefined;
  try {
    const value = JSON.parse(bytes.toString('utf8')) as Manifest | null;
    return value?.v === 1 ? value : undefined;
  } catch {
    return undefined;
  }
}

async function reading(path: string, name: string): Promise<Buffer | undefined> {
  const folder = openDir(path);
  try {
    const read = await readBounded(folder, name, { limit });
    if (read.trouble === 'empty') return Buffer.alloc(0);
    return read.trouble === undefined ? read.bytes : undefined;
  } finally {
    folder.close();
  }
}

function list(path: string): string[] {
  try {
    return readdirSync(path).filter((name) => !name.startsWith('.'));
  } catch {
    return [];
  }
}
