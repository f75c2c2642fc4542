import { lstatSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config, PamSettings } from '../core/config.js';
import { Failed } from '../core/failure.js';
import { parseLoopback } from '../core/loopback.js';
import { nearest, parseStem } from '../core/names.js';
import type { Provider, Templates } from '../core/provider.js';
import { seconds } from '../core/time.js';
import { fromKnobs, knobFor, namedIn } from './condor.js';
import { type Knobs, readKnobs } from './knobs.js';
import { check, type FileOutput, type PamOutput, type ProviderOutput } from './schema.js';

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
    knobs &&
    judge(fromKnobs(knobs, name), 'HTCondor’s configuration', (path) => knobFor(path, name, knobs), env, knobs);
  if (condor && condor.providers.size > 0) return condor;
  for (const path of [personalFile(env), system]) {
    // sudo may keep HOME: root does not take its settings from somebody else's file.
    if (path === undefined || (path !== system && process.getuid?.() === 0 && !ownedByRoot(path))) continue;
    const text = await read(path);
    if (text !== undefined) return fromToml(text, path, env);
  }
  return condor ?? judge({}, 'no configuration', (path) => path.join('.'), env);
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
  const parsed = parseStem(name, config.providers.keys());
  if (parsed?.handle !== undefined) {
    throw new Failed({
      kind: 'config',
      what: `no provider "${name}" in ${config.source}`,
      hint: `a handle is named apart: ${parsed.provider} --handle ${parsed.handle}`,
    });
  }
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
  return judge(input, file, (path) => path.join('.'), env);
}

function judge(
  input: unknown,
  source: string,
  label: (path: readonly string[]) => string,
  env: NodeJS.ProcessEnv,
  knobs?: Knobs,
): Config {
  const htcondor = knobs !== undefined;
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
    const twin = [...providers.keys()].find((one) => one.toLowerCase() === name.toLowerCase());
    if (twin !== undefined) refuse(['providers', name], `is the same name as "${twin}", but for its letters' case`);
    const lacking = missingIn(given, htcondor);
    if (lacking !== undefined) refuse(['providers', name, lacking], 'is missing');
    providers.set(name, providerOf(name, given));
  }
  const preferred = good.default_provider ?? (providers.size === 1 ? providers.keys().next().value : undefined);
  if (good.default_provider !== undefined && !providers.has(good.default_provider)) {
    refuse(['default_provider'], `names "${good.default_provider}", which is not a provider`);
  }
  const others = knobs === undefined ? [] : namedIn(knobs);
  const trouble = good.pam?.enabled ? pamTrouble(good.pam, providers, preferred) : undefined;
  if (trouble !== undefined) refuse(['pam', trouble.key], trouble.what);
  return Object.freeze({
    source,
    providers,
    others,
    names: namesOf(providers, others),
    ...(preferred !== undefined && { preferred }),
    ...(good.pam?.enabled && { pam: pamOf(good.pam, preferred ?? '', foldersOf(env, htcondor)) }),
    ...settings(good, env, htcondor),
  });
}

/** Compared as HTCondor compares the names of knobs. */
function namesOf(providers: ReadonlyMap<string, Provider>, others: readonly string[]): readonly string[] {
  const names = new Map([...providers.keys()].map((name) => [name.toLowerCase(), name]));
  for (const name of others) if (!names.has(name.toLowerCase())) names.set(name.toLowerCase(), name);
  return Object.freeze([...names.values()]);
}

function foldersOf(env: NodeJS.ProcessEnv, htcondor: boolean): { readonly run: string; readonly lib: string } {
  // A personal set-up has no folders of the system's to write in.
  const own =
    process.getuid?.() !== 0 && !htcondor && env.XDG_RUNTIME_DIR ? join(env.XDG_RUNTIME_DIR, 'credmon') : undefined;
  // Anybody can fill the challenge folder, and a person's status file is that person's: not on /run, which is memory.
  return { run: own ?? '/run/credmon', lib: own ?? '/var/lib/credmon' };
}

