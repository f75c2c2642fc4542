import type { Health } from './health.js';
import type { Stamp } from './plan.js';
import type { EpochMs } from './time.js';

/** What became of something that came through the spool, for whoever waits for it. */
export interface Settled {
  /** The spool record's id. */
  readonly id: string;
  readonly ok: boolean;
  /** In words, for the person. */
  readonly what: string;
}

/** What credmond tells of itself and of credentials, in a file: no secrets. */
export interface Snapshot {
  readonly v: 1;
  readonly at: EpochMs;
  readonly pid: number;
  /** Last time that everything was looked through. */
  readonly swept?: EpochMs;
  /** `stamp` lets the daemon know after a restart whether a dead grant is still the same one. */
  readonly credentials: readonly (Health & { readonly stamp: Stamp })[];
  /** The last few, oldest first. */
  readonly settled?: readonly Settled[];
}

/** For root and HTCondor's group, everybody's; and the file of one person, which is that person's. */
export const everyone = 'all.json';
export const fileOf = (uid: number): string => `${uid}.json`;

/** Reads a snapshot; undefined for what is none. It was written by root or by ourselves, so only its frame is checked. */
export function parseSnapshot(text: string): Snapshot | undefined {
  try {
    const value = JSON.parse(text) as Snapshot | null;
    return value?.v === 1 && Array.isArray(value.credentials) ? value : undefined;
  } catch {
    return undefined;
  }
}
