import type { TokenSet } from './credential.js';
import { type EpochMs, epochMs, later, type Seconds } from './time.js';

/** No access token is believed to live longer: a year; nor shorter, or it would be due at once, for ever. Seconds. */
export const longestLife = 366 * 86_400;
export const shortestLife = 1;

/** What an answer and the token itself tell of its end. */
export interface Told {
  /** Seconds from `issued`. */
  readonly expiresIn?: number | undefined;
  /** The exp claim, where the token is a JWT. */
  readonly exp?: EpochMs | undefined;
}

/** When an access token ends: by the answer, else by the token itself, else after the life that is assumed. */
export function lifetime(
  { expiresIn, exp }: Told,
  issued: EpochMs,
  assumed: Seconds,
): Pick<TokenSet, 'expires' | 'lifeFrom'> {
  if (expiresIn !== undefined && expiresIn >= shortestLife)
    return { expires: later(issued, Math.min(expiresIn, longestLife)), lifeFrom: 'expires_in' };
  if (exp !== undefined && exp >= later(issued, shortestLife))
    return { expires: epochMs(Math.min(exp, later(issued, longestLife))), lifeFrom: 'jwt' };
  return { expires: later(issued, assumed), lifeFrom: 'default' };
}

/** The exp claim among those of a JWT (RFC 7519 §4.1.4); undefined where it is none. */
export function expiryIn(claims: Readonly<Record<string, unknown>> | undefined): EpochMs | undefined {
  const exp = claims?.exp;
  return typeof exp === 'number' && Number.isFinite(exp) && exp > 0 ? epochMs(exp * 1000) : undefined;
}

/** Some servers send numbers as text. */
export function numberIn(value: unknown): number | undefined {
  const number = typeof value === 'string' ? Number(value) : value;
  return typeof number === 'number' && Number.isFinite(number) ? number : undefined;
}
