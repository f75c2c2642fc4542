import type { Certificates } from './certificates.js';
import { type Answer, type Asked, type Fault, serve } from './served.js';
import { covers, makeSigner, secret } from './signer.js';

/*
 * A mytoken server, as far as access tokens go. By oidc-mytoken/server: internal/endpoints/token/access, …/configuration,
 * internal/utils/auth/auther.go (what is checked, in which order, with which error), internal/mytoken/rotation; the
 * members by oidc-mytoken/api, v0 (the audiences of an answer are called `audience`).
 */

export interface MytokenOptions {
  /** Default localhost. */
  readonly hostname?: string;
  /** Real ones are https always. */
  readonly tls?: Certificates;
  /** Seconds an access token lives, default an hour. */
  readonly accessTokenLife?: number;
  readonly accessTokenFormat?: 'jwt' | 'opaque';
  /** The OpenID provider behind it. */
  readonly oidcIssuer?: string;
  /** Clock of lifetimes and records, epoch milliseconds. */
  readonly now?: () => number;
}

interface MytokenWish {
  /** Default alice. */
  readonly sub?: string;
  /** Those of its provider, which access tokens have when nothing restricts them. */
  readonly scopes?: readonly string[];
  /** Of the first and only restriction; without one, `scope` and `audience` of a request are not looked at. */
  readonly restriction?: { readonly scopes?: readonly string[]; readonly audiences?: readonly string[] };
  readonly capabilities?: readonly string[];
  /** Whether each access token replaces the mytoken, and whether an old one coming back ends it. */
  readonly rotation?: { readonly on_AT: boolean; readonly auto_revoke?: boolean };
  /** Seconds; by default it does not end. */
  readonly expiresIn?: number;
  /** Default a JWT. */
  readonly type?: 'token' | 'short_token';
}

export interface Mytoken {
  readonly url: string;
  /** Where access tokens are had. */
  readonly endpoint: string;
  readonly requests: readonly Asked[];
  readonly counts: { readonly accessTokens: number; readonly rotations: number; readonly reuse: number };
  latency: number;
  /** A mytoken as if someone had made one. */
  make(wish?: MytokenWish): string;
  /** Whether this very mytoken would be taken now. */
  accepts(mytoken: string): boolean;
  revoke(mytoken: string): void;
  /** What the provider behind it answers to refreshes from now on; undefined: it serves them. */
  refusal: { readonly status: number; readonly error: string; readonly error_description?: string } | undefined;
  next(...faults: readonly Fault[]): void;
  always(fault: Fault | undefined): void;
  stop(): Promise<void>;
}

interface Kept extends Required<Omit<MytokenWish, 'restriction' | 'rotation' | 'expiresIn'>> {
  readonly restriction: MytokenWish['restriction'];
  readonly rotation: MytokenWish['rotation'];
  /** Epoch seconds. */
  readonly exp: number | undefined;
  /** What stands for it now. */
  current: string;
  revoked: boolean;
}

const path = '/api/v0/token/access';

