import type { MapRule } from './identity.js';
import type { Loopback } from './loopback.js';
import { type CredentialId, stem } from './names.js';
import type { Policy } from './policy.js';
import type { Provider } from './provider.js';
import type { Seconds } from './time.js';

/** Everything an administrator or a person can set, read once and frozen. Times in seconds, sizes in bytes. */
export interface Config {
  /** Where it was read, for messages: "HTCondor's configuration" or a file. */
  readonly source: string;
  /** In the order of the configuration. */
  readonly providers: ReadonlyMap<string, Provider>;
  /** The provider that is meant when none is named: the default one, or the only one. */
  readonly preferred?: string;
  /** HTCondor's SEC_CREDENTIAL_DIRECTORY_OAUTH. Absent: this machine keeps no jobs' credentials. */
  readonly credDir?: string;
  /** Whether HTCondor's own tools (condor_store_cred) are to be used here. */
  readonly htcondor: boolean;
  /** What must be left of a token on disk, always: CREDMON_OAUTH_TOKEN_MINIMUM. */
  readonly minimum: Seconds;
  /** Tokens of Vault are fetched anew when they are this old: CREDMON_OAUTH_TOKEN_REFRESH. */
  readonly refresh?: Seconds;
  /** How long before a login ends people are told. */
  readonly warning: Seconds;
  /** Services that HTCondor's configuration gives to other credmons. */
  readonly others: readonly string[];
  /** All names that services go by here: the providers', then the others', none of them twice. */
  readonly names: readonly string[];
  /** What gets tokens into Vault's and Pelican's credentials: HTCondor's own storer, where it is not where it usually is. */
  readonly otherStorer?: string;
  /** How often the whole credential directory is looked through, in case the file system's events missed something. */
  readonly sweep: Seconds;
  readonly metrics: MetricsSettings;
  readonly log: LogSettings;
  readonly broker: BrokerSettings;
  /** ssh logins by the device flow. Absent: there are none. */
  readonly pam?: PamSettings;
  /** Folder of the status snapshots: `all.json` for root, `<uid>.json` for each person. */
  readonly statusDir: string;
}

/**
 * What the bearer token file of a credential is called after: nothing for the one that other programs find by themselves,
 * that of the preferred provider, or of the first where none is; else the service and handle.
 */
export function bearerOf(
  config: Config,
  { service, handle }: Pick<CredentialId, 'service' | 'handle'>,
): { readonly provider?: string } {
  const [first] = config.providers.keys();
  if (handle === undefined && service === (config.preferred ?? first)) return {};
  return { provider: stem({ service, ...(handle !== undefined && { handle }) }) };
}

/** Where Prometheus finds what credmond counts. Absent: not there. */
export interface MetricsSettings {
  /** For node_exporter's textfile collector: ends with `.prom`. */
  readonly file?: string;
  readonly listen?: Loopback;
}

export interface LogSettings {
  /** Absent: standard error. */
  readonly file?: string;
  readonly debug: boolean;
  /** Size at which it is rotated; 0: never. */
  readonly max: number;
  /** How many rotated files are kept. */
  readonly keep: number;
}

export interface BrokerSettings {
  /** Unix socket that people's logins connect to. */
  readonly socket: string;
  /** Sticky folder in which a client proves whose it is. */
  readonly challengeDir: string;
  /** Folder through which grants go to credmond; only the broker's account writes there. */
  readonly spoolDir: string;
  /** Whether credmond starts it where a provider has a secret; else it is started by something else. */
  readonly start: boolean;
  /** Local account that the broker runs as when root starts it. */
  readonly account: string;
}

/** The broker's door for sshd: who may log in there, and how. */
export interface PamSettings {
  /** Of a device flow, with an issuer whose ID tokens can be verified. */
  readonly provider: string;
  /** Unix socket that the PAM module connects to; only root may. */
  readonly socket: string;
  /** Folder with a file a user: whose account it is, by (iss, sub). */
  readonly identitiesDir: string;
  /** At least one. */
  readonly map: readonly MapRule[];
  readonly policy: Policy;
  /** Whether sshd must have verified a public key (or another factor) before. */
  readonly firstFactor: 'required' | 'optional';
  /** `auto`: after a first factor only, since a QR code is approved without typing anything (RFC 8628 §5.4). */
  readonly qr: 'auto' | 'always' | 'never';
  /** Accounts below it are the system's. */
  readonly minUid: number;
  /** Whether the first identity that logs in to an account is the only one from then on. */
  readonly pin: boolean;
}
