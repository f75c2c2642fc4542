import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import * as oidc from 'openid-client';
import { Failed } from '../core/failure.js';
import type { Clock, DeviceCode, Issuer, TokenRequest } from '../core/ports.js';
import { issuerOf, type Provider } from '../core/provider.js';
import { plain } from '../core/text.js';
import { later } from '../core/time.js';
import { isSafeUrl } from '../core/url.js';
import { lenient, lenientCode, subjectOf, tokenSet } from './answer.js';
import { named, translate } from './errors.js';
import { type Fetch, openHttp } from './http.js';

/** Metadata are asked for again after this many milliseconds: endpoints move, if rarely. */
const metadataLife = 6 * 3600 * 1000;
/** A code that lives longer than this is not waited for: seconds. */
const longestCode = 3600;
/** No link to a login page is longer: nobody could type it, nor a camera read it. */
const longestLink = 2048;
/** What of a request must not be shown. */
const secretParameters = ['refresh_token', 'device_code'];

/**
 * One issuer over HTTP. Nothing is asked before the first use; metadata (RFC 8414, OpenID Connect Discovery) are asked for
 * once and kept. `secret` undefined: a public client.
 */
export function openIssuer(
  provider: Provider,
  secret: string | undefined,
  clock: Clock,
): Issuer & { close(): Promise<void> } {
  const url = issuerOf(provider);
  let http: Promise<ReturnType<typeof openHttp>> | undefined;
  let known: Known | undefined;

  const connect = () => {
    if (http === undefined) {
      http = readCa(provider).then(openHttp);
      http.catch(() => {
        http = undefined;
      });
    }
    return http;
  };

  /** One discovery for all who ask meanwhile; each can leave at once, and with the last who leaves it is given up. */
  const metadataFor = async (fetch: Fetch, stop: AbortSignal): Promise<oidc.ServerMetadata> => {
    if (known === undefined || known.until < clock.steady()) {
      const nobody = new AbortController();
      const config = discover(provider, secret, stoppedBy(fetch, nobody.signal));
      const mine: Known = { config, until: clock.steady() + metadataLife, nobody, waiting: 0 };
      known = mine;
      config.catch(() => {
        if (known === mine) known = undefined;
      });
    }
    const shared = known;
    shared.waiting++;
    try {
      return (await waitFor(shared.config, stop)).serverMetadata();
    } finally {
      shared.waiting--;
      if (shared.waiting === 0 && stop.aborted) {
        shared.nobody.abort();
        if (known === shared) known = undefined;
      }
    }
  };

  /** A configuration of its own for every request: what a request needs of fetch is not shared with others. */
  const prepare = async (request: Pick<TokenRequest, 'stop' | 'rotated' | 'identify'>): Promise<oidc.Configuration> => {
    const { fetch } = await connect();
    const config = configure(provider, secret, await metadataFor(fetch, request.stop));
    const metadata = config.serverMetadata();
    const [tokenUrl, deviceUrl] = [metadata.token_endpoint, metadata.device_authorization_endpoint].map(asAsked);
    const verifiable = request.identify === true && provider.issuer !== undefined && metadata.jwks_uri !== undefined;
    if (verifiable) oidc.enableNonRepudiationChecks(config);
    const stoppable = stoppedBy(fetch, request.stop);
    config[oidc.customFetch] = async (to, options) => {
      const response = await stoppable(to, options);
      // RFC 6749 §5.2 sends a challenge along with the error in JSON, which says more; openid-client would stop at it.
      if (response.headers.get('content-type')?.includes('json')) response.headers.delete('www-authenticate');
      if (to === tokenUrl) return rewritten(response, (body) => keepRotated(body, request.rotated, verifiable));
      return to === deviceUrl ? rewritten(response, lenientCode) : response;
    };
    return config;
  };

  const asked = async <T>(
    request: TokenRequest,
    ask: (config: oidc.Configuration) => Promise<T>,
    ...secrets: readonly string[]
  ): Promise<T> => {
    const { stop } = request;
    // On Node 20 AbortSignal.any leaves something on its sources for ever (80 bytes a call, measured on 20.20.2), and the
    // daemon's stop lives for months: each request has a signal of its own.
    const own = new AbortController();
    const end = () => own.abort(stop.reason);
    try {
      stop.throwIfAborted();
      stop.addEventListener('abort', end, { once: true });
      return await ask(await prepare({ ...request, stop: own.signal }));
    } catch (thrown) {
      stop.throwIfAborted();
      throw named(translate(thrown, url, secret === undefined ? secrets : [...secrets, secret]), provider.name);
    } finally {
      stop.removeEventListener('abort', end);
    }
  };

  return {
    token: (grantType, parameters, request) =>
      asked(
        request,
        async (config) => {
          const answer = await oidc.genericGrantRequest(config, grantType, { ...parameters });
          const claims = answer.claims();
          return tokenSet(answer, clock.now(), provider.life, claims && subjectOf(claims));
        },
        ...secretParameters.flatMap((name) => parameters[name] ?? []),
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

    close: async () => {
      await (await http?.catch(() => undefined))?.close();
    },
  };
}

/** Metadata that were asked for, or are being asked for. */
interface Known {
  readonly config: Promise<oidc.Configuration>;
  /** On the steady clock. */
  readonly until: number;
  /** Aborted when nobody waits for them any more. */
  readonly nobody: AbortController;
  waiting: number;
}

const stoppedBy =
  (fetch: Fetch, stop: AbortSignal): Fetch =>
  (to, options) =>
    fetch(to, { ...options, signal: options.signal ? AbortSignal.any([stop, options.signal]) : stop });

/** openid-client normalises the endpoints in the metadata before it asks there. */
const asAsked = (endpoint: string | undefined): string | undefined =>
  endpoint === undefined ? undefined : new URL(endpoint).href;

/** A good answer with another body, where it has JSON. */
async function rewritten(response: Response, change: (body: unknown) => unknown): Promise<Response> {
  if (response.status !== 200) return response;
  const text = await response.text();
  const again = (body: string) => new Response(body, { status: 200, headers: response.headers });
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return again(text);
  }
  return again(JSON.stringify(await change(body)));
}

