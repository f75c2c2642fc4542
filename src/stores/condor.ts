import { fchownSync, fstatSync, lstatSync, mkdirSync, readdirSync, type Stats } from 'node:fs';
import { opendir } from 'node:fs/promises';
import { join } from 'node:path';
import { type AnyGrant, isRefresh, type TokenSet } from '../core/credential.js';
import type { Life } from '../core/due.js';
import { Failed } from '../core/failure.js';
import { longestLife } from '../core/lifetime.js';
import { type CredentialId, keyOf, nameTrouble, parseStem, stem } from '../core/names.js';
import type { Stamp } from '../core/plan.js';
import { type Credentials, type Found, type OtherClient, Superseded, type Top, unwritable } from '../core/ports.js';
import type { Flow } from '../core/provider.js';
import { spaced } from '../core/scopes.js';
import { type EpochMs, epochMs, later } from '../core/time.js';
import { formatGrant, formatRequest, isToken, parseTop } from '../core/top.js';
import {
  type DirHandle,
  errnoOf,
  isAt,
  openDir,
  probe,
  readBoundedNow,
  removeSecret,
  stampAt,
  stampOf,
  storageFailed,
  sweepStrays,
  syncFolder,
  type WasRead,
  writeSecret,
} from './atomic.js';

/** So many names of users are listed at a time. */
const listed = 1024;

/** Credentials of one user that are kept; nobody needs so many, and each costs memory. */
const mostEach = 500;

/** The coarsest steps in which file systems count time: milliseconds. Most have a few, some a second or two. */
const coarsest = 2000;

/** Of so many of our own rotations it is known that they were ours. */
const remembered = 1024;

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
  /** What the credentials of a service are like: of its provider. */
  readonly of: (service: string) => {
    readonly flow: Flow;
    /** Whether `.use` is the bare token. */
    readonly bare: boolean;
  };
  /** Services among `services` that are other credmons' after all. */
  foreign?(service: string): boolean;
  /** A user has more credentials than are kept: the rest are left alone. */
  tooMany?(user: string): void;
  /** Of what lies there something is passed over, whose name none of ours can be; `where`: in whose folder, or in none. */
  strange?(name: string, where: string | undefined): void;
  /** What was changed less than so many milliseconds ago may be changed again and bear the same time. */
  readonly coarse?: number;
  /** The expiry that an access token itself tells. */
  readonly expiryOf: (accessToken: string) => EpochMs | undefined;
}

/**
 * HTCondor's OAuth credential directory: `<user>/<service>[_<handle>]` with `.top` (the grant), `.use` (what jobs get) and,
 * from HTCondor's own web flow, `.meta` (the client). Formats as condor_credd and condor_credmon_oauth write them.
 */
