import { X509Certificate } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as oidc from 'openid-client';
import type { TokenSet } from '../core/credential.js';
import { refuseStrange, strange, strangeEndpoints } from '../core/endpoint.js';
import { Failed, type Failure, Unsent } from '../core/failure.js';
import type { Claims } from '../core/identity.js';
import type { Clock, DeviceCode, Http, Issuer, Rotation, TokenRequest } from '../core/ports.js';
import { issuerOf, type Provider } from '../core/provider.js';
import { Shared } from '../core/shared.js';
import { madeAt, momentOf } from '../core/steady.js';
import { plain } from '../core/text.js';
import { later } from '../core/time.js';
import { isSafeUrl } from '../core/url.js';
import { lenient, lenientCode, subjectOf, tokenSet } from './answer.js';
import { named, translate } from './errors.js';
import { type Fetch, openCalls, openHttp } from './http.js';
import { identityOf, merged } from './identity.js';
import type { Reply } from './reply.js';

/** Metadata are asked for again after this many milliseconds: endpoints move, if rarely. */
const metadataLife = 6 * 3600 * 1000;
/** And after this many where they cannot be had just now, or where an endpoint answers as if it were none (any more). */
const metadataDoubt = 60 * 1000;
/** A code that lives longer than this is not waited for: seconds. */
const longestCode = 3600;
/** No link to a login page is longer: nobody could type it, nor a camera read it. */
const longestLink = 2048;
/** Configurations that are kept for the next requests: as many as there are connections. */
const mostDesks = 64;
/** What of a request must not be shown. */
const secretParameters = ['refresh_token', 'device_code', 'subject_token'];

/**
 * One issuer over HTTP. Nothing is asked before the first use; metadata (RFC 8414, OpenID Connect Discovery) are asked for
 * once and kept. `secret` undefined: a public client.
 */
