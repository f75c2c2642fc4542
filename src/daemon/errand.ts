import { keyOf } from '../core/names.js';
import type { Clock, Errand, Http, Issuer, OtherClient } from '../core/ports.js';
import type { Provider } from '../core/provider.js';
import type { Seconds } from '../core/time.js';
import type { Once } from './once.js';
import type { RefreshParts } from './refresh.js';

export interface Outside {
  readonly provider: Provider;
  readonly clock: Pick<Clock, 'now' | 'steady'>;
  readonly minimum: Seconds;
  issuer(client: OtherClient | undefined): Promise<Issuer>;
  readonly http: Http;
  readonly claims: Errand['claims'];
  readonly groups: Errand['groups'];
  readonly warnings: Once;
}

/** A refresh with what it needs of the outside. */
export function errandOf(
  { issuer, warnings, ...outside }: Outside,
  { client, origin, ...errand }: Parameters<RefreshParts['fetch']>[1],
): Errand {
  return {
    ...outside,
    ...errand,
    issuer: () => issuer(client),
    warn: (text) => warnings.say(`${keyOf(errand.id)}: ${text}`),
    origin: async (handle, service) => {
      const from = await origin(handle, service);
      return {
        // Another one after each rotation.
        get grant() {
          return from.grant;
        },
        rotation: from.rotation,
        issuer: () => issuer(from.client),
      };
    },
  };
}
