import { describe, expect, test } from 'vitest';
import type { Health } from '../../src/core/health.js';
import type { Provider } from '../../src/core/provider.js';
import {
  loginFileOf,
  ofNobody,
  type StandingSettings,
  standingOf,
  standingText,
  withoutPid,
} from '../../src/core/standing.js';
import { epochMs, later, seconds } from '../../src/core/time.js';

const now = epochMs(Date.UTC(2026, 10, 23, 12));
const [hour, day] = [3600, 86_400];

const health = (more: Partial<Health> = {}): Health => ({
  user: 'alice',
  provider: 'cilogon',
  service: 'cilogon',
  issuer: 'https://cilogon.example',
  state: 'fresh',
  since: now,
  refreshes: 1,
  life: { issued: now, expires: later(now, hour) },
  ...more,
});

const provider = (name: string, flow: Provider['flow'] = 'device'): Provider => ({
  name,
  flow,
  clientId: 'c',
  scopes: [],
  bare: false,
});

const settings = (names: Record<string, Provider['flow']>, more: Partial<StandingSettings> = {}): StandingSettings => ({
  providers: new Map(Object.entries(names).map(([name, flow]) => [name, provider(name, flow)])),
  warning: seconds(3 * day),
  ...more,
});
const one = settings({ cilogon: 'device' });
const pam = { provider: 'cilogon' } as NonNullable<StandingSettings['pam']>;

const standing = (healths: readonly Health[], with_ = one) => standingOf(healths, with_, now);

describe('how a person stands', () => {
  test.each([
    ['fresh', health()],
    ['just logged in', health({ state: 'new' })],
    ['refreshes have failed for some minutes', health({ state: 'retrying', since: later(now, -600) })],
  ])('%s: nothing is said', (_, what) => {
    expect(standing([what])).toMatchObject({ state: 'ok', what: '', command: '', good: ['cilogon'] });
  });

  test('the issuer no longer honours the login: the login that brings all of it back', () => {
    const trouble = {
      kind: 'login-needed',
      what: 'the grant was revoked',
      hint: 'run: credmon login cilogon',
    } as const;
    expect(standing([health({ state: 'login-needed', trouble })])).toEqual({
      state: 'login',
      what: 'cilogon: login needed (the grant was revoked)',
      command: 'credmon login cilogon',
      good: [],
    });
    const scopes = ['a', 'b'];
    expect(standing([health({ state: 'damaged', handle: 'rw', scopes })])).toMatchObject({
      state: 'login',
      what: 'cilogon_rw: damaged',
      command: "credmon login cilogon --handle rw --scope 'a b'",
    });
  });

  test('what is made from a dead login is not told of by itself', () => {
    const made = health({ state: 'login-needed', handle: 'ro', grant: 'request', origin: '' });
    expect(standing([made, health({ state: 'login-needed' })]).what).toBe('cilogon: login needed');
    expect(standing([made, health()])).toMatchObject({ state: 'login', what: 'cilogon_ro: login needed' });
  });

  test('where no login helps, what does help is in the sentence', () => {
    const others = settings({ wlcg: 'exchange' });
    const trouble = { kind: 'config', what: 'not in the list', hint: 'ask for less' } as const;
    const refused = health({ provider: 'wlcg', service: 'wlcg', state: 'refused', trouble });
    expect(standing([refused], others)).toEqual({
      state: 'warn',
      what: 'wlcg: not allowed (not in the list); ask for less',
      command: '',
      good: [],
    });
  });

  test('refreshes that fail are told of after an hour, or when jobs have no good token any more', () => {
    const failing = (since: number, expires: number) =>
      health({ state: 'retrying', since: later(now, since), life: { issued: now, expires: later(now, expires) } });
    expect(standing([failing(-60, 600)])).toMatchObject({ state: 'ok', until: later(now, 600) });
    expect(standing([failing(-60, 2 * hour)])).toMatchObject({ state: 'ok', until: later(now, hour - 60) });
    expect(standing([failing(-60, -1)])).toMatchObject({
      state: 'warn',
      what: 'cilogon: refresh failed, trying again since 2026-11-23 11:59 UTC',
      command: 'credmon status',
      good: ['cilogon'],
    });
    expect(standing([failing(-hour, 2 * hour)]).state).toBe('warn');
  });

  test('a login that is about to end: first a warning, then it is time; and when that will be', () => {
    const ending = (ends: number, granted = -30 * day) =>
      standing([health({ ends: later(now, ends), granted: later(now, granted) })]);
    expect(ending(10 * day)).toEqual({
      state: 'ok',
      until: later(now, 7 * day + 0.001),
      what: '',
      command: '',
      good: ['cilogon'],
    });
    expect(ending(2 * day)).toEqual({
      state: 'warn',
      until: later(now, day + 0.001),
      what: 'your login to cilogon ends on 2026-11-25 12:00 UTC',
      command: 'credmon login cilogon --force',
      good: ['cilogon'],
    });
    expect(ending(hour)).toMatchObject({ state: 'login', until: later(now, hour), good: [] });
    expect(ending(-hour)).toMatchObject({
      state: 'login',
      what: 'your login to cilogon ended on 2026-11-23 11:00 UTC',
    });
    // One that lasts a day is not complained of for all of it.
    expect(ending(18 * hour, -6 * hour).state).toBe('ok');
    const soon = health({ ends: later(now, 10 * day), granted: later(now, -30 * day) });
    expect(standingOf([soon], one, epochMs(standing([soon]).until ?? 0))).toMatchObject({ state: 'warn' });
  });

  test('several troubles: one is told, a login before the others, and how many there are besides', () => {
    const others = settings({ cilogon: 'device', osdf: 'device', wlcg: 'exchange' });
    const [dead, refused] = [
      health({ state: 'login-needed', provider: 'osdf', service: 'osdf' }),
      health({ state: 'refused', provider: 'wlcg', service: 'wlcg' }),
    ];
    expect(standing([refused, health(), dead], others)).toEqual({
      state: 'login',
      what: 'osdf: login needed (1 more: see credmon status)',
      command: 'credmon login osdf',
      good: ['cilogon'],
    });
  });
});

