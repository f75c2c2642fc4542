import * as v from 'valibot';
import type { BrokerSettings, PamSettings } from '../core/config.js';
import { Failed } from '../core/failure.js';
import { nameTrouble } from '../core/names.js';
import type { Provider } from '../core/provider.js';
import type { Seconds } from '../core/time.js';
import { type Same, scopeList, type Whole } from './state-record.js';

/**
 * What credmond tells a broker that it started: one JSON line a configuration, on the broker's standard input. The secrets
 * come this way because the broker's account need not be able to read their files, and nobody else sees a pipe.
 */
export interface ChildInput {
  readonly providers: ReadonlyMap<string, Provider>;
  /** Client secrets by provider name; none for public clients. */
  readonly secrets: ReadonlyMap<string, string>;
  readonly broker: BrokerSettings;
  readonly pam?: PamSettings;
  readonly statusDir: string;
  readonly debug: boolean;
}

/** In bytes, the newline counted. */
export const longestInput = 4 * 1024 * 1024;

const text = v.pipe(v.string(), v.nonEmpty(), v.maxLength(4096));
const name = v.pipe(
  v.string(),
  v.check((s) => nameTrouble(s) === undefined),
);
const optional = v.exactOptional;

const providerSchema = v.strictObject({
  name,
  // Only to these can a person log in.
  flow: v.literal('device'),
  issuer: optional(text),
  clientId: text,
  secretFile: optional(text),
  clientAuth: optional(v.picklist(['basic', 'post'])),
  scopes: scopeList(1024),
  audience: optional(text),
  tokenUrl: optional(text),
  deviceUrl: optional(text),
  revocationUrl: optional(text),
  endpointHosts: optional(v.array(text)),
  caFile: optional(text),
  life: optional(v.custom<Seconds>((n) => typeof n === 'number' && n > 0)),
  grantLife: optional(v.custom<Seconds>((n) => typeof n === 'number' && n > 0)),
  grantIdle: optional(v.custom<Seconds>((n) => typeof n === 'number' && n > 0)),
  allowedScopes: optional(scopeList(1024)),
  allowedAudiences: optional(v.array(text)),
  bare: v.boolean(),
});

const texts = optional(v.array(text));

const pamSchema = v.strictObject({
  provider: name,
  socket: text,
  identitiesDir: text,
  map: v.array(
    v.union([
      v.strictObject({ claim: text, match: optional(text), user: optional(text) }),
      v.strictObject({ claim: text, file: text }),
    ]),
  ),
  policy: v.strictObject({
    groups: texts,
    entitlements: texts,
    acr: texts,
    amr: texts,
    idp: texts,
    emailDomains: texts,
    maxAuthAge: optional(v.custom<Seconds>((n) => typeof n === 'number' && n >= 0)),
  }),
  firstFactor: v.picklist(['required', 'optional']),
  qr: v.picklist(['auto', 'always', 'never']),
  minUid: v.pipe(v.number(), v.integer(), v.minValue(0)),
  pin: v.boolean(),
});

const inputSchema = v.strictObject({
  v: v.literal(1),
  providers: v.array(providerSchema),
  secrets: v.record(name, text),
  broker: v.strictObject({ socket: text, challengeDir: text, spoolDir: text, account: text, start: v.boolean() }),
  pam: optional(pamSchema),
  statusDir: text,
  debug: v.boolean(),
});

/** Throws Failed('config'), whose text has nothing of what was read: secrets are in it. */
export function parseInput(line: Uint8Array): ChildInput {
  let input: unknown;
  try {
    input = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(line));
  } catch {
    throw unusable('it is not JSON in UTF-8');
  }
  const result = v.safeParse(inputSchema, input, { abortEarly: true });
  if (!result.success) throw unusable(`a fault at ${v.getDotPath(result.issues[0])?.slice(0, 80) ?? 'the top'}`);
  const { v: _, providers, secrets, ...rest } = result.output;
  return {
    providers: new Map(providers.map((provider) => [provider.name, provider])),
    secrets: new Map(Object.entries(secrets)),
    ...rest,
  };
}

export const unusable = (what: string): Failed =>
  new Failed({
    kind: 'config',
    what: `the configuration on standard input is of no use: ${what}`,
    hint: '--child is for credmond, which writes it; start credmon-broker without it',
  });

// What a provider is in core/ is what is read here, but for what those of other flows have.
type Device = Omit<Provider, 'flow' | 'vaultHosts' | 'namespace' | 'templates'> & { readonly flow: 'device' };
true satisfies v.InferOutput<typeof providerSchema> extends Provider ? true : never;
true satisfies Same<Whole<v.InferOutput<typeof providerSchema>>, Whole<Device>>;
true satisfies Same<Whole<v.InferOutput<typeof pamSchema>>, Whole<PamSettings>>;
