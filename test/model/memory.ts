import { type AnyGrant, renewed } from '../../src/core/credential.js';
import type { Life } from '../../src/core/due.js';
import { type CredentialId, keyOf, parseStem, stem } from '../../src/core/names.js';
import type { Stamp } from '../../src/core/plan.js';
import { type Credentials, type Found, Superseded, type Top } from '../../src/core/ports.js';
import type { EpochMs } from '../../src/core/time.js';

/** What lies on disk for one credential. */
interface Files {
  readonly id: CredentialId;
  /** A text is what it is that is no grant. */
  grant: AnyGrant | string;
  stamp: Stamp;
  written: EpochMs;
  use?: Life & { readonly accessToken: string };
}

interface Folder {
  /** It bears another name just now. */
  away: boolean;
  readonly files: Map<string, Files>;
}

/** A credential directory, and what others do in it. */
export interface Directory {
  readonly credentials: Credentials;
  /** A login, or whatever a user stores: a text is no grant. */
  store(id: CredentialId, grant: AnyGrant | string): void;
  /** condor_credd removes it. */
  logout(id: CredentialId): void;
  /** The same content with another stamp. */
  touch(id: CredentialId): void;
  /** The user's folder is renamed, or bears its name again. */
  move(user: string, away: boolean): void;
  /** What jobs and people find, also where the folder is away. */
  look(id: CredentialId): { readonly grant: AnyGrant | string | undefined; readonly accessToken: string | undefined };
}

export interface MemoryOptions {
  readonly services: () => Iterable<string>;
  readonly now: () => EpochMs;
}

/** A credential directory in memory, with the manners of HTCondor's: each operation is whole, and its own moment. */
export function memoryDirectory({ services, now }: MemoryOptions): Directory {
  const folders = new Map<string, Folder>();
  let stamps = 0;
  const stampNow = () => ({ stamp: `memory-${++stamps}`, written: now() });
  const inFolder = (user: string) => {
    const folder = folders.get(user);
    return folder?.away ? undefined : folder;
  };
  const at = (id: CredentialId) => inFolder(id.user)?.files.get(stem(id));
  const same = (id: CredentialId, stamp: Stamp): Files => {
    const files = at(id);
    if (files?.stamp !== stamp) throw new Superseded(`${keyOf(id)} was replaced or removed`);
    return files;
  };
  const store: Directory['store'] = (id, grant) => {
    const folder = folders.get(id.user) ?? { away: false, files: new Map<string, Files>() };
    folders.set(id.user, folder);
    const files = folder.files.get(stem(id));
    if (files) Object.assign(files, { grant, ...stampNow() });
    else folder.files.set(stem(id), { id, grant, ...stampNow() });
  };
  const credentials: Credentials = {
    users: async () => [...folders].filter(([, { away }]) => !away).map(([user]) => user),
    scan: async (user) => {
      const found = new Map<string, Found>();
      for (const [name, { stamp, written }] of inFolder(user)?.files ?? []) {
        const parsed = parseStem(name, services());
        if (parsed === undefined) continue;
        const { service, handle, provider } = parsed;
        const id = { user, service, ...(handle !== undefined && { handle }) };
        found.set(keyOf(id), { id, provider, stamp, written });
      }
      return found;
    },
    read: async (id): Promise<Top> => {
      const files = at(id);
      if (files === undefined) return { trouble: 'absent' };
      const { grant, stamp } = files;
      return typeof grant === 'string' ? { trouble: grant, stamp } : { grant, stamp };
    },
    life: async (id) => {
      const use = at(id)?.use;
      return use && { issued: use.issued, expires: use.expires };
    },
    rotate: async (id, stamp, refreshToken) => {
      const files = same(id, stamp);
      if (typeof files.grant !== 'string')
        Object.assign(files, { grant: renewed(files.grant, refreshToken), ...stampNow() });
      return files.stamp;
    },
    publish: async (id, stamp, { accessToken, issued, expires }) => {
      same(id, stamp).use = { accessToken, issued, expires };
    },
    put: async (id, grant) => {
      store(id, grant);
      return same(id, `memory-${stamps}`).stamp;
    },
    remove: async (id, stamp) => {
      if (stamp !== undefined) same(id, stamp);
      return inFolder(id.user)?.files.delete(stem(id)) ?? false;
    },
  };
  return {
    credentials,
    store,
    logout: (id) => void inFolder(id.user)?.files.delete(stem(id)),
    touch: (id) => {
      const files = at(id);
      if (files) Object.assign(files, stampNow());
    },
    move: (user, away) => {
      const folder = folders.get(user);
      if (folder) folder.away = away;
    },
    look: (id) => {
      const files = folders.get(id.user)?.files.get(stem(id));
      return { grant: files?.grant, accessToken: files?.use?.accessToken };
    },
  };
}
