import { fchownSync, lstatSync, mkdirSync, readdirSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Grant, TokenSet } from '../core/credential.js';
import type { Life } from '../core/due.js';
import { Failed } from '../core/failure.js';
import { keyOf, nameTrouble, parseStem, stem } from '../core/names.js';
import type { Stamp } from '../core/plan.js';
import { type Credentials, type Found, type OtherClient, Superseded, type Top } from '../core/ports.js';
import { badScope, parseScopes, spaced } from '../core/scopes.js';
import { type EpochMs, epochMs, later } from '../core/time.js';
import {
  type DirHandle,
  errnoOf,
  openDir,
  readBounded,
  removeSecret,
  stampAt,
  stampOf,
  storageFailed,
  sweepStrays,
  type WasRead,
  writeSecret,
} from './atomic.js';

/** Credentials of one user that are kept; nobody needs so many, and each costs memory. */
const mostEach = 500;

/** Neither a `.top` nor a `.use` or `.meta` is ever larger: bytes. */
const largest = 64 * 1024;

export interface CondorOptions {
  /** SEC_CREDENTIAL_DIRECTORY_OAUTH. */
  readonly dir: string;
  /** The configured provider names: credentials of others are not ours to touch. */
  readonly services: () => Iterable<string>;
  /** Accounts whose files and folders are believed: root, condor's, and the one that the daemon runs as. */
  readonly owners: readonly number[];
  /** Whom a new user's folder is given to: condor's account, as condor_credd does it. Only root can. */
  readonly folderOwner?: { readonly uid: number; readonly gid: number };
  /** Whether this provider's `.use` is the bare token. */
  readonly bare: (provider: string) => boolean;
  /** A user has more credentials than are kept: the rest are left alone. */
  tooMany?(user: string): void;
  /** The expiry that an access token itself tells. */
  readonly expiryOf: (accessToken: string) => EpochMs | undefined;
}

/**
 * HTCondor's OAuth credential directory: `<user>/<service>[_<handle>]` with `.top` (the grant), `.use` (what jobs get) and,
 * from HTCondor's own web flow, `.meta` (the client). Formats as condor_credd and condor_credmon_oauth write them.
 */
