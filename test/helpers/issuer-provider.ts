import { generateKeyPairSync } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { addExchange } from './issuer-exchange.js';
import { approvedPage, confirmPage, deniedPage, enterPage, errorPage } from './issuer-pages.js';
import type { IssuerStore } from './issuer-store.js';

/** One client as RFC 7591 §2 writes it; more members may be added. */
export interface IssuerClient {
  readonly client_id: string;
  readonly client_secret?: string;
  /** Ours: whether it may exchange nothing but its own secret for a user's tokens (`requested_subject`). */
  readonly may_impersonate?: boolean;
  readonly [metadata: string]: unknown;
}

/** Ways in which real issuers differ; each may be changed while the issuer runs. */
export interface Behaviour {
  /** What comes of `scope` at a refresh (RFC 6749 §6): a narrower token, the full one, or `invalid_scope`. */
  narrowing: 'honoured' | 'ignored' | 'refused';
  /**
   * The answer to an exchange for a refresh token: beside an access token (Keycloak), alone in the member
   * `access_token` (RFC 8693 §2.2.1), or not at all.
   */
  exchangeAnswer: 'keycloak' | 'strict' | 'no-refresh-token';
  /** The member that says in how many seconds the refresh token in the answer ends, if any does. */
  refreshExpiry: 'refresh_expires_in' | 'refresh_token_expires_in' | undefined;
  /** The users whom a client with `may_impersonate` can ask tokens for. */
  subjects: readonly string[];
  /** The audiences a subject token can be exchanged for; undefined: any. */
  audiences: readonly string[] | undefined;
  /** By login name, claims beside or instead of the usual ones; one that is null is not told. */
  claims: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** Seconds a device code lives, a whole number; undefined: as it was started with. */
  deviceCodeLife: number | undefined;
}

export interface ProviderSettings {
  readonly clients: readonly IssuerClient[];
  /** Seconds. */
  readonly accessTokenTtl: number;
  /** Seconds. */
  readonly deviceCodeTtl: number;
  /** Seconds, from each refresh. */
  readonly refreshTokenTtl: number;
  readonly rotate: boolean;
  readonly accessTokenFormat: 'jwt' | 'opaque';
  /** Login name filled in on the page. */
  readonly login: string;
  readonly behaviour: Behaviour;
}

/** A token of any kind before it is saved, and after. */
interface Token {
  readonly isValid: boolean;
  readonly grantId: string;
  readonly accountId: string;
  readonly clientId: string;
  readonly aud?: string | string[];
  /** Seconds. */
  readonly expiration: number;
  scope: string;
  resourceServer: object;
  save(): Promise<string>;
}

interface TokenModel {
  new (of: object): Token;
  find(token: string): Promise<Token | undefined>;
}

