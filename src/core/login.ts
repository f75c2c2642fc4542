import type { Failure } from './failure.js';
import type { Scopes } from './scopes.js';
import type { EpochMs } from './time.js';

/** What this login is for; all of it is safe to show. */
export interface Ask {
  /** The provider's name in the configuration: `cilogon`. */
  readonly provider: string;
  /** The issuer's URL, or the token endpoint's origin where there is no issuer. */
  readonly issuer: string;
  readonly handle?: string;
  /** Of several credentials: those of all together. */
  readonly scopes: Scopes;
  readonly audience?: string;
  /** What else the one approval is for: each is made from the same login. */
  readonly also?: readonly Companion[];
  /** The handle ('' for none) of the login that is there already, and from which it is made: nobody has to approve. */
  readonly from?: string;
}

/** A further credential of the same login. */
export interface Companion {
  readonly handle?: string;
  readonly audience?: string;
}

/** Where a grant rests. There is never more than one such place for one grant. */
export type Place =
  /** HTCondor's credential directory: through the broker's spool to credmond, or through condor_credd. */
  | { readonly kind: 'condor'; readonly by: 'spool' | 'credd' }
  | { readonly kind: 'keyring' }
  /** `because`: why it is not the keyring. */
  | { readonly kind: 'file'; readonly path: string; readonly because?: string };

/**
 * The value that every face draws. A login passes through
 * starting → code (→ expired → code)* → storing → waiting? → done, or ends as kept or failed.
 */
export type LoginState =
  /** Finding the issuer's endpoints and asking for a code. */
  | { readonly at: 'starting'; readonly ask: Ask }
  | {
      readonly at: 'code';
      readonly ask: Ask;
      /** user_code, to be typed at `link` (RFC 8628 §3.2). */
      readonly code: string;
      readonly link: string;
      /** verification_uri_complete: the link with the code in it, what the QR holds. */
      readonly linkComplete?: string;
      readonly expires: EpochMs;
      /** What ails just now, though polling goes on: "cannot reach …: connection refused". */
      readonly trouble?: string;
    }
  /** The code ran out; the face may offer a new one. */
  | { readonly at: 'expired'; readonly ask: Ask }
  | { readonly at: 'storing'; readonly ask: Ask; readonly who?: string; readonly place: Place }
  /** Stored; `what` says what is waited for: "credmond to fetch the first token". */
  | { readonly at: 'waiting'; readonly ask: Ask; readonly who?: string; readonly place: Place; readonly what: string }
  | {
      readonly at: 'done';
      readonly ask: Ask;
      /** Name of the person, from the verified ID token. */
      readonly who?: string;
      readonly place: Place;
      /** Scopes asked for that were not granted. */
      readonly missing: Scopes;
      readonly expires?: EpochMs;
      readonly refresh?: EpochMs;
      /** Who does the refreshing, where it is not clear of itself: a command to run. */
      readonly keeper?: string;
      /** Worth knowing, but nothing failed. */
      readonly note?: string;
    }
  /** A good grant was there already and stays (--if-needed, or a login without --force). */
  | { readonly at: 'kept'; readonly ask: Ask; readonly place: Place; readonly expires?: EpochMs }
  | { readonly at: 'failed'; readonly ask: Ask; readonly failure: Failure };

export type Ended = Extract<LoginState, { at: 'done' | 'kept' | 'failed' }>;

export const hasEnded = (state: LoginState): state is Ended =>
  state.at === 'done' || state.at === 'kept' || state.at === 'failed';

/** "in HTCondor's credential directory, kept by credmond": a place in words. */
export function placeInWords(place: Place): string {
  switch (place.kind) {
    case 'condor':
      return place.by === 'spool'
        ? 'in HTCondor’s credential directory, handed over by the broker'
        : 'in HTCondor’s credential directory, handed over by condor_credd';
    case 'keyring':
      return 'in your desktop keyring';
    case 'file':
      return place.because === undefined ? `in ${place.path}` : `in ${place.path} (${place.because})`;
  }
}
