import { open } from 'node:fs/promises';
import { Failed } from '../core/failure.js';

const largest = 16 * 1024 * 1024;

/** The text of a file that the configuration names, such as a map file. Throws Failed. */
export async function readText(file: string): Promise<string> {
  try {
    const handle = await open(file, 'r');
    try {
      const stat = await handle.stat();
      if (!stat.isFile()) throw refused(file, 'it is not a plain file');
      if (stat.size > largest) throw refused(file, 'it is too large');
      return await handle.readFile('utf8');
    } finally {
      await handle.close();
    }
  } catch (thrown) {
    if (thrown instanceof Failed) throw thrown;
    throw refused(file, (thrown as NodeJS.ErrnoException).code ?? 'no reason given', thrown);
  }
}

const refused = (file: string, why: string, cause?: unknown): Failed =>
  new Failed({ kind: 'config', what: `${file} cannot be read (${why})`, hint: 'check the file name' }, { cause });
