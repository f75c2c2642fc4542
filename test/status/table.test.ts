import { describe, expect, test } from 'vitest';
import type { Health } from '../../src/core/health.js';
import type { Flow } from '../../src/core/provider.js';
import { epochMs, later, seconds } from '../../src/core/time.js';
import { table } from '../../src/status/table.js';

const now = epochMs(1_800_000_000_000);
const [hour, day] = [3600, 86_400];
const health = (more: Partial<Health> = {}): Health => ({
  user: 'alice',
  provider: 'osdf',
  service: 'osdf',
  issuer: 'https://osdf.example',
  state: 'fresh',
  since: now,
  refreshes: 1,
  life: { issued: now, expires: later(now, hour) },
  ...more,
});
const shown = (healths: readonly Health[], { warning = 3 * day, flow = 'device' as Flow } = {}) =>
  table(healths, {
    now,
    columns: 200,
    users: false,
    warning: seconds(warning),
    providers: new Map([['osdf', { flow }]]),
  }).filter((line) => line.includes('→'));

describe('what renews a login that is about to end', () => {
  const ends = later(now, hour);

  test('is a login for all that it was', () => {
    expect(shown([health({ ends, scopes: ['storage.read:/data'], audience: 'https://x' })])).toEqual([
      '  → run: credmon login osdf --scope storage.read:/data --audience https://x --force',
    ]);
  });

  test('of one that is made from a login, that login: not one of its own', () => {
    const made = health({ handle: 'ro', grant: 'request', origin: '', scopes: ['storage.read:/data/ro'], ends });
    const login = health({ scopes: ['storage.read:/data'], ends });
    const line = '  → run: credmon login osdf --scope storage.read:/data --force';
    expect(shown([made, login])).toEqual([line, line]);
  });

  test.each([
    ['vault', 'run condor_submit in a terminal'],
    ['mytoken', 'make one at the mytoken server, then run: condor_store_cred add-oauth -s osdf -i FILE'],
  ] as const)('is no login where none brings it: %s', (flow, words) => {
    expect(shown([health({ ends })], { flow })[0]).toContain(words);
  });
});

describe('when that is told', () => {
  test('is the configuration’s to say', () => {
    const one = health({ ends: later(now, 5 * day) });
    expect([shown([one]), shown([one], { warning: 6 * day })].map(({ length }) => length)).toEqual([0, 1]);
    expect(shown([health({ ends: later(now, hour) })], { warning: 0 })).toEqual([]);
  });

  test('and in the last quarter of one that lasts a day', () => {
    const daily = (left: number) => health({ granted: later(now, left - day), ends: later(now, left) });
    expect([shown([daily(7 * hour)]), shown([daily(5 * hour)])].map(({ length }) => length)).toEqual([0, 1]);
  });
});
