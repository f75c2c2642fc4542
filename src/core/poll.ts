import type { TokenSet } from './credential.js';
import type { Failure } from './failure.js';
import { type Seconds, seconds } from './time.js';

/** What one request to the token endpoint came to (RFC 8628 §3.5). */
export type Reply =
  | { readonly kind: 'token'; readonly token: TokenSet }
  | { readonly kind: 'pending' }
  | { readonly kind: 'slow-down' }
  | { readonly kind: 'unreachable'; readonly failure: Failure }
  | { readonly kind: 'refused'; readonly failure: Failure };

export type Step =
  | { readonly kind: 'done'; readonly token: TokenSet }
  | { readonly kind: 'stop'; readonly failure: Failure }
  | { readonly kind: 'wait'; readonly pace: Pace; readonly trouble?: Failure };

/** `interval` only ever grows, by slow_down; `extra` is what network trouble adds for now. */
export interface Pace {
  readonly interval: Seconds;
  readonly extra: Seconds;
}

/** The issuer's interval, or 5 s when it names none (RFC 8628 §3.2); at least 1 s, and no more than a code can live. */
export function firstPace(interval: unknown): Pace {
  const given = typeof interval === 'number' && Number.isFinite(interval) ? interval : 5;
  return { interval: seconds(Math.min(3600, Math.max(1, given))), extra: seconds(0) };
}

export const paceMs = (pace: Pace): number => (pace.interval + pace.extra) * 1000;

/** One step of RFC 8628 §3.5. slow_down adds 5 s for good; an unreachable issuer doubles the pause, up to 30 s more. */
export function afterPoll(pace: Pace, reply: Reply): Step {
  switch (reply.kind) {
    case 'token':
      return { kind: 'done', token: reply.token };
    case 'refused':
      return { kind: 'stop', failure: reply.failure };
    case 'slow-down':
      return { kind: 'wait', pace: { interval: seconds(pace.interval + 5), extra: seconds(0) } };
    case 'unreachable': {
      const extra = Math.max(pace.extra * 2, pace.interval, reply.failure.wait ?? 0);
      return { kind: 'wait', pace: { ...pace, extra: seconds(Math.min(30, extra)) }, trouble: reply.failure };
    }
    case 'pending':
      return { kind: 'wait', pace: { ...pace, extra: seconds(0) } };
  }
}
