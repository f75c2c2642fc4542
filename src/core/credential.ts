import type { Scopes } from './scopes.js';
import type { EpochMs, Seconds } from './time.js';

/** What an issuer's token endpoint gave, judged and in our words (RFC 6749 §5.1). */
export interface TokenSet {
  /** Secret. */
  readonly accessToken: string;
  readonly tokenType: string;
  /** Secret. Absent when the issuer did not rotate, or gave none. */
  readonly refreshToken?: string;
  /** When it was received. */
  readonly issued: EpochMs;
  readonly expires: EpochMs;
  /** Where `expires` comes from: the answer's expires_in, the JWT's exp claim, or the configured default. */
  readonly lifeFrom: 'expires_in' | 'jwt' | 'default';
  /** As the answer names them; undefined when it is silent, which means "as asked" (RFC 6749 §5.1). */
  readonly scopes?: Scopes;
  readonly subject?: Subject;
}

/** Who approved, by the verified ID token. `name` is for people, `sub` for machines. */
export interface Subject {
  readonly iss: string;
  readonly sub: string;
  readonly name: string;
}

/** What was asked for besides the provider's defaults. */
export interface Wanted {
  readonly scopes?: Scopes;
  readonly audience?: string;
}

/** A refresh token with what it was given for: what HTCondor calls the `.top`. */
export interface Grant extends Wanted {
  /** Secret. */
  readonly refreshToken: string;
  /** When the grant itself ends, where the issuer says so (refresh_expires_in, refresh_token_expires_in). */
  readonly ends?: EpochMs;
}

/** Lives without an expires_in, a JWT or a configured default last this long. */
export const assumedLife = 1200 as Seconds;
