import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Failed } from '../core/failure.js';
import type { Clock } from '../core/ports.js';
import { everyone, fileOf, parseSnapshot, type Snapshot } from '../core/snapshot.js';
import { type Seconds, seconds } from '../core/time.js';

/** One person's status file; undefined when credmond has written none. Throws Failed('storage'). */
export const readMine = (dir: string, uid: number): Snapshot | undefined => read(join(dir, fileOf(uid)));

/** Everybody's, for those who may read it. Throws Failed('storage'). */
export const readAll = (dir: string): Snapshot | undefined => read(join(dir, everyone));

/** When everybody's was last written, as anyone may see: epoch milliseconds; undefined: never. */
export const lastTold = (dir: string): number | undefined =>
  statSync(join(dir, everyone), { throwIfNoEntry: false })?.mtimeMs;

function read(file: string): Snapshot | undefined {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new Failed(
      {
        kind: 'storage',
        what: `cannot read ${file} (${code})`,
        hint: 'only root and HTCondor’s group see everybody’s credentials',
      },
      { cause },
    );
  }
  return parseSnapshot(text);
}

/** How often a file is looked at by someone who waits for it. */
const often = seconds(0.1);

/** The first answer other than undefined that `ask` gives; undefined after `limit`. Throws the signal's reason. */
export async function until<T>(
  ask: () => T | undefined,
  { clock, limit, stop }: { readonly clock: Clock; readonly limit: Seconds; readonly stop: AbortSignal },
): Promise<T | undefined> {
  const end = clock.steady() + limit * 1000;
  for (;;) {
    const answer = ask();
    if (answer !== undefined || clock.steady() >= end) return answer;
    await clock.sleep(often, stop);
  }
}
