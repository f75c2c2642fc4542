import { lutimesSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { fail } from '../../core/failure.js';
import { openDir, readBounded, removeSecret, writeSecret } from '../../stores/atomic.js';
import {
  type Backup,
  current,
  dropCopies,
  type Entry,
  entriesBy,
  type Manifest,
  readCopy,
  writeManifest,
} from './backup.js';
import { folderOpener, inFolderOf, isSame, type Missing, opener, setMode, statOf } from './place.js';
import { dropInText } from './plan.js';
import { changedMeanwhile, largest } from './survey.js';

export interface UndoParts {
  readonly backups: string;
  /** Called before each step that changes something: tests end it there. */
  readonly step?: (what: string) => void;
}

export interface Undone {
  readonly backup: string;
  readonly restored: number;
  /** What is not as it was before, and why. */
  readonly left: readonly string[];
  /** The file for HTCondor's configuration, which is gone or as it was before. */
  readonly dropIn: string;
}

/**
 * Puts back what the last migration found: contents, modes, owners, and then HTCondor's configuration. What has been
 * replaced or removed since stays so. May be run again where it was ended. Throws Failed.
 */
export async function undo({ backups, step = () => {} }: UndoParts): Promise<Undone> {
  const backup = await current(backups);
  if (backup === undefined) return fail('usage', 'there is nothing to undo', `backups are kept in ${backups}`);
  const { path, manifest } = backup;
  const left: string[] = [];
  let restored = 0;
  // Files before their folders: those may be closed to us then.
  for (const entry of entriesNow(manifest).reverse()) {
    step(`restore ${entry.work.path}`);
    const trouble = await (entry.copy === undefined
      ? changeBack(manifest.dir, entry)
      : putBack(manifest.dir, entry, path, entry.copy));
    if (trouble === undefined) restored++;
    else left.push(`${entry.work.path || manifest.dir}: ${trouble}`);
  }
  step('drop-in');
  const trouble = await dropBack(backup);
  if (trouble !== undefined) left.push(trouble);
  step('undone');
  await writeManifest({ path, manifest: { ...manifest, state: 'undone' } });
  dropCopies(path);
  return { backup: path, restored, left, dropIn: manifest.dropIn.path };
}

const removed = 'it has been removed since, and stays so';
const newer = 'a newer one has taken its place, and stays there';
const gone: Readonly<Record<Missing, string>> = { gone: removed, changed: newer };

function entriesNow(manifest: Manifest): Entry[] {
  if (manifest.entries.length === 0) return [];
  const folder = openDir(manifest.dir);
  folder.close();
  return entriesBy(manifest, { dev: `${folder.stat.dev}`, ino: `${folder.stat.ino}` });
}

/** Why the mode and owner are not as they were before; undefined when they are. */
async function changeBack(dir: string, { work, was }: Entry): Promise<string | undefined> {
  if (work.path === '') return setMode(folderOpener(dir), was, was) ? undefined : newer;
  const done = await inFolderOf(dir, work.path, (folder, name) => {
    if (statOf(folder, name) === undefined) return 'gone';
    return setMode(opener(folder, name), was, was) ? 'done' : 'changed';
  });
  return done === 'done' ? undefined : gone[done];
}

/** Why a removed file is not back; undefined when it is. A `.meta` without its `.top` would be of no use to anybody. */
async function putBack(dir: string, { work, was }: Entry, backup: string, copy: string): Promise<string | undefined> {
  const bytes = await readCopy(backup, copy);
  const done = await inFolderOf(dir, work.path, async (folder, name) => {
    const stat = statOf(folder, name);
    if (stat !== undefined) {
      // An apply that was ended has not removed it yet.
      if (isSame(stat, was)) return setMode(opener(folder, name), was, was) ? 'done' : 'changed';
      // An undo that was ended has put it back already.
      const read = await readBounded(folder, name, { limit: largest });
      if (read.trouble !== undefined || !read.bytes.equals(bytes)) return 'changed';
    } else if (name.endsWith('.meta') && statOf(folder, name.replace(/meta$/, 'top')) === undefined) return 'gone';
    const { mode, uid, gid } = was;
    try {
      await writeSecret(folder, name, bytes, { mode, uid, gid, durable: true });
      // HTCondor's own credmon goes by the age of key files.
      const seconds = Number(BigInt(was.mtimeNs) / 1_000_000n) / 1000;
      lutimesSync(folder.at(name), seconds, seconds);
    } catch (thrown) {
      // The folder has been removed under us, or what was just put there.
      if (changedMeanwhile(thrown)) return 'gone';
      throw thrown;
    }
    return 'done';
  });
  return done === 'done' ? undefined : gone[done];
}

async function dropBack({ path, manifest: { dropIn } }: Backup): Promise<string | undefined> {
  const folder = openDir(dirname(dropIn.path));
  const name = basename(dropIn.path);
  try {
    const read = await readBounded(folder, name, { limit: largest });
    const text = read.trouble === undefined ? read.bytes.toString('utf8') : undefined;
    if (dropIn.before !== undefined) {
      await writeSecret(folder, name, await readCopy(path, dropIn.before), { mode: 0o644, durable: true });
      return undefined;
    }
    if (text === undefined) return undefined;
    if (!isOurs(text, dropIn.changes)) return `${dropIn.path}: somebody has edited it, so it stays; remove it yourself`;
    await removeSecret(folder, name, { durable: true });
    return undefined;
  } finally {
    folder.close();
  }
}

/** Of this run of apply, or of an earlier one that changed less. */
const isOurs = (text: string, changes: Parameters<typeof dropInText>[0]): boolean =>
  text === dropInText(changes) || text === dropInText(changes.filter(({ knob }) => text.includes(`\n${knob} = `)));