/** Makes a new refresh token safe before anybody can find fault with the answer it came in. */
async function keepRotated(body: unknown, rotated: TokenRequest['rotated'], keepIdToken: boolean): Promise<unknown> {
  const token = (body as { refresh_token?: unknown } | null)?.refresh_token;
  if (rotated && typeof token === 'string' && token !== '') await rotated(token);
  return lenient(body, keepIdToken);
}

async function discover(provider: Provider, secret: string | undefined, fetch: Fetch): Promise<oidc.Configuration> {
  if (provider.issuer === undefined)
    return configure(provider, secret, { issuer: new URL(provider.tokenUrl ?? '').origin });
  const server = new URL(provider.issuer);
  const ask = (algorithm: 'oidc' | 'oauth2') =>
    oidc.discovery(server, provider.clientId, undefined, undefined, {
      algorithm,
      execute: isLoopback(server) ? [oidc.allowInsecureRequests] : [],
      [oidc.customFetch]: fetch,
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
  };
  const endpoints = [
    merged.token_endpoint,
    merged.device_authorization_endpoint,
    merged.revocation_endpoint,
    merged.jwks_uri,
  ];
  // An issuer elsewhere has no business with the servers of this machine: what is sent there could be anybody's to read.
  const local = isLoopback(new URL(provider.issuer ?? provider.tokenUrl ?? ''));
  const byHand = [provider.tokenUrl, provider.deviceUrl, provider.revocationUrl];
  const unsafe = (endpoint: string) =>
    !isSafeUrl(endpoint) || (!local && endpoint.startsWith('http:') && !byHand.includes(endpoint));
  const open = endpoints.find((endpoint) => endpoint !== undefined && unsafe(endpoint));
  if (open !== undefined) {
    throw new Failed({
      kind: 'protocol',
      what: `the metadata of ${issuerOf(provider)} name an endpoint without https: ${plain(open)}`,
      hint: 'whoever runs the issuer must mend this',
    });
  }
  const config = new oidc.Configuration(merged, provider.clientId, undefined, authentication(provider, secret, merged));
  if (endpoints.some((endpoint) => endpoint?.startsWith('http:'))) oidc.allowInsecureRequests(config);
  return config;
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
    const pem = await readFile(caFile, 'utf8');
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

/** TLS passes over what is no certificate without a word; then each connection fails, and looks like the issuer's fault. */
function holdsCertificates(pem: string): boolean {
  const found = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  try {
    return found.map((one) => new X509Certificate(one)).length > 0;
  } catch {
    return false;
  }
}

/** Shares one discovery among many that wait for it, each able to leave at once. */
function waitFor<T>(shared: Promise<T>, stop: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const leave = () => reject(stop.reason);
    if (stop.aborted) return leave();
    stop.addEventListener('abort', leave, { once: true });
    shared.then(resolve, reject).finally(() => stop.removeEventListener('abort', leave));
  });
}

function isLoopback(url: URL): boolean {
  return url.protocol === 'http:' && isSafeUrl(url.href);
}
