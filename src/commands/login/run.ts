import { hostname, userInfo } from 'node:os';
import { loadConfig, requireProviders, unknownProvider } from '../../config/load.js';
import type { Config } from '../../core/config.js';
import { exitCode, Failed } from '../../core/failure.js';
import type { Ended } from '../../core/login.js';
import { explainName, nameTrouble } from '../../core/names.js';
import { findProvider, type Provider } from '../../core/provider.js';
import { badScope, parseScopes } from '../../core/scopes.js';
import { timerDelay } from '../../core/time.js';
import { openFace } from '../../login/faces/index.js';
import { present } from '../../login/present.js';
import { canOpen, openInBrowser } from '../../system/browser.js';
import { systemClock as clock } from '../../system/clock.js';
import { openWay, type StoreChoice } from './choose.js';
import type { LoginContext } from './context.js';

/** `credmon login`, as its options say. */
export interface LoginOptions {
  readonly providers: readonly string[];
  readonly config?: string;
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
  const wanted = wantedBy(options);
  const config = requireProviders(
    await loadConfig({ env, ...(options.config !== undefined && { file: options.config }) }),
    env,
  );
  const providers = providersNamed(config, options.providers);
  const stop = new AbortController();
  const cancel = () =>
    stop.abort(new Failed({ kind: 'cancelled', what: 'the login was given up; nothing was stored' }));
  const release = onSignals(cancel);
  const limit = options.timeout === undefined ? undefined : timer(options.timeout, stop);
  const context = (provider: Provider): LoginContext => ({
    config,
    provider,
    env,
    clock,
    stop: stop.signal,
    again: async () => (await face()).again(stop.signal),
    ...wanted,
  });
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
      total: providers.length,
      canOpen: canOpen(env),
      open: openInBrowser,
      onQuit: cancel,
    });
    return opened;
  };

  try {
    let code = 0;
    for (const provider of providers) {
      const way = await openWay(context(provider), options.store);
      const there = options.force ? undefined : await way.present();
      if (there && options.ifNeeded) continue;
      const end: Ended = there ? await show(there, await face()) : await present(way.login(), await face());
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

async function show(end: Ended, face: Awaited<ReturnType<typeof openFace>>): Promise<Ended> {
  face.show(end);
  return end;
}

function providersNamed(config: Config, names: readonly string[]): readonly Provider[] {
  if (names.length === 0) {
    if (config.preferred !== undefined) return [findProvider(config.providers, config.preferred) as Provider];
    const all = [...config.providers.keys()];
    throw new Failed({
      kind: 'usage',
      what: `there are several providers, and none is the default: ${all.join(', ')}`,
      hint: `name one or more: credmon login ${all[0]}`,
    });
  }
  return [...new Set(names)].map((name) => findProvider(config.providers, name) ?? unknownProvider(config, name));
}

/** What is asked for besides the provider's defaults. Throws Failed('usage'). */
function wantedBy({
  scope,
  audience,
  handle,
  providers,
}: LoginOptions): Pick<LoginContext, 'scopes' | 'audience' | 'handle'> {
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
