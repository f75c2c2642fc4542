import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { fail } from '../../core/failure.js';
import type { Way } from '../../core/pam-stack.js';
import { openDir, readBounded, storageFailed, writeSecret } from '../../stores/atomic.js';
import { createPrivate } from '../../stores/state.js';

/** A file as it was before credmon. */
interface Was {
  readonly hash: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Epoch seconds. */
  readonly mtime: number;
  /** The name of its copy in the backup. */
  readonly copy: string;
}

/** A file that is written or changed. */
export interface Part {
  /** As the machine sees it. */
  readonly path: string;
  /** Undefined: it was not there. */
  readonly before?: Was;
  /** Hashes of what this command has put there: the first is the newest. */
  readonly ours: readonly string[];
}

/** What was asked for. */
export interface Asked {
  readonly mode: 'login' | 'seed';
  readonly after?: 'key' | 'password';
  readonly groups: readonly string[];
  readonly noExcept: boolean;
  readonly hook: boolean;
  readonly prompt?: 'always' | 'never';
}

/**
 * What it takes to put everything back.
 *   begun      nothing, something or all of it has been written
 *   installed  all of it
 */
export interface Manifest {
  readonly v: 1;
  readonly state: 'begun' | 'installed';
  readonly way: Way | 'hook';
  /** Taken again where the next one does not say otherwise. */
  readonly asked: Asked;
  readonly service: string;
  readonly sshdConfig: string;
  /** What sshd -T said before. */
  readonly seen: Readonly<Record<'everybody' | 'root', Readonly<Record<string, readonly string[]>>>>;
  /** In the order in which they are written. */
  readonly parts: readonly Part[];
  /** Folders that were made for them. */
  readonly made: readonly string[];
}

const file = 'manifest.json';
const limit = 4 * 1024 * 1024;

/** Of the bytes of a text in latin1. */
export const hashOf = (text: string): string => createHash('sha256').update(text, 'latin1').digest('hex');

/** Undefined: nothing is installed. Throws Failed('storage') where it cannot be told. */
export async function readManifest(folder: string): Promise<Manifest | undefined> {
  if (lstatSync(folder, { throwIfNoEntry: false }) === undefined) return undefined;
  const text = await reading(folder, file);
  if (text === undefined) return undefined;
  try {
    const value = JSON.parse(text) as Manifest;
    if (value.v === 1) return value;
  } catch {
    // Told of below.
  }
  return fail('storage', `${folder}/${file} is not what this command wrote`, 'restore it from a backup of the machine');
}

/** Makes the folder if need be: for root alone. */
export async function writeManifest(folder: string, manifest: Manifest): Promise<void> {
  open(folder);
  await writeSecret(folder, file, `${JSON.stringify(manifest, undefined, 1)}\n`, { durable: true });
}

export async function writeCopy(folder: string, name: string, text: string): Promise<void> {
  open(folder);
  await writeSecret(folder, name, Buffer.from(text, 'latin1'), { durable: true });
}

/** Throws Failed('storage') where the copy is not what was copied. */
export async function readCopy(folder: string, { path, before }: Part): Promise<string> {
  const text = before && (await reading(folder, before.copy));
  if (before === undefined || text === undefined || hashOf(text) !== before.hash)
    return fail(
      'storage',
      `the copy of ${path} in ${folder} is gone or has changed`,
      'put it back from a backup of the machine, or from its package',
    );
  return text;
}

/** The copies are of no use any more: the last thing that an uninstallation does. */
export function dropBackup(folder: string): void {
  try {
    // Without the manifest there is no installation, whatever else is left.
    rmSync(`${folder}/${file}`, { force: true });
    for (const name of readdirSync(folder)) rmSync(`${folder}/${name}`, { force: true });
    rmdirSync(folder);
  } catch (thrown) {
    throw storageFailed('remove', folder, thrown);
  }
}

function open(folder: string): void {
  try {
    mkdirSync(dirname(folder), { recursive: true, mode: 0o755 });
  } catch (thrown) {
    throw storageFailed('make', dirname(folder), thrown);
  }
  createPrivate(folder).close();
}

async function reading(folder: string, name: string): Promise<string | undefined> {
  const dir = openDir(folder);
  try {
    const read = await readBounded(dir, name, { limit, owners: [0, process.geteuid?.() ?? 0] });
    if (read.trouble === 'empty') return '';
    return read.trouble === undefined ? read.bytes.toString('latin1') : undefined;
  } finally {
    dir.close();
  }
}
