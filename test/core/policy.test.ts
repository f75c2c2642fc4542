import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Claims } from '../../src/core/identity.js';
import { allowed, type Policy } from '../../src/core/policy.js';
import { epochMs, seconds } from '../../src/core/time.js';

const at = 1_700_000_000;
const now = epochMs(at * 1000);
const lets = (claims: Claims, policy: Policy): boolean => allowed(claims, policy, now) === undefined;

describe('checklist 6: who may log in', () => {
  test('is everybody who is known, where nothing is asked', () => {
    expect(lets({ sub: 's' }, {})).toBe(true);
  });

  test.each<[string, Policy, Claims, Claims]>([
    [
      'by WLCG’s groups',
      { groups: ['/cms', '/cms/ops'] },
      { 'wlcg.groups': ['/atlas', '/cms/ops'] },
      { 'wlcg.groups': ['/cms/uscms', '/CMS', 'cms', '/cms/'] },
    ],
    [
      'by groups',
      { groups: ['staff'] },
      { groups: ['x', 'staff'] },
      { groups: ['staffx', 'Staff', 'xstaff', 'x staff'] },
    ],
    ['by isMemberOf', { groups: ['CO:members'] }, { isMemberOf: 'CO:members' }, { isMemberOf: 'CO:members,x' }],
    [
      'by entitlements',
      { entitlements: ['urn:x:y'] },
      { entitlements: ['urn:x:y'] },
      { entitlements: ['urn:x:z', 'urn:x:y:z'] },
    ],
    [
      'by eduperson_entitlement',
      { entitlements: ['urn:x:y'] },
      { eduperson_entitlement: 'urn:x:y' },
      { groups: ['urn:x:y'] },
    ],
    [
      'by acr',
      { acr: ['https://refeds.org/profile/mfa'] },
      { acr: 'https://refeds.org/profile/mfa' },
      { acr: 'https://refeds.org/profile/sfa' },
    ],
    ['by amr', { amr: ['otp', 'hwk'] }, { amr: ['pwd', 'hwk'] }, { amr: ['pwd'] }],
    [
      'by idp',
      { idp: ['https://idp.uni.example/shibboleth'] },
      { idp: 'https://idp.uni.example/shibboleth' },
      { idp: 'https://idp.uni.example/' },
    ],
    [
      'by identity_provider',
      { idp: ['uni'] },
      { identity_provider: 'uni' },
      { identity_provider: ['other'], idp_name: 'uni' },
    ],
  ])('%s', (_, policy, good, bad) => {
    expect(lets(good, policy)).toBe(true);
    expect(lets(bad, policy)).toBe(false);
    // A missing claim denies, and so does one of another kind.
    expect(lets({}, policy)).toBe(false);
    for (const odd of [null, true, 7, {}, [], [[]], '', { staff: true }])
      expect(lets(Object.fromEntries(Object.keys(good).map((claim) => [claim, odd])), policy)).toBe(false);
    expect(lets(Object.create(good) as Claims, policy)).toBe(false);
  });

  test('goes by the domain of a verified e-mail address, and by nothing that looks like it', () => {
    const policy = { emailDomains: ['Uni.example'] };
    const verified = (email: unknown) => lets({ email, email_verified: true }, policy);
    for (const email of ['a@uni.example', 'a@UNI.EXAMPLE']) expect(verified(email)).toBe(true);
    for (const email of [
      'a@x.uni.example',
      'a@uni.example.evil',
      'a@evil@uni.example',
      '@uni.example',
      'uni.example',
      'a@uni.example\n',
      'a@uni.example ',
      '"a@b"@uni.example',
      'a@un\u0131.example',
      'a@uni.example.',
      undefined,
      7,
    ])
      expect(verified(email)).toBe(false);
    expect(lets({ email: 'a@uni.example' }, policy)).toBe(false);
    expect(lets({ email: 'a@uni.example', email_verified: 'true' }, policy)).toBe(false);
  });

  test('is asked to have signed in lately', () => {
    const policy = { maxAuthAge: seconds(600) };
    for (const ago of [0, 1, 600, -30]) expect(lets({ auth_time: at - ago }, policy)).toBe(true);
    for (const auth_time of [
      at - 601,
      at + 31,
      0,
      String(at),
      undefined,
      null,
      [at],
      Number.NaN,
      Number.POSITIVE_INFINITY,
      true,
    ])
      expect(lets({ auth_time }, policy)).toBe(false);
    expect(lets({}, policy)).toBe(false);
    expect(allowed({ sub: 's', auth_time: at - 700 }, policy, now)?.what).toBe(
      's may not log in: auth_time is 700 s ago, and 600 s are allowed',
    );
  });

  test('must meet every list that is set', () => {
    const policy: Policy = {
      groups: ['g'],
      entitlements: ['e'],
      acr: ['a'],
      amr: ['m'],
      idp: ['i'],
      emailDomains: ['x.y'],
      maxAuthAge: seconds(9),
    };
    const all = {
      groups: ['g'],
      entitlements: ['e'],
      acr: 'a',
      amr: ['m'],
      idp: 'i',
      email: 'a@x.y',
      email_verified: true,
      auth_time: at,
    };
    expect(lets(all, policy)).toBe(true);
    for (const claim of Object.keys(all)) expect(lets({ ...all, [claim]: undefined }, policy)).toBe(false);
    // One claim does not stand for another.
    expect(lets({ ...all, acr: undefined, amr: ['a', 'm'] }, policy)).toBe(false);
  });

  test('meets no list that is empty', () => {
    for (const key of ['groups', 'entitlements', 'acr', 'amr', 'idp', 'emailDomains'])
      expect(lets({ groups: ['g'], acr: 'a' }, { [key]: [] })).toBe(false);
  });

  test('is told what is missing, and nothing of what others have', () => {
    expect(allowed({ preferred_username: 'alice', groups: ['x'] }, { groups: ['secret-group'] }, now)).toEqual({
      what: 'alice may not log in: there is no claim wlcg.groups; groups holds none that is asked for; there is no claim isMemberOf',
      told: 'you approved as alice, who is in none of the groups that may log in here',
    });
  });

  test('never throws, whatever the claims are', () => {
    const policy: Policy = {
      groups: ['g'],
      entitlements: ['urn:a:b:group:c'],
      emailDomains: ['x.y'],
      maxAuthAge: seconds(9),
    };
    fc.assert(
      fc.property(
        fc.dictionary(fc.constantFrom('groups', 'entitlements', 'email', 'auth_time'), fc.anything()),
        (claims) => {
          expect(allowed(claims, policy, now)).toHaveProperty('told');
        },
      ),
    );
  });
});
