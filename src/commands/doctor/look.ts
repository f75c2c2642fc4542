import { accessSync, constants, lstatSync, type Stats, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { errnoOf } from '../../stores/atomic.js';

/** What lies at a path, itself and not what it leads to: `hidden` where we may not look. */
export type Look = Stats | 'absent' | 'hidden';

export function lookAt(path: string, follow = false): Look {
  try {
    return follow ? statSync(path) : lstatSync(path);
  } catch (thrown) {
    return ['ENOENT', 'ENOTDIR'].includes(errnoOf(thrown) ?? '') ? 'absent' : 'hidden';
  }
}

export function mayRead(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

/** The first of the folders that lead to a path for which `wrong` holds, from the root on. */
export function folderAbove(path: string, wrong: (stat: Stats) => boolean): string | undefined {
  const above: string[] = [];
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    above.unshift(folder);
    if (folder === '/') break;
  }
  return above.find((folder) => {
    const stat = lookAt(folder, true);
    return typeof stat === 'object' && wrong(stat);
  });
}
