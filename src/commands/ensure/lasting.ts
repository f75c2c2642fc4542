import { againFor } from '../../core/again.js';
import { stem } from '../../core/names.js';
import { requestFor } from '../../core/renewal.js';
import { type EpochMs, type Seconds, spell } from '../../core/time.js';
import type { Result } from '../../storer/settle.js';

/** What is there must last as long as is wanted. `hint`: what to do about a token that does not. */
export function lasting(
  result: Result,
  least: Seconds,
  { now, hint }: { readonly now: EpochMs; readonly hint: string },
): Result {
  if (result.is !== 'there' || result.health === undefined || least === 0) return result;
  const { health, ending, is: _, warning: __, ...need } = result;
  const { request, provider } = need;
  const left = (end: EpochMs): string => spell(Math.max(0, end - now) / 1000);
  const short = (end: EpochMs | undefined): end is EpochMs => end !== undefined && end - now < least * 1000;
  const end = ending?.at ?? health.ends;
  const renew = ending?.login ?? requestFor(health);
  if (short(end)) {
    const why = `its login ends in ${left(end)}`;
    if (provider.flow === 'device') return { ...need, is: 'login', why, renew };
    const again = againFor(provider.flow, renew);
    return { ...need, is: 'refused', failure: { kind: 'login-needed', what: `${stem(request)}: ${why}`, hint: again } };
  }
  if (!short(health.life?.expires)) return result;
  const what = `the token of ${stem(request)} has only ${left(health.life.expires)} left`;
  return { ...need, is: 'refused', failure: { kind: 'transient', what, hint } };
}
