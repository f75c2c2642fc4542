import type { Config } from '../../core/config.js';
import type { Ask } from '../../core/login.js';
import type { Clock } from '../../core/ports.js';
import { issuerOf, type Provider } from '../../core/provider.js';
import { companionsOf, inAll, type Wish } from '../../core/several.js';
import type { Env } from '../../stores/state.js';

/** What every login may use. */
export interface LoginTools {
  readonly config: Config;
  readonly env: Env;
  readonly clock: Clock;
  readonly stop: AbortSignal;
  again(): Promise<boolean>;
}

/** One login: of which provider, and for what. Of a wish only what the person asked for; the provider's own are the default. */
export interface LoginContext extends LoginTools, Wish {
  readonly provider: Provider;
  /** What else the one approval is for: made from this login. */
  readonly also?: readonly Wish[];
}

export function askOf(context: LoginContext): Ask {
  const { provider, handle, also = [] } = context;
  const audience = context.audience ?? provider.audience;
  return {
    provider: provider.name,
    issuer: issuerOf(provider),
    scopes: inAll([context, ...also], provider),
    ...(handle !== undefined && { handle }),
    ...(audience !== undefined && { audience }),
    ...(also.length > 0 && { also: companionsOf(also) }),
  };
}

/** All that the login is for, its own first. */
export const wishesOf = ({ also = [], ...first }: LoginContext): readonly Wish[] => [wishOf(first), ...also];

export const wishOf = ({ handle, scopes, audience }: Wish): Wish => ({
  ...(handle !== undefined && { handle }),
  ...(scopes && { scopes }),
  ...(audience !== undefined && { audience }),
});
