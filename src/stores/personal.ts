import { fail } from '../core/failure.js';
import type { Place } from '../core/login.js';
import type { TokenStore } from '../core/ports.js';
import { fileStore } from './file.js';
import { type KeyringOptions, keyringStore, type Probe, probeKeyring } from './keyring.js';
import { listEntries, readEntry, removeEntry, whereIs, writeEntry } from './records.js';
import { type Env, stateDir } from './state.js';

/**
 * Where a secret goes that is saved. `auto`: into the keyring if one answers, else into a file. `stay`: to where the
 * credential already lives, and a new one into a file; nothing is probed, which is right for refreshes and for looking.
 */
export type PersonalChoice = 'keyring' | 'file' | 'auto' | 'stay';

export interface PersonalOptions {
  readonly env: Env;
  /** Default: auto. */
  readonly choice?: PersonalChoice;
  readonly probe?: (options: KeyringOptions) => Promise<Probe>;
  /** For the keyring; its env is `env`. */
  readonly keyring?: Omit<KeyringOptions, 'env'>;
}

export interface PersonalStore extends TokenStore {
  /** Where a saved secret goes; with `stay`, a new one. */
  readonly place: Place;
  /** Where the secret of this credential lives; undefined when there is none. */
  placeOf(id: string): Place | undefined;
}

/**
 * A person's own store. Each secret lives in one place, which the state folder remembers; saving it to the other place
 * moves it there. Throws Failed('storage') when there is no home, or when the keyring was chosen and none answers.
 */
export async function openPersonalStore(options: PersonalOptions): Promise<PersonalStore> {
  const { env, choice = 'auto', probe = probeKeyring } = options;
  const dir = stateDir(env);
  const ringOptions = { ...options.keyring, env };
  const probed = choice === 'keyring' || choice === 'auto' ? await probe(ringOptions) : undefined;
  if (choice === 'keyring' && probed?.ok === false) {
    fail(
      'storage',
      `the keyring cannot be used: ${probed.because}`,
      'leave the choice to credmon, or choose --store file',
    );
  }
  const because = probed?.ok === false ? probed.because : undefined;
  const file = fileStore({ dir, ...(because !== undefined && { because }) });
  const ring = keyringStore({ ...ringOptions, indexDir: dir });
  const storeOf = { file, keyring: ring };
  const chosen = probed?.ok ? 'keyring' : 'file';

  return {
    place: storeOf[chosen].place,
    placeOf(id) {
      const at = whereIs(dir, id);
      return at && storeOf[at].place;
    },
    async load(id) {
      const entry = readEntry(dir, id);
      return entry && storeOf[entry.at].load(id);
    },
    async save(id, kept) {
      const before = whereIs(dir, id);
      const target = choice === 'stay' ? (before ?? 'file') : chosen;
      // Into the keyring, one rename puts the pointer to it where the file with the secret was.
      if (target === 'keyring') return ring.save(id, kept);
      if (before !== 'keyring' && !hasOrphan(dir, id)) return file.save(id, kept);
      // The entry decides who owns the secret; what the keyring holds is useless from here on, and goes as soon as it can.
      await writeEntry(dir, id, { at: 'file', kept, orphan: true });
      if (await ring.forget(id)) await file.save(id, kept);
    },
    async remove(id) {
      if (whereIs(dir, id) === 'keyring') return ring.remove(id);
      if (hasOrphan(dir, id)) await ring.forget(id);
      return removeEntry(dir, id);
    },
    async list() {
      return listEntries(dir);
    },
  };
}

function hasOrphan(dir: string, id: string): boolean {
  try {
    const entry = readEntry(dir, id);
    return entry?.at === 'file' && entry.orphan === true;
  } catch {
    // It is damaged: what it says is not worth asking the keyring for.
    return false;
  }
}
