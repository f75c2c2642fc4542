import type { Failure } from '../core/failure.js';

/**
 * Refusals with 400 and no JSON in a row, after which the grant is taken for dead: so say some issuers that a refresh token
 * is bad. Other codes without JSON are those of proxies and portals, and say nothing of the grant.
 */
const refusalsUntilDead = 3;

/**
 * What a failed refresh means for its credential.
 *   login-needed  the grant is of no use any more
 *   refused       to try again does not make it allowed
 *   again         later, after a pause
 */
export type Verdict = 'login-needed' | 'refused' | 'again';

/** How many refusals in a row it has been by now: see {@link verdictOn}. */
export const refusalsAfter = (before: number, failure: Failure): number =>
  failure.kind === 'refused' && failure.code === 'http_400' ? before + 1 : 0;

export function verdictOn(failure: Failure, refusals: number): Verdict {
  if (failure.kind === 'login-needed' || refusals >= refusalsUntilDead) return 'login-needed';
  return failure.code === 'not_allowed' ? 'refused' : 'again';
}

/** Whether it is the issuer's trouble, and not this one credential's. */
export const isIssuers = ({ kind, code }: Failure): boolean =>
  kind === 'transient' ||
  kind === 'protocol' ||
  code === 'invalid_client' ||
  (code?.startsWith('http_') === true && code !== 'http_400');
