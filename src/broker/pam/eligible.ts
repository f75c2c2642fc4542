import { basename } from 'node:path';
import { nameTrouble } from '../../core/names.js';
import type { Account } from '../accounts.js';

/** The overflow uid: whoever has no uid of their own here (user namespaces, NFS). */
const nobody = 65_534;
const noShells = ['nologin', 'false'];

export interface Limits {
  /** Accounts below are the system's. */
  readonly minUid: number;
  /** By shadow(5), which only the module can read. */
  readonly locked: boolean;
}

/**
 * Why nobody may log in to an account by this door; undefined: somebody may. `account`: what the name service has under
 * exactly this name.
 */
export function accountTrouble(
  user: string,
  account: Account | undefined,
  { minUid, locked }: Limits,
): string | undefined {
  if (nameTrouble(user) !== undefined) return 'its name cannot be one of HTCondor’s';
  if (account?.name !== user) return 'there is no such account';
  // -1: the name service gave no number.
  if (account.uid < Math.max(1, minUid) || account.uid === nobody) return `uid ${account.uid} is of the system`;
  if (noShells.includes(basename(account.shell ?? ''))) return `its shell is ${account.shell}`;
  return locked ? 'it is locked or has expired' : undefined;
}
