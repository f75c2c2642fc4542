import type { BigIntStats } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fail } from '../../core/failure.js';
import { plain } from '../../core/text.js';
import { type DirHandle, openDir, readBounded, removeSecret, writeSecret } from '../../stores/atomic.js';
import {
  current,
  type Entry,
  entriesBy,
  type Manifest,
  makeFolder,
  newCopyName,
  openBackups,
  type Was,
  writeCopy,
  writeManifest,
} from './backup.js';
import { folderOpener, inFolderOf, type Missing, opener, sameNumber, setMode, statOf, wasOf } from './place.js';
import { type Change, dropInText } from './plan.js';
import { largest, type Work } from './survey.js';

export interface ApplyParts {
  /** The folder of all backups. */
  readonly backups: string;
  /** The credential directory. */
  readonly dir: string;
  /** The file for HTCondor's configuration. */
  readonly dropIn: string;
  readonly changes: readonly Change[];
  readonly works: readonly Work[];
  /** Epoch milliseconds. */
  readonly now: number;
  /** Called before each step that changes something: tests end it there. */
  readonly step?: (what: string) => void;
}

export interface Applied {
  readonly backup: string;
  /** Paths from the credential directory that changed meanwhile, and are as they were: another run does them. */
  readonly skipped: readonly string[];
}

/**
 * Does what was planned. What it takes to undo it is on disk before anything is done; secrets are removed only when the
 * new configuration is there. Ended anywhere, it can be run again or be undone. Throws Failed('storage').
 */
export async function apply(parts: ApplyParts): Promise<Applied> {
  const { backups, dir, now, step = () => {} } = parts;
  openBackups(backups);
  const before = await current(backups);
  if (before !== undefined && before.manifest.dir !== dir)
    fail(
      'config',
      `an earlier migration was of another credential directory, ${plain(before.manifest.dir, 300)}`,
      'run: credmon migrate --undo, and then this again',
    );
  const path = before?.path ?? makeFolder(backups, now);
  const skipped: string[] = [];
  const manifest = await prepare(parts, before?.manifest, path, skipped);
  step('manifest');
  await writeManifest({ path, manifest });

  const doing = async (kind: Work['kind']) => {
    for (const entry of manifest.entries) {
      if (entry.work.kind !== kind || !parts.works.some((work) => work.path === entry.work.path)) continue;
      step(`${kind} ${entry.work.path}`);
      if (!(await perform(dir, entry))) skipped.push(entry.work.path);
    }
  };
  await doing('mode');
  if (parts.changes.length > 0) {
    step('drop-in');
    await writeSecret(
      dirname(manifest.dropIn.path),
      basename(manifest.dropIn.path),
      dropInText(manifest.dropIn.changes),
      {
        mode: 0o644,
        durable: true,
      },
    );
  }
  await doing('remove');
  step('applied');
  await writeManifest({ path, manifest: { ...manifest, state: 'applied' } });
  return { backup: path, skipped: [...new Set(skipped)] };
}

/**
 * What was there before, together with what an earlier run has noted: the earliest counts. Copies are made here. What is
 * not any more what was seen goes to `skipped`; what is gone needs nothing.
 */
async function prepare(
  parts: ApplyParts,
  before: Manifest | undefined,
  path: string,
  skipped: string[],
): Promise<Manifest> {
  const { dir, works, changes, step = () => {} } = parts;
  const root = numbersOf(dir);
  const entries: Entry[] = before === undefined ? [] : entriesBy(before, root);
  for (const work of works) {
    const at = entries.findIndex((entry) => entry.work.path === work.path);
    const known = entries[at];
    const was = await lookAtNow(dir, work.path);
    if (was === 'changed') skipped.push(work.path);
    if (typeof was === 'string') continue;
    const same = known !== undefined && sameNumber(known.was, was);
    let copy = same ? known.copy : undefined;
    if (work.kind === 'remove' && copy === undefined) {
      copy = newCopyName();
      step(`copy ${work.path}`);
      const bytes = await inFolderOf(dir, work.path, contentOf);
      if (bytes === 'changed') skipped.push(work.path);
      if (typeof bytes === 'string') continue;
      await writeCopy(path, copy, bytes);
    }
    const entry: Entry = { work, was: same ? known.was : was, ...(copy !== undefined && { copy }) };
    if (at === -1) entries.push(entry);
    else entries[at] = entry;
  }
  return { v: 1, state: 'begun', dir, root, entries, dropIn: await dropInBefore(parts, before, changes, path) };
}

