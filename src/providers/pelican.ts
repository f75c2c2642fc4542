import { Failed, failureOf } from '../core/failure.js';
import type { Answer, Clock, Http, Issuer } from '../core/ports.js';
import type { Provider } from '../core/provider.js';
import { brokenReply } from '../core/reply.js';
import { waitFor } from '../core/shared.js';
import { plain } from '../core/text.js';
import { isSafeUrl } from '../core/url.js';
import { openIssuer } from './issuer.js';

/** The federation is asked again after this long: milliseconds. */
const knownFor = 3600 * 1000;
/** And after this long when it did not answer: with the issuer that it named before it goes on meanwhile. */
const triedAgain = 60 * 1000;

type Closable = ReturnType<typeof openIssuer>;

/** The issuer of a provider, whether the configuration names it or its Pelican federation does. */
export function openAny(provider: Provider, secret: string | undefined, clock: Clock): Closable {
  const { namespace, issuer, tokenUrl } = provider;
  return namespace === undefined || issuer !== undefined || tokenUrl !== undefined
    ? openIssuer(provider, secret, clock)
    : openPelican(provider, namespace, secret, clock);
}

/**
 * The issuer that a federation's director names for a prefix (`namespace`: `pelican://federation/prefix`). That comes from
 * the federation which the administrator has configured, and never from a token.
 */
function openPelican(provider: Provider, namespace: string, secret: string | undefined, clock: Clock): Closable {
  const base = openIssuer(provider, secret, clock);
  const stop = new AbortController();
  let known: { readonly identifier: string; readonly issuer: Closable } | undefined;
  let until = 0;
  let asking: Promise<Closable> | undefined;

  const ask = async (): Promise<Closable> => {
    try {
      const identifier = await issuerFor(provider.name, namespace, base.http, clock, stop.signal);
      until = clock.steady() + knownFor;
      if (known?.identifier === identifier) return known.issuer;
      void known?.issuer.close();
      known = { identifier, issuer: openIssuer({ ...provider, issuer: identifier }, secret, clock) };
      return known.issuer;
    } catch (thrown) {
      if (known === undefined || failureOf(thrown)?.kind !== 'transient') throw thrown;
      until = clock.steady() + triedAgain;
      return known.issuer;
    }
  };
  const now = (leave: AbortSignal): Promise<Closable> => {
    if (known !== undefined && clock.steady() < until) return Promise.resolve(known.issuer);
    if (asking === undefined) {
      const mine = ask();
      asking = mine;
      const done = () => {
        asking = undefined;
      };
      mine.then(done, done);
    }
    return waitFor(asking, leave);
  };

  return {
    get identifier() {
      return known?.identifier;
    },
    token: async (grantType, parameters, request) => (await now(request.stop)).token(grantType, parameters, request),
    identity: async (token, request) => (await now(request.stop)).identity(token, request),
    device: async (parameters, leave) => (await now(leave)).device(parameters, leave),
    revoke: async (token, leave) => (await now(leave)).revoke(token, leave),
    scopes: async (leave) => (await now(leave)).scopes(leave),
    http: base.http,
    close: async () => {
      stop.abort(new Error('the issuer is closed'));
      await Promise.all([base.close(), known?.issuer.close()]);
    },
  } satisfies Issuer & { http: Http; close(): Promise<void> };
}

/** Asks the federation for its director, and that for the issuer of the prefix. Throws Failed. */
async function issuerFor(
  name: string,
  namespace: string,
  http: Http,
  clock: Clock,
  stop: AbortSignal,
): Promise<string> {
  const [, host = '', path = '/'] = /^pelican:\/\/([^/]+)(\/.*)?$/.exec(namespace) ?? [];
  const federation = `https://${host}`;
  const call = { method: 'GET', headers: { accept: 'application/json' }, stop } as const;
  const wrong = (kind: 'config' | 'protocol', what: string) =>
    new Failed({ kind, what, hint: `check ${name}_PELICAN_URL and ${name}_PELICAN_PREFIX, or set ${name}_ISSUER` });

  const described = await http(`${federation}/.well-known/pelican-configuration`, call);
  const broken = brokenReply(federation, described, clock.now());
  if (broken) throw new Failed(broken);
  const { director_endpoint: named } = described.body as { readonly director_endpoint?: unknown };
  if (described.status !== 200 || typeof named !== 'string' || !isHttps(named))
    throw wrong('protocol', `${federation} names no director (HTTP ${described.status})`);
  const director = plain(new URL(named).href, 300);

  // Of the origin, and without looking whether there is an object of that name: it is the prefix of many.
  const prefix = encodeURI(path.replace(/\/+$/, '') || '/');
  const base = director.replace(/\/+$/, '');
  const answer = await http(`${base}/api/v1.0/director/origin${prefix}?skipstat&redirect=false`, call);
  const issuers = issuersIn(answer.headers);
  if (issuers.length === 0) {
    const failure = answer.status >= 300 && answer.status < 400 ? undefined : brokenUnlessTold(director, answer, clock);
    if (failure) throw new Failed(failure);
    throw wrong('config', `${director} knows no issuer for ${plain(path)} (HTTP ${answer.status}): ${why(answer)}`);
  }
  const [issuer = ''] = issuers;
  if (issuers.length > 1) throw wrong('config', `${director} names several issuers for ${plain(path)}`);
  if (!isHttps(issuer)) throw wrong('protocol', `${director} names an issuer without https: ${plain(issuer)}`);
  return issuer;
}

/** A director answers to this without a body, or in JSON when it refuses. */
function brokenUnlessTold(director: string, answer: Answer, clock: Clock) {
  return answer.status === 200 ? undefined : brokenReply(new URL(director).origin, answer, clock.now());
}

const why = ({ status, body }: Answer): string => {
  const said = plain((body as { msg?: unknown } | undefined)?.msg);
  return said !== '' ? said : status === 404 ? 'there is no such prefix' : 'the namespace may be a public one';
};

/**
 * The one that gives tokens for the namespace, where the director tells it apart; else those whose tokens it takes
 * (PelicanPlatform/pelican, server_structs/director.go).
 */
function issuersIn(headers: Answer['headers']): readonly string[] {
  const valuesOf = (name: string) =>
    (headers[name] ?? '').split(',').flatMap((part) => /^\s*issuer=(\S+)\s*$/.exec(part)?.[1] ?? []);
  const giving = valuesOf('x-pelican-token-generation');
  return [...new Set(giving.length > 0 ? giving.slice(0, 1) : valuesOf('x-pelican-authorization'))];
}

const isHttps = (url: string): boolean => url.startsWith('https://') && isSafeUrl(url);
