import type { Grant, TokenSet } from '../core/credential.js';
import type { Issuer } from '../core/ports.js';
import { spaced } from '../core/scopes.js';

/**
 * RFC 6749 §6. Scopes and audience are sent only where the grant names its own; else the issuer gives what the login got.
 * `rotated` makes a new refresh token durable before the answer is judged.
 */
export function refresh(
  issuer: Issuer,
  grant: Grant,
  rotated: (refreshToken: string) => Promise<void>,
  stop: AbortSignal,
): Promise<TokenSet> {
  const parameters: Record<string, string> = { refresh_token: grant.refreshToken };
  if (grant.scopes?.length) parameters.scope = spaced(grant.scopes);
  if (grant.audience !== undefined) parameters.audience = grant.audience;
  return issuer.token('refresh_token', parameters, { stop, rotated });
}
