import { expect, test } from 'vitest';
import type { Kept } from '../../src/core/ports.js';
import { epochMs } from '../../src/core/time.js';
import { healthOfKept } from '../../src/status/kept.js';

const kept: Kept = {
  provider: 'test',
  handle: 'ro',
  grant: { refreshToken: 'secret', scopes: ['a'], audience: 'x' },
  token: { accessToken: 'secret', tokenType: 'Bearer', issued: epochMs(1), expires: epochMs(2), lifeFrom: 'jwt' },
  since: epochMs(1),
};

test('all that tells how it stands, and no secret', () => {
  const health = healthOfKept(kept, 'alice', undefined);
  expect(health).toEqual({
    user: 'alice',
    provider: 'test',
    service: 'test',
    handle: 'ro',
    issuer: 'alice/test_ro',
    state: 'fresh',
    since: 1,
    refreshes: 0,
    scopes: ['a'],
    audience: 'x',
    life: { issued: 1, expires: 2 },
  });
  const { token: _, ...bare } = kept;
  expect(healthOfKept({ ...bare, grant: { ...kept.grant, ends: epochMs(9) } }, 'alice', undefined)).toMatchObject({
    state: 'new',
    ends: 9,
    granted: 1,
  });
});

test('one that the issuer no longer honours is not fresh, whatever token is left of it', () => {
  expect(healthOfKept({ ...kept, dead: { since: epochMs(5), why: 'revoked' } }, 'alice', undefined)).toMatchObject({
    state: 'login-needed',
    since: 5,
    trouble: {
      kind: 'login-needed',
      what: 'revoked',
      hint: 'run: credmon login test --handle ro --scope a --audience x',
    },
  });
});
