import { hostname, userInfo } from 'node:os';
import { loadConfig, requireProviders, unknownProvider } from '../../config/load.js';
import type { Config } from '../../core/config.js';
import { exitCode, Failed, type Failure } from '../../core/failure.js';
import type { Ended } from '../../core/login.js';
import { explainName, nameTrouble } from '../../core/names.js';
import { findProvider, type Provider } from '../../core/provider.js';
import { badScope, parseScopes } from '../../core/scopes.js';
import type { Wish } from '../../core/several.js';
import { timerDelay } from '../../core/time.js';
import { openFace } from '../../login/faces/index.js';
import { present } from '../../login/present.js';
import { claim, mistaken, nobodys } from '../../storer/needs.js';
import { canOpen, openInBrowser } from '../../system/browser.js';
import { systemClock as clock } from '../../system/clock.js';
import { askedFor } from './asked.js';
import type { StoreChoice } from './choose.js';
import type { LoginTools } from './context.js';
import { type Asked, groupsOf, noLogin } from './group.js';
import { meantBy } from './meant.js';
import { type Group, type Step, stepsFor } from './steps.js';

/** `credmon login`, as its options say. */
export interface LoginOptions {
  readonly providers: readonly string[];
  readonly config?: string;
  /** What jobs ask for, instead of providers: as condor_submit words it, by submit files, and by DAGs. */
  readonly request: readonly string[];
  readonly submit: readonly string[];
  readonly dag: readonly string[];
  readonly scope?: string;
  readonly audience?: string;
  readonly handle?: string;
  readonly store: StoreChoice;
  /** Seconds for all of it. */
  readonly timeout?: number;
  readonly force: boolean;
  readonly ifNeeded: boolean;
  readonly json: boolean;
  readonly plain: boolean;
}

/** Runs one login after the other; resolves to the exit code of the first that failed, else 0. */
export async function runLogin(options: LoginOptions): Promise<number> {
  const { env, stdin, stdout, stderr } = process;
  const wish = wishBy(options);
  const { asked, unknown } = await askedFor(options, env);
  const config = requireProviders(
    await loadConfig({ env, ...(options.config !== undefined && { file: options.config }) }),
    env,
  );
  const say = (text: string) => void stderr.write(`credmon: ${text}\n`);
  for (const text of unknown) say(text);
  const groups = byRequests(options)
    ? groupsAsked(asked, config, options.ifNeeded ? () => {} : say)
    : providersNamed(config, options.providers).map((provider) => ({ provider, wishes: [wish] }));
  const stop = new AbortController();
  const cancel = () =>
    stop.abort(new Failed({ kind: 'cancelled', what: 'the login was given up; nothing was stored' }));
  const release = onSignals(cancel);
  const limit = options.timeout === undefined ? undefined : timer(options.timeout, stop);
  const tools: LoginTools = {
    config,
    env,
    clock,
    stop: stop.signal,
    again: async () => (await face()).again(stop.signal),
  };
  const steps: Step[] = [];
  /** Opened when there is something to show: a login that is not needed loads nothing and says nothing. */
  let opened: ReturnType<typeof openFace> | undefined;
  const face = () => {
    opened ??= openFace({
      ...options,
      stdin,
      stdout,
      stderr,
      env,
      clock,
      account: userInfo().username,
      host: hostname(),
      total: steps.length,
      canOpen: canOpen(env),
      open: openInBrowser,
      onQuit: cancel,
    });
    return opened;
  };

  try {
    let code = 0;
    for (const group of groups) steps.push(...(await stepsFor(group, tools, options)).filter(isWanted(options)));
    for (const { left } of steps) if (left !== undefined) say(left);
    for (const { kept, login } of steps) {
      const end: Ended = kept ? await show(kept, await face()) : await present(login(), await face());
      if (end.at === 'failed' && code === 0) code = exitCode(end.failure);
      if (stop.signal.aborted) break;
    }
    return code;
  } finally {
    limit?.();
    await (await opened)?.close();
    release();
  }
}

