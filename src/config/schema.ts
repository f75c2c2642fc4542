import * as v from 'valibot';
import { ruleTrouble } from '../core/identity.js';
import { parseLoopback } from '../core/loopback.js';
import { explainName, nameTrouble } from '../core/names.js';
import { anyService, flows } from '../core/provider.js';
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

const words = v.pipe(
  v.union([v.string(), v.array(v.string())], 'must be a list'),
  v.transform((given) => (typeof given === 'string' ? given : given.join(' ')).split(/[\s,]+/).filter((w) => w !== '')),
);
const host = v.pipe(
  words,
  v.check((list) => list.every((one) => /^[A-Za-z0-9.-]+$/.test(one)), 'must be host names'),
);

/** What is asked of people: a list that came to nothing would ask nothing. Names with blanks need a list of TOML's. */
const any = v.pipe(
  v.union([v.string(), v.array(text)], 'must be a list of names'),
  v.transform((given) => (typeof given === 'string' ? given.split(/[\s,]+/).filter((word) => word !== '') : given)),
  v.minLength(1, 'must not be empty: leave it out where it is not asked for'),
);
const count = (least: number, message: string) =>
  v.pipe(
    v.union([v.number(), v.pipe(v.string(), v.regex(/^\d+$/), v.transform(Number))], message),
    v.integer(message),
    v.minValue(least, message),
    v.maxValue(2 ** 32 - 3, message),
  );

const pamSchema = v.strictObject(
  {
    enabled: v.optional(flag, false),
    provider: v.optional(text),
    socket: v.optional(v.pipe(file, v.maxLength(100, 'is too long for a Unix socket'))),
    identities_dir: v.optional(file),
    map: v.optional(
      v.array(
        v.pipe(
          v.strictObject(
            { claim: text, match: v.optional(text), user: v.optional(text), file: v.optional(file) },
            notTable,
          ),
          v.rawTransform(({ dataset, addIssue, NEVER }) => {
            const { claim, match, user, file } = dataset.value;
            if (file !== undefined && (match !== undefined || user !== undefined)) {
              addIssue({ message: 'has a file, and a match or user besides: it is one or the other' });
              return NEVER;
            }
            const rule =
              file === undefined
                ? { claim, ...(match !== undefined && { match }), ...(user !== undefined && { user }) }
                : { claim, file };
            const trouble = ruleTrouble(rule);
            if (trouble !== undefined) addIssue({ message: trouble });
            return rule;
          }),
        ),
        'must be a list of tables, each with a claim',
      ),
      [],
    ),
    groups: v.optional(
      v.pipe(
        any,
        v.check(
          (list) => list.every((one) => !/^urn:/i.test(one)),
          'holds an entitlement (urn:…): that is for entitlements',
        ),
      ),
    ),
    entitlements: v.optional(any),
    acr: v.optional(any),
    amr: v.optional(any),
    idp: v.optional(any),
    email_domains: v.optional(
      v.pipe(
        any,
        v.check(
          (list) => list.every((one) => /^[a-z0-9-]+(?:\.[a-z0-9-]+)+$/i.test(one)),
          'must be domains, such as example.org',
        ),
      ),
    ),
    max_auth_age: v.optional(span(1, 31_622_400)),
    first_factor: v.optional(v.picklist(['required', 'optional'], 'must be "required" or "optional"')),
    qr: v.optional(v.picklist(['auto', 'always', 'never'], 'must be "auto", "always" or "never"')),
    min_uid: v.optional(count(1, 'must be a uid of at least 1')),
    pin: v.optional(flag),
  },
  notTable,
);

const providerSchema = v.strictObject(
  {
    flow: v.optional(v.picklist(flows, `must be one of ${flows.join(', ')}`)),
    issuer: v.optional(url),
    client_id: v.optional(v.pipe(text, v.regex(/^[\x21-\x7E]+$/, 'must be printable ASCII without spaces'))),
    client_secret_file: v.optional(file),
    client_auth: v.optional(v.picklist(['basic', 'post'], 'must be "basic" or "post"')),
    scopes: v.optional(scopes, []),
    audience: v.optional(text),
    token_url: v.optional(url),
    device_url: v.optional(url),
    revocation_url: v.optional(url),
    endpoint_hosts: v.optional(
      v.pipe(
        words,
        v.check((list) => list.every((one) => /^[a-z0-9.-]+(?::\d{1,5})?$/i.test(one)), 'must be host names'),
      ),
    ),
    ca_file: v.optional(file),
    token_lifetime: v.optional(span(1, 31_622_400)),
    grant_lifetime: v.optional(span(1, 316_224_000)),
    grant_idle: v.optional(span(1, 316_224_000)),
    allowed_scopes: v.optional(scopes),
    allowed_audiences: v.optional(words),
    vault_hosts: v.optional(host),
    namespace: v.optional(
      v.pipe(
        text,
        v.regex(/^pelican:\/\/[A-Za-z0-9.-]+(?::\d+)?\/\S*$/, 'must be a pelican:// URL: federation and prefix'),
      ),
    ),
    authz_template: v.optional(text),
    authz_group_template: v.optional(text),
    authz_group_mapfile: v.optional(file),
    authz_group_requirement: v.optional(text),
    token_version: v.optional(text),
    authz_template_expr: v.optional(
      v.pipe(
        text,
        v.check(() => false, 'is a ClassAd expression, which is not evaluated here: use templates instead'),
      ),
    ),
    use_json: v.optional(flag),
  },
  notTable,
);

const fileSchema = v.strictObject({
  default_provider: v.optional(text),
  token_minimum: v.optional(span(0, 86_400)),
  token_refresh: v.optional(span(1, 86_400)),
  grant_warning: v.optional(span(0, 31_622_400)),
  vault_storer: v.optional(file),
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
        metrics_file: v.optional(
          v.pipe(
            file,
            v.regex(/[^/]\.prom$/, 'must end with .prom: other files are not read by node_exporter'),
            v.check((path) => !path.split('/').includes('..'), 'must not have ".." in it'),
          ),
        ),
        metrics_listen: v.optional(
          v.pipe(
            text,
            v.check(
              (where) => parseLoopback(where) !== undefined,
              'must be a loopback address and a port, such as 127.0.0.1:9815: whoever reads it from elsewhere goes by node_exporter or a proxy',
            ),
          ),
        ),
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
  pam: v.optional(pamSchema),
  providers: v.optional(
    v.record(
      v.pipe(
        v.string(),
        v.rawCheck(({ dataset, addIssue }) => {
          if (!dataset.typed) return;
          const trouble = nameTrouble(dataset.value);
          if (trouble && dataset.value !== anyService)
            addIssue({ message: `is no provider name: ${explainName(trouble)}` });
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
export type PamOutput = v.InferOutput<typeof pamSchema>;
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
