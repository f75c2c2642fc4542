import { anyService, type Flow, flows } from '../core/provider.js';
import type { Knobs } from './knobs.js';
import type { FileInput } from './schema.js';

/** The knobs of each key of a provider table, `*` standing for the provider's name; the first that is set counts. */
const usual = {
  flow: ['*_FLOW'],
  issuer: ['*_ISSUER'],
  client_id: ['*_CLIENT_ID'],
  client_secret_file: ['*_CLIENT_SECRET_FILE'],
  client_auth: ['*_CLIENT_AUTH'],
  scopes: ['*_SCOPES', '*_DEFAULT_SCOPES'],
  audience: ['*_AUDIENCE', '*_DEFAULT_AUDIENCE'],
  token_url: ['*_TOKEN_URL'],
  device_url: ['*_DEVICE_URL'],
  revocation_url: ['*_REVOCATION_URL'],
  endpoint_hosts: ['*_ENDPOINT_HOSTS'],
  ca_file: ['*_CA_FILE'],
  token_lifetime: ['*_TOKEN_LIFETIME'],
  grant_lifetime: ['*_GRANT_LIFETIME'],
  grant_idle: ['*_GRANT_IDLE'],
  allowed_scopes: ['*_ALLOWED_SCOPES'],
  allowed_audiences: ['*_ALLOWED_AUDIENCES'],
  use_json: ['*_TOKEN_USE_JSON'],
} as const;

/** HTCondor's client credmon reads a knob of the provider's first, then one for all (LocalCredmon.py, get_credmon_config). */
const clients = (knob: string) => [`CLIENT_CREDMON_*_${knob}`, `CLIENT_CREDMON_${knob}`] as const;

/** Where a flow has knobs of its own, as HTCondor's credmon for it has them. */
const special: { readonly [F in Flow]?: Readonly<Record<string, readonly string[]>> } = {
  pelican: {
    client_id: ['*_PELICAN_CLIENT_ID', '*_CLIENT_ID'],
    client_secret_file: ['*_PELICAN_CLIENT_SECRET_FILE', '*_CLIENT_SECRET_FILE'],
    token_url: ['*_PELICAN_TOKEN_URL', '*_TOKEN_URL'],
    ca_file: ['*_CA_FILE', 'PELICAN_CREDMON_CA_FILE'],
  },
  client: {
    issuer: clients('ISSUER'),
    client_id: clients('CLIENT_ID'),
    client_secret_file: clients('CLIENT_SECRET_FILE'),
    audience: clients('TOKEN_AUDIENCE'),
    token_url: clients('TOKEN_URL'),
    token_lifetime: clients('TOKEN_LIFETIME'),
    use_json: clients('TOKEN_USE_JSON'),
    authz_template: clients('AUTHZ_TEMPLATE'),
    authz_template_expr: clients('AUTHZ_TEMPLATE_EXPR'),
    authz_group_template: clients('AUTHZ_GROUP_TEMPLATE'),
    authz_group_mapfile: clients('AUTHZ_GROUP_MAPFILE'),
    authz_group_requirement: clients('AUTHZ_GROUP_REQUIREMENT'),
    token_version: clients('TOKEN_VERSION'),
  },
  vault: {
    ca_file: ['*_CA_FILE', 'AUTH_SSL_CLIENT_CAFILE', 'AUTH_SSL_CLIENT_CADIR'],
    // Of HTCondor's web flow, if the name has one: nothing that Vault is asked for.
    scopes: [],
    audience: [],
  },
};

const knobsOf = (flow: Flow): Readonly<Record<string, readonly string[]>> => ({ ...usual, ...special[flow] });

