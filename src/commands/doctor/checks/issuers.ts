import { allowing, strangeEndpoints, telling } from '../../../core/endpoint.js';
import { failureOf } from '../../../core/failure.js';
import type { Answer, Http } from '../../../core/ports.js';
import { type Flow, issuerOf, type Provider } from '../../../core/provider.js';
import { plain } from '../../../core/text.js';
import { openIssuer } from '../../../providers/issuer.js';
import { systemClock } from '../../../system/clock.js';
import type { Check } from '../check.js';
import { type Finding, teller } from '../finding.js';
import type { World } from '../world.js';

const section = 'issuers';
const tell = teller(section);

/** Seconds that two clocks may differ: ID tokens and JWTs are judged with about as much. */
const mostSkew = 60;

const deviceGrant = 'urn:ietf:params:oauth:grant-type:device_code';
const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange';

/** What an issuer has to offer for each flow (RFC 8628 §3.4, RFC 6749 §6 and §4.4, RFC 8693 §2.1). */
const needs: Readonly<Record<Flow, readonly string[]>> = {
  device: [deviceGrant, 'refresh_token'],
  exchange: [exchangeGrant],
  client: ['client_credentials'],
  pelican: [exchangeGrant, 'refresh_token'],
  vault: [],
  mytoken: [],
};

type Metadata = Readonly<Record<string, unknown>>;

/** What an issuer tells about itself. Nothing is sent to it: neither a secret nor who we are. */
async function issuer(provider: Provider, stop: AbortSignal, config: World['config']): Promise<readonly Finding[]> {
  const { name: about, issuer: url } = provider;
  const opened = openIssuer(provider, undefined, systemClock);
  try {
    if (url === undefined) return await endpoint(provider, opened.http, stop);
    const asked = systemClock.now();
    const answer = await discovery(url, provider.flow, opened.http, stop);
    const answered = systemClock.now();
    if (answer.status !== 200 || typeof answer.body !== 'object' || answer.body === null)
      return [
        tell.error('issuer.discovery', `${url} has no metadata at its well-known place (HTTP ${answer.status})`, {
          about,
          where: `${about}_ISSUER`,
          mend: { do: `check ${about}_ISSUER, or set ${about}_TOKEN_URL and ${about}_DEVICE_URL instead of it` },
        }),
      ];
    const metadata = answer.body as Metadata;
    const found = [
      ...clock(answer, (asked + answered) / 2, provider),
      ...judged(provider, metadata),
      ...elsewhere(provider, metadata, config?.pam?.provider === about),
    ];
    // As every login and refresh does it: what is wrong with the metadata is said as it is then.
    if (provider.flow !== 'mytoken') await opened.scopes(stop);
    const bad = found.some(({ level }) => level === 'error' || level === 'warning');
    return bad ? found : [tell.ok('issuer', `${url} answers, and offers what is needed`, { about }), ...found];
  } catch (thrown) {
    const failure = failureOf(thrown);
    if (failure === undefined) throw thrown;
    const where = `${about}_ISSUER`;
    const mend = {
      do: failure.hint?.replaceAll('<provider>', about) ?? `check ${where}; if it is right, try again later`,
    };
    return [tell.error(`issuer.${failure.kind}`, failure.what, { about, where, mend })];
  } finally {
    await opened.close();
  }
}

/** OpenID Connect Discovery §4; where there is none, RFC 8414 §3.1. A mytoken server has a document of its own. */
async function discovery(url: string, flow: Flow, http: Http, stop: AbortSignal): Promise<Answer> {
  const ask = (address: string) => http(address, { method: 'GET', headers: { accept: 'application/json' }, stop });
  if (flow === 'mytoken') return ask(`${url.replace(/\/+$/, '')}/.well-known/mytoken-configuration`);
  const openid = await ask(`${url.replace(/\/+$/, '')}/.well-known/openid-configuration`);
  if (openid.status !== 404) return openid;
  const { origin, pathname } = new URL(url);
  return ask(`${origin}/.well-known/oauth-authorization-server${pathname.replace(/\/+$/, '')}`);
}

/** An issuer without discovery: whether its token endpoint can be reached. A GET there is refused, which is an answer. */
async function endpoint(provider: Provider, http: Http, stop: AbortSignal): Promise<readonly Finding[]> {
  const { name: about, tokenUrl } = provider;
  if (tokenUrl === undefined)
    return [tell.note('issuer.unknown', 'its issuer is found out at each login, so it was not looked at', { about })];
  const asked = systemClock.now();
  const answer = await http(tokenUrl, { method: 'GET', stop });
  const { origin } = new URL(tokenUrl);
  return [
    ...clock(answer, (asked + systemClock.now()) / 2, provider),
    tell.ok('issuer', `${origin} answers`, { about }),
  ];
}

