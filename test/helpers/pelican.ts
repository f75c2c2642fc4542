import type { IncomingHttpHeaders } from 'node:http';
import type { Certificates } from './certificates.js';
import { type Answer, type Asked, type Fault, type Served, serve } from './served.js';
import { covers, makeSigner, type Signer, secret } from './signer.js';

/*
 * A Pelican federation of one namespace: the host that describes it, its director, the origin's issuer, and a second
 * issuer that nobody should ever visit. By PelicanPlatform/pelican: pelican_url/discovery.go (the description),
 * director/director.go and server_structs/director.go (redirects and their headers), oauth2/issuer/handlers.go and
 * admin_handlers.go (the issuer; handleTokenExchange).
 */

export interface PelicanOptions {
  /** Default localhost. */
  readonly hostname?: string;
  /** Real ones are https always. */
  readonly tls?: Certificates;
  /** Default /data/alice. */
  readonly prefix?: string;
  /** Seconds, default an hour. */
  readonly accessTokenLife?: number;
  /** Seconds from each refresh, default a week. */
  readonly refreshTokenLife?: number;
  /** Seconds a replaced refresh token still works, default 0; a real issuer's is 300. */
  readonly grace?: number;
  /** Clock of lifetimes and records, epoch milliseconds. */
  readonly now?: () => number;
}

interface PelicanClient {
  readonly id: string;
  readonly secret: string;
  /** What it may do at all: `offline_access` is needed for refresh tokens. */
  scopes: readonly string[];
  grants: readonly string[];
}

type PelicanEndpoint = 'federation' | 'director' | 'metadata' | 'jwks' | 'token';

export interface Pelican {
  /** Of the federation, which is where its description is. */
  readonly url: string;
  readonly prefix: string;
  readonly director: string;
  readonly issuer: string;
  readonly tokenEndpoint: string;
  /** A client of the issuer, with the rights of a credmon. */
  readonly client: PelicanClient;
  readonly requests: readonly Asked<PelicanEndpoint>[];
  readonly counts: { readonly exchanges: number; readonly refreshes: number; readonly reuse: number };
  /** An issuer with valid metadata and the same certificate, which a forged `iss` leads to. */
  readonly evil: {
    readonly url: string;
    readonly requests: readonly Asked[];
    /** Of the secrets given here (the client's, and all tokens), those it was sent in whatever place. */
    stolen(): string[];
    /** A subject token that says it is from there; signed by itself. */
    subjectToken(claims?: Readonly<Record<string, unknown>>): string;
  };
  /** Laid over what the federation, the issuer's metadata and the token endpoint answer, and over the director's headers. */
  readonly overrides: {
    federation: Readonly<Record<string, unknown>>;
    director: Readonly<Record<string, string | string[]>>;
    metadata: Readonly<Record<string, unknown>>;
    /** A member that is undefined is left out: `{refresh_token: undefined}`. */
    token: Readonly<Record<string, unknown>>;
  };
  /** An access token as the device flow of the Pelican client gives it to alice. */
  subjectToken(claims?: Readonly<Record<string, unknown>>): string;
  /** The claims of an access token issued here. */
  read(accessToken: string): Readonly<Record<string, unknown>> | undefined;
  /** Whether a refresh token would be taken now. */
  accepts(refreshToken: string): boolean;
  /** Ends all that was issued under refresh tokens. */
  revoke(): void;
  next(endpoint: PelicanEndpoint, ...faults: readonly Fault[]): void;
  always(endpoint: PelicanEndpoint, fault: Fault | undefined): void;
  stop(): Promise<void>;
}

interface Family {
  readonly subject: string;
  readonly clientId: string;
  readonly scopes: readonly string[];
  readonly audience: readonly string[];
  revoked: boolean;
}

interface Refresh {
  readonly family: Family;
  /** Epoch milliseconds. */
  readonly expires: number;
  replaced: number | undefined;
}

const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange';
const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token';
const anyAudience = 'https://wlcg.cern.ch/jwt/v1/any';

