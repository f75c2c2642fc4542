import type { Scopes } from './scopes.js';
import type { Seconds } from './time.js';

/**
 * How credentials of a provider come about.
 *   device    a person logs in once, by the device flow (RFC 8628)
 *   exchange  the client vouches for its users: RFC 8693 with requested_subject, no click at all
 *   client    the client's own tokens (RFC 6749 §4.4)
 *   vault     a Vault token that htgettoken has got
 *   pelican   a subject token that the Pelican client has got
 *   mytoken   a mytoken that the person has made
 */
export type Flow = 'device' | 'exchange' | 'client' | 'vault' | 'pelican' | 'mytoken';

export const flows = ['device', 'exchange', 'client', 'vault', 'pelican', 'mytoken'] as const satisfies readonly Flow[];

/** One issuer and our client there, as the configuration has it. Holds the secret's file name, never the secret. */
export interface Provider {
  /** As the administrator writes it: `cilogon` of `cilogon_ISSUER`. Also the service's name in submit files. */
  readonly name: string;
  readonly flow: Flow;
  /** RFC 8414 issuer identifier. Absent: no discovery, and then both URLs below are there. */
  readonly issuer?: string;
  /** Empty where there is no client: Vault, mytoken. */
  readonly clientId: string;
  /** Absent: a public client (RFC 6749 §2.1). */
  readonly secretFile?: string;
  /** How the client authenticates (RFC 6749 §2.3.1); undefined: as the issuer's metadata say, basic if they are silent. */
  readonly clientAuth?: 'basic' | 'post';
  /** What is asked for when nobody asks for anything else. */
  readonly scopes: Scopes;
  readonly audience?: string;
  readonly tokenUrl?: string;
  readonly deviceUrl?: string;
  readonly revocationUrl?: string;
  /** Hosts besides the issuer's own that its metadata may send us to. Absent: none. */
  readonly endpointHosts?: readonly string[];
  /** PEM file with the certificate authorities to trust for this issuer, instead of the system's. */
  readonly caFile?: string;
  /** Life of an access token whose answer does not tell and which is not a JWT. */
  readonly life?: Seconds;
  /** How long a login lasts at this issuer, where its answers do not tell. */
  readonly grantLife?: Seconds;
  /** How long a login lasts there that nobody refreshes. */
  readonly grantIdle?: Seconds;
  /**
   * What users may ask for in a request that needs no click; `{username}` stands for whoever asks. A scope with a path
   * stands for all below it, too. Absent: the issuer alone decides.
   */
  readonly allowedScopes?: Scopes;
  /** Likewise for audiences. Absent: none but the configured one. */
  readonly allowedAudiences?: readonly string[];
  /** Hosts that a `vault_url` in a `.top` may lead to. */
  readonly vaultHosts?: readonly string[];
  /** The namespace whose issuer is asked (Pelican): `pelican://federation/prefix`. */
  readonly namespace?: string;
  /** What the client's own tokens are asked for, for each user. */
  readonly templates?: Templates;
  /** Whether `.use` holds the bare token and a newline instead of JSON. */
  readonly bare: boolean;
}

/** HTCondor's AUTHZ knobs, as its local and client credmons have them. */
export interface Templates {
  /** With `{username}`. */
  readonly user: string;
  /** With `{groupname}`, once for each group of the user. */
  readonly group?: string;
  /** Lines `* user group,group`; the first that names the user counts. */
  readonly mapFile?: string;
  /** Only members of this group get tokens. */
  readonly requirement?: string;
  /** `wlcg`, `wlcg:1.0`, `scitokens:2.0`, …: TOKEN_VERSION. */
  readonly version?: string;
}

/** The name under which a provider stands for every service that no other provider has. */
export const anyService = '*';

/** What to call the issuer when talking to people. */
export const issuerOf = (provider: Provider): string =>
  provider.issuer ?? provider.tokenUrl ?? provider.namespace ?? provider.name;

/** The provider for a service name, compared without regard to case, as HTCondor compares knob names. */
export function findProvider(providers: ReadonlyMap<string, Provider>, name: string): Provider | undefined {
  const exact = providers.get(name);
  if (exact) return exact;
  const lower = name.toLowerCase();
  for (const [key, provider] of providers) if (key.toLowerCase() === lower) return provider;
  return providers.get(anyService);
}
