import { statSync } from 'node:fs';
import { Lines } from '../../system/lines.js';

/** Bytes that are read at a time: some 200 people's, for a millisecond or two of work. */
const piece = 64 * 1024;

export interface FollowParts {
  readonly path: string;
  line(line: string): void;
  /** The file is another one: what it says from here on is all there is. */
  begin(): void;
  /** All that it began with has been read. True: that takes longer, and is to be gone on with. */
  end(over: () => boolean): boolean;
}

/** What keeps it from being read. */
export type Hindrance = 'missing' | { readonly code: string };

/** Reads a file of lines as it grows, and another one that takes its place from the beginning; only ever what is new. */
export class Follow {
  #lines: Lines | undefined;
  #dev = 0;
  #ending = false;
  /** There may be more to read. */
  #more = false;
  #hindrance: Hindrance | undefined;

  constructor(private readonly parts: FollowParts) {}

  get hindrance(): Hindrance | undefined {
    return this.#hindrance;
  }

  /** All that was there when it was last looked at has been read. */
  get isRead(): boolean {
    return this.#lines !== undefined && !this.#more && !this.#ending;
  }

  /** Looks whether anything is new. */
  look(): void {
    try {
      const { ino, dev, size } = statSync(this.parts.path);
      const lines = this.#lines;
      if (!lines || lines.ino !== ino || this.#dev !== dev || size < lines.at) this.#open(dev);
      else this.#more ||= size > lines.at;
      this.#hindrance = this.#lines ? undefined : { code: 'no regular file' };
    } catch (thrown) {
      const { code = 'unknown' } = thrown as NodeJS.ErrnoException;
      // What has been read stays, and is as old as it is.
      this.#hindrance = code === 'ENOENT' || code === 'ENOTDIR' ? 'missing' : { code };
    }
  }

  /** Reads on until the time is over; whether there is more. */
  read(over: () => boolean): boolean {
    const lines = this.#lines;
    if (!lines) return false;
    try {
      while (this.#more) {
        if (!lines.next(this.parts.line)) this.#more = false;
        else if (over()) return true;
      }
      if (this.#ending) this.#ending = this.parts.end(over);
      return this.#ending;
    } catch (thrown) {
      this.#hindrance = { code: (thrown as NodeJS.ErrnoException).code ?? 'unknown' };
      this.close();
      return false;
    }
  }

  close(): void {
    this.#lines?.close();
    this.#lines = undefined;
    this.#more = this.#ending = false;
  }

  #open(dev: number): void {
    const lines = Lines.open(this.parts.path, piece);
    this.close();
    if (lines === undefined) return;
    this.#lines = lines;
    this.#dev = dev;
    this.#more = this.#ending = true;
    this.parts.begin();
  }
}
