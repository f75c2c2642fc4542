import { basename, dirname } from 'node:path';
import type { Op } from './shim.js';

/** Files by path, with what is in them. */
export type Files = ReadonlyMap<string, string>;

interface Cut {
  /** How many of the calls were made before the power went. */
  readonly at: number;
  readonly files: Files;
}

/** One change of one folder by call `at`: names that are set to another inode, or to none. */
interface Change {
  readonly at: number;
  readonly folder: string;
  readonly names: ReadonlyMap<string, string | undefined>;
  durable: boolean;
}

/** The bytes of one inode. */
interface Data {
  bytes: Buffer;
  durable: boolean;
}

/**
 * All that can be on disk when the power goes at any moment of these calls, on a file system that keeps only what POSIX has
 * it keep: of a file what an fsync of it has covered, of a folder what an fsync of that has. The rest is there or not, in any
 * order; what of a file is not durable may be missing, half there, or zeros. `base` was durable before. Each state once.
 */
export function cuts(base: Files, ops: readonly Op[], root: string): Cut[] {
  const found: Cut[] = [];
  for (let at = 0; at <= ops.length; at++) {
    const seen = new Set<string>();
    for (const files of statesAfter(base, ops.slice(0, at), root)) {
      const text = JSON.stringify([...files].sort());
      if (!seen.has(text)) found.push({ at, files });
      seen.add(text);
    }
  }
  return found;
}

function* statesAfter(base: Files, ops: readonly Op[], root: string): Iterable<Files> {
  const { changes, data, folders } = replay(ops);
  const made = changes.flatMap(({ folder, names }) =>
    [...names].filter(([, inode]) => inode !== undefined && folders.has(inode)).map(([name]) => `${folder}/${name}`),
  );
  const loose = changes.filter(({ durable }) => !durable);
  if (loose.length > 12)
    throw new Error(`${loose.length} changes of folders are not durable: too many to try them all`);
  for (let kept = 0; kept < 2 ** loose.length; kept++) {
    const names = new Map<string, string>([...base].map(([path]) => [path, path]));
    // Folders that nobody made were there before.
    const there = new Set(
      [...base.keys(), ...changes.map(({ folder }) => `${folder}/`)].flatMap((path) => above(path, root)),
    );
    for (const path of made) there.delete(path);
    for (const change of changes) {
      const place = loose.indexOf(change);
      if (place >= 0 && (kept & (1 << place)) === 0) continue;
      for (const [name, inode] of change.names) {
        const path = `${change.folder}/${name}`;
        if (inode !== undefined && folders.has(inode)) there.add(path);
        else if (inode === undefined) names.delete(path);
        else names.set(path, inode);
      }
    }
    const files = [...names].filter(([path]) => above(path, root).every((folder) => there.has(folder)));
    const choices = files.map(([, inode]) => [...new Set(contents(base.get(inode), data.get(inode)))]);
    for (const contents of product(choices)) yield new Map(files.map(([path], n) => [path, contents[n] as string]));
  }
}

function replay(ops: readonly Op[]) {
  const changes: Change[] = [];
  const data = new Map<string, Data>();
  const folders = new Set<string>();
  /** Numbers of inodes are used again: what bears each now. */
  const bears = new Map<string, string>();
  /** Where the fsync of an inode that is under way began. */
  const syncing = new Map<string, number>();
  for (const [at, { call, inode, path, to, bytes }] of ops.entries()) {
    const change = (...names: [string, string | undefined][]) =>
      void changes.push({ at, folder: dirname(path), names: new Map(names), durable: false });
    const id = bears.get(inode);
    switch (call) {
      case 'create':
      case 'mkdir': {
        const made = `inode ${at}`;
        bears.set(inode, made);
        if (call === 'mkdir') folders.add(made);
        else data.set(made, { bytes: Buffer.alloc(0), durable: false });
        change([basename(path), made]);
        break;
      }
      case 'write': {
        const file = data.get(id ?? '');
        if (file === undefined) throw new Error(`${path} was there before, and is written in place`);
        file.bytes = Buffer.concat([file.bytes, bytes]);
        file.durable = false;
        break;
      }
      case 'syncing':
        syncing.set(inode, at);
        break;
      case 'fsync': {
        const file = data.get(id ?? '');
        // Nothing is written to a file of ours while it is being fsynced.
        if (file) file.durable = true;
        const begun = syncing.get(inode) ?? at;
        for (const one of changes) if (one.folder === path && one.at < begun) one.durable = true;
        break;
      }
      case 'rename':
        if (to === undefined || dirname(path) !== dirname(to)) throw new Error(`${path} is moved to another folder`);
        change([basename(path), undefined], [basename(to), id]);
        break;
      case 'unlink':
      case 'rmdir':
        change([basename(path), undefined]);
        break;
      default:
        throw new Error(`${call} of ${path} is not known here`);
    }
  }
  return { changes, data, folders };
}

/** What may be in a file. */
function contents(before: string | undefined, file: Data | undefined): string[] {
  if (file === undefined) return [before ?? ''];
  const text = file.bytes.toString('utf8');
  if (file.durable) return [text];
  const half = text.slice(0, text.length / 2);
  return [text, '', half, '\0'.repeat(text.length), half.padEnd(text.length, '\0'), text.slice(0, -1)];
}

/** The folders between `root` and a path in it, and `root`. */
function above(path: string, root: string): string[] {
  const found = [];
  for (let folder = dirname(path); folder.length >= root.length; folder = dirname(folder)) found.push(folder);
  return found;
}

function* product<T>(choices: readonly (readonly T[])[]): Iterable<T[]> {
  const [first, ...rest] = choices;
  if (first === undefined) {
    yield [];
    return;
  }
  for (const one of first) for (const others of product(rest)) yield [one, ...others];
}
