import * as v from 'valibot';
import { explainName, nameTrouble } from '../core/names.js';
import { badScope, parseScopes } from '../core/scopes.js';
import { isSafeUrl } from '../core/url.js';

/**
 * The shape of a configuration, in the words of the TOML file; HTCondor's knobs are brought into it by condor.ts. Every
 * message completes the sentence "<key> …".
 */
const text = v.pipe(
  v.string('must be text'),
  v.trim(),
  v.nonEmpty('must not be empty'),
  v.maxLength(1024, 'is too long'),
);
const file = v.pipe(text, v.startsWith('/', 'must be an absolute path'));
const url = v.pipe(text, v.check(isSafeUrl, 'must be an https URL (http only for this machine itself)'));
const span = (least: number, most: number) =>
  v.pipe(
    v.union(
      [v.number(), v.pipe(v.string(), v.regex(/^\d+$/), v.transform(Number))],
      'must be a whole number of seconds',
    ),
    v.integer('must be a whole number of seconds'),
    v.minValue(least, `must be at least ${least} seconds`),
    v.maxValue(most, `must be at most ${most} seconds`),
  );
const whole = (least: number, message: string) =>
  v.pipe(v.number(message), v.integer(message), v.minValue(least, message));
const notTable = 'must be a table';
const flag = v.union(
  [
    v.boolean(),
    v.pipe(
      v.string(),
      v.toLowerCase(),
      v.picklist(['true', 'false', 'yes', 'no', 't', 'f', '1', '0']),
      v.transform((word) => ['true', 'yes', 't', '1'].includes(word)),
    ),
  ],
  'must be true or false',
);
const scopes = v.pipe(
  v.union([v.string(), v.array(v.string())], 'must be a list of scopes'),
  v.transform((given) => parseScopes(typeof given === 'string' ? given : given.join(' '))),
  v.check((list) => badScope(list) === undefined, 'holds a scope with characters that RFC 6749 does not admit'),
);

const providerSchema = v.strictObject(
  {
    issuer: v.optional(url),
    client_id: v.pipe(text, v.regex(/^[\x21-\x7E]+$/, 'must be printable ASCII without spaces')),
    client_secret_file: v.optional(file),
    client_auth: v.optional(v.picklist(['basic', 'post'], 'must be "basic" or "post"')),
    scopes: v.optional(scopes, []),
    audience: v.optional(text),
    token_url: v.optional(url),
    device_url: v.optional(url),
    revocation_url: v.optional(url),
    ca_file: v.optional(file),
    token_lifetime: v.optional(span(1, 31_622_400)),
    use_json: v.optional(flag, true),
  },
  notTable,
);

const fileSchema = v.strictObject({
  default_provider: v.optional(text),
  token_minimum: v.optional(span(0, 86_400)),
  credmond: v.optional(
    v.strictObject(
      {
        cred_dir: v.optional(file),
        status_dir: v.optional(file),
        log: v.optional(file),
        max_log: v.optional(whole(0, 'must be a number of bytes')),
        max_num_log: v.optional(whole(1, 'must be a whole number of at least 1')),
        debug: v.optional(flag),
        sweep_interval: v.optional(span(1, 86_400)),
      },
      notTable,
    ),
    {},
  ),
  broker: v.optional(
    v.strictObject(
      {
        socket: v.optional(v.pipe(file, v.maxLength(100, 'is too long for a Unix socket'))),
        challenge_dir: v.optional(file),
        spool_dir: v.optional(file),
        account: v.optional(text),
        start: v.optional(flag),
      },
      notTable,
    ),
    {},
  ),
  providers: v.optional(
    v.record(
      v.pipe(
        v.string(),
        v.rawCheck(({ dataset, addIssue }) => {
          if (!dataset.typed) return;
          const trouble = nameTrouble(dataset.value);
          if (trouble) addIssue({ message: `is no provider name: ${explainName(trouble)}` });
        }),
      ),
      providerSchema,
      notTable,
    ),
    {},
  ),
});

export type FileInput = v.InferInput<typeof fileSchema>;
export type FileOutput = v.InferOutput<typeof fileSchema>;
export type ProviderOutput = v.InferOutput<typeof providerSchema>;

/** The first thing wrong, as the key's path and a sentence's end; or what was read. */
export function check(
  input: unknown,
): { readonly good: FileOutput } | { readonly path: readonly string[]; readonly what: string } {
  const result = v.safeParse(fileSchema, input);
  if (result.success) return { good: result.output };
  // A setting misspelt is both unknown and missing: the word that stands there is of more help.
  const issue = result.issues.find((one) => one.expected === 'never') ?? result.issues[0];
  const path = issue.path?.map((step) => String(step.key)) ?? [];
  const unknown = issue.type === 'strict_object' && issue.expected === 'never';
  const missing = issue.type === 'strict_object' && issue.received === 'undefined';
  const what = unknown
    ? 'is not a known setting'
    : missing || issue.received === 'undefined'
      ? 'is missing'
      : issue.message;
  return { path, what };
}
