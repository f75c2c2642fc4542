import { readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { isSpoolName, readSpoolFile } from '../broker/spool.js';
import type { GrantRecord, LogoutRecord, SpoolRecord } from '../broker/spool-record.js';
import { Failed } from '../core/failure.js';
import { type CredentialId, keyOf, parseStem, stem } from '../core/names.js';
import { type Credentials, type Issuer, type Log, Superseded } from '../core/ports.js';
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
  issuer(provider: Provider): Promise<Issuer>;
  uidOf(user: string): Promise<number | undefined>;
  /** The user is back: condor_credd's mark for deletion, if there is one, goes. */
  welcome(user: string): Promise<void>;
  settled(user: string, settled: Settled): void;
  /** This user's credentials are not what they were. */
  look(user: string): Promise<void>;
}

/**
 * Takes over what the broker has put into the spool: grants go into the credential directory, a logout takes one out and
 * revokes it (RFC 7009). A record is taken away only after its work is durable; what cannot be done now stays for the next
 * round, what can never be done is taken away and said.
 */
export class Intake {
  #working: Promise<void> = Promise.resolve();
  readonly #said = new Set<string>();

  constructor(private readonly parts: IntakeParts) {}

  /** Everything that waits, oldest first. Rounds follow each other. */
  round(): Promise<void> {
    this.#working = this.#working
      .then(() => this.#round())
      .catch((thrown) => this.#sayOnce(`the spool: ${(thrown as Error).message}`));
    return this.#working;
  }

  async #round(): Promise<void> {
    for (const name of await list(this.parts.dir)) {
      const path = join(this.parts.dir, name);
      const { record, trouble } = await readSpoolFile(path, { uid: this.parts.uid });
      if (record === undefined) {
        this.#sayOnce(`${path} ${trouble}: not taken over`);
        continue;
      }
      try {
        await this.#take(record);
      } catch (thrown) {
        if (!(thrown instanceof Failed) || thrown.failure.kind === 'storage') {
          this.#sayOnce(`${record.user}/${record.provider}: ${(thrown as Error).message}; tried again`);
          continue;
        }
        this.parts.log.warn(`${record.user}/${record.provider}: not taken over: ${thrown.failure.what}`);
        this.parts.settled(record.user, { id: record.id, ok: false, what: thrown.failure.what });
      }
      await unlink(path);
    }
  }

  async #take(record: SpoolRecord): Promise<void> {
    const provider = findProvider(this.parts.providers(), record.provider);
    if (provider === undefined) throw refused(`credmond has no provider ${record.provider}`);
    // The broker named the account; that the name and the number still belong together is for us to see.
    if ((await this.parts.uidOf(record.user)) !== record.uid)
      throw refused(`${record.user} is not uid ${record.uid} on this machine`);
    const id: CredentialId = {
      user: record.user,
      service: record.provider,
      ...(record.handle !== undefined && { handle: record.handle }),
    };
    // A provider "dune" with a handle "production" would be the file of a provider "dune_production".
    if (parseStem(stem(id), this.parts.providers().keys())?.provider !== provider.name) {
      throw refused(`the handle ${record.handle} is the name of another provider`);
    }
    const what = record.kind === 'grant' ? await this.#login(id, record) : await this.#logout(id, record, provider);
    this.parts.log.info(`${keyOf(id)}: ${what}`);
    await this.parts.look(record.user);
    this.parts.settled(record.user, { id: record.id, ok: true, what });
  }

  async #login(id: CredentialId, record: GrantRecord): Promise<string> {
    await this.parts.welcome(record.user);
    const stamp = await this.parts.credentials.put(id, {
      refreshToken: record.refresh_token,
      ...(record.scopes && { scopes: record.scopes }),
      ...(record.audience !== undefined && { audience: record.audience }),
    });
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

  async #logout(id: CredentialId, _record: LogoutRecord, provider: Provider): Promise<string> {
    const top = await this.parts.credentials.read(id);
    if (top.trouble === 'absent') return 'there was nothing to log out from';
    const revoked =
      top.trouble === undefined
        ? await this.#revoke(provider, top.grant.refreshToken)
        : 'it could not be read, so it was not revoked';
    await this.parts.credentials.remove(id);
    return `removed; ${revoked}`;
  }

  async #revoke(provider: Provider, refreshToken: string): Promise<string> {
    try {
      const issuer = await this.parts.issuer(provider);
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

const refused = (what: string): Failed => new Failed({ kind: 'refused', what });