/** Knobs that are not a provider's: the path in the file's words, and the knob. */
const knobOf = {
  default_provider: 'CREDMON_DEFAULT_PROVIDER',
  token_minimum: 'CREDMON_OAUTH_TOKEN_MINIMUM',
  token_refresh: 'CREDMON_OAUTH_TOKEN_REFRESH',
  grant_warning: 'CREDMON_GRANT_WARNING',
  vault_storer: 'CREDMON_VAULT_STORER',
  'credmond.cred_dir': 'SEC_CREDENTIAL_DIRECTORY_OAUTH',
  'credmond.status_dir': 'CREDMON_STATUS_DIR',
  'credmond.sweep_interval': 'CREDMON_SWEEP_INTERVAL',
  'credmond.metrics_file': 'CREDMON_METRICS_FILE',
  'credmond.metrics_listen': 'CREDMON_METRICS_LISTEN',
  'broker.socket': 'CREDMON_BROKER_SOCKET',
  'broker.challenge_dir': 'CREDMON_BROKER_CHALLENGE_DIR',
  'broker.spool_dir': 'CREDMON_BROKER_SPOOL_DIR',
  'broker.account': 'CREDMON_BROKER_ACCOUNT',
  'broker.start': 'CREDMON_BROKER',
} as const;

/** Those of ssh logins. The rules are CREDMON_PAM_MAP_1, _2, …; see {@link ruleFrom}. */
const pamKnobOf = {
  enabled: 'CREDMON_PAM',
  provider: 'CREDMON_PAM_PROVIDER',
  socket: 'CREDMON_PAM_SOCKET',
  identities_dir: 'CREDMON_PAM_IDENTITIES_DIR',
  groups: 'CREDMON_PAM_GROUPS',
  entitlements: 'CREDMON_PAM_ENTITLEMENTS',
  acr: 'CREDMON_PAM_ACR',
  amr: 'CREDMON_PAM_AMR',
  idp: 'CREDMON_PAM_IDP',
  email_domains: 'CREDMON_PAM_EMAIL_DOMAINS',
  max_auth_age: 'CREDMON_PAM_MAX_AUTH_AGE',
  first_factor: 'CREDMON_PAM_FIRST_FACTOR',
  qr: 'CREDMON_PAM_QR',
  min_uid: 'CREDMON_PAM_MIN_UID',
  pin: 'CREDMON_PAM_PIN',
} as const;

/** HTCondor's knobs in the shape of the TOML file. `name`: the daemon's name, which its log's knobs begin with. */
export function fromKnobs(knobs: Knobs, name: string): FileInput {
  const get = (knob: string) => knobs.get(knob);
  const log = get(`${name}_LOG`);
  const max = bytes(get(`MAX_${name}_LOG`) ?? get('MAX_DEFAULT_LOG'));
  const keep = Number(get(`MAX_NUM_${name}_LOG`) ?? get('MAX_NUM_DEFAULT_LOG'));
  const debug = `${get(`${name}_DEBUG`) ?? ''} ${get('ALL_DEBUG') ?? ''}`;
  const refresh = Number(get('SEC_CREDENTIAL_REFRESH') ?? 300);
  const input: Record<string, unknown> = {
    // Whatever a job is handed must outlive the time until it is handed the next.
    token_minimum: Number.isFinite(refresh) && refresh > 0 ? Math.min(86_400, Math.ceil(refresh) + 60) : 360,
    credmond: {
      ...(log !== undefined && { log }),
      ...(max !== undefined && { max_log: max }),
      ...(Number.isInteger(keep) && keep >= 1 && { max_num_log: keep }),
      debug: /\bD_(?:FULLDEBUG|ALL)\b|:2\b/.test(debug),
    },
    broker: {},
    providers: Object.fromEntries(ours(knobs).map(({ name: it, flow }) => [it, providerFrom(knobs, it, flow)])),
  };
  for (const [path, knob] of Object.entries(knobOf)) {
    const value = get(knob) ?? (path === 'credmond.cred_dir' ? get('SEC_CREDENTIAL_DIRECTORY') : undefined);
    if (value === undefined) continue;
    const [table, key] = path.split('.') as [string, string | undefined];
    if (key === undefined) input[table] = value;
    else (input[table] as Record<string, unknown>)[key] = value;
  }
  const pam = pamFrom(knobs);
  if (pam !== undefined) input.pam = pam;
  return input as FileInput;
}

