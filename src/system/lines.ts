import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';

/** Bytes that are read at a time where nobody says otherwise, and that one line may have. */
const [usual, longest] = [256 * 1024, 64 * 1024 * 1024];

/** A file of lines that grows at its end, read piece by piece: what is read is never more than a few lines. */
export class Lines {
  #room: Buffer;
  #from = 0;
  private constructor(
    private readonly fd: number,
    /** Tells one file from the one that takes its place. */
    readonly ino: number,
    readonly uid: number,
    room: number,
  ) {
    this.#room = Buffer.allocUnsafe(room);
  }

  /**
   * Follows no symbolic link and waits for no FIFO. Undefined for what is no regular file, or has a further name. Throws
   * the system's errors. `room`: bytes that are read at a time.
   */
  static open(path: string, room = usual): Lines | undefined {
    const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK, O_NOCTTY } = constants;
    const fd = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    const stat = fstatSync(fd);
    if (stat.isFile() && stat.nlink <= 1) return new Lines(fd, stat.ino, stat.uid, room);
    closeSync(fd);
    return undefined;
  }

  /** Bytes that have been read. */
  get at(): number {
    return this.#from;
  }

  /** The next few whole lines; whether there were any. A last line without its end is left for later. */
  next(each: (line: string) => void): boolean {
    for (;;) {
      const got = this.#fill();
      const end = this.#room.lastIndexOf(0x0a, got - 1) + 1;
      if (got > 0 && end > 0) {
        let begin = 0;
        while (begin < end) {
          const stop = this.#room.indexOf(0x0a, begin);
          each(this.#room.toString('utf8', begin, stop));
          begin = stop + 1;
        }
        this.#from += end;
        return true;
      }
      if (got < this.#room.length || got >= longest) return false;
      this.#room = Buffer.allocUnsafe(this.#room.length * 4);
    }
  }

  /** What is left at the end: a line that is being written, or one that nobody ended. */
  rest(): string {
    return this.#room.toString('utf8', 0, this.#fill());
  }

  close(): void {
    closeSync(this.fd);
  }

  #fill(): number {
    let got = 0;
    for (let more = -1; more !== 0 && got < this.#room.length; got += more)
      more = readSync(this.fd, this.#room, got, this.#room.length - got, this.#from + got);
    return got;
  }
}