const isWanted =
  ({ ifNeeded }: LoginOptions) =>
  ({ kept }: Step): boolean =>
    kept === undefined || !ifNeeded;

async function show(end: Ended, face: Awaited<ReturnType<typeof openFace>>): Promise<Ended> {
  face.show(end);
  return end;
}

function providersNamed(config: Config, names: readonly string[]): readonly Provider[] {
  const meant = names.length === 0 ? [meantBy(config, 'login')] : names;
  return [...new Set(meant)].map((name) => {
    const provider = findProvider(config.providers, name) ?? unknownProvider(config, name);
    if (provider.flow === 'device') return provider;
    throw new Failed({
      kind: 'unsupported',
      what: `${name}: ${noLogin(provider.flow, { service: name })}`,
      hint: 'see: credmon status',
    });
  });
}

const byRequests = ({ request, submit, dag }: LoginOptions): boolean => request.length + submit.length + dag.length > 0;

/** What is passed over is said. Throws Failed where all of it is nobody's: then there is nothing that a login could bring. */
function groupsAsked(asked: readonly Asked[], config: Config, say: (text: string) => void): readonly Group[] {
  const { groups, passedOver } = groupsOf(asked, config);
  const { known, unknown } = claim(
    asked.map(({ request }) => request),
    config,
  );
  const [first] = unknown;
  if (first && known.length + passedOver.length === 0) throw new Failed(nobodys(first, config));
  // Of the others some may be other credmons', which this configuration need not know.
  for (const request of unknown) if (mistaken(request, config)) say(inOneLine(nobodys(request, config)));
  for (const text of passedOver) say(text);
  if (asked.length === 0) say('no credential is asked for there');
  else if (groups.length + passedOver.length + unknown.length === 0) say('what is asked for is not credmon’s');
  return groups;
}

const inOneLine = ({ what, hint }: Failure): string => `${what}; ${hint}`;

/** What is asked for besides the provider's defaults. Throws Failed('usage'). */
function wishBy(options: LoginOptions): Wish {
  const { scope, audience, handle, providers } = options;
  if (byRequests(options) && (scope ?? audience ?? handle ?? providers[0]) !== undefined) {
    throw usage(
      'providers, --scope, --audience and --handle cannot be given along with --request, --submit and --dag',
      'these say what is asked for by themselves',
    );
  }
  const scopes = scope === undefined ? undefined : parseScopes(scope);
  const bad = scopes && badScope(scopes);
  if (bad !== undefined)
    throw usage(
      `--scope: "${bad}" has characters that a scope cannot have (RFC 6749 §3.3)`,
      'separate scopes by spaces or commas',
    );
  if (scopes?.length === 0) throw usage('--scope is empty', 'leave it out for the provider’s own scopes');
  const trouble = handle === undefined ? undefined : nameTrouble(handle);
  if (trouble) throw usage(`--handle ${handle}: ${explainName(trouble)}`, 'choose another handle');
  if (audience !== undefined && !/^[\x20-\x7E]{1,512}$/.test(audience.trim()))
    throw usage('--audience must be one line of printable ASCII', 'leave it out for the provider’s own audience');
  if (providers.length > 1 && (scopes || audience !== undefined)) {
    throw usage('--scope and --audience are for one provider at a time', 'log in to each with a command of its own');
  }
  return {
    ...(scopes && { scopes }),
    ...(audience !== undefined && { audience }),
    ...(handle !== undefined && { handle }),
  };
}

const usage = (what: string, hint: string): Failed => new Failed({ kind: 'usage', what, hint });

function timer(span: number, stop: AbortController): () => void {
  const what = `the login was not approved within ${span} s (--timeout); nothing was stored`;
  const t = setTimeout(
    () => stop.abort(new Failed({ kind: 'expired', what, hint: 'run the command again' })),
    timerDelay(span * 1000),
  );
  return () => clearTimeout(t);
}

function onSignals(cancel: () => void): () => void {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, cancel);
  return () => {
    for (const signal of signals) process.off(signal, cancel);
  };
}
