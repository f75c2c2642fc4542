import { describe, expect, test } from 'vitest';
import {
  addedServices,
  type CondorVersion,
  type OnDisk,
  type Outcome,
  outcome,
  parseVersion,
  type ServiceType,
  sortService,
} from '../../src/core/sorting.js';

const [old, sorting, now] = [[23, 9, 6] as const, [25, 0, 13] as const, [25, 14, 1] as const];

/** Names of knobs are compared without regard to case, and an empty one is as good as none. */
const knobs = (table: Readonly<Record<string, string>>) => {
  const upper = new Map(Object.entries(table).map(([name, value]) => [name.toUpperCase(), value]));
  return { get: (name: string) => upper.get(name.toUpperCase()) || undefined };
};

const storer = { SEC_CREDENTIAL_STORER: '/opt/storer' };
const id = { cilogon_CLIENT_ID: 'me', cilogon_CLIENT_SECRET_FILE: '/secret' };
const vault = (names: string) => ({ VAULT_CREDMON_PROVIDER_NAMES: names });
const oauth2 = (names: string) => ({ OAUTH2_CREDMON_PROVIDER_NAMES: names });
const pelican = (names: string) => ({ PELICAN_CREDMON_PROVIDER_NAMES: names });

/** The columns of the table that was seen on a real pool: nothing, .top, .top and .use, .use, two kinds of mismatch. */
const states: readonly OnDisk[] = [
  { top: false, use: false, matches: false },
  { top: true, use: false, matches: true },
  { top: true, use: true, matches: true },
  { top: false, use: true, matches: false },
  { top: true, use: true, matches: false },
  { top: true, use: true, matches: false },
];
const letters: Readonly<Record<string, Outcome>> = {
  M: 'vault-missing',
  K: 'unknown-missing',
  U: 'web-link',
  X: 'mismatch',
  h: 'waits',
  o: 'ok',
};

type Row = readonly [string, Readonly<Record<string, string>>, ServiceType, 'vault' | 'pelican' | 'no', string];

/** `.`: nobody looked. */
const seen: readonly Row[] = [
  ['no list, no ID', { ...storer }, 'vault', 'vault', 'MooMoo'],
  ['VAULT=cilogon', { ...storer, ...vault('cilogon') }, 'vault', 'vault', 'MooMoo'],
  ['ID, VAULT=cilogon', { ...storer, ...id, ...vault('cilogon') }, 'vault', 'vault', 'MooMoo'],
  [
    'ID, OAUTH2=*, VAULT=cilogon',
    { ...storer, ...id, ...oauth2('*'), ...vault('cilogon') },
    'vault',
    'vault',
    'MooMoo',
  ],
  ['ID, PELICAN=cilogon', { ...storer, ...id, ...pelican('cilogon') }, 'pelican', 'pelican', 'KooKoo'],
  [
    'ID, VAULT=cilogon, PELICAN=cilogon',
    { ...storer, ...id, ...vault('cilogon'), ...pelican('cilogon') },
    'vault',
    'vault',
    '..o...',
  ],
  ['ID', { ...storer, ...id }, 'oauth2', 'no', 'UooUXX'],
  ['ID, VAULT=other', { ...storer, ...id, ...vault('other') }, 'oauth2', 'no', 'UooUXX'],
  ['ID, VAULT=*', { ...storer, ...id, ...vault('*') }, 'oauth2', 'no', 'UooUXX'],
  ['ID, OAUTH2=cilogon', { ...storer, ...id, ...oauth2('cilogon') }, 'oauth2', 'no', 'UooUXX'],
  [
    'ID, OAUTH2=cilogon, VAULT=cilogon',
    { ...storer, ...id, ...oauth2('cilogon'), ...vault('cilogon') },
    'oauth2',
    'no',
    'UooUXX',
  ],
  ['ID, OAUTH2=other', { ...storer, ...id, ...oauth2('other') }, 'unknown', 'no', 'KKoooo'],
  ['no ID, VAULT=other', { ...storer, ...vault('other') }, 'unknown', 'no', 'KKoooo'],
  [
    'ID, VAULT=cilogon, CLIENT=cilogon',
    { ...storer, ...id, ...vault('cilogon'), CLIENT_CREDMON_PROVIDER_NAMES: 'cilogon' },
    'client',
    'no',
    'h.o...',
  ],
  [
    'ID, VAULT=cilogon, LOCAL=cilogon',
    { ...storer, ...id, ...vault('cilogon'), LOCAL_CREDMON_PROVIDER_NAMES: 'cilogon' },
    'local',
    'no',
    'h.o...',
  ],
  ['no storer, no ID, no list', {}, 'unknown', 'no', 'KKo...'],
  ['no storer, ID, VAULT=cilogon', { ...id, ...vault('cilogon') }, 'vault', 'no', 'Mo..oo'],
];

