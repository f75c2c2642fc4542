import { readdirSync } from 'node:fs';
import { fail, failureOf } from '../core/failure.js';
import { nameTrouble } from '../core/names.js';
import { octal } from '../core/text.js';
import { epochMs } from '../core/time.js';
import { readBoundedNow, removeSecret, sweepStrays, writeSecret } from './atomic.js';
import type { DirHandle } from './folder.js';
import { named } from './named.js';
import { createPrivate, openPrivate } from './state.js';
import { storageFailed } from './trouble.js';

/**
 * One file a credential in the state folder says where the secret lives: in this very file, or in the keyring. So a
 * secret has one owner at any moment, and changes it by one rename. This file does not load valibot: see quick.ts.
 */
export type Entry =
  | {
      readonly at: 'file';
      /** Not judged yet: kept.ts does. */
      readonly kept: unknown;
      /** The keyring may still hold a former secret, since it could not be reached when this one replaced it. */
      readonly orphan?: true;
    }
  | { readonly at: 'keyring' };

const version = 1;
const limit = 1 << 20;
const suffix = '.json';

/** Old enough that its writer is no longer at work: one hour. */
const strayAge = 3_600_000;

const fileOf = (id: string): string => named(id) + suffix;

/** Undefined when there is none; throws Failed('storage') when it is not to be trusted or not to be understood. */
export function readEntry(dir: string, id: string): Entry | undefined {
  const name = fileOf(id);
  return within(openPrivate(dir), (folder) => folder && read(folder, name));
}

function read(folder: DirHandle, name: string): Entry | undefined {
  const path = `${folder.path}/${name}`;
  const found = readBoundedNow(folder, name, { limit, owners: [process.geteuid?.() ?? -1] });
  switch (found.trouble) {
    case 'absent':
      return undefined;
    case undefined:
      break;
    case 'empty':
      return damaged(path, 'it is empty');
    case 'too large':
      return damaged(path, `it has more than ${limit} bytes`);
    default:
      return fail('storage', `${path} is not to be trusted: ${found.trouble}`, 'look who put it there, and remove it');
  }
  if ((found.stat.mode & 0o77n) !== 0n) {
    fail(
      'storage',
      `${path} is open to others: its mode is ${octal(found.stat.mode)}`,
      `if nobody else can have read it: chmod 600 ${path}; otherwise remove it and log in again`,
    );
  }
  return parse(path, found.bytes.toString());
}

function parse(path: string, text: string): Entry {
  let entry: unknown;
  try {
    entry = JSON.parse(text);
  } catch {
    // The parser's own message quotes the text.
    return damaged(path, 'it is not JSON');
  }
  if (!isObject(entry)) return damaged(path, 'it is not a JSON object');
  if (typeof entry.version === 'number' && entry.version > version) {
    fail('storage', `${path} was written by a newer credmon`, 'use that one, or remove the file and log in again');
  }
  if (entry.version !== version) return damaged(path, 'it has no version');
  if (entry.at === 'keyring') return { at: 'keyring' };
  if (entry.at !== 'file') return damaged(path, 'it does not say where the secret is');
  return { at: 'file', kept: entry.kept, ...(entry.orphan === true && { orphan: true }) };
}

/** Where the secret is. One that cannot be read is the file's: removing that file is its mend. */
export function whereIs(dir: string, id: string): Entry['at'] | undefined {
  try {
    return readEntry(dir, id)?.at;
  } catch (thrown) {
    if (failureOf(thrown)?.kind === 'storage') return 'file';
    throw thrown;
  }
}

/** Throws Failed('storage'), with the mend. */
export function damaged(path: string, how: string, hint = `remove it (rm ${path}) and log in again`): never {
  return fail('storage', `${path} is damaged: ${how}`, hint);
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Resolves when it is durable. Throws Failed('storage'). */
export async function writeEntry(dir: string, id: string, entry: Entry): Promise<void> {
  const name = fileOf(id);
  const folder = createPrivate(dir);
  try {
    sweepStrays(folder, epochMs(Date.now() - strayAge));
    await writeSecret(folder, name, `${JSON.stringify({ version, ...entry })}\n`, { durable: true });
  } finally {
    folder.close();
  }
}

/** Whether there was one. Throws Failed('storage'). */
export async function removeEntry(dir: string, id: string): Promise<boolean> {
  const name = fileOf(id);
  const folder = openPrivate(dir);
  try {
    return folder !== undefined && (await removeSecret(folder, name, { durable: true }));
  } finally {
    folder?.close();
  }
}

/** The ids whose secret is at `at`, or anywhere; sorted. What is not named like ours is passed over. Throws Failed('storage'). */
export function listEntries(dir: string, at?: Entry['at']): string[] {
  return within(openPrivate(dir), (folder) => {
    if (!folder) return [];
    let names: string[];
    try {
      names = readdirSync(folder.here);
    } catch (thrown) {
      throw storageFailed('list', dir, thrown);
    }
    return names
      .filter((name) => name.endsWith(suffix))
      .map((name) => name.slice(0, -suffix.length))
      .filter((id) => nameTrouble(id) === undefined && (at === undefined || whereIs(dir, id) === at))
      .sort();
  });
}

function within<T>(folder: DirHandle | undefined, act: (folder: DirHandle | undefined) => T): T {
  try {
    return act(folder);
  } finally {
    folder?.close();
  }
}
