import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type Kept, Superseded } from '../../src/core/ports.js';
import { epochMs } from '../../src/core/time.js';
import { fileStore } from '../../src/stores/file.js';
import { ownCredentials } from '../../src/stores/own.js';
import { room } from './room.js';

const id = { user: 'alice', service: 'osdf' };
const token = { accessToken: 'new', tokenType: 'bearer', issued: epochMs(0), expires: epochMs(600_000) } as const;

/** `meanwhile` happens while the token is being handed out. */
async function handing(meanwhile: (remove: () => Promise<boolean>) => Promise<unknown>) {
  const store = fileStore({ dir: join(room(), 'state') });
  await store.save('osdf', { provider: 'osdf', grant: { refreshToken: 'r' }, since: epochMs(1) });
  const out = new Set<string>();
  const credentials = ownCredentials(store, 'alice', {
    give: async ({ token }: Kept) => {
      await meanwhile(() => store.remove('osdf'));
      out.add(token?.accessToken ?? '');
    },
    takeBack: async ({ token }: Kept) => void out.delete(token?.accessToken ?? ''),
  });
  const read = await credentials.read(id);
  if (!('stamp' in read)) throw new Error('nothing to read');
  return { credentials, stamp: read.stamp, out };
}

test('a new access token is handed out', async () => {
  const { credentials, stamp, out } = await handing(async () => {});
  await credentials.publish(id, stamp, { ...token, lifeFrom: 'expires_in' });
  expect([...out]).toEqual(['new']);
});

test('what is handed out while its owner logs out is taken back', async () => {
  const { credentials, stamp, out } = await handing((remove) => remove());
  await credentials.publish(id, stamp, { ...token, lifeFrom: 'expires_in' });
  expect([...out]).toEqual([]);
  await expect(credentials.publish(id, stamp, { ...token, lifeFrom: 'expires_in' })).rejects.toThrow(Superseded);
});
