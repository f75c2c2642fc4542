import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import type { Context, Library, Provider, ProviderSettings } from './issuer-provider.js';
import type { IssuerStore } from './issuer-store.js';
import { covers } from './signer.js';

export const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange';

const tokenType = 'urn:ietf:params:oauth:token-type:';

/** Whose token it is, and what it may do. */
interface Subject {
  readonly accountId: string;
  readonly scopes: readonly string[];
  readonly audience: string;
}

/** What the grant needs of the provider it is added to. */
export interface ExchangeTools {
  readonly provider: Provider;
  readonly errors: Library['errors'];
  readonly url: string;
  readonly store: IssuerStore;
  readonly settings: ProviderSettings;
  readonly key: KeyObject;
  /** The resource all grants of this issuer are for. */
  readonly resource: string;
  readonly isKnownScope: (scope: string) => boolean;
}

/**
 * The token exchange of RFC 8693, with a subject token, or without one as Keycloak's "legacy" exchange does it when a
 * client may act for a user (keycloak/keycloak, V1TokenExchangeProvider.java; asked so by WIPACrepo/condor-credmon,
 * src/exchange.rs). A client needs the grant type in its `grant_types`, and `may_impersonate` for the second.
 */
export function addExchange(tools: ExchangeTools): void {
  const { provider, settings } = tools;
  const names = ['subject_token', 'subject_token_type', 'requested_token_type', 'requested_subject'];
  const handler = async (context: Context): Promise<void> => {
    const params = context.oidc?.params ?? {};
    const impersonates = params.requested_subject !== undefined;
    const subject = impersonates ? impersonated(context, tools) : await presented(context, tools);
    const scope = scopeOf(params.scope, impersonates ? undefined : subject.scopes, tools);
    const wanted = wantedType(params.requested_token_type ?? (impersonates ? 'refresh_token' : 'access_token'), tools);
    const answer = await issue(context, tools, { ...subject, scope }, wanted);
    const signedIn = impersonates && words(scope).includes('openid');
    context.body = { ...answer, ...(signedIn && { id_token: await idToken(context, subject.accountId) }) };
  };
  provider.registerGrantType(exchangeGrant, handler, [...names, 'audience', 'scope']);

  /** Keycloak answers with one as if the user had just signed in. */
  async function idToken(ctx: Context, sub: string): Promise<string> {
    const token = new provider.IdToken({ sub }, { ctx });
    token.scope = 'openid';
    return await token.issue({ use: 'idtoken' });
  }

  /** Keycloak tells an unknown user from a forbidden one to nobody, and answers 403. */
  function impersonated({ oidc }: Context, { errors }: ExchangeTools): Subject {
    const { requested_subject: accountId = '', audience, subject_token } = oidc?.params ?? {};
    const client = settings.clients.find(({ client_id }) => client_id === oidc?.client?.clientId);
    const known = settings.behaviour.subjects.includes(accountId);
    if (subject_token !== undefined) throw new errors.InvalidRequest('subject_token and requested_subject together');
    if (client?.may_impersonate !== true || client.client_secret === undefined || !known) {
      throw Object.assign(new errors.AccessDenied('Client not allowed to exchange'), { status: 403, statusCode: 403 });
    }
    if (audience !== undefined && !settings.clients.some(({ client_id }) => client_id === audience)) {
      throw Object.assign(new errors.InvalidClient('Audience not found'), { status: 400, statusCode: 400 });
    }
    if (audience !== undefined && audience !== client.client_id) {
      throw Object.assign(new errors.AccessDenied('Client not allowed to exchange'), { status: 403, statusCode: 403 });
    }
    // Another client as the audience would be added to the token's; its own is not (exchangeClientToOIDCClient).
    return { accountId, scopes: [], audience: tools.resource };
  }
}

/** RFC 8693 §2.2.2: whatever is wrong with the subject token, the request is invalid. */
async function presented({ oidc }: Context, tools: ExchangeTools): Promise<Subject> {
  const { errors, settings } = tools;
  const { subject_token: token, subject_token_type: type, audience } = oidc?.params ?? {};
  if (token === undefined) throw new errors.InvalidRequest("missing required parameter 'subject_token'");
  if (type === undefined) throw new errors.InvalidRequest("missing required parameter 'subject_token_type'");
  const { audiences } = settings.behaviour;
  if (audience !== undefined && audiences !== undefined && !audiences.includes(audience)) {
    throw new errors.InvalidTarget('unknown audience');
  }
  const subject = await readers[type]?.(token, tools, oidc?.client?.clientId);
  if (subject === undefined) throw new errors.InvalidRequest('invalid subject_token');
  return { ...subject, audience: audience ?? subject.audience };
}

type Reader = (token: string, tools: ExchangeTools, clientId: string | undefined) => Promise<Subject | undefined>;

