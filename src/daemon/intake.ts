import { lstatSync } from 'node:fs';
import { readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { isSpoolName, readSpoolFile } from '../broker/spool.js';
import type { GrantRecord, SpoolRecord } from '../broker/spool-record.js';
import { Failed } from '../core/failure.js';
import { type CredentialId, keyOf, parseStem, stem } from '../core/names.js';
import { type Credentials, type Issuer, type Log, type OtherClient, Superseded } from '../core/ports.js';
import { findProvider, type Provider } from '../core/provider.js';
import type { Settled } from '../core/snapshot.js';
import { epochMs } from '../core/time.js';

/** How long an issuer has to answer a revocation: milliseconds. */
const revokeLimit = 10_000;

export interface IntakeParts {
  readonly dir: string;
  /** The account whose files are believed: the broker's. */
  readonly uid: number;
  readonly credentials: Credentials;
  readonly log: Log;
  providers(): ReadonlyMap<string, Provider>;
  issuer(provider: Provider, client: OtherClient | undefined): Promise<Issuer>;
  /** Undefined when there is no such account; throws Failed('transient') when that cannot be told now. */
  uidsOf(users: readonly string[]): Promise<ReadonlyMap<string, number>>;
  /** The user is back: condor_credd's mark for deletion, if there is one, goes. */
  welcome(user: string): Promise<void>;
  settled(user: string, settled: Settled): void;
  /** This user's credentials are not what they were. */
  look(user: string): Promise<void>;
}

/**
 * Takes over what the broker has put into the spool: grants go into the credential directory, a logout takes one out and
 * revokes it (RFC 7009). A record is taken away as soon as its work is durable, before anybody can refresh the grant: else
 * a crash would have an old refresh token put over a newer one. What cannot be done now stays for the next round, and with
 * it what came later of the same credential; what can never be done is taken away and said.
 */
export class Intake {
  #working: Promise<void> = Promise.resolve();
  /** The round that waits for the one under way: it serves everybody who asks meanwhile. */
  #next: Promise<void> | undefined;
  /** Files that are no records, by name and stamp: each is read once. */
  readonly #bad = new Map<string, string>();
  readonly #said = new Set<string>();
  /** Records whose work is done, but which cannot be taken away. */
  readonly #done = new Set<string>();

  constructor(private readonly parts: IntakeParts) {}

  /** Resolves when the round under way is over. */
  settle(): Promise<void> {
    return this.#working;
  }

  /** Everything that waits, oldest first. Rounds follow each other. */
  round(): Promise<void> {
    this.#next ??= this.#working.then(() => {
      this.#next = undefined;
      this.#working = this.#round().catch((thrown) => this.#sayOnce(`the spool: ${(thrown as Error).message}`));
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
        this.#sayOnce(`${path} ${trouble}: not taken over`);
        continue;
      }
      const key = keyOf(idOf(record));
      if (stuck.has(key)) continue;
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
          stuck.add(key);
          this.#sayOnce(`${key}: ${(thrown as Error).message}; tried again`);
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
    try {
      await unlink(path);
      this.#done.delete(id);
    } catch (thrown) {
      const { code } = thrown as NodeJS.ErrnoException;
      if (code === 'ENOENT') this.#done.delete(id);
      else this.#sayOnce(`${path} cannot be removed (${code}); it was taken over`);
    }
  }

  async #take(record: SpoolRecord, away: () => Promise<void>): Promise<void> {
    const provider = findProvider(this.parts.providers(), record.provider);
    if (provider === undefined) throw refused(`credmond has no provider ${record.provider}`);
    // The broker named the account; that the name and the number still belong together is for us to see.
    if ((await this.parts.uidsOf([record.user])).get(record.user) !== record.uid)
      throw refused(`${record.user} is not uid ${record.uid} on this machine`);
    const id = idOf(record);
    // A provider "dune" with a handle "production" would be the file of a provider "dune_production".
    if (parseStem(stem(id), this.parts.providers().keys())?.provider !== provider.name) {
      throw refused(`the handle ${record.handle} is the name of another provider`);
    }
    const what = record.kind === 'grant' ? await this.#login(id, record, away) : await this.#logout(id, provider, away);
    this.parts.log.info(`${keyOf(id)}: ${what}`);
    await this.parts.look(record.user);
    this.parts.settled(record.user, { id: record.id, ok: true, what });
  }

  async #login(id: CredentialId, record: GrantRecord, away: () => Promise<void>): Promise<string> {
    await this.parts.welcome(record.user);
    const stamp = await this.parts.credentials.put(id, {
      refreshToken: record.refresh_token,
      ...(record.scopes && { scopes: record.scopes }),
      ...(record.audience !== undefined && { audience: record.audience }),
    });
    await away();
    const { access_token: accessToken, expires_at: expires } = record;
    if (accessToken !== undefined && expires !== undefined) {
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
    return `login${record.who === undefined ? '' : ` of ${record.who}`} taken over`;
  }

  async #logout(id: CredentialId, provider: Provider, away: () => Promise<void>): Promise<string> {
    const top = await this.parts.credentials.read(id);
    const revoked =
      top.trouble === undefined
        ? await this.#revoke(provider, top.client, top.grant.refreshToken)
        : 'it could not be read, so it was not revoked';
    if (top.trouble !== 'absent') await this.parts.credentials.remove(id);
    await away();
    return top.trouble === 'absent' ? 'there was nothing to log out from' : `removed; ${revoked}`;
  }

  async #revoke(provider: Provider, client: OtherClient | undefined, refreshToken: string): Promise<string> {
    try {
      const issuer = await this.parts.issuer(provider, client);
      const done = await issuer.revoke(refreshToken, AbortSignal.timeout(revokeLimit));
      return done ? 'revoked at the issuer' : 'the issuer offers no revocation';
    } catch (thrown) {
      return `not revoked at the issuer: ${(thrown as Error).message}`;
    }
  }

  /** What stays in the spool is met at every round: it is said at the first. */
  #sayOnce(text: string): void {
    if (this.#said.has(text)) return;
    if (this.#said.size > 1000) this.#said.clear();
    this.#said.add(text);
    this.parts.log.error(text);
  }
}

async function list(dir: string): Promise<readonly string[]> {
  try {
    return (await readdir(dir)).filter(isSpoolName).sort();
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw thrown;
  }
}

const idOf = ({ user, provider: service, handle }: SpoolRecord): CredentialId => ({
  user,
  service,
  ...(handle !== undefined && { handle }),
});

const refused = (what: string): Failed => new Failed({ kind: 'refused', what });

function stampOfFile(path: string): string | undefined {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return stat && `${stat.ino}.${stat.ctimeMs}`;
}
