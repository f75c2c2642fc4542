import type { Config } from '../../core/config.js';
import type { Ask } from '../../core/login.js';
import type { Clock } from '../../core/ports.js';
import type { Provider } from '../../core/provider.js';
import type { Scopes } from '../../core/scopes.js';
import type { Env } from '../../stores/state.js';

/** One login: of which provider, for what, and what it may use. */
export interface LoginContext {
  readonly config: Config;
  readonly provider: Provider;
  readonly handle?: string;
  /** Only what the person asked for; the provider's own are the default. */
  readonly scopes?: Scopes;
  readonly audience?: string;
  readonly env: Env;
  readonly clock: Clock;
  readonly stop: AbortSignal;
  again(): Promise<boolean>;
}

export function askOf(context: LoginContext, issuer: string): Ask {
  const { provider, handle } = context;
  const audience = context.audience ?? provider.audience;
  return {
    provider: provider.name,
    issuer,
    scopes: context.scopes ?? provider.scopes,
    ...(handle !== undefined && { handle }),
    ...(audience !== undefined && { audience }),
  };
}
