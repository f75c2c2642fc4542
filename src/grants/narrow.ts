import type { TokenSet } from '../core/credential.js';
import { type Failure, failureOf } from '../core/failure.js';
import type { Clock, Issuer, Rotation } from '../core/ports.js';
import { missing, parseScopes, type Scopes, spaced } from '../core/scopes.js';
import { type EpochMs, later, type Seconds } from '../core/time.js';
import { tokenExchange } from './exchange.js';
import { refresh } from './refresh.js';

const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token';

/** A login whose refresh token is in hand: another one after each rotation. */
export interface Login {
  /** Of the credential that the token is for. */
  readonly key: string;
  readonly issuer: Issuer;
  readonly clock: Pick<Clock, 'now'>;
  refreshToken(): string;
  readonly rotation: Rotation;
  readonly stop: AbortSignal;
  /** The claims of a token that is a JWT. */
  claims(accessToken: string): Readonly<Record<string, unknown>> | undefined;
}

export interface Narrower {
  readonly scopes: Scopes;
  readonly audience?: string | undefined;
  /** Another audience than the login's: a refresh does not change it. */
  readonly elsewhere: boolean;
  /** Of scopes that nobody asked for: those that matter. */
  matters(scope: string): boolean;
  /** All that the login has will do where nothing narrower is to be had. */
  readonly wholeWillDo: boolean;
}

/** `whole`: more than that, where the issuer gives nothing narrower, and `why`. */
export type Narrowed =
  | { readonly token: TokenSet }
  | { readonly token?: never; readonly whole: TokenSet; readonly why: string };

/**
 * A token with less in it than its login has: by a refresh that asks for less (RFC 6749 §6), else by token exchange
 * (RFC 8693 §2.1). Throws Failed; 'login-needed' when the login has ended.
 */
export async function narrowed(login: Login, wanted: Narrower): Promise<Narrowed> {
  const { issuer, rotation, stop } = login;
  const { scopes, audience, elsewhere, matters, wholeWillDo } = wanted;
  /** An issuer that passes over the scope at a refresh answers with more. */
  const isNoMore = (granted: Scopes) => scopes.length === 0 || !missing(granted, scopes).some(matters);
  const granted = ({ accessToken, scopes: told }: TokenSet): Scopes | undefined => {
    const scope = login.claims(accessToken)?.scope;
    return told ?? (typeof scope === 'string' ? parseScopes(scope) : undefined);
  };
  const asked = { ...(scopes.length > 0 && { scopes }), ...(audience !== undefined && { audience }) };
  const refusals = refusalsOf(login);
  const less = JSON.stringify([login.key, scopes, audience]);
  const asksForLess = !elsewhere && refusals.why(less) === undefined;
  let narrow: TokenSet | undefined;
  if (asksForLess) {
    narrow = await refresh(issuer, { refreshToken: login.refreshToken(), ...asked }, rotation, stop).catch(tooMuch);
    // One that is silent has given what was asked (RFC 6749 §5.1), unless the token itself says otherwise.
    if (narrow && isNoMore(granted(narrow) ?? [])) return { token: narrow };
  }
  // An answer with too much in it can be exchanged as well as any: each refresh costs a rotation.
  const whole = narrow ?? (await refresh(issuer, { refreshToken: login.refreshToken() }, rotation, stop));
  const found = <T extends Narrowed>(result: T): T => {
    // What ends in a login being needed says nothing: the next login may have more in it, and be narrowed.
    if (asksForLess && narrow === undefined && (result.token !== undefined || wholeWillDo))
      refusals.add(less, 'it was refused');
    return result;
  };
  const all = granted(whole);
  if (!elsewhere && all !== undefined && isNoMore(all)) return found({ token: whole });
  const notOffered = wholeWillDo ? refusals.why(tokenExchange) : undefined;
  if (notOffered !== undefined) return found({ whole, why: notOffered });
  try {
    const token = await exchanged(issuer, whole.accessToken, asked, stop);
    if (isNoMore(granted(token) ?? [])) return found({ token });
    return found({ whole, why: 'the issuer gives no narrower token than the login’s own' });
  } catch (thrown) {
    const failure = failureOf(thrown);
    const refused = failure?.kind === 'refused' || failure?.kind === 'login-needed' || failure?.kind === 'denied';
    if (!refused || /^(?:invalid_client|http_)/.test(failure.code ?? '')) throw thrown;
    const why = `it cannot be made from the login: ${failure.what}`;
    if (isNotOffered(failure)) refusals.add(tokenExchange, why);
    return found({ whole, why });
  }
}

/** Whoever asks, and for whatever (RFC 6749 §5.2). */
const isNotOffered = ({ code }: Failure): boolean =>
  code === 'unsupported_grant_type' || code === 'unauthorized_client';

/** What an issuer does not do is not asked of it again for so long: seconds. */
const believedFor = 3600 as Seconds;
/** And of so many credentials. */
const most = 10_000;

const known = new WeakMap<Issuer, Map<string, { readonly why: string; readonly until: EpochMs }>>();

/** What this issuer was found not to do: to exchange tokens at all, to narrow this credential's at a refresh. */
function refusalsOf({ issuer, clock }: Pick<Login, 'issuer' | 'clock'>) {
  const mine = known.get(issuer) ?? new Map();
  known.set(issuer, mine);
  return {
    why: (what: string): string | undefined => {
      const one = mine.get(what);
      const now = clock.now();
      // A clock that was set back does not make it last longer.
      return one && one.until > now && one.until <= later(now, believedFor) ? one.why : undefined;
    },
    add: (what: string, why: string): void => {
      if (mine.size >= most) mine.clear();
      mine.set(what, { why, until: later(clock.now(), believedFor) });
    },
  };
}

function exchanged(
  issuer: Issuer,
  accessToken: string,
  { scopes, audience }: { readonly scopes?: Scopes; readonly audience?: string },
  stop: AbortSignal,
): Promise<TokenSet> {
  const parameters = {
    subject_token: accessToken,
    subject_token_type: accessTokenType,
    requested_token_type: accessTokenType,
    ...(scopes && { scope: spaced(scopes) }),
    ...(audience !== undefined && { audience }),
  };
  return issuer.token(tokenExchange, parameters, { stop });
}

/** The issuer does not want to narrow it at a refresh: that says nothing of the grant. */
function tooMuch(thrown: unknown): undefined {
  const failure = failureOf(thrown);
  if (failure?.kind === 'refused' && failure.code !== 'invalid_client') return undefined;
  throw thrown;
}
