import { Failed } from '../core/failure.js';
import type { Claims } from '../core/identity.js';
import { plain } from '../core/text.js';
import type { EpochMs } from '../core/time.js';

/** How far the issuer's clock may be ahead of ours: seconds, as openid-client has it for `exp` and `nbf`. */
const tolerance = 30;
/** OpenID Connect Core §2: a `sub` has at most 255 ASCII characters. */
const longestSub = 255;

interface Expected {
  /** Of the issuer's metadata. */
  readonly issuer: string;
  readonly clientId: string;
  readonly now: EpochMs;
  readonly nonce?: string;
}

/**
 * Judges what openid-client leaves open of an ID token that it has verified (OpenID Connect Core §3.1.3.7): by then its
 * signature, `alg`, `iss`, `aud` and `exp` are good. Throws Failed('protocol').
 */
export function identityOf(
  claims: Claims | undefined,
  expected: Expected,
): { readonly iss: string; readonly sub: string; readonly claims: Claims } {
  if (claims === undefined) {
    throw new Failed({
      kind: 'protocol',
      what: `${expected.issuer} sent no ID token that can be verified`,
      hint: 'the scope openid must be asked for, and the issuer’s metadata must name a jwks_uri',
    });
  }
  const { iss, sub, azp, iat, nonce } = claims;
  const wrong = (what: string): Failed =>
    new Failed({
      kind: 'protocol',
      what: `the ID token of ${expected.issuer} ${what}`,
      hint: 'whoever runs the issuer must mend this',
    });
  // openid-client puts the token's own tenant in the place of Entra's {tenantid}: any tenant of anybody's would do.
  if (iss !== expected.issuer) throw wrong('is of another issuer');
  if (typeof sub !== 'string' || sub === '' || sub.length > longestSub || plain(sub, longestSub) !== sub)
    throw wrong('names nobody');
  if (azp !== undefined && azp !== expected.clientId) throw wrong('was given to another client (azp)');
  if (typeof iat !== 'number' || iat > expected.now / 1000 + tolerance)
    throw wrong('is of a time to come (iat): its clock or ours is wrong');
  if (nonce !== undefined && nonce !== expected.nonce) throw wrong('belongs to another request (nonce)');
  return { iss, sub, claims };
}

/** The claims of both; the ID token's, which is signed, count before those of userinfo. */
export function merged(signed: Claims, more: Claims): Claims {
  // Whether an address is verified tells only the one that has the address.
  const same = signed.email === undefined || (signed.email === more.email && signed.email_verified === undefined);
  const { email_verified: _, ...claims } = { ...more, ...signed };
  const verified = (same ? more : signed).email_verified;
  return verified === undefined ? claims : { ...claims, email_verified: verified };
}
