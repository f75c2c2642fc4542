/**
 * How HTCondor decides who brings a job's credential: condor_submit and condor_credd each sort the services of
 * `use_oauth_services` by the same knobs. Names in its lists are compared with regard to case, names of knobs without.
 */

/** HTCondor's configuration, as far as it is asked here; undefined for what is not set or empty. */
export interface SortingKnobs {
  get(name: string): string | undefined;
}

/** `major.minor.patch`. */
export type CondorVersion = readonly [major: number, minor: number, patch: number];

/** What condor_version prints, or its CONDOR_VERSION; undefined for what is neither. */
export function parseVersion(text: string): CondorVersion | undefined {
  const found = /(?:^|\s)(\d+)\.(\d+)\.(\d+)/.exec(text)?.slice(1).map(Number);
  const [major, minor, patch] = found ?? [];
  return major === undefined || minor === undefined || patch === undefined ? undefined : [major, minor, patch];
}

/**
 *   all      before 24.5 nothing is sorted
 *   local    condor_credd makes the `.top`, and a local issuer's credmon the token
 *   client   likewise, by client credentials
 *   oauth2   HTCondor's web page
 *   vault, pelican   the storer
 *   unknown  nobody's
 */
export type ServiceType = 'all' | 'local' | 'client' | 'oauth2' | 'vault' | 'pelican' | 'unknown';

export interface Sorted {
  readonly type: ServiceType;
  /** The knob that decided; for `unknown`, the one that would have. */
  readonly knob: string;
  /** SEC_CREDENTIAL_STORER is called for it, with this CONDOR_CREDENTIAL_STORER_MODE. */
  readonly storer?: { readonly mode?: 'vault' | 'pelican' };
}

const storerKnob = 'SEC_CREDENTIAL_STORER';
const wildcard = '*';

/** Since 24.5 services are sorted (store_cred.cpp, CredSorter), since 25.14 Pelican's are, and the storer is told its mode. */
export const isSorted = (version: CondorVersion): boolean => atLeast(version, 24, 5);
const knowsPelican = (version: CondorVersion): boolean => atLeast(version, 25, 14);

const atLeast = ([major, minor]: CondorVersion, ...[a, b]: readonly [number, number]): boolean =>
  major > a || (major === a && minor >= b);

/** Who is to bring the credential of a service (not of its handle), on this version. */
export function sortService(service: string, knobs: SortingKnobs, version: CondorVersion): Sorted {
  const storer = knobs.get(storerKnob) !== undefined;
  // submit_utils.cpp 23.9.6: the storer gets everything, and condor_credd is not asked; without it, all is the web page's.
  if (!isSorted(version)) return { type: 'all', knob: storerKnob, ...(storer && { storer: {} }) };
  const { type, knob } = sorted(service, knobs, knowsPelican(version));
  if (!storer || (type !== 'vault' && type !== 'pelican')) return { type, knob };
  return { type, knob, storer: knowsPelican(version) ? { mode: type } : {} };
}

/** CredSorter::Sort, line by line. */
function sorted(service: string, knobs: SortingKnobs, pelican: boolean): Pick<Sorted, 'type' | 'knob'> {
  const [localKnob, local] = localNames(knobs);
  const lists = [
    ['local', localKnob, local],
    ['client', 'CLIENT_CREDMON_PROVIDER_NAMES', knobs.get('CLIENT_CREDMON_PROVIDER_NAMES')],
    ['oauth2', 'OAUTH2_CREDMON_PROVIDER_NAMES', knobs.get('OAUTH2_CREDMON_PROVIDER_NAMES')],
    ['vault', 'VAULT_CREDMON_PROVIDER_NAMES', knobs.get('VAULT_CREDMON_PROVIDER_NAMES')],
    ['pelican', 'PELICAN_CREDMON_PROVIDER_NAMES', pelican ? knobs.get('PELICAN_CREDMON_PROVIDER_NAMES') : undefined],
  ] as const;
  for (const [type, knob, list] of lists) if (namesIn(list).includes(service)) return { type, knob };
  const isOpen = (knob: string) => [undefined, wildcard].includes(knobs.get(knob));
  const clientId = `${service}_CLIENT_ID`;
  if (knobs.get(clientId) !== undefined) {
    const open = isOpen('OAUTH2_CREDMON_PROVIDER_NAMES');
    return open ? { type: 'oauth2', knob: clientId } : { type: 'unknown', knob: 'OAUTH2_CREDMON_PROVIDER_NAMES' };
  }
  const enabled = knobs.get(storerKnob) !== undefined || knobs.get('VAULT_CREDMON_PROVIDER_NAMES') !== undefined;
  if (!enabled) return { type: 'unknown', knob: storerKnob };
  if (!isOpen('VAULT_CREDMON_PROVIDER_NAMES')) return { type: 'unknown', knob: 'VAULT_CREDMON_PROVIDER_NAMES' };
  const byList = knobs.get('VAULT_CREDMON_PROVIDER_NAMES') !== undefined;
  return { type: 'vault', knob: byList ? 'VAULT_CREDMON_PROVIDER_NAMES' : storerKnob };
}

