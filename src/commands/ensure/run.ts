import { loadConfig, requireProviders, unknownProvider } from '../../config/load.js';
import { againFor } from '../../core/again.js';
import type { Config } from '../../core/config.js';
import { exitCode, type Failure, type FailureKind } from '../../core/failure.js';
import { stem } from '../../core/names.js';
import { redact } from '../../core/redact.js';
import { parseRequest, quoted, type ServiceRequest } from '../../core/request.js';
import { sameRequest } from '../../core/submit.js';
import { harmlessJson, plain } from '../../core/text.js';
import { type Seconds, seconds } from '../../core/time.js';
import { deadline } from '../../storer/deadline.js';
import { commandsFor, endingInWords } from '../../storer/decide.js';
import { claim, strangers } from '../../storer/needs.js';
import { type Need, type Result, settle } from '../../storer/settle.js';
import { creddStore } from '../../stores/credd.js';
import { openPersonalStore } from '../../stores/personal.js';
import { systemClock as clock } from '../../system/clock.js';
import { askedFor } from '../login/asked.js';
import { meantBy } from '../login/meant.js';
import { freshToken } from '../token/fresh.js';
import { lasting } from './lasting.js';
import { ownResults } from './own.js';

/** `credmon ensure`, as its options say. */
export interface EnsureOptions {
  readonly services: readonly string[];
  readonly submit: readonly string[];
  readonly dag: readonly string[];
  /** Seconds. */
  readonly minRemaining?: number;
  readonly json: boolean;
  readonly config?: string;
}

/**
 * The question that condor_submit will ask, asked beforehand. Resolves to 0 when all is there, to 79 when a login is needed,
 * else to the exit code of why it is not possible.
 */
export async function runEnsure(options: EnsureOptions): Promise<number> {
  const { env } = process;
  const config = requireProviders(
    await loadConfig({ env, ...(options.config !== undefined && { file: options.config }) }),
    env,
  );
  const { requests, unknown } = await requestsOf(options, config);
  const { known, unknown: strange } = claim(requests, config);
  const least = seconds(options.minRemaining ?? 0);
  const { results, failures } = await (config.credDir === undefined ? ownScene : condorScene)(known, strange, {
    config,
    least,
    file: options.config,
  });
  for (const what of unknown) failures.push({ kind: 'unsupported', what, hint: 'ask again when it is there' });
  tell(results, failures, options);
  if (!options.json && results.length + failures.length === 0)
    process.stdout.write(
      requests.length === 0 ? 'No credential is asked for.\n' : 'What is asked for is not credmon’s.\n',
    );
  return codeOf(results, failures);
}

interface Scene {
  readonly config: Config;
  readonly least: Seconds;
  /** Of the configuration. */
  readonly file: string | undefined;
}

interface Found {
  readonly results: readonly Result[];
  /** About what is nobody's here. */
  readonly failures: Failure[];
}

/** Where HTCondor keeps them: as its storer sees to it. */
async function condorScene(
  known: readonly Need[],
  strange: readonly ServiceRequest[],
  { config, least }: Scene,
): Promise<Found> {
  const credd = creddStore({ env: process.env });
  const stop = deadline();
  const parts = { ...config, uid: process.getuid?.() ?? -1, credd, clock, stop };
  const [failures, results] = await Promise.all([strangers(strange, config, parts), settle(known, parts)]);
  const hint = `credmond keeps ${config.minimum} s at all times (CREDMON_OAUTH_TOKEN_MINIMUM); more than that comes and goes with each refresh`;
  return { results: results.map((one) => lasting(one, least, { now: clock.now(), hint })), failures: [...failures] };
}

/** Where there is none, from the person's own store. Throws Failed for a name that is no provider's. */
async function ownScene(
  known: readonly Need[],
  [stranger]: readonly ServiceRequest[],
  { config, least, file }: Scene,
): Promise<Found> {
  if (stranger) unknownProvider(config, stranger.service);
  const store = await openPersonalStore({ env: process.env, choice: 'stay' });
  const refresh = (id: string) => freshToken(id, file);
  const results = await ownResults(known, { config, store, now: clock.now, least, refresh });
  const hint = 'its issuer gives tokens for no longer';
  return { results: results.map((one) => lasting(one, least, { now: clock.now(), hint })), failures: [] };
}

