import { Failed } from '../core/failure.js';
import { type Seconds, seconds, timerDelay } from '../core/time.js';

/** How long it may take to see to what is asked for, without a person: condor_submit waits meanwhile. */
const usual = seconds(60);

/** Aborts after so long, with what can be told to people: AbortSignal.timeout aborts with what looks like a bug. */
export function deadline(limit: Seconds = usual): AbortSignal {
  const stop = new AbortController();
  const failure = {
    kind: 'transient',
    what: `it could not be told within ${limit} s whether what is needed is there`,
    hint: 'try again later; do HTCondor’s tools answer (condor_store_cred query-oauth)?',
  } as const;
  setTimeout(() => stop.abort(new Failed(failure)), timerDelay(limit * 1000)).unref();
  return stop.signal;
}