describe('whoever has no login', () => {
  test.each([
    ['of the only provider', settings({ cilogon: 'device' }), 'cilogon', 'credmon login cilogon'],
    ['of the default one', settings({ a: 'device', b: 'device' }, { preferred: 'b' }), 'b', 'credmon login b'],
    ['of several, none of them the default', settings({ a: 'device', b: 'device' }), 'a or b', 'credmon login a'],
    [
      'of the one of ssh logins',
      settings({ a: 'device', cilogon: 'device' }, { preferred: 'a', pam }),
      'cilogon',
      'credmon login cilogon',
    ],
  ])('%s', (_, with_, whom, command) => {
    const told = { state: 'login', what: `you are not logged in to ${whom}`, command, good: [] };
    expect(ofNobody(with_)).toEqual(told);
    expect(standing([], with_)).toEqual(told);
  });

  test.each([
    ['nobody can log in to anything', settings({ wlcg: 'exchange' })],
    ['what is meant comes without a click', settings({ wlcg: 'exchange', osdf: 'device' }, { preferred: 'wlcg' })],
  ])('nothing is said where %s', (_, with_) => {
    expect(ofNobody(with_).state).toBe('ok');
    expect(standing([], with_).state).toBe('ok');
  });

  test('any login will do; where ssh logins bring one along, that one must be there', () => {
    const two = { cilogon: 'device', osdf: 'device' } as const;
    const osdf = health({ provider: 'osdf', service: 'osdf' });
    expect(standing([osdf], settings(two, { preferred: 'cilogon' })).state).toBe('ok');
    expect(standing([osdf], settings(two, { pam }))).toMatchObject({
      state: 'login',
      command: 'credmon login cilogon',
      good: ['osdf'],
    });
    expect(standing([health({ handle: 'x' })], settings(two, { pam }))).toMatchObject({ state: 'login', good: [] });
    expect(standing([health()], settings(two, { pam }))).toMatchObject({ state: 'ok', good: ['cilogon'] });
  });

  test('a token that came without a click is no login', () => {
    const both = settings({ wlcg: 'exchange', cilogon: 'device' }, { preferred: 'cilogon' });
    expect(standing([health({ provider: 'wlcg', service: 'wlcg' })], both).state).toBe('login');
  });
});

describe('what is written', () => {
  test('four lines', () => {
    const told = { state: 'warn', until: epochMs(1500), what: 'w', command: 'c', good: ['a', 'b'] } as const;
    expect(standingText(told, 7)).toBe('1 warn 2 7\nw\nc\na b\n');
    expect(standingText({ state: 'ok', what: '', command: '', good: [] }, 0)).toBe('1 ok 0 0\n\n\n\n');
    expect(withoutPid('1 ok 0 4711\n\n\n\n')).toBe(withoutPid('1 ok 0 1\n\n\n\n'));
  });

  test('whatever an issuer or a person has written: printable ASCII without backslashes, one line', () => {
    const what = 'a\u001b[2Jb \u202e\u009b31m c\\d “e” f’s Müller…\n1 ok 0 0';
    const trouble = { kind: 'login-needed', what, hint: `run: credmon login cilogon --audience 'é'` } as const;
    const told = standing([health({ state: 'login-needed', trouble })]);
    expect(told.what).toBe(`cilogon: login needed (ab 31m c?d "e" f's Muller... 1 ok 0 0)`);
    // What cannot be written so is shown by status.
    expect(told.command).toBe('credmon status');
    const backslash = {
      kind: 'login-needed',
      what: 'x',
      hint: `run: credmon login cilogon --audience 'it'\\''s'`,
    } as const;
    expect(standing([health({ state: 'login-needed', trouble: backslash })]).command).toBe('credmon status');
  });

  test('under the names of accounts only', () => {
    expect(loginFileOf('alice')).toBe('alice');
    for (const name of ['..', '.default', 'a/b', '', 'x\n']) expect(loginFileOf(name)).toBeUndefined();
  });
});
