import { describe, expect, test } from 'vitest';
import type { Health } from '../../src/core/health.js';
import { canBeMadeFrom, endsSoon, inFull, judge } from '../../src/core/match.js';
import { epochMs, later, seconds } from '../../src/core/time.js';

const now = epochMs(1_700_000_000_000);
const hour = 3600;
const defaults = { scopes: ['openid', 'offline_access', 'storage.read:/'], audience: 'https://any' };
const alive = { issued: now, expires: later(now, hour) };
const over = { issued: later(now, -2 * hour), expires: later(now, -hour) };

const health = (more: Partial<Health> = {}): Health => ({
  user: 'alice',
  provider: 'cilogon',
  service: 'cilogon',
  issuer: 'https://cilogon.example',
  state: 'fresh',
  since: now,
  refreshes: 1,
  life: alive,
  ...more,
});
/** Without a token. */
const bare = (more: Partial<Health> = {}): Health => {
  const { life: _, ...rest } = health(more);
  return rest;
};
const verdict = (one: Health | undefined, wanted = {}) => judge(wanted, one, defaults, now).kind;
const trouble = (kind: 'transient' | 'refused' | 'config' | 'protocol') => ({ kind, what: 'x' });

describe('what is there', () => {
  test('nothing', () => {
    expect(judge({}, undefined, defaults, now)).toEqual({ kind: 'absent' });
  });

  test.each([
    ['fresh, with a token', health(), 'good'],
    ['fresh, with a token that does not tell its end', bare(), 'good'],
    ['its token ends this very moment', health({ life: { ...alive, expires: now } }), 'ended'],
    ['its token has ended', health({ state: 'retrying', life: over }), 'ended'],
    ['refreshes fail, but its token is good', health({ state: 'retrying', trouble: trouble('transient') }), 'good'],
    ['another login while the former token is good', health({ state: 'new' }), 'good'],
    ['another login after the former token had ended', health({ state: 'new', life: over }), 'ended'],
    ['just stored', bare({ state: 'new' }), 'pending'],
    ['the first try failed, for now', bare({ state: 'retrying', trouble: trouble('transient') }), 'pending'],
    ['the first try was refused', bare({ state: 'retrying', trouble: trouble('refused') }), 'stuck'],
    ['the first try failed for the configuration', bare({ state: 'retrying', trouble: trouble('config') }), 'stuck'],
    ['refused, but its token is good', health({ state: 'retrying', trouble: trouble('refused') }), 'good'],
    [
      'refused, and its token has ended',
      health({ state: 'retrying', life: over, trouble: trouble('refused') }),
      'ended',
    ],
    ['a login is needed, though its token is good', health({ state: 'login-needed' }), 'dead'],
    ['damaged', bare({ state: 'damaged' }), 'dead'],
  ])('%s', (_, one, expected) => {
    expect(judge({}, one, defaults, now)).toEqual({ kind: expected, health: one });
  });
});

describe('and what is asked for', () => {
  test.each([
    ['nothing in particular takes what there is', {}, { scopes: ['x'], audience: 'y' }, 'good'],
    ['the provider’s own', { scopes: defaults.scopes }, {}, 'good'],
    ['in another order', { scopes: [...defaults.scopes].reverse() }, {}, 'good'],
    ['without what a login brings along', { scopes: ['storage.read:/'] }, {}, 'good'],
    ['the same as there', { scopes: ['x', 'y'] }, { scopes: ['y', 'x', 'offline_access'] }, 'good'],
    ['less', { scopes: ['x'] }, { scopes: ['x', 'y'] }, 'differs'],
    ['more', { scopes: ['x', 'y'] }, { scopes: ['x'] }, 'differs'],
    ['others than the provider’s own', { scopes: ['x'] }, {}, 'differs'],
    ['the provider’s own, where there are others', { scopes: defaults.scopes }, { scopes: ['x'] }, 'differs'],
    ['in another case', { scopes: ['X'] }, { scopes: ['x'] }, 'differs'],
    ['the provider’s audience', { audience: 'https://any' }, {}, 'good'],
    ['the audience that is there', { audience: 'y' }, { audience: 'y' }, 'good'],
    ['another audience', { audience: 'z' }, { audience: 'y' }, 'differs'],
    ['another audience than the provider’s', { audience: 'z' }, {}, 'differs'],
    ['the scopes, and another audience', { scopes: ['x'], audience: 'z' }, { scopes: ['x'] }, 'differs'],
  ] as const)('%s', (_, wanted, has, expected) => {
    expect(verdict(health(has), wanted)).toBe(expected);
    expect(verdict(bare(has), wanted)).toBe(expected);
  });

  test('what differs and is of no use is no hindrance', () => {
    const wanted = { scopes: ['other'] };
    for (const one of [
      health({ life: over }),
      health({ state: 'retrying', life: over }),
      bare({ state: 'new' }),
      bare({ state: 'retrying', trouble: trouble('refused') }),
      health({ state: 'login-needed' }),
    ])
      expect(verdict(one, wanted)).toBe('dead');
  });

  test('in full: with the provider’s own where none are named', () => {
    expect(inFull({}, defaults)).toEqual(defaults);
    expect(inFull({ scopes: ['x'] }, defaults)).toEqual({ scopes: ['x'], audience: 'https://any' });
    expect(inFull({ audience: 'y' }, { scopes: [] })).toEqual({ scopes: [], audience: 'y' });
  });
});

