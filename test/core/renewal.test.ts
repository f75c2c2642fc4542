import { describe, expect, test } from 'vitest';
import type { Health } from '../../src/core/health.js';
import { originOf, requestFor } from '../../src/core/renewal.js';
import { epochMs } from '../../src/core/time.js';

const health = (more: Partial<Health> = {}): Health => ({
  user: 'alice',
  provider: 'osdf',
  service: 'osdf',
  issuer: 'https://osdf.example',
  state: 'fresh',
  since: epochMs(0),
  refreshes: 0,
  ...more,
});

test('to have it again, all that it was is asked for', () => {
  expect(requestFor(health())).toEqual({ service: 'osdf' });
  expect(requestFor(health({ handle: 'h', scopes: ['a'], audience: 'x' }))).toEqual({
    service: 'osdf',
    handle: 'h',
    scopes: ['a'],
    audience: 'x',
  });
});

describe('the login to renew', () => {
  const made = (origin: string) => health({ handle: 'ro', grant: 'request', origin });
  const [login, work] = [health(), health({ handle: 'work' })];

  test('is that which it is made from, with a handle or none', () => {
    expect(originOf(made(''), [made(''), work, login])).toBe(login);
    expect(originOf(made('work'), [login, work])).toBe(work);
  });

  test('is itself where it is made from none, or that is gone', () => {
    expect(originOf(work, [login, work])).toBe(work);
    expect(originOf(made('gone'), [login])).toEqual(made('gone'));
  });

  test('is never another’s: root sees everybody’s', () => {
    const bobs = health({ user: 'bob' });
    expect(originOf(made(''), [bobs, health({ service: 'other' }), login])).toBe(login);
    expect(originOf(made(''), [bobs])).toEqual(made(''));
  });
});