export function condorCredentials(options: CondorOptions): Credentials & { sweep(before: EpochMs): Promise<number> } {
  const { dir, services, owners, folderOwner, bare, expiryOf, tooMany = () => {} } = options;

  /** Held open for good: /var/lib/condor is condor's, and the name may lead elsewhere one day. */
  const root = openDir(dir);

  /** The user's folder, held open: what is then done in it is done there, even if its name leads elsewhere meanwhile. */
  const inFolder = async <T>(user: string, absent: T, work: (folder: DirHandle) => Promise<T>): Promise<T> => {
    const folder = openFolder(user);
    if (folder === undefined) return absent;
    try {
      return await work(folder);
    } finally {
      folder.close();
    }
  };

  const openFolder = (user: string): DirHandle | undefined => {
    if (nameTrouble(user) !== undefined) return undefined;
    let folder: DirHandle;
    try {
      folder = root.sub(user);
    } catch (thrown) {
      if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errnoOf(thrown) ?? '')) return undefined;
      throw storageFailed('open', join(dir, user), thrown);
    }
    const { uid, gid, mode } = folder.stat;
    // condor's group may replace the whole folder, since the directory is that group's: it may write in it as well.
    const closed = (Number(mode) & (gid === BigInt(folderOwner?.gid ?? -1) ? 0o002 : 0o022)) === 0;
    if (owners.includes(Number(uid)) && closed) return folder;
    folder.close();
    return undefined;
  };

  const same = (folder: DirHandle, name: string, stamp: Stamp) => () => {
    if (stampAt(folder, name) !== stamp) throw new Superseded(`${folder.path}/${name} was replaced or removed`);
  };

  /** A write that failed since the whole folder was removed under it was overtaken, like any other. */
  const overtaken = (folder: DirHandle, name: string, stamp: Stamp) => (thrown: unknown) => {
    if (errnoOf(thrown) === 'ENOENT') same(folder, name, stamp)();
    throw thrown;
  };

  const users = async (): Promise<readonly string[]> => {
    const now = lstatSync(dir, { bigint: true, throwIfNoEntry: false });
    // What was removed looks empty from inside: every credential would be dropped, and nobody told.
    if (now?.ino !== root.stat.ino || now.dev !== root.stat.dev) throw moved(dir);
    try {
      const entries = await readdir(root.here, { withFileTypes: true });
      return entries.filter((e) => e.isDirectory() && nameTrouble(e.name) === undefined).map((e) => e.name);
    } catch (thrown) {
      throw storageFailed('list', dir, thrown);
    }
  };

  return {
    users,

    scan: (user) =>
      inFolder(user, new Map<string, Found>(), async (folder) => {
        const found = new Map<string, Found>();
        for (const name of readdirSync(folder.here)) {
          if (!name.endsWith('.top')) continue;
          const parsed = parseStem(name.slice(0, -'.top'.length), services());
          const stat = parsed && lstatSync(folder.at(name), { bigint: true, throwIfNoEntry: false });
          if (parsed === undefined || stat === undefined) continue;
          if (found.size === mostEach) {
            tooMany(user);
            break;
          }
          const { service, handle, provider } = parsed;
          const id = { user, service, ...(handle !== undefined && { handle }) };
          found.set(keyOf(id), { id, provider, stamp: stampOf(stat), written: epochMs(Number(stat.mtimeMs)) });
        }
        return found;
      }),

    read: (id) =>
      inFolder<Top>(id.user, { trouble: 'absent' }, async (folder) => {
        const name = `${stem(id)}.top`;
        const read = await readBounded(folder, name, { limit: largest, owners });
        if (read.trouble !== undefined) {
          const stamp = read.trouble === 'absent' ? undefined : stampAt(folder, name);
          return { trouble: read.trouble, ...(stamp !== undefined && { stamp }) };
        }
        const body = object(read);
        if (body === undefined) return { trouble: 'not a JSON object', stamp: read.stamp };
        const grant = grantIn(body);
        if (typeof grant === 'string') return { trouble: grant, stamp: read.stamp };
        const meta = await readBounded(folder, `${stem(id)}.meta`, { limit: largest, owners });
        const client = meta.trouble === undefined ? clientIn(object(meta)) : undefined;
        return { grant, stamp: read.stamp, ...(client !== undefined && { client }) };
      }),

    life: (id) =>
      inFolder<Life | undefined>(id.user, undefined, async (folder) => {
        const read = await readBounded(folder, `${stem(id)}.use`, { limit: largest, owners });
        return read.trouble === undefined ? lifeIn(read, expiryOf) : undefined;
      }),

    rotate: async (id, stamp, refreshToken) => {
      const folder = openFolder(id.user);
      if (folder === undefined) throw new Superseded(`${dir}/${id.user} is gone`);
      try {
        const name = `${stem(id)}.top`;
        const read = await readBounded(folder, name, { limit: largest, owners });
        if (read.trouble !== undefined || read.stamp !== stamp)
          throw new Superseded(`${folder.path}/${name} is another`);
        const body = { ...object(read), refresh_token: refreshToken };
        return await writeSecret(folder, name, JSON.stringify(body), {
          durable: true,
          check: same(folder, name, stamp),
        }).catch(overtaken(folder, name, stamp));
      } finally {
        folder.close();
      }
    },

    publish: async (id, stamp, token) => {
      const folder = openFolder(id.user);
      if (folder === undefined) throw new Superseded(`${dir}/${id.user} is gone`);
      const [top, use] = [`${stem(id)}.top`, `${stem(id)}.use`];
      try {
        // Read-only for its owner, as HTCondor's own credmons leave it. It can be fetched again, so it needs no fsync.
        await writeSecret(folder, use, textOfUse(token, bare(id.service)), {
          mode: 0o400,
          durable: false,
          check: same(folder, top, stamp),
        }).catch(overtaken(folder, top, stamp));
        // A deletion between check and rename would have left a token without a grant.
        if (stampAt(folder, top) === undefined) {
          await removeSecret(folder, use, { durable: false });
          throw new Superseded(`${folder.path}/${top} was removed`);
        }
      } finally {
        folder.close();
      }
    },

    put: async (id, grant) => {
      let folder = openFolder(id.user);
      if (folder === undefined) {
        makeFolder(root, id.user, folderOwner);
        folder = openFolder(id.user);
      }
      if (folder === undefined) throw notOurs(join(dir, id.user));
      try {
        const body = {
          refresh_token: grant.refreshToken,
          // As condor_credd keeps and compares them: only where someone asked for them.
          ...(grant.scopes?.length && { scopes: spaced(grant.scopes) }),
          ...(grant.audience !== undefined && { audience: grant.audience }),
        };
        const stamp = await writeSecret(folder, `${stem(id)}.top`, JSON.stringify(body), { durable: true });
        // Made with another client, by HTCondor's web flow: of the grant that was replaced.
        await removeSecret(folder, `${stem(id)}.meta`, { durable: false });
        return stamp;
      } finally {
        folder.close();
      }
    },

    remove: (id) =>
      inFolder(id.user, false, async (folder) => {
        const there = await removeSecret(folder, `${stem(id)}.top`, { durable: true });
        for (const ending of ['use', 'meta']) await removeSecret(folder, `${stem(id)}.${ending}`, { durable: false });
        return there;
      }),

    sweep: async (before) => {
      let removed = 0;
      for (const user of await users())
        removed += await inFolder(user, 0, async (folder) => sweepStrays(folder, before));
      return removed;
    },
  };
}

