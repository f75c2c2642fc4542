import { chmodSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { later } from '../../src/core/time.js';
import { isPlainlyWell, lookUp, whose } from '../../src/storer/quick.js';
import { unprivileged } from '../stores/room.js';
import { cilogon, day, dune, health, hour, now, statusRoom, uid } from './kit.js';

const well = (dir: string, ...requests: Parameters<typeof isPlainlyWell>[0]): boolean => {
  const told = lookUp(uid, now(), dir);
  return told !== undefined && isPlainlyWell(requests.length > 0 ? requests : [{ service: 'cilogon' }], told, now());
};

test('all is plainly well where credmond has told so lately', () => {
  const room = statusRoom();
  room.tell([health(), health('icecube', { handle: 'h', scopes: ['a'] })]);
  expect(well(room.dir)).toBe(true);
  expect(well(room.dir, { service: 'cilogon' }, { service: 'icecube', handle: 'h', scopes: ['a'] })).toBe(true);
});

test('of several all must be', () => {
  const room = statusRoom();
  room.tell([health()]);
  expect(well(room.dir, { service: 'cilogon' }, { service: 'icecube' })).toBe(false);
  expect(well(room.dir, { service: 'icecube' }, { service: 'cilogon' })).toBe(false);
});

test.each([
  ['there is none', []],
  [
    'its token has ended',
    [health('cilogon', { life: { issued: later(now(), -2 * hour), expires: later(now(), -1) } })],
  ],
  ['its first token is being fetched', [health('cilogon', { state: 'new', life: null })]],
  ['a login is needed', [health('cilogon', { state: 'login-needed' })]],
  ['its login is about to end', [health('cilogon', { ends: later(now(), day) })]],
  ['it is for other scopes', [health('cilogon', { scopes: ['x'] })]],
  ['it is another handle’s', [health('cilogon', { handle: 'h' })]],
])('%s: that takes a closer look', (_, credentials) => {
  const room = statusRoom();
  room.tell(credentials);
  expect(well(room.dir, { service: 'cilogon', scopes: cilogon.scopes })).toBe(false);
});

test.each([
  ['says nothing of its providers', { providers: undefined }],
  ['does not have this one', { providers: [dune] }],
  ['says nothing of the warning', { warning: undefined }],
] as const)('a credmond that %s: that takes a closer look', (_, more) => {
  const room = statusRoom();
  room.tell([health()], more as object);
  expect(well(room.dir)).toBe(false);
});

test('one that has told nothing for a while may be gone', () => {
  const room = statusRoom();
  room.tell([health()]);
  room.swept(129);
  expect(well(room.dir)).toBe(true);
  room.swept(131);
  expect(well(room.dir)).toBe(false);
  rmSync(join(room.dir, 'all.json'));
  expect(well(room.dir)).toBe(false);
});

test('how old one’s own file is means nothing: it is written when something is different', () => {
  const room = statusRoom();
  room.tell([health()]);
  utimesSync(room.file, 1, 1);
  expect(well(room.dir)).toBe(true);
});

test.each(['', '{', 'null', '[]', '{"v":2,"credentials":[],"providers":[],"warning":1}'])(
  '%o is no file of one’s own: a closer look',
  (text) => {
    const room = statusRoom();
    room.tell([]);
    writeFileSync(room.file, text);
    expect(lookUp(uid, now(), room.dir)).toBeUndefined();
  },
);

test('without a file of one’s own, or a folder: a closer look', () => {
  const room = statusRoom();
  room.swept();
  expect(lookUp(uid, now(), room.dir)).toBeUndefined();
  expect(lookUp(uid, now(), join(room.dir, 'nowhere'))).toBeUndefined();
  expect(lookUp(uid, now(), join(room.dir, 'all.json'))).toBeUndefined();
});

test('what may not be read is no reason to break off: a closer look', () =>
  unprivileged([], async () => {
    const room = statusRoom();
    room.tell([health()]);
    chmodSync(room.file, 0);
    expect(lookUp(uid, now(), room.dir)).toBeUndefined();
    chmodSync(room.file, 0o600);
    chmodSync(room.dir, 0);
    expect(lookUp(uid, now(), room.dir)).toBeUndefined();
  }));

test('whose a credential is: by the file that it is, without regard to case; else that of the provider for all', () => {
  const any = { ...dune, name: '*' };
  expect(whose({ service: 'cilogon' }, [any, cilogon])).toEqual({ request: { service: 'cilogon' }, provider: cilogon });
  expect(whose({ service: 'CILogon' }, [any, cilogon])?.provider).toBe(cilogon);
  expect(whose({ service: 'cilogon_ro', scopes: ['a'] }, [cilogon])).toEqual({
    request: { service: 'cilogon', handle: 'ro', scopes: ['a'] },
    provider: cilogon,
  });
  expect(whose({ service: 'other', handle: 'h' }, [any, cilogon])).toEqual({
    request: { service: 'other_h' },
    provider: any,
  });
  expect(whose({ service: 'other' }, [cilogon])).toBeUndefined();
});
