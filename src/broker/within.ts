import { Failed, type Failure } from '../core/failure.js';
import type { Clock } from '../core/ports.js';

/**
 * Work that is stopped after `ms` milliseconds, with a Failed of `late` as the reason, or when `stop` is aborted. The work
 * itself must heed the signal that it is given.
 */
export async function within<T>(
  clock: Clock,
  ms: number,
  stop: AbortSignal,
  late: Failure,
  work: (stop: AbortSignal) => Promise<T>,
): Promise<T> {
  const limit = new AbortController();
  const cancel = clock.after(ms, () => limit.abort(new Failed(late)));
  try {
    return await work(AbortSignal.any([stop, limit.signal]));
  } finally {
    cancel();
  }
}
