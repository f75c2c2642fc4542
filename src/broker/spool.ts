import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { chmod, type FileHandle, lstat, mkdir, open, readdir, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import * as v from 'valibot';
import { Failed } from '../core/failure.js';
import type { Clock } from '../core/ports.js';
import { octal } from '../core/text.js';
import { longestSpoolFile, type SpoolDraft, type SpoolRecord, spoolSchema } from './spool-record.js';
import { codeOf, storageFailed } from './trouble.js';

export type { SpoolDraft } from './spool-record.js';

/** `<epoch ms>-<id>.grant`: sorted by name is sorted by age. */
const finished = /^(\d{13,16})-([0-9a-f]{32})\.grant$/;
const unfinished = /^\.[0-9a-f]{32}\.tmp$/;
/** An unfinished file this old is of a broker that died: milliseconds. */
const strayMs = 60_000;

/** Whether a file in the spool is one for credmond, by its name. */
export const isSpoolName = (name: string): boolean => finished.test(name);

export interface Spool {
  /** Resolves to the record's id when it is durable. Throws Failed('storage'); then nothing is there. */
  put(draft: SpoolDraft): Promise<string>;
}

export interface SpoolOptions {
  readonly dir: string;
  readonly clock: Clock;
  /** Files that may wait in all, default 10,000; credmond takes them away. */
  readonly most?: number;
  /** Files of one person that may wait, default 100: nobody fills the spool for the others. */
  readonly mostEach?: number;
}

/** Makes the folder or verifies it: a real one, ours, and closed to all others. Throws Failed('config' or 'storage'). */
export async function openSpool({ dir, clock, most = 10_000, mostEach = 100 }: SpoolOptions): Promise<Spool> {
  const own = process.geteuid?.() ?? -1;
  try {
    if ((await mkdir(dir, { recursive: true, mode: 0o700 })) !== undefined)
      // Where that may not be opened, the fsync of what is in it has to do.
      await syncFolder(dirname(dir)).catch(() => {});
    const stat = await lstat(dir);
    if (!stat.isDirectory()) throw wrong(dir, 'is not a folder');
    if (stat.uid !== own) throw wrong(dir, `belongs to uid ${stat.uid}, not to the broker (uid ${own})`);
    // Grants may have been read or planted there: it is not ours to make this good silently.
    if ((stat.mode & 0o077) !== 0) throw wrong(dir, `is open to others (mode ${octal(stat.mode)})`);
    if ((stat.mode & 0o7777) !== 0o700) await chmod(dir, 0o700);
    for (const name of await readdir(dir)) {
      if (!unfinished.test(name)) continue;
      const stray = await lstat(join(dir, name)).catch(() => undefined);
      if (stray && clock.now() - stray.mtimeMs > strayMs) await unlink(join(dir, name));
    }
  } catch (thrown) {
    throw storageFailed('open the spool', dir, thrown);
  }

  /** Whose the waiting files are. Not known for those of an earlier run until they are read. */
  const owners = new Map<string, number>();
  const room = async (uid: number): Promise<void> => {
    const waiting = (await readdir(dir)).filter(isSpoolName);
    if (waiting.length >= most) throw full(`${waiting.length} logins wait`);
    const there = new Set(waiting);
    for (const name of owners.keys()) if (!there.has(name)) owners.delete(name);
    for (const name of waiting) {
      if (owners.has(name)) continue;
      const { record } = await readSpoolFile(join(dir, name), { uid: own });
      owners.set(name, record?.uid ?? -1);
    }
    let each = 0;
    for (const owner of owners.values()) if (owner === uid) each++;
    if (each >= mostEach) throw full(`${each} logins of yours wait`);
  };

  return {
    async put(draft) {
      const id = randomBytes(16).toString('hex');
      const at = clock.now();
      const result = v.safeParse(spoolSchema, { ...draft, v: 1, id, at });
      if (draft.uid === 0 && own !== 0) throw unfit('it is for root');
      // The key only: the value may be a token.
      if (!result.success) throw unfit(`${v.getDotPath(result.issues[0]) ?? 'it'} is too long or malformed`);
      const bytes = Buffer.from(`${JSON.stringify(result.output)}\n`);
      if (bytes.length > longestSpoolFile) throw unfit(`it has ${bytes.length} bytes`);
      try {
        await room(draft.uid);
        const name = `${String(Math.floor(at)).padStart(13, '0')}-${id}.grant`;
        await writeWhole(dir, name, bytes);
        owners.set(name, draft.uid);
        return id;
      } catch (thrown) {
        throw storageFailed('hand the login over in', dir, thrown);
      }
    },
  };
}

/** Durable under its name, or not there at all. */
async function writeWhole(dir: string, name: string, bytes: Uint8Array): Promise<void> {
  const { O_CREAT, O_EXCL, O_WRONLY, O_NOFOLLOW } = constants;
  const temporary = join(dir, `.${randomBytes(16).toString('hex')}.tmp`);
  const final = join(dir, name);
  const file = await open(temporary, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, 0o600);
  try {
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, final);
    await syncFolder(dir);
  } catch (thrown) {
    for (const path of [temporary, final]) await unlink(path).catch(() => undefined);
    throw thrown;
  }
}

