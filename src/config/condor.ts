import type { Knobs } from './knobs.js';
import type { FileInput } from './schema.js';

/** `<provider>_<KNOB>` for each key of a provider table; the first that is set counts. */
const providerKnobs = {
  issuer: ['ISSUER'],
  client_id: ['CLIENT_ID'],
  client_secret_file: ['CLIENT_SECRET_FILE'],
  client_auth: ['CLIENT_AUTH'],
  scopes: ['SCOPES', 'DEFAULT_SCOPES'],
  audience: ['AUDIENCE', 'DEFAULT_AUDIENCE'],
  token_url: ['TOKEN_URL'],
  device_url: ['DEVICE_URL'],
  revocation_url: ['REVOCATION_URL'],
  ca_file: ['CA_FILE'],
  token_lifetime: ['TOKEN_LIFETIME'],
  use_json: ['TOKEN_USE_JSON'],
} as const;

/** Knobs that are not a provider's: the path in the file's words, and the knob. */
const knobOf = {
  default_provider: 'CREDMON_DEFAULT_PROVIDER',
  token_minimum: 'CREDMON_OAUTH_TOKEN_MINIMUM',
  'credmond.cred_dir': 'SEC_CREDENTIAL_DIRECTORY_OAUTH',
  'credmond.status_dir': 'CREDMON_STATUS_DIR',
  'credmond.sweep_interval': 'CREDMON_SWEEP_INTERVAL',
  'broker.socket': 'CREDMON_BROKER_SOCKET',
  'broker.challenge_dir': 'CREDMON_BROKER_CHALLENGE_DIR',
  'broker.spool_dir': 'CREDMON_BROKER_SPOOL_DIR',
  'broker.account': 'CREDMON_BROKER_ACCOUNT',
  'broker.start': 'CREDMON_BROKER',
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
    providers: Object.fromEntries(ours(knobs).map((provider) => [provider, providerFrom(knobs, provider)])),
  };
  for (const [path, knob] of Object.entries(knobOf)) {
    const value = get(knob) ?? (path === 'credmond.cred_dir' ? get('SEC_CREDENTIAL_DIRECTORY') : undefined);
    if (value === undefined) continue;
    const [table, key] = path.split('.') as [string, string | undefined];
    if (key === undefined) input[table] = value;
    else (input[table] as Record<string, unknown>)[key] = value;
  }
  return input as FileInput;
}

/** The name of the knob that a path of the file's words came from, for messages. */
export function knobFor(path: readonly string[], name: string): string {
  const [table, key, field] = path;
  if (table === 'providers' && key !== undefined) {
    return field === undefined
      ? `${key}_ISSUER`
      : `${key}_${providerKnobs[field as keyof typeof providerKnobs]?.[0] ?? field}`;
  }
  const dotted = path.join('.');
  if (dotted === 'credmond.log') return `${name}_LOG`;
  return knobOf[dotted as keyof typeof knobOf] ?? dotted;
}

function providerFrom(knobs: Knobs, provider: string): Record<string, string> {
  const out: Record<string, string> = {};
  for (const [key, names] of Object.entries(providerKnobs)) {
    const value = names.map((name) => knobs.get(`${provider}_${name}`)).find((found) => found !== undefined);
    if (value !== undefined) out[key] = value;
  }
  return out;
}

/**
 * The providers that are ours: those of CREDMON_PROVIDER_NAMES. Without that list: those of the lists of HTCondor's Vault
 * and OAuth2 credmons which have an issuer or token endpoint and a client (that is how the IceCube credmon is set up);
 * without these: all that have an issuer and a client. Everything else in the directory belongs to other credmons.
 */
function ours(knobs: Knobs): readonly string[] {
  const list = (knob: string) => (knobs.get(knob) ?? '').split(/[\s,]+/).filter((name) => name !== '' && name !== '*');
  if (knobs.get('CREDMON_PROVIDER_NAMES') !== undefined) return unique(list('CREDMON_PROVIDER_NAMES'));
  const has = (name: string, ...suffixes: string[]) =>
    suffixes.some((suffix) => knobs.get(`${name}_${suffix}`) !== undefined);
  const listed = unique([...list('VAULT_CREDMON_PROVIDER_NAMES'), ...list('OAUTH2_CREDMON_PROVIDER_NAMES')]);
  if (listed.length > 0) return listed.filter((name) => has(name, 'CLIENT_ID') && has(name, 'ISSUER', 'TOKEN_URL'));
  const issuers = knobs.names.filter((name) => /._ISSUER$/i.test(name)).map((name) => name.slice(0, -'_ISSUER'.length));
  return unique(issuers).filter((name) => !/^(?:LOCAL|CLIENT)_CREDMON(?:_|$)/i.test(name) && has(name, 'CLIENT_ID'));
}

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
