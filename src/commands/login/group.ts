import { againFor } from '../../core/again.js';
import type { Config } from '../../core/config.js';
import { Failed } from '../../core/failure.js';
import { inFull } from '../../core/match.js';
import { parseStem, stem } from '../../core/names.js';
import { anyService, type Flow, findProvider, type Provider } from '../../core/provider.js';
import type { ServiceRequest } from '../../core/request.js';
import { type Scopes, sameScopes, spaced } from '../../core/scopes.js';
import type { Wish } from '../../core/several.js';
import { plain } from '../../core/text.js';
import type { Group } from './steps.js';

/** A request, and who makes it: an option, a submit file, the nodes of a DAG. */
export interface Asked {
  readonly request: ServiceRequest;
  readonly where: string;
}

interface Grouped {
  /** Those that a login is for, by provider, in the order in which they come. */
  readonly groups: readonly Group[];
  /** Of the others that are ours, why there is none: a line for each. */
  readonly passedOver: readonly string[];
}

/**
 * Whose each request is; services of nobody here are left out. Throws Failed('usage') where two want one credential to be
 * different things.
 */
export function groupsOf(
  asked: readonly Asked[],
  { providers, others }: Pick<Config, 'providers' | 'others'>,
): Grouped {
  const found = new Map<string, { readonly provider: Provider; readonly wish: Wish; readonly where: string }>();
  const passedOver = new Set<string>();
  for (const { request, where } of asked) {
    const mine = whose(request, where, providers);
    if (mine === undefined || (mine.provider.name === anyService && others.some((name) => same(name, request.service))))
      continue;
    const { provider, handle } = mine;
    if (provider.flow !== 'device') {
      passedOver.add(`${stem(request)}: ${noLogin(provider.flow, request)}`);
      continue;
    }
    const { scopes, audience } = request;
    const wish: Wish = {
      ...(handle !== undefined && { handle }),
      ...(scopes && { scopes }),
      ...(audience !== undefined && { audience }),
    };
    const key = stem({ service: provider.name, ...(handle !== undefined && { handle }) });
    const other = found.get(key);
    if (other) checkSame(key, { wish, where }, other, provider);
    else found.set(key, { provider, wish, where });
  }
  const groups = new Map<Provider, Wish[]>();
  for (const { provider, wish } of found.values()) groups.set(provider, [...(groups.get(provider) ?? []), wish]);
  return {
    groups: [...groups].map(([provider, wishes]) => ({ provider, wishes })),
    passedOver: [...passedOver],
  };
}

/** By the name of the file that jobs find: `dune_production` may be a service, or a handle of `dune`. */
function whose(
  request: ServiceRequest,
  where: string,
  providers: ReadonlyMap<string, Provider>,
): { readonly provider: Provider; readonly handle?: string } | undefined {
  const name = stem(request);
  const read = parseStem(name, providers.keys());
  const provider = read && providers.get(read.provider);
  if (read === undefined || provider === undefined) return undefined;
  const named = findProvider(providers, request.service);
  if (provider.flow !== 'device') return { provider };
  if (named && named !== provider && named.flow === 'device') {
    throw usage(
      `${where}: the handle "${request.handle}" of ${named.name} would be taken for the provider ${provider.name}`,
      'choose another handle',
    );
  }
  if (read.service !== provider.name) {
    throw usage(
      `${where}: jobs would look for ${name}.use, but the service is called ${provider.name} here`,
      `write ${provider.name} instead of ${read.service}`,
    );
  }
  return { provider, ...(read.handle !== undefined && { handle: read.handle }) };
}

function checkSame(
  name: string,
  one: { readonly wish: Wish; readonly where: string },
  other: { readonly wish: Wish; readonly where: string },
  provider: Provider,
): void {
  const [a, b] = [inFull(other.wish, provider), inFull(one.wish, provider)];
  const differ = (what: string, first: string, second: string): Failed =>
    usage(
      `${name} is asked for with different ${what}: ${first} (${other.where}) and ${second} (${one.where})`,
      'HTCondor keeps one credential for each service and handle: give each a handle of its own',
    );
  if (!sameScopes(a.scopes, b.scopes)) throw differ('scopes', listed(a.scopes), listed(b.scopes));
  if (a.audience !== b.audience) throw differ('audiences', plain(a.audience) || 'none', plain(b.audience) || 'none');
}

const same = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase();

const listed = (scopes: Scopes): string =>
  scopes.length === 0 ? 'the issuer’s usual ones' : plain(spaced(scopes), 300);

/** Why nobody can log in to a provider of this flow. */
export function noLogin(flow: Exclude<Flow, 'device'>, request: ServiceRequest): string {
  switch (flow) {
    case 'exchange':
    case 'client':
      return 'no login is needed: credmond gets its tokens by itself';
    case 'vault':
    case 'pelican':
    case 'mytoken':
      return `not logged in to by credmon: ${againFor(flow, request)}`;
  }
}

const usage = (what: string, hint: string): Failed => new Failed({ kind: 'usage', what, hint });
