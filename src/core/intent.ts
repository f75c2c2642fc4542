import { nameTrouble } from './names.js';
import type { Stamp } from './plan.js';
import { type EpochMs, epochMs } from './time.js';

/** A refresh token was sent to its issuer, and nothing was heard yet of what came in its place. Holds no secret. */
export interface Intent {
  /** Of names.ts. */
  readonly key: string;
  /** Of the `.top` that it was read from: with another one there it is over, whatever came of it. */
  readonly stamp: Stamp;
  /** When it was sent for the first time. */
  readonly since: EpochMs;
}

/** One record: never across two pages of memory, so that a process that is killed has written all of it or nothing. */
export const slotBytes = 512;

const longestStem = 257;

/** One line, padded with blanks. Undefined: a name so long that no credential has it. */
export function formatIntent({ key, stamp, since }: Intent): string | undefined {
  const text = `1 ${since} ${stamp} ${key}`;
  // Judged before it is padded: this is done with every refresh.
  return typeof parsed(text) === 'object' && text.length < slotBytes ? `${text.padEnd(slotBytes - 1)}\n` : undefined;
}

/** Reads a slot back: `empty`, or `damaged` where something else than we has written there. */
export function parseIntent(slot: string): Intent | 'empty' | 'damaged' {
  if (slot.startsWith('\0')) return 'empty';
  return slot.length === slotBytes && slot.endsWith('\n') ? parsed(slot.slice(0, -1)) : 'damaged';
}

function parsed(text: string): Intent | 'damaged' {
  const [, since, stamp, user, stem] =
    /^1 (\d{1,15}) ([\w.:-]{1,80}) ([A-Za-z0-9+=_.-]+)\/([A-Za-z0-9+=_.-]+) *$/.exec(text) ?? [];
  if (since === undefined || stamp === undefined || user === undefined || stem === undefined) return 'damaged';
  if (nameTrouble(user) !== undefined || stem.length > longestStem) return 'damaged';
  return { key: `${user}/${stem}`, stamp, since: epochMs(Number(since)) };
}
