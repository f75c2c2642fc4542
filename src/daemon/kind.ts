import type { Config } from '../core/config.js';
import type { Credentials } from '../core/ports.js';
import type { Intents } from './intents.js';
import type { DaemonParts } from './run.js';

/** What only one kind of daemon has: that of HTCondor's directory, or that of a person's own store. */
export interface Kind {
  readonly credentials: Credentials;
  readonly statusDir: string;
  /** The group that may read the status of everybody. */
  readonly statusGroup?: number;
  /** Where people log in whose credentials are kept here: the group that may read how each stands, if there is one. */
  readonly logins?: { readonly gid?: number };
  /** The broker's spool, and the account whose files in it are believed. */
  readonly spool?: { readonly dir: string; readonly uid: number };
  /** Which refresh tokens are out, across a kill. */
  readonly intents?: Intents;
  readonly watch: DaemonParts['watch'];
  /** The errno with which the system lets us watch no more folders; undefined: every folder is watched that is to be. */
  unwatched(): string | undefined;
  /**
   * The uids of those users who have accounts, asked anew; of nobody, where there are no status files but the one of
   * everybody. Throws Failed('transient').
   */
  uidsOf(users: readonly string[]): Promise<ReadonlyMap<string, number>>;
  completed(): Promise<void>;
  /** The user has logged in. */
  welcome(user: string): Promise<void>;
  reconfigured(config: Config): Promise<void>;
  release(): Promise<void>;
}
