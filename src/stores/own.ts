import { createHash } from 'node:crypto';
import { Failed } from '../core/failure.js';
import { type CredentialId, keyOf, stem } from '../core/names.js';
import type { Stamp } from '../core/plan.js';
import { type Credentials, type Found, type Kept, Superseded, type TokenStore } from '../core/ports.js';
import { epochMs } from '../core/time.js';

/** Where other programs find the access token. */
export interface Handing {
  /** Told of every new access token. */
  give(kept: Kept): Promise<void>;
  /** A logout came meanwhile. */
  takeBack(kept: Kept): Promise<void>;
}

/** A person's own store as the daemon's credentials. There is one user, whose name is `user`. */
export function ownCredentials(store: TokenStore, user: string, handing: Handing): Credentials {
  // A logout removes the credential first and then what was handed out: whichever of the two is later finds nothing left.
  const handed = async (id: CredentialId, kept: Kept): Promise<void> => {
    await handing.give(kept);
    if ((await store.load(stem(id))) === undefined) await handing.takeBack(kept);
  };
  const load = async (id: CredentialId, stamp: Stamp): Promise<Kept> => {
    const kept = await store.load(stem(id));
    if (kept === undefined || stampOf(kept) !== stamp) throw new Superseded(`${keyOf(id)} is another`);
    return kept;
  };

  return {
    users: async () => [user],

    scan: async (whose) => {
      const found = new Map<string, Found>();
      if (whose !== user) return found;
      for (const name of await store.list()) {
        const kept = await store.load(name).catch(unreadable);
        if (kept === undefined) continue;
        if (kept === 'unreadable') {
          // Found all the same, so that it is told of, and does not hide the others.
          const id = { user, service: name };
          found.set(keyOf(id), { id, provider: name, stamp: kept, written: epochMs(0) });
          continue;
        }
        const id = { user, service: kept.provider, ...(kept.handle !== undefined && { handle: kept.handle }) };
        found.set(keyOf(id), { id, provider: kept.provider, stamp: stampOf(kept), written: kept.since });
      }
      return found;
    },

    read: async (id) => {
      const kept = await store.load(stem(id));
      return kept === undefined ? { trouble: 'absent' } : { grant: kept.grant, stamp: stampOf(kept) };
    },

    life: async (id) => {
      const kept = await store.load(stem(id));
      if (kept?.token === undefined) return undefined;
      await handed(id, kept);
      return { issued: kept.token.issued, expires: kept.token.expires };
    },

    rotate: async (id, stamp, refreshToken) => {
      const kept = await load(id, stamp);
      const next = { ...kept, grant: { ...kept.grant, refreshToken } };
      await store.save(stem(id), next);
      return stampOf(next);
    },

    publish: async (id, stamp, token) => {
      const kept = await load(id, stamp);
      const { refreshToken: _, ...access } = token;
      const next = { ...kept, token: access };
      await store.save(stem(id), next);
      await handed(id, next);
    },

    put: async (id, grant) => {
      // Without HTCondor there is nobody to make a credential from a wish.
      if (grant.kind === 'request') throw new RangeError('a request in a person’s own store');
      const next: Kept = {
        provider: id.service,
        grant,
        since: Date.now() as Kept['since'],
        ...(id.handle !== undefined && { handle: id.handle }),
      };
      await store.save(stem(id), next);
      return stampOf(next);
    },

    remove: async (id, stamp) => {
      if (stamp !== undefined) await load(id, stamp);
      return store.remove(stem(id));
    },
  };
}

function unreadable(thrown: unknown): 'unreadable' {
  if (thrown instanceof Failed) return 'unreadable';
  throw thrown;
}

/** Changes with the grant, not with the access token; tells nothing of either. */
function stampOf(kept: Kept): Stamp {
  return createHash('sha256').update(`${kept.since}\n${kept.grant.refreshToken}`).digest('hex').slice(0, 16);
}
