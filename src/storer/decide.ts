import { againFor } from '../core/again.js';
import type { Failure } from '../core/failure.js';
import type { Health } from '../core/health.js';
import { canBeMadeFrom, type EndsSoon, endsSoon, inFull, judge, type Missing } from '../core/match.js';
import { stem } from '../core/names.js';
import { originOf, requestFor } from '../core/renewal.js';
import { loginWords, logoutWords, type ServiceRequest, severalWords } from '../core/request.js';
import { spaced } from '../core/scopes.js';
import type { ProviderNote } from '../core/snapshot.js';
import { type EpochMs, type Seconds, spell } from '../core/time.js';

/**
 * What is to be done about one request.
 *   nothing    it is there
 *   wait       credmond is fetching it
 *   store      a request for it is given to credmond; `from`: the login to make it of
 *   login      only a person can bring it
 *   elsewhere  another program gets it: HTCondor's storer for Vault and Pelican
 *   refuse     nothing here can bring it
 */
export type Step =
  | { readonly do: 'nothing'; readonly warning?: string; readonly ending?: LoginEnds }
  | { readonly do: 'wait' }
  | { readonly do: 'store'; readonly from?: string }
  | { readonly do: 'login'; readonly why: string }
  | { readonly do: 'elsewhere' }
  | { readonly do: 'refuse'; readonly failure: Failure };

/** A login that is about to end. */
export interface LoginEnds extends EndsSoon {
  /** What to log in for again: all that it was, also where the job asks for a part of it. */
  readonly login: ServiceRequest;
}

export interface Sight {
  readonly healths: readonly Health[];
  readonly now: EpochMs;
  /** How long before a login ends that is told. */
  readonly warning: Seconds;
}

export function healthOf<H extends Health>(
  healths: readonly H[],
  request: Pick<ServiceRequest, 'service' | 'handle'>,
): H | undefined {
  return healths.find(({ service, handle }) => service === request.service && handle === request.handle);
}

export function decide(request: ServiceRequest, provider: ProviderNote, { healths, now, warning }: Sight): Step {
  const verdict = judge(request, healthOf(healths, request), provider, now);
  switch (verdict.kind) {
    case 'good': {
      const login = originOf(verdict.health, healths);
      const soon = endsSoon(login, now, warning);
      return { do: 'nothing', ...(soon && { ending: { ...soon, login: requestFor(login) } }) };
    }
    case 'ended':
      return { do: 'nothing', warning: endedInWords(verdict.health) };
    case 'pending':
      return { do: 'wait' };
    case 'differs':
      return { do: 'refuse', failure: differsInWords(request, verdict.health, provider) };
    case 'stuck':
      // What was not allowed before may be by now.
      return provider.flow === 'exchange' ? { do: 'store' } : { do: 'refuse', failure: stuckInWords(verdict.health) };
    default:
      return bring(request, provider, healths, verdict);
  }
}

function bring(request: ServiceRequest, provider: ProviderNote, healths: readonly Health[], verdict: Missing): Step {
  switch (provider.flow) {
    case 'exchange':
    case 'client':
      return { do: 'store' };
    case 'vault':
    case 'pelican':
      return { do: 'elsewhere' };
    case 'mytoken':
      return { do: 'refuse', failure: mytokenMissing(request) };
    case 'device': {
      const from = healths.find(
        (one) =>
          one.service === request.service &&
          one.handle !== request.handle &&
          canBeMadeFrom(one, request, provider) &&
          // The issuer gave none from there before.
          !(verdict.kind === 'dead' && verdict.health.origin === (one.handle ?? '')),
      );
      if (from) return { do: 'store', from: from.handle ?? '' };
      return { do: 'login', why: why(verdict) };
    }
  }
}

function why(verdict: Missing): string {
  if (verdict.kind === 'absent') return 'you are not logged in to it';
  return verdict.health.trouble?.what ?? 'the login that is there is for other scopes, and its token has ended';
}

function endedInWords({ trouble, ...health }: Health): string {
  return `the token of ${stem(health)} has ended, and could not be refreshed yet${trouble ? `: ${trouble.what}` : ''}; credmond goes on trying`;
}

/** There is a good one, and it is for something else. */
export function differsInWords(request: ServiceRequest, health: Health, provider: ProviderNote): Failure {
  const [asked, there] = [inFull(request, provider), inFull(health, provider)];
  const scopes = request.scopes ? `the scopes ${spaced(asked.scopes)}` : undefined;
  const audience = request.audience === undefined ? undefined : `the audience ${request.audience}`;
  const has = [
    scopes && (there.scopes.length > 0 ? `the scopes ${spaced(there.scopes)}` : 'the issuer’s usual scopes'),
    audience && (there.audience === undefined ? 'no audience' : `the audience ${there.audience}`),
  ];
  const name = stem(request);
  return {
    kind: 'config',
    what: `the job asks ${name} for ${[scopes, audience].filter(Boolean).join(' and ')}, but what is stored is for ${has.filter(Boolean).join(' and ')}`,
    hint:
      `keep both apart by a handle (${request.service}_oauth_permissions_NAME = …), ` +
      `or give up what is there, if no other job uses it: ${logoutWords(health)}`,
  };
}

/** Why a credential that never worked will not. */
export function stuckInWords(health: Health): Failure {
  const { trouble } = health;
  return {
    kind: trouble?.kind ?? 'config',
    what: `there is no token for ${stem(health)}: ${trouble?.what ?? 'nothing is known of why'}`,
    ...(trouble?.hint !== undefined && { hint: trouble.hint }),
  };
}

const mytokenMissing = (request: ServiceRequest): Failure => ({
  kind: 'login-needed',
  what: `there is no mytoken for ${stem(request)}`,
  hint: againFor('mytoken', request),
});

/** What a person has to run where no login can be shown: those of one provider are one approval. */
export function commandsFor(requests: readonly ServiceRequest[]): string {
  const services = [...new Set(requests.map(({ service }) => service))];
  const commands = services.map((service) => {
    const mine = requests.filter((request) => request.service === service);
    const [first] = mine;
    return mine.length === 1 && first ? loginWords(first) : severalWords(mine);
  });
  return commands.join(' && ');
}

/** "your login to osdf ends in 2 days; renew it: …": `jobs` may be running longer. */
export function endingInWords({ at, login }: LoginEnds, now: EpochMs, jobs: readonly string[]): string {
  const lasting = jobs.length > 0 ? ` (jobs that may outlive it: ${some(jobs)})` : '';
  return `your login to ${stem(login)} ends in ${spell((at - now) / 1000)}${lasting}; renew it: ${loginWords(login, { force: true })}`;
}

/** So many jobs are named; whoever finds one more knows that there are others. */
export const namedJobs = 8;

const some = (jobs: readonly string[]): string =>
  jobs.length <= namedJobs ? jobs.join(', ') : `${jobs.slice(0, namedJobs).join(', ')} and others`;
