import type { Scopes } from './scopes.js';
import type { Seconds } from './time.js';

/** One issuer and our client there, as the configuration has it. Holds the secret's file name, never the secret. */
export interface Provider {
  /** As the administrator writes it: `cilogon` of `cilogon_ISSUER`. Also the service's name in submit files. */
  readonly name: string;
  /** RFC 8414 issuer identifier. Absent: no discovery, and then both URLs below are there. */
  readonly issuer?: string;
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
  /** PEM file with the certificate authorities to trust for this issuer, instead of the system's. */
  readonly caFile?: string;
  /** Life of an access token whose answer does not tell and which is not a JWT. */
  readonly life?: Seconds;
  /** Whether `.use` holds the bare token and a newline instead of JSON. */
  readonly bare: boolean;
}

/** What to call the issuer when talking to people. */
export const issuerOf = (provider: Provider): string => provider.issuer ?? provider.tokenUrl ?? provider.name;

/** The provider for a service name, compared without regard to case, as HTCondor compares knob names. */
export function findProvider(providers: ReadonlyMap<string, Provider>, name: string): Provider | undefined {
  const exact = providers.get(name);
  if (exact) return exact;
  const lower = name.toLowerCase();
  for (const [key, provider] of providers) if (key.toLowerCase() === lower) return provider;
  return undefined;
}
