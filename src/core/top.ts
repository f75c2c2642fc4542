import type { AnyGrant, Grant, RequestGrant, Wanted } from './credential.js';
import type { CredentialId } from './names.js';
import { nameTrouble } from './names.js';
import type { Flow } from './provider.js';
import { badScope, parseScopes, spaced } from './scopes.js';
import { type EpochMs, epochMs } from './time.js';

/** The version of our own content of a `.top`: {@link formatRequest}. */
const version = 1;

/** Of which credential it is said to be, and what its provider's credentials are like. */
export interface TopOf {
  readonly id: Pick<CredentialId, 'service' | 'handle'>;
  readonly flow: Flow;
  /** `use_refresh_token` is false in the `.meta` beside it. */
  readonly final?: boolean;
}

/**
 * What a `.top` holds, or what it is that is none. Users store what they like, and what is in it is sent to issuers, kept
 * in memory and told in status: RFC 6749 appendix A says which characters may be in it, and the lengths are the broker's.
 */
export function parseTop(text: string, { id, flow, final }: TopOf): AnyGrant | string {
  // condor_credd writes a `.top` of its own for these, of which nothing is needed but that it is there.
  if (flow === 'client') return { kind: 'client' };
  const body = object(text);
  if (body === undefined) {
    const bare = text.trim();
    if (flow !== 'mytoken' || !isToken(bare)) return 'not a JSON object';
    return { kind: 'mytoken', mytoken: bare };
  }
  const wanted = wantedIn(body);
  if (typeof wanted === 'string') return wanted;
  if ('credmon_request' in body) return requestIn(body, wanted, id);
  if (final) return { kind: 'final', ...wanted };
  switch (flow) {
    case 'vault':
      return vaultIn(body, wanted);
    case 'mytoken':
      return isToken(body.mytoken) ? { kind: 'mytoken', mytoken: body.mytoken, ...wanted } : 'without a mytoken';
    case 'pelican':
      return body.refresh_token === undefined ? subjectIn(body, wanted) : grantIn(body, wanted);
    default:
      return grantIn(body, wanted);
  }
}

/** The text of a `.top` with a refresh token. */
export function formatGrant(grant: Grant): string {
  return JSON.stringify({
    refresh_token: grant.refreshToken,
    // As condor_credd keeps and compares them: only where someone asked for them.
    ...(grant.scopes?.length && { scopes: spaced(grant.scopes) }),
    ...(grant.audience !== undefined && { audience: grant.audience }),
    ...(grant.since !== undefined && { granted_at: Math.floor(grant.since / 1000) }),
    ...(grant.ends !== undefined && { refresh_token_expires_at: Math.floor(grant.ends / 1000) }),
    ...(grant.by && { granted_by: { iss: grant.by.iss, sub: grant.by.sub } }),
  });
}

/**
 * The text of a request: {credmon_request: 1, provider, handle?, from?, scopes?, audience?}. It names nothing but a
 * provider, a handle, scopes and an audience; the first two must be those that it is stored under.
 */
export function formatRequest(id: TopOf['id'], { from, scopes, audience }: Omit<RequestGrant, 'kind'>): string {
  return JSON.stringify({
    credmon_request: version,
    provider: id.service,
    ...(id.handle !== undefined && { handle: id.handle }),
    ...(from !== undefined && { from }),
    ...(scopes?.length && { scopes: spaced(scopes) }),
    ...(audience !== undefined && { audience }),
  });
}

/** `scope` is how Pelican's reference reads what condor_credd writes as `scopes`. */
function wantedIn({ scopes, scope, audience }: Record<string, unknown>): Wanted | string {
  const given = scopes ?? scope;
  const listed = typeof given === 'string' ? parseScopes(given) : [];
  const asked = listed.length > 0 ? listed : undefined;
  if (asked && (spaced(asked).length > 4096 || badScope(asked) !== undefined)) return 'with scopes that cannot be';
  const whom = typeof audience === 'string' && audience !== '' ? audience : undefined;
  if (whom !== undefined && !/^[\x20-\x7E]{1,512}$/.test(whom)) return 'with an audience that cannot be';
  return { ...(asked && { scopes: asked }), ...(whom !== undefined && { audience: whom }) };
}

function grantIn(body: Record<string, unknown>, wanted: Wanted): Grant | string {
  const { refresh_token: refreshToken } = body;
  if (typeof refreshToken !== 'string' || refreshToken === '') return 'without a refresh_token';
  if (!isToken(refreshToken)) return 'with a refresh_token that cannot be one';
  const [since, ends] = [momentIn(body.granted_at), momentIn(body.refresh_token_expires_at)];
  const by = personIn(body.granted_by);
  return {
    refreshToken,
    ...wanted,
    ...(since !== undefined && { since }),
    ...(ends !== undefined && { ends }),
    ...(by && { by }),
  };
}

function personIn(value: unknown): Grant['by'] {
  const { iss, sub } = (value ?? {}) as Record<string, unknown>;
  return typeof iss === 'string' && typeof sub === 'string' ? { iss, sub } : undefined;
}

const requestKeys = ['credmon_request', 'provider', 'handle', 'from', 'scopes', 'audience', 'refresh_token'];

function requestIn(body: Record<string, unknown>, wanted: Wanted, id: TopOf['id']): RequestGrant | string {
  if (body.credmon_request !== version) return 'a request of a version that is not known';
  const strange = Object.keys(body).find((key) => !requestKeys.includes(key));
  if (strange !== undefined) return 'a request with something in it that no request has';
  // What is read over elsewhere would here be a wish for something else.
  if ([body.scopes ?? '', body.audience ?? ''].some((value) => typeof value !== 'string'))
    return 'a request with something in it that no request has';
  if (body.provider !== id.service || body.handle !== id.handle) return 'a request for another credential';
  const { from, refresh_token: refreshToken } = body;
  if (from !== undefined && (typeof from !== 'string' || (from !== '' && nameTrouble(from) !== undefined)))
    return 'a request that names no login to be made from';
  if (from === (id.handle ?? '')) return 'a request to be made from itself';
  if (refreshToken !== undefined && !isToken(refreshToken)) return 'with a refresh_token that cannot be one';
  return {
    kind: 'request',
    ...wanted,
    ...(from !== undefined && { from }),
    ...(refreshToken !== undefined && { refreshToken }),
  };
}

function vaultIn(body: Record<string, unknown>, wanted: Wanted): AnyGrant | string {
  const { vault_token: token, vault_url: url } = body;
  if (typeof url !== 'string' || !/^[\x21-\x7E]{1,2048}$/.test(url)) return 'without a vault_url';
  if (token !== undefined && !isToken(token)) return 'with a vault_token that cannot be one';
  return { kind: 'vault', url, ...wanted, ...(token !== undefined && { token }) };
}

function subjectIn(body: Record<string, unknown>, wanted: Wanted): AnyGrant | string {
  const token = body.access_token ?? body.subject_token;
  if (!isToken(token)) return 'without an access_token';
  return { kind: 'subject', accessToken: token, ...wanted };
}

/** RFC 6749 appendix A.17, of a length that others are. */
export const isToken = (value: unknown): value is string =>
  typeof value === 'string' && /^[\x20-\x7E]{1,16384}$/.test(value);

/** Seconds since 1970, in this century. */
function momentIn(value: unknown): EpochMs | undefined {
  return typeof value === 'number' && value > 0 && value < 4e9 ? epochMs(value * 1000) : undefined;
}

function object(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}
