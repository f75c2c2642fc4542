import { expiryIn } from '../core/lifetime.js';
import type { EpochMs } from '../core/time.js';

/** What a JWT says of itself (RFC 7519), unverified; undefined for what is none. */
export function jwtClaims(token: string): Readonly<Record<string, unknown>> | undefined {
  const [, payload, signature] = token.split('.');
  if (payload === undefined || signature === undefined) return undefined;
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'));
    return typeof claims === 'object' && claims !== null && !Array.isArray(claims) ? { ...claims } : undefined;
  } catch {
    return undefined;
  }
}

/** The exp claim of a JWT access token (RFC 9068 §2.2), unverified: it only tells when to fetch the next one. */
export const jwtExpiry = (token: string): EpochMs | undefined => expiryIn(jwtClaims(token));
