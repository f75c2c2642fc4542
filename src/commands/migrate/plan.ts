import { basename } from 'node:path';
import type { Knobs } from '../../config/knobs.js';
import type { Config } from '../../core/config.js';
import { addedServices, type CondorVersion, namesIn, sortService } from '../../core/sorting.js';

/** Whose credmon HTCondor starts now. `python`: HTCondor's own; `rust`: IceCube's. */
export type Predecessor = 'python' | 'rust' | 'credmon' | 'unknown' | 'none';

export interface Change {
  readonly knob: string;
  /** Undefined: it is not set. */
  readonly from?: string;
  readonly to: string;
  readonly why: string;
}

/** Something to say that is neither a change nor a credential. `loss`: jobs would no longer get something that they do now. */
export interface Remark {
  readonly kind: 'loss' | 'task' | 'note';
  readonly what: string;
  /** A command. */
  readonly run?: string;
}

export interface KnobPlan {
  readonly from: Predecessor;
  readonly changes: readonly Change[];
  readonly remarks: readonly Remark[];
}

export function predecessorOf(path: string | undefined): Predecessor {
  if (path === undefined) return 'none';
  const name = basename(path).replace(/\.js$/, '');
  if (name === 'credmond') return 'credmon';
  if (/rust/i.test(name)) return 'rust';
  return /^condor_credmon/.test(name) ? 'python' : 'unknown';
}

export interface Programs {
  readonly daemon: string;
  readonly storer: string;
}

/** Which knobs have to change so that our programs take the place of others', and for the same providers. */
export function planKnobs(
  knobs: Knobs,
  config: Config,
  { daemon, storer }: Programs,
  version: CondorVersion | undefined,
): KnobPlan {
  const get = (knob: string) => knobs.get(knob);
  const changes: Change[] = [];
  const want = (knob: string, to: string, why: string) => {
    const from = get(knob);
    if (from !== to) changes.push({ knob, to, why, ...(from !== undefined && { from }) });
  };
  const remarks: Remark[] = [];
  const providers = [...config.providers.values()];
  const anything = providers.some(({ name }) => name === '*');
  const names = providers.map(({ name }) => name).filter((name) => name !== '*');
  const logins = providers.filter(({ name, flow }) => name !== '*' && flow !== 'client').map(({ name }) => name);

  want('CREDMON_OAUTH', daemon, 'keeps the tokens fresh from now on');
  want('SEC_CREDENTIAL_STORER', storer, 'condor_submit has people log in with it');
  const old = get('SEC_CREDENTIAL_STORER');
  const others = providers.some(({ flow }) => flow === 'vault' || flow === 'pelican');
  // Getting a Vault token from a person stays the work of HTCondor's own storer, which ours calls.
  if (others && old !== undefined && isForeign(old))
    want('CREDMON_VAULT_STORER', old, 'it goes on getting the tokens of Vault and Pelican from people');
  if (anything) {
    remarks.push({ kind: 'note', what: 'every service that is nobody else’s stays one of Vault’s: no list is made' });
    const web = providers.filter(({ name, flow, clientId }) => name !== '*' && flow !== 'vault' && clientId !== '');
    if (web.length > 0)
      remarks.push({
        kind: 'task',
        what: `HTCondor 24.5 and newer gives ${web.map(({ name }) => name).join(', ')} to its web page unless VAULT_CREDMON_PROVIDER_NAMES names them, and then all of Vault’s as well: set it yourself`,
      });
  } else {
    want('CREDMON_PROVIDER_NAMES', names.join(' '), 'these are credmon’s, whatever other lists say');
    if (logins.length > 0)
      want(
        'VAULT_CREDMON_PROVIDER_NAMES',
        logins.join(' '),
        'HTCondor 24.5 and newer calls the storer for these alone',
      );
    for (const { name, flow } of providers) want(`${name}_FLOW`, flow, 'as it is now by the lists that it stands in');
  }
  const web = namesIn(get('OAUTH2_CREDMON_PROVIDER_NAMES'));
  const stay = web.filter((name) => !names.includes(name));
  if (stay.length < web.length)
    want('OAUTH2_CREDMON_PROVIDER_NAMES', stay.join(' ') || '*', 'what stands there goes to HTCondor’s web page');
  const daemons = namesIn(get('DAEMON_LIST'));
  if (daemons.length > 0 && !daemons.some((name) => name.toUpperCase() === 'CREDMON_OAUTH'))
    want('DAEMON_LIST', '$(DAEMON_LIST) CREDMON_OAUTH', 'condor_master starts it');

  for (const { name, flow, vaultHosts } of providers)
    if (flow === 'vault' && !vaultHosts?.length)
      remarks.push({
        kind: 'loss',
        what: `${name}: credmond asks only Vault servers that the configuration names: set TRUSTED_VAULT_HOSTS`,
      });
  const local = [...namesIn(get('LOCAL_CREDMON_PROVIDER_NAMES') ?? get('LOCAL_CREDMON_PROVIDER_NAME'))].filter(
    (name) => !names.includes(name) && name !== 'none',
  );
  for (const name of local)
    remarks.push({
      kind: 'loss',
      what: `${name} is made by HTCondor’s credmon with a key of this machine (local issuer), which credmond does not do: jobs would no longer get it`,
    });
  const added = version === undefined ? [] : addedServices(knobs, version).filter((name) => !names.includes(name));
  // CredSorter keeps this name for a local issuer, unless that is set to have another.
  const reserved =
    version !== undefined &&
    logins.some((name) => sortService(name, { get: named(changes, get) }, version).type === 'local');
  if (reserved)
    want('LOCAL_CREDMON_PROVIDER_NAMES', 'none', 'HTCondor keeps a service of yours for a local issuer otherwise');
  if (reserved || added.length > 0)
    want('SUBMIT_ADD_LOCAL_CREDMON_PROVIDERS', 'False', 'else every condor_submit waits for what nobody makes');
  return { from: predecessorOf(get('CREDMON_OAUTH')), changes, remarks };
}

/** Neither ours, nor IceCube's, nor where ours looks for HTCondor's by itself (storer/work.ts). */
const isForeign = (path: string): boolean =>
  !/rust|credmon-storer/i.test(basename(path)) && !/^\/usr\/bin\/condor_(?:credential|vault)_storer$/.test(path);

/** Knobs as they will be. */
const named = (changes: readonly Change[], get: (knob: string) => string | undefined) => (knob: string) =>
  changes.find((change) => change.knob.toUpperCase() === knob.toUpperCase())?.to ?? get(knob);

/** The file that makes the changes, later ones of the same knob in the place of earlier ones. */
export function dropInText(changes: readonly Pick<Change, 'knob' | 'to' | 'why'>[]): string {
  const lines = changes.flatMap(({ knob, to, why }) => ['', `# ${why}`, `${knob} = ${to}`]);
  return ['# Made by: credmon migrate --apply. To take it back: credmon migrate --undo', ...lines, ''].join('\n');
}
