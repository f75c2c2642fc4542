import { describe, expect, test } from 'vitest';
import { lasting } from '../../../src/commands/ensure/lasting.js';
import { later, seconds } from '../../../src/core/time.js';
import type { Result } from '../../../src/storer/settle.js';
import { cilogon, health, hour, now, osdf } from '../../storer/kit.js';

const at = now();
const there = (more: Parameters<typeof health>[1] = {}, rest: object = {}): Result => ({
  request: { service: 'cilogon' },
  provider: cilogon,
  is: 'there',
  health: health('cilogon', more),
  ...rest,
});
const lasts = (result: Result, least: number) => lasting(result, seconds(least), { now: at, hint: 'wait' });

describe('what lasts as long as is wanted', () => {
  test('and what is not there at all, is as it was', () => {
    const life = { issued: at, expires: later(at, hour) };
    for (const one of [
      there({ life }),
      there({ life, ends: later(at, 2 * hour) }),
      there({ life: null }),
      { ...there(), is: 'login', why: 'x' } as Result,
    ])
      expect(lasts(one, hour)).toBe(one);
    expect(lasts(there({ life: { issued: at, expires: later(at, 1) } }), 0)).toMatchObject({ is: 'there' });
  });

  test('a token that does not: what may pass', () => {
    expect(lasts(there({ life: { issued: at, expires: later(at, 600) } }), 601)).toMatchObject({
      is: 'refused',
      failure: { kind: 'transient', what: 'the token of cilogon has only 10 min left', hint: 'wait' },
    });
  });

  test('a login that does not: another, for all that it was', () => {
    const one = there({ ends: later(at, 600), scopes: ['a'] });
    expect(lasts(one, hour)).toMatchObject({
      is: 'login',
      why: 'its login ends in 10 min',
      renew: { service: 'cilogon', scopes: ['a'] },
    });
  });

  test('nor the login that it is made from', () => {
    const login = { service: 'cilogon', scopes: ['a', 'b'] };
    const one = there({ handle: 'h', origin: '' }, { ending: { at: later(at, 600), urgent: true, login } });
    expect(lasts(one, hour)).toMatchObject({ is: 'login', renew: login });
  });

  test('nor what no login brings', () => {
    const one: Result = { ...there({ ends: later(at, 600) }), provider: osdf };
    expect(lasts(one, hour)).toMatchObject({
      is: 'refused',
      failure: { kind: 'login-needed', hint: expect.stringContaining('condor_submit') },
    });
  });
});
