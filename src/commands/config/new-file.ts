import { randomBytes } from 'node:crypto';
import { closeSync, constants, fchmodSync, fsyncSync, linkSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fail } from '../../core/failure.js';
import { errnoOf, storageFailed } from '../../stores/atomic.js';

/**
 * Writes a file that everybody may read, whole or not at all, and never in the place of one that is there. Throws
 * Failed('usage') when there is one, else Failed('storage').
 */
export function writeNew(path: string, text: string): void {
  // HTCondor passes over names that begin with a dot.
  const temporary = join(dirname(path), `.credmon-${randomBytes(12).toString('hex')}.tmp`);
  let made = false;
  try {
    const fd = openSync(
      temporary,
      constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | constants.O_NOFOLLOW,
      0o644,
    );
    made = true;
    try {
      fchmodSync(fd, 0o644);
      writeSync(fd, text);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    // Unlike rename(2), link(2) refuses where there is something.
    linkSync(temporary, path);
  } catch (thrown) {
    if (errnoOf(thrown) === 'EEXIST')
      fail('usage', `${path} is there already`, 'name another file, or remove that one first', thrown);
    throw storageFailed('write', path, thrown);
  } finally {
    if (made) unlinkSync(temporary);
  }
}
