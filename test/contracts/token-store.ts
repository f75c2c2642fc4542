import { describe, expect, test } from 'vitest';
import { failureOf } from '../../src/core/failure.js';
import type { Kept, TokenStore } from '../../src/core/ports.js';
import { epochMs, seconds } from '../../src/core/time.js';

/** One with everything that can be kept; `mark` is in its secrets. */
export const kept = (mark = 'x'): Kept => ({
  provider: 'cilogon',
  handle: 'prod',
  grant: {
    refreshToken: `refresh-${mark}`,
    scopes: ['openid', 'storage.read:/'],
    audience: 'https://example.org',
    ends: epochMs(1_900_000_000_000),
  },
  token: {
    accessToken: `access-${mark}`,
    tokenType: 'Bearer',
    refreshToken: `refresh-${mark}`,
    issued: epochMs(1_800_000_000_000),
    expires: epochMs(1_800_000_000_000 + seconds(1200) * 1000),
    lifeFrom: 'expires_in',
    scopes: ['openid'],
    subject: { iss: 'https://issuer.test', sub: '1', name: 'Ada Lovelace' },
  },
  who: 'Ada Lovelace',
  since: epochMs(1_800_000_000_000),
  dead: { since: epochMs(1_800_000_001_000), why: 'revoked' },
});

/** As little as can be kept. */
export const bare: Kept = { provider: 'igwn', grant: { refreshToken: 'r' }, since: epochMs(1) };

const hostile = ['', '.', '..', '../up', 'a/b', '/etc/passwd', 'a\0b', 'a\nb', '.hidden', 'a..b', 'é', 'x'.repeat(129)];

/** What every TokenStore must do. `open` gives a store that is empty; it is called once a test. */
export function tokenStoreContract(name: string, open: () => TokenStore | Promise<TokenStore>): void {
  describe(`${name} keeps the contract of a TokenStore`, () => {
    test('an unknown id is absent, not an error', async () => {
      const store = await open();
      expect(await store.load('nobody')).toBeUndefined();
      expect(await store.remove('nobody')).toBe(false);
      expect(await store.list()).toEqual([]);
    });

    test('what was saved is loaded, all of it and nothing more', async () => {
      const store = await open();
      await store.save('cilogon_prod', kept());
      await store.save('igwn', bare);
      expect(await store.load('cilogon_prod')).toEqual(kept());
      expect(await store.load('igwn')).toEqual(bare);
      expect(await store.load('cilogon')).toBeUndefined();
    });

    test('any text a provider may send comes back as it was', async () => {
      const store = await open();
      const odd = { ...bare, who: 'Zoë "Ω" \\ \u2028 \u0007 🦊', grant: { refreshToken: 't'.repeat(20_000) } };
      await store.save('odd', odd);
      expect(await store.load('odd')).toEqual(odd);
    });

    test('saving replaces', async () => {
      const store = await open();
      await store.save('cilogon', kept('one'));
      await store.save('cilogon', bare);
      expect(await store.load('cilogon')).toEqual(bare);
      expect(await store.list()).toEqual(['cilogon']);
    });

    test('a removed one is gone, the others stay', async () => {
      const store = await open();
      for (const id of ['b', 'a', 'c_h']) await store.save(id, kept(id));
      expect(await store.list()).toEqual(['a', 'b', 'c_h']);
      expect(await store.remove('b')).toBe(true);
      expect(await store.remove('b')).toBe(false);
      expect(await store.load('b')).toBeUndefined();
      expect(await store.list()).toEqual(['a', 'c_h']);
      expect(await store.load('a')).toEqual(kept('a'));
    });

    test('of many saves at once one wins, and is whole', async () => {
      const store = await open();
      const marks = Array.from({ length: 12 }, (_, n) => String(n).repeat(500));
      await Promise.all(marks.map((mark) => store.save('cilogon', kept(mark))));
      const won = await store.load('cilogon');
      expect(marks.map((mark) => kept(mark))).toContainEqual(won);
      expect(await store.list()).toEqual(['cilogon']);
    });

    test('a hostile id is refused everywhere', async () => {
      const store = await open();
      for (const id of hostile) {
        for (const act of [() => store.load(id), () => store.save(id, bare), () => store.remove(id)]) {
          const failure = await act().then(
            () => undefined,
            (thrown: unknown) => failureOf(thrown),
          );
          expect([id, failure?.kind]).toEqual([id, 'usage']);
        }
      }
      expect(await store.list()).toEqual([]);
    });
  });
}
