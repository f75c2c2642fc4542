import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { TokenSet } from '../../src/core/credential.js';
import { Failed, type Failure } from '../../src/core/failure.js';
import type { Ask, LoginState, Place } from '../../src/core/login.js';
import type { Reply } from '../../src/core/poll.js';
import type { Clock, DeviceCode, Face } from '../../src/core/ports.js';
import { epochMs } from '../../src/core/time.js';
import { type LoginParts, login } from '../../src/login/flow.js';
import { present } from '../../src/login/present.js';

const ask: Ask = { provider: 'cilogon', issuer: 'https://i.example', scopes: ['a'] };
const place: Place = { kind: 'keyring' };
const start = 1_800_000_000_000;
const token: TokenSet = {
  accessToken: 'access',
  tokenType: 'bearer',
  refreshToken: 'refresh',
  issued: epochMs(start),
  expires: epochMs(start + 3_600_000),
  lifeFrom: 'expires_in',
};
const approved: Reply = { kind: 'token', token };
const pending: Reply = { kind: 'pending' };
const slowDown: Reply = { kind: 'slow-down' };
const down: Failure = { kind: 'transient', what: 'cannot reach https://i.example: the connection was refused' };
const unreachable: Reply = { kind: 'unreachable', failure: down };
const refused = (failure: Failure): Reply => ({ kind: 'refused', failure });

