import { createPublicKey, verify } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { Browser, type Page } from './issuer-browser.js';
import { exchangeGrant } from './issuer-exchange.js';
import { type Behaviour, type Context, createProvider, type IssuerClient } from './issuer-provider.js';
import { IssuerStore } from './issuer-store.js';
import { listen } from './listen.js';

export interface IssuerOptions {
  /** 0, the default, takes a free one. */
  readonly port?: number;
  /** How the issuer calls itself; it listens on 127.0.0.1 whatever this says. Default 127.0.0.1. */
  readonly hostname?: string;
  /** Seconds, a whole number, default 60. */
  readonly accessTokenTtl?: number;
  /** Seconds, a whole number, default 300. */
  readonly deviceCodeTtl?: number;
  /** Seconds a refresh token lives if it is not used, a whole number, default a year. */
  readonly refreshTokenTtl?: number;
  /** Seconds between polls, default 1; a fraction is fine here though no real issuer sends one. */
  readonly interval?: number;
  /** Whether a poll before its time is told `slow_down` (RFC 8628 §3.5). Default true. */
  readonly slowDown?: boolean;
  /** Whether each refresh replaces the refresh token, and a replaced one ends the grant. Default true. */
  readonly rotate?: boolean;
  readonly clients?: readonly IssuerClient[];
  /** PEM; makes it an https issuer. */
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly accessTokenFormat?: 'jwt' | 'opaque';
  /** Login name filled in on the approval page, default alice. */
  readonly login?: string;
  /** How it behaves where issuers differ; by default as RFC 6749 §6 and Keycloak do, and nobody is impersonated. */
  readonly behaviour?: Partial<Behaviour>;
  /** Clock of the pace of polls, epoch milliseconds. Lifetimes follow `Date.now`, which a test may fake. */
  readonly now?: () => number;
  /** Told of every user code that is given out: for those who approve by themselves. */
  readonly onCode?: (userCode: string) => void;
  /** Answers a request before the provider sees it, if it returns true; the provider waits for it to say so. */
  readonly intercept?: (request: IncomingMessage, response: ServerResponse) => boolean | Promise<boolean>;
}

/** What has been asked of the issuer since it started. */
interface Counts {
  discoveries: number;
  deviceAuthorizations: number;
  /** Token requests with a device code, whatever the answer. */
  polls: number;
  slowDowns: number;
  /** Polls answered with a token. */
  logins: number;
  /** Refreshes answered with a token. */
  refreshes: number;
  /** Refreshes answered with an error, reuse included. */
  refusals: number;
  /** Times a replaced refresh token was presented again, even after its grant had been ended for it. */
  reuse: number;
  /** Exchanges answered with a token. */
  exchanges: number;
  /** Client credentials answered with a token. */
  clientCredentials: number;
  revocations: number;
  introspections: number;
}

export interface Issuer {
  /** The issuer identifier, without a slash at the end. */
  readonly url: string;
  /** Where a person types the code. */
  readonly verificationPage: string;
  readonly counts: Readonly<Counts>;
  /** May be changed at any time. */
  readonly behaviour: Behaviour;
  /**
   * Approves as a person would, over HTTP through the issuer's own pages.
   *
   * `code` is a user code or the `verification_uri_complete`. Rejects with what the page says if it is not accepted.
   */
  approve(code: string, as: { login: string }): Promise<void>;
  deny(code: string): Promise<void>;
  /**
   * Whether an access token is good now. A JWT by signature against the published keys, issuer and time: it stays good
   * when its grant is revoked, for that is how JWTs are. An opaque one by what the provider remembers.
   */
  introspect(accessToken: string): Promise<boolean>;
  /** Ends all grants: each next refresh is an `invalid_grant`, and opaque access tokens die. */
  revokeGrants(): void;
  stop(): Promise<void>;
}

export const publicClient: IssuerClient = {
  client_id: 'public-cli',
  client_name: 'credmon (public)',
  token_endpoint_auth_method: 'none',
};

export const confidentialClient: IssuerClient = {
  client_id: 'confidential',
  client_name: 'credmon',
  client_secret: 's3cret-for-tests-only',
  token_endpoint_auth_method: 'client_secret_basic',
};

