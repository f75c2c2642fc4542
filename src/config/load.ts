import { lstatSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config } from '../core/config.js';
import { Failed } from '../core/failure.js';
import { nearest } from '../core/names.js';
import type { Provider } from '../core/provider.js';
import { seconds } from '../core/time.js';
import { fromKnobs, knobFor } from './condor.js';
import { readKnobs } from './knobs.js';
import { check, type FileOutput, type ProviderOutput } from './schema.js';

export interface Source {
  /** --config. Then nothing else is looked at. */
  readonly file?: string;
  readonly env: NodeJS.ProcessEnv;
  /** The daemon's name, which HTCondor's knobs for its log begin with: CREDMON_OAUTH unless --name says otherwise. */
  readonly name?: string;
}

const system = '/etc/credmon/credmon.toml';

/**
 * The configuration: of --config or CREDMON_CONFIG; else HTCondor's, where it names a provider for us; else the person's
 * own file, else the system's. Throws Failed('config') for what is wrong in it. One without any provider is no failure
 * here: {@link requireProviders} is for those that need one.
 */
export async function loadConfig({ file, env, name = 'CREDMON_OAUTH' }: Source): Promise<Config> {
  const named = file ?? env.CREDMON_CONFIG;
  if (named) {
    const text = await read(named);
    if (text === undefined) {
      throw new Failed({
        kind: 'config',
        what: `the configuration ${named} does not exist`,
        hint: 'check --config or CREDMON_CONFIG',
      });
    }
    return fromToml(text, named, env);
  }
  const knobs = await readKnobs(env);
  const condor =
    knobs && judge(fromKnobs(knobs, name), 'HTCondor’s configuration', (path) => knobFor(path, name), env, true);
  if (condor && condor.providers.size > 0) return condor;
  for (const path of [personalFile(env), system]) {
    // sudo may keep HOME: root does not take its settings from somebody else's file.
    if (path === undefined || (path !== system && process.getuid?.() === 0 && !ownedByRoot(path))) continue;
    const text = await read(path);
    if (text !== undefined) return fromToml(text, path, env);
  }
  return condor ?? judge({}, 'no configuration', (path) => path.join('.'), env, false);
}

/** The same configuration, or a Failed that tells where a provider could be configured. */
export function requireProviders(config: Config, env: NodeJS.ProcessEnv): Config {
  if (config.providers.size > 0) return config;
  throw new Failed({
    kind: 'config',
    what: `no provider is configured (looked at HTCondor’s configuration, ${personalFile(env) ?? '~/.config/credmon/credmon.toml'} and ${system})`,
    hint: 'set CREDMON_PROVIDER_NAMES, <provider>_ISSUER and <provider>_CLIENT_ID in HTCondor’s configuration, or write the file: see the README',
  });
}

/** Throws Failed for a provider that is not configured, naming the nearest that is. */
export function unknownProvider(config: Config, name: string): never {
  const near = nearest(name, config.providers.keys());
  const all = [...config.providers.keys()].join(', ');
  throw new Failed({
    kind: 'config',
    what: `no provider "${name}" in ${config.source}`,
    hint: near === undefined ? `there is: ${all}` : `did you mean ${near}? There is: ${all}`,
  });
}

function personalFile(env: NodeJS.ProcessEnv): string | undefined {
  const base = env.XDG_CONFIG_HOME?.startsWith('/')
    ? env.XDG_CONFIG_HOME
    : env.HOME
      ? join(env.HOME, '.config')
      : undefined;
  return base === undefined ? undefined : join(base, 'credmon', 'credmon.toml');
}

const ownedByRoot = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false })?.uid === 0;

async function read(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new Failed(
      { kind: 'config', what: `the configuration ${file} cannot be read (${code})`, hint: 'check its mode and owner' },
      { cause },
    );
  }
}

async function fromToml(text: string, file: string, env: NodeJS.ProcessEnv): Promise<Config> {
  const { parse, TomlError } = await import('smol-toml');
  let input: unknown;
  try {
    input = parse(text);
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause;
    const what = `${file}, line ${cause.line}, column ${cause.column}: ${cause.message.split('\n')[0]}`;
    throw new Failed({ kind: 'config', what, hint: 'mend that line' }, { cause });
  }
  return judge(input, file, (path) => path.join('.'), env, false);
}