/** What we use of oidc-provider, which ships no types: a Koa application with models. */
export interface Provider {
  readonly Grant: new (of: {
    accountId: string;
    clientId: string;
  }) => {
    addOIDCScope(scope: string): void;
    addResourceScope(resource: string, scope: string): void;
    save(): Promise<string>;
  };
  readonly AccessToken: TokenModel;
  readonly RefreshToken: TokenModel;
  readonly ClientCredentials: TokenModel;
  readonly IdToken: new (
    claims: object,
    of: { ctx: Context },
  ) => { scope: string; issue(how: { use: 'idtoken' }): Promise<string> };
  readonly ResourceServer: new (resource: string, about: object) => object;
  registerGrantType(name: string, handler: GrantHandler, parameters: Iterable<string>): void;
  use(middleware: (context: Context, next: () => Promise<void>) => Promise<void>): void;
  on(event: string, listener: (...values: never[]) => void): void;
  callback(): (request: IncomingMessage, response: ServerResponse) => Promise<void>;
  interactionDetails(
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<{ params: { client_id: string; scope?: string; resource?: string | string[] } }>;
  interactionFinished(request: IncomingMessage, response: ServerResponse, result: object, how: object): Promise<void>;
}

type GrantHandler = (context: Context) => Promise<void>;

/** Koa's context, with what oidc-provider hangs on it. */
export interface Context {
  readonly method: string;
  readonly path: string;
  readonly query: Record<string, string | undefined>;
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  status: number;
  type: string;
  body: unknown;
  respond?: boolean;
  readonly oidc?: OidcContext;
}

interface OidcContext {
  readonly route: string;
  /** The parameters it knows; all others are only in `body`. */
  readonly params?: Record<string, string | undefined>;
  readonly body?: Record<string, string | undefined>;
  readonly client?: { readonly clientId: string };
  readonly session?: { readonly state: { readonly secret: string } };
  readonly entities: {
    readonly DeviceCode?: { readonly params: { scope?: string; audience?: string }; readonly grantId: string };
    readonly RefreshToken?: { readonly jti: string; readonly grantId: string; readonly scope?: string };
  };
  entity(name: string, entity: object): void;
  urlFor(route: string): string;
}

/** The audience of access tokens when nobody asks for another: any WLCG service. */
const defaultAudience = 'https://wlcg.cern.ch/jwt/v1/any';

const openidScopes = ['openid', 'offline_access'];
const resourceScope = /^((storage\.(read|create|modify|stage)|read|write):\/\S*|compute\.\w+|wlcg\.groups(:\S+)?)$/;

/**
 * A provider with device flow, refresh, exchange, client credentials, revocation and introspection, which says nothing on stdout or stderr.
 *
 * `rotated` receives each refresh token the moment it is replaced.
 */
export async function createProvider(
  url: string,
  settings: ProviderSettings,
  store: IssuerStore,
  rotated: Set<string>,
): Promise<Provider> {
  const library = await importQuietly();
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const key = privateKey.export({ format: 'jwk' });
  const codeLife = () => settings.behaviour.deviceCodeLife ?? settings.deviceCodeTtl;
  const provider = new library.Provider(url, {
    adapter: (model: string) => store.adapter(model),
    jwks: { keys: [{ ...key, kid: 'test-issuer', use: 'sig', alg: 'ES256' }] },
    clients: settings.clients,
    clientDefaults: {
      grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'],
      redirect_uris: [],
      response_types: [],
      id_token_signed_response_alg: 'ES256',
    },
    enabledJWA: { idTokenSigningAlgValues: ['ES256'] },
    clockTolerance: 0,
    scopes: openidScopes,
    // With `openid` alone, and in the ID token, since there is no userinfo endpoint for tokens with an audience.
    claims: {
      openid: ['sub', 'preferred_username', 'name', 'email', 'email_verified', 'eppn', 'groups', 'entitlements'],
    },
    findAccount: (_: Context, login: string) => account(login, settings.behaviour.claims[login]),
    extraParams: ['audience'],
    clientBasedCORS: () => false,
    expiresWithSession: () => false,
    rotateRefreshToken: ({ oidc }: Context) => {
      const token = oidc?.entities.RefreshToken;
      if (!settings.rotate || token === undefined) return false;
      // The library looks whether a token is used up before it waits for things, and marks it after. Two requests at
      // once would both be served. Between these two lines nothing can happen.
      if (rotated.has(token.jti)) {
        store.revokeGrant(token.grantId);
        throw new library.errors.InvalidGrant('refresh token already used');
      }
      rotated.add(token.jti);
      return true;
    },
    ttl: {
      AccessToken: settings.accessTokenTtl,
      DeviceCode: codeLife,
      IdToken: 3600,
      Interaction: 3600,
      Session: 14 * 24 * 3600,
      Grant: 365 * 24 * 3600,
      RefreshToken: settings.refreshTokenTtl,
      ClientCredentials: settings.accessTokenTtl,
    },
    features: {
      devInteractions: { enabled: false },
      dPoP: { enabled: false },
      pushedAuthorizationRequests: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      userinfo: { enabled: false },
      clientCredentials: { enabled: true },
      revocation: { enabled: true, allowedPolicy: ownTokensOnly },
      introspection: { enabled: true, allowedPolicy: ownTokensOnly },
      deviceFlow: { enabled: true, ...pages(settings.login) },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => defaultAudience,
        useGrantedResource: () => true,
        getResourceServerInfo: (context: Context, resource: string) => ({
          audience: audienceOf(context, store) ?? resource,
          scope: grantable(context).join(' '),
          accessTokenFormat: settings.accessTokenFormat,
          accessTokenTTL: settings.accessTokenTtl,
        }),
      },
    },
    formats: {
      customizers: {
        // What scitokens-cpp wants of a WLCG token besides the usual claims.
        jwt: (_: Context, __: object, token: { payload: Record<string, unknown> }) => {
          Object.assign(token.payload, { nbf: token.payload.iat, 'wlcg.ver': '1.0' });
        },
      },
    },
    interactions: {
      // The approval page already carried the login name, so there is nothing left to ask: `finish` answers at once.
      url: ({ oidc }: Context, { uid }: { uid: string }) =>
        `/interaction/${uid}?${new URLSearchParams({ login: oidc?.body?.login || settings.login })}`,
    },
    renderError: (context: Context, out: { error: string; error_description?: string }) => {
      html(context, errorPage(out.error, out.error_description));
    },
  });
  const isKnownScope = (scope: string) => openidScopes.includes(scope) || resourceScope.test(scope);
  const { errors } = library;
  addExchange({ provider, errors, url, store, settings, key: privateKey, resource: defaultAudience, isKnownScope });
  await narrowing(provider, errors, settings.behaviour);
  provider.use(async (context, next) => {
    if (context.path.startsWith('/interaction/')) await finish(provider, context);
    else await next();
  });
  provider.use(async (context, next) => {
    // Every visit to the page is a new login, so that alice and bob can share a browser.
    if (context.method === 'GET' && context.path === '/device') delete context.req.headers.cookie;
    await next();
  });
  return provider;
}

/**
 * Refreshes by issuers that will not narrow. Of itself the library honours `scope` and keeps that of the refresh token.
 *
 * It has no place to look at a request between reading it and judging it, so this one steps between the two inside.
 */
