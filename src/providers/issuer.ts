import { readFile } from 'node:fs/promises';
import * as oidc from 'openid-client';
import { Failed } from '../core/failure.js';
import type { Clock, DeviceCode, Issuer, TokenRequest } from '../core/ports.js';
import { issuerOf, type Provider } from '../core/provider.js';
import { plain } from '../core/text.js';
import { later } from '../core/time.js';
import { isSafeUrl } from '../core/url.js';
import { lenient, subjectOf, tokenSet } from './answer.js';
import { translate } from './errors.js';
import { type Fetch, openHttp } from './http.js';

/** Metadata are asked for again after this many milliseconds: endpoints move, if rarely. */
const metadataLife = 6 * 3600 * 1000;
/** A code that lives longer than this is not waited for: seconds. */
const longestCode = 3600;

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
  let known: { readonly config: Promise<oidc.Configuration>; readonly until: number } | undefined;

  const connect = () => {
    http ??= readCa(provider).then(openHttp);
    return http;
  };

  /** A configuration of its own for every request: what a request needs of fetch is not shared with others. */
  const prepare = async (request: Pick<TokenRequest, 'stop' | 'rotated' | 'identify'>): Promise<oidc.Configuration> => {
    const { fetch } = await connect();
    if (known === undefined || known.until < clock.steady()) {
      const config = discover(provider, secret, fetch);
      known = { config, until: clock.steady() + metadataLife };
      config.catch(() => {
        known = undefined;
      });
    }
    const metadata = (await waitFor(known.config, request.stop)).serverMetadata();
    const config = configure(provider, secret, metadata);
    const verifiable = request.identify === true && provider.issuer !== undefined && metadata.jwks_uri !== undefined;
    if (verifiable) oidc.enableNonRepudiationChecks(config);
    config[oidc.customFetch] = async (to, options) => {
      const stop = options.signal ? AbortSignal.any([request.stop, options.signal]) : request.stop;
      const response = await fetch(to, { ...options, signal: stop });
      return to === metadata.token_endpoint ? keepRotated(response, request.rotated, verifiable) : response;
    };
    return config;
  };

  const asked = async <T>(request: TokenRequest, ask: (config: oidc.Configuration) => Promise<T>): Promise<T> => {
    try {
      request.stop.throwIfAborted();
      return await ask(await prepare(request));
    } catch (thrown) {
      request.stop.throwIfAborted();
      throw translate(thrown, url);
    }
  };

  return {
    token: (grantType, parameters, request) =>
      asked(request, async (config) => {
        const answer = await oidc.genericGrantRequest(config, grantType, { ...parameters });
        const claims = answer.claims();
        return tokenSet(answer, clock.now(), provider.life, claims && subjectOf(claims));
      }),

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
      asked({ stop }, async (config) => {
        if (config.serverMetadata().revocation_endpoint === undefined) return false;
        await oidc.tokenRevocation(config, token, { token_type_hint: 'refresh_token' });
        return true;
      }),

    scopes: (stop) => asked({ stop }, async (config) => config.serverMetadata().scopes_supported),

    close: async () => {
      await (await http)?.close();
    },
  };
}

/** Makes a new refresh token safe before anybody can find fault with the answer it came in. */
async function keepRotated(
  response: Response,
  rotated: TokenRequest['rotated'],
  keepIdToken: boolean,
): Promise<Response> {
  if (response.status !== 200) return response;
  const text = await response.text();
  const again = (body: string) => new Response(body, { status: 200, headers: response.headers });
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return again(text);
  }
  const token = (body as { refresh_token?: unknown } | null)?.refresh_token;
  if (rotated && typeof token === 'string' && token !== '') await rotated(token);
  return again(JSON.stringify(lenient(body, keepIdToken)));
}

/** Not stopped by whoever asked first: others may wait for the same answer. fetch has a time limit of its own. */
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
  const open = endpoints.find((endpoint) => endpoint !== undefined && !isSafeUrl(endpoint));
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
    if (isSafeUrl(shown)) continue;
    throw new Failed({
      kind: 'protocol',
      what: `${new URL(url).origin} sent a login link that is not https: ${plain(shown)}`,
      hint: 'do not open it; whoever runs the issuer must mend this',
    });
  }
  return {
    deviceCode: answer.device_code,
    userCode: plain(answer.user_code, 64),
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
    if (pem.includes('-----BEGIN CERTIFICATE-----')) return pem;
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