/** CredSorter::Init: without either knob the local issuer has a service of its own, `scitokens`. */
function localNames(knobs: SortingKnobs): readonly [knob: string, list: string] {
  const list = knobs.get('LOCAL_CREDMON_PROVIDER_NAMES');
  if (list !== undefined) return ['LOCAL_CREDMON_PROVIDER_NAMES', list];
  return ['LOCAL_CREDMON_PROVIDER_NAME', knobs.get('LOCAL_CREDMON_PROVIDER_NAME') ?? 'scitokens'];
}

/** HTCondor's lists, with commas or white space. */
export const namesIn = (list: string | undefined): readonly string[] =>
  (list ?? '').split(/[\s,]+/).filter((name) => name !== '');

/**
 * The services that condor_credd adds to what any job asks for, of jobs without a service too: those of this access
 * point's local issuer and client (credd.cpp, check_creds_handler).
 */
export function addedServices(knobs: SortingKnobs, version: CondorVersion): readonly string[] {
  if (!isSorted(version) || /^(?:f|false|no|0)$/i.test(knobs.get('SUBMIT_ADD_LOCAL_CREDMON_PROVIDERS') ?? ''))
    return [];
  const named = knobs.get('SUBMIT_ADD_LOCAL_CREDMON_PROVIDER_NAMES');
  if (named !== undefined) return namesIn(named);
  // Unlike in the sorter, the name has no default here.
  const local = knobs.get('LOCAL_CREDMON_PROVIDER_NAMES') ?? knobs.get('LOCAL_CREDMON_PROVIDER_NAME');
  return [...namesIn(local), ...namesIn(knobs.get('CLIENT_CREDMON_PROVIDER_NAMES'))];
}

/** What lies in the credential directory after the storer, if any, has ended well. */
export interface OnDisk {
  readonly top: boolean;
  readonly use: boolean;
  /** Whether scopes and audience in the `.top` are the texts that the job asks for. */
  readonly matches: boolean;
}

/**
 * How a submit goes on from there.
 *   ok               it is submitted
 *   vault-missing    ERROR: Vault credential '…' is missing.
 *   unknown-missing  ERROR: Credential '…' of unknown type is missing.
 *   web-link         Hellow, …. Please visit: https://…/key/…
 *   mismatch         ERROR - credentials exist that do not match the request
 *   waits            condor_submit stands still until there is a `.use`
 */
export type Outcome = 'ok' | 'vault-missing' | 'unknown-missing' | 'web-link' | 'mismatch' | 'waits';

export function outcome({ type, storer }: Sorted, { top, use, matches }: OnDisk): Outcome {
  switch (type) {
    case 'all':
      return storer ? 'ok' : webPage(top, matches);
    case 'oauth2':
      return webPage(top, matches);
    case 'local':
    case 'client':
      return top && use ? 'ok' : 'waits';
    case 'vault':
      return top ? 'ok' : 'vault-missing';
    case 'pelican':
      return top ? 'ok' : 'unknown-missing';
    case 'unknown':
      return use ? 'ok' : 'unknown-missing';
  }
}

const webPage = (top: boolean, matches: boolean): Outcome => (!top ? 'web-link' : matches ? 'ok' : 'mismatch');
