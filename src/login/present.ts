import { type Ended, hasEnded, type LoginState } from '../core/login.js';
import type { Face } from '../core/ports.js';

/** Shows every state as it comes, and resolves to the last. */
export async function present(states: AsyncIterable<LoginState>, face: Face): Promise<Ended> {
  for await (const state of states) {
    face.show(state);
    if (hasEnded(state)) return state;
  }
  throw new Error('a login stopped without an end');
}