async function dropInBefore(
  { dropIn: file }: ApplyParts,
  known: Manifest | undefined,
  changes: readonly Change[],
  path: string,
): Promise<Manifest['dropIn']> {
  if (known !== undefined) {
    const rest = known.dropIn.changes.filter(({ knob }) => !changes.some((change) => change.knob === knob));
    return { ...known.dropIn, changes: [...rest, ...changes] };
  }
  const folder = openDir(dirname(file));
  try {
    const read = await readBounded(folder, basename(file), { limit: largest });
    if (read.trouble !== undefined) return { path: file, changes };
    const before = `before-${basename(file)}`;
    await writeCopy(path, before, read.bytes);
    return { path: file, changes, before };
  } finally {
    folder.close();
  }
}

/** Whether it was still what it was; what is gone needs nothing. */
async function perform(dir: string, { work, was }: Entry): Promise<boolean> {
  // Folders are given owners, files never: a stranger's would be believed.
  const folders = !work.path.includes('/');
  const may = (stat: BigIntStats) =>
    stat.isDirectory() === folders && (folders || (work.kind === 'mode' && Number(stat.uid) === work.uid));
  if (work.path === '') {
    if (work.kind === 'remove') return false;
    return setMode(folderOpener(dir), work, was, may);
  }
  const done = await inFolderOf(dir, work.path, async (folder, name) => {
    const stat = statOf(folder, name);
    if (stat === undefined) return 'gone';
    if (work.kind === 'mode') return setMode(opener(folder, name), work, was, may);
    if (!sameNumber(wasOf(stat), was)) return 'changed';
    return (await removeSecret(folder, name, { durable: true })) || 'gone';
  });
  return done === 'gone' || done === true;
}

/** Files and folders only: a link, say, has come since. */
async function lookAtNow(dir: string, path: string): Promise<Was | Missing> {
  if (path === '') return wasOf(statOfDir(dir));
  return inFolderOf(dir, path, (folder, name) => {
    const stat = statOf(folder, name);
    if (stat === undefined) return 'gone';
    return stat.isFile() || stat.isDirectory() ? wasOf(stat) : 'changed';
  });
}

function statOfDir(dir: string): BigIntStats {
  const folder = openDir(dir);
  folder.close();
  return folder.stat;
}

const numbersOf = (dir: string) => {
  const { dev, ino } = statOfDir(dir);
  return { dev: `${dev}`, ino: `${ino}` };
};

async function contentOf(folder: DirHandle, name: string): Promise<Buffer | Missing> {
  const read = await readBounded(folder, name, { limit: largest });
  if (read.trouble === undefined) return read.bytes;
  if (read.trouble === 'empty') return Buffer.alloc(0);
  return read.trouble === 'absent' ? 'gone' : 'changed';
}

export const backupsAt = '/var/lib/credmon/backup';

/** In the folder of HTCondor's configuration that is read last, under a name that comes after all others there. */
export const dropInIn = (folder: string, names: readonly string[]): string => {
  const first = '99-credmon-migrate.conf';
  const others = names.filter((name) => /^[^.#].*[^~]$/.test(name) && name !== 'zz-credmon-migrate.conf');
  const late = names.includes('zz-credmon-migrate.conf') || others.some((name) => name > first);
  return join(folder, late ? 'zz-credmon-migrate.conf' : first);
};