function settings(
  good: FileOutput,
  env: NodeJS.ProcessEnv,
  htcondor: boolean,
): Omit<Config, 'source' | 'providers' | 'preferred' | 'others' | 'names' | 'pam'> {
  const { credmond, broker } = good;
  const { run, lib } = foldersOf(env, htcondor);
  const listen = credmond.metrics_listen === undefined ? undefined : parseLoopback(credmond.metrics_listen);
  return {
    ...(credmond.cred_dir !== undefined && { credDir: credmond.cred_dir }),
    htcondor,
    minimum: seconds(good.token_minimum ?? 360),
    ...(good.token_refresh !== undefined && { refresh: seconds(good.token_refresh) }),
    // Long enough for a weekend.
    warning: seconds(good.grant_warning ?? 3 * 86_400),
    ...(good.vault_storer !== undefined && { otherStorer: good.vault_storer }),
    sweep: seconds(credmond.sweep_interval ?? 60),
    statusDir: credmond.status_dir ?? join(lib, 'status'),
    metrics: {
      ...(credmond.metrics_file !== undefined && { file: credmond.metrics_file }),
      ...(listen !== undefined && { listen }),
    },
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

/** The first thing that ssh logins cannot do with. */
function pamTrouble(
  given: PamOutput,
  providers: ReadonlyMap<string, Provider>,
  preferred: string | undefined,
): { readonly key: keyof PamOutput; readonly what: string } | undefined {
  const name = given.provider ?? preferred;
  if (name === undefined) return { key: 'provider', what: 'is missing, and there is no default provider' };
  const provider = providers.get(name);
  const wrong = (what: string) => ({ key: 'provider', what: `names "${name}", ${what}` }) as const;
  if (provider === undefined) return wrong('which is not a provider');
  if (provider.flow !== 'device') return wrong('which people do not log in to by the device flow');
  if (provider.issuer === undefined) return wrong('which has no issuer whose ID tokens could be verified');
  if (provider.scopes.length > 0 && !provider.scopes.includes('openid'))
    return wrong('whose scopes lack openid: it would not say who logs in');
  if (given.map.length === 0) return { key: 'map', what: 'is missing: no rule says who is which user' };
  // An address may be given to another person.
  if (given.pin === false && given.map.some(({ claim }) => claim === 'email'))
    return { key: 'pin', what: 'is false, and a rule goes by email, which by itself says nothing for certain' };
  return undefined;
}

function pamOf(given: PamOutput, preferred: string, { run, lib }: ReturnType<typeof foldersOf>): PamSettings {
  return Object.freeze({
    provider: given.provider ?? preferred,
    socket: given.socket ?? join(run, 'pam', 'socket'),
    identitiesDir: given.identities_dir ?? join(lib, 'identities'),
    map: given.map,
    policy: Object.freeze({
      ...(given.groups !== undefined && { groups: given.groups }),
      ...(given.entitlements !== undefined && { entitlements: given.entitlements }),
      ...(given.acr !== undefined && { acr: given.acr }),
      ...(given.amr !== undefined && { amr: given.amr }),
      ...(given.idp !== undefined && { idp: given.idp }),
      ...(given.email_domains !== undefined && { emailDomains: given.email_domains }),
      ...(given.max_auth_age !== undefined && { maxAuthAge: seconds(given.max_auth_age) }),
    }),
    firstFactor: given.first_factor ?? 'required',
    qr: given.qr ?? 'auto',
    minUid: given.min_uid ?? 1000,
    pin: given.pin ?? true,
  });
}

/** The first setting that a provider of this flow cannot do without. */
function missingIn(given: ProviderOutput, htcondor: boolean): keyof ProviderOutput | undefined {
  const flow = given.flow ?? 'device';
  if (flow === 'vault') return undefined;
  if (flow !== 'mytoken' && given.client_id === undefined) return 'client_id';
  const issuerKnown = given.issuer !== undefined || given.token_url !== undefined;
  if (flow === 'pelican' ? !issuerKnown && given.namespace === undefined : !issuerKnown)
    return flow === 'pelican' ? 'namespace' : 'issuer';
  if ((flow === 'exchange' || flow === 'client') && given.client_secret_file === undefined) return 'client_secret_file';
  if (flow === 'client' && given.authz_template === undefined) return 'authz_template';
  const groups = given.authz_group_template ?? given.authz_group_requirement;
  if (groups !== undefined && given.authz_group_mapfile === undefined) return 'authz_group_mapfile';
  // HTCondor's own web flow needs none.
  return flow === 'device' && given.issuer === undefined && given.device_url === undefined && !htcondor
    ? 'device_url'
    : undefined;
}

function providerOf(name: string, given: ProviderOutput): Provider {
  const flow = given.flow ?? 'device';
  return Object.freeze({
    name,
    flow,
    clientId: given.client_id ?? '',
    scopes: given.scopes,
    bare: !(given.use_json ?? flow !== 'vault'),
    ...(given.issuer !== undefined && { issuer: given.issuer }),
    ...(given.client_secret_file !== undefined && { secretFile: given.client_secret_file }),
    ...(given.client_auth !== undefined && { clientAuth: given.client_auth }),
    ...(given.audience !== undefined && { audience: given.audience }),
    ...(given.token_url !== undefined && { tokenUrl: given.token_url }),
    ...(given.device_url !== undefined && { deviceUrl: given.device_url }),
    ...(given.revocation_url !== undefined && { revocationUrl: given.revocation_url }),
    ...(given.endpoint_hosts !== undefined && { endpointHosts: given.endpoint_hosts }),
    ...(given.ca_file !== undefined && { caFile: given.ca_file }),
    ...(given.token_lifetime !== undefined && { life: seconds(given.token_lifetime) }),
    ...(given.grant_lifetime !== undefined && { grantLife: seconds(given.grant_lifetime) }),
    ...(given.grant_idle !== undefined && { grantIdle: seconds(given.grant_idle) }),
    ...(given.allowed_scopes !== undefined && { allowedScopes: given.allowed_scopes }),
    ...(given.allowed_audiences !== undefined && { allowedAudiences: given.allowed_audiences }),
    ...(given.vault_hosts !== undefined && { vaultHosts: given.vault_hosts }),
    ...(given.namespace !== undefined && { namespace: given.namespace }),
    ...(given.authz_template !== undefined && { templates: templatesOf(given.authz_template, given) }),
  });
}

const templatesOf = (user: string, given: ProviderOutput): Templates => ({
  user,
  ...(given.authz_group_template !== undefined && { group: given.authz_group_template }),
  ...(given.authz_group_mapfile !== undefined && { mapFile: given.authz_group_mapfile }),
  ...(given.authz_group_requirement !== undefined && { requirement: given.authz_group_requirement }),
  ...(given.token_version !== undefined && { version: given.token_version }),
});