export function openIssuer(
  provider: Provider,
  secret: string | undefined,
  clock: Clock,
): Issuer & { readonly http: Http; close(): Promise<void> } {
  const url = issuerOf(provider);
  let http: Promise<ReturnType<typeof openHttp>> | undefined;
  let known: Known | undefined;
  let desks: { readonly of: oidc.ServerMetadata | undefined; readonly free: Desk[] } = { of: undefined, free: [] };
  let asking: Shared<oidc.Configuration> | undefined;
  /** Of the ID tokens that verified; not in the answers themselves, which are written to files. */
  const verified = new WeakMap<TokenSet, Claims>();

  const connect = () => {
    if (http === undefined) {
      http = readCa(provider).then((ca) => openHttp(ca));
      http.catch(() => {
        http = undefined;
      });
    }
    return http;
  };

  /**
   * One discovery for all who ask meanwhile; each can leave at once, and with the last who leaves it is given up. Where
   * there were metadata before, they are gone by until there are others: what refreshes tokens needs them no more than that.
   */
  const metadataFor = async (fetch: Fetch, stop: AbortSignal): Promise<oidc.ServerMetadata> => {
    if (known !== undefined && clock.steady() <= known.until) return known.metadata;
    if (asking === undefined || asking.isOfNoUse)
      asking = new Shared((nobody) => discover(provider, secret, stoppedBy(fetch, nobody)));
    const mine = asking;
    try {
      const metadata = (await mine.wait(stop)).serverMetadata();
      if (asking === mine) {
        const now = clock.steady();
        known = { metadata, asked: now, until: now + metadataLife };
        asking = undefined;
      }
      return metadata;
    } catch (thrown) {
      stop.throwIfAborted();
      if (known === undefined) throw thrown;
      known.until = clock.steady() + metadataDoubt;
      return known.metadata;
    }
  };

  /** They may be others by now: an endpoint that has moved, or one that nobody may ask. */
  const doubt = ({ kind, code }: Failure): void => {
    if (code === strange) known = undefined;
    else if (known !== undefined && (kind === 'protocol' || /^http_4(?:04|05|10)$/.test(code ?? '')))
      known.until = Math.min(known.until, known.asked + metadataDoubt);
  };

  /** Whether an ID token is looked at; it is taken out of all other answers before anybody could. */
  const isVerifiable = (
    { identify }: Pick<TokenRequest, 'identify'>,
    { jwks_uri: keys }: oidc.ServerMetadata,
  ): boolean => identify === true && provider.issuer !== undefined && keys !== undefined;

  /**
   * What a request goes by, and back with it when that is over: made once for each that is under way at the same time, since
   * to make one takes as long as the request, but used by one at a time, since what a request needs of fetch is not shared.
   */
  const prepare = async (request: Asking): Promise<Desk> => {
    const { fetch } = await connect();
    const metadata = await metadataFor(fetch, request.stop);
    if (desks.of !== metadata) desks = { of: metadata, free: [] };
    // What is verified leaves its traces in a configuration.
    const desk = (request.identify ? undefined : desks.free.pop()) ?? openDesk(fetch, metadata);
    desk.request = request;
    desk.verifiable = isVerifiable(request, desk.metadata);
    if (desk.verifiable) oidc.enableNonRepudiationChecks(desk.config);
    return desk;
  };

  const putBack = (desk: Desk): void => {
    if (desk.of !== desks.of || desk.request?.identify || desks.free.length === mostDesks) return;
    desk.request = undefined;
    desks.free.push(desk);
  };

  const openDesk = (fetch: Fetch, of: oidc.ServerMetadata): Desk => {
    const config = configure(provider, secret, of);
    // There is a time limit already.
    config.timeout = 0;
    const desk: Desk = { of, config, metadata: config.serverMetadata(), request: undefined, verifiable: false };
    const { token_endpoint, device_authorization_endpoint } = desk.metadata;
    const [tokenUrl, deviceUrl] = [token_endpoint, device_authorization_endpoint].map(asAsked);
    const ask: Fetch = async (to, options) => {
      const { request, verifiable } = desk;
      if (request === undefined) throw new Error('a request that nobody has made');
      refuseStrange(provider, to);
      const rotation = to === tokenUrl ? request.rotation : undefined;
      rotation?.sending();
      const reply = await fetch(to, { ...options, signal: request.stop }).catch((thrown) => {
        if (thrown instanceof Unsent) rotation?.unchanged(false);
        throw thrown;
      });
      if (rotation && isRefusal(reply)) rotation.unchanged(false);
      // RFC 6749 §5.2 sends a challenge along with the error in JSON, which says more; openid-client would stop at it.
      if (reply.headers.get('content-type')?.includes('json')) reply.headers.delete('www-authenticate');
      if (to === tokenUrl) return rewritten(reply, (body) => keepRotated(body, rotation, verifiable));
      return to === deviceUrl ? rewritten(reply, lenientCode) : reply;
    };
    config[oidc.customFetch] = asFetch(ask);
    return desk;
  };

  const asked = async <T>(
    request: Asking,
    ask: (config: oidc.Configuration, metadata: oidc.ServerMetadata) => Promise<T>,
    ...secrets: readonly string[]
  ): Promise<T> => {
    const { stop } = request;
    let desk: Desk | undefined;
    try {
      stop.throwIfAborted();
      desk = await prepare(request);
      return await ask(desk.config, desk.metadata);
    } catch (thrown) {
      stop.throwIfAborted();
      const failed = translate(thrown, url, secret === undefined ? secrets : [...secrets, secret]);
      doubt(failed.failure);
      throw named(failed, provider.name);
    } finally {
      if (desk) putBack(desk);
    }
  };

  return {
    identifier: provider.issuer,

    token: (grantType, parameters, request) =>
      asked(
        request,
        async (config, metadata) => {
          const sent = momentOf(clock);
          const answer = await oidc.genericGrantRequest(config, grantType, { ...parameters });
          const claims = answer.claims();
          const issued = madeAt(sent, momentOf(clock));
          const token = tokenSet(answer, issued, provider.life, claims && subjectOf(claims));
          if (claims && isVerifiable(request, metadata)) verified.set(token, claims);
          return token;
        },
        ...secretParameters.flatMap((name) => parameters[name] ?? []),
      ),

    identity: (token, request) =>
      asked(
        { stop: request.stop, identify: true },
        async (config, metadata) => {
          refuseElsewhere(provider, metadata);
          const { iss, sub, claims } = identityOf(verified.get(token), {
            issuer: metadata.issuer,
            clientId: provider.clientId,
            now: clock.now(),
            ...(request.nonce !== undefined && { nonce: request.nonce }),
          });
          const endpoint = metadata.userinfo_endpoint;
          if (endpoint === undefined) return { iss, sub, claims, userinfo: 'none' };
          refuseOpen(provider, endpoint);
          oidc.enableNonRepudiationChecks(config);
          const status = statusOf(config, endpoint);
          try {
            const more = await oidc.fetchUserInfo(config, token.accessToken, sub);
            return { iss, sub, claims: merged(claims, more), userinfo: 'merged' };
          } catch (thrown) {
            // RFC 6750 §3.1: the token is not for userinfo, such as one that is for a storage alone.
            if (![401, 403].includes(status.last ?? 0)) throw thrown;
            return { iss, sub, claims, userinfo: 'refused' };
          }
        },
        token.accessToken,
      ),

    device: (parameters, stop) =>
      asked({ stop }, async (config) => {
        if (config.serverMetadata().device_authorization_endpoint === undefined) {
          throw new Failed({
            kind: 'unsupported',
            what: `${url} offers no device flow: its metadata name no device_authorization_endpoint`,
            hint: `if it has one all the same, set ${provider.name}_DEVICE_URL`,
          });
        }
        // Else a person would approve what then comes to nothing.
        refuseElsewhere(provider, config.serverMetadata(), loginEndpoints);
        const answer = await oidc.initiateDeviceAuthorization(config, { ...parameters });
        return deviceCode(answer, clock, url);
      }),

    revoke: (token, stop) =>
      asked(
        { stop },
        async (config) => {
          if (config.serverMetadata().revocation_endpoint === undefined) return false;
          await oidc.tokenRevocation(config, token, { token_type_hint: 'refresh_token' });
          return true;
        },
        token,
      ),

    scopes: (stop) =>
      asked({ stop }, async (config) => {
        const supported: unknown = config.serverMetadata().scopes_supported;
        return Array.isArray(supported) ? supported.filter((scope) => typeof scope === 'string') : undefined;
      }),

    http: async (to, call) => {
      try {
        return await openCalls((await connect()).fetch)(to, call);
      } catch (thrown) {
        throw thrown instanceof Failed ? named(thrown, provider.name) : thrown;
      }
    },

    close: async () => {
      await (await http?.catch(() => undefined))?.close();
    },
  };
}

