import { generateKeyPairSync } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { approvedPage, confirmPage, deniedPage, enterPage, errorPage } from './issuer-pages.js';
import type { IssuerStore } from './issuer-store.js';

/** One client as RFC 7591 §2 writes it; more members may be added. */
export interface IssuerClient {
  readonly client_id: string;
  readonly client_secret?: string;
  readonly [metadata: string]: unknown;
}

export interface ProviderSettings {
  readonly clients: readonly IssuerClient[];
  /** Seconds. */
  readonly accessTokenTtl: number;
  /** Seconds. */
  readonly deviceCodeTtl: number;
  readonly rotate: boolean;
  readonly accessTokenFormat: 'jwt' | 'opaque';
  /** Login name filled in on the page. */
  readonly login: string;
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
  readonly AccessToken: { find(token: string): Promise<{ isValid: boolean; grantId: string } | undefined> };
  use(middleware: (context: Context, next: () => Promise<void>) => Promise<void>): void;
  on(event: string, listener: (...values: never[]) => void): void;
  callback(): (request: IncomingMessage, response: ServerResponse) => Promise<void>;
  interactionDetails(
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<{ params: { client_id: string; scope?: string; resource?: string | string[] } }>;
  interactionFinished(request: IncomingMessage, response: ServerResponse, result: object, how: object): Promise<void>;
}

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
  readonly session?: { readonly state: { readonly secret: string } };
  readonly entities: {
    readonly DeviceCode?: { readonly params: { scope?: string; audience?: string }; readonly grantId: string };
    readonly RefreshToken?: { readonly jti: string; readonly grantId: string; readonly scope?: string };
  };
  urlFor(route: string): string;
}

/** The audience of access tokens when nobody asks for another: any WLCG service. */
const defaultAudience = 'https://wlcg.cern.ch/jwt/v1/any';

const openidScopes = ['openid', 'offline_access'];
const resourceScope = /^((storage\.(read|create|modify|stage)|read|write):\/\S*|compute\.\w+|wlcg\.groups(:\S+)?)$/;

/**
 * A provider with device flow, refresh, revocation and introspection, which says nothing on stdout or stderr.
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
  const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
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
    claims: { openid: ['sub', 'preferred_username', 'name', 'email'] },
    findAccount: (_: Context, login: string) => account(login),
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
      DeviceCode: settings.deviceCodeTtl,
      IdToken: 3600,
      Interaction: 3600,
      Session: 14 * 24 * 3600,
      Grant: 365 * 24 * 3600,
      RefreshToken: 365 * 24 * 3600,
    },
    features: {
      devInteractions: { enabled: false },
      dPoP: { enabled: false },
      pushedAuthorizationRequests: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      userinfo: { enabled: false },
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

function account(login: string) {
  const name = `${login.charAt(0).toUpperCase()}${login.slice(1)} Example`;
  const claims = { sub: login, preferred_username: login, name, email: `${login}@example.org` };
  return { accountId: login, claims: () => claims };
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

interface Library {
  readonly Provider: new (url: string, settings: object) => Provider;
  readonly errors: { readonly InvalidGrant: new (detail: string) => Error };
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
