import type { RequestGrant } from '../core/credential.js';
import type { Fetcher } from '../core/ports.js';
import { derive } from './derive.js';
import { exchange, permit } from './exchange.js';

/** A wish without a secret: from a login that is there, or from who the user is. */
export const request: Fetcher<RequestGrant> = async (grant, errand) => {
  if (grant.from === undefined) return exchange(grant, errand);
  // No person has approved the login that it is made from.
  if (errand.provider.flow === 'exchange') permit(grant, errand);
  return derive(grant, grant.from, errand);
};
