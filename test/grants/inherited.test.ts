import { describe, expect, onTestFinished, test } from 'vitest';
import type { Provider } from '../../src/core/provider.js';
import { fetchToken } from '../../src/grants/index.js';
import { exchangeClient, startIssuer } from '../helpers/issuer.js';
import { keeping } from '../helpers/rotation.js';
import { errand, failure, issuerOf, provider } from './kit.js';

/** The real issuer, that knows alice; and a refresh token there of hers, as the IceCube credmon leaves it. */
async function left() {
  const issuer = await startIssuer({ behaviour: { subjects: ['alice'] } });
  onTestFinished(() => issuer.stop());
  let refreshToken = '';
  const errandWith = (more: Partial<Provider>) => {
    const one = provider({
      ...{ name: 'icecube', issuer: issuer.url, flow: 'exchange', secretFile: '/etc/secret', scopes: [] },
      clientId: exchangeClient.client_id,
      ...more,
    });
    const rotation = keeping(async (next) => {
      refreshToken = next;
    });
    return errand({ provider: one, rotation }, issuerOf(one, exchangeClient.client_secret as string));
  };
  const scopes = ['storage.read:/home'];
  await fetchToken({ kind: 'request', scopes }, errandWith({}));
  const fetch = (more: Partial<Provider> = {}) => fetchToken({ refreshToken, scopes }, errandWith(more));
  return { issuer, fetch };
}

describe('a refresh token that another credmon got by exchange', () => {
  test('is used for as long as it is good', async () => {
    const { issuer, fetch } = await left();
    expect((await fetch()).scopes).toEqual(['storage.read:/home']);
    expect(issuer.counts).toMatchObject({ exchanges: 1, refreshes: 1 });
  });

  test('and when it has ended another takes its place, for the same scopes', async () => {
    const { issuer, fetch } = await left();
    issuer.revokeGrants();
    expect((await fetch()).scopes).toEqual(['storage.read:/home']);
    expect(issuer.counts).toMatchObject({ exchanges: 2 });
    await fetch();
    expect(issuer.counts).toMatchObject({ exchanges: 2, refusals: 1, reuse: 0 });
  });

  test('unless the administrator does not allow them any more', async () => {
    const { issuer, fetch } = await left();
    const allowedScopes = ['storage.read:/other'];
    // What was got without asking is asked for from now on, whether it still lives or not.
    for (const revoke of [() => {}, () => issuer.revokeGrants()]) {
      revoke();
      expect(await failure(fetch({ allowedScopes, scopes: [] }))).toMatchObject({
        kind: 'refused',
        code: 'not_allowed',
      });
    }
    expect(issuer.counts).toMatchObject({ exchanges: 1 });
  });

  test('what the issuer does not answer well to is no end of it', async () => {
    const { issuer, fetch } = await left();
    await issuer.stop();
    expect((await failure(fetch())).kind).toBe('transient');
  });
});
