import { lstatSync } from 'node:fs';
import { readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { isSpoolName, readSpoolFile } from '../broker/spool.js';
import type { GrantRecord, SpoolRecord } from '../broker/spool-record.js';
import { type AnyGrant, type Grant, isRefresh, type RequestGrant, type Wanted, wantedOf } from '../core/credential.js';
import { Failed } from '../core/failure.js';
import { type CredentialId, keyOf, parseStem, stem } from '../core/names.js';
import type { Stamp } from '../core/plan.js';
import { type Clock, type Credentials, type Issuer, type Log, type OtherClient, Superseded } from '../core/ports.js';
import { findProvider, type Provider } from '../core/provider.js';
import { sameScopes } from '../core/scopes.js';
import type { Settled } from '../core/snapshot.js';
import { epochMs } from '../core/time.js';
import { syncNow } from '../stores/atomic.js';
import { Once } from './once.js';
import { Recent } from './recent.js';

/** How long an issuer has to answer a revocation: milliseconds. */
const revokeLimit = 10_000;

export interface IntakeParts {
  readonly dir: string;
  /** The account whose files are believed: the broker's. */
  readonly uid: number;
  readonly credentials: Credentials;
  readonly clock: Pick<Clock, 'now'>;
  readonly log: Log;
  providers(): ReadonlyMap<string, Provider>;
  issuer(provider: Provider, client: OtherClient | undefined): Promise<Issuer>;
  /** Undefined when there is no such account; throws Failed('transient') when that cannot be told now. */
  uidsOf(users: readonly string[]): Promise<ReadonlyMap<string, number>>;
  /** The user is back: condor_credd's mark for deletion, if there is one, goes. */
  welcome(user: string): Promise<void>;
  settled(user: string, settled: Settled): void;
  /** Until what is returned is called, nobody looks at this credential (names.ts). */
  passOver(key: string): () => void;
  /** This user's credentials are not what they were. */
  look(user: string): Promise<unknown>;
}

/**
 * Takes over what the broker has put into the spool: grants go into the credential directory, a logout takes one out and
 * revokes it (RFC 7009). A grant comes with what is to be made from it: that is put there after it, as requests. A record is
 * taken away as soon as its work is durable; but by then the grant may have been refreshed, and whether or not a crash or a
 * full disk came in between, no old refresh token is put over a newer one: see {@link Intake.#isThere}. What cannot be done
 * now stays for the next round, and with it what came later of the same credentials; what can never be done is taken away
 * and said.
 */
export class Intake {
  #working: Promise<void> = Promise.resolve();
  /** The round that waits for the one under way: it serves everybody who asks meanwhile. */
  #next: Promise<void> | undefined;
  /** Files that are no records, by name and stamp: each is read once. */
  readonly #bad = new Map<string, string>();
  readonly #errors: Once;
  /** Records whose work is done, but which cannot be taken away. */
  readonly #done = new Set<string>();
  /** Of records whose work is done in part: the credentials that they were put into. */
  readonly #begun = new Map<string, Set<string>>();
  /** Credentials that this process has put there; of those that it did long ago, what is on disk tells as well. */
  readonly #ours = new Recent(10_000);

  constructor(private readonly parts: IntakeParts) {
    // What stays in the spool is met at every round.
    this.#errors = new Once((text) => parts.log.error(text));
  }

  /** Resolves when the round under way is over. */
  settle(): Promise<void> {
    return this.#working;
  }

  /** Everything that waits, oldest first. Rounds follow each other. */
  round(): Promise<void> {
    this.#next ??= this.#working.then(() => {
      this.#next = undefined;
      this.#working = this.#round().catch((thrown) => this.#errors.say(`the spool: ${(thrown as Error).message}`));
      return this.#working;
    });
    return this.#next;
  }

  async #round(): Promise<void> {
    const stuck = new Set<string>();
    for (const name of await list(this.parts.dir)) {
      const path = join(this.parts.dir, name);
      const stamp = stampOfFile(path);
      if (stamp === undefined || this.#bad.get(name) === stamp) continue;
      const { record, trouble } = await readSpoolFile(path, { uid: this.parts.uid });
      if (record === undefined) {
        if (this.#bad.size > 10_000) this.#bad.clear();
        this.#bad.set(name, stamp);
        this.#errors.say(`${path} ${trouble}: not taken over`);
        continue;
      }
      const [key, keys] = [keyOf(idOf(record)), idsOf(record).map(keyOf)];
      // It waits whole, and holds up what comes after it: else that would be overtaken.
      const hold = () => keys.forEach((one) => void stuck.add(one));
      if (keys.some((one) => stuck.has(one))) {
        hold();
        continue;
      }
      const away = () => this.#takeAway(path, record.id);
      if (this.#done.has(record.id)) {
        await away();
        continue;
      }
      try {
        await this.#take(record, away);
      } catch (thrown) {
        const kind = thrown instanceof Failed ? thrown.failure.kind : undefined;
        if (kind === undefined || kind === 'storage' || kind === 'transient') {
          hold();
          this.#errors.say(`${key}: ${(thrown as Error).message}; tried again`);
          continue;
        }
        const what = (thrown as Failed).failure.what;
        this.parts.log.warn(`${key}: not taken over: ${what}`);
        await away();
        this.parts.settled(record.user, { id: record.id, ok: false, what });
      }
    }
  }

  async #takeAway(path: string, id: string): Promise<void> {
    this.#done.add(id);
    this.#begun.delete(id);
    try {
      await unlink(path);
      // A power failure is not to bring it back: by then it may be of long ago.
      syncNow(this.parts.dir);
      this.#done.delete(id);
    } catch (thrown) {
      const { code } = thrown as NodeJS.ErrnoException;
      if (code === 'ENOENT') this.#done.delete(id);
      else this.#errors.say(`${path} cannot be removed (${code}); it was taken over`);
    }
  }

  async #take(record: SpoolRecord, away: () => Promise<void>): Promise<void> {
    const provider = findProvider(this.parts.providers(), record.provider);
    if (provider === undefined) throw refused(`credmond has no provider ${record.provider}`);
    // Nobody logs in to the others, so these are none of the broker's business.
    if (provider.flow !== 'device') throw refused(`${record.provider} is no provider that people log in to`);
    // The broker named the account; that the name and the number still belong together is for us to see.
    if ((await this.parts.uidsOf([record.user])).get(record.user) !== record.uid)
      throw refused(`${record.user} is not uid ${record.uid} on this machine`);
    const id = idOf(record);
    const ids = idsOf(record);
    // A provider "dune" with a handle "production" would be the file of a provider "dune_production".
    for (const one of ids) {
      if (parseStem(stem(one), this.parts.providers().keys())?.provider !== provider.name)
        throw refused(`the handle ${one.handle} is the name of another provider`);
    }
    if (new Set(ids.map(keyOf)).size < ids.length) throw refused('two of its credentials have one name');
    if (record.kind === 'grant') await this.#refuseAnothers(ids, record);
    const what =
      record.kind === 'logout'
        ? await this.#logout(id, record, provider, away)
        : record.seed && (await this.#isAskedFor(id, record))
          ? await this.#leave(away)
          : await this.#loginUnseen(id, record, away);
    this.parts.log.info(`${keyOf(id)}: ${what}`);
    await this.parts.look(record.user);
    this.parts.settled(record.user, { id: record.id, ok: true, what });
  }

  async #loginUnseen(id: CredentialId, record: GrantRecord, away: () => Promise<void>): Promise<string> {
    const seen = this.parts.passOver(keyOf(id));
    try {
      return await this.#login(id, record, away);
    } finally {
      seen();
    }
  }

  async #login(id: CredentialId, record: GrantRecord, away: () => Promise<void>): Promise<string> {
    await this.parts.welcome(record.user);
    const stamp = await this.#put(id, record, {
      refreshToken: record.refresh_token,
      ...wantedIn(record),
      since: record.at,
      ...(record.ends !== undefined && { ends: record.ends }),
      ...(record.iss !== undefined && record.sub !== undefined && { by: { iss: record.iss, sub: record.sub } }),
    });
    for (const one of record.also ?? []) {
      const request = { kind: 'request', from: record.handle ?? '', ...wantedIn(one) } as const;
      await this.#put(idOf({ ...record, handle: one.handle }), record, request);
    }
    await away();
    const { access_token: accessToken, expires_at: expires } = record;
    // With others it has the scopes of all, which are more than its own.
    if (stamp !== undefined && accessToken !== undefined && expires !== undefined && record.also === undefined) {
      try {
        await this.parts.credentials.publish(id, stamp, {
          accessToken,
          tokenType: record.token_type ?? 'bearer',
          issued: epochMs(record.at),
          expires: epochMs(expires),
          lifeFrom: 'expires_in',
          ...(record.granted_scopes && { scopes: record.granted_scopes }),
        });
      } catch (thrown) {
        // The grant is safe; its first token will be fetched.
        if (!(thrown instanceof Failed) && !(thrown instanceof Superseded)) throw thrown;
      }
    }
    const others = record.also === undefined ? '' : `, and ${record.also.length} more to be made from it`;
    return `login${record.who === undefined ? '' : ` of ${record.who}`} taken over${others}`;
  }

  /** An account that goes from hand to hand is not to mix them. Throws Failed('refused') where that can be told. */
  async #refuseAnothers(ids: readonly CredentialId[], record: GrantRecord): Promise<void> {
    for (const id of ids) {
      const top = await this.parts.credentials.read(id);
      if (top.trouble !== undefined || !isAnothers(top.grant, record)) continue;
      throw refused(`the ${stem(id)} that is there is of another person’s login: it has to go first (credmon logout)`);
    }
  }

  /** Whether somebody asked for what is there, with scopes or an audience of its own, or from another login. */
  async #isAskedFor(id: CredentialId, record: GrantRecord): Promise<boolean> {
    const top = await this.parts.credentials.read(id);
    if (top.trouble !== undefined) return false;
    const [there, comes] = [wantedOf(top.grant), wantedIn(record)];
    const same = sameScopes(there.scopes ?? [], comes.scopes ?? []) && there.audience === comes.audience;
    return !isRefresh(top.grant) || !same;
  }

  /** Not revoked: some issuers end all that the person ever gave to the client then (RFC 7009 §2.1). */
  async #leave(away: () => Promise<void>): Promise<string> {
    await away();
    return 'what is there was asked for and stays; that of an ssh login is not needed';
  }

  /** Undefined where it is there already. */
  async #put(id: CredentialId, record: GrantRecord, grant: Grant | RequestGrant): Promise<Stamp | undefined> {
    const key = keyOf(id);
    const begun = this.#begun.get(record.id) ?? new Set();
    if (begun.has(key)) return undefined;
    if (await this.#isThere(id, record)) {
      // Whoever put it there may have been cut short before it was durable, and the record goes now.
      await this.parts.credentials.settle?.(id.user);
      return undefined;
    }
    const stamp = await this.parts.credentials.put(id, grant);
    this.#begun.set(record.id, begun.add(key));
    this.#ours.add(key);
    return stamp;
  }

  /**
   * Whether a process before this one has put this very login there, or a later one: its refresh token may be another by
   * now, since rotations keep when it was approved. Told in whole seconds. What this process has put there itself it knows,
   * and that was earlier; and of a time that is still to come nothing can be told.
   */
  async #isThere(id: CredentialId, { at }: GrantRecord): Promise<boolean> {
    if (this.#ours.has(keyOf(id))) return false;
    const top = await this.parts.credentials.read(id);
    const since = top.trouble === undefined && isRefresh(top.grant) ? top.grant.since : undefined;
    return since !== undefined && since >= Math.floor(at / 1000) * 1000 && since <= this.parts.clock.now();
  }

  /** Whether it was approved after this record was written: a crash, or a power failure, has kept that. */
  #isLater(grant: AnyGrant, { at }: SpoolRecord): boolean {
    const since = isRefresh(grant) ? grant.since : undefined;
    return since !== undefined && since > at && since <= this.parts.clock.now();
  }

  async #logout(id: CredentialId, record: SpoolRecord, provider: Provider, away: () => Promise<void>): Promise<string> {
    const top = await this.parts.credentials.read(id);
    if (top.trouble === undefined && this.#isLater(top.grant, record)) {
      await away();
      return 'what is there is of a later login, and stays';
    }
    const revoked =
      top.trouble === undefined
        ? await this.#revoke(provider, top.client, top.grant)
        : 'it could not be read, so it was not revoked';
    // Also where it is not there any more: a power failure may have brought its token back, or kept it.
    await this.parts.credentials.remove(id);
    this.#ours.delete(keyOf(id));
    await away();
    return top.trouble === 'absent' ? 'there was nothing to log out from' : `removed; ${revoked}`;
  }

  async #revoke(provider: Provider, client: OtherClient | undefined, grant: AnyGrant): Promise<string> {
    const refreshToken = 'refreshToken' in grant ? grant.refreshToken : undefined;
    if (refreshToken === undefined) return 'there is no refresh token of its own to revoke';
    try {
      const issuer = await this.parts.issuer(provider, client);
      const done = await issuer.revoke(refreshToken, AbortSignal.timeout(revokeLimit));
      return done ? 'revoked at the issuer' : 'the issuer offers no revocation';
    } catch (thrown) {
      return `not revoked at the issuer: ${(thrown as Error).message}`;
    }
  }
}

