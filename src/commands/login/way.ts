import type { Ended, LoginState } from '../../core/login.js';

/** One way to log in: who runs the flow, and where the grant goes. */
export interface Way {
  /** Ends with done or failed. */
  login(): AsyncIterable<LoginState>;
  /** The good grant that is there already and fits what is asked for; undefined: there is none. */
  present(): Promise<Extract<Ended, { at: 'kept' }> | undefined>;
}
