import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { unifiedDiff } from '../../core/diff.js';
import { fail } from '../../core/failure.js';
import {
  dropBackup,
  hashOf,
  type Manifest,
  type Part,
  readCopy,
  readManifest,
  writeCopy,
  writeManifest,
} from './backup.js';
import type { Places } from './places.js';
import type { PlannedFile } from './plan.js';
import { look, makeFolders, put, removeFolder, type There } from './put.js';

/** A file as it is, as it was before credmon, and as it is to be. */
export interface Change {
  readonly path: string;
  readonly now: There | undefined;
  readonly before: There | undefined;
  /** Undefined: it is taken away, for this command put it there and does not any more. */
  readonly to: string | undefined;
  readonly part?: Part;
}

export interface Installation {
  readonly manifest: Manifest | undefined;
  /** What stood there before credmon, of files that it has changed; undefined in it: nothing did. */
  readonly before: ReadonlyMap<string, There | undefined>;
}

export async function readInstallation({ root, backup }: Places): Promise<Installation> {
  const manifest = await readManifest(root + backup);
  const before = new Map<string, There | undefined>();
  for (const part of manifest?.parts ?? []) {
    const { before: was, path } = part;
    before.set(path, was && { ...was, text: await readCopy(root + backup, part) });
  }
  return { manifest, before };
}

/** What has to be changed to get from what is there to what is planned. Throws Failed for files that others have changed since. */
export async function changesFor(
  { root }: Places,
  { manifest, before }: Installation,
  planned: readonly PlannedFile[],
): Promise<readonly Change[]> {
  const gone = (manifest?.parts ?? []).filter(({ path }) => !planned.some((file) => file.path === path));
  const all = [...gone.map(({ path }) => ({ path, text: undefined })), ...planned];
  const changes: Change[] = [];
  for (const { path, text } of all) {
    const now = await look(root + path);
    const part = manifest?.parts.find((one) => one.path === path);
    const was = part === undefined ? now : before.get(path);
    const change: Change = { path, now, before: was, to: text ?? was?.text, ...(part && { part }) };
    if (isForeign(change)) return fail('refused', changedSince(root + path), mending);
    changes.push(change);
  }
  return changes;
}

/** Is it neither what was there before nor what this command has put there? */
function isForeign({ now, before, part }: Pick<Change, 'now' | 'before' | 'part'>): boolean {
  if (part === undefined || now?.text === before?.text) return false;
  return now === undefined || !part.ours.includes(hashOf(now.text));
}

const changedSince = (path: string): string => `${path} has been changed since credmon wrote it`;
const mending = 'see: credmon pam uninstall (it shows the difference; --force puts the old one back all the same)';

export const isNeeded = ({ now, to }: Change): boolean => now?.text !== to;

/** As diff -u. */
export const diffOf = ({ root }: Places, { path, now, to }: Change): readonly string[] =>
  unifiedDiff({ name: root + path, text: now?.text }, { name: root + path, text: to });

export interface InstallParts {
  readonly places: Places;
  readonly installation: Installation;
  readonly changes: readonly Change[];
  readonly about: Pick<Manifest, 'way' | 'asked' | 'service' | 'sshdConfig' | 'seen'>;
  /** The PAM stack: written last. */
  readonly stack: string;
  /** Whether sshd takes what is written by then; what it throws has everything put back. Called again after the last file. */
  readonly check: () => Promise<void>;
  /** Has sshd read its files; only then the PAM stack changes. */
  readonly reload: () => Promise<void>;
  /** Called before each step that changes something: tests end it there. */
  readonly step?: (what: string) => void;
}

/**
 * Writes what is planned. sshd's PAM stack counts at once and is changed last: with our lines and the old settings of sshd,
 * people with keys would be refused, who were never asked for a login by device. The other way round they are asked for a
 * key and then for their password, and root is not. What is cut short is finished by doing it again, or undone by
 * {@link uninstall}. Throws Failed, and then all is as it was before.
 */
