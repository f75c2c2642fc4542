import { fail } from '../core/failure.js';
import type { Kept } from '../core/ports.js';
import { isObject, listEntries, readEntry } from './records.js';
import { type Env, stateDir } from './state.js';

export interface Quick {
  readonly id: string;
  readonly kept: Kept;
}

/**
 * What the person's own store keeps, for a program that prints a token and ends: neither valibot nor the keyring is
 * loaded unless they are needed. Without an id, the only credential there is. Undefined when there is none. Throws
 * Failed('storage'), and Failed('usage') when it is not clear which one is meant.
 */
export async function quickToken(env: Env, id?: string): Promise<Quick | undefined> {
  const dir = stateDir(env);
  const chosen = id ?? only(listEntries(dir));
  if (chosen === undefined) return undefined;
  const entry = readEntry(dir, chosen);
  if (entry === undefined) return undefined;
  if (entry.at === 'file' && looksRight(entry.kept)) return { id: chosen, kept: entry.kept };
  const { openPersonalStore } = await import('./personal.js');
  const kept = await (await openPersonalStore({ env, choice: 'stay' })).load(chosen);
  return kept && { id: chosen, kept };
}

function only(ids: readonly string[]): string | undefined {
  if (ids.length > 1) fail('usage', `there are several credentials: ${ids.join(', ')}`, 'name the one you mean');
  return ids[0];
}

/** Good enough for a file that we wrote ourselves; anything else is looked at thoroughly. */
function looksRight(kept: unknown): kept is Kept {
  if (!isObject(kept) || typeof kept.provider !== 'string' || !isObject(kept.grant)) return false;
  if (typeof kept.grant.refreshToken !== 'string') return false;
  if (kept.token === undefined) return true;
  return isObject(kept.token) && typeof kept.token.accessToken === 'string' && typeof kept.token.expires === 'number';
}