export async function startPelican(options: PelicanOptions = {}): Promise<Pelican> {
  const { tls, hostname, prefix = '/data/alice', now = Date.now, grace = 0 } = options;
  const { accessTokenLife: life = 3600, refreshTokenLife = 7 * 24 * 3600 } = options;
  const signer = makeSigner('pelican');
  const counts = { exchanges: 0, refreshes: 0, reuse: 0 };
  const overrides: Pelican['overrides'] = { federation: {}, director: {}, metadata: {}, token: {} };
  const refreshTokens = new Map<string, Refresh>();
  const issuerPath = `/api/v1.0/issuer/ns${prefix}`;
  const storage = ['read', 'modify', 'create'].map((right) => `storage.${right}:/`);
  const client: PelicanClient = {
    id: 'credmon',
    secret: secret('client-secret'),
    scopes: ['openid', 'offline_access', 'wlcg', ...storage],
    grants: [exchangeGrant, 'refresh_token'],
  };
  const secrets = new Set([client.secret]);

  const common = { tls, hostname, now };
  const federation: Served<PelicanEndpoint> = await serve<PelicanEndpoint>({
    ...common,
    endpoint: (_, path) => (path === '/.well-known/pelican-configuration' ? 'federation' : 'director'),
    answer: (asked) => (asked.endpoint === 'federation' ? describe() : direct(asked)),
  });
  const origin: Served<PelicanEndpoint> = await serve<PelicanEndpoint>({
    ...common,
    endpoint: (method, path) => originEndpoint(method, path, issuerPath),
    answer: (asked) => {
      if (asked.endpoint === 'metadata') return ok({ ...metadataOf(origin.url, issuerPath), ...overrides.metadata });
      if (asked.endpoint === 'jwks') return ok({ keys: [signer.jwk] });
      return asked.endpoint === 'token' ? token(asked) : { status: 404, body: { error: 'not_found' } };
    },
  });
  const evilSigner = makeSigner('evil');
  const evil: Served = await serve({
    ...common,
    endpoint: () => 'anything',
    answer: ({ path }) => {
      if (path.endsWith('/openid-configuration')) return ok(metadataOf(evil.url, ''));
      const forged = evilSigner.sign({ iss: evil.url, sub: 'mallory', exp: Math.floor(now() / 1000) + life });
      return ok({ access_token: forged, refresh_token: secret('evil'), token_type: 'Bearer', expires_in: life });
    },
  });
  const issuer = origin.url + issuerPath;

  function describe(): Answer {
    const here = federation.url;
    const endpoints = { director_endpoint: here, namespace_registration_endpoint: here, broker_endpoint: here };
    const keys = { jwks_uri: `${here}/.well-known/issuer.jwks` };
    return ok({ discovery_endpoint: here, ...endpoints, ...keys, ...overrides.federation });
  }

  /** For an object the answer is a redirect to a cache or the origin, which nobody here follows. */
  function direct({ path, query }: Asked): Answer {
    const object = path.replace(/^\/api\/v1\.0\/director\/(object|origin)(?=\/)/, '');
    if (object !== prefix && !object.startsWith(`${prefix}/`)) {
      return { status: 404, body: { status: 'error', msg: `No namespace found for path: ${object}` } };
    }
    const headers = {
      'x-pelican-authorization': `issuer=${issuer}`,
      'x-pelican-token-generation': `issuer=${issuer}, max-scope-depth=3, strategy=OAuth2, base-path=${prefix}`,
      'x-pelican-namespace': `namespace=${prefix}, require-token=true, collections-url=${origin.url}`,
      'x-pelican-jobid': secret('job'),
      link: `<${origin.url}${object}>; rel="duplicate"; pri=1; depth=2`,
      ...(query.redirect === 'false' ? {} : { location: origin.url + object }),
      ...overrides.director,
    };
    return { status: query.redirect === 'false' ? 200 : 307, headers };
  }

  function token({ headers, params }: Asked): Answer {
    const given = clientOf(headers, params);
    if (given.id !== client.id || given.secret !== client.secret) return refuse('invalid_client', 401);
    if (params.grant_type === exchangeGrant) return exchange(params);
    if (params.grant_type === 'refresh_token') return refresh(params.refresh_token ?? '');
    // A client may ask so whether it is known.
    return refuse(params.grant_type === 'client_credentials' ? 'unauthorized_client' : 'unsupported_grant_type');
  }

  function exchange({ subject_token, subject_token_type = accessTokenType, scope, audience }: Asked['params']): Answer {
    if (!client.grants.includes(exchangeGrant)) return refuse('unauthorized_client');
    if (!subject_token || subject_token_type !== accessTokenType) return refuse('invalid_request');
    const subject = signer.read(subject_token);
    if (subject?.iss !== issuer || !(Number(subject.exp) * 1000 > now())) return refuse('invalid_grant');
    const had = `${subject.scope}`.split(' ');
    // What is too much is left out without a word, and the answer does not say what is in it.
    const scopes = (scope ? scope.split(' ') : had).filter((one) => within(had, one) && within(client.scopes, one));
    const audiences = [subject.aud].flat();
    if (audience !== undefined && audience !== anyAudience && !audiences.includes(audience)) {
      return refuse('invalid_target');
    }
    counts.exchanges++;
    const aud = [...new Set([anyAudience, audience ?? anyAudience])];
    const family = { subject: `${subject.sub}`, clientId: client.id, scopes, audience: aud, revoked: false };
    const lasting = client.grants.includes('refresh_token') && scopes.includes('offline_access');
    return issue(family, { issued_token_type: accessTokenType, ...(lasting && { refresh_token: remember(family) }) });
  }

  /** ory/fosite handler/oauth2/flow_refresh.go (0.49): `scope` is not looked at, and told. Reuse ends the family. */
  function refresh(presented: string): Answer {
    const known = refreshTokens.get(presented);
    if (known === undefined || known.family.revoked || known.expires <= now()) return refuse('invalid_grant');
    if (known.replaced !== undefined && now() >= known.replaced + grace * 1000) {
      counts.reuse++;
      known.family.revoked = true;
      return refuse('invalid_grant');
    }
    known.replaced ??= now();
    counts.refreshes++;
    return issue(known.family, { refresh_token: remember(known.family), scope: known.family.scopes.join(' ') });
  }

  function issue({ subject, scopes, audience }: Family, more: object): Answer {
    const access_token = mint(signer, { iss: issuer, sub: subject, scope: scopes.join(' '), aud: audience });
    return ok({ access_token, token_type: 'Bearer', expires_in: life, ...more, ...overrides.token });
  }

  function remember(family: Family): string {
    const refreshToken = secret('refresh');
    secrets.add(refreshToken);
    refreshTokens.set(refreshToken, { family, expires: now() + refreshTokenLife * 1000, replaced: undefined });
    return refreshToken;
  }

  function mint(by: Signer, claims: Readonly<Record<string, unknown>>): string {
    const iat = Math.floor(now() / 1000);
    const made = by.sign({ iat, nbf: iat, exp: iat + life, 'wlcg.ver': '1.0', ...claims });
    secrets.add(made);
    return made;
  }

  const usual = { sub: 'alice', scope: `openid offline_access wlcg storage.read:${prefix}`, aud: anyAudience };
  const serverOf = (endpoint: PelicanEndpoint) =>
    endpoint === 'federation' || endpoint === 'director' ? federation : origin;
  return {
    ...{ url: federation.url, prefix, director: federation.url, issuer, client, counts, overrides },
    tokenEndpoint: `${issuer}/token`,
    get requests() {
      return [...federation.requests, ...origin.requests].sort((one, other) => one.at - other.at);
    },
    evil: {
      url: evil.url,
      requests: evil.requests,
      stolen: () => {
        const sent = evil.requests.flatMap(({ raw, headers }) => [raw, JSON.stringify(headers), basicOf(headers)]);
        return [...secrets].filter((one) => sent.some((text) => text.includes(one)));
      },
      subjectToken: (claims) => mint(evilSigner, { ...usual, iss: evil.url, ...claims }),
    },
    subjectToken: (claims) => mint(signer, { ...usual, iss: issuer, ...claims }),
    read: (accessToken) => signer.read(accessToken),
    accepts: (refreshToken) => {
      const { family, replaced, expires = 0 } = refreshTokens.get(refreshToken) ?? {};
      return family?.revoked === false && replaced === undefined && expires > now();
    },
    revoke: () => {
      for (const { family } of refreshTokens.values()) family.revoked = true;
    },
    next: (endpoint, ...faults) => serverOf(endpoint).next(endpoint, ...faults),
    always: (endpoint, fault) => serverOf(endpoint).always(endpoint, fault),
    stop: async () => void (await Promise.all([federation.stop(), origin.stop(), evil.stop()])),
  };
}