export function condorCredentials(options: CondorOptions): Credentials & {
  sweep(before: EpochMs): Promise<number>;
  /** Whether what lies there is what the last rotation has put there. */
  isOurs(user: string, name: string): boolean;
} {
  const {
    dir,
    services,
    owners,
    folderOwner,
    of,
    expiryOf,
    tooMany = () => {},
    strange = () => {},
    foreign = () => false,
    coarse = coarsest,
  } = options;

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

  /** Of those that are being refreshed: the folder as it was opened to rotate, and the `.top` as it was read last. */
  const held = new Map<string, { folder?: DirHandle | undefined; top?: WasRead | undefined }>();

  /** What the last rotations have put where, the latest last. */
  const ours = new Map<string, Stamp>();

  const noteOurs = (path: string, stamp: Stamp): void => {
    ours.delete(path);
    ours.set(path, stamp);
    if (ours.size <= remembered) return;
    for (const oldest of ours.keys()) {
      ours.delete(oldest);
      break;
    }
  };

  /** For those that are held, the folder stays open: to be given back by {@link letGo}. */
  const takeFolder = (id: CredentialId): DirHandle => {
    const hold = held.get(keyOf(id));
    const folder = hold?.folder ?? openFolder(id.user);
    if (folder === undefined) throw new Superseded(`${dir}/${id.user} is gone`);
    if (hold) hold.folder = folder;
    return folder;
  };

  /** `again`: another one may bear its name by now, so the next will open it anew. */
  const letGo = (id: CredentialId, folder: DirHandle, again: boolean): void => {
    const hold = held.get(keyOf(id));
    if (hold?.folder === folder && !again) return;
    if (hold) hold.folder = undefined;
    folder.close();
  };

  /** Most have none, which is found out without an error made for it. */
  const metaOf = (folder: DirHandle, id: CredentialId): Record<string, unknown> | undefined => {
    const name = `${stem(id)}.meta`;
    if (!isAt(folder, name)) return undefined;
    const file = readBoundedNow(folder, name, { limit: largest, owners });
    return file.trouble === undefined ? object(file) : undefined;
  };

  const same = (folder: DirHandle, name: string, stamp: Stamp) => () => {
    if (stampAt(folder, name) !== stamp) throw new Superseded(`${folder.path}/${name} was replaced or removed`);
  };

  /** A write that failed since the whole folder was removed under it was overtaken, like any other. */
  const overtaken = (folder: DirHandle, name: string, stamp: Stamp) => (thrown: unknown) => {
    if (errnoOf(thrown) === 'ENOENT') same(folder, name, stamp)();
    throw thrown;
  };

  /** "dune" with the handle "production_x" would be a file of "dune_production": another issuer's refresh token. */
  const isAnothers = (id: CredentialId): boolean => {
    const parsed = parseStem(stem(id), services());
    return parsed !== undefined && (parsed.service !== id.service || parsed.handle !== id.handle);
  };

  const settle = async (folder: DirHandle): Promise<void> => {
    try {
      await syncFolder(folder);
    } catch (thrown) {
      throw storageFailed('write', folder.path, thrown);
    }
  };

  const isThere = (): boolean => {
    const now = lstatSync(dir, { bigint: true, throwIfNoEntry: false });
    return now?.ino === root.stat.ino && now.dev === root.stat.dev;
  };

  const users = async (): Promise<readonly string[]> => {
    // What was removed looks empty from inside: every credential would be dropped, and nobody told.
    if (!isThere()) throw moved(dir);
    try {
      const found: string[] = [];
      // In pieces: all names of a hundred thousand at once stop everything else for a tenth of a second.
      for await (const entry of await opendir(root.here, { bufferSize: listed })) {
        if (!entry.isDirectory()) continue;
        if (nameTrouble(entry.name) === undefined) found.push(entry.name);
        else if (!entry.name.startsWith('.')) strange(entry.name, undefined);
      }
      return found;
    } catch (thrown) {
      throw storageFailed('list', dir, thrown);
    }
  };

  return {
    users,

    mark: (user) => {
      if (user === undefined) return isThere() ? markOf(fstatSync(root.fd), coarse) : 0;
      try {
        // By its name and not through the open directory, in half the time: it is only asked whether to look.
        const stat = lstatSync(`${dir}/${user}`, quietly);
        return stat?.isDirectory() ? markOf(stat, coarse) : 'gone';
      } catch {
        // Whoever looks is told why.
        return 0;
      }
    },

    scan: (user) =>
      inFolder(user, new Map<string, Found>(), async (folder) => {
        const found = new Map<string, Found>();
        for (const name of readdirSync(folder.here)) {
          if (!name.endsWith('.top')) continue;
          const parsed = parseStem(name.slice(0, -'.top'.length), services());
          // Of others' there may be any number; a name that is no text is nobody's.
          if (name.includes(noText)) strange(name, user);
          const stat = parsed && lstatSync(folder.at(name), { bigint: true, throwIfNoEntry: false });
          if (parsed === undefined || stat === undefined || foreign(parsed.provider)) continue;
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
        if (isAnothers(id)) return { trouble: 'absent' };
        const name = `${stem(id)}.top`;
        const read = readBoundedNow(folder, name, { limit: largest, owners });
        const hold = held.get(keyOf(id));
        if (hold) hold.top = read.trouble === undefined ? read : undefined;
        if (read.trouble !== undefined) {
          const stamp = read.trouble === 'absent' ? undefined : stampAt(folder, name);
          return { trouble: read.trouble, ...(stamp !== undefined && { stamp }) };
        }
        const { flow } = of(id.service);
        const parse = (final: boolean) => parseTop(read.bytes.toString('utf8'), { id, flow, final });
        const usual = parse(false);
        const meta = isOurs(usual) ? undefined : metaOf(folder, id);
        const grant = meta?.use_refresh_token === false ? parse(true) : usual;
        if (typeof grant === 'string') return { trouble: grant, stamp: read.stamp };
        const client = clientIn(meta);
        return { grant, stamp: read.stamp, ...(client !== undefined && { client }) };
      }),

    hold: (id) => {
      const key = keyOf(id);
      held.set(key, {});
      return () => {
        held.get(key)?.folder?.close();
        held.delete(key);
      };
    },

    life: (id) =>
      inFolder<Life | undefined>(id.user, undefined, async (folder) => {
        const read = readBoundedNow(folder, `${stem(id)}.use`, { limit: largest, owners });
        return read.trouble === undefined ? lifeIn(read, expiryOf) : undefined;
      }),

    rotate: async (id, stamp, refreshToken) => {
      const { length } = refreshToken;
      if (!isToken(refreshToken)) throw unreadable(`${length} characters, or such as none has`);
      const folder = takeFolder(id);
      let done = false;
      try {
        const name = `${stem(id)}.top`;
        const known = held.get(keyOf(id))?.top;
        // Whether it is still this one is asked again right before it is replaced.
        const read = known?.stamp === stamp ? known : readBoundedNow(folder, name, { limit: largest, owners });
        if (read.trouble !== undefined || read.stamp !== stamp)
          throw new Superseded(`${folder.path}/${name} is another`);
        // Pelican's subject token has done its work; and when the new refresh token ends, nobody has said.
        const { access_token: _, subject_token: __, refresh_token_expires_at: ___, ...rest } = object(read) ?? {};
        const mytoken = of(id.service).flow === 'mytoken' && !('credmon_request' in rest);
        const body = { ...rest, [mytoken ? 'mytoken' : 'refresh_token']: refreshToken };
        const now = await writeSecret(folder, name, written(body), {
          durable: true,
          check: same(folder, name, stamp),
          placed: (placed) => noteOurs(`${id.user}/${name}`, placed),
        }).catch(overtaken(folder, name, stamp));
        done = true;
        return now;
      } finally {
        letGo(id, folder, !done);
      }
    },

    publish: async (id, stamp, token) => {
      const folder = takeFolder(id);
      const [top, use] = [`${stem(id)}.top`, `${stem(id)}.use`];
      try {
        // Read-only for its owner, as HTCondor's own credmons leave it. It can be fetched again, so it needs no fsync.
        await writeSecret(folder, use, textOfUse(token, of(id.service).bare), {
          mode: 0o400,
          durable: false,
          stamped: false,
          check: same(folder, top, stamp),
        }).catch(overtaken(folder, top, stamp));
        // A deletion between check and rename would have left a token without a grant.
        if (!isAt(folder, top)) {
          await removeSecret(folder, use, { durable: false });
          throw new Superseded(`${folder.path}/${top} was removed`);
        }
      } finally {
        letGo(id, folder, true);
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
        const text = grant.kind === 'request' ? formatRequest(id, grant) : formatGrant(grant);
        // The folder may be as new as this, whoever has made it.
        await settle(root);
        const stamp = await writeSecret(folder, `${stem(id)}.top`, text, { durable: true });
        // Made with another client, by HTCondor's web flow: of the grant that was replaced.
        await removeSecret(folder, `${stem(id)}.meta`, { durable: false });
        return stamp;
      } finally {
        folder.close();
      }
    },

    remove: (id, stamp) =>
      inFolder(id.user, false, async (folder) => {
        if (isAnothers(id)) return false;
        const top = `${stem(id)}.top`;
        const check = stamp === undefined ? undefined : same(folder, top, stamp);
        const there = await removeSecret(folder, top, { durable: false, ...(check && { check }) });
        for (const ending of ['use', 'meta']) await removeSecret(folder, `${stem(id)}.${ending}`, { durable: false });
        // Of all of them: a token that came back would be nobody's to take away.
        await settle(folder);
        return there;
      }),

    isOurs: (user, name) => {
      const stamp = ours.get(`${user}/${name}`);
      if (stamp === undefined) return false;
      try {
        const stat = lstatSync(`${dir}/${user}/${name}`, { bigint: true, throwIfNoEntry: false });
        return stat !== undefined && stampOf(stat) === stamp;
      } catch {
        return false;
      }
    },

    probe: (user) => inFolder(user, undefined, probe),

    settle: async (user) => {
      await settle(root);
      await inFolder(user, undefined, settle);
    },

    sweep: async (before) => {
      let removed = sweepStrays(root, before);
      for (const user of await users())
        removed += await inFolder(user, 0, async (folder) => sweepStrays(folder, before));
      return removed;
    },
  };
}

/**
 * Whether we have written it. What `.meta` lies beside it is of the grant that was replaced: a crash came before it was
 * removed, or condor_credd has stored this one.
 */
const isOurs = (grant: AnyGrant | string): boolean =>
  typeof grant !== 'string' && (grant.kind === 'request' || (isRefresh(grant) && grant.since !== undefined));

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

/** What users put there can be nested more deeply than can be written. */
function written(body: object): string {
  let text: string;
  try {
    text = JSON.stringify(body);
  } catch (cause) {
    throw new Failed({ kind: 'storage', what: 'what is stored cannot be written again', code: unwritable }, { cause });
  }
  if (Buffer.byteLength(text) > largest) throw unreadable(`${text.length} characters with all that lies there`);
  return text;
}

/** It would be there, and nobody could read it back. */
function unreadable(why: string): Failed {
  return new Failed({
    kind: 'protocol',
    what: `the issuer sent a refresh token that cannot be kept: ${why}`,
    hint: 'whoever runs it must mend this; a login is needed then',
    code: unwritable,
  });
}

/** What Node makes of bytes that are not UTF-8. */
const noText = '\ufffd';

const quietly = { throwIfNoEntry: false } as const;

/** Of 30 bits, so that V8 keeps it without an object of its own. */
function markOf({ ctimeMs }: Stats, coarse: number): number {
  return Math.abs(Date.now() - ctimeMs) < coarse ? 0 : 1 + (Math.floor(ctimeMs * 1000) % 0x3fffffff);
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
  const text = read.bytes.toString('utf8');
  // It is not fsynced: after a power failure the first half of a token may be there, and even tell its end.
  const body = object(read) ?? (/^[^{\0]*\n$/.test(text) ? { access_token: text.trim() } : {});
  const { expires_at: at, expires_in: span, access_token: token } = body;
  if (typeof token !== 'string' || token === '') return undefined;
  // Users may store one of their own, with anything in it.
  if (typeof at === 'number' && at > 0 && at < 4e9) return { issued, expires: epochMs(at * 1000) };
  if (typeof span === 'number' && span > 0) return { issued, expires: later(issued, Math.min(span, longestLife)) };
  const expires = expiryOf(token);
  return expires === undefined || expires > 4e12 ? undefined : { issued, expires };
}