describe('HTCondor 25.14.1, as it was seen', () => {
  test.each(seen)('%s', (_, table, type, mode, row) => {
    const sorted = sortService('cilogon', knobs(table), now);
    expect(sorted.type).toBe(type);
    expect(sorted.storer).toEqual(mode === 'no' ? undefined : { mode });
    for (const [i, letter] of [...row].entries()) {
      if (letter === '.') continue;
      expect([i, outcome(sorted, states[i] as OnDisk)]).toEqual([i, letters[letter]]);
    }
  });

  test('a local issuer’s service is waited for by every submit, unless that is switched off', () => {
    const table = { ...storer, ...id, ...vault('cilogon'), LOCAL_CREDMON_PROVIDER_NAMES: 'scitokens' };
    expect(sortService('cilogon', knobs(table), now).storer).toEqual({ mode: 'vault' });
    expect(addedServices(knobs(table), now)).toEqual(['scitokens']);
    expect(outcome(sortService('scitokens', knobs(table), now), states[0] as OnDisk)).toBe('waits');
    expect(addedServices(knobs({ ...table, SUBMIT_ADD_LOCAL_CREDMON_PROVIDERS: 'False' }), now)).toEqual([]);
    expect(
      addedServices(knobs({ LOCAL_CREDMON_PROVIDER_NAME: 'a', CLIENT_CREDMON_PROVIDER_NAMES: 'b, c' }), now),
    ).toEqual(['a', 'b', 'c']);
    expect(
      addedServices(knobs({ CLIENT_CREDMON_PROVIDER_NAMES: 'b', SUBMIT_ADD_LOCAL_CREDMON_PROVIDER_NAMES: 'd' }), now),
    ).toEqual(['d']);
    expect(addedServices(knobs({}), now)).toEqual([]);
    expect(addedServices(knobs(table), old)).toEqual([]);
  });

  test('lists have commas or blanks, and only what they name goes to the storer', () => {
    const table = knobs({ ...storer, ...id, ...vault('cilogon, osdf dune') });
    for (const name of ['cilogon', 'osdf', 'dune'])
      expect(sortService(name, table, now)).toEqual({
        type: 'vault',
        knob: 'VAULT_CREDMON_PROVIDER_NAMES',
        storer: { mode: 'vault' },
      });
    expect(sortService('other', table, now)).toEqual({ type: 'unknown', knob: 'VAULT_CREDMON_PROVIDER_NAMES' });
    expect(sortService('cilogon_h1', knobs({ ...storer, ...vault('cilogon') }), now).type).toBe('unknown');
  });

  test('names in lists have their case, names of knobs have none', () => {
    const table = knobs({ ...storer, ...id, ...vault('CILOGON') });
    expect(sortService('cilogon', table, now)).toEqual({ type: 'oauth2', knob: 'cilogon_CLIENT_ID' });
    expect(sortService('CILogon', knobs({ ...storer, ...id, ...vault('cilogon') }), now).type).toBe('oauth2');
  });

  test('scitokens is the local issuer’s, whatever list names it, until that has another name', () => {
    const table = { ...storer, ...vault('scitokens') };
    expect(sortService('scitokens', knobs(table), now)).toEqual({ type: 'local', knob: 'LOCAL_CREDMON_PROVIDER_NAME' });
    const renamed = sortService('scitokens', knobs({ ...table, LOCAL_CREDMON_PROVIDER_NAMES: 'nobody' }), now);
    expect(renamed.storer).toEqual({ mode: 'vault' });
  });

  test.each([
    [{ ...storer }, 'SEC_CREDENTIAL_STORER'],
    [{ ...storer, ...vault('*') }, 'VAULT_CREDMON_PROVIDER_NAMES'],
    [{ ...storer, ...id }, 'cilogon_CLIENT_ID'],
    [{ ...storer, ...id, ...oauth2('cilogon') }, 'OAUTH2_CREDMON_PROVIDER_NAMES'],
    [{ ...storer, ...id, ...oauth2('other') }, 'OAUTH2_CREDMON_PROVIDER_NAMES'],
    [{ ...storer, ...vault('other') }, 'VAULT_CREDMON_PROVIDER_NAMES'],
    [{}, 'SEC_CREDENTIAL_STORER'],
  ])('the knob that decides: %o', (table, knob) => {
    expect(sortService('cilogon', knobs(table), now).knob).toBe(knob);
  });
});

describe('other versions', () => {
  test('23.9.6: the storer gets everything, whatever lists there are, and nothing is asked afterwards', () => {
    for (const [, table] of seen) {
      if (!('SEC_CREDENTIAL_STORER' in table)) continue;
      const sorted = sortService('cilogon', knobs(table), old);
      expect(sorted).toEqual({ type: 'all', knob: 'SEC_CREDENTIAL_STORER', storer: {} });
      for (const state of states) expect(outcome(sorted, state)).toBe('ok');
    }
  });

  test('23.9.6 without a storer: only a .top is asked for, with the scopes that it was stored with', () => {
    const sorted = sortService('cilogon', knobs(vault('cilogon')), old);
    expect(sorted.storer).toBeUndefined();
    expect(states.map((state) => outcome(sorted, state))).toEqual([
      'web-link',
      'ok',
      'ok',
      'web-link',
      'mismatch',
      'mismatch',
    ]);
  });

  test('before 25.14 there is no Pelican, and the storer is told no mode', () => {
    expect(sortService('cilogon', knobs({ ...storer, ...vault('cilogon') }), sorting)).toEqual({
      type: 'vault',
      knob: 'VAULT_CREDMON_PROVIDER_NAMES',
      storer: {},
    });
    expect(sortService('cilogon', knobs({ ...storer, ...id, ...pelican('cilogon') }), sorting).type).toBe('oauth2');
    expect(sortService('cilogon', knobs(storer), [24, 4, 0]).type).toBe('all');
    expect(sortService('cilogon', knobs(storer), [24, 5, 1]).type).toBe('vault');
  });

  test.each<readonly [string, CondorVersion | undefined]>([
    ['23.9.6', [23, 9, 6]],
    ['$CondorVersion: 25.14.1 2026-11-02 PackageID: 25.14.1+dfsg-1 $\n$CondorPlatform: X86_64 $', [25, 14, 1]],
    ['', undefined],
    ['unknown', undefined],
  ])('%o', (text, version) => expect(parseVersion(text)).toEqual(version));
});
