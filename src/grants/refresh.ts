import type { Grant, TokenSet } from '../core/credential.js';
import type { Issuer, Rotation } from '../core/ports.js';
import { spaced } from '../core/scopes.js';

/**
 * RFC 6749 §6. Scopes and audience are sent only where they are given; else the issuer gives what the login got.
 */
export function refresh(
  issuer: Issuer,
  grant: Pick<Grant, 'refreshToken' | 'scopes' | 'audience'>,
  rotation: Rotation,
  stop: AbortSignal,
): Promise<TokenSet> {
  const parameters: Record<string, string> = { refresh_token: grant.refreshToken };
  if (grant.scopes?.length) parameters.scope = spaced(grant.scopes);
  if (grant.audience !== undefined) parameters.audience = grant.audience;
  return issuer.token('refresh_token', parameters, { stop, rotation });
}
