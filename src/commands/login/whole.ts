import { Failed } from '../../core/failure.js';
import type { LoginState } from '../../core/login.js';
import { askOf, type LoginContext } from './context.js';

/** A login that breaks off ends as a state, whatever it broke off with; only bugs are thrown on. */
export async function* whole(
  context: LoginContext,
  states: AsyncIterable<LoginState>,
): AsyncGenerator<LoginState, void, undefined> {
  try {
    yield* states;
  } catch (thrown) {
    const cause = context.stop.aborted ? context.stop.reason : thrown;
    if (!(cause instanceof Failed)) throw thrown;
    yield { at: 'failed', ask: askOf(context), failure: cause.failure };
  }
}
