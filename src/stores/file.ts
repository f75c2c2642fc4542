import type { TokenStore } from '../core/ports.js';
import { keptIn } from './kept.js';
import { listEntries, readEntry, removeEntry, whereIs, writeEntry } from './records.js';

export interface FileStoreOptions {
  /** Created 0700 when the first credential is saved. */
  readonly dir: string;
  /** Why it is not the keyring, if it could have been. */
  readonly because?: string;
}

/** One 0600 file a credential, in a folder that nobody else may look into. */
export function fileStore({ dir, because }: FileStoreOptions): TokenStore {
  return {
    place: { kind: 'file', path: dir, ...(because !== undefined && { because }) },
    async load(id) {
      const entry = readEntry(dir, id);
      return entry?.at === 'file' ? keptIn(entry.kept, `${dir}/${id}.json`) : undefined;
    },
    save: (id, kept) => writeEntry(dir, id, { at: 'file', kept }),
    async remove(id) {
      return whereIs(dir, id) === 'file' && removeEntry(dir, id);
    },
    async list() {
      return listEntries(dir, 'file');
    },
  };
}
