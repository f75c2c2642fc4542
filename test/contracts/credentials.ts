import { describe, expect, test } from 'vitest';
import type { TokenSet } from '../../src/core/credential.js';
import { type CredentialId, keyOf } from '../../src/core/names.js';
import { type Credentials, Superseded } from '../../src/core/ports.js';
import { epochMs } from '../../src/core/time.js';

export interface Opened {
  readonly credentials: Credentials;
  /** Whose credentials may be kept in it. */
  readonly user: string;
  /** Somebody else logs in, or takes the login away, without telling us. */
  login(id: CredentialId, refreshToken: string): Promise<void>;
  logout(id: CredentialId): Promise<void>;
}

export const accessToken = (mark: string, more: Partial<TokenSet> = {}): TokenSet => {
  const issued = epochMs(Math.floor(Date.now() / 1000) * 1000);
  return {
    accessToken: `access-${mark}`,
    tokenType: 'bearer',
    issued,
    expires: epochMs(issued + 1_200_000),
    lifeFrom: 'expires_in',
    scopes: ['openid', 'storage.read:/'],
    ...more,
  };
};

/** What all Credentials must do. `open` gives some that are empty, for the providers `cilogon` and `igwn`; once a test. */
export function credentialsContract(name: string, open: () => Promise<Opened>): void {
  describe(`${name} keep the contract of Credentials`, () => {
    const begin = async () => {
      const opened = await open();
      const id: CredentialId = { user: opened.user, service: 'cilogon' };
      return { ...opened, id, grant: { refreshToken: 'refresh-1' } };
    };

    test('where nothing is, nothing is found, and that is no error', async () => {
      const { credentials, id } = await begin();
      expect(await credentials.scan(id.user)).toEqual(new Map());
      expect(await credentials.scan('nobody-of-this-name')).toEqual(new Map());
      expect(await credentials.read(id)).toEqual({ trouble: 'absent' });
      expect(await credentials.life(id)).toBeUndefined();
      expect(await credentials.remove(id)).toBe(false);
    });

    test('what a login brought is found and read, all of it', async () => {
      const { credentials, id } = await begin();
      const grant = { refreshToken: 'refresh-1', scopes: ['openid', 'storage.read:/'], audience: 'https://a.example' };
      const before = Date.now();
      const stamp = await credentials.put(id, grant);
      expect(await credentials.users()).toContain(id.user);
      const found = await credentials.scan(id.user);
      expect([...found.keys()]).toEqual([keyOf(id)]);
      expect(found.get(keyOf(id))).toMatchObject({ id, provider: 'cilogon', stamp });
      // The kernel's stamps are a few milliseconds behind its clock.
      expect(found.get(keyOf(id))?.written).toBeGreaterThan(before - 100);
      expect(found.get(keyOf(id))?.written).toBeLessThanOrEqual(Date.now());
      expect(await credentials.read(id)).toEqual({ grant, stamp });
    });

    test('a stamp tells nothing of the secret', async () => {
      const { credentials, id, grant } = await begin();
      expect(await credentials.put(id, grant)).not.toContain(grant.refreshToken);
    });

    test('handles and providers are kept apart', async () => {
      const { credentials, id } = await begin();
      const ids = [
        id,
        { ...id, handle: 'prod' },
        { ...id, service: 'igwn' },
        { ...id, service: 'igwn', handle: 'a_b' },
      ];
      for (const one of ids) await credentials.put(one, { refreshToken: `of-${keyOf(one)}` });
      const found = await credentials.scan(id.user);
      expect([...found.values()].map((one) => one.id)).toEqual(expect.arrayContaining(ids));
      expect(found.size).toBe(4);
      expect(await credentials.remove(ids[0] as CredentialId)).toBe(true);
      for (const one of ids.slice(1)) {
        expect(await credentials.read(one)).toMatchObject({ grant: { refreshToken: `of-${keyOf(one)}` } });
      }
      expect((await credentials.scan(id.user)).size).toBe(3);
    });

    test('an access token has the life that it was given, and changes nothing about the grant', async () => {
      const { credentials, id, grant } = await begin();
      const stamp = await credentials.put(id, grant);
      const token = accessToken('1');
      await credentials.publish(id, stamp, token);
      const life = await credentials.life(id);
      expect(life?.expires).toBe(token.expires);
      expect(Math.abs((life?.issued ?? 0) - Date.now())).toBeLessThan(5000);
      expect(await credentials.read(id)).toEqual({ grant, stamp });
      await credentials.publish(id, stamp, accessToken('2', { expires: epochMs(token.expires + 60_000) }));
      expect((await credentials.life(id))?.expires).toBe(token.expires + 60_000);
    });

    test('a rotation replaces the refresh token and nothing else', async () => {
      const { credentials, id } = await begin();
      const grant = { refreshToken: 'refresh-1', scopes: ['openid'], audience: 'https://a.example' };
      const first = await credentials.put(id, grant);
      const second = await credentials.rotate(id, first, 'refresh-2');
      expect(second).not.toBe(first);
      expect(await credentials.read(id)).toEqual({ grant: { ...grant, refreshToken: 'refresh-2' }, stamp: second });
      expect((await credentials.scan(id.user)).get(keyOf(id))?.stamp).toBe(second);
      await credentials.publish(id, second, accessToken('1'));
      const third = await credentials.rotate(id, second, 'refresh-3');
      expect(await credentials.read(id)).toMatchObject({ grant: { refreshToken: 'refresh-3' }, stamp: third });
      expect(await credentials.life(id)).toBeDefined();
    });

    test('what is told with an old stamp is not written', async () => {
      const { credentials, id, grant } = await begin();
      const first = await credentials.put(id, grant);
      const second = await credentials.rotate(id, first, 'refresh-2');
      await expect(credentials.rotate(id, first, 'refresh-x')).rejects.toThrow(Superseded);
      await expect(credentials.publish(id, first, accessToken('x'))).rejects.toThrow(Superseded);
      expect(await credentials.read(id)).toEqual({ grant: { refreshToken: 'refresh-2' }, stamp: second });
      expect(await credentials.life(id)).toBeUndefined();
    });

    test('a login that came in between wins', async () => {
      const { credentials, id, grant, login } = await begin();
      const stamp = await credentials.put(id, grant);
      await login(id, 'refresh-of-the-login');
      await expect(credentials.rotate(id, stamp, 'late')).rejects.toThrow(Superseded);
      await expect(credentials.publish(id, stamp, accessToken('late'))).rejects.toThrow(Superseded);
      const now = await credentials.read(id);
      expect(now).toMatchObject({ grant: { refreshToken: 'refresh-of-the-login' } });
      expect(now.stamp).not.toBe(stamp);
      expect(await credentials.life(id)).toBeUndefined();
    });

    test('what was removed does not come back', async () => {
      const { credentials, id, grant, logout } = await begin();
      const stamp = await credentials.put(id, grant);
      await credentials.publish(id, stamp, accessToken('1'));
      await logout(id);
      await expect(credentials.rotate(id, stamp, 'late')).rejects.toThrow(Superseded);
      await expect(credentials.publish(id, stamp, accessToken('late'))).rejects.toThrow(Superseded);
      expect(await credentials.scan(id.user)).toEqual(new Map());
      expect(await credentials.read(id)).toEqual({ trouble: 'absent' });
    });

    test('our own removal takes all of it, once', async () => {
      const { credentials, id, grant } = await begin();
      const stamp = await credentials.put(id, grant);
      await credentials.publish(id, stamp, accessToken('1'));
      expect(await credentials.remove(id)).toBe(true);
      expect(await credentials.remove(id)).toBe(false);
      expect(await credentials.read(id)).toEqual({ trouble: 'absent' });
      expect(await credentials.life(id)).toBeUndefined();
      expect(await credentials.scan(id.user)).toEqual(new Map());
      await expect(credentials.rotate(id, stamp, 'late')).rejects.toThrow(Superseded);
    });

    test('our own removal of one that was replaced takes nothing', async () => {
      const { credentials, id, grant } = await begin();
      const first = await credentials.put(id, grant);
      const second = await credentials.put(id, { refreshToken: 'refresh-2' });
      await expect(credentials.remove(id, first)).rejects.toThrow(Superseded);
      expect(await credentials.read(id)).toMatchObject({ stamp: second });
      expect(await credentials.remove(id, second)).toBe(true);
      expect(await credentials.read(id)).toEqual({ trouble: 'absent' });
    });

    test('putting replaces, also the same again, and each is another', async () => {
      const { credentials, id, grant } = await begin();
      const first = await credentials.put(id, { ...grant, scopes: ['openid'] });
      const second = await credentials.put(id, { refreshToken: 'refresh-2' });
      expect(second).not.toBe(first);
      expect(await credentials.read(id)).toEqual({ grant: { refreshToken: 'refresh-2' }, stamp: second });
    });

    test('any refresh token that RFC 6749 admits comes back as it was', async () => {
      const { credentials, id } = await begin();
      const odd = `${Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).join('')}${'x'.repeat(8000)}`;
      const stamp = await credentials.put(id, { refreshToken: odd });
      expect(await credentials.read(id)).toMatchObject({ grant: { refreshToken: odd } });
      await credentials.rotate(id, stamp, `${odd}!`);
      expect(await credentials.read(id)).toMatchObject({ grant: { refreshToken: `${odd}!` } });
    });
  });
}
