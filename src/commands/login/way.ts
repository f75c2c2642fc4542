import type { Ended, LoginState } from '../../core/login.js';
import type { LoginContext } from './context.js';

/** One way to log in: who runs the flow, and where the grant goes. */
export interface Way {
  /** Ends with done or failed. */
  login(): AsyncIterable<LoginState>;
  /** The good grant that is there already and fits what is asked for; undefined: there is none. */
  present(): Promise<Kept | undefined>;
}

export type Kept = Extract<Ended, { at: 'kept' }>;

/** The ways that lead to one place. */
export interface Ways {
  open(context: LoginContext): Way;
  /** One that takes no approval: from the login with this handle ('' for none). Absent where nobody would make it. */
  readonly madeFrom?: (context: LoginContext, from: string) => AsyncIterable<LoginState>;
  /** Whether one approval may bring several there. */
  readonly together: boolean;
}
