/** What a line splitter finds: a line without its newline, or that the other side sent a longer one than there may be. */
export type Piece =
  | { readonly line: Uint8Array; readonly tooLong?: never }
  | { readonly line?: never; readonly tooLong: true };

/**
 * Cuts a stream of bytes into lines, whatever the chunks. It works on bytes, so a character cut in two is no matter. It
 * never holds more than `limit` bytes, the newline counted; after a line that is too long it finds nothing any more.
 */
export class LineSplitter {
  readonly #limit: number;
  #room = new Uint8Array(256);
  #length = 0;
  #broken = false;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Bytes of a line whose end has not come yet. */
  get pending(): number {
    return this.#length;
  }

  *push(chunk: Uint8Array): Generator<Piece, void, undefined> {
    for (let from = 0; from < chunk.length && !this.#broken; ) {
      const end = chunk.indexOf(0x0a, from);
      const piece = chunk.subarray(from, end < 0 ? chunk.length : end);
      if (this.#length + piece.length >= this.#limit) {
        this.#broken = true;
        this.#take();
        yield { tooLong: true };
        return;
      }
      from += piece.length + 1;
      this.#keep(piece);
      if (end >= 0) yield { line: this.#take() };
    }
  }

  /** Copied into one room: chunks are views of larger pools, and a stranger may send them byte by byte. */
  #keep(piece: Uint8Array): void {
    const length = this.#length + piece.length;
    if (length > this.#room.length) {
      const larger = new Uint8Array(Math.min(this.#limit, Math.max(length, 2 * this.#room.length)));
      larger.set(this.#room.subarray(0, this.#length));
      this.#room = larger;
    }
    this.#room.set(piece, this.#length);
    this.#length = length;
  }

  #take(): Uint8Array {
    const line = this.#room.slice(0, this.#length);
    this.#length = 0;
    return line;
  }
}
