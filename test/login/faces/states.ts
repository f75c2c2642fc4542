import type { Ask, LoginState } from '../../../src/core/login.js';
import type { Clock } from '../../../src/core/ports.js';
import { type EpochMs, epochMs } from '../../../src/core/time.js';

export const start = epochMs(Date.UTC(2026, 10, 22, 12, 0, 0));

export type ManualClock = Clock & {
  /** Lets time pass, and everything happen that was set for it. */
  pass(ms: number): void;
  readonly timers: () => number;
};

export function manualClock(): ManualClock {
  let now: number = start;
  let timers: { at: number; then: () => void }[] = [];
  return {
    now: () => epochMs(now),
    steady: () => now,
    sleep: () => Promise.reject(new Error('a face does not sleep')),
    after(ms, then) {
      const timer = { at: now + ms, then };
      timers.push(timer);
      return () => {
        timers = timers.filter((t) => t !== timer);
      };
    },
    pass(ms) {
      const until = now + ms;
      for (;;) {
        const next = timers.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0];
        if (!next) break;
        timers = timers.filter((t) => t !== next);
        now = next.at;
        next.then();
      }
      now = until;
    },
    timers: () => timers.length,
  };
}

const ask: Ask = {
  provider: 'cilogon',
  issuer: 'https://cilogon.org',
  scopes: ['email', 'openid', 'org.cilogon.userinfo', 'storage.read:/ospool/ap20'],
};

const link = 'https://cilogon.org/device/';
export const linkComplete = 'https://cilogon.org/device/?user_code=ABC-DEF-GHI';

type At<K extends LoginState['at']> = Extract<LoginState, { at: K }>;

export const starting: At<'starting'> = { at: 'starting', ask };

export const code: At<'code'> = {
  at: 'code',
  ask,
  code: 'ABC-DEF-GHI',
  link,
  linkComplete,
  expires: (start + 252_000) as EpochMs,
};

export const place = { kind: 'condor', by: 'spool' } as const;

export const done: At<'done'> = {
  at: 'done',
  ask,
  who: 'Jane Doe',
  place,
  missing: ['storage.modify:/ospool'],
  expires: (start + 3 * 3_600_000) as EpochMs,
  refresh: (start + 41 * 60_000) as EpochMs,
  keeper: 'credmon agent',
  note: 'the issuer said nothing about tape',
};

export const failed: At<'failed'> = {
  at: 'failed',
  ask,
  failure: { kind: 'denied', what: 'the login was refused', hint: 'run it again' },
};

/** What a hostile issuer may send: colours, clearing, a title, a forged link, bidirectional text, a C1 control. */
export const hostile =
  'A\u001B[31m\u001B[2J\u001B[3J\u001B]0;title\u0007\u001B]8;;http://evil.example\u0007B\u202E\u009B1mC\r\nD';
