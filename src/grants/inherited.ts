import { type Grant, wantedOf } from '../core/credential.js';
import { failureOf } from '../core/failure.js';
import type { Fetcher } from '../core/ports.js';
import { exchange, isOfNoUse, permit, within } from './exchange.js';
import { login } from './login.js';

/**
 * A refresh token that the IceCube credmon has got by exchange. When it has ended another exchange brings another, if the
 * user may have it.
 */
export const inherited: Fetcher<Grant> = async (grant, errand) => {
  const wish = { kind: 'request', ...wantedOf(grant) } as const;
  // What was got without asking here is asked for here from now on.
  permit(wish, errand);
  try {
    return within(await login(grant, errand), errand);
  } catch (thrown) {
    if (!isOfNoUse(failureOf(thrown))) throw thrown;
    return exchange(wish, errand);
  }
};
