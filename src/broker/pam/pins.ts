import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { link, lstat, mkdir, open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { Failed } from '../../core/failure.js';
import type { Identity } from '../../core/identity.js';
import { nameTrouble } from '../../core/names.js';
import { octal } from '../../core/text.js';
import type { EpochMs } from '../../core/time.js';
import { codeOf, storageFailed } from '../trouble.js';

type Person = Pick<Identity, 'iss' | 'sub'>;

const pinSchema = v.object({ iss: v.string(), sub: v.string(), since: v.string() });
const largest = 16 * 1024;

/** Where the pin of a user is: for administrators, who take it away when the account goes to another person. */
export const pinPath = (dir: string, user: string): string => join(dir, user);

/**
 * Whose an account is: the first person who got a session with it, by (iss, sub), a file a user. Resolves to undefined where
 * nobody has it yet. Throws Failed('storage') when that cannot be told.
 */
export async function readPin(dir: string, user: string): Promise<Person | undefined> {
  const path = pinPath(dir, checked(user));
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  try {
    const file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    try {
      const stat = await file.stat();
      if (!stat.isFile() || stat.size > largest) throw damaged(path, 'is not a small plain file');
      if (stat.uid !== 0 && stat.uid !== process.geteuid?.()) throw damaged(path, `belongs to uid ${stat.uid}`);
      if ((stat.mode & 0o022) !== 0) throw damaged(path, `can be written by others (mode ${octal(stat.mode)})`);
      const { iss, sub } = v.parse(pinSchema, JSON.parse(await file.readFile('utf8')));
      return { iss, sub };
    } finally {
      await file.close();
    }
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT') return undefined;
    if (thrown instanceof SyntaxError || thrown instanceof v.ValiError) throw damaged(path, 'is not as we write it');
    throw storageFailed('read', path, thrown);
  }
}

/** Pins the account to this person, unless it has a pin already; resolves to whose it is then, durably. Throws Failed('storage'). */
export async function writePin(dir: string, user: string, { iss, sub }: Person, now: EpochMs): Promise<Person> {
  const path = pinPath(dir, checked(user));
  const temporary = join(dir, `.${randomBytes(16).toString('hex')}.tmp`);
  const { O_CREAT, O_EXCL, O_WRONLY, O_NOFOLLOW, O_RDONLY, O_DIRECTORY } = constants;
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const { uid, mode } = await lstat(dir);
    if (uid !== process.geteuid?.() || (mode & 0o022) !== 0) throw damaged(dir, 'is not the broker’s alone');
    const file = await open(temporary, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, 0o600);
    try {
      await file.writeFile(`${JSON.stringify({ iss, sub, since: new Date(now).toISOString() })}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    // Unlike rename(2) it replaces nothing: of two who come first one is first.
    await link(temporary, path).catch((thrown) => {
      if (codeOf(thrown) !== 'EEXIST') throw thrown;
    });
    const folder = await open(dir, O_RDONLY | O_DIRECTORY);
    await folder.sync().finally(() => folder.close());
  } catch (thrown) {
    throw storageFailed('write', path, thrown);
  } finally {
    await unlink(temporary).catch(() => undefined);
  }
  return (await readPin(dir, user)) ?? { iss, sub };
}

/** A name that could lead out of the folder was refused long before. */
function checked(user: string): string {
  if (nameTrouble(user) !== undefined) throw new Error('a pin for an impossible name');
  return user;
}

const damaged = (path: string, what: string): Failed =>
  new Failed({ kind: 'storage', what: `${path} ${what}`, hint: 'look who may have changed it, then remove it' });
