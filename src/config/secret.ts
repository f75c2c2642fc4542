import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { Failed } from '../core/failure.js';
import { octal } from '../core/text.js';

const longest = 4096;

/**
 * The client secret in a file: its first line, trimmed, as HTCondor reads <provider>_CLIENT_SECRET_FILE. Throws Failed
 * when the file is not there, is not a plain file, is empty, or is open to anyone but its owner.
 */
export async function readSecret(file: string): Promise<string> {
  let handle: Awaited<ReturnType<typeof open>>;
  try {
    handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    throw refuse(
      `cannot be read (${code})`,
      code === 'EACCES' ? 'only the broker and root may read client secrets' : 'check the file name',
      cause,
    );
  }
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) throw refuse('is not a plain file', 'name a file that holds the secret in its first line');
    if ((stat.mode & 0o077) !== 0) {
      throw refuse(`is open to others (mode ${octal(stat.mode)})`, `run: chmod 0400 ${file}`);
    }
    if (stat.size > longest)
      throw refuse(`is too large for a secret (${stat.size} bytes)`, 'the first line must be the secret');
    const secret = (await handle.readFile('utf8')).split('\n', 1)[0]?.trim() ?? '';
    if (secret === '') throw refuse('is empty', 'put the client secret in its first line');
    return secret;
  } finally {
    await handle.close();
  }

  function refuse(what: string, hint: string, cause?: unknown): Failed {
    return new Failed({ kind: 'config', what: `the client secret file ${file} ${what}`, hint }, { cause });
  }
}
