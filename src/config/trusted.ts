import { lstatSync, readlinkSync, type Stats } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { octal } from '../core/text.js';

/** As many as Linux follows (path_resolution(7)). */
const mostLinks = 40;

/**
 * Who besides `owners` (uids) could put another file in the place of this one, as the end of a sentence about it;
 * undefined: nobody. Every folder on the way is looked at, also those that symbolic links lead through; one that all may
 * write to does no harm where it is sticky, for then what is in it stays with its owner (inode(7)). Throws what lstat does.
 */
export function replaceable(path: string, owners: readonly number[]): string | undefined {
  const left = resolve(path).split('/').slice(1);
  let here = '/';
  let links = 0;
  const first = wrongFolder('/', lstatSync('/'), owners);
  if (first !== undefined) return first;
  for (let name = left.shift(); name !== undefined; name = left.shift()) {
    if (name === '' || name === '.') continue;
    if (name === '..') {
      here = dirname(here);
      continue;
    }
    const next = join(here, name);
    const stat = lstatSync(next);
    if (stat.isSymbolicLink()) {
      if (!owners.includes(stat.uid)) return `is behind the symbolic link ${next} of uid ${stat.uid}`;
      if (++links > mostLinks) return 'is behind too many symbolic links';
      const target = readlinkSync(next);
      if (target.startsWith('/')) here = '/';
      left.unshift(...target.split('/'));
      continue;
    }
    if (stat.isDirectory()) {
      const wrong = wrongFolder(next, stat, owners);
      if (wrong !== undefined) return wrong;
    }
    here = next;
  }
  return undefined;
}

function wrongFolder(folder: string, { uid, mode }: Stats, owners: readonly number[]): string | undefined {
  if (!owners.includes(uid)) return `may be replaced by uid ${uid}, whose the folder ${folder} is`;
  if ((mode & 0o022) === 0 || (mode & 0o1000) !== 0) return undefined;
  return `may be replaced by others: the folder ${folder} is open to them (mode ${octal(mode)})`;
}
