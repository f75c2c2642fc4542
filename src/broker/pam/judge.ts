import type { PamSettings } from '../../core/config.js';
import { type Identity, type MapRule, type MapTable, mapUser, type Refusal, shownName } from '../../core/identity.js';
import { allowed } from '../../core/policy.js';
import type { EpochMs } from '../../core/time.js';
import { pinPath, readPin } from './pins.js';

/** The map files of some rules, as they are now. Throws Failed('config') for one that is of no use. */
export type ReadTables = (rules: readonly MapRule[]) => Promise<ReadonlyMap<string, MapTable>>;

/** Why this person may not log in to the account of `user`; undefined: they may. Throws Failed('config' or 'storage'). */
export async function judge(
  { iss, sub, claims }: Identity,
  user: string,
  { map, policy, pin, identitiesDir }: PamSettings,
  tables: ReadTables,
  now: EpochMs,
): Promise<Refusal | undefined> {
  const mapped = mapUser(claims, map, await tables(map));
  if (!('user' in mapped)) return mapped;
  if (mapped.user !== user) {
    return {
      what: `rule ${mapped.rule} gives them the account ${mapped.user}`,
      told: `you approved as ${shownName(claims)}, who may not log in as ${user}`,
    };
  }
  const refusal = allowed(claims, policy, now);
  if (refusal) return refusal;
  const owner = pin ? await readPin(identitiesDir, user) : undefined;
  return owner && (owner.iss !== iss || owner.sub !== sub) ? taken(user, claims, identitiesDir) : undefined;
}

export const taken = (user: string, claims: Identity['claims'], dir: string): Refusal => ({
  what: `the account is another person's, by ${pinPath(dir, user)}`,
  told: `you approved as ${shownName(claims)}, and this account belongs to another identity; ask the administrator`,
});
