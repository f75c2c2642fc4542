import { notAllowed } from '../core/allowed.js';
import type { RequestGrant, TokenSet } from '../core/credential.js';
import { Failed, type Failure, failureOf } from '../core/failure.js';
import type { Errand, Fetcher } from '../core/ports.js';
import type { Provider } from '../core/provider.js';
import { parseScopes, type Scopes, spaced } from '../core/scopes.js';
import { plain } from '../core/text.js';
import { ofTheIssuer } from './again.js';
import { refresh } from './refresh.js';

export const tokenExchange = 'urn:ietf:params:oauth:grant-type:token-exchange';
const refreshTokenType = 'urn:ietf:params:oauth:token-type:refresh_token';

/**
 * RFC 8693 with the requested_subject of Keycloak's issuers, as the IceCube credmon asks for it: our client vouches for the
 * user, whose the credential's folder is. What the user may have is asked anew at each exchange; the refresh token that
 * it brings, if it does, saves the next ones.
 */
export const exchange: Fetcher<RequestGrant> = async (grant, errand) => {
  const { provider } = errand;
  const wanted = { scopes: grant.scopes ?? provider.scopes, audience: grant.audience ?? provider.audience };
  permit(grant, errand);
  return within(await fetched(grant, wanted, errand), errand);
};

async function fetched(
  grant: RequestGrant,
  wanted: { readonly scopes: Scopes; readonly audience: string | undefined },
  errand: Errand,
): Promise<TokenSet> {
  const { provider, id, rotation, stop } = errand;
  const issuer = await errand.issuer();
  if (grant.refreshToken !== undefined) {
    try {
      return await refresh(issuer, { refreshToken: grant.refreshToken, ...asked(grant) }, rotation, stop);
    } catch (thrown) {
      // It has ended, was revoked, or does not do for these scopes: another exchange brings another.
      if (!isOfNoUse(failureOf(thrown))) throw thrown;
    }
  }
  const token = await issuer
    .token(
      tokenExchange,
      {
        requested_subject: id.user,
        requested_token_type: refreshTokenType,
        audience: wanted.audience ?? provider.clientId,
        ...(wanted.scopes.length > 0 && { scope: spaced(wanted.scopes) }),
      },
      { stop, rotation },
    )
    .catch((thrown) => {
      throw inOurWords(thrown, id.user);
    });
  return token.issuedType === refreshTokenType && token.refreshToken === undefined
    ? await fromRefreshToken(token, grant, errand)
    : token;
}

/** An issuer may give more than was asked for, and gives what it likes where nothing was. */
export function within(
  token: TokenSet,
  { id, provider, claims }: Pick<Errand, 'id' | 'provider' | 'claims'>,
): TokenSet {
  if (provider.allowedScopes === undefined) return token;
  const claimed = claims(token.accessToken)?.scope;
  const given = token.scopes ?? (typeof claimed === 'string' ? parseScopes(claimed) : []);
  const over = notAllowed(
    given.filter((scope) => !harmless.test(scope)),
    allowedOf(provider),
    id.user,
  );
  if (over === undefined) return token;
  throw refused(
    `${provider.name} gives ${id.user} the scope ${plain(over, 200)}, which is not allowed here`,
    `set ${provider.name}_SCOPES to what is asked for where a job names no scopes, or change ${provider.name}_ALLOWED_SCOPES`,
  );
}

/** They tell who somebody is and open nothing. */
const harmless = /^(?:openid|offline_access|profile|email|address|phone|microprofile-jwt|acr|basic|roles|web-origins)$/;

/** The provider's own scopes are the administrator's word as well. */
const allowedOf = ({ allowedScopes = [], scopes }: Provider): Scopes => [...allowedScopes, ...scopes];

/** By RFC 8693 §2.2.1 what was asked for is in `access_token`: here a refresh token. */
async function fromRefreshToken(token: TokenSet, grant: RequestGrant, errand: Errand): Promise<TokenSet> {
  const refreshToken = token.accessToken;
  await errand.rotation.keep(refreshToken);
  return refresh(await errand.issuer(), { refreshToken, ...asked(grant) }, errand.rotation, errand.stop);
}

function asked({ scopes, audience }: RequestGrant) {
  return { ...(scopes && { scopes }), ...(audience !== undefined && { audience }) };
}

/** Some issuers answer 400 and no JSON to a refresh token that is bad; what a proxy answers, or the client's trouble, is not its. */
export const isOfNoUse = (failure: Failure | undefined): boolean =>
  failure?.kind === 'login-needed' ||
  (failure?.kind === 'refused' && !/^(?:invalid_client|http_(?!400))/.test(failure.code ?? ''));

/** Throws Failed where the administrator does not want it. */
export function permit(grant: RequestGrant, { id, provider }: Pick<Errand, 'id' | 'provider'>): void {
  const { user } = id;
  const scopes = grant.scopes ?? provider.scopes;
  const audience = grant.audience ?? provider.audience;
  const { name, allowedScopes, allowedAudiences = [], secretFile } = provider;
  if (provider.flow !== 'exchange' || secretFile === undefined) {
    throw new Failed({
      kind: 'login-needed',
      what: `${name} gives no tokens without a login`,
    });
  }
  // Nobody's jobs are root's, and what an issuer calls root may be more than the one of this machine.
  if (user === 'root') throw refused('root gets no tokens by exchange', 'submit as another user');
  const over = allowedScopes && notAllowed(scopes, allowedOf(provider), user);
  if (over !== undefined) {
    throw refused(
      `${user} may not have the scope ${plain(over, 200)} from ${name}`,
      `ask for other scopes, or have ${name}_ALLOWED_SCOPES changed`,
    );
  }
  if (audience !== undefined && audience !== provider.audience && !allowedAudiences.includes(audience)) {
    throw refused(
      `${user} may not have tokens for the audience ${plain(audience, 200)} from ${name}`,
      `ask for another audience, or have ${name}_ALLOWED_AUDIENCES changed`,
    );
  }
}

const refused = (what: string, hint: string): Failed =>
  new Failed({ kind: 'refused', what, hint, code: 'not_allowed' });

/** No login helps here: the issuer does not know the user, or does not believe the client. */
function inOurWords(thrown: unknown, user: string): unknown {
  const failure = failureOf(thrown);
  if (failure === undefined || !ofTheIssuer.has(failure.kind)) return thrown;
  return new Failed(
    {
      ...failure,
      kind: 'refused',
      what: `no token for ${user}: ${failure.what}`,
      hint:
        failure.hint ?? `does the issuer know ${user}, and may the client ask for others (requested_subject) there?`,
    },
    { cause: thrown },
  );
}
