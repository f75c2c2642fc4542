import { setTimeout as pause } from 'node:timers/promises';
import type { Credmond } from './point.js';

/** When it takes less than this of a core, for so many milliseconds; and how long that may take to come. */
const [calm, calmFor, calmWithin] = [0.02, 5000, 300_000];

/** Resolves when it has told everybody's status and does next to nothing any more. */
export async function atRest(credmond: Credmond): Promise<void> {
  const end = performance.now() + calmWithin;
  for (let before = credmond.cpu(); ; ) {
    await pause(calmFor);
    const now = credmond.cpu();
    if (now.children === before.children && now.own - before.own < calm * calmFor) return;
    if (performance.now() > end) throw new Error('credmond does not come to rest');
    before = now;
  }
}
