import type { Health } from './health.js';
import type { ServiceRequest } from './request.js';

/** What to ask for to have a credential again: all that it was, since a login for less would take the rest away. */
export function requestFor({
  service,
  handle,
  scopes,
  audience,
}: Pick<Health, 'service' | 'handle' | 'scopes' | 'audience'>): ServiceRequest {
  return {
    service,
    ...(handle !== undefined && { handle }),
    ...(scopes && { scopes }),
    ...(audience !== undefined && { audience }),
  };
}

/** The login that a credential is made from ends for it as well, and is the one to renew; of any other, itself. */
export function originOf(health: Health, healths: readonly Health[]): Health {
  if (health.origin === undefined) return health;
  const { user, service } = health;
  const handle = health.origin === '' ? undefined : health.origin;
  return healths.find((one) => one.user === user && one.service === service && one.handle === handle) ?? health;
}
