import type { Wanted } from './credential.js';
import type { Companion } from './login.js';
import type { Provider } from './provider.js';
import { missing, type Scopes } from './scopes.js';

/** One of the credentials that a login is for. */
export interface Wish extends Wanted {
  readonly handle?: string;
}

/** One login brings at most so many credentials besides its own. */
export const mostAlso = 16;

/** What is asked for in one approval, for all of them: each that names no scopes wants the provider's own. */
export function inAll(wishes: readonly Wanted[], { scopes: own }: Pick<Provider, 'scopes'>): Scopes {
  return [...new Set(wishes.flatMap(({ scopes }) => scopes ?? own))];
}

/**
 * The scopes that the first of them keeps as its own: those that it asked for; and where the approval was for more than the
 * provider's own, those, so that its refreshes ask for no more. Undefined: whatever the issuer gives.
 */
export function ownScopes(
  first: Wanted,
  also: readonly Wanted[],
  provider: Pick<Provider, 'scopes'>,
): Scopes | undefined {
  if (first.scopes || provider.scopes.length === 0) return first.scopes;
  return missing(inAll([first, ...also], provider), provider.scopes).length === 0 ? undefined : provider.scopes;
}

/** For the faces. */
export const companionsOf = (also: readonly Wish[]): readonly Companion[] =>
  also.map(({ handle, audience }) => ({
    ...(handle !== undefined && { handle }),
    ...(audience !== undefined && { audience }),
  }));
