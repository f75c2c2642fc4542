import type { AnyGrant, Grant, RequestGrant, TokenSet } from './credential.js';
import type { Life } from './due.js';
import type { Identity } from './identity.js';
import type { LoginState, Place } from './login.js';
import type { CredentialId } from './names.js';
import type { Stamp } from './plan.js';
import type { Provider } from './provider.js';
import type { EpochMs, Seconds } from './time.js';

/** Wall time, steady time and timers. Tests move one by hand. */
export interface Clock {
  now(): EpochMs;
  /** Milliseconds that never step back and do not follow the wall clock. */
  steady(): number;
  /** Resolves after `span`; rejects with the signal's reason as soon as it is aborted. */
  sleep(span: Seconds, stop: AbortSignal): Promise<void>;
  /** Calls `then` once after `ms`, unless the returned function is called first. Does not keep the process alive. */
  after(ms: number, then: () => void): () => void;
}

/** A number in [0, 1). */
export type Random = () => number;

/** One decision a line; never a secret. `debug` lines are written only where the administrator asked for them. */
export interface Log {
  error(text: string): void;
  warn(text: string): void;
  info(text: string): void;
  debug(text: string): void;
}

/**
 * A person's own store, for machines without an HTCondor credential directory.
 * An id is the stem of names.ts: `service` or `service_handle`. What is stored is whole or not there at all.
 */
export interface TokenStore {
  readonly place: Place;
  /** Undefined when there is none; throws Failed('storage') when there is one that cannot be read. */
  load(id: string): Promise<Kept | undefined>;
  /** Replaces. Resolves when it is durable. */
  save(id: string, kept: Kept): Promise<void>;
  /** Whether there was one. */
  remove(id: string): Promise<boolean>;
  list(): Promise<readonly string[]>;
}

/** What a person's own store keeps for one credential. */
export interface Kept {
  readonly provider: string;
  readonly handle?: string;
  readonly grant: Grant;
  readonly token?: TokenSet;
  readonly who?: string;
  readonly since: EpochMs;
  /** Set when the issuer no longer honours the grant: since when, and why. */
  readonly dead?: { readonly since: EpochMs; readonly why: string };
}

/** A credential that was found: whose, of which configured provider, and in which state its `.top` is. */
export interface Found {
  readonly id: CredentialId;
  readonly provider: string;
  readonly stamp: Stamp;
  /** When the `.top` was written. */
  readonly written: EpochMs;
}

/** The client that a credential was made with, where it is not the provider's own (HTCondor's `.meta`). */
export interface OtherClient {
  readonly clientId: string;
  /** Secret. */
  readonly secret?: string;
  readonly tokenUrl?: string;
}

/** A `.top` as it was read, or why it is of no use; then with the stamp of the file that is of no use, where there is one. */
export type Top =
  | { readonly grant: AnyGrant; readonly client?: OtherClient; readonly stamp: Stamp; readonly trouble?: never }
  | { readonly trouble: string; readonly stamp?: Stamp };

/**
 * The credentials that the daemon keeps: HTCondor's credential directory, or a person's own store.
 * Every method throws Failed('storage') when the disk does not do its part; then what was there is whole.
 */
export interface Credentials {
  users(): Promise<readonly string[]>;
  /**
   * A number that is another one when something in the user's folder has come, gone or been replaced since; of `undefined`:
   * when a user has come or gone. What is written in place does not change it. 0: it cannot be told now, so look; gone: the
   * folder is not there. Absent: it never can be told.
   */
  mark?(user: string | undefined): number | 'gone';
  /** All of one user's, by key (names.ts). A user who is not there has none. */
  scan(user: string): Promise<ReadonlyMap<string, Found>>;
  read(id: CredentialId): Promise<Top>;
  /**
   * This one is being refreshed, and by nobody else: until what is returned is called, what `read` has seen and `rotate` has
   * opened is kept for `rotate` and `publish`. Absent: there is nothing to keep.
   */
  hold?(id: CredentialId): () => void;
  /** The life of the access token that jobs are given now; undefined when there is none or it cannot be told. */
  life(id: CredentialId): Promise<Life | undefined>;
  /**
   * Puts a new refresh token (of mytoken: a new mytoken) in the place of the one that `stamp` was read with; resolves, when
   * it is durable, to the new stamp. Throws Superseded when the `.top` is no longer that one, and Failed with the code
   * {@link unwritable} when it can never be written: then nothing is written.
   */
  rotate(id: CredentialId, stamp: Stamp, refreshToken: string): Promise<Stamp>;
  /** Hands a new access token to jobs. Throws Superseded when the `.top` is no longer the one that `stamp` names. */
  publish(id: CredentialId, stamp: Stamp, token: TokenSet): Promise<void>;
  /** A login: replaces whatever is there. Resolves when it is durable. */
  put(id: CredentialId, grant: Grant | RequestGrant): Promise<Stamp>;
  /** Whether there was one. With `stamp`: throws Superseded, and removes nothing, when the `.top` is no longer that one. */
  remove(id: CredentialId, stamp?: Stamp): Promise<boolean>;
  /** What lies there of this user's is durable, whoever has put it there. Absent: that cannot be had. */
  settle?(user: string): Promise<void>;
  /** Throws Failed('storage') when nothing durable could be written there now. Absent: that cannot be told beforehand. */
  probe?(user: string): Promise<void>;
}

/** The code of a Failed where what is to be written cannot be, however often it is tried: nobody could read it back. */
export const unwritable = 'unwritable';

