import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { epochMs } from '../../src/core/time.js';
import { loginScopes, pollOnce, requestCode } from '../../src/grants/device.js';
import * as fault from '../helpers/faults.js';
import { faultyFor, never, open } from '../providers/kit.js';

describe('a code is asked for', () => {
  async function sent(wanted: Parameters<typeof requestCode>[1]) {
    const faulty = await faultyFor();
    await requestCode(open({ issuer: faulty.url }), wanted, never);
    return faulty.requests.find(({ endpoint }) => endpoint === 'device')?.params;
  }
  test.each([
    [{}, {}],
    [{ scopes: [] }, {}],
    [{ scopes: ['a', 'b:/c'] }, { scope: 'a b:/c' }],
    [{ audience: 'https://aud.example' }, { audience: 'https://aud.example' }],
    [
      { scopes: ['a'], audience: 'x' },
      { scope: 'a', audience: 'x' },
    ],
  ])('with %o', async (wanted, parameters) => {
    expect(await sent(wanted)).toEqual({ client_id: 'public-cli', ...parameters });
  });
});

describe('one poll', () => {
  test('sends what RFC 8628 §3.4 says, and nothing else', async () => {
    const faulty = await faultyFor({ pending: 1 });
    const issuer = open({ issuer: faulty.url });
    const code = await requestCode(issuer, {}, never);
    expect(await pollOnce(issuer, code, never)).toEqual({ kind: 'pending' });
    expect(faulty.requests.at(-1)?.params).toEqual({
      client_id: 'public-cli',
      grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
      device_code: code.deviceCode,
    });
    expect(await pollOnce(issuer, code, never)).toMatchObject({ kind: 'token' });
  });

  test('is one request, whatever comes of it', async () => {
    for (const spoil of [
      fault.error('slow_down'),
      fault.error('authorization_pending'),
      fault.status(503),
      fault.reset,
    ]) {
      const faulty = await faultyFor();
      const issuer = open({ issuer: faulty.url });
      const code = await requestCode(issuer, {}, never);
      faulty.always('token', spoil);
      await pollOnce(issuer, code, never);
      expect(faulty.requests.filter(({ endpoint }) => endpoint === 'token')).toHaveLength(1);
    }
  });

  test('throws the reason of an abort, and nothing else', async () => {
    const faulty = await faultyFor();
    const issuer = open({ issuer: faulty.url });
    const code = { deviceCode: 'd', userCode: 'u', link: faulty.url, expires: epochMs(0) };
    await expect(pollOnce(issuer, code, AbortSignal.abort('enough'))).rejects.toBe('enough');
  });
});

describe('the scopes of a login', () => {
  test.each<[string[], string[] | undefined, string[]]>([
    [[], undefined, ['openid']],
    [[], ['openid'], ['openid']],
    [[], ['openid', 'offline_access'], ['openid', 'offline_access']],
    [[], ['storage.read:/'], []],
    [[], [], []],
    [['a'], undefined, ['a']],
    [['a'], ['openid'], ['a']],
    [['a'], ['offline_access'], ['a', 'offline_access']],
    [['a', 'offline_access'], ['offline_access'], ['a', 'offline_access']],
    [['a', 'offline_access'], undefined, ['a', 'offline_access']],
  ])('wanted %o of %o: %o', (wanted, supported, expected) => {
    expect(loginScopes(wanted, supported)).toEqual(expected);
  });

  test('are all that is wanted, and at most offline_access more', () => {
    const names = fc.uniqueArray(fc.constantFrom('a', 'b', 'openid', 'offline_access'));
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.constantFrom('a', 'openid', 'offline_access'), { minLength: 1 }),
        names,
        (wanted, supported) => {
          const scopes = loginScopes(wanted, supported);
          expect(scopes.filter((scope) => scope !== 'offline_access')).toEqual(
            wanted.filter((scope) => scope !== 'offline_access'),
          );
          expect(new Set(scopes).size).toBe(scopes.length);
        },
      ),
    );
  });
});