/** As condor_credd makes it: for condor's account alone. */
function makeFolder(root: DirHandle, user: string, owner: CondorOptions['folderOwner']): void {
  const path = join(root.path, user);
  if (nameTrouble(user) !== undefined) throw notOurs(path);
  try {
    mkdirSync(root.at(user), { mode: 0o700 });
  } catch (thrown) {
    if (errnoOf(thrown) === 'EEXIST') return;
    throw storageFailed('make', path, thrown);
  }
  // condor's account may have put another thing under that name by now: only the open folder, ours still, is given away.
  const made = root.sub(user);
  try {
    if (owner && made.stat.uid === BigInt(process.geteuid?.() ?? -1)) fchownSync(made.fd, owner.uid, owner.gid);
  } finally {
    made.close();
  }
}

function moved(dir: string): Failed {
  return new Failed({
    kind: 'storage',
    what: `${dir} is not the folder any more that it was when credmond started`,
    hint: 'put it back, or restart credmond',
  });
}

function notOurs(path: string): Failed {
  return new Failed({
    kind: 'storage',
    what: `${path} is not a folder that HTCondor or credmon made`,
    hint: 'look at what is in its place, who owns it and whether others may write to it',
  });
}

function object({ bytes }: WasRead): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'));
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The grant, or what it is that is none. Users store what they like, and what is in it is sent to the issuer, kept in memory
 * and told in status: RFC 6749 appendix A says which characters may be in it, and these are the broker's limits too.
 */
function grantIn(body: Record<string, unknown>): Grant | string {
  const { refresh_token: refreshToken, scopes, audience } = body;
  if (typeof refreshToken !== 'string' || refreshToken === '') return 'without a refresh_token';
  if (!/^[\x20-\x7E]{1,16384}$/.test(refreshToken)) return 'with a refresh_token that cannot be one';
  const asked = typeof scopes === 'string' && scopes.trim() !== '' ? parseScopes(scopes) : undefined;
  if (asked && (spaced(asked).length > 4096 || badScope(asked) !== undefined)) return 'with scopes that cannot be';
  const whom = typeof audience === 'string' && audience !== '' ? audience : undefined;
  if (whom !== undefined && !/^[\x20-\x7E]{1,512}$/.test(whom)) return 'with an audience that cannot be';
  return { refreshToken, ...(asked && { scopes: asked }), ...(whom !== undefined && { audience: whom }) };
}

/** `.meta` of HTCondor's web flow: {client_id, client_secret, token_url, use_refresh_token}. */
function clientIn(body: Record<string, unknown> | undefined): OtherClient | undefined {
  const { client_id: clientId, client_secret: secret, token_url: tokenUrl } = body ?? {};
  if (typeof clientId !== 'string' || clientId === '') return undefined;
  return {
    clientId,
    ...(typeof secret === 'string' && secret !== '' && { secret }),
    ...(typeof tokenUrl === 'string' && { tokenUrl }),
  };
}

/** {access_token, token_type, expires_in (s), expires_at (s since 1970), scope}, or the bare token and a newline. */
function textOfUse(token: TokenSet, bare: boolean): string {
  if (bare) return `${token.accessToken}\n`;
  return JSON.stringify({
    access_token: token.accessToken,
    token_type: token.tokenType,
    expires_in: Math.round((token.expires - token.issued) / 1000),
    expires_at: Math.floor(token.expires / 1000),
    ...(token.scopes !== undefined && { scope: spaced(token.scopes) }),
  });
}

function lifeIn(read: WasRead, expiryOf: CondorOptions['expiryOf']): Life | undefined {
  const issued = epochMs(Number(read.stat.mtimeMs));
  const body = object(read) ?? { access_token: read.bytes.toString('utf8').trim() };
  const { expires_at: at, expires_in: span, access_token: token } = body;
  if (typeof token !== 'string' || token === '') return undefined;
  if (typeof at === 'number' && at > 0) return { issued, expires: epochMs(at * 1000) };
  if (typeof span === 'number' && span > 0) return { issued, expires: later(issued, span) };
  const expires = expiryOf(token);
  return expires === undefined ? undefined : { issued, expires };
}