/** May exchange tokens, and ask for tokens of `behaviour.subjects` with nothing but its secret. */
export const exchangeClient: IssuerClient = {
  client_id: 'exchanger',
  client_secret: 'exchange-s3cret-for-tests-only',
  token_endpoint_auth_method: 'client_secret_basic',
  grant_types: [exchangeGrant, 'refresh_token'],
  may_impersonate: true,
};

/** May act for itself only (RFC 6749 §4.4), and sends its secret in the body. */
export const robotClient: IssuerClient = {
  client_id: 'robot',
  client_secret: 'robot-s3cret-for-tests-only',
  token_endpoint_auth_method: 'client_secret_post',
  grant_types: ['client_credentials'],
};

/** A real OpenID provider on loopback (panva/node-oidc-provider), with the parts of RFC 8628 it leaves out. */
export async function startIssuer(options: IssuerOptions = {}): Promise<Issuer> {
  const { tls, interval = 1, hostname = '127.0.0.1', now = Date.now } = options;
  const server = tls ? createTlsServer({ cert: tls.cert, key: tls.key }) : createServer();
  const port = await listen(server, options.port ?? 0, '127.0.0.1');
  const url = `${tls ? 'https' : 'http'}://${hostname}:${port}`;

  const store = new IssuerStore();
  const rotated = new Set<string>();
  const counts: Counts = {
    discoveries: 0,
    deviceAuthorizations: 0,
    polls: 0,
    slowDowns: 0,
    logins: 0,
    refreshes: 0,
    refusals: 0,
    reuse: 0,
    exchanges: 0,
    clientCredentials: 0,
    revocations: 0,
    introspections: 0,
  };
  const behaviour: Behaviour = {
    narrowing: 'honoured',
    exchangeAnswer: 'keycloak',
    refreshExpiry: undefined,
    subjects: [],
    audiences: undefined,
    claims: {},
    deviceCodeLife: undefined,
    ...options.behaviour,
  };
  const settings = {
    behaviour,
    clients: options.clients ?? [publicClient, confidentialClient, exchangeClient, robotClient],
    accessTokenTtl: options.accessTokenTtl ?? 60,
    deviceCodeTtl: options.deviceCodeTtl ?? 300,
    refreshTokenTtl: options.refreshTokenTtl ?? 365 * 24 * 3600,
    rotate: options.rotate ?? true,
    accessTokenFormat: options.accessTokenFormat ?? 'jwt',
    login: options.login ?? 'alice',
  };
  const provider = await createProvider(url, settings, store, rotated);
  provider.use(counting(counts, rotated, options.onCode));
  provider.use(expiry(behaviour, store));
  provider.use(pacing(interval, options.slowDown ?? true, now));
  for (const event of ['error', 'server_error']) provider.on(event, report);
  const answer = provider.callback();
  server.on('request', async (incoming, response) => {
    if (!(await options.intercept?.(incoming, response))) void answer(incoming, response);
  });

  const verificationPage = `${url}/device`;
  return {
    url,
    verificationPage,
    counts,
    behaviour,
    approve: (code, { login }) => decide(verificationPage, code, { confirm: 'yes', login }, 'approved'),
    deny: (code) => decide(verificationPage, code, { abort: 'yes' }, 'denied'),
    introspect: async (accessToken) => {
      if (accessToken.split('.').length === 3) return await verifyJwt(url, accessToken);
      const token = await provider.AccessToken.find(accessToken);
      if (token === undefined) return (await provider.ClientCredentials.find(accessToken))?.isValid === true;
      return token.isValid && store.records('Grant').has(token.grantId);
    },
    revokeGrants: () => store.revokeAll(),
    stop: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

/**
 * The interval and `slow_down`, which oidc-provider leaves to others. RFC 8628 §3.5: each `slow_down` adds 5 s.
 *
 * Only a pending answer becomes `slow_down`. A tenth of the interval is forgiven, as requests differ in travel time.
 */
function pacing(interval: number, slowDown: boolean, now: () => number) {
  const paces = new Map<string, { last: number; interval: number }>();
  return async (context: Context, next: () => Promise<void>): Promise<void> => {
    const arrived = now();
    await next();
    const body = context.body as Record<string, unknown>;
    if (context.oidc?.route === 'device_authorization' && context.status === 200) context.body = { ...body, interval };
    if (!slowDown || context.oidc?.route !== 'token' || body?.error !== 'authorization_pending') return;
    const code = context.oidc.params?.device_code ?? '';
    const pace = paces.get(code) ?? { last: Number.NEGATIVE_INFINITY, interval };
    const early = arrived - pace.last < pace.interval * 900;
    paces.set(code, { last: arrived, interval: early ? pace.interval + 5 : pace.interval });
    if (early) context.body = { error: 'slow_down', error_description: 'polling too quickly' };
  };
}

/** How long the refresh token in an answer lives, as Keycloak (`refresh_expires_in`) and others say it. */
function expiry(behaviour: Behaviour, store: IssuerStore) {
  return async (context: Context, next: () => Promise<void>): Promise<void> => {
    await next();
    const body = context.body as { refresh_token?: string } | undefined;
    const { refreshExpiry: name } = behaviour;
    if (name === undefined || context.oidc?.route !== 'token' || body?.refresh_token === undefined) return;
    const { exp } = store.records('RefreshToken').get(body.refresh_token) ?? {};
    context.body = { ...body, [name]: Number(exp) - Math.floor(Date.now() / 1000) };
  };
}

function counting(counts: Counts, rotated: ReadonlySet<string>, onCode: IssuerOptions['onCode']) {
  return async (context: Context, next: () => Promise<void>): Promise<void> => {
    await next();
    const { route, params } = context.oidc ?? {};
    const served = context.status === 200;
    if (route === 'discovery') counts.discoveries++;
    if (route === 'device_authorization' && served) {
      counts.deviceAuthorizations++;
      onCode?.(String((context.body as { user_code?: unknown }).user_code));
    }
    if (route === 'revocation' && served) counts.revocations++;
    if (route === 'introspection' && served) counts.introspections++;
    if (route !== 'token') return;
    if (served && params?.grant_type === exchangeGrant) counts.exchanges++;
    if (served && params?.grant_type === 'client_credentials') counts.clientCredentials++;
    if (params?.grant_type === 'refresh_token') {
      if (served) counts.refreshes++;
      else counts.refusals++;
      if (!served && rotated.has(params.refresh_token ?? '')) counts.reuse++;
    } else if (params?.device_code !== undefined) {
      counts.polls++;
      if (served) counts.logins++;
      if ((context.body as { error?: string }).error === 'slow_down') counts.slowDowns++;
    }
  };
}

async function decide(start: string, code: string, choice: Record<string, string>, wanted: string): Promise<void> {
  const browser = new Browser();
  try {
    let page: Page = await browser.open(/^https?:/.test(code) ? code : start);
    // With the code in the address the provider sends a form that a script would submit at once.
    page = await browser.submit(page, page.kind === 'enter' ? { user_code: code } : {});
    if (page.kind === 'confirm') page = await browser.submit(page, choice);
    if (page.kind !== wanted) throw new Error(`not ${wanted}, the page says: ${page.text}`);
  } finally {
    await browser.close();
  }
}

/** RFC 9068 §4, without the audience: signature by a published key, issuer, and time. */
async function verifyJwt(url: string, token: string): Promise<boolean> {
  const [header = '', payload = '', signature = ''] = token.split('.');
  const { alg, kid } = decode(header);
  const { iss, exp } = decode(payload);
  const browser = new Browser();
  const jwks = await browser.open(`${url}/jwks`).finally(() => browser.close());
  const jwk = JSON.parse(jwks.html).keys.find((key: { kid: string }) => key.kid === kid);
  if (alg !== 'ES256' || jwk === undefined || iss !== url || !(Number(exp) * 1000 > Date.now())) return false;
  const key = createPublicKey({ key: jwk, format: 'jwk' });
  const signed = Buffer.from(`${header}.${payload}`);
  return verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, Buffer.from(signature, 'base64url'));
}

function decode(part: string): Record<string, unknown> {
  try {
    return JSON.parse(Buffer.from(part, 'base64url').toString()) as Record<string, unknown>;
  } catch {
    return {};
  }
}

/** A fault of the issuer itself, not of whoever asks or hangs up. */
function report(...values: unknown[]): void {
  const error = values.find((value) => value instanceof Error) as
    | (Error & { status?: number; code?: string })
    | undefined;
  if (error === undefined || (error.status ?? 500) < 500) return;
  if (['ECONNRESET', 'EPIPE', 'ECONNABORTED', 'ERR_STREAM_PREMATURE_CLOSE'].includes(error.code ?? '')) return;
  console.error('test issuer:', error);
}
