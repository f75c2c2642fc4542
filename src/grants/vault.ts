import { assumedLife, type TokenSet, type VaultGrant } from '../core/credential.js';
import { Failed, failureOf } from '../core/failure.js';
import { expiryIn, lifetime } from '../core/lifetime.js';
import { type CredentialId, nameTrouble, stem } from '../core/names.js';
import type { Answer, Errand, Fetcher } from '../core/ports.js';
import { anyService, type Provider } from '../core/provider.js';
import { brokenReply, quoted } from '../core/reply.js';
import { type Moment, madeAt, momentOf } from '../core/steady.js';
import { type Seconds, seconds } from '../core/time.js';

/** Warnings of one answer that are told. */
const mostWarnings = 5;

/**
 * An access token from a Vault with an OAuth plugin, as htgettoken has set it up (fermitools/htvault-config): the login is
 * Vault's to refresh, and the Vault token tells whose it is.
 */
export const vault: Fetcher<VaultGrant> = async (grant, errand) => {
  const url = trusted(grant.url, errand.provider);
  const token = grant.token ?? (await tokenOfParent(errand));
  const { scopes, audience } = grant;
  const query = new URLSearchParams({ minimum_seconds: String(Math.ceil(errand.minimum)) });
  if (scopes?.length) query.set('scopes', scopes.join(','));
  // `sts` knows the plural only (openbao-plugin-secrets-oauthapp, path_sts.go).
  if (audience !== undefined) query.set(url.pathname.includes('/creds/') ? 'audience' : 'audiences', audience);
  const sent = momentOf(errand.clock);
  const answer = await errand
    .http(`${url.href}?${query}`, {
      method: 'GET',
      headers: { 'x-vault-token': token, accept: 'application/json' },
      stop: errand.stop,
    })
    .catch((thrown) => {
      throw asConfigured(thrown, errand.provider);
    });
  if (answer.status !== 200) throw new Failed(refusal(url, answer, token, errand));
  return tokenIn(url, answer, token, sent, errand);
};

/**
 * The URL of a `.top`, if it leads where the configuration allows it: users store what they like, and what is at an address
 * of our network that they cannot reach is none of theirs. Throws Failed.
 */
