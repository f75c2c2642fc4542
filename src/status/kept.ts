import { againFor } from '../core/again.js';
import { wantedOf } from '../core/credential.js';
import type { Health } from '../core/health.js';
import { keyOf } from '../core/names.js';
import type { Kept } from '../core/ports.js';
import { issuerOf, type Provider } from '../core/provider.js';
import { requestFor } from '../core/renewal.js';

/** How a credential of a person's own store stands, by what is stored. `provider`: undefined where it is configured no more. */
export function healthOfKept(kept: Kept, user: string, provider: Provider | undefined): Health {
  const { token, dead, grant } = kept;
  const id = { user, service: kept.provider, ...(kept.handle !== undefined && { handle: kept.handle }) };
  const wanted = wantedOf(grant);
  return {
    ...id,
    provider: kept.provider,
    issuer: provider ? issuerOf(provider) : keyOf(id),
    state: dead ? 'login-needed' : token ? 'fresh' : 'new',
    since: dead?.since ?? kept.since,
    refreshes: 0,
    ...wanted,
    ...(token && { life: { issued: token.issued, expires: token.expires } }),
    ...(grant.ends !== undefined && { ends: grant.ends, granted: kept.since }),
    ...(dead && {
      trouble: { kind: 'login-needed', what: dead.why, hint: againFor('device', requestFor({ ...id, ...wanted })) },
    }),
  };
}