/** A login or a deletion came in between, and wins. */
export class Superseded extends Error {
  override readonly name = 'Superseded';
}

/** A device authorization answer, judged (RFC 8628 §3.2). */
export interface DeviceCode {
  /** Secret. */
  readonly deviceCode: string;
  readonly userCode: string;
  readonly link: string;
  readonly linkComplete?: string;
  readonly expires: EpochMs;
  /** As the issuer sent it, if it did: seconds. */
  readonly interval?: number;
}

/**
 * What a request does with the refresh token that it sends (RFC 6749 §6, RFC 9700 §4.14.2). After `sending` one of the others
 * is called as soon as the answer is read and before it is judged; none of them is when it stays open what became of it:
 * no answer, half of one, or one that is not the token endpoint's own.
 */
export interface Rotation {
  /** Right before the request goes out: from here on the refresh token may have been replaced, though nobody knows by what. */
  sending(): void;
  /** Makes the one that came in its place durable; waited for, so that it is not lost when the rest of the answer is faulty. */
  keep(refreshToken: string): Promise<void>;
  /** Nothing came in its place. `taken`: it was honoured, and stays in use; else the request was refused, or never went out. */
  unchanged(taken: boolean): void;
}

/** What goes along with a request to a token endpoint. */
export interface TokenRequest {
  readonly stop: AbortSignal;
  /** Absent: the request sends no refresh token, and none that comes with the answer is wanted. */
  readonly rotation?: Rotation;
  /** Verify the ID token of the answer, if there is one, and tell whose it is. Otherwise an ID token is not looked at. */
  readonly identify?: boolean;
}

interface IdentityRequest {
  readonly stop: AbortSignal;
  /** What was sent as `nonce` with the request for the code; an ID token that has one must have this one. */
  readonly nonce?: string;
}

/** One issuer and our client there, as the grants need it. Every method throws Failed and nothing else. */
export interface Issuer {
  /** Its issuer identifier (RFC 8414 §2), where that is known by now. */
  readonly identifier?: string | undefined;
  /** One request to the token endpoint (RFC 6749 §3.2). */
  token(grantType: string, parameters: Readonly<Record<string, string>>, request: TokenRequest): Promise<TokenSet>;
  /**
   * Who approved the request that `token` came of: it must be the very object that `token()` gave with `identify`. The
   * claims of its ID token (OpenID Connect Core §3.1.3.7), with those of userinfo where the issuer has it (§5.3).
   * Throws Failed('protocol') where there is no ID token that verifies.
   */
  identity(token: TokenSet, request: IdentityRequest): Promise<Identity>;
  /** One request to the device authorization endpoint (RFC 8628 §3.1). */
  device(parameters: Readonly<Record<string, string>>, stop: AbortSignal): Promise<DeviceCode>;
  /** RFC 7009; false where the issuer offers no revocation. */
  revoke(token: string, stop: AbortSignal): Promise<boolean>;
  /** scopes_supported of its metadata; undefined where it does not say. */
  scopes(stop: AbortSignal): Promise<readonly string[] | undefined>;
}

/** One request for JSON to a server that is no OAuth issuer. */
interface Call {
  readonly method: 'GET' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly stop: AbortSignal;
}

/** An answer, whatever its status. `body`: undefined where it is no JSON. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: unknown;
}

/** HTTP with the limits of providers/http.ts: no redirects are followed. Throws Failed, or the reason of `stop`. */
export type Http = (url: string, call: Call) => Promise<Answer>;

/** What a grant may use to become an access token. */
export interface Errand {
  readonly id: CredentialId;
  readonly provider: Provider;
  /** The provider's issuer, with its own client or the one that the credential was made with. Throws Failed. */
  issuer(): Promise<Issuer>;
  /** Trusting the provider's certificate authorities. */
  readonly http: Http;
  readonly clock: Pick<Clock, 'now' | 'steady'>;
  /** What a token must live at the least. */
  readonly minimum: Seconds;
  /** Of this credential's own refresh token. */
  readonly rotation: Rotation;
  /** What a JWT says of itself, unverified; undefined where it is none. */
  claims(token: string): Readonly<Record<string, unknown>> | undefined;
  /** The groups of a user by a map file that the configuration names, as it is now. Throws Failed('config'). */
  groups(file: string, user: string): Promise<readonly string[]>;
  /** For whoever runs this: something that is amiss and yet no failure; the same text is said once. Never a secret. */
  warn(text: string): void;
  /**
   * The login that a credential without a secret of its own is made from, with the rotation of that one's refresh token; of
   * the same service where none is named. Nobody else uses it meanwhile. Throws Failed('login-needed') when it is of no use, and
   * with the code 'no_origin' when it is not there.
   */
  origin(
    handle: string | undefined,
    service?: string,
  ): Promise<{ readonly grant: AnyGrant; issuer(): Promise<Issuer>; readonly rotation: Rotation }>;
  readonly stop: AbortSignal;
}

/** Fetches an access token; throws Failed, or Superseded from `rotation.keep`. */
export type Fetcher<G extends AnyGrant = AnyGrant> = (grant: G, errand: Errand) => Promise<TokenSet>;

/** Draws a login, one state after the other. `show` never throws; nothing is drawn after `close`. */
export interface Face {
  show(state: LoginState): void;
  /** The code expired: does the person want a new one? Resolves false where nobody can be asked. */
  again(stop: AbortSignal): Promise<boolean>;
  /** Resolves when the terminal is as it was. */
  close(): Promise<void>;
}