function judge(
  input: unknown,
  source: string,
  label: (path: readonly string[]) => string,
  env: NodeJS.ProcessEnv,
  htcondor: boolean,
): Config {
  const refuse = (path: readonly string[], what: string): never => {
    throw new Failed({
      kind: 'config',
      what: `${source}: ${label(path) || 'the file'} ${what}`,
      hint: 'mend it there, then run the command again',
    });
  };
  const result = check(input);
  if (!('good' in result)) return refuse(result.path, result.what);
  const { good } = result;
  const providers = new Map<string, Provider>();
  for (const [name, given] of Object.entries(good.providers)) {
    if (given.issuer === undefined && given.token_url === undefined)
      refuse(['providers', name, 'issuer'], 'is missing');
    if (given.issuer === undefined && given.device_url === undefined && !htcondor)
      refuse(['providers', name, 'device_url'], 'is missing');
    providers.set(name, providerOf(name, given));
  }
  const preferred = good.default_provider ?? (providers.size === 1 ? providers.keys().next().value : undefined);
  if (good.default_provider !== undefined && !providers.has(good.default_provider)) {
    refuse(['default_provider'], `names "${good.default_provider}", which is not a provider`);
  }
  return Object.freeze({
    source,
    providers,
    ...(preferred !== undefined && { preferred }),
    ...settings(good, env, htcondor),
  });
}

function settings(
  good: FileOutput,
  env: NodeJS.ProcessEnv,
  htcondor: boolean,
): Omit<Config, 'source' | 'providers' | 'preferred'> {
  const { credmond, broker } = good;
  // A personal set-up has no folders of the system's to write in.
  const own =
    process.getuid?.() !== 0 && !htcondor && env.XDG_RUNTIME_DIR ? join(env.XDG_RUNTIME_DIR, 'credmon') : undefined;
  const run = own ?? '/run/credmon';
  // Anybody can fill the challenge folder, and a person's status file is that person's: not on /run, which is memory.
  const lib = own ?? '/var/lib/credmon';
  return {
    ...(credmond.cred_dir !== undefined && { credDir: credmond.cred_dir }),
    htcondor,
    minimum: seconds(good.token_minimum ?? 360),
    sweep: seconds(credmond.sweep_interval ?? 60),
    statusDir: credmond.status_dir ?? join(lib, 'status'),
    log: {
      ...(credmond.log !== undefined && { file: credmond.log }),
      debug: credmond.debug ?? false,
      max: credmond.max_log ?? 10 * 1024 * 1024,
      keep: credmond.max_num_log ?? 1,
    },
    broker: {
      socket: broker.socket ?? join(run, 'broker', 'socket'),
      challengeDir: broker.challenge_dir ?? join(lib, 'challenge'),
      spoolDir: broker.spool_dir ?? join(lib, 'spool'),
      account: broker.account ?? 'credmon',
      start: broker.start ?? true,
    },
  };
}

function providerOf(name: string, given: ProviderOutput): Provider {
  return Object.freeze({
    name,
    clientId: given.client_id,
    scopes: given.scopes,
    bare: !given.use_json,
    ...(given.issuer !== undefined && { issuer: given.issuer }),
    ...(given.client_secret_file !== undefined && { secretFile: given.client_secret_file }),
    ...(given.client_auth !== undefined && { clientAuth: given.client_auth }),
    ...(given.audience !== undefined && { audience: given.audience }),
    ...(given.token_url !== undefined && { tokenUrl: given.token_url }),
    ...(given.device_url !== undefined && { deviceUrl: given.device_url }),
    ...(given.revocation_url !== undefined && { revocationUrl: given.revocation_url }),
    ...(given.ca_file !== undefined && { caFile: given.ca_file }),
    ...(given.token_lifetime !== undefined && { life: seconds(given.token_lifetime) }),
  });
}