/** `now`: the middle of the exchange, epoch milliseconds. */
function clock({ headers }: Answer, now: number, { name: about }: Provider): readonly Finding[] {
  const theirs = Date.parse(headers.date ?? '');
  if (!Number.isFinite(theirs)) return [];
  // The header has no fractions.
  const skew = Math.round((theirs + 500 - now) / 1000);
  if (Math.abs(skew) <= mostSkew) return [];
  const way = skew > 0 ? 'ahead of' : 'behind';
  return [
    tell.warning(
      'issuer.clock',
      `its clock is ${Math.abs(skew)} s ${way} this machine's: tokens may seem not yet or no longer good`,
      {
        about,
        mend: { run: 'timedatectl status' },
      },
    ),
  ];
}

/** What would not be asked of it: at a login, a refresh or a logout, and at an ssh login. */
const asked: readonly string[] = ['device_authorization_endpoint', 'token_endpoint', 'revocation_endpoint', 'jwks_uri'];

function elsewhere(provider: Provider, metadata: Metadata, ssh: boolean): readonly Finding[] {
  const { name: about, flow, tokenUrl, deviceUrl, revocationUrl } = provider;
  const used =
    flow === 'mytoken'
      ? tokenUrl === undefined && { access_token_endpoint: metadata.access_token_endpoint }
      : {
          ...metadata,
          ...(tokenUrl !== undefined && { token_endpoint: tokenUrl }),
          ...(deviceUrl !== undefined && { device_authorization_endpoint: deviceUrl }),
          ...(revocationUrl !== undefined && { revocation_endpoint: revocationUrl }),
        };
  const names = flow === 'mytoken' ? ['access_token_endpoint'] : ssh ? [...asked, ...telling] : asked;
  const hosts = [...new Set(strangeEndpoints(provider, used || {}, names).map(({ host }) => host))];
  if (hosts.length === 0) return [];
  const said = hosts.map((host) => plain(host, 100) || 'no URL').join(', ');
  return [
    tell.error('issuer.elsewhere', `its metadata name endpoints at other hosts (${said}), which are not asked`, {
      about,
      where: `${about}_ENDPOINT_HOSTS`,
      mend: hosts.includes('') ? { do: 'ask whoever runs it' } : { set: allowing(provider, hosts) },
    }),
  ];
}

function judged(provider: Provider, metadata: Metadata): readonly Finding[] {
  const { name: about, flow, scopes, deviceUrl, issuer: url = issuerOf(provider) } = provider;
  const found: Finding[] = [];
  if (flow === 'device' && deviceUrl === undefined && typeof metadata.device_authorization_endpoint !== 'string')
    found.push(
      tell.error(
        'issuer.no-device',
        `${url} offers no device flow: its metadata name no device_authorization_endpoint`,
        {
          about,
          where: `${about}_ISSUER`,
          mend: { do: `if it has one all the same, set ${about}_DEVICE_URL` },
        },
      ),
    );
  const grants = words(metadata.grant_types_supported);
  const lacking = grants && needs[flow].filter((grant) => !grants.includes(grant));
  if (lacking && lacking.length > 0)
    found.push(
      tell.warning('issuer.grants', `${url} does not say that it offers ${lacking.join(' and ')}`, {
        about,
        mend: { do: `have it enabled there for the client, or try: credmon login ${about}` },
      }),
    );
  const offered = words(metadata.scopes_supported);
  // A scope with a path stands in no list; its name before the path may.
  const unknown =
    offered && scopes.filter((scope) => !offered.includes(scope) && !offered.includes(scope.split(':/')[0] ?? scope));
  if (unknown && unknown.length > 0)
    found.push(
      tell.note(
        'issuer.scopes',
        `${url} does not list ${unknown.map((scope) => plain(scope, 80)).join(' ')} among its scopes, which issuers need not`,
        {
          about,
          where: `${about}_SCOPES`,
        },
      ),
    );
  if (flow === 'device' && provider.revocationUrl === undefined && typeof metadata.revocation_endpoint !== 'string')
    found.push(
      tell.note('issuer.no-revocation', `${url} offers no revocation: credmon logout can only remove what is here`, {
        about,
      }),
    );
  return found;
}

const words = (value: unknown): readonly string[] | undefined =>
  Array.isArray(value) ? value.filter((word) => typeof word === 'string') : undefined;

/** Vault's servers are named by people's own credentials. */
export const issuerChecks = ({ config }: World): readonly Check[] =>
  [...(config?.providers.values() ?? [])]
    .filter(({ flow }) => flow !== 'vault')
    .map((provider) => ({
      section,
      about: provider.name,
      limitMs: 25_000,
      look: (_: World, stop: AbortSignal) => issuer(provider, stop, config),
    }));
