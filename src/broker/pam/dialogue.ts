import type { Clock } from '../../core/ports.js';
import type { Ending, Flow } from './flows.js';
import type { Talk } from './talk.js';
import type { CodeState, Manner, PamWords, Whom } from './words.js';

/** Nobody reads and answers within this: milliseconds. */
const hastyMs = 1000;
/** People press Enter before the issuer has told us, and many clients do not bear to be asked again: milliseconds. */
const patienceMs = 15_000;
/** Where Enter may mean to go on without: a poll at the usual pace (RFC 8628 §3.2: 5 s) tells whether it was approved. */
const skipMs = 6000;

export interface DialogueParts {
  readonly talk: Talk;
  readonly flow: Flow;
  readonly clock: Clock;
  readonly words: PamWords;
  readonly whom: Whom;
  readonly manner: Manner;
  /** Shown at once and nothing is asked. */
  readonly live: boolean;
  /** Whether the login goes on without an approval: then whoever presses Enter is asked no more. */
  readonly optional: boolean;
  /** Aborted when the time for it is over. */
  readonly late: AbortSignal;
}

/**
 *   hasty    nobody is there to read: a program presses Enter
 *   skipped  the person goes on without
 *   late     no more time
 */
export type Outcome = Ending | { readonly kind: 'hasty' | 'skipped' | 'late' };

/** Shows the code, until the flow has ended or there is no more waiting for it. Rejects with a Failed when the client goes away. */
export async function converse({ flow, talk, late, ...parts }: DialogueParts): Promise<Outcome> {
  const { clock, words, whom, manner, optional } = parts;
  const shown = await first<CodeState | Ending | undefined>(
    talk.stop,
    late,
    flow.shown.catch(() => flow.ended),
  );
  if (shown === undefined) return { kind: 'late' };
  if ('kind' in shown) return shown;
  if (parts.live && !flow.ending) {
    for (const text of words.live(shown, whom, manner)) talk.show(text);
    return (await first<Ending>(talk.stop, late, flow.ended)) ?? { kind: 'late' };
  }
  let hasty = 0;
  let text = words.prompt(shown, whom, manner, optional);
  for (;;) {
    // It may have been approved for another window, or before the client began anew.
    if (late.aborted) return { kind: 'late' };
    if (flow.ending) return flow.ending;
    const asked = clock.steady();
    const { empty } = await talk.ask(text);
    // What came later than that is forgotten already.
    if (late.aborted) return { kind: 'late' };
    if (flow.ending) return flow.ending;
    if (empty && clock.steady() - asked < hastyMs) {
      // Who need not approve is not asked twice.
      if (++hasty === 2 || optional) return { kind: 'hasty' };
      text = words.hasty(shown);
      continue;
    }
    const ended = await soon(clock, optional ? skipMs : patienceMs, (signal) =>
      first(talk.stop, AbortSignal.any([late, signal]), flow.ended),
    );
    if (ended) return ended;
    if (optional && !late.aborted) return { kind: 'skipped' };
    text = words.notYet({ ...shown, ...(flow.trouble !== undefined && { trouble: flow.trouble }) }, manner);
  }
}

/** The promise's value; undefined when `late` comes first; rejects with the reason of `stop`. */
function first<T>(stop: AbortSignal, late: AbortSignal, promise: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const giveUp = () => leave(() => reject(stop.reason));
    const goOn = () => leave(() => resolve(undefined));
    const leave = (then: () => void) => {
      stop.removeEventListener('abort', giveUp);
      late.removeEventListener('abort', goOn);
      then();
    };
    if (stop.aborted) return giveUp();
    if (late.aborted) return goOn();
    stop.addEventListener('abort', giveUp, { once: true });
    late.addEventListener('abort', goOn, { once: true });
    promise.then(
      (value) => leave(() => resolve(value)),
      (thrown) => leave(() => reject(thrown)),
    );
  });
}

async function soon<T>(clock: Clock, ms: number, work: (over: AbortSignal) => Promise<T>): Promise<T> {
  const over = new AbortController();
  const cancel = clock.after(ms, () => over.abort());
  try {
    return await work(over.signal);
  } finally {
    cancel();
  }
}