type Asking = Pick<TokenRequest, 'stop' | 'rotation' | 'identify'>;

/** A configuration of openid-client, whose fetch does what `request` needs. */
interface Desk {
  /** The metadata that it was made with. */
  readonly of: oidc.ServerMetadata;
  readonly config: oidc.Configuration;
  readonly metadata: oidc.ServerMetadata;
  request: Asking | undefined;
  verifiable: boolean;
}

/** The last metadata that were had; times on the steady clock. */
interface Known {
  readonly metadata: oidc.ServerMetadata;
  readonly asked: number;
  until: number;
}

/** Those that a login asks, one after the other. */
const loginEndpoints = ['device_authorization_endpoint', 'token_endpoint', 'jwks_uri'];

/** A Reply is all that openid-client needs. */
const asFetch = (fetch: Fetch): oidc.CustomFetch => fetch as unknown as oidc.CustomFetch;

/**
 * `stop` must not live for long: on Node 20 AbortSignal.any leaves something on its sources for ever (80 bytes a call,
 * measured on 20.20.2).
 */
const stoppedBy =
  (fetch: Fetch, stop: AbortSignal): Fetch =>
  (to, options) =>
    fetch(to, { ...options, signal: options.signal ? AbortSignal.any([stop, options.signal]) : stop });

/** openid-client normalises the endpoints in the metadata before it asks there. */
const asAsked = (endpoint: string | undefined): string | undefined =>
  endpoint === undefined ? undefined : new URL(endpoint).href;

/** A good answer with another body, where it has JSON. */
async function rewritten(reply: Reply, change: (body: unknown) => unknown): Promise<Reply> {
  if (reply.status !== 200) return reply;
  const body = reply.peek();
  return body === undefined ? reply : reply.with(await change(body));
}

