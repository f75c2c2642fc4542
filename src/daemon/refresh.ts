import type { Grant, TokenSet } from '../core/credential.js';
import { Failed, type Failure } from '../core/failure.js';
import { type CredentialId, keyOf } from '../core/names.js';
import type { Stamp } from '../core/plan.js';
import { type Credentials, type Issuer, type OtherClient, Superseded } from '../core/ports.js';
import { missing, type Scopes } from '../core/scopes.js';

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
  /** New refresh tokens that could not be written: by key, with the stamp of the `.top` that they belong in. */
  readonly held: Map<string, { readonly stamp: Stamp; readonly refreshToken: string }>;
}

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
    held.set(key, { stamp, refreshToken });
    stamp = await credentials.rotate(id, stamp, refreshToken);
    held.delete(key);
    grant = { ...grant, refreshToken };
  };
  try {
    const earlier = held.get(key);
    if (earlier?.stamp === stamp) await keep(earlier.refreshToken);
    held.delete(key);
    const token = await parts.grant(await parts.issuer(top.client), grant, keep, stop);
    await credentials.publish(id, stamp, token);
    const lost = token.scopes === undefined ? [] : missing(grant.scopes ?? [], token.scopes);
    return { kind: 'refreshed', token, stamp, missing: lost };
  } catch (thrown) {
    if (supersededIn(thrown)) {
      held.delete(key);
      return { kind: 'superseded' };
    }
    if (!(thrown instanceof Failed)) throw thrown;
    return { kind: 'failed', failure: thrown.failure, stamp };
  }
}

/** It may come wrapped by the library in whose fetch it was thrown. */
function supersededIn(thrown: unknown): boolean {
  for (let error = thrown; error instanceof Error; error = error.cause) if (error instanceof Superseded) return true;
  return false;
}