/** Whether it is known of both who approved, at one issuer, and they are two. */
const isAnothers = (grant: AnyGrant, { iss, sub }: GrantRecord): boolean =>
  isRefresh(grant) && grant.by !== undefined && grant.by.iss === iss && grant.by.sub !== sub;

async function list(dir: string): Promise<readonly string[]> {
  try {
    return (await readdir(dir)).filter(isSpoolName).sort();
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw thrown;
  }
}

const idOf = ({ user, provider: service, handle }: Whose): CredentialId => ({
  user,
  service,
  ...(handle !== undefined && { handle }),
});

type Whose = Pick<SpoolRecord, 'user' | 'provider'> & { readonly handle?: string | undefined };

/** All that a record is about, its own first. */
function idsOf(record: SpoolRecord): readonly CredentialId[] {
  const also = record.kind === 'grant' ? (record.also ?? []) : [];
  return [idOf(record), ...also.map(({ handle }) => idOf({ ...record, handle }))];
}

const wantedIn = ({ scopes, audience }: Wanted): Wanted => ({
  ...(scopes && { scopes }),
  ...(audience !== undefined && { audience }),
});

const refused = (what: string): Failed => new Failed({ kind: 'refused', what });

function stampOfFile(path: string): string | undefined {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return stat && `${stat.ino}.${stat.ctimeMs}`;
}
