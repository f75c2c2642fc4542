import type { Config } from '../core/config.js';
import type { Failure } from '../core/failure.js';
import { nearest } from '../core/names.js';
import { anyService } from '../core/provider.js';
import { asStored, type ServiceRequest } from '../core/request.js';
import { noteOf } from '../core/snapshot.js';
import type { CreddStore } from '../stores/credd.js';
import type { Need } from './settle.js';

/** Whose each is. A service of another credmon's is none of our business. */
export function claim(
  requests: readonly ServiceRequest[],
  config: Config,
): { known: Need[]; unknown: ServiceRequest[] } {
  const known: Need[] = [];
  const unknown: ServiceRequest[] = [];
  // Where every name is Vault's, those of other credmons are not.
  const names = [...config.providers.keys(), ...config.others];
  for (const asked of requests) {
    const stored = asStored(asked, names);
    const provider = stored && config.providers.get(stored.provider);
    if (stored && provider) known.push({ request: stored.request, asked, provider: noteOf(provider) });
    else if (stored === undefined) unknown.push(asked);
  }
  return { known, unknown };
}

/** Names that nobody knows; but a person may store what they like, for jobs to take it as it is. */
export async function strangers(
  requests: readonly ServiceRequest[],
  config: Config,
  { credd, stop }: { readonly credd: Pick<CreddStore, 'query'>; readonly stop: AbortSignal },
): Promise<readonly Failure[]> {
  const failures = requests.map(async (request): Promise<Failure[]> => {
    return (await credd.query(request, {}, stop)) === 'none' ? [nobodys(request, config)] : [];
  });
  return (await Promise.all(failures)).flat();
}

/** The name that may be meant by one that is nobody's. */
export function mistaken({ service }: ServiceRequest, { providers, others }: Names): string | undefined {
  const names = [...providers.keys(), ...others].filter((name) => name !== anyService);
  return nearest(service, names);
}

export function nobodys(request: ServiceRequest, config: Names): Failure {
  const near = mistaken(request, config);
  return {
    kind: 'config',
    what: `no credential service "${request.service}" is known here`,
    hint: near === undefined ? `there is: ${[...config.providers.keys()].join(', ')}` : `did you mean ${near}?`,
  };
}

type Names = Pick<Config, 'providers' | 'others'>;