function trusted(text: string, { vaultHosts = [] }: Provider): URL {
  const refuse = (what: string, hint?: string) =>
    new Failed({ kind: 'config', what, ...(hint !== undefined && { hint }), code: 'vault_url' });
  // As it stands, before any parser makes something else of it; a query is not in it, since the request has its own.
  const [, host, path] = /^https:\/\/([A-Za-z0-9.-]+):8200(\/v1\/[A-Za-z0-9._~:@!$&'()*+,;=/%-]+)$/.exec(text) ?? [];
  const straight = path?.split('/').every((part, i) => i === 0 || (part !== '' && isPlain(part))) === true;
  if (host === undefined || !straight)
    throw refuse(
      'its vault_url is not one that is asked: only https, port 8200, and a straight path below /v1/ are',
      'run condor_submit again, which asks htgettoken for the URL',
    );
  if (!vaultHosts.some((one) => one.toLowerCase() === host.toLowerCase())) {
    throw refuse(
      `its vault_url leads to ${host}, which is not trusted`,
      vaultHosts.length === 0
        ? 'set TRUSTED_VAULT_HOSTS to the Vault servers of this machine’s users, each as host:8200'
        : `trusted are ${vaultHosts.join(', ')}; add ${host}:8200 to TRUSTED_VAULT_HOSTS if it should be`,
    );
  }
  return new URL(text);
}

/** A segment of a path that is the same wherever it is decoded: `%2e%2e` is two dots to some. */
function isPlain(segment: string): boolean {
  if (/%(?![0-9A-Fa-f]{2})/.test(segment) || /%(?:2[EeFf35]|3[Ff]|5[Cc]|[01][0-9A-Fa-f]|7[Ff])/.test(segment))
    return false;
  return segment !== '.' && segment !== '..';
}

/**
 * The Vault token of a credential that has none of its own: a handle is for fewer scopes or another audience, and goes with
 * the token of the credential that it is a handle of. Both are names with underscores in them, so that is the longest of
 * its beginnings which is there.
 */
async function tokenOfParent({ id, provider, origin }: Errand): Promise<string> {
  let there: Failed | undefined;
  // What is wrong with it may be mended without this one's being stored again.
  const later = (what: string) => new Failed({ kind: 'refused', what, hint: again });
  const parents = parentsOf(id, provider);
  for (const { service, handle } of parents) {
    try {
      const { grant } = await origin(handle, service);
      if (grant.kind === 'vault' && grant.token !== undefined) return grant.token;
      there ??= later(`neither its vault_url nor that of ${service} comes with a vault_token`);
    } catch (thrown) {
      const failure = failureOf(thrown);
      if (failure?.kind !== 'login-needed') throw thrown;
      if (failure.code !== 'no_origin') there ??= later(failure.what);
    }
  }
  if (there) throw there;
  if (parents.length === 0)
    throw new Failed({ kind: 'login-needed', what: 'its vault_url comes without a vault_token', hint: again });
  throw new Failed({
    kind: 'login-needed',
    what: `the credential that ${stem(id)} has its Vault token from is not there any more`,
    hint: again,
    code: 'denied_for_good',
  });
}

const again = 'run condor_submit again in a terminal: it has htgettoken ask for a login where one is needed';

/** Longest first. Under a provider that stands for every service, a service may have a handle in its name. */
function parentsOf({ service, handle }: CredentialId, { name }: Provider): readonly Omit<CredentialId, 'user'>[] {
  if (handle !== undefined) return [...shorter(handle).map((one) => ({ service, handle: one })), { service }];
  return name === anyService ? shorter(service).map((one) => ({ service: one })) : [];
}

function shorter(name: string): readonly string[] {
  const parts = name.split('_');
  const all = parts.slice(1).map((_, i) => parts.slice(0, parts.length - 1 - i).join('_'));
  return all.filter((one) => nameTrouble(one) === undefined);
}

/** Where every service is Vault's, no knob has the provider's name. */
function asConfigured(thrown: unknown, { name }: Provider): unknown {
  const failure = failureOf(thrown);
  if (name !== anyService || failure?.hint?.includes('_CA_FILE') !== true) return thrown;
  const hint =
    'name the authority with AUTH_SSL_CLIENT_CAFILE or AUTH_SSL_CLIENT_CADIR, or ask whoever runs the server';
  return new Failed({ ...failure, hint }, { cause: thrown });
}

/** Vault's errors are `{"errors": […]}`, and often many at once. */
function refusal(url: URL, answer: Answer, token: string, { clock, minimum }: Errand) {
  const { status, body } = answer;
  const errors = textsIn((body as { errors?: unknown } | null | undefined)?.errors);
  const said = quoted(errors.join('; '), 200, token);
  const origin = url.origin;
  if (status === 403 && errors.some((text) => text.includes('permission denied'))) {
    const what = `${origin} does not honour the Vault token any more, or not there (${said})`;
    return { kind: 'login-needed', what, hint: again, code: 'denied_for_good' } as const;
  }
  const broken = brokenReply(origin, answer, clock.now(), said);
  if (broken) return broken;
  // These may be mended at the Vault, by htgettoken: they are tried again, and say nothing of others' credentials.
  const refused = (what: string, hint: string, code: string) => ({ kind: 'refused', what, hint, code }) as const;
  if (status === 404) {
    const what = `${origin} has nothing at ${url.pathname}${said === '' ? '' : ` (${said})`}`;
    return refused(what, again, 'vault_nothing');
  }
  if (status === 400 && errors.includes('token expired')) {
    const what = `${origin} has no access token that lives ${minimum} s more, and gets none`;
    return refused(what, `${again}; or do tokens live less than CREDMON_OAUTH_TOKEN_MINIMUM?`, 'vault_short');
  }
  const what = `${origin} refused (HTTP ${status}${said === '' ? '' : `: ${said}`})`;
  return refused(what, status === 400 ? again : 'ask whoever runs it', `vault_${status}`);
}

function tokenIn(url: URL, answer: Answer, token: string, sent: Moment, errand: Errand): TokenSet {
  const received = momentOf(errand.clock);
  const issued = madeAt(sent, received);
  const broken = brokenReply(url.origin, answer, received.wall);
  if (broken) throw new Failed(broken);
  const { data, warnings } = answer.body as { data?: unknown; warnings?: unknown };
  for (const one of textsIn(warnings).slice(0, mostWarnings))
    errand.warn(`${url.origin} warns: ${quoted(one, 300, token)}`);
  const { access_token: accessToken, type, expire_time: end } = (data ?? {}) as Record<string, unknown>;
  if (typeof accessToken !== 'string' || !/^[\x21-\x7E]+$/.test(accessToken)) {
    throw new Failed({
      kind: 'protocol',
      what: `${url.origin} sent no access_token from ${url.pathname}`,
      hint: 'the vault_url must lead to a credential of the OAuth plugin',
    });
  }
  const expiresIn = typeof end === 'string' ? (Date.parse(end) - issued) / 1000 : undefined;
  return {
    accessToken,
    tokenType: typeof type === 'string' && type !== '' ? type : 'Bearer',
    issued,
    ...lifetime({ expiresIn, exp: expiryIn(errand.claims(accessToken)) }, issued, assumed(errand)),
  };
}

/** Where nothing is told of its life: Vault gives none that lives shorter than it was asked for. */
const assumed = ({ provider, minimum }: Errand): Seconds => seconds(provider.life ?? Math.max(assumedLife, minimum));

const textsIn = (list: unknown): readonly string[] =>
  Array.isArray(list) ? list.filter((one) => typeof one === 'string') : [];
