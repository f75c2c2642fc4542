import { type EpochMs, epochMs } from '../core/time.js';

/** The exp claim of a JWT access token (RFC 9068 §2.2), unverified: it only tells when to fetch the next one. */
export function jwtExpiry(token: string): EpochMs | undefined {
  const [, payload, signature] = token.split('.');
  if (payload === undefined || signature === undefined) return undefined;
  try {
    const exp: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')).exp;
    return typeof exp === 'number' && Number.isFinite(exp) && exp > 0 ? epochMs(exp * 1000) : undefined;
  } catch {
    return undefined;
  }
}
