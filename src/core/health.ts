import type { Life } from './due.js';
import type { Failure } from './failure.js';
import type { Scopes } from './scopes.js';
import type { EpochMs } from './time.js';

/**
 * How one credential stands.
 *   new           no token was fetched yet
 *   fresh         jobs have a good token, and the next refresh will come by itself
 *   retrying      the last refresh failed; the token on disk stays, and it is tried again
 *   login-needed  the issuer no longer honours the grant; nothing is asked until there is another one
 *   damaged       what is stored is not a grant; nothing is asked until it is replaced
 */
export type State = 'new' | 'fresh' | 'retrying' | 'login-needed' | 'damaged';

/** What is told of a credential: in status, snapshots and metrics. No secrets. */
export interface Health {
  readonly user: string;
  readonly provider: string;
  /** As it is named on disk and in submit files. */
  readonly service: string;
  readonly handle?: string;
  readonly issuer: string;
  readonly state: State;
  /** Since when it has been in this state. */
  readonly since: EpochMs;
  /** Of the access token that jobs have. */
  readonly life?: Life;
  /** When it is refreshed or tried next; absent when only a login helps. */
  readonly due?: EpochMs;
  readonly trouble?: Pick<Failure, 'kind' | 'what' | 'hint'>;
  /** Scopes that were asked for and are no longer granted. */
  readonly missing?: Scopes;
  readonly refreshes: number;
  /** What the grant was asked for, where that is not the provider's default. */
  readonly scopes?: Scopes;
  readonly audience?: string;
}

const severity: Readonly<Record<State, number>> = { 'login-needed': 0, damaged: 1, retrying: 2, new: 3, fresh: 4 };

/** Worst first; among equals the one whose token ends first. */
export const byTrouble = (a: Health, b: Health): number =>
  severity[a.state] - severity[b.state] || (a.life?.expires ?? 0) - (b.life?.expires ?? 0) || compare(a.user, b.user);

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** The command that mends a credential which needs a login. */
export function loginCommand({ provider, handle }: Pick<Health, 'provider' | 'handle'>): string {
  return `credmon login ${provider}${handle === undefined ? '' : ` --handle ${handle}`}`;
}
