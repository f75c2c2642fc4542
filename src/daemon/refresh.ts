import type { Grant, TokenSet } from '../core/credential.js';
import { Failed, type Failure } from '../core/failure.js';
import { type CredentialId, keyOf } from '../core/names.js';
import type { Stamp } from '../core/plan.js';
import { type Credentials, type Issuer, type OtherClient, Superseded } from '../core/ports.js';
import { redact } from '../core/redact.js';
import { notGranted, type Scopes } from '../core/scopes.js';

/** What came of one refresh. */
export type Outcome =
  | { readonly kind: 'refreshed'; readonly token: TokenSet; readonly stamp: Stamp; readonly missing: Scopes }
  /** A login, a deletion or a sweep came in between: look again. */
  | { readonly kind: 'superseded' }
  | { readonly kind: 'gone' }
  | { readonly kind: 'damaged'; readonly trouble: string; readonly stamp?: Stamp }
  /** `stamp`: of the `.top` as it is now, which a rotation may have changed before the answer failed. */
  | { readonly kind: 'failed'; readonly failure: Failure; readonly stamp: Stamp };

export interface RefreshParts {
  readonly credentials: Credentials;
  /** The issuer to ask, with the provider's own client or the one that the credential was made with. Throws Failed. */
  issuer(client: OtherClient | undefined): Promise<Issuer>;
  grant(
    issuer: Issuer,
    grant: Grant,
    rotated: (refreshToken: string) => Promise<void>,
    stop: AbortSignal,
  ): Promise<TokenSet>;
  readonly stop: AbortSignal;
  /** What is asked for where the grant names no scopes of its own: it is told when the issuer grants less. */
  readonly scopes?: Scopes;
  /** New refresh tokens that could not be written: by key, with the one that each takes the place of. */
  readonly held: Map<string, { readonly instead: string; readonly refreshToken: string }>;
}

/** How often a `.top` that changes while it is written is read again. */
const patience = 5;

/**
 * One refresh of one credential. What is on disk is read at this moment, a new refresh token is durable before the answer
 * is judged, and the access token is written last; whatever happened to the `.top` meanwhile wins.
 */
export async function refreshOnce(id: CredentialId, parts: RefreshParts): Promise<Outcome> {
  const { credentials, held, stop } = parts;
  const key = keyOf(id);
  const top = await credentials.read(id);
  if (top.trouble !== undefined) {
    held.delete(key);
    if (top.trouble === 'absent') return { kind: 'gone' };
    return { kind: 'damaged', trouble: top.trouble, ...(top.stamp !== undefined && { stamp: top.stamp }) };
  }
  let { stamp, grant } = top;
  /** Until it is on disk it is kept here: the issuer has forgotten the old one already. */
  const keep = async (refreshToken: string): Promise<void> => {
    if (refreshToken === grant.refreshToken) return;
    held.set(key, { instead: grant.refreshToken, refreshToken });
    stamp = await replace(id, stamp, grant.refreshToken, refreshToken, credentials);
    held.delete(key);
    grant = { ...grant, refreshToken };
  };
  try {
    const earlier = held.get(key);
    if (earlier?.instead === grant.refreshToken) await keep(earlier.refreshToken);
    held.delete(key);
    const token = await parts.grant(await parts.issuer(top.client), grant, keep, stop);
    await credentials.publish(id, stamp, token);
    return { kind: 'refreshed', token, stamp, missing: notGranted(grant.scopes ?? parts.scopes ?? [], token.scopes) };
  } catch (thrown) {
    if (supersededIn(thrown)) {
      held.delete(key);
      return { kind: 'superseded' };
    }
    if (!(thrown instanceof Failed)) throw thrown;
    return { kind: 'failed', failure: withoutSecrets(thrown.failure, [top.grant, grant]), stamp };
  }
}

/**
 * One more try to write what is held, for a daemon that ends. Throws Failed('storage'), or Superseded where it is of no
 * use any more.
 */
export async function writeHeld(id: CredentialId, { credentials, held }: Pick<RefreshParts, 'credentials' | 'held'>) {
  const [waiting, top] = [held.get(keyOf(id)), await credentials.read(id)];
  if (waiting === undefined || top.trouble !== undefined || top.grant.refreshToken !== waiting.instead) return;
  await replace(id, top.stamp, waiting.instead, waiting.refreshToken, credentials);
  held.delete(keyOf(id));
}

/**
 * Rotates. A `.top` that was only touched, or given other scopes, still holds the refresh token that the issuer has
 * replaced: that is no login, and to drop the new one would lose the grant.
 */
async function replace(
  id: CredentialId,
  stamp: Stamp,
  instead: string,
  refreshToken: string,
  credentials: Credentials,
): Promise<Stamp> {
  for (let tries = 1; ; tries++) {
    try {
      return await credentials.rotate(id, stamp, refreshToken);
    } catch (thrown) {
      if (!(thrown instanceof Superseded) || tries === patience) throw thrown;
      const now = await credentials.read(id);
      if (now.trouble !== undefined || now.grant.refreshToken !== instead || now.stamp === stamp) throw thrown;
      stamp = now.stamp;
    }
  }
}

/** An issuer may quote in its refusal what it was sent. */
function withoutSecrets(failure: Failure, grants: readonly Grant[]): Failure {
  let what = failure.what;
  for (const { refreshToken } of grants) if (refreshToken.length >= 8) what = what.replaceAll(refreshToken, '…');
  return { ...failure, what: redact(what) };
}

/** It may come wrapped by the library in whose fetch it was thrown. */
function supersededIn(thrown: unknown): boolean {
  for (let error = thrown; error instanceof Error; error = error.cause) if (error instanceof Superseded) return true;
  return false;
}
