import { lstat, mkdir, rmdir } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { Failed } from '../core/failure.js';
import { plain } from '../core/text.js';
import { proofMode } from './identity.js';
import { codeOf } from './trouble.js';

export interface Proving {
  /** The configured challenge folder: nothing is made anywhere else, whatever the broker says. */
  readonly dir: string;
  /** Whose that folder may be: root's, and the broker's account's. */
  readonly owners: readonly number[];
}

/**
 * The client's half of identity.ts: makes the directory that the broker named, and returns what removes it again. A
 * stranger in the broker's place must not have us make directories elsewhere, so the path has to lie right in the
 * configured folder, and that folder has to be sticky and of the right owner: then nobody but its owner can move what we
 * make. Throws Failed: `protocol` for a path that no broker names, `config` for a folder that cannot be trusted.
 */
export async function prove(path: string, { dir, owners }: Proving): Promise<() => Promise<void>> {
  const folder = resolve(dir);
  if (dirname(path) !== folder || resolve(path) !== path || !/^[0-9a-f]{32,128}$/.test(basename(path))) {
    throw new Failed({
      kind: 'protocol',
      what: `the broker named a directory to make that is not a fresh one in ${folder}`,
      hint: 'broker and credmon must have the same challenge folder configured; nothing was made',
    });
  }
  const stat = await lstat(folder).catch((thrown) => {
    throw distrust(folder, `cannot be looked at (${codeOf(thrown)})`);
  });
  if (!stat.isDirectory()) throw distrust(folder, 'is not a folder');
  if ((stat.mode & 0o1000) === 0) throw distrust(folder, 'is not sticky');
  if (!owners.includes(stat.uid)) throw distrust(folder, `belongs to uid ${stat.uid}, neither root nor the broker`);
  try {
    await mkdir(path, { mode: proofMode });
  } catch (thrown) {
    // EEXIST too: a directory that somebody else made would make us somebody else.
    throw new Failed(
      {
        kind: 'refused',
        what: `cannot show the broker who you are: making ${plain(path, 300)} failed (${codeOf(thrown)})`,
        hint: 'try again; if it stays so, tell whoever runs this machine',
      },
      { cause: thrown },
    );
  }
  return () => rmdir(path).catch(() => undefined);
}

const distrust = (dir: string, what: string): Failed =>
  new Failed({
    kind: 'config',
    what: `the broker’s challenge folder ${plain(dir, 300)} ${what}`,
    hint: 'tell whoever runs this machine; nothing was made there',
  });