const ok = (body: object): Answer => ({ status: 200, body });
const refuse = (error: string, status = 400): Answer => ({ status, body: { error, error_description: 'no' } });
const within = (granted: readonly string[], scope: string) => granted.some((one) => covers(one, scope));

function originEndpoint(method: string, path: string, issuerPath: string): PelicanEndpoint | undefined {
  if (path === '/.well-known/issuer.jwks') return 'jwks';
  if (path === `${issuerPath}/.well-known/openid-configuration`) return 'metadata';
  return method === 'POST' && path === `${issuerPath}/token` ? 'token' : undefined;
}

/** The keys are the server's, beside all its namespaces. */
function metadataOf(server: string, issuerPath: string): object {
  const issuer = server + issuerPath;
  return {
    issuer,
    token_endpoint: `${issuer}/token`,
    authorization_endpoint: `${issuer}/authorize`,
    userinfo_endpoint: `${issuer}/userinfo`,
    revocation_endpoint: `${issuer}/revoke`,
    introspection_endpoint: `${issuer}/introspect`,
    device_authorization_endpoint: `${issuer}/device_authorization`,
    registration_endpoint: `${issuer}/oidc-cm`,
    jwks_uri: `${server}/.well-known/issuer.jwks`,
    grant_types_supported: ['authorization_code', 'refresh_token', exchangeGrant],
    token_endpoint_auth_methods_supported: ['client_secret_basic', 'client_secret_post', 'none'],
    response_types_supported: ['code'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: ['ES256'],
  };
}

function clientOf(headers: IncomingHttpHeaders, params: Asked['params']): { id: string; secret: string } {
  const [id, given] = basicOf(headers).split(/:(.*)/s);
  return id && given !== undefined
    ? { id, secret: given }
    : { id: params.client_id ?? '', secret: params.client_secret ?? '' };
}

function basicOf({ authorization = '' }: IncomingHttpHeaders): string {
  const basic = /^Basic (.*)$/i.exec(authorization)?.[1] ?? '';
  return decodeURIComponent(Buffer.from(basic, 'base64').toString());
}
