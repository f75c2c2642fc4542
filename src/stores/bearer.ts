import { lstatSync, realpathSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { fail } from '../core/failure.js';
import { removeSecret, writeSecret } from './atomic.js';
import { type DirHandle, openDir } from './folder.js';
import { named } from './named.js';
import type { Env } from './state.js';
import { storageFailed } from './trouble.js';

export interface BearerOptions {
  readonly env: Env;
  /** None for the preferred provider, whose token other programs find by themselves. */
  readonly provider?: string;
  /** Where there is no XDG_RUNTIME_DIR. Default: /tmp, as the specification has it. */
  readonly shared?: string;
}

/** Where WLCG Bearer Token Discovery 1.0 looks: `$XDG_RUNTIME_DIR/bt_u<uid>`, or /tmp/bt_u<uid> where that is not set. */
export function bearerPath(options: BearerOptions): string {
  return `${folderOf(options)}/${nameOf(options)}`;
}

function folderOf({ env, shared = '/tmp' }: BearerOptions): string {
  const runtime = env.XDG_RUNTIME_DIR;
  return runtime !== undefined && isAbsolute(runtime) ? runtime : shared;
}

function nameOf({ provider }: BearerOptions): string {
  const uid = process.geteuid?.() ?? 0;
  return provider === undefined ? `bt_u${uid}` : `bt_u${uid}-${named(provider)}`;
}

/**
 * Writes the token and a newline, 0600; resolves to where. It is not fsynced: after a power failure both folders are
 * empty, and another token is a refresh away. Throws Failed('storage'), also where what is there already is not ours.
 */
export async function writeBearer(token: string, options: BearerOptions): Promise<string> {
  const name = nameOf(options);
  const dir = openFolder(options);
  try {
    await writeSecret(dir, name, `${token}\n`, { durable: false, check: () => ours(dir, name) });
  } finally {
    dir.close();
  }
  return bearerPath(options);
}

/** Whether there was one. Throws Failed('storage') where it is not ours. */
export async function removeBearer(options: BearerOptions): Promise<boolean> {
  const name = nameOf(options);
  const dir = openFolder(options);
  try {
    return await removeSecret(dir, name, { durable: false, check: () => ours(dir, name) });
  } finally {
    dir.close();
  }
}

/** The folder must be ours alone, or a sticky one of root's, where nobody else can take our file away. */
function openFolder(options: BearerOptions): DirHandle {
  const path = folderOf(options);
  let dir: DirHandle;
  try {
    dir = openDir(realpathSync(path));
  } catch (thrown) {
    throw storageFailed('open', path, thrown);
  }
  const { uid, mode } = dir.stat;
  const mine = uid === BigInt(process.geteuid?.() ?? -1);
  const closed = (mode & 0o22n) === 0n;
  const sticky = (mode & 0o1000n) !== 0n;
  if ((mine && closed) || ((mine || uid === 0n) && sticky)) return dir;
  dir.close();
  return fail(
    'storage',
    `${path} is not a folder of yours alone, so no token is put there`,
    'set XDG_RUNTIME_DIR to a folder that only you can write to (mode 0700), or unset it',
  );
}

function ours(dir: DirHandle, name: string): void {
  const stat = lstatSync(dir.at(name), { throwIfNoEntry: false });
  if (stat === undefined) return;
  const path = `${dir.path}/${name}`;
  if (!stat.isFile()) fail('storage', `${path} is not a regular file`, 'remove it, and look who put it there');
  if (stat.uid !== process.geteuid?.()) {
    fail('storage', `${path} belongs to uid ${stat.uid}`, 'have it removed: whoever made it could read your token');
  }
}
