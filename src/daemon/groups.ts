import { stat } from 'node:fs/promises';
import { readText } from '../config/text.js';
import type { Errand } from '../core/ports.js';
import { groupMap } from '../core/templates.js';

interface Known {
  readonly stamp: string;
  readonly map: Promise<ReturnType<typeof groupMap>>;
}

/**
 * The groups of map files. Groups change without anybody telling us, so the file is looked at each time; but of 50,000 users
 * it takes 17 ms to read, and so it is read only when it is another one. `read`: the text of a file; throws Failed.
 */
export function openGroups(read: (file: string) => Promise<string> = readText): Errand['groups'] {
  const files = new Map<string, Known>();
  return async (file, user) => {
    // Before it is read: if it changes in between, it is read again the next time.
    const stamp = await stampOf(file);
    let known = files.get(file);
    if (known === undefined || known.stamp !== stamp) {
      known = { stamp, map: read(file).then(groupMap) };
      files.set(file, known);
    }
    const mine = known;
    try {
      return (await mine.map)(user);
    } catch (thrown) {
      if (files.get(file) === mine) files.delete(file);
      throw thrown;
    }
  };
}

/** What cannot be looked at cannot be read either, which tells why. */
async function stampOf(file: string): Promise<string> {
  const found = await stat(file, { bigint: true }).catch(() => undefined);
  return found === undefined ? '' : `${found.dev}.${found.ino}.${found.ctimeNs}.${found.size}`;
}
