import { closeSync, constants, fstatSync, lstatSync, open, write } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Health } from '../core/health.js';
import { keyOf } from '../core/names.js';
import type { Stamp } from '../core/plan.js';
import { Everyone, everyone, fileOf, userOfLine } from '../core/snapshot.js';
import type { EpochMs } from '../core/time.js';
import { type DirHandle, removeSecret, storageFailed, writeSecret } from '../stores/atomic.js';
import { Lines } from '../system/lines.js';
import { inOwnFolder, tidy } from './own-folder.js';

const opening = promisify(open);
const writing = promisify(write);

const isRoot = process.getuid?.() === 0;

/** The status folder: a person's file is for that person alone, everybody's for root and `group`. */
export class StatusFiles {
  /** Of everybody's file as it was begun; undefined: not yet, or it can be trusted no more. */
  #begun: { readonly dev: bigint; readonly ino: bigint; readonly size: bigint } | undefined;

  constructor(
    private readonly dir: string,
    private readonly group: number | undefined,
  ) {}

  /** Writes a person's, whole or not at all. Throws Failed('storage'). */
  async tell(uid: number, text: string): Promise<void> {
    const owner = isRoot ? { uid } : {};
    await this.#in((folder) => writeSecret(folder, fileOf(uid), text, { durable: false, mode: 0o400, ...owner }));
  }

  /** It is nobody's any more. Throws Failed('storage'). */
  async forget(uid: number): Promise<void> {
    await this.#in((folder) => removeSecret(folder, fileOf(uid), { durable: false }));
  }

  /** Begins everybody's anew, whole or not at all; others have their turn in between. Throws Failed('storage'). */
  async begin(lines: Iterable<string>): Promise<void> {
    this.#begun = undefined;
    const owner = isRoot && this.group !== undefined ? { gid: this.group } : {};
    await this.#in(async (folder) => {
      await writeSecret(folder, everyone, lines, { durable: false, mode: 0o640, ...owner });
      const { dev, ino, size } = lstatSync(folder.at(everyone), { bigint: true });
      this.#begun = { dev, ino, size };
    });
  }

  /**
   * Adds whole lines to everybody's. False: it must be begun anew first, since it is not the file that was begun, or the
   * last line may not be whole. Throws Failed('storage'); then it must be begun anew as well.
   */
  async add(text: string): Promise<boolean> {
    const begun = this.#begun;
    if (begun === undefined) return false;
    this.#begun = undefined;
    const bytes = Buffer.from(text);
    const same = await this.#in(async (folder) => {
      let fd: number | undefined;
      try {
        const { O_WRONLY, O_APPEND, O_NOFOLLOW, O_NONBLOCK } = constants;
        fd = await opening(folder.at(everyone), O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK);
        const { dev, ino, nlink, size } = fstatSync(fd, { bigint: true });
        // The number of a file that was removed is soon another's.
        if (dev !== begun.dev || ino !== begun.ino || nlink !== 1n || size !== begun.size) return false;
        for (let done = 0; done < bytes.length; )
          done += (await writing(fd, bytes, done, bytes.length - done, null)).bytesWritten;
        return true;
      } catch (thrown) {
        if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return false;
        throw storageFailed('write', `${folder.path}/${everyone}`, thrown);
      } finally {
        if (fd !== undefined) closeSync(fd);
      }
    });
    if (same) this.#begun = { ...begun, size: begun.size + BigInt(bytes.length) };
    return same;
  }

  /** Takes away the files of numbers that nobody has, and what crashed writes left. Throws Failed('storage'). */
  async sweep(has: (uid: number) => boolean, now: EpochMs): Promise<void> {
    const isNobodys = (name: string) => {
      const uid = /^(\d{1,10})\.json$/.exec(name)?.[1];
      return uid !== undefined && !has(Number(uid));
    };
    await this.#in((folder) => tidy(folder, isNobodys, now));
  }

  #in<T>(work: (folder: DirHandle) => Promise<T>): Promise<T> {
    return inOwnFolder(this.dir, work);
  }
}

type Dead = Pick<Health, 'since' | 'trouble'>;

/** Grants that were dead before this start, so that their issuers are not asked again. */
export function rememberDead(dir: string): (key: string, stamp: Stamp) => Dead | undefined {
  const known = readDead(dir);
  return (key, stamp) => {
    const dead = known.get(key);
    if (dead?.stamp !== stamp) return undefined;
    known.delete(key);
    return dead.dead;
  };
}

/** A file of 10^5 people is 40 MB: only the lines that matter are taken in, and nothing else of it stays. */
function readDead(dir: string): Map<string, { readonly stamp: Stamp; readonly dead: Dead }> {
  const dead = new Everyone();
  try {
    const file = Lines.open(join(dir, everyone));
    // What we have not written ourselves says nothing.
    const ours = file?.uid === process.geteuid?.();
    const take = (line: string) => {
      const user = userOfLine(line);
      if (user === undefined || line.includes('"login-needed"')) dead.add(line);
      else dead.people.delete(user);
    };
    while (ours && file?.next(take));
    if (ours && file) take(file.rest());
    file?.close();
  } catch {
    // Then they are asked again, once.
  }
  const known = new Map<string, { readonly stamp: Stamp; readonly dead: Dead }>();
  for (const health of [...dead.people.values()].flat()) {
    if (health.state !== 'login-needed') continue;
    const { since, trouble, stamp } = health;
    known.set(keyOf(health), { stamp, dead: { since, ...(trouble !== undefined && { trouble }) } });
  }
  return known;
}
