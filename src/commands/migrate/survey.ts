import { type BigIntStats, lstatSync, readdirSync } from 'node:fs';
import { readSecret } from '../../config/secret.js';
import type { Config } from '../../core/config.js';
import { kindOf } from '../../core/credential.js';
import { nameTrouble, parseStem } from '../../core/names.js';
import { findProvider, type Provider } from '../../core/provider.js';
import { parseTop } from '../../core/top.js';
import { type DirHandle, errnoOf, openDir, readBounded } from '../../stores/atomic.js';
import { isKeyFile } from '../doctor/checks/directory.js';

/** No file of HTCondor's in the credential directory is larger: bytes. */
export const largest = 64 * 1024;

/** Something to be done to a file or folder of the credential directory; `path` from there, '' for itself. */
export type Work = ModeWork | RemoveWork;

interface ModeWork {
  readonly kind: 'mode';
  readonly path: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

interface RemoveWork {
  readonly kind: 'remove';
  readonly path: string;
}

/** A credential that is taken over as it is, or (`why`) not. */
interface Seen {
  readonly user: string;
  readonly name: string;
  readonly provider?: string;
  readonly why?: string;
}

export interface Survey {
  readonly credentials: readonly Seen[];
  readonly works: readonly Work[];
  /** Web-flow files with a client that is not the configured one, and what else stays as it is and is worth a word. */
  readonly notes: readonly string[];
  /** What others could write to: who put what there cannot be told, so it is mended only with `force`. */
  readonly doubts: readonly Doubt[];
}

/** Who could write to a folder or file; `path` from the credential directory, '' for itself. */
interface Doubt {
  readonly path: string;
  readonly what: string;
}

export interface SurveyParts {
  readonly dir: string;
  readonly config: Config;
  /** HTCondor's account; undefined where there is none. */
  readonly condor: { readonly uid: number; readonly gid: number } | undefined;
  /** An admin says that what others could write to is nevertheless what it says: it is mended too. Default: no. */
  readonly force?: boolean;
}

const anybodys = 'it could be anybody’s: have the person log in again';

/**
 * Looks through the credential directory. Nothing is ever proposed that would have credmond believe a stranger's file: it
 * believes what root or condor own in a folder of theirs that is closed (stores/condor.ts). Nothing of a secret gets out of
 * here. Throws Failed('storage').
 */
export async function survey({ dir, config, condor, force = false }: SurveyParts): Promise<Survey> {
  const credentials: Seen[] = [];
  const works: Work[] = [];
  const notes: string[] = [];
  const doubts: Doubt[] = [];
  const secrets = new Map<string, string | undefined>();
  const secretOf = async (provider: Provider) => {
    if (!secrets.has(provider.name))
      secrets.set(provider.name, provider.secretFile && (await readSecret(provider.secretFile).catch(() => undefined)));
    return secrets.get(provider.name);
  };
  const own = process.geteuid?.() ?? 0;
  // Of an account there are its name and more; only these go into what is planned.
  const whose = { uid: condor?.uid ?? own, gid: condor?.gid ?? process.getegid?.() ?? 0 };
  const believed = [0, own, whose.uid];

  const root = openDir(dir);
  try {
    const { mode, uid, gid } = modeOf(root.stat);
    const writers = writersOf(root.stat);
    if (writers !== undefined)
      doubts.push({
        path: '',
        what: force
          ? `${writers} could write to ${dir}: it is mended all the same (--force), and what root and condor own there counts`
          : `${writers} could write to ${dir}: whose the credentials there are cannot be told, and nothing there is mended`,
      });
    const doubted = writers !== undefined && !force;
    if (!doubted && (mode !== 0o2770 || uid !== own || gid !== whose.gid))
      works.push({ kind: 'mode', path: '', mode: 0o2770, uid: own, gid: whose.gid });
    for (const entry of readdirSync(root.here, { withFileTypes: true })) {
      const { name } = entry;
      if (!doubted && entry.isFile() && isKeyFile(name)) {
        const others = await othersIn(root, name, config);
        if (others.length === 0) works.push({ kind: 'remove', path: name });
        else notes.push(`a key file of HTCondor’s web page stays, since it is for ${others.join(', ')} as well`);
      }
      if (!entry.isDirectory() || nameTrouble(name) !== undefined) continue;
      const folder = subOf(root, name);
      if (folder === undefined) {
        notes.push(`${name} changed meanwhile: look at it`);
        continue;
      }
      try {
        await lookInto(folder, name, doubted);
      } finally {
        folder.close();
      }
    }
  } finally {
    root.close();
  }
  return { credentials, works, notes, doubts };

  /** Who else than root and condor could put a file there or write to it; undefined: nobody. */
  function writersOf(stat: BigIntStats): string | undefined {
    const { mode, uid, gid } = modeOf(stat);
    if (!believed.includes(uid)) return `uid ${uid}`;
    // A sticky bit does not help: others may put things there all the same.
    if ((mode & 0o002) !== 0) return 'everybody';
    return (mode & 0o020) !== 0 && gid !== whose.gid ? `group ${gid}` : undefined;
  }

  async function lookInto(folder: DirHandle, user: string, inDoubt: boolean): Promise<void> {
    const { mode, uid, gid } = modeOf(folder.stat);
    const writers = writersOf(folder.stat);
    if (writers !== undefined)
      doubts.push({
        path: user,
        what: force
          ? `${writers} could write to ${user}: it is mended all the same (--force), and what root and condor own there counts`
          : `${writers} could write to ${user}: what is in it could be anybody’s, and is left alone. Remove it and have the person log in again; or, if you know whose it is, use --force`,
      });
    if (inDoubt || (writers !== undefined && !force)) {
      for (const name of readdirSync(folder.here).sort())
        if (name.endsWith('.top')) credentials.push(await judge(folder, user, name.slice(0, -'.top'.length), true));
      return;
    }
    // As condor_credd makes it; or root's and open to condor's group (condor_credd asks as condor what is there).
    const asMade = uid === whose.uid && (mode & 0o077) === 0;
    const shared = uid === own && gid === whose.gid && (mode & 0o077) === 0o070;
    if (!asMade && !shared) works.push({ kind: 'mode', path: user, mode: 0o2700, ...whose });
    for (const name of readdirSync(folder.here).sort()) {
      const [, stem = '', ending = ''] = /^(.+)\.(top|use|meta)$/.exec(name) ?? [];
      if (ending === '') continue;
      const stat = lstatSync(folder.at(name), { bigint: true, throwIfNoEntry: false });
      if (stat === undefined || !stat.isFile() || stat.nlink > 1n) {
        if (stat !== undefined) notes.push(`${user}/${name} is not a plain file, or has further names: look at it`);
        continue;
      }
      const now = modeOf(stat);
      const stranger = !believed.includes(now.uid);
      if (ending === 'top') credentials.push(await judge(folder, user, stem, stranger));
      // Root's, it would be believed: it may be somebody else's refresh token.
      if (stranger) {
        notes.push(
          `${user}/${name} belongs to uid ${now.uid}, neither root nor condor, so credmond does not believe it`,
        );
        continue;
      }
      const others = writersOf(stat);
      if (others !== undefined && (mode & (gid === whose.gid ? 0o001 : 0o011)) !== 0) {
        doubts.push({
          path: `${user}/${name}`,
          what: `${others} could write to ${user}/${name}${force ? ': it is mended all the same (--force)' : ': it could be anybody’s. Remove it and have the person log in again; or, if you know whose it is, use --force'}`,
        });
        if (!force) continue;
      }
      if (ending === 'meta' && (await isRedundant(folder, stem))) {
        works.push({ kind: 'remove', path: `${user}/${name}` });
        continue;
      }
      if (ending === 'meta')
        notes.push(`${user}/${name} stays: its client is not the configured one, and credmond uses it`);
      if ((now.mode & 0o077) !== 0)
        works.push({
          kind: 'mode',
          path: `${user}/${name}`,
          mode: ending === 'top' ? 0o600 : 0o400,
          uid: now.uid,
          gid: now.gid,
        });
    }
  }

  async function judge(folder: DirHandle, user: string, name: string, inDoubt: boolean): Promise<Seen> {
    const parsed = parseStem(name, config.providers.keys());
    const provider = parsed && findProvider(config.providers, parsed.provider);
    if (parsed === undefined || provider === undefined) return { user, name, why: 'its provider is not configured' };
    const seen = { user, name, provider: provider.name };
    if (inDoubt) return { ...seen, why: anybodys };
    const read = await readBounded(folder, `${name}.top`, { limit: largest });
    if (read.trouble !== undefined) return { ...seen, why: `its .top is ${read.trouble}` };
    const meta = await metaOf(folder, name);
    const grant = parseTop(read.bytes.toString('utf8'), {
      id: { service: parsed.service, ...(parsed.handle !== undefined && { handle: parsed.handle }) },
      flow: provider.flow,
      final: meta?.use_refresh_token === false,
    });
    if (typeof grant === 'string') return { ...seen, why: `its .top is ${grant}` };
    if (kindOf(grant) === 'final') return { ...seen, why: 'it has no refresh token: it is good until its token ends' };
    return seen;
  }

  /** Whether all that a `.meta` says is in the configuration as well. */
  async function isRedundant(folder: DirHandle, name: string): Promise<boolean> {
    const parsed = parseStem(name, config.providers.keys());
    const provider = parsed && findProvider(config.providers, parsed.provider);
    const meta = await metaOf(folder, name);
    if (provider === undefined || meta === undefined || meta.use_refresh_token === false) return false;
    if (meta.client_id !== provider.clientId) return false;
    const theirs = typeof meta.client_secret === 'string' && meta.client_secret !== '' ? meta.client_secret : undefined;
    if (theirs !== undefined && theirs !== (await secretOf(provider))) return false;
    return sameServer(meta.token_url, provider);
  }
}

/** Whether a token URL is the provider's: the configured one, or at its issuer where that is discovered. */
function sameServer(url: unknown, { tokenUrl, issuer }: Provider): boolean {
  if (typeof url !== 'string' || url === '' || url === tokenUrl) return true;
  if (tokenUrl !== undefined || issuer === undefined || !URL.canParse(url)) return false;
  return new URL(url).origin === new URL(issuer).origin;
}

async function metaOf(folder: DirHandle, name: string): Promise<Readonly<Record<string, unknown>> | undefined> {
  const read = await readBounded(folder, `${name}.meta`, { limit: largest });
  if (read.trouble !== undefined) return undefined;
  try {
    const value: unknown = JSON.parse(read.bytes.toString('utf8'));
    return typeof value === 'object' && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}

/** The services in a key file that are no provider of ours: ClassAds with `Provider = "…"` (credd.cpp). */
async function othersIn(root: DirHandle, name: string, config: Config): Promise<readonly string[]> {
  const read = await readBounded(root, name, { limit: largest });
  if (read.trouble !== undefined) return ['what cannot be read'];
  const services = [...read.bytes.toString('utf8').matchAll(/^\s*Provider\s*=\s*"([^"]*)"/gm)].map(
    ([, service = '']) => service,
  );
  return services.filter((service) => findProvider(config.providers, service) === undefined);
}

/** Undefined where it is gone, or something else is in its place. */
function subOf(root: DirHandle, name: string): DirHandle | undefined {
  try {
    return root.sub(name);
  } catch (thrown) {
    if (changedMeanwhile(thrown)) return undefined;
    throw thrown;
  }
}

/** Whether what was seen a moment ago is gone, or a link, a file, a socket or a device has taken its place. */
export const changedMeanwhile = (thrown: unknown): boolean =>
  ['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO', 'ENODEV'].includes(errnoOf(thrown) ?? '');

export function modeOf(stat: { readonly mode: bigint; readonly uid: bigint; readonly gid: bigint }) {
  return { mode: Number(stat.mode) & 0o7777, uid: Number(stat.uid), gid: Number(stat.gid) };
}
