import { describe, expect, test } from 'vitest';
import type { TokenSet } from '../../src/core/credential.js';
import { Failed } from '../../src/core/failure.js';
import type { Issuer } from '../../src/core/ports.js';
import { epochMs, later, seconds } from '../../src/core/time.js';
import { narrowed } from '../../src/grants/narrow.js';
import { hours, minutes } from '../daemon/kit.js';
import { keeping } from '../helpers/rotation.js';

type Answer = readonly string[] | { readonly error: string };

interface Behaviour {
  /** At a refresh that asks for less; default: as asked. */
  less?: Answer;
  exchange?: Answer;
}

const all = ['a', 'b', 'c'];

/** An issuer whose logins have {@link all}. */
function station(behaviour: Behaviour) {
  const asked: string[] = [];
  let [n, now] = [0, epochMs(1_700_000_000_000)];
  const token: Issuer['token'] = async (grantType, { scope }, { rotation }) => {
    const refreshes = grantType === 'refresh_token';
    asked.push(!refreshes ? 'exchange' : scope === undefined ? 'whole' : 'less');
    const answer = (refreshes ? (scope === undefined ? all : behaviour.less) : behaviour.exchange) ?? scope?.split(' ');
    if (answer && 'error' in answer) throw new Failed({ kind: 'refused', what: answer.error, code: answer.error });
    if (refreshes) await rotation?.keep(`r-${++n}`);
    const life = { issued: now, expires: later(now, seconds(600)), lifeFrom: 'expires_in' } as const;
    return { accessToken: `access-${n}`, tokenType: 'bearer', ...life, ...(answer && { scopes: answer }) };
  };
  const issuer = { token } as unknown as Issuer;
  const ask = async (scopes: readonly string[] = ['a'], key = 'alice/x', more = {}): Promise<Partial<TokenSet>> => {
    let refreshToken = `r-${n}`;
    const rotation = keeping(async (next) => {
      refreshToken = next;
    });
    const login = {
      key,
      issuer,
      rotation,
      refreshToken: () => refreshToken,
      clock: { now: () => now },
      stop: new AbortController().signal,
      claims: () => undefined,
    };
    const wanted = { scopes, elsewhere: false, matters: () => true, wholeWillDo: true, ...more };
    const result = await narrowed(login, wanted);
    return result.token ?? result.whole;
  };
  return {
    behaviour,
    ask,
    /** What was asked since the last time. */
    asked: () => asked.splice(0).join(' '),
    rotations: () => n,
    pass: (ms: number) => {
      now = epochMs(now + ms);
    },
  };
}

const unsupported = { error: 'unsupported_grant_type' };
const refused = { error: 'invalid_scope' };

describe('requests and rotations for each token', () => {
  test.each<[string, Behaviour, first: string, then: string]>([
    ['that narrows', {}, 'less', 'less'],
    ['that ignores the scopes, and exchanges', { less: all }, 'less exchange', 'less exchange'],
    ['that refuses them, and exchanges', { less: refused }, 'less whole exchange', 'whole exchange'],
    ['that ignores them, and offers no exchange', { less: all, exchange: unsupported }, 'less exchange', 'less'],
    ['and not to this client', { less: all, exchange: { error: 'unauthorized_client' } }, 'less exchange', 'less'],
    ['that refuses them, and offers none', { less: refused, exchange: unsupported }, 'less whole exchange', 'whole'],
  ])('at an issuer %s', async (_, behaviour, first, then) => {
    const s = station(behaviour);
    await s.ask();
    expect(s.asked()).toBe(first);
    for (let n = 2; n <= 4; n++) {
      await s.ask();
      expect(s.asked()).toBe(then);
      expect(s.rotations()).toBe(n);
    }
    // It may have learnt it.
    s.pass(hours(1));
    await s.ask();
    expect(s.asked()).toBe(first);
  });

  test('what is believed is not believed longer because it is gone by', async () => {
    const s = station({ less: refused });
    for (const step of [0, minutes(20), minutes(20), minutes(19)]) {
      s.pass(step);
      await s.ask();
    }
    expect(s.asked()).toBe('less whole exchange whole exchange whole exchange whole exchange');
    s.pass(minutes(2));
    await s.ask();
    expect(s.asked()).toBe('less whole exchange');
    // Nor because the clock was set back.
    s.pass(-hours(5));
    await s.ask();
    expect(s.asked()).toBe('less whole exchange');
  });
});

describe('what one asks for in vain', () => {
  test('keeps no other credential, nor other scopes, from being narrowed', async () => {
    const s = station({ less: refused, exchange: unsupported });
    await s.ask(['a'], 'mallory/x');
    s.asked();
    s.behaviour.less = ['a'];
    expect((await s.ask(['a'], 'alice/x')).scopes).toEqual(['a']);
    expect((await s.ask(['a', 'b'], 'mallory/x')).scopes).toEqual(['a']);
    expect(s.asked()).toBe('less less');
  });

  test('says nothing of the next login, where a login is what is needed then', async () => {
    const s = station({ less: refused, exchange: unsupported });
    await s.ask(['a'], 'alice/x', { wholeWillDo: false });
    expect(s.asked()).toBe('less whole exchange');
    Object.assign(s.behaviour, { less: ['a'] });
    await s.ask(['a'], 'alice/x', { wholeWillDo: false });
    expect(s.asked()).toBe('less');
    Object.assign(s.behaviour, { less: refused, exchange: ['a'] });
    await s.ask(['a'], 'alice/x', { wholeWillDo: false });
    expect(s.asked()).toBe('less whole exchange');
  });

  test.each(['invalid_scope', 'invalid_target', 'access_denied'])('%s at an exchange is asked again', async (error) => {
    const s = station({ less: all, exchange: { error } });
    await s.ask();
    await s.ask();
    expect(s.asked()).toBe('less exchange less exchange');
  });
});
