import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  lstatSync,
  openSync,
  renameSync,
  type Stats,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { most as mostAsked, withWritten } from '../core/batch.js';
import { formatIntent, parseIntent, slotBytes } from '../core/intent.js';
import type { Stamp } from '../core/plan.js';
import type { Clock, Log } from '../core/ports.js';
import type { EpochMs } from '../core/time.js';
import { type DirHandle, errnoOf, readBoundedNow, strayName } from '../stores/atomic.js';

/** Beside the users' folders, or in a person's state folder. */
export const intentFile = '.credmon-intents';
/** Room for as many is there from the beginning, so that a full disk takes nothing from it. */
const room = withWritten(mostAsked);
/** So many are told apart at the most: 8 MB. */
const most = 16_384;

interface Entry {
  readonly slot: number;
  readonly stamp: Stamp;
  readonly since: EpochMs;
  /** A request has ended, or the process has, and nobody knows what came of it. */
  open: boolean;
}

/**
 * Which refresh tokens are out at their issuers, in a file that outlives us: one that was replaced by an answer that never
 * came to the disk is lost, and this tells whose. A record is one pwrite(2) right before the request. It is void by itself once
 * another `.top` is there, so then its slot is only given to the next one; it is taken out of the file when nothing is out any
 * more, and at once where the `.top` stays. No two records in the file are ever of the same credential. There is no fsync: the
 * kernel keeps what was written when we are killed; through a power failure it may be lost.
 *
 * The directory is condor's group's, so the file that lies there is read with care and never written: each start begins a new
 * one, with what is still open of the old. None of this stops a refresh; what cannot be written is told once.
 */
export class Intents {
  readonly #entries = new Map<string, Entry>();
  readonly #free: number[] = [];
  /** Slots of records that are void, and are in the file still, by whose they are. */
  readonly #void = new Map<string, number>();
  #slots = 0;
  /** How many entries are not open. */
  #out = 0;
  /** Open for writing, and surely ours. */
  #fd: number | undefined;
  /** Which file it is. */
  #ours: Pick<Stats, 'ino' | 'dev'> | undefined;
  #said = '';

  constructor(
    private readonly dir: DirHandle,
    private readonly parts: { readonly clock: Pick<Clock, 'now'>; readonly log: Log },
  ) {
    this.#read();
    this.#begin();
  }

