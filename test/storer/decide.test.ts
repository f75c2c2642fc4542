import { describe, expect, test } from 'vitest';
import type { Health } from '../../src/core/health.js';
import type { ServiceRequest } from '../../src/core/request.js';
import type { ProviderNote } from '../../src/core/snapshot.js';
import { epochMs, later } from '../../src/core/time.js';
import { commandsFor, decide, endingInWords, healthOf } from '../../src/storer/decide.js';
import { cilogon, day, dune, health, hour, icecube, mine, now, osdf, robot, warning } from './kit.js';

const at = now();
const dead = { issued: later(at, -2 * hour), expires: later(at, -hour) };
const step = (request: Partial<ServiceRequest>, provider: ProviderNote, ...healths: readonly Health[]) =>
  decide({ service: provider.name, ...request }, provider, { healths, now: at, warning });
const trouble = (kind: 'transient' | 'refused', what = 'told so', hint?: string) => ({
  kind,
  what,
  ...(hint !== undefined && { hint }),
});

describe('where nothing is there', () => {
  test.each([
    [cilogon, { do: 'login', why: 'you are not logged in to it' }],
    [icecube, { do: 'store' }],
    [robot, { do: 'store' }],
    [dune, { do: 'elsewhere' }],
    [osdf, { do: 'elsewhere' }],
    [
      mine,
      {
        do: 'refuse',
        failure: expect.objectContaining({ kind: 'login-needed', what: 'there is no mytoken for mine' }),
      },
    ],
  ])('$name', (provider, expected) => {
    expect(step({}, provider)).toEqual(expected);
    // Another’s, and that of another handle, are not it.
    expect(step({}, provider, health('other'), health(provider.name, { handle: 'x', grant: 'request' }))).toEqual(
      expected,
    );
  });

  test('it is found by its very service and handle', () => {
    const [one, two] = [health('cilogon'), health('cilogon', { handle: 'h' })];
    expect(healthOf([one, two], { service: 'cilogon' })).toBe(one);
    expect(healthOf([one, two], { service: 'cilogon', handle: 'h' })).toBe(two);
    expect(healthOf([one, two], { service: 'CILogon' })).toBeUndefined();
    expect(healthOf([two], { service: 'cilogon' })).toBeUndefined();
  });
});

describe('where it is there', () => {
  test.each([cilogon, icecube, robot, dune, osdf, mine])('$name: nothing is to be done', (provider) => {
    expect(step({}, provider, health(provider.name))).toEqual({ do: 'nothing' });
    expect(step({ handle: 'h' }, provider, health(provider.name, { handle: 'h' }))).toEqual({ do: 'nothing' });
  });

  test('and its login is about to end: that is told', () => {
    expect(step({}, cilogon, health('cilogon', { ends: later(at, day) }))).toEqual({
      do: 'nothing',
      ending: { at: later(at, day), urgent: false, login: { service: 'cilogon' } },
    });
    expect(step({}, cilogon, health('cilogon', { ends: later(at, 9 * day) }))).toEqual({ do: 'nothing' });
  });

  test('made from a login: it is that one’s end', () => {
    const made = (origin: string) => health('cilogon', { handle: 'h', grant: 'request', origin });
    const ends = later(at, day);
    expect(step({ handle: 'h' }, cilogon, made(''), health('cilogon', { ends }))).toEqual({
      do: 'nothing',
      ending: { at: ends, urgent: false, login: { service: 'cilogon' } },
    });
    const origin = health('cilogon', { handle: 'x', ends, scopes: ['a', 'b'], audience: 'z' });
    expect(step({ handle: 'h' }, cilogon, made('x'), origin)).toEqual({
      do: 'nothing',
      // All that it was: a login for the part that this job asks for would take the rest away.
      ending: {
        at: ends,
        urgent: false,
        login: { service: 'cilogon', handle: 'x', scopes: ['a', 'b'], audience: 'z' },
      },
    });
    expect(step({ handle: 'h' }, cilogon, made('x'), health('cilogon', { ends }))).toEqual({ do: 'nothing' });
    expect(step({ handle: 'h' }, cilogon, made(''))).toEqual({ do: 'nothing' });
  });

  test.each([
    [
      'without a reason',
      undefined,
      'the token of cilogon_h has ended, and could not be refreshed yet; credmond goes on trying',
    ],
    [
      'and why',
      trouble('transient', 'it is down'),
      'the token of cilogon_h has ended, and could not be refreshed yet: it is down; credmond goes on trying',
    ],
  ])('its token has ended, which credmond tries to mend: the job goes in, and that is told, %s', (_, why, told) => {
    const one = health('cilogon', { handle: 'h', state: 'retrying', life: dead, ...(why && { trouble: why }) });
    expect(step({ handle: 'h' }, cilogon, one)).toEqual({ do: 'nothing', warning: told });
  });

  test.each([cilogon, icecube, dune, osdf])('$name: the first token is being fetched: it is waited for', (provider) => {
    expect(step({}, provider, health(provider.name, { state: 'new', life: null }))).toEqual({ do: 'wait' });
    expect(
      step({}, provider, health(provider.name, { state: 'retrying', life: null, trouble: trouble('transient') })),
    ).toEqual({ do: 'wait' });
  });
});

