import { type RequestGrant, type TokenSet, wantedOf } from '../core/credential.js';
import { Failed, failureOf } from '../core/failure.js';
import { loginCommand } from '../core/health.js';
import { keyOf } from '../core/names.js';
import type { Errand } from '../core/ports.js';
import { narrowed } from './narrow.js';

/** They tell who somebody is and open nothing; issuers add them as they like. */
const harmless = ['openid', 'offline_access'];

/**
 * A token from a login that is there, narrower or for another audience. The refresh token stays the login's: two that used
 * copies of it would have it revoked.
 */
export async function derive(grant: RequestGrant, from: string, errand: Errand): Promise<TokenSet> {
  const handle = from === '' ? undefined : from;
  const origin = await errand.origin(handle);
  const refreshToken = () => ('refreshToken' in origin.grant ? origin.grant.refreshToken : undefined);
  const first = refreshToken();
  if (first === undefined || (origin.grant.kind === 'request' && origin.grant.from !== undefined))
    throw apart('the login that it is made from has no refresh token');
  const whom = (audience: string | undefined) => audience ?? errand.provider.audience;
  const elsewhere = whom(grant.audience) !== whom(wantedOf(origin.grant).audience);
  const login = {
    key: keyOf(errand.id),
    clock: errand.clock,
    issuer: await origin.issuer(),
    refreshToken: () => refreshToken() ?? first,
    rotation: origin.rotation,
    stop: errand.stop,
    claims: errand.claims,
  };
  const wanted = {
    scopes: grant.scopes ?? errand.provider.scopes,
    audience: elsewhere ? whom(grant.audience) : grant.audience,
    elsewhere,
    matters: (scope: string) => !harmless.includes(scope),
    wholeWillDo: false,
  };
  const result = await narrowed(login, wanted).catch((thrown) => {
    // It is the login that has ended.
    const failure = failureOf(thrown);
    if (failure?.kind !== 'login-needed') throw thrown;
    const hint = `run: ${loginCommand({ provider: errand.id.service, ...(handle !== undefined && { handle }) })}`;
    throw new Failed({ ...failure, code: 'invalid_grant', hint }, { cause: thrown });
  });
  if (result.token === undefined) throw apart(result.why);
  return result.token;
}

const apart = (what: string): Failed => new Failed({ kind: 'login-needed', what });
