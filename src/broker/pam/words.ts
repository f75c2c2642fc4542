import type { LoginState } from '../../core/login.js';

export type CodeState = Extract<LoginState, { at: 'code' }>;

/** Whose login it is, for the person to see what is approved. */
export interface Whom {
  readonly user: string;
  /** This machine. */
  readonly host: string;
  /** PAM_RHOST; '': none. */
  readonly source: string;
  /** How many other logins wait for the same approval. */
  readonly others: number;
}

/**
 * Whether the code may come along in a link and a picture: one tap approves then, also what a stranger began (RFC 8628
 * §5.4), so it is for those who have shown who they are. `picture`: in a prompt, or also where clients may spoil it.
 */
export interface Manner {
  readonly quick: boolean;
  readonly picture: 'never' | 'prompt' | 'always';
}

/** The face for sshd (login/faces/pam.ts), handed in: states to texts for a terminal that cannot be drawn on. */
export interface PamWords {
  /** All in one prompt. `optional`: the login goes on without an approval. */
  prompt(state: CodeState, whom: Whom, manner: Manner, optional: boolean): string;
  /** The same as texts that are shown at once, and that nothing is asked after. */
  live(state: CodeState, whom: Whom, manner: Manner): readonly string[];
  /** Somebody or something pressed Enter before it could be read; one line. */
  hasty(state: CodeState): string;
  notYet(state: CodeState, manner: Manner): string;
  /** Sentences, without their capitals and full stops. */
  said(...sentences: readonly (string | undefined)[]): string;
}