describe('a login that is about to end', () => {
  const warning = seconds(3 * 24 * hour);
  const at = (s: number) => later(now, s);

  test('is told of within the warning, and after it', () => {
    expect(endsSoon(health(), now, warning)).toBeUndefined();
    expect(endsSoon(health({ ends: at(3 * 24 * hour) }), now, warning)).toBeUndefined();
    expect(endsSoon(health({ ends: at(3 * 24 * hour - 1) }), now, warning)).toEqual({
      at: at(3 * 24 * hour - 1),
      urgent: false,
    });
    expect(endsSoon(health({ ends: at(-5) }), now, warning)).toEqual({ at: at(-5), urgent: true });
  });

  test('one that lasts a day is told of in its last quarter', () => {
    const daily = (left: number) => health({ granted: at(left - 24 * hour), ends: at(left) });
    expect(endsSoon(daily(24 * hour), now, warning)).toBeUndefined();
    expect(endsSoon(daily(6 * hour), now, warning)).toBeUndefined();
    expect(endsSoon(daily(6 * hour - 1), now, warning)).toEqual({ at: at(6 * hour - 1), urgent: false });
    expect(endsSoon(daily(-1), now, warning)).toEqual({ at: at(-1), urgent: true });
  });

  test('and asked for in the last third of that time, however long it is', () => {
    const urgent = (left: number, life?: number) =>
      endsSoon(health({ ends: at(left), ...(life !== undefined && { granted: at(left - life) }) }), now, warning)
        ?.urgent;
    expect([urgent(24 * hour), urgent(24 * hour - 1)]).toEqual([false, true]);
    // Told in the last six hours: a screen would open at once if it were a third of three days.
    expect([urgent(6 * hour - 1, 24 * hour), urgent(2 * hour, 24 * hour)]).toEqual([false, false]);
    expect(urgent(2 * hour - 1, 24 * hour)).toBe(true);
  });

  test('never, where nobody wants to be told', () => {
    expect(endsSoon(health({ ends: at(1) }), now, seconds(0))).toBeUndefined();
  });
});

test('what is not allowed stays so for the same question, and is no hindrance to another', () => {
  const trouble = { kind: 'refused', what: 'alice may not have it' } as const;
  const refused = health({ state: 'refused', trouble, scopes: ['a'] });
  expect(judge({ scopes: ['a'] }, refused, defaults, now).kind).toBe('stuck');
  expect(judge({ scopes: ['b'] }, refused, defaults, now).kind).toBe('dead');
});

describe('made from a login', () => {
  const login = (more: Partial<Health> = {}) => health({ scopes: ['a', 'b', 'openid', 'offline_access'], ...more });
  const can = (one: Health, wanted = {}) => canBeMadeFrom(one, wanted, defaults);

  test.each([
    ['fewer scopes', { scopes: ['a'] }, true],
    ['the same', { scopes: ['b', 'a'] }, true],
    ['another audience', { scopes: ['a'], audience: 'z' }, true],
    ['what any login brings', { scopes: ['a', 'openid', 'offline_access'] }, true],
    ['more', { scopes: ['a', 'c'] }, false],
    ['a path below: issuers differ in that', { scopes: ['a:/b'] }, false],
    ['the provider’s own, which it has not', {}, false],
  ])('%s', (_, wanted, expected) => {
    expect(can(login(), wanted)).toBe(expected);
  });

  test('of the provider’s own scopes', () => {
    expect(can(health(), {})).toBe(true);
    expect(can(health(), { audience: 'z' })).toBe(true);
    expect(can(health(), { scopes: ['storage.read:/'] })).toBe(true);
    expect(can(health(), { scopes: ['storage.modify:/'] })).toBe(false);
  });

  test('what lies below a path is in it, and nothing beside it', () => {
    const from = login({ scopes: ['storage.read:/data'] });
    expect(can(from, { scopes: ['storage.read:/data/run1'] })).toBe(true);
    for (const scope of [
      'storage.read:/',
      'storage.read:/database',
      'storage.read:/data/../x',
      'storage.create:/data/x',
    ])
      expect([scope, can(from, { scopes: [scope] })]).toEqual([scope, false]);
  });

  test('not with scopes that the issuer no longer grants, nor where it is not known which there are', () => {
    expect(can(login({ missing: ['a'] }), { scopes: ['a'] })).toBe(false);
    expect(can(login({ missing: ['a'] }), { scopes: ['b'] })).toBe(true);
    expect(canBeMadeFrom(health(), {}, { scopes: [] })).toBe(false);
  });

  test.each([
    { state: 'new' },
    { state: 'retrying' },
    { state: 'login-needed' },
    { state: 'damaged' },
    { grant: 'request' },
    { grant: 'final' },
    { grant: 'vault' },
    { grant: 'mytoken' },
  ] as const)('not from one that is %j', (more) => {
    expect(can(login(more), { scopes: ['a'] })).toBe(false);
    expect(can(login({ grant: 'refresh' }), { scopes: ['a'] })).toBe(true);
  });
});