  /** Right before the request. */
  sending(key: string, stamp: Stamp): void {
    const before = this.#entries.get(key);
    if (before?.stamp === stamp) return;
    if (before) this.#forget(key, before);
    const slot = this.#slotFor(key);
    if (slot >= most) {
      this.#say(`more than ${most} refresh tokens are out: what is lost of the rest is not noted`);
      return;
    }
    if (slot === this.#slots) this.#slots++;
    const entry = { slot, stamp, since: this.parts.clock.now(), open: false };
    this.#entries.set(key, entry);
    this.#out++;
    const line = formatIntent({ key, ...entry });
    if (line !== undefined) this.#put(line, slot);
  }

  /** Another `.top` is durable in its place. */
  replaced(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#void.set(key, entry.slot);
    this.#close(entry);
  }

  /** The issuer has honoured it and given no other, or it is of no use any more. */
  settled(key: string): void {
    const entry = this.#entries.get(key);
    if (entry) this.#forget(key, entry);
  }

  /** The last request has changed nothing: what an earlier one may have done is as open as before. */
  refused(key: string): void {
    const entry = this.#entries.get(key);
    if (entry && !entry.open) this.#forget(key, entry);
  }

  /** The request is over; what is not settled by now is open. */
  ended(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#close(entry);
    entry.open = true;
  }

  /** Since when it has been open whether the refresh token in this `.top` was replaced; undefined: it was not. */
  since(key: string, stamp: Stamp): EpochMs | undefined {
    const entry = this.#entries.get(key);
    return entry?.open && entry.stamp === stamp ? entry.since : undefined;
  }

  /** It was removed, or the `.top` is another: then it is over. */
  forget(key: string, stamp?: Stamp): void {
    const entry = this.#entries.get(key);
    if (entry && entry.stamp !== stamp) this.#forget(key, entry);
  }

  /** Those with an open end. */
  *suspects(): Iterable<string> {
    for (const [key, { open }] of this.#entries) if (open) yield key;
  }

  /** After everything was looked at: those that are not there any more go, and a file that was taken away is made again. */
  check(isThere: (key: string) => boolean): void {
    for (const [key, entry] of this.#entries) if (entry.open && !isThere(key)) this.#forget(key, entry);
    try {
      if (!this.#isOurs(lstatSync(this.dir.at(intentFile), { throwIfNoEntry: false }))) this.#begin();
    } catch (thrown) {
      this.#failed(thrown);
    }
  }

  #read(): void {
    const own = process.geteuid?.() ?? 0;
    try {
      const read = readBoundedNow(this.dir, intentFile, { limit: most * slotBytes, owners: [own] });
      if (read.trouble === 'absent' || read.trouble === 'empty') return;
      if (read.trouble !== undefined || (Number(read.stat.mode) & 0o077) !== 0) {
        this.#say(`is not ours (${read.trouble ?? 'open to others'}): it is not believed, and another takes its place`);
        return;
      }
      let damaged = 0;
      for (let at = 0; at < read.bytes.length; at += slotBytes) {
        const intent = parseIntent(read.bytes.subarray(at, at + slotBytes).toString('latin1'));
        if (intent === 'damaged') damaged++;
        else if (intent !== 'empty') {
          const { key, stamp, since } = intent;
          const other = this.#entries.get(key);
          // What the disk did not let us write over may lie there still: of two the later one counts.
          if (other === undefined || other.since < since)
            this.#entries.set(key, { slot: other?.slot ?? this.#slots++, stamp, since, open: true });
        }
      }
      if (damaged > 0) this.#say(`${damaged} records in it are damaged, and passed over`);
    } catch (thrown) {
      this.#failed(thrown);
    }
  }

  /** A new file with all that is known, in the place of whatever bears its name. */
  #begin(): void {
    this.#letGo(this.#fd);
    const temporary = this.dir.at(strayName());
    let fd: number | undefined;
    try {
      const { O_CREAT, O_EXCL, O_WRONLY, O_NOFOLLOW } = constants;
      fd = openSync(temporary, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, 0o600);
      fchmodSync(fd, 0o600);
      const bytes = Buffer.alloc(Math.max(room, this.#slots) * slotBytes);
      for (const [key, entry] of this.#entries)
        bytes.write(formatIntent({ key, ...entry }) ?? '\0', entry.slot * slotBytes, 'latin1');
      writeAll(fd, bytes, 0);
      renameSync(temporary, this.dir.at(intentFile));
      this.#ours = fstatSync(fd);
      this.#said = '';
    } catch (thrown) {
      if (fd !== undefined) discard(temporary);
      this.#failed(thrown);
    } finally {
      if (fd !== undefined) closeSync(fd);
    }
  }

  #isOurs(stat: Pick<Stats, 'ino' | 'dev'> | undefined): boolean {
    return stat !== undefined && stat.ino === this.#ours?.ino && stat.dev === this.#ours.dev;
  }

  /** Its own before any other, and rather one whose record is void than one more that is taken out of the file. */
  #slotFor(key: string): number {
    const [any] = this.#void.keys();
    const whose = this.#void.has(key) ? key : any;
    if (whose === undefined) return this.#free.pop() ?? this.#slots;
    const slot = this.#void.get(whose) as number;
    this.#void.delete(whose);
    return slot;
  }

  /** It is not out any more. With the last of them what is void is taken out of the file. */
  #close({ open }: Entry): void {
    if (!open) this.#out--;
    if (this.#out > 0) return;
    for (const slot of this.#void.values()) this.#empty(slot);
    this.#void.clear();
  }

  #empty(slot: number): void {
    this.#free.push(slot);
    this.#put('\0', slot);
  }

  #put(text: string, slot: number): void {
    try {
      const fd = this.#opened();
      if (fd !== undefined) writeAll(fd, Buffer.from(text, 'latin1'), slot * slotBytes);
      else this.#begin();
    } catch (thrown) {
      if (['ENOENT', 'ELOOP', 'ENXIO', 'EISDIR'].includes(errnoOf(thrown) ?? '')) this.#begin();
      else this.#failed(thrown);
    }
  }

  /** Undefined: what bears its name is not ours. Opened for this turn of the event loop, in which there may be several records. */
  #opened(): number | undefined {
    if (this.#fd !== undefined) return this.#fd;
    const path = this.dir.at(intentFile);
    const fd = openSync(path, constants.O_WRONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    if (!this.#isOurs(fstatSync(fd))) {
      closeSync(fd);
      return undefined;
    }
    this.#fd = fd;
    // For no longer: one that is held open keeps a file system from being remounted read-only.
    setImmediate(() => this.#letGo(fd));
    return fd;
  }

  #letGo(fd: number | undefined): void {
    if (fd === undefined || fd !== this.#fd) return;
    this.#fd = undefined;
    closeSync(fd);
  }

  #forget(key: string, entry: Entry): void {
    this.#entries.delete(key);
    this.#empty(entry.slot);
    this.#close(entry);
  }

  #failed(thrown: unknown): void {
    const code = errnoOf(thrown);
    if (code === undefined) throw thrown;
    this.#say(`cannot be written or read (${code}): grants that are lost when credmond is killed are not named then`);
  }

  #say(what: string): void {
    if (what !== this.#said) this.parts.log.error(`${this.dir.path}/${intentFile}: ${what}`);
    this.#said = what;
  }
}

function writeAll(fd: number, bytes: Uint8Array, at: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, at + done);
}

function discard(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // What went wrong before says more.
  }
}