async function syncFolder(dir: string): Promise<void> {
  const folder = await open(dir, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

const wrong = (dir: string, what: string): Failed =>
  new Failed({
    kind: 'config',
    what: `the spool ${dir} ${what}`,
    hint: 'it must be the broker’s alone (mode 0700): look who else may have used it, then remove it and start again',
  });

const full = (what: string): Failed =>
  new Failed({
    kind: 'storage',
    what: `${what} for credmond to take over, which is as many as there may be`,
    hint: 'credmond does not seem to run here: tell whoever runs this machine',
  });

const unfit = (what: string): Failed =>
  new Failed({ kind: 'protocol', what: `what the issuer gave cannot be handed over: ${what}` });

export type SpoolFile =
  | { readonly record: SpoolRecord; readonly trouble?: never }
  | { readonly trouble: string; readonly record?: never };

/**
 * Reads one file as credmond does, which is root and must not be led astray even by a broker that was broken into: no
 * symbolic link, no FIFO, nothing that is not of the broker (`uid`) alone. Never throws. `trouble` completes the sentence
 * "the spool file …", and has nothing of what is in the file.
 */
export async function readSpoolFile(path: string, { uid }: { readonly uid: number }): Promise<SpoolFile> {
  const name = finished.exec(basename(path));
  if (name === null) return { trouble: 'has a name that the broker does not give' };
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK, O_NOCTTY } = constants;
  let file: FileHandle | undefined;
  try {
    file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    const stat = await file.stat();
    if (!stat.isFile()) return { trouble: 'is not a plain file' };
    if (stat.uid !== uid) return { trouble: `belongs to uid ${stat.uid}, not to the broker` };
    if (stat.nlink !== 1) return { trouble: 'has further names (hard links)' };
    if ((stat.mode & 0o077) !== 0) return { trouble: `is open to others (mode ${octal(stat.mode)})` };
    if (stat.size > longestSpoolFile) return { trouble: `is too large (${stat.size} bytes)` };
    const bytes = await readAtMost(file, longestSpoolFile + 1);
    if (bytes.length > longestSpoolFile) return { trouble: 'is too large, and grows' };
    return parse(bytes, name[2] ?? '', uid);
  } catch (thrown) {
    const code = codeOf(thrown);
    if (code === 'ELOOP') return { trouble: 'is a symbolic link' };
    return { trouble: code === 'ENOENT' ? 'is not there' : `cannot be read (${code})` };
  } finally {
    await file?.close().catch(() => undefined);
  }
}

async function readAtMost(file: FileHandle, most: number): Promise<Buffer> {
  const room = Buffer.alloc(most);
  let length = 0;
  for (let got = -1; got !== 0 && length < most; length += got) {
    got = (await file.read(room, length, most - length, null)).bytesRead;
  }
  return room.subarray(0, length);
}

function parse(bytes: Uint8Array, id: string, broker: number): SpoolFile {
  let input: unknown;
  try {
    input = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return { trouble: 'is not JSON in UTF-8' };
  }
  const result = v.safeParse(spoolSchema, input, { abortEarly: true });
  if (!result.success) return { trouble: 'is not a record as the broker writes them' };
  if (result.output.id !== id) return { trouble: 'has another id in it than in its name' };
  if (result.output.uid === 0 && broker !== 0) return { trouble: 'is for root, for whom the broker does not speak' };
  return { record: result.output };
}