/** Undefined: not switched on. What is set to nothing is not passed over: a requirement that came to nothing is a fault. */
function pamFrom(knobs: Knobs): Record<string, unknown> | undefined {
  const enabled = knobs.get(pamKnobOf.enabled);
  if (enabled === undefined) return undefined;
  const pam: Record<string, unknown> = {};
  for (const [key, knob] of Object.entries(pamKnobOf)) if (isNamed(knobs, knob)) pam[key] = knobs.get(knob) ?? '';
  const rules = ruleKnobs(knobs);
  if (rules.length > 0) pam.map = rules.map((knob) => ruleFrom(knobs.get(knob) ?? ''));
  // A requirement that is misspelt would ask nothing.
  const known = new Set<string>([...Object.values(pamKnobOf), ...rules]);
  for (const knob of knobs.names) {
    const name = knob.toUpperCase();
    if (name.startsWith('CREDMON_PAM_') && !known.has(name)) pam[name.slice('CREDMON_PAM_'.length)] = '';
  }
  return pam;
}

/** CREDMON_PAM_MAP_1, _2, …, in the order of their numbers; numbers may be left out. */
const ruleKnobs = (knobs: Knobs): readonly string[] =>
  knobs.names
    .flatMap((name) => /^CREDMON_PAM_MAP_([1-9]\d{0,3})$/i.exec(name)?.[1] ?? [])
    .sort((a, b) => Number(a) - Number(b))
    .map((number) => `CREDMON_PAM_MAP_${number}`);

/** `claim`, `claim pattern`, `claim pattern user` or `claim file:/path`; what is too much stays, and is complained of. */
function ruleFrom(value: string): Record<string, string> {
  const [claim = '', second, ...rest] = value.trim().split(/\s+/);
  if (second?.startsWith('file:')) return { claim, file: second.slice('file:'.length), ...others(rest) };
  return { claim, ...(second !== undefined && { match: second }), ...others(rest) };
}

const others = ([user, ...more]: readonly string[]): Record<string, string> => ({
  ...(user !== undefined && { user }),
  ...(more[0] !== undefined && { [more[0]]: '' }),
});

/** The name of the knob that a path of the file's words came from, for messages. */
export function knobFor(path: readonly string[], name: string, knobs?: Knobs): string {
  const [table, key, field] = path;
  if (table === 'providers' && key !== undefined) {
    const flow = knobs && ours(knobs).find((provider) => provider.name === key)?.flow;
    const pattern = knobsOf(flow ?? 'device')[field ?? 'issuer']?.[0] ?? `*_${(field ?? '').toUpperCase()}`;
    if (field === 'namespace') return `${key}_PELICAN_URL`;
    return field === 'vault_hosts' ? 'TRUSTED_VAULT_HOSTS' : pattern.replace('*', key);
  }
  if (table === 'pam') {
    if (key === 'map') {
      if (field === undefined) return 'CREDMON_PAM_MAP_1';
      const knob = ruleKnobs(knobs ?? noKnobs)[Number(field)] ?? key;
      const word = path[3];
      return word === undefined || ['claim', 'match', 'user', 'file'].includes(word) ? knob : `"${word}" in ${knob}`;
    }
    return pamKnobOf[key as keyof typeof pamKnobOf] ?? `CREDMON_PAM_${key ?? ''}`;
  }
  const dotted = path.join('.');
  if (dotted === 'credmond.log') return `${name}_LOG`;
  return knobOf[dotted as keyof typeof knobOf] ?? dotted;
}

const noKnobs: Knobs = { get: () => undefined, names: [] };

function providerFrom(knobs: Knobs, provider: string, flow: Flow): Record<string, string> {
  const said = knobs.get(`${provider}_FLOW`);
  // A word that is no flow stays, and is complained of: people would be asked to log in where nobody has to.
  const out: Record<string, string> = { flow: said === undefined || isFlow(said) ? flow : said };
  for (const [key, patterns] of Object.entries(knobsOf(flow))) {
    const value = patterns.map((one) => knobs.get(one.replace('*', provider))).find((found) => found !== undefined);
    if (value !== undefined && key !== 'flow') out[key] = value;
    // A list of what is allowed that expands to nothing allows nothing.
    else if (key.startsWith('allowed_') && patterns.some((one) => isNamed(knobs, one.replace('*', provider))))
      out[key] = '';
  }
  if (flow === 'client') out.authz_template ??= 'read:/user/{username} write:/user/{username}';
  if (flow === 'vault') out.vault_hosts = vaultHosts(knobs).join(' ');
  const namespace = flow === 'pelican' ? namespaceOf(knobs, provider) : undefined;
  if (namespace !== undefined) out.namespace = namespace;
  return out;
}

