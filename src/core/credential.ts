import type { Scopes } from './scopes.js';
import type { EpochMs, Seconds } from './time.js';

/** What an issuer's token endpoint gave, judged and in our words (RFC 6749 §5.1). */
export interface TokenSet {
  /** Secret. */
  readonly accessToken: string;
  readonly tokenType: string;
  /** Secret. Absent when the issuer did not rotate, or gave none. */
  readonly refreshToken?: string;
  /** When it was made, at the earliest: when it was asked for. */
  readonly issued: EpochMs;
  readonly expires: EpochMs;
  /** Where `expires` comes from: the answer's expires_in, the JWT's exp claim, or the configured default. */
  readonly lifeFrom: 'expires_in' | 'jwt' | 'default';
  /** As the answer names them; undefined when it is silent, which means "as asked" (RFC 6749 §5.1). */
  readonly scopes?: Scopes;
  readonly subject?: Subject;
  /** When the grant itself ends, where the answer tells (refresh_expires_in, refresh_token_expires_in). */
  readonly grantEnds?: EpochMs;
  /** What `accessToken` really is, where an exchange tells (RFC 8693 §2.2.1, issued_token_type). */
  readonly issuedType?: string;
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

/** A refresh token with what it was given for: the usual content of what HTCondor calls the `.top`. */
export interface Grant extends Wanted {
  readonly kind?: 'refresh';
  /** Secret. */
  readonly refreshToken: string;
  /** When the grant itself ends, where the issuer says so (refresh_expires_in, refresh_token_expires_in). */
  readonly ends?: EpochMs;
  /** When the person approved it, where that was noted. */
  readonly since?: EpochMs;
  /** Who approved it, where that was noted. */
  readonly by?: Pick<Subject, 'iss' | 'sub'>;
}

/**
 * A wish, and no secret: a user may store one. Whose it is tells the folder that it lies in, since condor_credd has
 * authenticated whoever stored it there.
 */
export interface RequestGrant extends Wanted {
  readonly kind: 'request';
  /**
   * The handle ('' for none) of the login, of the same service and user, that it is to be made from. Absent: from nothing
   * but who the user is, where the provider allows that (RFC 8693 with requested_subject).
   */
  readonly from?: string;
  /** Secret. What an earlier exchange brought. */
  readonly refreshToken?: string;
}

/** An access token that another program has got, to be exchanged for tokens of our own client (Pelican). */
export interface SubjectGrant extends Wanted {
  readonly kind: 'subject';
  /** Secret. */
  readonly accessToken: string;
}

/** Nothing is needed but that it is there: the tokens are the client's own (RFC 6749 §4.4). */
export interface ClientGrant {
  readonly kind: 'client';
}

export interface VaultGrant extends Wanted {
  readonly kind: 'vault';
  /** Secret. Absent: that of the credential without the handle. */
  readonly token?: string;
  readonly url: string;
}

export interface MytokenGrant extends Wanted {
  readonly kind: 'mytoken';
  /** Secret. */
  readonly mytoken: string;
}

/** HTCondor's web flow got an access token and nothing to refresh it with (`use_refresh_token` is false in its `.meta`). */
export interface FinalGrant extends Wanted {
  readonly kind: 'final';
}

/** What a `.top` may hold: how access tokens are to be had. Each kind has its file in grants/. */
export type AnyGrant = Grant | RequestGrant | SubjectGrant | ClientGrant | VaultGrant | MytokenGrant | FinalGrant;

export type GrantKind = NonNullable<AnyGrant['kind']>;

export const kindOf = (grant: AnyGrant): GrantKind => grant.kind ?? 'refresh';

/** What a grant was asked for besides the provider's defaults. */
export function wantedOf(grant: AnyGrant): Wanted {
  if (grant.kind === 'client') return {};
  const { scopes, audience } = grant;
  return { ...(scopes && { scopes }), ...(audience !== undefined && { audience }) };
}

/** The secret that it rests on; undefined where it has none. */
export function secretOf(grant: AnyGrant): string | undefined {
  if ('refreshToken' in grant) return grant.refreshToken;
  if ('accessToken' in grant) return grant.accessToken;
  if ('mytoken' in grant) return grant.mytoken;
  return 'token' in grant ? grant.token : undefined;
}

/**
 * What makes it this grant and no other: its secret, whatever was written beside it since; a wish is this one only with all
 * that it wishes for.
 */
export const identityOf = (grant: AnyGrant): string => secretOf(grant) ?? JSON.stringify(grant);

/**
 * The same grant, resting on a new secret from now on: a refresh token, or a mytoken in the place of one. An access token
 * that was exchanged for it has done its work.
 */
export function renewed(grant: AnyGrant, secret: string): Grant | RequestGrant | MytokenGrant {
  if (grant.kind === 'mytoken') return { ...grant, mytoken: secret };
  if (grant.kind === 'request') return { ...grant, refreshToken: secret };
  return { ...(isRefresh(grant) ? grant : wantedOf(grant)), refreshToken: secret };
}

export const isRefresh = (grant: AnyGrant): grant is Grant => kindOf(grant) === 'refresh';

/** Lives without an expires_in, a JWT or a configured default last this long. */
export const assumedLife = 1200 as Seconds;
