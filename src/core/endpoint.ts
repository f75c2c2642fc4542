import { Failed } from './failure.js';
import { issuerOf, type Provider } from './provider.js';
import { plain } from './text.js';

/** Those by which an issuer tells who somebody is: RFC 8414 §2, RFC 8628 §4, OpenID Connect Discovery §3. */
export const telling: readonly string[] = [
  'token_endpoint',
  'device_authorization_endpoint',
  'jwks_uri',
  'userinfo_endpoint',
];

/**
 * Issuers, by host, that are known to have endpoints at hosts of theirs with other names. Google:
 * https://accounts.google.com/.well-known/openid-configuration.
 */
const theirs: Readonly<Record<string, readonly string[]>> = {
  'accounts.google.com': ['oauth2.googleapis.com', 'openidconnect.googleapis.com', 'www.googleapis.com'],
};

/**
 * Whether requests may go there: to the issuer's own host (and port), to one that the configuration names or that is known
 * for this issuer, or to an endpoint that the configuration gives in full. An issuer's metadata alone open no other: they
 * are often files that more people can write than can run the issuer, and what follows them are client secrets and refresh
 * tokens.
 */
export function mayBeAsked(provider: Provider, endpoint: string): boolean {
  const { issuer, tokenUrl, deviceUrl, revocationUrl, endpointHosts = [] } = provider;
  const byHand = [tokenUrl, deviceUrl, revocationUrl].flatMap((url) => url ?? []);
  if (byHand.some((url) => url === endpoint || hrefOf(url) === endpoint)) return true;
  const host = hostOf(endpoint);
  if (host === '') return false;
  const own = issuer === undefined ? [] : [hostOf(issuer)];
  return [...own, ...own.flatMap((one) => theirs[one] ?? []), ...endpointHosts].some(
    (one) => one.toLowerCase() === host,
  );
}

/** Those of these endpoints in an issuer's metadata that may not be asked, see {@link mayBeAsked}; `host` '': no URL. */
export function strangeEndpoints(
  provider: Provider,
  metadata: Readonly<Record<string, unknown>>,
  names: readonly string[] = telling,
): readonly { readonly endpoint: string; readonly host: string }[] {
  return names.flatMap((name) => {
    const endpoint = metadata[name];
    if (typeof endpoint !== 'string' || mayBeAsked(provider, endpoint)) return [];
    return [{ endpoint, host: hostOf(endpoint) }];
  });
}

/** The setting with which requests may go to these hosts as well. */
export const allowing = ({ name, endpointHosts = [] }: Provider, hosts: readonly string[]): string =>
  `${name}_ENDPOINT_HOSTS = ${[...new Set([...endpointHosts, ...hosts])].map((host) => plain(host, 100)).join(' ')}`;

/** Throws Failed for one that may not be asked. */
export function refuseStrange(provider: Provider, endpoint: string): void {
  if (mayBeAsked(provider, endpoint)) return;
  const host = hostOf(endpoint);
  throw new Failed({
    kind: 'protocol',
    what: `the metadata of ${issuerOf(provider)} name an endpoint at another host: ${plain(endpoint)}`,
    hint:
      host === ''
        ? 'whoever runs the issuer must mend this'
        : `if that is the issuer’s too, set ${allowing(provider, [host])}`,
    code: strange,
  });
}

/** The code of {@link refuseStrange}'s failures. */
export const strange = 'endpoint_elsewhere';

const hostOf = (url: string): string => {
  try {
    return new URL(url).host;
  } catch {
    return '';
  }
};

const hrefOf = (url: string): string => {
  try {
    return new URL(url).href;
  } catch {
    return url;
  }
};
