import { assumedLife, type MytokenGrant, type TokenSet } from '../core/credential.js';
import { refuseStrange } from '../core/endpoint.js';
import { Failed, type Failure, Unsent } from '../core/failure.js';
import { expiryIn, lifetime, numberIn } from '../core/lifetime.js';
import { stem } from '../core/names.js';
import type { Answer, Errand, Fetcher } from '../core/ports.js';
import type { Provider } from '../core/provider.js';
import { brokenReply, quoted } from '../core/reply.js';
import { parseScopes, spaced } from '../core/scopes.js';
import { Shared } from '../core/shared.js';
import { madeAt, momentOf } from '../core/steady.js';
import { plain } from '../core/text.js';
import { type EpochMs, later } from '../core/time.js';
import { isSafeUrl } from '../core/url.js';

/** What a server says of itself is asked for again after this long: seconds. */
const knownFor = 3600;

/**
 * An access token for a mytoken (oidc-mytoken/server, internal/endpoints/token/access). A mytoken that rotates is of no use
 * any more as soon as the server has answered: the new one is kept before anything of the answer is judged.
 */
export const mytoken: Fetcher<MytokenGrant> = async (grant, errand) => {
  const endpoint = await endpointOf(errand);
  const scopes = grant.scopes ?? errand.provider.scopes;
  const audience = grant.audience ?? errand.provider.audience;
  const form = new URLSearchParams({
    grant_type: 'mytoken',
    mytoken: grant.mytoken,
    ...(scopes.length > 0 && { scope: spaced(scopes) }),
    ...(audience !== undefined && { audience }),
  });
  const sent = momentOf(errand.clock);
  errand.rotation.sending();
  const answer = await errand
    .http(endpoint, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' },
      body: form.toString(),
      stop: errand.stop,
    })
    .catch((thrown) => {
      if (thrown instanceof Unsent) errand.rotation.unchanged(false);
      throw thrown;
    });
  const issued = madeAt(sent, momentOf(errand.clock));
  const body = (answer.body ?? {}) as Record<string, unknown>;
  const next = (body.token_update as { mytoken?: unknown } | null | undefined)?.mytoken;
  const rotated = typeof next === 'string' && next !== '' ? next : undefined;
  if (rotated !== undefined) await errand.rotation.keep(rotated);
  else if (typeof body.error === 'string' && answer.status < 500) errand.rotation.unchanged(false);
  else if (typeof body.access_token === 'string') errand.rotation.unchanged(true);
  const secrets = [grant.mytoken, rotated ?? ''];
  const origin = new URL(endpoint).origin;
  if (answer.status !== 200) throw new Failed(refusal(origin, answer, body, secrets, errand));
  return tokenIn(origin, answer, body, issued, errand);
};

/** By provider as it was configured: another configuration has others. */
const known = new WeakMap<Provider, { readonly endpoint: Shared<string>; readonly until: EpochMs }>();

/** Where access tokens are had: as configured, else as the server says. */
async function endpointOf({ provider, http, clock, stop }: Errand): Promise<string> {
  const { tokenUrl, issuer, name } = provider;
  if (tokenUrl !== undefined) return tokenUrl;
  if (issuer === undefined)
    throw new Failed({ kind: 'config', what: `where ${name} is, is not configured`, hint: `set ${name}_ISSUER` });
  const earlier = known.get(provider);
  const now = clock.now();
  // A clock that was set back does not make it good for longer.
  if (earlier && !earlier.endpoint.isOfNoUse && earlier.until > now && earlier.until <= later(now, knownFor))
    return earlier.endpoint.wait(stop);
  const endpoint = new Shared((nobody) => discover(issuer, { provider, http, now, stop: nobody }));
  known.set(provider, { endpoint, until: later(now, knownFor) });
  return endpoint.wait(stop);
}

interface Asking {
  readonly provider: Provider;
  readonly http: Errand['http'];
  readonly now: EpochMs;
  readonly stop: AbortSignal;
}