/** An access token is taken whoever it was issued to, a refresh token only of the client it was issued to. */
const readers: Readonly<Record<string, Reader>> = {
  [`${tokenType}jwt`]: async (token, tools) => fromJwt(token, tools),
  [`${tokenType}access_token`]: async (token, tools) => {
    if (token.split('.').length === 3) return fromJwt(token, tools);
    const found = await tools.provider.AccessToken.find(token);
    if (!found?.isValid || !tools.store.records('Grant').has(found.grantId)) return undefined;
    return { accountId: found.accountId, scopes: words(found.scope), audience: `${found.aud ?? tools.resource}` };
  },
  [`${tokenType}refresh_token`]: async (token, tools, clientId) => {
    const found = await tools.provider.RefreshToken.find(token);
    const grant = tools.store.records('Grant').get(found?.grantId ?? '');
    if (!found?.isValid || found.clientId !== clientId || grant === undefined) return undefined;
    const audience = `${grant.audience ?? tools.resource}`;
    return { accountId: found.accountId, scopes: words(found.scope), audience };
  },
};

function fromJwt(token: string, { key, url, resource }: ExchangeTools): Subject | undefined {
  const [header = '', payload = '', signature = ''] = token.split('.');
  const how = { key: createPublicKey(key), dsaEncoding: 'ieee-p1363' } as const;
  if (!verify('sha256', Buffer.from(`${header}.${payload}`), how, Buffer.from(signature, 'base64url')))
    return undefined;
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<string, unknown>;
  if (claims.iss !== url || !(Number(claims.exp) * 1000 > Date.now())) return undefined;
  return { accountId: `${claims.sub}`, scopes: words(claims.scope), audience: `${claims.aud ?? resource}` };
}

/** `within`: the scopes of the subject token; undefined: any that the issuer knows. */
function scopeOf(asked: string | undefined, within: readonly string[] | undefined, tools: ExchangeTools): string {
  if (asked === undefined) return within?.join(' ') ?? 'openid offline_access';
  const scopes = words(asked);
  const refused = scopes.filter(
    (scope) => !tools.isKnownScope(scope) || within?.some((one) => covers(one, scope)) === false,
  );
  if (refused.length > 0) throw new tools.errors.InvalidScope('Invalid scopes', refused.join(' '));
  return scopes.join(' ');
}

type Wanted = 'access_token' | 'refresh_token';

function wantedType(asked: string, { errors }: ExchangeTools): Wanted {
  const name = asked.startsWith(tokenType) ? asked.slice(tokenType.length) : asked;
  if (name !== 'access_token' && name !== 'refresh_token') {
    throw new errors.InvalidRequest('requested_token_type unsupported');
  }
  return name;
}

/** A grant of its own, so that ending the subject token's does not end this one. */
async function issue(
  context: Context,
  { provider, store, settings, resource }: ExchangeTools,
  { accountId, scope, audience }: { accountId: string; scope: string; audience: string },
  wanted: Wanted,
): Promise<object> {
  const { oidc } = context;
  const client = oidc?.client;
  const grant = new provider.Grant({ accountId, clientId: client?.clientId ?? '' });
  grant.addOIDCScope(scope);
  grant.addResourceScope(resource, scope);
  const grantId = await grant.save();
  const record = store.records('Grant').get(grantId);
  if (record) record.audience = audience;

  const common = { accountId, client, grantId, gty: 'token_exchange', expiresWithSession: false };
  const access = new provider.AccessToken(common);
  const { accessTokenTtl: accessTokenTTL, accessTokenFormat } = settings;
  access.resourceServer = new provider.ResourceServer(resource, { audience, scope, accessTokenTTL, accessTokenFormat });
  access.scope = scope;
  oidc?.entity('AccessToken', access);
  const answer = {
    access_token: await access.save(),
    issued_token_type: `${tokenType}${wanted}`,
    expires_in: access.expiration,
    scope,
    token_type: 'Bearer',
  };
  const { exchangeAnswer } = settings.behaviour;
  if (wanted === 'access_token') return answer;
  if (exchangeAnswer === 'no-refresh-token') return { ...answer, issued_token_type: `${tokenType}access_token` };

  const refresh = new provider.RefreshToken({ ...common, resource, scope, rotations: 0 });
  oidc?.entity('RefreshToken', refresh);
  const refresh_token = await refresh.save();
  if (exchangeAnswer === 'keycloak') return { ...answer, refresh_token };
  // RFC 8693 §2.2.1: `access_token` holds whatever was asked for, and a token that is no access token is of type N_A.
  return { ...answer, access_token: refresh_token, expires_in: refresh.expiration, token_type: 'N_A' };
}

function words(scope: unknown): string[] {
  return typeof scope === 'string' && scope !== '' ? scope.split(' ') : [];
}