export async function install(parts: InstallParts): Promise<void> {
  const { places, installation, changes, stack, check, reload, step = () => {} } = parts;
  const { root, backup } = places;
  const folder = root + backup;
  const known = installation.manifest;
  // Somebody has had time to read the differences.
  for (const { path, now } of changes)
    if ((await look(root + path))?.text !== now?.text)
      fail('refused', `${root}${path} was changed a moment ago`, 'nothing was changed by this command: run it again');
  const entries: Part[] = [];
  for (const { path, before, to, part } of changes) {
    if (part !== undefined) {
      entries.push({ ...part, ours: [...new Set([...(to === undefined ? [] : [hashOf(to)]), ...part.ours])] });
      continue;
    }
    const ours = to === undefined ? [] : [hashOf(to)];
    if (before === undefined) {
      entries.push({ path, ours });
      continue;
    }
    const copy = `before-${randomBytes(12).toString('hex')}`;
    step(`copy ${path}`);
    await writeCopy(folder, copy, before.text);
    const { text, mode, uid, gid, mtime = 0 } = before;
    entries.push({ path, before: { hash: hashOf(text), mode, uid, gid, mtime, copy }, ours });
  }
  const missing = changes.flatMap(({ path }) => foldersTo(root, path));
  const manifest: Manifest = {
    ...parts.about,
    ...{ v: 1, state: 'begun', parts: entries, made: [...new Set([...(known?.made ?? []), ...missing])] },
  };
  step('begun');
  await writeManifest(folder, manifest);
  const done: Change[] = [];
  const write = async (change: Change) => {
    if (!isNeeded(change)) return;
    const { path, to, before, now } = change;
    step(`write ${path}`);
    makeFolders(dirname(root + path));
    done.unshift(change);
    const { mode, uid, gid } = now ?? before ?? { mode: 0o644, uid: undefined, gid: undefined };
    const whose = { ...(uid !== undefined && { uid }), ...(gid !== undefined && { gid }) } as Pick<
      There,
      'uid' | 'gid'
    >;
    await put(root + path, to === undefined ? undefined : { text: to, mode, ...whose });
  };
  try {
    for (const change of changes) if (change.path !== stack) await write(change);
    step('check');
    await check();
    step('reload');
    await reload();
    for (const change of changes) if (change.path === stack) await write(change);
  } catch (thrown) {
    for (const { path, now } of done) await put(root + path, now);
    if (known === undefined) {
      for (const made of missing.toReversed()) removeFolder(root + made);
      dropBackup(folder);
    } else await writeManifest(folder, known);
    throw thrown;
  }
  step('installed');
  await writeManifest(folder, { ...manifest, state: 'installed' });
}

/** Those that are not there yet, as the machine sees them; the uppermost first. */
function foldersTo(root: string, path: string): readonly string[] {
  const folder = dirname(path);
  if (folder === '/' || folder === '.') return [];
  return [...foldersTo(root, folder), ...(existsSync(root + folder) ? [] : [folder])];
}

export interface UninstallParts {
  readonly places: Places;
  readonly installation: Installation & { readonly manifest: Manifest };
  /** Also files that others have changed since. */
  readonly force: boolean;
  readonly step?: (what: string) => void;
}

export interface Uninstalled {
  readonly restored: readonly string[];
}

/** Files that are not as this command, or whoever was before it, left them. */
export async function changedSinceThen(
  { root }: Places,
  { manifest, before }: Installation,
): Promise<readonly Change[]> {
  const changed: Change[] = [];
  for (const part of manifest?.parts ?? []) {
    const now = await look(root + part.path);
    const change = { path: part.path, now, before: before.get(part.path), to: before.get(part.path)?.text, part };
    if (isForeign(change)) changed.push(change);
  }
  return changed;
}

/** Puts everything back, byte for byte, the PAM stack first. May be run again where it was cut short. Throws Failed. */
export async function uninstall(parts: UninstallParts): Promise<Uninstalled> {
  const { places, installation, force, step = () => {} } = parts;
  const { root, backup } = places;
  const { manifest, before } = installation;
  const changed = await changedSinceThen(places, installation);
  const [first] = changed;
  if (first !== undefined && !force)
    fail('refused', changedSince(root + first.path), 'take your changes out of it, or say --force to lose them');
  const restored: string[] = [];
  for (const { path } of manifest.parts.toReversed()) {
    const was = before.get(path);
    if (was?.text === (await look(root + path))?.text) continue;
    step(`restore ${path}`);
    await put(root + path, was);
    restored.push(path);
  }
  for (const made of manifest.made.toReversed()) removeFolder(root + made);
  step('uninstalled');
  dropBackup(root + backup);
  return { restored };
}
