import { userInfo } from 'node:os';
import { againFor } from '../../core/again.js';
import type { Config } from '../../core/config.js';
import { failureOf } from '../../core/failure.js';
import type { Health } from '../../core/health.js';
import { endsSoon, judge } from '../../core/match.js';
import { stem } from '../../core/names.js';
import type { TokenStore } from '../../core/ports.js';
import { requestFor } from '../../core/renewal.js';
import type { EpochMs, Seconds } from '../../core/time.js';
import { healthOfKept } from '../../status/kept.js';
import { differsInWords, stuckInWords } from '../../storer/decide.js';
import type { Need, Result } from '../../storer/settle.js';

interface OwnParts {
  readonly config: Pick<Config, 'providers' | 'minimum' | 'warning'>;
  readonly store: Pick<TokenStore, 'load'>;
  readonly now: () => EpochMs;
  /** How long a token must last at the least; what does not is refreshed. */
  readonly least: Seconds;
  /** Fetches a new token for the credential of this name. Throws Failed. */
  refresh(id: string): Promise<unknown>;
}

/** The same on a machine of one's own: a token that is good, fetched if need be. */
export async function ownResults(needs: readonly Need[], parts: OwnParts): Promise<readonly Result[]> {
  const results: Result[] = [];
  // One after the other: a refresh locks the store.
  for (const need of needs) results.push(await ownResult(need, parts));
  return results;
}

async function ownResult(need: Need, parts: OwnParts): Promise<Result> {
  const { request, provider } = need;
  const { now, config, least } = parts;
  const verdict = judge(request, await healthOf(need, parts), provider, now());
  switch (verdict.kind) {
    case 'absent':
      return needed(need, 'you are not logged in to it');
    case 'dead':
      return needed(need, verdict.health.trouble?.what ?? 'the login that is there is for something else');
    case 'differs':
      // Nobody's jobs use it: another login takes its place.
      return needed(need, differsInWords(request, verdict.health, provider).what);
    case 'stuck':
      return { ...need, is: 'refused', failure: stuckInWords(verdict.health) };
    case 'good': {
      const { life } = verdict.health;
      // A new one would not last for longer than this did at first.
      const enough =
        life && least * 1000 < life.expires - life.issued ? Math.max(config.minimum, least) : config.minimum;
      if (life === undefined || life.expires - now() > enough * 1000) return there(need, verdict.health, parts);
      return refreshed(need, parts);
    }
    case 'ended':
    case 'pending':
      return refreshed(need, parts);
  }
}

async function healthOf({ request }: Need, { store, config }: OwnParts): Promise<Health | undefined> {
  const kept = await store.load(stem(request));
  return kept && healthOfKept(kept, userInfo().username, config.providers.get(kept.provider));
}

/** Here nothing but a login brings anything: what has no login is for access points. */
function needed(need: Need, why: string): Result {
  const { request, provider } = need;
  if (provider.flow === 'device') return { ...need, is: 'login', why };
  const what = `${stem(request)} is had on an access point of HTCondor’s, not here`;
  return {
    ...need,
    is: 'refused',
    failure: { kind: 'unsupported', what, hint: `there: ${againFor(provider.flow, request)}` },
  };
}

function there(need: Need, health: Health, { now, config }: OwnParts): Result {
  const soon = endsSoon(health, now(), config.warning);
  return { ...need, is: 'there', health, ...(soon && { ending: { ...soon, login: requestFor(health) } }) };
}

async function refreshed(need: Need, parts: OwnParts): Promise<Result> {
  try {
    await parts.refresh(stem(need.request));
  } catch (thrown) {
    const failure = failureOf(thrown);
    if (failure === undefined) throw thrown;
    if (failure.kind === 'login-needed') return { ...need, is: 'login', why: failure.what };
    return { ...need, is: 'refused', failure };
  }
  const health = await healthOf(need, parts);
  return health ? there(need, health, parts) : needed(need, 'it was removed just now');
}
