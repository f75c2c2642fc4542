import { againFor } from '../core/again.js';
import type { Failure } from '../core/failure.js';
import { Failed } from '../core/failure.js';
import type { Health } from '../core/health.js';
import { judge } from '../core/match.js';
import { stem } from '../core/names.js';
import type { Clock } from '../core/ports.js';
import type { ServiceRequest } from '../core/request.js';
import type { ProviderNote, Snapshot } from '../core/snapshot.js';
import { type Seconds, seconds } from '../core/time.js';
import { isAtWork, readMine, until } from '../status/read.js';
import type { CreddStore } from '../stores/credd.js';
import { decide, differsInWords, healthOf, type LoginEnds, stuckInWords } from './decide.js';

/** One credential that is needed, and whose it is. */
export interface Need {
  /** By the names that it is stored under. */
  readonly request: ServiceRequest;
  /** As it was asked for, where that is another way to say it. */
  readonly asked?: ServiceRequest;
  readonly provider: ProviderNote;
}

/** What came of it. */
export type Result = Need &
  (
    | { readonly is: 'there'; readonly health?: Health; readonly warning?: string; readonly ending?: LoginEnds }
    /** `renew`: what is there is good, and not for long enough: all that it was, to be asked for by force. */
    | { readonly is: 'login'; readonly why: string; readonly renew?: ServiceRequest }
    | { readonly is: 'elsewhere' }
    | { readonly is: 'refused'; readonly failure: Failure }
  );

export interface SettleParts {
  readonly statusDir: string;
  readonly sweep: Seconds;
  readonly warning: Seconds;
  readonly uid: number;
  readonly credd: Pick<CreddStore, 'query' | 'request'>;
  readonly clock: Clock;
  /** Its reason is a Failed (deadline.ts). */
  readonly stop: AbortSignal;
  /** Set when another program has stored what was missing: with what credmond had told before that. */
  readonly brought?: { readonly before: Snapshot | undefined };
  /** How long credmond has to fetch what was asked for. Default: 20 s. */
  readonly patience?: Seconds;
}

/** credmond asks an issuer for at most so long (providers/http.ts). */
const usualPatience = seconds(20);

/**
 * Sees to it that what is needed is there, as far as that takes no person: what credmond can make without one is asked of
 * it, and waited for. What takes a person is told.
 */
export async function settle(needs: readonly Need[], parts: SettleParts): Promise<readonly Result[]> {
  const { clock, statusDir, sweep, warning, uid, brought } = parts;
  const before = readMine(statusDir, uid);
  const atWork = isAtWork({ dir: statusDir, sweep, now: clock.now() }, before);
  const sight = { healths: before?.credentials ?? [], now: clock.now(), warning };
  return Promise.all(
    needs.map(async (need): Promise<Result> => {
      const step = decide(need.request, need.provider, sight);
      switch (step.do) {
        case 'nothing': {
          const idle = atWork ? undefined : 'credmond does not run: the token that is there is not refreshed';
          const told = step.warning ?? idle;
          const { ending } = step;
          const health = healthOf(sight.healths, need.request);
          return {
            ...need,
            is: 'there',
            ...(health && { health }),
            ...(told && { warning: told }),
            ...(ending && { ending }),
          };
        }
        case 'refuse':
          return { ...need, is: 'refused', failure: step.failure };
        case 'elsewhere':
          return brought
            ? caught(need, () => waitFor(need, brought.before, parts, atWork))
            : { ...need, is: 'elsewhere' };
        case 'wait':
          return caught(need, () => waitFor(need, before, parts, atWork));
        case 'store':
          return caught(need, async () => {
            const { scopes, audience } = need.request;
            const wanted = { ...(scopes && { scopes }), ...(audience !== undefined && { audience }) };
            const from = step.from === undefined ? {} : { from: step.from };
            await parts.credd.request(need.request, { ...from, ...wanted }, parts.stop);
            return waitFor(need, before, parts, atWork);
          });
        case 'login':
          return caught(need, async () => {
            // It may have been stored a moment ago, and credmond not have told of it yet.
            const there = healthOf(sight.healths, need.request)
              ? 'none'
              : await parts.credd.query(need.request, {}, parts.stop);
            if (there === 'none') return { ...need, is: 'login', why: step.why };
            return waitFor(need, before, parts, atWork);
          });
      }
    }),
  );
}

/** The query and the request go through a tool of HTCondor's, which may fail; and all of it may take too long. */
async function caught(need: Need, act: () => Promise<Result>): Promise<Result> {
  try {
    return await act();
  } catch (thrown) {
    if (!(thrown instanceof Failed)) throw thrown;
    return { ...need, is: 'refused', failure: thrown.failure };
  }
}

/** Until credmond tells that it has a token, or why there will be none. What it told before counts for nothing. */
async function waitFor(
  need: Need,
  before: Snapshot | undefined,
  { clock, statusDir, uid, stop, patience = usualPatience }: SettleParts,
  atWork: boolean,
): Promise<Result> {
  const name = stem(need.request);
  const refused = (failure: Failure): Result => ({ ...need, is: 'refused', failure });
  if (!atWork) {
    return refused({
      kind: 'unsupported',
      what: `there is no token for ${name}, and credmond does not run`,
      hint: 'tell whoever runs this machine (condor_who -daemons; credmond’s log)',
    });
  }
  const old = healthOf(before?.credentials ?? [], need.request);
  let last: Health | undefined;
  const result = await until<Result>(
    () => {
      const health = healthOf(readMine(statusDir, uid)?.credentials ?? [], need.request);
      last = health;
      if (health === undefined || (old !== undefined && sameAsBefore(health, old))) return undefined;
      const verdict = judge(need.request, health, need.provider, clock.now());
      if (verdict.kind === 'good') return { ...need, is: 'there', health };
      if (verdict.kind === 'dead') return dead(need, health);
      // It came out for other scopes than were asked for: a client's own tokens are what the templates say.
      if (verdict.kind === 'differs') return refused(differsInWords(need.request, health, need.provider));
      return verdict.kind === 'stuck' ? refused(stuckInWords(health)) : undefined;
    },
    { clock, limit: patience, stop },
  );
  const why = last?.trouble?.what ?? 'credmond has not told of one';
  return (
    result ??
    refused({
      kind: 'transient',
      what: `there is no token for ${name} yet after ${patience} s: ${why}`,
      hint: last?.trouble?.hint ?? 'submit again later; see: credmon status',
    })
  );
}

/** It came, and is of no use. A login helps only where logins are what brings it. */
function dead(need: Need, { trouble }: Health): Result {
  const { request, provider } = need;
  const why = trouble?.what ?? 'it was not accepted';
  if (provider.flow === 'device') return { ...need, is: 'login', why };
  const what = `there is no token for ${stem(request)}: ${why}`;
  const hint = trouble?.hint ?? againFor(provider.flow, request);
  return { ...need, is: 'refused', failure: { kind: trouble?.kind ?? 'login-needed', what, hint } };
}

/** Neither another file nor another state since. */
const sameAsBefore = (health: Told, old: Told): boolean =>
  health.stamp === old.stamp && health.state === old.state && health.since === old.since && old.state !== 'new';

type Told = Snapshot['credentials'][number];
