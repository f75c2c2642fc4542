import { describe, expect, test } from 'vitest';
import { leftInWords, planFor } from '../../../src/commands/login/plan.js';
import type { Health } from '../../../src/core/health.js';
import type { Provider } from '../../../src/core/provider.js';
import type { Wish } from '../../../src/core/several.js';
import { epochMs } from '../../../src/core/time.js';

const provider: Provider = {
  name: 'cilogon',
  issuer: 'https://issuer.test',
  clientId: 'client',
  scopes: ['openid', 'read:/'],
  flow: 'device',
  bare: false,
};

const health = (handle: string | undefined, more: Partial<Health> = {}): Health => ({
  user: 'alice',
  provider: 'cilogon',
  service: 'cilogon',
  issuer: 'https://issuer.test',
  state: 'fresh',
  since: epochMs(0),
  refreshes: 1,
  grant: 'refresh',
  ...(handle !== undefined && { handle }),
  ...more,
});
const made = (handle: string, origin: string, more: Partial<Health> = {}) =>
  health(handle, { grant: 'request', origin, ...more });

const plan = (
  wishes: readonly Wish[],
  { healths = [], kept = [], makes = true }: { healths?: Health[]; kept?: readonly Wish[]; makes?: boolean } = {},
) => planFor(wishes, { provider, healths, isKept: (wish) => kept.includes(wish), makes });

const bare: Wish = {};
const named = (handle: string): Wish => ({ handle, scopes: [`${handle}:/`] });
const [read, write, admin] = [named('read'), named('write'), named('admin')];

describe('where nothing is there', () => {
  test('all are one login; the first keeps the refresh token', () => {
    expect(plan([read, write])).toEqual({ kept: [], made: [], login: [read, write], left: [] });
  });

  test('and if the service itself is among them, that does', () => {
    expect(plan([read, bare, write]).login).toEqual([bare, read, write]);
  });

  test('more than one login can bring is refused', () => {
    const many = Array.from({ length: 18 }, (_, i) => ({ handle: `h${i}` }));
    expect(() => plan(many)).toThrow('18 credentials of cilogon are more than one login can bring (17)');
    expect(plan(many.slice(1)).login).toHaveLength(17);
  });
});

describe('where a login is there', () => {
  test('what it has the scopes for is made from it, and nobody asked', () => {
    expect(plan([bare, read], { healths: [health(undefined)], kept: [bare] })).toEqual({
      kept: [bare],
      made: [{ wish: read, from: '' }],
      login: [],
      left: [],
    });
    expect(plan([read], { healths: [health('own', { scopes: ['read:/', 'write:/'] })] }).made).toEqual([
      { wish: read, from: 'own' },
    ]);
  });

  test('a login is not given up for a part of another one', () => {
    const wider = health('read', { scopes: ['openid', 'read:/', 'write:/'] });
    const other = health(undefined);
    expect(plan([read], { healths: [wider, other] })).toMatchObject({ made: [], login: [read] });
    // One that is of no use is.
    expect(plan([read], { healths: [{ ...wider, state: 'login-needed' }, other] }).made).toHaveLength(1);
  });

  test('what it has not the scopes for is a login', () => {
    const both = plan([bare, read, write], { healths: [health(undefined)], kept: [bare] });
    expect(both).toEqual({ kept: [bare], made: [{ wish: read, from: '' }], login: [write], left: [] });
  });

  test.each<[string, Partial<Health>]>([
    ['is no longer honoured', { state: 'login-needed' }],
    ['is only made from another itself', { grant: 'request', origin: 'x' }],
    ['was not granted that', { missing: ['read:/'] }],
  ])('nothing is made from one that %s', (_, more) => {
    expect(plan([read], { healths: [health('own', { scopes: ['read:/'], ...more })] })).toMatchObject({
      made: [],
      login: [read],
    });
  });

  test('nothing is made where nobody would make it', () => {
    expect(plan([read], { healths: [health(undefined)], makes: false }).login).toEqual([read]);
  });

  test('nothing is made from one that is to be replaced', () => {
    const wider: Wish = { scopes: ['read:/', 'write:/'] };
    expect(plan([wider, read], { healths: [health(undefined)] }).login).toEqual([wider, read]);
  });

  test('what the issuer refused to make from it before is a login of its own', () => {
    const healths = [health(undefined), made('read', '', { state: 'login-needed', scopes: ['read:/'] })];
    expect(plan([bare, read], { healths, kept: [bare] })).toEqual({ kept: [bare], made: [], login: [read], left: [] });
  });

  test('one that others are made from is not itself made from another', () => {
    const healths = [health(undefined), health('read', { state: 'login-needed' }), made('x', 'read')];
    expect(plan([read], { healths }).login[0]).toEqual(read);
  });
});

describe('a login in the place of another', () => {
  test('brings what is made from that one as well, as it is, wanted now or not', () => {
    const there = { handle: 'read' };
    const healths = [
      health(undefined, { state: 'login-needed' }),
      made('read', '', { scopes: ['read:/data'] }),
      made('x', '', { audience: 'https://x' }),
      made('other', 'elsewhere'),
    ];
    expect(plan([bare, there], { healths, kept: [there] })).toEqual({
      kept: [],
      made: [],
      login: [bare, { handle: 'read', scopes: ['read:/data'] }, { handle: 'x', audience: 'https://x' }],
      left: [],
    });
  });

  test('asks for what is wanted now, where that differs', () => {
    const healths = [health(undefined), made('admin', '', { scopes: ['read:/'] })];
    expect(plan([bare, admin], { healths, makes: false }).login).toEqual([bare, admin]);
  });

  test('brings as many as it can, and which it cannot is said, with how each is had', () => {
    const healths = [health(undefined), ...Array.from({ length: 18 }, (_, i) => made(`h${i}`, '', { audience: 'x' }))];
    const { login, left } = plan([bare], { healths });
    expect(login).toHaveLength(17);
    expect(left).toEqual([
      { handle: 'h16', audience: 'x' },
      { handle: 'h17', audience: 'x' },
    ]);
    expect(leftInWords(left, provider)).toBe(
      'cilogon_h16, cilogon_h17: made from the login that this one replaces, which can bring no more than 17; log in to them apart: credmon login cilogon --handle h16 --audience x --force && credmon login cilogon --handle h17 --audience x --force',
    );
  });
});