describe('where it is of no use', () => {
  const gone = (name: string, more = {}) =>
    health(name, { state: 'login-needed', trouble: { kind: 'login-needed', what: 'revoked' }, ...more });

  test('what brings it anew is the same as what brought it', () => {
    expect(step({}, cilogon, gone('cilogon'))).toEqual({ do: 'login', why: 'revoked' });
    expect(step({}, icecube, gone('icecube'))).toEqual({ do: 'store' });
    expect(step({}, dune, gone('dune'))).toEqual({ do: 'elsewhere' });
    expect(step({}, osdf, gone('osdf'))).toEqual({ do: 'elsewhere' });
    expect(step({}, cilogon, health('cilogon', { state: 'damaged' }))).toMatchObject({ do: 'login' });
  });

  test('it was for other scopes, and has ended: it is replaced', () => {
    const other = health('cilogon', { scopes: ['x'], state: 'retrying', life: dead });
    expect(step({ scopes: ['storage.read:/'] }, cilogon, other)).toEqual({
      do: 'login',
      why: 'the login that is there is for other scopes, and its token has ended',
    });
    expect(step({ scopes: ['y'] }, icecube, health('icecube', { scopes: ['x'], life: dead }))).toEqual({ do: 'store' });
  });

  test('it never worked, and will not: told, with what would help; but what needs nobody is asked for again', () => {
    const stuck = (name: string, hint?: string) =>
      health(name, { state: 'retrying', life: null, trouble: trouble('refused', 'not allowed', hint) });
    expect(step({}, cilogon, stuck('cilogon', 'ask them'))).toEqual({
      do: 'refuse',
      failure: { kind: 'refused', what: 'there is no token for cilogon: not allowed', hint: 'ask them' },
    });
    expect(step({}, icecube, stuck('icecube'))).toEqual({ do: 'store' });
  });
});

describe('where it is for something else', () => {
  test('nothing is taken away from jobs that may be using it: both are named, and both ways out', () => {
    expect(
      step({ scopes: ['storage.create:/x'] }, cilogon, health('cilogon', { scopes: ['storage.read:/a', 'openid'] })),
    ).toEqual({
      do: 'refuse',
      failure: {
        kind: 'config',
        what: 'the job asks cilogon for the scopes storage.create:/x, but what is stored is for the scopes storage.read:/a openid',
        hint: 'keep both apart by a handle (cilogon_oauth_permissions_NAME = …), or give up what is there, if no other job uses it: credmon logout cilogon',
      },
    });
  });

  test.each([
    [{ audience: 'https://a' }, {}, 'for the audience https://a, but what is stored is for no audience'],
    [
      { audience: 'https://a' },
      { audience: 'https://b' },
      'for the audience https://a, but what is stored is for the audience https://b',
    ],
    [
      { scopes: ['x'], audience: 'https://a' },
      { scopes: ['y'], audience: 'https://b' },
      'for the scopes x and the audience https://a, but what is stored is for the scopes y and the audience https://b',
    ],
  ])('%j where there is %j', (asked, there, words) => {
    const one = step(
      { handle: 'h', ...asked },
      { ...cilogon, scopes: [] },
      health('cilogon', { handle: 'h', ...there }),
    );
    expect(one).toMatchObject({ do: 'refuse', failure: { what: `the job asks cilogon_h ${words}` } });
    expect(JSON.stringify(one)).toContain('credmon logout cilogon --handle h');
  });

  test('that is the provider’s own, whatever it is', () => {
    expect(step({ scopes: ['x'] }, { ...cilogon, scopes: [] }, health('cilogon'))).toMatchObject({
      failure: { what: expect.stringContaining('what is stored is for the issuer’s usual scopes') },
    });
  });

  test('also what needs nobody: it is not replaced under the feet of jobs', () => {
    expect(step({ scopes: ['x'] }, icecube, health('icecube'))).toMatchObject({ do: 'refuse' });
  });
});

