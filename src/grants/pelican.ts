import type { SubjectGrant } from '../core/credential.js';
import { Failed, type Failure, failureOf } from '../core/failure.js';
import { expiryIn } from '../core/lifetime.js';
import type { Errand, Fetcher, Issuer } from '../core/ports.js';
import { type Scopes, spaced } from '../core/scopes.js';
import { plain } from '../core/text.js';
import { ofTheIssuer, pelicanAgain } from './again.js';
import { tokenExchange } from './exchange.js';

const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token';

/**
 * The access token that the Pelican client has got for the user becomes tokens of our own client (RFC 8693 §2.1), and a
 * refresh token that takes its place. It is sent to the issuer that the configuration or its federation names, and to no
 * other, whatever the token says of its issuer: users store what they like, and our client's secret goes along.
 */
export const subject: Fetcher<SubjectGrant> = async (grant, errand) => {
  const { provider, rotation, stop } = errand;
  const issuer = await errand.issuer();
  const scopes = lasting(grant.scopes ?? provider.scopes);
  const audience = grant.audience ?? provider.audience;
  const parameters = {
    subject_token: grant.accessToken,
    subject_token_type: accessTokenType,
    ...(scopes.length > 0 && { scope: spaced(scopes) }),
    ...(audience !== undefined && { audience }),
  };
  return issuer.token(tokenExchange, parameters, { stop, rotation }).catch((thrown) => {
    const failure = failureOf(thrown);
    if (failure === undefined || !ofTheIssuer.has(failure.kind)) throw thrown;
    throw new Failed(inOurWords(failure, grant, issuer, errand), { cause: thrown });
  });
};

/** Pelican's issuers take no scope to mean those of the subject token, and give a refresh token for this one alone. */
const lasting = (scopes: Scopes): Scopes =>
  scopes.length === 0 || scopes.includes('offline_access') ? scopes : [...scopes, 'offline_access'];

function inOurWords(failure: Failure, { accessToken }: SubjectGrant, issuer: Issuer, errand: Errand): Failure {
  const claims = errand.claims(accessToken);
  const ended = (expiryIn(claims) ?? Number.POSITIVE_INFINITY) <= errand.clock.now();
  const from = foreign(claims?.iss, issuer.identifier) ? `; it says that it is from ${plain(claims?.iss, 200)}` : '';
  // RFC 8693 §2.2.2 calls a bad subject token an invalid request; Pelican's issuers speak of an invalid grant.
  if (failure.code === 'invalid_grant' || (ended && failure.code === 'invalid_request')) {
    const why = ended ? 'it has ended' : failure.what;
    return {
      ...failure,
      kind: 'login-needed',
      what: `the access token that the Pelican client got is not taken any more: ${why}${from}`,
      hint: pelicanAgain(errand),
    };
  }
  return { ...failure, kind: 'refused', what: `${failure.what}${from}`, ...hintFor(failure, errand) };
}

function hintFor({ code, hint }: Failure, { provider }: Errand): { readonly hint?: string } {
  if (code === 'unauthorized_client')
    return { hint: `the client ${provider.clientId} must be registered there for token exchange and refresh tokens` };
  return hint === undefined ? {} : { hint };
}

const foreign = (iss: unknown, identifier: string | undefined): boolean =>
  typeof iss === 'string' && iss !== '' && iss.replace(/\/$/, '') !== identifier?.replace(/\/$/, '');