async function requestsOf({ services, submit, dag }: EnsureOptions, config: Config) {
  const named = services.length + submit.length + dag.length === 0 ? [meantBy(config, 'ensure')] : services;
  const { asked, unknown } = await askedFor({ request: [], submit, dag }, process.env);
  const all = [...named.map(parseRequest), ...asked.map(({ request }) => request)];
  return { requests: [...new Map(all.map((one) => [sameRequest(one), one])).values()], unknown };
}

function tell(results: readonly Result[], failures: readonly Failure[], options: EnsureOptions): void {
  if (options.json) {
    const shown = results.map((one) => ({ ...one.request, ...outcome(one) }));
    const troubles = failures.map(({ kind, what, hint }) => ({ kind, what, ...(hint !== undefined && { hint }) }));
    process.stdout.write(`${harmlessJson({ credentials: shown, troubles })}\n`);
    return;
  }
  for (const one of results) {
    const { state, what, hint } = outcome(one);
    process.stdout.write(`${stem(one.request)}: ${plain(redact(what ?? state), 2000)}\n`);
    if (hint !== undefined) process.stdout.write(`  → ${plain(redact(hint), 2000)}\n`);
  }
  const lacking = results.flatMap((one) => (one.is === 'login' ? [one.request] : []));
  if (lacking.length > 1) process.stdout.write(`All at once: ${allAtOnce(lacking, options)}\n`);
  for (const { what, hint } of failures) {
    process.stderr.write(`credmon: error: ${plain(redact(what), 2000)}\n`);
    if (hint !== undefined) process.stderr.write(`credmon: hint: ${plain(redact(hint), 2000)}\n`);
  }
}

/** One command, and one approval for those of one provider. */
function allAtOnce(lacking: readonly ServiceRequest[], { submit, dag, services }: EnsureOptions): string {
  if (services.length > 0 || submit.length + dag.length === 0) return commandsFor(lacking);
  const files = [...submit.map((file) => ['--submit', file]), ...dag.map((file) => ['--dag', file])];
  return ['credmon login', ...files.flat().map(quoted)].join(' ');
}

type State = 'fine' | 'login-needed' | 'try-again' | 'not-possible';

function outcome(one: Result): { readonly state: State; readonly what?: string; readonly hint?: string } {
  switch (one.is) {
    case 'there': {
      const soon = one.ending && endingInWords(one.ending, clock.now(), []);
      const what = one.warning ?? soon;
      return { state: 'fine', ...(what !== undefined && { what: `fine, but ${what}` }) };
    }
    case 'login':
      return {
        state: 'login-needed',
        what: `login needed: ${one.why}`,
        hint: againFor(one.provider.flow, one.renew ?? one.request, { force: one.renew !== undefined }),
      };
    case 'elsewhere':
      return {
        state: 'login-needed',
        what: 'nothing is stored',
        hint: againFor(one.provider.flow, one.request),
      };
    case 'refused': {
      const { kind, what, hint } = one.failure;
      return { state: stateOf(kind), what, ...(hint !== undefined && { hint }) };
    }
  }
}

/** As the exit code has it. */
function stateOf(kind: FailureKind): State {
  if (kind === 'login-needed') return kind;
  return kind === 'transient' ? 'try-again' : 'not-possible';
}

/** What cannot be had weighs more than what a login brings. */
function codeOf(results: readonly Result[], failures: readonly Failure[]): number {
  const refused = [...failures, ...results.flatMap((one) => (one.is === 'refused' ? [one.failure] : []))];
  const [first] = refused;
  if (first) return exitCode(first);
  return results.some(({ is }) => is !== 'there') ? exitCode({ kind: 'login-needed' }) : 0;
}
