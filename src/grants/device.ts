import type { Wanted } from '../core/credential.js';
import { Failed } from '../core/failure.js';
import type { Reply } from '../core/poll.js';
import type { DeviceCode, Issuer } from '../core/ports.js';
import { type Scopes, spaced } from '../core/scopes.js';

const grantType = 'urn:ietf:params:oauth:grant-type:device_code';

/**
 * Asks for a code pair (RFC 8628 §3.1). With a `nonce`: an ID token that has one must have this one (OpenID Connect Core
 * §3.1.2.1; RFC 8628 leaves it to the issuer whether it takes one here).
 */
export function requestCode(issuer: Issuer, wanted: Wanted, stop: AbortSignal, nonce?: string): Promise<DeviceCode> {
  return issuer.device({ ...parameters(wanted), ...(nonce !== undefined && { nonce }) }, stop);
}

/** One poll (RFC 8628 §3.4): whatever comes of it is a {@link Reply}; only an abort is thrown. */
export async function pollOnce(issuer: Issuer, code: DeviceCode, stop: AbortSignal): Promise<Reply> {
  try {
    const token = await issuer.token(grantType, { device_code: code.deviceCode }, { stop, identify: true });
    return { kind: 'token', token };
  } catch (thrown) {
    stop.throwIfAborted();
    if (!(thrown instanceof Failed)) throw thrown;
    const { failure } = thrown;
    if (failure.code === 'authorization_pending') return { kind: 'pending' };
    if (failure.code === 'slow_down') return { kind: 'slow-down' };
    return { kind: failure.kind === 'transient' ? 'unreachable' : 'refused', failure };
  }
}

/**
 * The scopes of a login: what is wanted, and offline_access where the issuer knows it, since a login without a refresh
 * token is of no use here (OpenID Connect Core §11).
 */
export function loginScopes(wanted: Scopes, supported: readonly string[] | undefined): Scopes {
  const base = wanted.length > 0 ? wanted : supported?.includes('openid') === false ? [] : ['openid'];
  if (!supported?.includes('offline_access') || base.includes('offline_access')) return base;
  return [...base, 'offline_access'];
}

function parameters({ scopes, audience }: Wanted): Record<string, string> {
  return { ...(scopes?.length && { scope: spaced(scopes) }), ...(audience !== undefined && { audience }) };
}
