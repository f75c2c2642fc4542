import { assumedLife, type Subject, type TokenSet } from '../core/credential.js';
import { lifetime, numberIn, shortestLife } from '../core/lifetime.js';
import { parseScopes } from '../core/scopes.js';
import { plain } from '../core/text.js';
import { type EpochMs, later, type Seconds } from '../core/time.js';
import { jwtExpiry } from './jwt.js';

/** A token endpoint's answer after openid-client has judged it. */
export interface Answer {
  readonly access_token: string;
  readonly token_type: string;
  readonly refresh_token?: string;
  readonly expires_in?: number;
  readonly scope?: string;
  readonly issued_token_type?: unknown;
  /** Keycloak's word, and another that is in use; seconds. Neither is standardised. */
  readonly refresh_expires_in?: unknown;
  readonly refresh_token_expires_in?: unknown;
}

/** `life` is the configured default for tokens that do not tell how long they live. */
export function tokenSet(answer: Answer, issued: EpochMs, life: Seconds | undefined, subject?: Subject): TokenSet {
  const scopes = answer.scope === undefined ? undefined : parseScopes(answer.scope);
  const grantLife = numberIn(answer.refresh_expires_in ?? answer.refresh_token_expires_in);
  return {
    accessToken: answer.access_token,
    tokenType: answer.token_type,
    issued,
    ...lifetime({ expiresIn: answer.expires_in, exp: jwtExpiry(answer.access_token) }, issued, life ?? assumedLife),
    ...(answer.refresh_token !== undefined && { refreshToken: answer.refresh_token }),
    ...(scopes !== undefined && { scopes }),
    ...(subject !== undefined && { subject }),
    // 0 is Keycloak's for one that has no end of its own.
    ...(grantLife !== undefined && grantLife > 0 && { grantEnds: later(issued, grantLife) }),
    ...(typeof answer.issued_token_type === 'string' && { issuedType: plain(answer.issued_token_type, 128) }),
  };
}

/** Whose a verified ID token is: the claim that people know themselves by, else `sub`. */
export function subjectOf(claims: Readonly<Record<string, unknown>>): Subject {
  const sub = String(claims.sub);
  const names = ['preferred_username', 'eppn', 'email', 'name'].map((claim) => plain(claims[claim], 80));
  return { iss: String(claims.iss), sub, name: names.find((name) => name !== '') ?? plain(sub, 80) };
}

/**
 * What of a token answer is passed on to be judged: the rest could make a good answer fail, and with it the new refresh
 * token. An expires_in that is no life is dropped, as if the issuer had not told (RFC 6749 §5.1 makes it optional), what
 * is null too, and an ID token that nobody will look at.
 */
export function lenient(body: unknown, keepIdToken: boolean): unknown {
  const answer = withoutNulls(body);
  if (answer === undefined) return body;
  const life = numberIn(answer.expires_in);
  if (life !== undefined && life >= shortestLife) answer.expires_in = life;
  else delete answer.expires_in;
  if (answer.refresh_token === '') delete answer.refresh_token;
  if (!keepIdToken) delete answer.id_token;
  return answer;
}

/** The same for a device authorization answer: an interval that is none is as if the issuer had not named one. */
export function lenientCode(body: unknown): unknown {
  const answer = withoutNulls(body);
  if (answer === undefined) return body;
  const interval = numberIn(answer.interval);
  if (interval !== undefined && interval > 0) answer.interval = interval;
  else delete answer.interval;
  return answer;
}

function withoutNulls(body: unknown): Record<string, unknown> | undefined {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return undefined;
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null));
}