describe('from a login that is there', () => {
  const login = (more = {}) => health('cilogon', { scopes: ['a', 'b', 'openid', 'offline_access'], ...more });

  test('nobody has to log in for less of it', () => {
    expect(step({ handle: 'h', scopes: ['a'] }, cilogon, login())).toEqual({ do: 'store', from: '' });
    expect(step({ handle: 'h', scopes: ['a'], audience: 'z' }, cilogon, login({ handle: 'm' }))).toEqual({
      do: 'store',
      from: 'm',
    });
    // The other way round as well: the one without a handle from one with it.
    expect(step({ scopes: ['a'] }, cilogon, login({ handle: 'm' }))).toEqual({ do: 'store', from: 'm' });
  });

  test('but for more, or from what is no login, or of another provider', () => {
    const asks = { handle: 'h', scopes: ['a'] };
    for (const one of [
      login({ scopes: ['b'] }),
      login({ missing: ['a'] }),
      login({ grant: 'request', origin: 'm' }),
      login({ state: 'retrying' }),
      login({ service: 'other' }),
    ])
      expect(step(asks, cilogon, one)).toEqual({ do: 'login', why: 'you are not logged in to it' });
  });

  test('never from itself', () => {
    const self = login({ handle: 'h', life: dead });
    expect(step({ handle: 'h', scopes: ['a'] }, cilogon, self)).toMatchObject({ do: 'login' });
  });

  test('its own has ended: from the login that is there', () => {
    const ended = health('cilogon', {
      handle: 'h',
      state: 'login-needed',
      grant: 'request',
      origin: '',
      scopes: ['a'],
    });
    // The issuer gave none from there: the same question would have the same answer.
    expect(step({ handle: 'h', scopes: ['a'] }, cilogon, ended, login())).toMatchObject({ do: 'login' });
    const other = { ...ended, origin: 'x' };
    expect(step({ handle: 'h', scopes: ['a'] }, cilogon, other, login())).toEqual({ do: 'store', from: '' });
    expect(step({ handle: 'h', scopes: ['a'] }, cilogon, ended)).toMatchObject({ do: 'login' });
  });

  test('a provider whose client vouches needs none', () => {
    expect(step({ handle: 'h', scopes: ['a'] }, icecube, health('icecube', { scopes: ['a', 'b'] }))).toEqual({
      do: 'store',
    });
  });
});

describe('in words', () => {
  test('what has to be run, in one line', () => {
    expect(
      commandsFor([{ service: 'cilogon' }, { service: 'osdf', handle: 'h', scopes: ['a', 'b:/c'], audience: "it's" }]),
    ).toBe(`credmon login cilogon && credmon login osdf --handle h --scope 'a b:/c' --audience 'it'\\''s'`);
    expect(commandsFor([{ service: 'cilogon', handle: 'in', scopes: ['a'] }, { service: 'cilogon' }])).toBe(
      `credmon login --request 'cilogon&handle=in&scopes=a' --request cilogon`,
    );
  });

  test('that a login ends, whose, when, for which jobs, and how it is renewed', () => {
    const ends = {
      at: later(at, 2 * day),
      urgent: false,
      login: { service: 'osdf', handle: 'h', scopes: ['read:/a'] },
    };
    expect(endingInWords(ends, at, [])).toBe(
      'your login to osdf_h ends in 2 days; renew it: credmon login osdf --handle h --scope read:/a --force',
    );
    expect(endingInWords(ends, at, ['1.0', '2.0'])).toContain(
      'ends in 2 days (jobs that may outlive it: 1.0, 2.0); renew',
    );
    const many = Array.from({ length: 10 }, (_, n) => `${n}.0`);
    expect(endingInWords(ends, at, many)).toContain(': 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0 and others)');
    expect(endingInWords({ ...ends, at: epochMs(0) }, at, [])).toContain('ends in 0 s');
  });
});