async function discover(issuer: string, { provider, http, now, stop }: Asking): Promise<string> {
  const { name } = provider;
  const base = issuer.replace(/\/+$/, '');
  const answer = await http(`${base}/.well-known/mytoken-configuration`, {
    method: 'GET',
    headers: { accept: 'application/json' },
    stop,
  });
  const broken = brokenReply(new URL(issuer).origin, answer, now);
  if (broken) throw new Failed(broken);
  const { access_token_endpoint: endpoint, issuer: itself } = answer.body as Record<string, unknown>;
  const hint = `check ${name}_ISSUER: it must be a mytoken server; or set ${name}_TOKEN_URL`;
  if (answer.status !== 200 || typeof endpoint !== 'string')
    throw new Failed({ kind: 'config', what: `${base} does not say where its tokens are had`, hint });
  // As RFC 8414 §3.3 has it for others' metadata.
  if (typeof itself === 'string' && itself.replace(/\/+$/, '') !== base)
    throw new Failed({ kind: 'protocol', what: `${base} calls itself ${plain(itself)}`, hint });
  if (!isSafeUrl(endpoint) || (endpoint.startsWith('http:') && !issuer.startsWith('http:')))
    throw new Failed({ kind: 'protocol', what: `${base} names an endpoint without https: ${plain(endpoint)}`, hint });
  refuseStrange(provider, endpoint);
  return endpoint;
}

function refusal(
  origin: string,
  answer: Answer,
  { error, error_description: description }: Record<string, unknown>,
  secrets: readonly string[],
  { id, clock }: Errand,
): Failure {
  const code = quoted(error, 64, ...secrets);
  const detail = quoted(description, 200, ...secrets);
  const said = detail === '' ? code : `${code} (${detail})`;
  const login = (what: string): Failure => ({
    kind: 'login-needed',
    what,
    hint: `make another mytoken and store it: condor_store_cred add-oauth -s ${stem(id)} -i FILE`,
    code,
  });
  if (answer.status === 401 && code === 'invalid_token')
    return login(`${origin} does not honour the mytoken any more: ${said}`);
  // Behind it is an OpenID provider, whose own error it passes on.
  if (code === 'oidc_error' && /\binvalid_grant\b/.test(detail))
    return login(`the login that the mytoken stands for has ended: ${said}`);
  const broken = brokenReply(origin, answer, clock.now(), said);
  if (broken) return broken;
  const hint = hints[code];
  return {
    kind: 'refused',
    what: `${origin} refused (HTTP ${answer.status})${said === '' ? '' : `: ${said}`}`,
    ...(hint !== undefined && { hint }),
    // Never one of those that speak of our client, or of all credentials there.
    code: `mytoken_${code || answer.status}`,
  };
}

const hints: Readonly<Record<string, string>> = {
  insufficient_capabilities: 'make a mytoken with the capability AT',
  usage_restricted:
    'the mytoken’s restrictions do not allow this: make one for these scopes, this audience and this host',
};

function tokenIn(
  origin: string,
  answer: Answer,
  body: Record<string, unknown>,
  issued: EpochMs,
  errand: Errand,
): TokenSet {
  const broken = brokenReply(origin, answer, errand.clock.now());
  if (broken) throw new Failed(broken);
  const { access_token: accessToken, token_type: type, expires_in: span, scope } = body;
  if (typeof accessToken !== 'string' || !/^[\x21-\x7E]+$/.test(accessToken)) {
    const hint = 'whoever runs it must mend this';
    throw new Failed({ kind: 'protocol', what: `${origin} sent an answer without an access_token`, hint });
  }
  const told = { expiresIn: numberIn(span), exp: expiryIn(errand.claims(accessToken)) };
  return {
    accessToken,
    tokenType: typeof type === 'string' && type !== '' ? type : 'Bearer',
    issued,
    ...lifetime(told, issued, errand.provider.life ?? assumedLife),
    ...(typeof scope === 'string' && scope.trim() !== '' && { scopes: parseScopes(scope) }),
  };
}
