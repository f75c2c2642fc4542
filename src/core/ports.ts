import type { Grant, TokenSet } from './credential.js';
import type { LoginState, Place } from './login.js';
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

/** Draws a login, one state after the other. `show` never throws; nothing is drawn after `close`. */
export interface Face {
  show(state: LoginState): void;
  /** The code expired: does the person want a new one? Resolves false where nobody can be asked. */
  again(stop: AbortSignal): Promise<boolean>;
  /** Resolves when the terminal is as it was. */
  close(): Promise<void>;
}
