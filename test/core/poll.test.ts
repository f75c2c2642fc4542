import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { TokenSet } from '../../src/core/credential.js';
import type { Failure } from '../../src/core/failure.js';
import { afterPoll, firstPace, type Pace, paceMs, type Reply } from '../../src/core/poll.js';
import { epochMs, seconds } from '../../src/core/time.js';

const token: TokenSet = {
  accessToken: 'a',
  tokenType: 'bearer',
  issued: epochMs(0),
  expires: epochMs(1),
  lifeFrom: 'expires_in',
};
const down: Failure = { kind: 'transient', what: 'cannot reach it' };
const unreachable: Reply = { kind: 'unreachable', failure: down };

function waited(pace: Pace, reply: Reply): Pace {
  const step = afterPoll(pace, reply);
  if (step.kind !== 'wait') throw new Error(`not a wait: ${step.kind}`);
  return step.pace;
}

describe('the first pace', () => {
  test.each([
    [undefined, 5],
    [1, 1],
    [7, 7],
    [60, 60],
    [0, 1],
    [-3, 1],
    [0.2, 1],
    [86_400, 3600],
    [Number.NaN, 5],
    [Number.POSITIVE_INFINITY, 5],
    ['5', 5],
    [null, 5],
  ])('interval %o is %d s', (given, interval) => {
    expect(firstPace(given)).toEqual({ interval, extra: 0 });
  });
});

describe('one step of RFC 8628 §3.5', () => {
  const pace = firstPace(5);

  test('a token ends it, a refusal stops it', () => {
    expect(afterPoll(pace, { kind: 'token', token })).toEqual({ kind: 'done', token });
    const failure: Failure = { kind: 'denied', what: 'no' };
    expect(afterPoll(pace, { kind: 'refused', failure })).toEqual({ kind: 'stop', failure });
  });

  test('pending keeps the pace', () => {
    expect(afterPoll(pace, { kind: 'pending' })).toEqual({ kind: 'wait', pace });
  });

  test('slow_down adds exactly 5 s each time, for good', () => {
    let now = pace;
    for (const expected of [10, 15, 20]) {
      now = waited(now, { kind: 'slow-down' });
      expect(paceMs(now)).toBe(expected * 1000);
      now = waited(now, { kind: 'pending' });
      expect(paceMs(now)).toBe(expected * 1000);
      now = waited(waited(now, unreachable), { kind: 'pending' });
      expect(paceMs(now)).toBe(expected * 1000);
    }
  });

  test('an unreachable issuer doubles the pause, up to 30 s more, until it answers', () => {
    let now = pace;
    const pauses = Array.from({ length: 5 }, () => {
      now = waited(now, unreachable);
      return paceMs(now);
    });
    expect(pauses).toEqual([10_000, 15_000, 25_000, 35_000, 35_000]);
    expect(paceMs(waited(now, { kind: 'pending' }))).toBe(5000);
    expect(afterPoll(pace, unreachable)).toMatchObject({ trouble: down });
  });

  test('Retry-After is waited for, up to 30 s', () => {
    const asks = (wait: number): Reply => ({ kind: 'unreachable', failure: { ...down, wait: seconds(wait) } });
    expect(paceMs(waited(pace, asks(12)))).toBe(17_000);
    expect(paceMs(waited(pace, asks(1000)))).toBe(35_000);
  });

  test('whatever is answered, the interval never shrinks, and the pause is never shorter than it', () => {
    const reply = fc.constantFrom<Reply>({ kind: 'pending' }, { kind: 'slow-down' }, unreachable, {
      kind: 'unreachable',
      failure: { ...down, wait: seconds(3) },
    });
    fc.assert(
      fc.property(fc.anything(), fc.array(reply, { maxLength: 50 }), (given, replies) => {
        let now = firstPace(given);
        let slowed = 0;
        const first = now.interval;
        for (const answer of replies) {
          const next = waited(now, answer);
          if (answer.kind === 'slow-down') slowed++;
          expect(next.interval).toBe(first + 5 * slowed);
          expect(paceMs(next)).toBeGreaterThanOrEqual(next.interval * 1000);
          expect(paceMs(next)).toBeLessThanOrEqual(next.interval * 1000 + 30_000);
          now = next;
        }
      }),
    );
  });
});
