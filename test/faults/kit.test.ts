import { expect, test } from 'vitest';
import { issuerProcess } from './kit.js';

const refresh = async (url: string, refresh_token: string) => {
  const body = new URLSearchParams({ grant_type: 'refresh_token', refresh_token });
  const answer = await fetch(`${url}/token`, { method: 'POST', body });
  return (await answer.json()) as { refresh_token: string; access_token: string; error?: string };
};

test('the issuer’s process rotates, counts reuse, and takes a replaced token for as long as its grace lasts', async () => {
  const issuer = await issuerProcess({ grace: 60_000 });
  const [grant = ''] = await issuer.grants(1);
  const [first, second] = [await refresh(issuer.url, grant), await refresh(issuer.url, grant)];
  expect(await issuer.accepts([grant, first.refresh_token, second.refresh_token, 'x'])).toEqual([
    true,
    true,
    true,
    false,
  ]);
  expect(await issuer.generations([grant, first.refresh_token, second.access_token, 'x'])).toEqual([0, 1, 2, null]);
  await issuer.set({ grace: 0 });
  expect(await issuer.accepts([grant, second.refresh_token])).toEqual([false, true]);
  expect((await refresh(issuer.url, grant)).error).toBe('invalid_grant');
  expect(await issuer.accepts([second.refresh_token])).toEqual([false]);
  expect(await issuer.counts()).toMatchObject({ reuse: 1, refreshes: 2, asked: { token: 3 } });
  await issuer.next('token', [['status', 503, { 'retry-after': '2' }], ['reset']]);
  await expect(refresh(issuer.url, grant)).rejects.toThrow();
  await expect(fetch(`${issuer.url}/token`, { method: 'POST' })).rejects.toThrow();
});
