import type { Seconds } from './time.js';

/**
 * The closed list of what may go wrong without being a bug. Whoever adds a kind is asked by the compiler for its exit
 * code and for its name.
 *
 *   usage         an option or argument that cannot be
 *   config        a knob, a file or a provider setting that is wrong or absent
 *   transient     the issuer or the network did not answer well; trying again later may do
 *   protocol      the issuer answered against the standards, or what it sent does not verify
 *   refused       the issuer refuses this client or request (invalid_client, invalid_scope, …)
 *   denied        the person said no
 *   expired       nobody approved before the code or the time limit ran out
 *   login-needed  the grant is gone; only a login brings a new one
 *   storage       a file or store cannot be read or written
 *   unsupported   this machine or this issuer has not got what it takes
 *   cancelled     the person gave up
 */
export type FailureKind =
  | 'usage'
  | 'config'
  | 'transient'
  | 'protocol'
  | 'refused'
  | 'denied'
  | 'expired'
  | 'login-needed'
  | 'storage'
  | 'unsupported'
  | 'cancelled';

/** `what` is one sentence: what is wrong, and where. `hint` says what to do next. Neither ever holds a secret. */
export interface Failure {
  readonly kind: FailureKind;
  readonly what: string;
  readonly hint?: string;
  /** How long the other side asked us to wait (Retry-After). */
  readonly wait?: Seconds;
  /** The OAuth error code, where the issuer gave one (RFC 6749 §5.2). */
  readonly code?: string;
}

/** Exit codes, after sysexits.h where it has a word for it; 124 as timeout(1), 130 as a shell after SIGINT. */
const exits = {
  usage: 64,
  unsupported: 69,
  storage: 74,
  transient: 75,
  protocol: 76,
  denied: 77,
  refused: 77,
  config: 78,
  'login-needed': 79,
  expired: 124,
  cancelled: 130,
} as const satisfies Record<FailureKind, number>;

export const exitCode = (failure: Pick<Failure, 'kind'>): number => exits[failure.kind];

/** Carries a {@link Failure} through code that throws. Anything else that is thrown is a bug. */
export class Failed extends Error {
  readonly failure: Failure;
  constructor(failure: Failure, options?: { cause?: unknown }) {
    super(failure.what, options);
    this.name = 'Failed';
    this.failure = failure;
  }
}

/** There was no connection, so that nothing of the request can have been heard. */
export class Unsent extends Failed {}

export function fail(kind: FailureKind, what: string, hint?: string, cause?: unknown): never {
  throw new Failed(hint === undefined ? { kind, what } : { kind, what, hint }, cause === undefined ? {} : { cause });
}

/** The failure in something thrown; undefined when it was a bug instead. */
export function failureOf(thrown: unknown): Failure | undefined {
  return thrown instanceof Failed ? thrown.failure : undefined;
}
