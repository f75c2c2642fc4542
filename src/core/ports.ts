import type { Grant, TokenSet } from './credential.js';
import type { Life } from './due.js';
import type { LoginState, Place } from './login.js';
import type { CredentialId } from './names.js';
import type { Stamp } from './plan.js';
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
  | { readonly grant: Grant; readonly client?: OtherClient; readonly stamp: Stamp; readonly trouble?: never }
  | { readonly trouble: string; readonly stamp?: Stamp };

/**
 * The credentials that the daemon keeps: HTCondor's credential directory, or a person's own store.
 * Every method throws Failed('storage') when the disk does not do its part; then what was there is whole.
 */
export interface Credentials {
  users(): Promise<readonly string[]>;
  /** All of one user's, by key (names.ts). A user who is not there has none. */
  scan(user: string): Promise<ReadonlyMap<string, Found>>;
  read(id: CredentialId): Promise<Top>;
  /** The life of the access token that jobs are given now; undefined when there is none or it cannot be told. */
  life(id: CredentialId): Promise<Life | undefined>;
  /**
   * Puts a new refresh token in the place of the one that `stamp` was read with; resolves, when it is durable, to the new
   * stamp. Throws Superseded when the `.top` is no longer that one: then nothing is written.
   */
  rotate(id: CredentialId, stamp: Stamp, refreshToken: string): Promise<Stamp>;
  /** Hands a new access token to jobs. Throws Superseded when the `.top` is no longer the one that `stamp` names. */
  publish(id: CredentialId, stamp: Stamp, token: TokenSet): Promise<void>;
  /** A login: replaces whatever is there. Resolves when it is durable. */
  put(id: CredentialId, grant: Grant): Promise<Stamp>;
  /** Whether there was one. */
  remove(id: CredentialId): Promise<boolean>;
}

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

/** What goes along with a request to a token endpoint. */
export interface TokenRequest {
  readonly stop: AbortSignal;
  /**
   * Called with a new refresh token as soon as the answer is read, and waited for before the answer is judged: what it
   * keeps is not lost when the rest of the answer is faulty.
   */
  readonly rotated?: (refreshToken: string) => Promise<void>;
  /** Verify the ID token of the answer, if there is one, and tell whose it is. Otherwise an ID token is not looked at. */
  readonly identify?: boolean;
}

/** One issuer and our client there, as the grants need it. Every method throws Failed and nothing else. */
export interface Issuer {
  /** One request to the token endpoint (RFC 6749 §3.2). */
  token(grantType: string, parameters: Readonly<Record<string, string>>, request: TokenRequest): Promise<TokenSet>;
  /** One request to the device authorization endpoint (RFC 8628 §3.1). */
  device(parameters: Readonly<Record<string, string>>, stop: AbortSignal): Promise<DeviceCode>;
  /** RFC 7009; false where the issuer offers no revocation. */
  revoke(token: string, stop: AbortSignal): Promise<boolean>;
  /** scopes_supported of its metadata; undefined where it does not say. */
  scopes(stop: AbortSignal): Promise<readonly string[] | undefined>;
}

/** Draws a login, one state after the other. `show` never throws; nothing is drawn after `close`. */
export interface Face {
  show(state: LoginState): void;
  /** The code expired: does the person want a new one? Resolves false where nobody can be asked. */
  again(stop: AbortSignal): Promise<boolean>;
  /** Resolves when the terminal is as it was. */
  close(): Promise<void>;
}