/** A clock that stands still until somebody moves it. */
class HandClock implements Clock {
  #now = start;
  #sleepers: { readonly until: number; wake(): void }[] = [];
  readonly now = () => epochMs(this.#now);
  readonly steady = () => this.#now;
  readonly after = () => () => {};
  readonly sleep = (span: number, stop: AbortSignal) =>
    new Promise<void>((resolve, reject) => {
      if (stop.aborted) return reject(stop.reason);
      stop.addEventListener('abort', () => reject(stop.reason), { once: true });
      this.#sleepers.push({ until: this.#now + span * 1000, wake: resolve });
    });

  /** Moves to when the next sleeper wakes; how many seconds that was. */
  next(): number {
    const first = this.#sleepers.sort((a, b) => a.until - b.until).shift();
    if (first === undefined) throw new Error('nobody sleeps');
    const slept = (first.until - this.#now) / 1000;
    this.#now = first.until;
    first.wake();
    return slept;
  }

  /** The wall clock is set. */
  jump(seconds: number): void {
    this.#now += seconds * 1000;
  }

  get sleeping(): boolean {
    return this.#sleepers.length > 0;
  }
}

interface Script {
  readonly replies?: readonly (Reply | Error)[];
  readonly code?: Partial<DeviceCode>;
  readonly again?: readonly boolean[];
  readonly parts?: Partial<LoginParts>;
}

/** A login over a script, moved by hand. What is scripted stops as the contract of LoginParts says. */
function scripted({ replies = [], code = {}, again = [], parts = {} }: Script = {}) {
  const clock = new HandClock();
  const stop = new AbortController();
  const left = [...replies];
  const answers = [...again];
  const polls: number[] = [];
  let codes = 0;
  let asked = 0;
  const states = login({
    ask,
    clock,
    stop: stop.signal,
    code: async () => {
      stop.signal.throwIfAborted();
      const userCode = `CODE-${++codes}`;
      const link = 'https://i.example/device';
      return { deviceCode: 'd', userCode, link, expires: epochMs(clock.now() + 300_000), interval: 5, ...code };
    },
    poll: async () => {
      stop.signal.throwIfAborted();
      polls.push((clock.now() - start) / 1000);
      const reply = left.shift() ?? pending;
      if (reply instanceof Error) throw reply;
      return reply;
    },
    async *keep() {
      yield { at: 'storing', ask, place };
      stop.signal.throwIfAborted();
      yield { at: 'done', ask, place, missing: [] };
    },
    again: async () => {
      stop.signal.throwIfAborted();
      asked++;
      return answers.shift() ?? false;
    },
    ...parts,
  });
  const seen: LoginState[] = [];
  let over: Promise<void> | undefined;
  const collect = async () => {
    for await (const state of states) seen.push(state);
  };
  return {
    clock,
    stop,
    seen,
    polls,
    states,
    get asked() {
      return asked;
    },
    get codes() {
      return codes;
    },
    at: () => seen.map((state) => state.at),
    last: () => seen.at(-1),
    /** Runs to the end, moving the clock on whenever the login sleeps. */
    async run(): Promise<readonly number[]> {
      let ended = false;
      over ??= collect();
      over.then(
        () => (ended = true),
        () => (ended = true),
      );
      const slept: number[] = [];
      for (;;) {
        await turn();
        if (ended) break;
        if (clock.sleeping) slept.push(clock.next());
      }
      await over;
      return slept;
    },
    /** Runs until it sleeps, or waits for something that the script holds back. */
    async settle(): Promise<void> {
      over ??= collect();
      over.catch(() => {});
      await turn();
    },
    ended: () => over,
  };
}

const cancelled = { kind: 'cancelled', what: 'the login was given up' };

describe('a login', () => {
  test('waits, polls, is approved, and is kept', async () => {
    const flow = scripted({ replies: [pending, pending, approved] });
    expect(await flow.run()).toEqual([5, 5, 5]);
    expect(flow.seen).toEqual([
      { at: 'starting', ask },
      {
        at: 'code',
        ask,
        code: 'CODE-1',
        link: 'https://i.example/device',
        expires: start + 300_000,
      },
      { at: 'storing', ask, place },
      { at: 'done', ask, place, missing: [] },
    ]);
    expect(flow.polls).toEqual([5, 10, 15]);
  });

  test('shows the complete link where there is one', async () => {
    const flow = scripted({ replies: [approved], code: { linkComplete: 'https://i.example/device?c=1' } });
    await flow.run();
    expect(flow.seen[1]).toMatchObject({ linkComplete: 'https://i.example/device?c=1' });
  });

  test.each([
    [undefined, 5],
    [1, 1],
    [10, 10],
    [0, 1],
  ])('keeps the interval that the issuer named: %o', async (interval, seconds) => {
    const code = interval === undefined ? {} : { interval };
    const flow = scripted({
      replies: [pending, approved],
      parts: {
        code: async () => ({
          deviceCode: 'd',
          userCode: 'u',
          link: 'https://i.example',
          expires: epochMs(start + 300_000),
          ...code,
        }),
      },
    });
    expect(await flow.run()).toEqual([seconds, seconds]);
  });

  test('slows down by exactly 5 s each time, for good', async () => {
    const flow = scripted({ replies: [pending, slowDown, pending, slowDown, pending, approved] });
    expect(await flow.run()).toEqual([5, 5, 10, 10, 15, 15]);
    expect(flow.at()).toEqual(['starting', 'code', 'storing', 'done']);
  });

  test('goes on through trouble of the network, shows it once, and shows when it is over', async () => {
    const flow = scripted({ replies: [unreachable, unreachable, pending, unreachable, approved] });
    expect(await flow.run()).toEqual([5, 10, 15, 5, 10]);
    const shown = flow.seen.flatMap((state) => (state.at === 'code' ? [state.trouble] : []));
    expect(shown).toEqual([undefined, down.what, undefined, down.what]);
    const [, first, , third] = flow.seen;
    expect(third).toEqual(first);
    expect(flow.last()?.at).toBe('done');
  });

  test('shows another trouble', async () => {
    const other: Reply = { kind: 'unreachable', failure: { ...down, what: 'HTTP 503' } };
    const flow = scripted({ replies: [unreachable, other, other, approved] });
    await flow.run();
    const shown = flow.seen.flatMap((state) => (state.at === 'code' ? [state.trouble] : []));
    expect(shown).toEqual([undefined, down.what, 'HTTP 503']);
  });

  test('keeps a slower pace through trouble', async () => {
    const flow = scripted({ replies: [slowDown, unreachable, slowDown, approved] });
    expect(await flow.run()).toEqual([5, 10, 20, 15]);
  });

  test.each<[string, Failure]>([
    ['denied', { kind: 'denied', what: 'https://i.example refused: access_denied' }],
    ['refused', { kind: 'refused', what: 'https://i.example refused: invalid_client' }],
    ['protocol', { kind: 'protocol', what: 'the ID token does not verify' }],
  ])('is ended by %s', async (_, failure) => {
    const flow = scripted({ replies: [pending, refused(failure)] });
    await flow.run();
    expect(flow.at()).toEqual(['starting', 'code', 'failed']);
    expect(flow.last()).toEqual({ at: 'failed', ask, failure });
  });

  test('without a refresh token is refused, and nothing is kept', async () => {
    const { refreshToken: _, ...poor } = token;
    const flow = scripted({ replies: [{ kind: 'token', token: poor }] });
    await flow.run();
    expect(flow.at()).toEqual(['starting', 'code', 'failed']);
    expect(flow.last()).toMatchObject({
      failure: {
        kind: 'refused',
        what: expect.stringContaining('no refresh token'),
        hint: expect.stringContaining('offline_access'),
      },
    });
    expect(JSON.stringify(flow.seen)).not.toContain('"access"');
  });

  test('that gets no code, or cannot be kept, fails with the reason', async () => {
    const failure: Failure = { kind: 'unsupported', what: 'no device flow' };
    const none = scripted({
      parts: {
        code: async () => {
          throw new Failed(failure);
        },
      },
    });
    await none.run();
    expect(none.seen).toEqual([
      { at: 'starting', ask },
      { at: 'failed', ask, failure },
    ]);
    const full: Failure = { kind: 'storage', what: 'the disk is full' };
    const unkept = scripted({
      replies: [approved],
      parts: {
        // biome-ignore lint/correctness/useYield: it fails before the first.
        keep: async function* () {
          throw new Failed(full);
        },
      },
    });
    await unkept.run();
    expect(unkept.last()).toEqual({ at: 'failed', ask, failure: full });
  });

  test('does not hide a bug', async () => {
    const flow = scripted({ replies: [new TypeError('x is not a function')] });
    await expect(flow.run()).rejects.toThrow(TypeError);
    expect(flow.at()).toEqual(['starting', 'code']);
  });
});

describe('a code that runs out', () => {
  test('is not polled for once more, nor waited for longer', async () => {
    const flow = scripted({ code: { expires: epochMs(start + 12_000) } });
    expect(await flow.run()).toEqual([5, 5, 2]);
    expect(flow.polls).toEqual([5, 10]);
    expect(flow.at()).toEqual(['starting', 'code', 'expired', 'failed']);
    expect(flow.last()).toMatchObject({ failure: { kind: 'expired', what: expect.stringContaining('cilogon') } });
    expect(flow.asked).toBe(1);
  });

  test('is followed by another as often as the person wants', async () => {
    const expired = refused({ kind: 'expired', what: 'x', code: 'expired_token' });
    const flow = scripted({ replies: [expired, slowDown, expired, pending, approved], again: [true, true] });
    // The pace of one code is not the next one's.
    expect(await flow.run()).toEqual([5, 5, 10, 5, 5]);
    expect(flow.at()).toEqual(['starting', 'code', 'expired', 'code', 'expired', 'code', 'storing', 'done']);
    expect(flow.codes).toBe(3);
    const shown = flow.seen.flatMap((state) => (state.at === 'code' ? [state.code] : []));
    expect(shown).toEqual(['CODE-1', 'CODE-2', 'CODE-3']);
  });

  test('ends the login when the person wants no other', async () => {
    const flow = scripted({ replies: [refused({ kind: 'expired', what: 'x' })], again: [false] });
    await flow.run();
    expect(flow.at()).toEqual(['starting', 'code', 'expired', 'failed']);
    expect(flow.codes).toBe(1);
  });

  test('before it could be shown is offered again', async () => {
    const flow = scripted({ code: { expires: epochMs(start - 1) } });
    expect(await flow.run()).toEqual([]);
    expect(flow.at()).toEqual(['starting', 'code', 'expired', 'failed']);
    expect(flow.polls).toEqual([]);
  });

  test('by a clock that is set an hour ahead is offered again; set back it is waited for all the same', async () => {
    const ahead = scripted();
    await ahead.settle();
    ahead.clock.jump(3600);
    await ahead.run();
    expect(ahead.at()).toEqual(['starting', 'code', 'expired', 'failed']);
    const back = scripted({ replies: [pending, approved] });
    await back.settle();
    back.clock.jump(-3600);
    await back.run();
    expect(back.last()?.at).toBe('done');
  });
});

describe('an abort', () => {
  const reasons: readonly [string, unknown, Failure | typeof cancelled][] = [
    ['without a reason', undefined, cancelled],
    ['with a reason of its own', new Error('SIGINT'), cancelled],
    [
      'with a time limit',
      new Failed({ kind: 'expired', what: 'nobody approved within 60 s' }),
      { kind: 'expired', what: 'nobody approved within 60 s' },
    ],
  ];
  /** Something that lasts until it is aborted. */
  const held = (stop: AbortSignal) =>
    new Promise<never>((_, reject) => stop.addEventListener('abort', () => reject(stop.reason), { once: true }));

  const moments: Readonly<Record<string, (stop: AbortSignal) => Script>> = {
    'while a code is asked for': (stop) => ({ parts: { code: () => held(stop) } }),
    'while it sleeps': () => ({}),
    'while it polls': (stop) => ({
      code: { interval: 1 },
      parts: { poll: () => held(stop) },
    }),
    'while the person is asked': (stop) => ({
      code: { expires: epochMs(start) },
      parts: { again: () => held(stop) },
    }),
    'while it is kept': (stop) => ({
      replies: [approved],
      parts: {
        keep: async function* () {
          yield { at: 'storing', ask, place } as const;
          await held(stop);
        },
      },
    }),
  };

  describe.each(Object.keys(moments))('%s', (moment) => {
    test.each(reasons)('%s ends it within one tick', async (_, reason, failure) => {
      const stop = new AbortController();
      const script = moments[moment]?.(stop.signal) ?? {};
      const flow = scripted({ ...script, parts: { stop: stop.signal, ...script.parts } });
      await flow.settle();
      if (moment !== 'while it sleeps' && flow.clock.sleeping) flow.clock.next();
      await turn();
      expect(flow.last()?.at).not.toBe('failed');
      stop.abort(reason);
      await turn();
      expect(flow.last()).toEqual({ at: 'failed', ask, failure });
      await flow.ended();
      expect(flow.at().filter((at) => at === 'failed')).toHaveLength(1);
    });
  });

  test('before it began asks for nothing', async () => {
    const flow = scripted();
    flow.stop.abort();
    await flow.run();
    expect(flow.at()).toEqual(['starting', 'failed']);
    expect(flow.codes).toBe(0);
  });

  test('while nobody draws is seen as soon as somebody does', async () => {
    const flow = scripted();
    await flow.states.next();
    await flow.states.next();
    flow.stop.abort();
    expect((await flow.states.next()).value).toEqual({ at: 'failed', ask, failure: cancelled });
    expect((await flow.states.next()).done).toBe(true);
  });

  test('that hits a bug’s exception is a cancellation all the same', async () => {
    const stop = new AbortController();
    const flow = scripted({
      parts: {
        stop: stop.signal,
        code: async () => {
          stop.abort();
          throw new TypeError('terminated');
        },
      },
    });
    await flow.run();
    expect(flow.last()).toMatchObject({ at: 'failed', failure: cancelled });
  });
});

describe('present', () => {
  const face = () => {
    const shown: LoginState[] = [];
    const drawn: Face = { show: (state) => void shown.push(state), again: async () => false, close: async () => {} };
    return { shown, drawn };
  };

  test('shows every state, and resolves to the end', async () => {
    const { shown, drawn } = face();
    const states: LoginState[] = [
      { at: 'starting', ask },
      { at: 'kept', ask, place },
      { at: 'expired', ask },
    ];
    let closed = false;
    const all = async function* () {
      try {
        yield* states;
      } finally {
        closed = true;
      }
    };
    expect(await present(all(), drawn)).toBe(states[1]);
    expect(shown).toEqual(states.slice(0, 2));
    expect(closed).toBe(true);
  });

  test('a login without an end is a bug', async () => {
    const endless = async function* (): AsyncGenerator<LoginState> {
      yield { at: 'starting', ask };
    };
    await expect(present(endless(), face().drawn)).rejects.toThrow('without an end');
  });
});
