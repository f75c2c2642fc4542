import { closeSync, constants, fsync, open, openSync, renameSync, write } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const [opening, writing, syncing] = [promisify(open), promisify(write), promisify(fsync)];

/** The least that makes a new file durable in the place of an old one: write, fsync, rename, fsync of the folder. */
export async function replaceDurably(folder: string, name: string, text: string): Promise<void> {
  const [temporary, target] = [join(folder, `${name}.tmp`), join(folder, name)];
  const bytes = Buffer.from(text);
  const fd = await opening(temporary, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, 0o600);
  await writing(fd, bytes, 0, bytes.length, null);
  await syncing(fd);
  renameSync(temporary, target);
  closeSync(fd);
  const there = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  await syncing(there);
  closeSync(there);
}
