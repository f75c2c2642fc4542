/** What distinguishes one state of a `.top` from the next: inode, change time and size never all stay. */
export type Stamp = string;

export interface Plan {
  /** On disk and not known before. */
  readonly added: readonly string[];
  /** Known, and not the file it was. */
  readonly changed: readonly string[];
  /** Known, and no longer there. */
  readonly gone: readonly string[];
}

/** (what is on disk, what is remembered) → what to do. Keys are those of names.ts. */
export function plan(disk: ReadonlyMap<string, Stamp>, known: ReadonlyMap<string, Stamp>): Plan {
  const added: string[] = [];
  const changed: string[] = [];
  for (const [key, stamp] of disk) {
    const before = known.get(key);
    if (before === undefined) added.push(key);
    else if (before !== stamp) changed.push(key);
  }
  const gone = [...known.keys()].filter((key) => !disk.has(key));
  return { added, changed, gone };
}
