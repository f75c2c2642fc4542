import { notAllowed } from './allowed.js';
import type { Wanted } from './credential.js';
import type { Health } from './health.js';
import type { Provider } from './provider.js';
import { missing, type Scopes, sameScopes } from './scopes.js';
import { type EpochMs, epochMs, type Seconds } from './time.js';

/**
 * How what is there stands to what a job asks for.
 *   good     jobs find a token, and it is what is asked for
 *   ended    it is, but its token has ended: the issuer does not answer well, and credmond goes on trying
 *   pending  the first token is being fetched
 *   differs  there is a good one, for other scopes or another audience; jobs may be using it
 *   dead     it is of no use any more
 *   stuck    it never worked, and trying again will not help: its trouble says what would
 *   absent   there is none
 */
export type Verdict = Found<'good'> | Found<'ended'> | Found<'pending'> | Found<'differs'> | Missing;
/** What there is, if anything, is no hindrance to another. */
export type Missing = Found<'dead'> | Found<'stuck'> | { readonly kind: 'absent' };

interface Found<K> {
  readonly kind: K;
  readonly health: Health;
}

type Defaults = Pick<Provider, 'scopes' | 'audience'>;

/** What is asked for once the provider's own are filled in. */
export const inFull = ({ scopes, audience }: Wanted, defaults: Defaults) => ({
  scopes: scopes ?? defaults.scopes,
  audience: audience ?? defaults.audience,
});

/** `health`: of the credential with that very service and handle. */
export function judge(wanted: Wanted, health: Health | undefined, defaults: Defaults, now: EpochMs): Verdict {
  if (health === undefined) return { kind: 'absent' };
  if (health.state === 'login-needed' || health.state === 'damaged') return { kind: 'dead', health };
  if (health.state === 'refused')
    return matches(wanted, health, defaults) ? { kind: 'stuck', health } : { kind: 'dead', health };
  const alive = health.life !== undefined && health.life.expires > now;
  // HTCondor's web flow may have brought one that does not tell when it ends.
  const everlasting = health.state === 'fresh' && health.life === undefined;
  const usable = alive || everlasting;
  if (!matches(wanted, health, defaults)) return usable ? { kind: 'differs', health } : { kind: 'dead', health };
  if (usable) return { kind: 'good', health };
  if (health.state === 'retrying' && health.life === undefined && isFinal(health)) return { kind: 'stuck', health };
  return health.life === undefined ? { kind: 'pending', health } : { kind: 'ended', health };
}

/** A request that names no scopes (or no audience) takes what there is: that is what was logged in for. */
function matches(wanted: Wanted, health: Health, defaults: Defaults): boolean {
  const there = inFull(health, defaults);
  if (wanted.scopes && !sameScopes(withoutIdentity(wanted.scopes), withoutIdentity(there.scopes))) return false;
  return wanted.audience === undefined || wanted.audience === there.audience;
}

/** The end of a login that a person should be told of. */
export interface EndsSoon {
  readonly at: EpochMs;
  /** In the last third of the time in which it is told: a person is asked to log in there and then. */
  readonly urgent: boolean;
}

interface Ends {
  readonly ends?: EpochMs | undefined;
  readonly granted?: EpochMs | undefined;
}

/** How long before its end a login is told of, in milliseconds: one that lasts a day is not complained of for all of it. */
export const warningWindow = ({ ends = epochMs(0), granted }: Ends, warning: Seconds): number =>
  Math.min(warning * 1000, granted === undefined ? Number.POSITIVE_INFINITY : (ends - granted) / 4);

/** Undefined: it is too early to tell, or not known when it ends. */
export function endsSoon({ ends, granted }: Ends, now: EpochMs, warning: Seconds): EndsSoon | undefined {
  if (ends === undefined) return undefined;
  const window = warningWindow({ ends, granted }, warning);
  return ends - now < window ? { at: ends, urgent: ends - now < window / 3 } : undefined;
}

/** Never worked, and trying again will not make it work. */
const isFinal = ({ trouble }: Health): boolean => trouble !== undefined && trouble.kind !== 'transient';

/**
 * Whether a credential for what is wanted can be made from the login `from`, without another approval: it must have all
 * the scopes. What is not known to have them is not tried.
 */
export function canBeMadeFrom(from: Health, wanted: Wanted, defaults: Defaults): boolean {
  if ((from.grant ?? 'refresh') !== 'refresh' || from.state !== 'fresh') return false;
  const [asked, there] = [inFull(wanted, defaults), inFull(from, defaults)];
  if (asked.scopes.length === 0) return false;
  const granted = missing(withoutIdentity(there.scopes), from.missing ?? []);
  // What lies below a path is in it; whether the issuer sees that as well is found out.
  return notAllowed(withoutIdentity(asked.scopes), granted, '') === undefined;
}

/** Less what an issuer grants with the login itself, whether it says so or not. */
const withoutIdentity = (scopes: Scopes): Scopes =>
  scopes.filter((scope) => scope !== 'offline_access' && scope !== 'openid');
