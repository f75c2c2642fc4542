import * as v from 'valibot';
import type { BrokerSettings } from '../core/config.js';
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
  issuer: optional(text),
  clientId: text,
  secretFile: optional(text),
  clientAuth: optional(v.picklist(['basic', 'post'])),
  scopes: scopeList(1024),
  audience: optional(text),
  tokenUrl: optional(text),
  deviceUrl: optional(text),
  revocationUrl: optional(text),
  caFile: optional(text),
  life: optional(v.custom<Seconds>((n) => typeof n === 'number' && n > 0)),
  bare: v.boolean(),
});

const inputSchema = v.strictObject({
  v: v.literal(1),
  providers: v.array(providerSchema),
  secrets: v.record(name, text),
  broker: v.strictObject({ socket: text, challengeDir: text, spoolDir: text, account: text, start: v.boolean() }),
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
  const { providers, secrets, broker, debug } = result.output;
  return {
    providers: new Map(providers.map((provider) => [provider.name, provider])),
    secrets: new Map(Object.entries(secrets)),
    broker,
    debug,
  };
}

export const unusable = (what: string): Failed =>
  new Failed({
    kind: 'config',
    what: `the configuration on standard input is of no use: ${what}`,
    hint: '--child is for credmond, which writes it; start credmon-broker without it',
  });

// What a provider is in core/ is what is read here.
true satisfies v.InferOutput<typeof providerSchema> extends Provider ? true : never;
true satisfies Same<Whole<v.InferOutput<typeof providerSchema>>, Whole<Provider>>;
