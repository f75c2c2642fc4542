/**
 * `<status folder>/login/<user>`: how a person's credentials stand, for the login hook (pam/hook) and for the broker's
 * PAM door. Whole or not at all; mode 0440, owner: that person, group: the broker's account's. Only printable ASCII, no
 * backslash, four lines:
 *
 *   1  `1 STATE UNTIL PID`: the version of all this; `ok`, `warn` or `login` (core/standing.ts); the second since the epoch at
 *      which time alone makes it another state (0: never; a few minutes later the file says so, if credmond runs); the
 *      credmond that wrote it (0: one that did not stay). A file is not written anew for another pid: ask `.default`.
 *   2  what there is to say, one sentence; empty for `ok`
 *   3  the command that mends it; empty for `ok`, and where no command does
 *   4  the providers whose plain login is good and need not be renewed yet, with spaces between
 *
 * `.default`, mode 0444: the same for those without a file, who have no credentials. Its pid is always that of the credmond
 * that runs, or ran last. Readers pass over lines that they do not know, and take a file with another version for none.
 * Its owner can write into a person's file: only that person is misled by it.
 */
import { join } from 'node:path';
import { loginFileOf, nobodys, type Standing, standingText, withoutPid } from '../core/standing.js';
import type { EpochMs } from '../core/time.js';
import { type DirHandle, readBounded, removeSecret, writeSecret } from '../stores/atomic.js';
import { inOwnFolder, tidy } from './own-folder.js';

const isRoot = process.getuid?.() === 0;
/** Whoever has an account finds their own file by its name, and nobody else's names by looking. */
const folderMode = 0o751;
const largest = 16 * 1024;
/** Milliseconds. */
const minute = 60_000;

export interface LoginFilesParts {
  /** The status folder. */
  readonly dir: string;
  /** Of the broker's account, which may read them. */
  readonly gid: number | undefined;
  /** Of the credmond that keeps them true; 0: none stays to do so. */
  readonly pid: number;
}

/** What the login hook reads: a file for each person with credentials, and one for all others. */
export class LoginFiles {
  /**
   * When what is in whose file is to be looked at again: minutes since the epoch. What is in it is not kept: it is read where
   * there may be news, since for 10^5 people the texts are 25 MB.
   */
  readonly #until = new Map<string, number>();
  /** It also tells, by its pid, whether credmond runs: those of others need not be written for a new one. */
  #nobodys = '';

  constructor(private readonly parts: LoginFilesParts) {}

  /** Those whose standing is another one by now, without anything having happened. */
  *outdated(now: EpochMs): Iterable<string> {
    for (const [user, until] of this.#until) if (until * minute <= now) yield user;
  }

  /** Writes a person's, if it says anything new. Throws Failed('storage'). */
  async tell(user: string, uid: number, standing: Standing): Promise<void> {
    const name = loginFileOf(user);
    if (name === undefined) return;
    const text = standingText(standing, this.parts.pid);
    const less = withoutPid(text);
    // Should the write fail, what is there may be anything: it is told again.
    this.#until.delete(user);
    await this.#in(async (folder) => {
      const owners = isRoot ? { uid, gid: this.parts.gid ?? 0 } : {};
      const mode = 0o440;
      if (!(await says(folder, name, less, { ...owners, mode })))
        await writeSecret(folder, name, text, { durable: false, mode, ...owners });
    });
    if (standing.until !== undefined) this.#until.set(user, Math.ceil(standing.until / minute));
  }

  /** Those without credentials. Throws Failed('storage'). */
  async tellNobody(standing: Standing): Promise<void> {
    const text = standingText(standing, this.parts.pid);
    if (text === this.#nobodys) return;
    await this.#in((folder) => writeSecret(folder, nobodys, text, { durable: false, mode: 0o444 }));
    this.#nobodys = text;
  }

  /** The person has no credentials any more. Throws Failed('storage'). */
  async forget(user: string): Promise<void> {
    const name = loginFileOf(user);
    this.#until.delete(user);
    if (name !== undefined) await this.#in((folder) => removeSecret(folder, name, { durable: false }));
  }

  /** Takes away those of whoever lost their credentials while nobody looked. Throws Failed('storage'). */
  async sweep(has: (user: string) => boolean, now: EpochMs): Promise<void> {
    const isNobodys = (name: string) => name !== nobodys && loginFileOf(name) !== undefined && !has(name);
    await this.#in((folder) => tidy(folder, isNobodys, now));
  }

  #in<T>(work: (folder: DirHandle) => Promise<T>): Promise<T> {
    return inOwnFolder(join(this.parts.dir, 'login'), work, { mode: folderMode });
  }
}

/** Whether an earlier credmond has left just this. */
async function says(
  folder: DirHandle,
  name: string,
  less: string,
  { uid, gid, mode }: { readonly uid?: number; readonly gid?: number; readonly mode: number },
): Promise<boolean> {
  const read = await readBounded(folder, name, { limit: largest });
  if (read.trouble !== undefined) return false;
  const { stat, bytes } = read;
  const same = (is: bigint, want: number | undefined) => want === undefined || is === BigInt(want);
  return (
    (Number(stat.mode) & 0o7777) === mode &&
    same(stat.uid, uid) &&
    same(stat.gid, gid) &&
    withoutPid(bytes.toString('utf8')) === less
  );
}