async function narrowing(provider: Provider, errors: Library['errors'], behaviour: Behaviour): Promise<void> {
  // @ts-expect-error: the library ships no types, and this is not meant for others
  const { default: inside } = await import('oidc-provider/lib/helpers/weak_cache.js');
  const refresh = inside(provider).grantTypeHandlers.get('refresh_token') as GrantHandler;
  const parameters = inside(provider).grantTypeParams.get('refresh_token') as Iterable<string>;
  const handler: GrantHandler = async (context) => {
    const { params } = context.oidc ?? {};
    if (params?.scope !== undefined && behaviour.narrowing === 'refused') {
      throw new errors.InvalidScope('scope cannot be changed', params.scope);
    }
    if (params !== undefined && behaviour.narrowing === 'ignored') delete params.scope;
    await refresh(context);
  };
  provider.registerGrantType('refresh_token', handler, [...parameters]);
}

/** Login and consent in one step: everything asked for is granted. */
async function finish(provider: Provider, context: Context): Promise<void> {
  const { params } = await provider.interactionDetails(context.req, context.res);
  const accountId = context.query.login ?? '';
  const grant = new provider.Grant({ accountId, clientId: params.client_id });
  const scope = params.scope ?? '';
  grant.addOIDCScope(scope);
  for (const resource of [params.resource ?? []].flat()) grant.addResourceScope(resource, scope);
  const result = { login: { accountId }, consent: { grantId: await grant.save() } };
  context.respond = false;
  await provider.interactionFinished(context.req, context.res, result, { mergeWithLastSubmission: false });
}

function account(login: string, others: Readonly<Record<string, unknown>> = {}) {
  const name = `${login.charAt(0).toUpperCase()}${login.slice(1)} Example`;
  const claims = { sub: login, preferred_username: login, name, email: `${login}@example.org`, ...others };
  const told = Object.fromEntries(Object.entries(claims).filter(([, value]) => value !== null));
  return { accountId: login, claims: () => told };
}

/**
 * The scopes an access token may carry: those of this request we know, others are left out without a word.
 *
 * The library would drop `openid offline_access` from tokens with an audience; issuers of the grid leave them in.
 */
function grantable({ oidc }: Context): string[] {
  const asked = [oidc?.params?.scope, oidc?.entities.DeviceCode?.params.scope, oidc?.entities.RefreshToken?.scope];
  const scopes = new Set(asked.flatMap((scope) => scope?.split(' ') ?? []));
  return [...scopes].filter((scope) => openidScopes.includes(scope) || resourceScope.test(scope));
}

/** The `audience` of this request, else the one of the device authorization the grant began with. */
function audienceOf({ oidc }: Context, store: IssuerStore): string | undefined {
  const grantId = oidc?.entities.DeviceCode?.grantId ?? oidc?.entities.RefreshToken?.grantId;
  const grant = store.records('Grant').get(grantId ?? '');
  const began = oidc?.entities.DeviceCode?.params.audience;
  if (grant && began !== undefined) grant.audience = began;
  return oidc?.body?.audience ?? began ?? (grant?.audience as string | undefined);
}

/** RFC 7009 §2.1: a client may speak about its own tokens only. */
function ownTokensOnly(_: Context, client: { clientId: string }, token: { clientId: string }): boolean {
  return client.clientId === token.clientId;
}

function pages(login: string) {
  const asking = ({ oidc }: Context) => ({
    action: oidc?.urlFor('code_verification') ?? '',
    xsrf: oidc?.session?.state.secret ?? '',
  });
  const complaints: Record<string, string> = {
    NotFoundError: 'There is no such code.',
    NoCodeError: 'There is no such code.',
    ExpiredError: 'This code has expired.',
    AlreadyUsedError: 'This code has been used already.',
  };
  return {
    userCodeInputSource: (context: Context, _form: string, _out?: object, error?: Error) => {
      const complaint = error && (complaints[error.name] ?? 'That did not work.');
      html(context, error?.name === 'AbortedError' ? deniedPage() : enterPage(asking(context), complaint));
    },
    userCodeConfirmSource: (
      context: Context,
      _form: string,
      client: { clientId: string; clientName?: string },
      _device: object,
      userCode: string,
    ) => {
      const scopes = context.oidc?.entities.DeviceCode?.params.scope?.split(' ') ?? [];
      const name = client.clientName ?? client.clientId;
      html(context, confirmPage({ ...asking(context), userCode, client: name, scopes, login }));
    },
    successSource: (context: Context) => html(context, approvedPage()),
  };
}

function html(context: Context, page: string): void {
  context.type = 'html';
  context.body = page;
}

export interface Library {
  readonly Provider: new (url: string, settings: object) => Provider;
  readonly errors: Readonly<
    Record<
      'InvalidGrant' | 'InvalidRequest' | 'InvalidTarget' | 'InvalidClient' | 'AccessDenied',
      new (
        detail: string,
      ) => Error
    > & { InvalidScope: new (detail: string, scope: string) => Error }
  >;
}

/** On import it complains about Node 20 on stderr. Nothing else is lost: imports of ours have run before. */
async function importQuietly(): Promise<Library> {
  const { warn } = console;
  console.warn = () => {};
  try {
    // @ts-expect-error: the library ships no types
    return await import('oidc-provider');
  } finally {
    console.warn = warn;
  }
}