/** Makes a new refresh token safe before anybody can find fault with the answer it came in. */
async function keepRotated(body: unknown, rotation: Rotation | undefined, keepIdToken: boolean): Promise<unknown> {
  const { refresh_token: token, access_token: access, error } = (body ?? {}) as Record<string, unknown>;
  if (typeof token === 'string' && token !== '') await rotation?.keep(token);
  // Some refuse with 200.
  else if (typeof access === 'string' || typeof error === 'string') rotation?.unchanged(typeof access === 'string');
  const kept = lenient(body, keepIdToken);
  // What is nested so deeply that it cannot be written tells nobody who somebody is.
  return keepIdToken ? JSON.parse(JSON.stringify(kept)) : kept;
}

/** RFC 6749 §5.2: the token endpoint's own word that it has not done what it was asked. */
function isRefusal(reply: Reply): boolean {
  if (reply.status < 400 || reply.status >= 500) return false;
  return typeof (reply.peek() as { error?: unknown } | null | undefined)?.error === 'string';
}

async function discover(provider: Provider, secret: string | undefined, fetch: Fetch): Promise<oidc.Configuration> {
  if (provider.issuer === undefined)
    return configure(provider, secret, { issuer: new URL(provider.tokenUrl ?? '').origin });
  const server = new URL(provider.issuer);
  const ask = (algorithm: 'oidc' | 'oauth2') =>
    oidc.discovery(server, provider.clientId, undefined, undefined, {
      algorithm,
      execute: isLoopback(server) ? [oidc.allowInsecureRequests] : [],
      [oidc.customFetch]: asFetch(fetch),
    });
  try {
    return await ask('oidc');
  } catch (thrown) {
    const failed = translate(thrown, provider.issuer);
    // Only OpenID providers have /.well-known/openid-configuration; RFC 8414 has a document of its own.
    if (failed.failure.code !== 'http_404') throw failed;
    return await ask('oauth2');
  }
}

/** The issuer's metadata with what the administrator set by hand on top. */
function configure(provider: Provider, secret: string | undefined, metadata: oidc.ServerMetadata): oidc.Configuration {
  const merged: oidc.ServerMetadata = {
    ...metadata,
    ...(provider.tokenUrl !== undefined && { token_endpoint: provider.tokenUrl }),
    ...(provider.deviceUrl !== undefined && { device_authorization_endpoint: provider.deviceUrl }),
    ...(provider.revocationUrl !== undefined && { revocation_endpoint: provider.revocationUrl }),
    ...asymmetricOnly(metadata, 'id_token_signing_alg_values_supported', 'userinfo_signing_alg_values_supported'),
  };
  const endpoints = [
    merged.token_endpoint,
    merged.device_authorization_endpoint,
    merged.revocation_endpoint,
    merged.jwks_uri,
  ];
  for (const endpoint of endpoints) if (endpoint !== undefined) refuseOpen(provider, endpoint);
  const config = new oidc.Configuration(merged, provider.clientId, undefined, authentication(provider, secret, merged));
  if (endpoints.some((endpoint) => endpoint?.startsWith('http:'))) oidc.allowInsecureRequests(config);
  return config;
}

/** RFC 7518 §3.1, RFC 8037: what only the issuer can make. No `none`, and no HS256, whose key others have as well. */
const asymmetric = /^(?:[RPE]S(?:256|384|512)|EdDSA|Ed25519)$/;

/** Of the algorithms that the issuer says it signs with. */
function asymmetricOnly<K extends keyof oidc.ServerMetadata>(metadata: oidc.ServerMetadata, ...keys: readonly K[]) {
  const lists = keys.flatMap((key): [K, readonly string[]][] => {
    const given: unknown = metadata[key];
    if (!Array.isArray(given)) return [];
    return [[key, given.filter((alg) => typeof alg === 'string' && asymmetric.test(alg))]];
  });
  return Object.fromEntries(lists);
}

/** Throws Failed for an endpoint that others could listen to. */
function refuseOpen(provider: Provider, endpoint: string): void {
  // An issuer elsewhere has no business with the servers of this machine: what is sent there could be anybody's to read.
  const local = isLoopback(new URL(provider.issuer ?? provider.tokenUrl ?? ''));
  const byHand = [provider.tokenUrl, provider.deviceUrl, provider.revocationUrl];
  if (isSafeUrl(endpoint) && (local || !endpoint.startsWith('http:') || byHand.includes(endpoint))) return;
  throw new Failed({
    kind: 'protocol',
    what: `the metadata of ${issuerOf(provider)} name an endpoint without https: ${plain(endpoint)}`,
    hint: 'whoever runs the issuer must mend this',
  });
}