/** Whether it is set at all, also to nothing. */
const isNamed = (knobs: Knobs, name: string): boolean =>
  knobs.names.some((one) => one.toUpperCase() === name.toUpperCase());

/** TRUSTED_VAULT_HOSTS, and the server that htgettoken is told to ask (-a). */
function vaultHosts(knobs: Knobs): readonly string[] {
  const server = /(?:^|\s)(?:-a|--vaultserver)[\s=]+(?:https:\/\/)?([A-Za-z0-9.-]+)/.exec(
    knobs.get('SEC_CREDENTIAL_GETTOKEN_OPTS') ?? '',
  );
  // condor_credd compares host and port, and Vault is asked at no other.
  const trusted = listIn(knobs, 'TRUSTED_VAULT_HOSTS').map((one) => one.replace(/:8200$/, ''));
  return unique([...trusted.filter((one) => !one.includes(':')), ...(server?.[1] ? [server[1]] : [])]);
}

/** `osdf:` is the Open Science Data Federation, whose host its clients know by heart. */
function namespaceOf(knobs: Knobs, provider: string): string | undefined {
  const url = knobs.get(`${provider}_PELICAN_URL`);
  if (url === undefined) return undefined;
  const base = url.replace(/^osdf:\/*/, 'pelican://osg-htc.org/').replace(/^https?:\/\//, 'pelican://');
  return `${base.replace(/\/+$/, '')}/${(knobs.get(`${provider}_PELICAN_PREFIX`) ?? '').replace(/^\/+/, '')}`;
}

/** Every knob that is read, `P` standing for a provider's name: for the README's table. */
export function everyKnob(): readonly string[] {
  const ofProviders = [usual, ...Object.values(special)].flatMap((table) => Object.values(table).flat());
  const others = ['P_PELICAN_URL', 'P_PELICAN_PREFIX', 'P_DEFAULT_OPTIONS', 'SEC_CREDENTIAL_GETTOKEN_OPTS'];
  const names = [
    ...ofProviders.map((one) => one.replace('*', 'P')),
    ...Object.values(knobOf),
    ...others,
    ...Object.values(pamKnobOf),
  ];
  return unique([
    ...names,
    'CREDMON_PAM_MAP_1',
    'TRUSTED_VAULT_HOSTS',
    'CREDMON_PROVIDER_NAMES',
    'SEC_CREDENTIAL_REFRESH',
  ]);
}

const isFlow = (word: string): boolean => (flows as readonly string[]).includes(word.toLowerCase());

interface Named {
  readonly name: string;
  readonly flow: Flow;
}

/**
 * The providers that are ours: those of CREDMON_PROVIDER_NAMES. Without that list those of the lists that HTCondor's own
 * credmons have, each as its list says; and without those of OAuth2 and Vault, all that have an issuer or a token endpoint,
 * and a client. `<provider>_FLOW` says how it is done where the lists say otherwise, or nothing.
 */
function ours(knobs: Knobs): readonly Named[] {
  const list = (knob: string) => listIn(knobs, knob).filter((name) => name !== anyService);
  const flowOf = (name: string): Flow => {
    const said = knobs.get(`${name}_FLOW`);
    return said !== undefined && isFlow(said) ? (said.toLowerCase() as Flow) : impliedFlow(knobs, name);
  };
  const named = (names: readonly string[]) => unique(names).map((name) => ({ name, flow: flowOf(name) }));
  if (knobs.get('CREDMON_PROVIDER_NAMES') !== undefined) return named(list('CREDMON_PROVIDER_NAMES'));
  const [vault, oauth2] = [list('VAULT_CREDMON_PROVIDER_NAMES'), list('OAUTH2_CREDMON_PROVIDER_NAMES')];
  const others = [...list('PELICAN_CREDMON_PROVIDER_NAMES'), ...list('CLIENT_CREDMON_PROVIDER_NAMES')];
  const listed = [...vault, ...oauth2.filter((name) => isOAuth(knobs, name)), ...others];
  const found = vault.length + oauth2.length > 0 ? [] : configured(knobs);
  return [...named([...listed, ...found]), ...(anyVault(knobs) ? [{ name: anyService, flow: 'vault' as const }] : [])];
}

/** Whether every name that is nobody else's is one of Vault's, as HTCondor's Vault credmon has it without a list. */
function anyVault(knobs: Knobs): boolean {
  if (knobs.get('SEC_CREDENTIAL_GETTOKEN_OPTS') === undefined) return false;
  const listed = listIn(knobs, 'VAULT_CREDMON_PROVIDER_NAMES');
  return listed.length === 0 || listed.includes(anyService);
}

function impliedFlow(knobs: Knobs, name: string): Flow {
  const isIn = (knob: string) => listIn(knobs, knob).some((one) => one.toLowerCase() === name.toLowerCase());
  const has = (suffix: string) => knobs.get(`${name}_${suffix}`) !== undefined;
  if (isIn('PELICAN_CREDMON_PROVIDER_NAMES')) return 'pelican';
  if (isIn('CLIENT_CREDMON_PROVIDER_NAMES')) return 'client';
  if (!isIn('VAULT_CREDMON_PROVIDER_NAMES')) return has('PELICAN_URL') ? 'pelican' : 'device';
  // For HTCondor 25 ours stand in Vault's list as well: what has a knob that Vault's have not is one of ours, complete or not.
  const listed = listIn(knobs, 'CREDMON_PROVIDER_NAMES').some((one) => one.toLowerCase() === name.toLowerCase());
  const ofOurs = ['CLIENT_ID', 'ISSUER', 'TOKEN_URL', 'SCOPES', 'CLIENT_SECRET_FILE', 'DEVICE_URL'].some(has);
  if (!isOAuth(knobs, name)) return listed && ofOurs ? 'device' : 'vault';
  // So the IceCube credmon is set up: its storer has the provider's name from there.
  return has('DEFAULT_OPTIONS') && has('CLIENT_SECRET_FILE') ? 'exchange' : 'device';
}

const isOAuth = (knobs: Knobs, name: string): boolean =>
  knobs.get(`${name}_CLIENT_ID`) !== undefined &&
  ['ISSUER', 'TOKEN_URL'].some((suffix) => knobs.get(`${name}_${suffix}`) !== undefined);

/** Names that have a client and an issuer or token endpoint, but for those of HTCondor's other credmons. */
function configured(knobs: Knobs): readonly string[] {
  const found = knobs.names.flatMap((knob) => /^(.+)_(?:ISSUER|TOKEN_URL)$/i.exec(knob)?.[1] ?? []);
  return unique(found).filter(
    (name) => !/^(?:LOCAL|CLIENT)_CREDMON(?:_|$)|_PELICAN$/i.test(name) && isOAuth(knobs, name),
  );
}

/** Names that HTCondor's configuration gives to one of its credmons, ours among them. */
export function namedIn(knobs: Knobs): readonly string[] {
  const lists = ['LOCAL', 'CLIENT', 'OAUTH2', 'VAULT', 'PELICAN'].map((kind) => `${kind}_CREDMON_PROVIDER_NAMES`);
  const clients = knobs.names.flatMap((knob) => /^(.+)_CLIENT_ID$/i.exec(knob)?.[1] ?? []);
  // The built-in name of the local issuer (param_info.in).
  const local = knobs.get('LOCAL_CREDMON_PROVIDER_NAME') ?? 'scitokens';
  return unique([...lists.flatMap((knob) => listIn(knobs, knob)), local, ...clients]);
}

const listIn = (knobs: Knobs, knob: string): readonly string[] =>
  (knobs.get(knob) ?? '').split(/[\s,]+/).filter((name) => name !== '');

function unique(names: readonly string[]): readonly string[] {
  const seen = new Set<string>();
  return names.filter((name) => !seen.has(name.toLowerCase()) && seen.add(name.toLowerCase()));
}

/** HTCondor's sizes: a number and perhaps Kb, Mb or Gb; undefined for what is not a size (such as a span of time). */
function bytes(text: string | undefined): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*(b|kb?|mb?|gb?)?$/i.exec(text ?? '');
  if (match === null) return undefined;
  const unit =
    { k: 1024, m: 1024 ** 2, g: 1024 ** 3 }[(match[2] ?? '').toLowerCase().charAt(0) as 'k' | 'm' | 'g'] ?? 1;
  return Math.round(Number(match[1]) * unit);
}