export async function startMytoken(options: MytokenOptions = {}): Promise<Mytoken> {
  const { tls, hostname, now = Date.now, accessTokenLife = 3600, oidcIssuer = 'https://op.example' } = options;
  const signer = makeSigner('mytoken');
  const counts = { accessTokens: 0, rotations: 0, reuse: 0 };
  const kept = new Map<string, Kept>();

  const served = await serve({
    ...{ tls, hostname, now },
    endpoint: (method, asked) => {
      if (method === 'POST' && asked === path) return 'token';
      return /^\/\.well-known\/(mytoken|openid)-configuration$/.test(asked) ? 'configuration' : undefined;
    },
    answer: (asked) => {
      if (asked.endpoint === 'token') return answer(asked);
      return asked.endpoint ? configuration() : refuse(404, 'not_found');
    },
  });

  function configuration(): Answer {
    const [tokens, { url }] = [`${served.url}/api/v0/token`, served];
    const endpoints = {
      access_token_endpoint: url + path,
      token_endpoint: url + path,
      mytoken_endpoint: `${tokens}/my`,
      revocation_endpoint: `${tokens}/revoke`,
      tokeninfo_endpoint: `${url}/api/v0/tokeninfo`,
      jwks_uri: `${url}/jwks`,
    };
    const provider = { issuer: oidcIssuer, scopes_supported: ['openid', 'offline_access'] };
    const grants = { access_token_endpoint_grant_types_supported: ['mytoken'] };
    return { status: 200, body: { issuer: url, ...endpoints, ...grants, providers_supported: [provider] } };
  }

  function answer({ params, headers }: Asked): Answer {
    const { grant_type, scope = '', audience = '', oidc_issuer } = params;
    if (grant_type !== 'mytoken' && grant_type !== 'refresh_token') {
      return refuse(400, 'invalid_grant', 'Unsupported grant_type');
    }
    const bearer = /^Bearer (.*)$/.exec(headers.authorization ?? '')?.[1];
    const presented = params.mytoken || params.refresh_token || bearer;
    if (!presented) return refuse(401, 'invalid_token', 'no mytoken found in request');
    const token = kept.get(presented);
    if (token === undefined) return refuse(401, 'invalid_token', 'token not valid');
    if (!isGood(token)) return refuse(401, 'invalid_token');
    if (token.current !== presented) {
      counts.reuse++;
      if (token.rotation?.auto_revoke) token.revoked = true;
      return refuse(401, 'invalid_token');
    }
    if (!token.capabilities.includes('AT')) {
      const text = 'The provided token does not have the required capability for this operation';
      return refuse(403, 'insufficient_capabilities', text);
    }
    const { restriction } = token;
    if (!allows(restriction?.scopes, scope) || !allows(restriction?.audiences, audience)) {
      return refuse(403, 'usage_restricted', 'The restrictions of this token does not allow this usage');
    }
    if (oidc_issuer !== undefined && oidc_issuer !== oidcIssuer) {
      return refuse(400, 'invalid_request', 'token not for specified issuer');
    }
    if (mytoken.refusal !== undefined) {
      const { status, error, error_description } = mytoken.refusal;
      return refuse(status, 'oidc_error', [error, error_description].filter(Boolean).join(': '));
    }
    return give(token, restriction && scope, restriction && audience);
  }

  /** Without a restriction, nothing that was asked for counts. */
  function give(token: Kept, scope: string | undefined, audience: string | undefined): Answer {
    const granted = scope || (token.restriction?.scopes ?? token.scopes).join(' ');
    const audiences = audience ? audience.split(' ') : token.restriction?.audiences;
    const iat = Math.floor(now() / 1000);
    const aud = audiences ?? 'https://wlcg.cern.ch/jwt/v1/any';
    const claims = { iss: oidcIssuer, sub: token.sub, scope: granted, aud, iat, exp: iat + accessTokenLife };
    counts.accessTokens++;
    const body = {
      access_token: options.accessTokenFormat === 'opaque' ? secret('access') : signer.sign(claims),
      token_type: 'Bearer',
      expires_in: accessTokenLife,
      scope: granted,
      ...(options.accessTokenFormat !== 'opaque' && { audience: [aud].flat() }),
    };
    if (!token.rotation?.on_AT) return { status: 200, body };

    counts.rotations++;
    const fresh = stand(token);
    const { capabilities, rotation, exp } = token;
    const update = {
      mytoken: fresh,
      mytoken_type: token.type,
      capabilities,
      rotation,
      ...(exp && { expires_in: exp - iat }),
    };
    return {
      status: 200,
      body: { ...body, token_update: update },
      headers: { 'set-cookie': `mytoken=${fresh}; HttpOnly` },
    };
  }

  /** A new value for the same token. */
  function stand(token: Kept): string {
    const claims = { iss: served.url, sub: token.sub, oidc_iss: oidcIssuer, exp: token.exp, token_type: 'mytoken' };
    token.current = token.type === 'token' ? signer.sign(claims) : secret('short');
    kept.set(token.current, token);
    return token.current;
  }

  const isGood = ({ revoked, exp }: Kept) => !revoked && (exp === undefined || exp * 1000 > now());

  const mytoken: Mytoken = {
    ...{ url: served.url, endpoint: served.url + path, requests: served.requests, counts },
    get latency() {
      return served.latency;
    },
    set latency(milliseconds) {
      served.latency = milliseconds;
    },
    refusal: undefined,
    make: ({ restriction, rotation, expiresIn, ...wish } = {}) => {
      const exp = expiresIn === undefined ? undefined : Math.floor(now() / 1000) + expiresIn;
      const scopes = ['openid', 'offline_access', 'storage.read:/'];
      const usual = { sub: 'alice', scopes, capabilities: ['AT'], type: 'token' } as const;
      return stand({ ...usual, ...wish, restriction, rotation, exp, current: '', revoked: false });
    },
    accepts: (value) => {
      const token = kept.get(value);
      return token !== undefined && token.current === value && isGood(token);
    },
    revoke: (value) => {
      const token = kept.get(value);
      if (token) token.revoked = true;
    },
    next: (...faults) => served.next('token', ...faults),
    always: (fault) => served.always('token', fault),
    stop: () => served.stop(),
  };
  return mytoken;
}

function refuse(status: number, error: string, error_description?: string): Answer {
  return { status, body: { error, ...(error_description && { error_description }) } };
}

/** All that is asked for has to be in the list, if there is one. */
function allows(list: readonly string[] | undefined, asked: string): boolean {
  const wanted = asked.split(' ').filter(Boolean);
  return list === undefined || wanted.every((one) => list.some((allowed) => covers(allowed, one)));
}
