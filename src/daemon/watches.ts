import type { Log } from '../core/ports.js';
import type { Seconds } from '../core/time.js';
import { unwatchedInWords } from '../core/watching.js';
import type { Watch } from '../system/watch.js';

/**
 * Says once that the system lets us watch no more, and once that it does again: call it when something may have changed.
 * Returns the errno with which it refuses, as long as it does.
 */
export function tellOfWatches(
  watches: readonly Pick<Watch, 'refused'>[],
  { log, sweep }: { readonly log: Log; sweep(): Seconds },
): () => string | undefined {
  let said: string | undefined;
  return () => {
    const refused = watches.map((watch) => watch.refused).find((errno) => errno !== undefined);
    if (refused !== said) {
      if (refused === undefined) log.info('every folder can be watched again');
      else log.warn(unwatchedInWords(refused, sweep()));
    }
    said = refused;
    return refused;
  };
}
