import { fail } from '../../core/failure.js';
import { explainName, nameTrouble } from '../../core/names.js';
import { badScope, parseScopes } from '../../core/scopes.js';
import { plain } from '../../core/text.js';
import { isSafeUrl } from '../../core/url.js';

/** What a file for HTCondor's configuration is made of. */
export interface Answers {
  readonly provider: string;
  readonly issuer: string;
  readonly clientId: string;
  readonly clientSecretFile?: string;
  readonly scope?: string;
  readonly audience?: string;
  readonly flow?: 'device' | 'exchange';
  readonly allowedScopes?: string;
  readonly deviceUrl?: string;
  readonly tokenUrl?: string;
  readonly caFile?: string;
  /** Seconds. */
  readonly minimum?: number;
}

/** Where it goes. */
export interface Surroundings {
  /** Of our programs. */
  readonly daemon: string;
  readonly storer: string;
  /** Whether HTCondor's configuration names providers of ours already: then this is one more. */
  readonly others: { readonly ours: boolean; readonly vault: boolean };
}

/** Throws Failed('usage') for what cannot stand in HTCondor's configuration, or is not what it should be. */
export function checkAnswers(answers: Answers): void {
  const { provider, issuer, clientId, scope = '', allowedScopes = '', flow } = answers;
  const trouble = nameTrouble(provider);
  if (trouble) fail('usage', `"${plain(provider)}" cannot name a provider: ${explainName(trouble)}`);
  if (!/^[A-Za-z]\w*$/.test(provider))
    fail(
      'usage',
      `"${plain(provider)}" cannot be a provider in HTCondor’s configuration`,
      'knobs are named after it: take letters, digits and underscores, a letter first',
    );
  for (const [option, url] of [
    ['--issuer', issuer],
    ['--device-url', answers.deviceUrl],
    ['--token-url', answers.tokenUrl],
  ] as const)
    if (url !== undefined && !isSafeUrl(url))
      fail('usage', `${option} must be an https URL, without a name or password in it`);
  if (!/^[\x21-\x7E]+$/.test(clientId)) fail('usage', '--client-id must be printable ASCII without spaces');
  for (const [option, file] of [
    ['--client-secret-file', answers.clientSecretFile],
    ['--ca-file', answers.caFile],
  ] as const)
    if (file !== undefined && !file.startsWith('/')) fail('usage', `${option} must be an absolute path`);
  for (const [option, text] of [
    ['--scope', scope],
    ['--allowed-scopes', allowedScopes],
  ] as const)
    if (badScope(parseScopes(text)) !== undefined)
      fail('usage', `${option} holds a scope with characters that RFC 6749 does not admit`);
  if (flow === 'exchange' && answers.clientSecretFile === undefined)
    fail('usage', 'with --flow exchange the client needs a secret', 'add --client-secret-file');
  for (const [name, value] of Object.entries(answers))
    if (typeof value === 'string' && /[\p{Cc}]|\$\(|\$\w*\(|\\$/u.test(value))
      fail('usage', `the ${name} has something in it that HTCondor's configuration would not take as it stands`);
}

/** The text, one knob a line and the reason before each. */
export function dropIn(answers: Answers, { daemon, storer, others }: Surroundings): string {
  const { provider: p, clientSecretFile: secret, flow = 'device' } = answers;
  const scopes = parseScopes(answers.scope ?? '');
  const allowed = parseScopes(answers.allowedScopes ?? '');
  const more = (knob: string, has: boolean) => `${knob} = ${has ? `$(${knob}) ` : ''}${p}`;
  const lines = [
    '# credmon: fresh OAuth2 tokens for jobs. Made by: credmon config init',
    '# Users must be able to read this file: condor_submit goes by it, too.',
    '',
    '# The credential directory, condor_credd and the credmon below. The directory is not made by every package:',
    '#   install -d -o root -g condor -m 2770 /var/lib/condor/oauth_credentials',
    'use feature : OAUTH',
    '',
    '# Tokens are only handed over encrypted connections.',
    'SEC_DEFAULT_ENCRYPTION = REQUIRED',
    '',
    '# Keeps the tokens fresh.',
    `CREDMON_OAUTH = ${daemon}`,
    '',
    '# condor_submit runs it as the user, who logs in there once.',
    `SEC_CREDENTIAL_STORER = ${storer}`,
    '',
    "# The providers that are credmon's.",
    more('CREDMON_PROVIDER_NAMES', others.ours),
    '',
    `# From 24.5 on HTCondor calls the storer for the services named here. Not named, ${p} would be taken for one of`,
    `# its own web page, since ${p}_CLIENT_ID is set: condor_submit would print a web link, and condor_credd would write`,
    '# the client secret into a file. Upper and lower case count.',
    more('VAULT_CREDMON_PROVIDER_NAMES', others.vault),
    ...(p === 'scitokens' ? ['', ...scitokens] : []),
    '',
    `# ${flow === 'device' ? 'Users log in once, with a code and a link (RFC 8628).' : 'The client vouches for users, who need not log in (RFC 8693, requested_subject).'}`,
    `${p}_FLOW = ${flow}`,
    `${p}_ISSUER = ${answers.issuer}`,
    `${p}_CLIENT_ID = ${answers.clientId}`,
    ...(secret === undefined
      ? [
          '# A public client, without a secret. Most issuers give storage scopes only to a client with one:',
          `# ${p}_CLIENT_SECRET_FILE = /etc/condor/.secrets/${p}`,
        ]
      : [
          '# Only root may read it. To put a secret there:',
          `#   install -D -m 0400 /dev/stdin ${secret}`,
          `${p}_CLIENT_SECRET_FILE = ${secret}`,
        ]),
    ...(scopes.length > 0
      ? [`${p}_SCOPES = ${scopes.join(', ')}`]
      : ['# What is asked for at login:', `# ${p}_SCOPES = openid, storage.read:/`]),
    ...(answers.audience === undefined ? [] : [`${p}_AUDIENCE = ${answers.audience}`]),
    ...(flow === 'exchange' ? exchange(p, allowed) : []),
    ...(answers.deviceUrl === undefined ? [] : [`${p}_DEVICE_URL = ${answers.deviceUrl}`]),
    ...(answers.tokenUrl === undefined ? [] : [`${p}_TOKEN_URL = ${answers.tokenUrl}`]),
    ...(answers.caFile === undefined ? [] : [`${p}_CA_FILE = ${answers.caFile}`]),
    '',
    '# Seconds that are left of a token on disk, always. It must be more than SEC_CREDENTIAL_REFRESH (300), the time until',
    "# a running job is handed the next one, and less than the life of the issuer's tokens.",
    `CREDMON_OAUTH_TOKEN_MINIMUM = ${answers.minimum ?? 360}`,
    '',
    '# Seconds after which condor_credd removes the logins of users without jobs, an hour unless it is set. Two weeks:',
    'SEC_CREDENTIAL_SWEEP_DELAY = 1209600',
  ];
  return `${lines.join('\n')}\n`;
}

/** In the sorter the local issuer's service is called so unless it has another name, which then is not to be waited for. */
const scitokens = [
  '# HTCondor keeps the name scitokens for its local issuer, unless that has another.',
  'LOCAL_CREDMON_PROVIDER_NAMES = none',
  'SUBMIT_ADD_LOCAL_CREDMON_PROVIDERS = False',
];

const exchange = (p: string, allowed: readonly string[]): readonly string[] => [
  '# What users may ask for; a scope with a path stands for all below it. Without this the issuer alone decides.',
  allowed.length > 0
    ? `${p}_ALLOWED_SCOPES = ${allowed.join(', ')}`
    : `# ${p}_ALLOWED_SCOPES = storage.read:/user/{username}`,
];
