import { assumedLife, type Subject, type TokenSet } from '../core/credential.js';
import { parseScopes } from '../core/scopes.js';
import { plain } from '../core/text.js';
import { type EpochMs, epochMs, later, type Seconds } from '../core/time.js';
import { jwtExpiry } from './jwt.js';

/** No access token is believed to live longer: a year; nor shorter, or it would be due at once, for ever. Seconds. */
const longestLife = 366 * 86_400;
const shortestLife = 1;

/** A token endpoint's answer after openid-client has judged it. */
export interface Answer {
  readonly access_token: string;
  readonly token_type: string;
  readonly refresh_token?: string;
  readonly expires_in?: number;
  readonly scope?: string;
}

/** `life` is the configured default for tokens that do not tell how long they live. */
export function tokenSet(answer: Answer, issued: EpochMs, life: Seconds | undefined, subject?: Subject): TokenSet {
  const scopes = answer.scope === undefined ? undefined : parseScopes(answer.scope);
  return {
    accessToken: answer.access_token,
    tokenType: answer.token_type,
    issued,
    ...lifetime(answer, issued, life ?? assumedLife),
    ...(answer.refresh_token !== undefined && { refreshToken: answer.refresh_token }),
    ...(scopes !== undefined && { scopes }),
    ...(subject !== undefined && { subject }),
  };
}

function lifetime(answer: Answer, issued: EpochMs, life: Seconds): Pick<TokenSet, 'expires' | 'lifeFrom'> {
  if (answer.expires_in !== undefined && answer.expires_in >= shortestLife) {
    return { expires: later(issued, Math.min(answer.expires_in, longestLife)), lifeFrom: 'expires_in' };
  }
  const exp = jwtExpiry(answer.access_token);
  if (exp !== undefined && exp >= later(issued, shortestLife))
    return { expires: epochMs(Math.min(exp, later(issued, longestLife))), lifeFrom: 'jwt' };
  return { expires: later(issued, life), lifeFrom: 'default' };
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

/** Some issuers send numbers as text. */
function numberIn(value: unknown): number | undefined {
  const number = typeof value === 'string' ? Number(value) : value;
  return typeof number === 'number' && Number.isFinite(number) ? number : undefined;
}