/** Throws Failed for the first of these endpoints that is elsewhere, and that nobody has configured. */
function refuseElsewhere(provider: Provider, metadata: oidc.ServerMetadata, names?: readonly string[]): void {
  for (const { endpoint } of strangeEndpoints(provider, metadata, names)) refuseStrange(provider, endpoint);
}

/** Looks on at what `endpoint` answers. */
function statusOf(config: oidc.Configuration, endpoint: string): { last?: number } {
  const seen: { last?: number } = {};
  const fetch = config[oidc.customFetch] as oidc.CustomFetch;
  config[oidc.customFetch] = async (to, options) => {
    const response = await fetch(to, options);
    if (to === asAsked(endpoint)) seen.last = response.status;
    return response;
  };
  return seen;
}

function authentication(
  provider: Provider,
  secret: string | undefined,
  metadata: oidc.ServerMetadata,
): oidc.ClientAuth {
  if (secret === undefined) return oidc.None();
  const offered = metadata.token_endpoint_auth_methods_supported;
  const basic =
    provider.clientAuth === undefined
      ? (offered?.includes('client_secret_basic') ?? true)
      : provider.clientAuth === 'basic';
  return basic ? oidc.ClientSecretBasic(secret) : oidc.ClientSecretPost(secret);
}

function deviceCode(
  answer: Awaited<ReturnType<typeof oidc.initiateDeviceAuthorization>>,
  clock: Clock,
  url: string,
): DeviceCode {
  const { verification_uri: link, verification_uri_complete: linkComplete } = answer;
  for (const shown of linkComplete === undefined ? [link] : [link, linkComplete]) {
    if (isSafeUrl(shown) && shown.length <= longestLink) continue;
    throw new Failed({
      kind: 'protocol',
      what: `${new URL(url).origin} sent a login link that is ${isSafeUrl(shown) ? 'too long' : 'not https'}: ${plain(shown)}`,
      hint: 'do not open it; whoever runs the issuer must mend this',
    });
  }
  const userCode = plain(answer.user_code, 64);
  if (userCode === '') {
    throw new Failed({
      kind: 'protocol',
      what: `${new URL(url).origin} sent a code that nobody can type`,
      hint: 'whoever runs the issuer must mend this',
    });
  }
  return {
    deviceCode: answer.device_code,
    userCode,
    link: new URL(link).href,
    ...(linkComplete !== undefined && { linkComplete: new URL(linkComplete).href }),
    expires: later(clock.now(), Math.min(answer.expires_in, longestCode)),
    ...(answer.interval !== undefined && { interval: answer.interval }),
  };
}

async function readCa({ caFile, name }: Provider): Promise<string | undefined> {
  if (caFile === undefined) return undefined;
  try {
    const pem = await readPem(caFile);
    if (holdsCertificates(pem)) return pem;
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    throw new Failed(
      { kind: 'config', what: `the CA file ${caFile} cannot be read (${code})`, hint: `check ${name}_CA_FILE` },
      { cause },
    );
  }
  throw new Failed({
    kind: 'config',
    what: `the CA file ${caFile} holds no certificate`,
    hint: `check ${name}_CA_FILE: it must be PEM`,
  });
}

/** A file, or a folder of them as grid sites have (`/etc/grid-security/certificates`: `*.pem`, `<hash>.0`). */
async function readPem(path: string): Promise<string> {
  if (!(await stat(path)).isDirectory()) return readFile(path, 'utf8');
  const names = (await readdir(path)).filter((name) => /\.(?:pem|crt|\d)$/.test(name));
  const all = await Promise.all(names.map((name) => readFile(join(path, name), 'utf8').catch(() => '')));
  return all.filter(holdsCertificates).join('\n');
}

/** TLS passes over what is no certificate without a word; then each connection fails, and looks like the issuer's fault. */
function holdsCertificates(pem: string): boolean {
  const found = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  try {
    return found.map((one) => new X509Certificate(one)).length > 0;
  } catch {
    return false;
  }
}

function isLoopback(url: URL): boolean {
  return url.protocol === 'http:' && isSafeUrl(url.href);
}
