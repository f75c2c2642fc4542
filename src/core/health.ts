import type { GrantKind } from './credential.js';
import type { Life } from './due.js';
import type { Failure } from './failure.js';
import { loginWords } from './request.js';
import type { Scopes } from './scopes.js';
import type { EpochMs } from './time.js';

/**
 * How one credential stands.
 *   new           no token was fetched yet
 *   fresh         jobs have a good token, and the next refresh will come by itself
 *   retrying      the last refresh failed; the token on disk stays, and it is tried again
 *   login-needed  the issuer no longer honours the grant; nothing is asked until there is another one
 *   damaged       what is stored is not a grant; nothing is asked until it is replaced
 *   refused       the administrator does not allow it; nothing is asked until it is replaced, or the configuration is
 */
export type State = 'new' | 'fresh' | 'retrying' | 'login-needed' | 'damaged' | 'refused';

/** The same for people. */
export const stateWords: Readonly<Record<State, string>> = {
  new: 'waiting for its first token',
  fresh: 'fresh',
  retrying: 'refresh failed, trying again',
  'login-needed': 'login needed',
  damaged: 'damaged',
  refused: 'not allowed',
};

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
  readonly grant?: GrantKind;
  /** Of one that is made from a login: that login's handle, '' for none. */
  readonly origin?: string;
  /** When the grant itself ends, where that is known: then only a login brings another. */
  readonly ends?: EpochMs;
  /** When the person approved it, where that was noted. */
  readonly granted?: EpochMs;
  /**
   * Since when it is not known whether the issuer has replaced the refresh token that lies there: a request had no known end.
   * Over with the next refresh that succeeds, or with another login.
   */
  readonly suspect?: EpochMs;
}

const severity: Readonly<Record<State, number>> = {
  'login-needed': 0,
  damaged: 1,
  refused: 2,
  retrying: 3,
  new: 4,
  fresh: 5,
};

/** Worst first; among equals the one whose token ends first. */
export const byTrouble = (a: Health, b: Health): number =>
  severity[a.state] - severity[b.state] || (a.life?.expires ?? 0) - (b.life?.expires ?? 0) || compare(a.user, b.user);

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** The command that mends a credential which needs a login. */
export const loginCommand = ({
  provider,
  ...wanted
}: Pick<Health, 'provider' | 'handle' | 'scopes' | 'audience'>): string => loginWords({ ...wanted, service: provider });

/** How many stand so, before any was counted. */
export const noneYet = (): Record<State, number> => ({
  new: 0,
  fresh: 0,
  retrying: 0,
  'login-needed': 0,
  damaged: 0,
  refused: 0,
});
