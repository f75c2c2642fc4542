import { describe, expect, test } from 'vitest';
import { allowing, mayBeAsked, refuseStrange, strangeEndpoints } from '../../src/core/endpoint.js';
import { failureOf } from '../../src/core/failure.js';
import type { Provider } from '../../src/core/provider.js';

const provider = (more: Partial<Provider> = {}): Provider => ({
  name: 'p',
  flow: 'device',
  issuer: 'https://Issuer.example/realms/x',
  clientId: 'c',
  scopes: [],
  bare: false,
  ...more,
});
const strange = (metadata: Record<string, unknown>, more?: Partial<Provider>) =>
  strangeEndpoints(provider(more), metadata)[0]?.host;

describe('an endpoint of an issuer', () => {
  test.each(['https://issuer.example/token', 'https://ISSUER.example/token', 'https://issuer.example:443/token'])(
    'is at its own host: %s',
    (token_endpoint) => expect(strange({ token_endpoint })).toBeUndefined(),
  );

  test.each([
    ['https://other.example/token', 'other.example'],
    ['https://issuer.example.evil/token', 'issuer.example.evil'],
    ['https://x.issuer.example/token', 'x.issuer.example'],
    ['https://issuer.example:8443/token', 'issuer.example:8443'],
    ['https://issuer.example@evil.example/', 'evil.example'],
    ['https://evil.example/issuer.example', 'evil.example'],
    ['token', ''],
    ['', ''],
  ])('is strange: %s', (endpoint, host) => {
    for (const name of ['token_endpoint', 'device_authorization_endpoint', 'jwks_uri', 'userinfo_endpoint'])
      expect(strange({ [name]: endpoint })).toBe(host);
  });

  test('is not where the configuration names its host, or itself', () => {
    const metadata = { token_endpoint: 'https://a.example/t', jwks_uri: 'https://b.example:8443/j' };
    expect(strange(metadata)).toBe('a.example');
    expect(strange(metadata, { endpointHosts: ['A.example'] })).toBe('b.example:8443');
    expect(strange(metadata, { endpointHosts: ['a.example', 'b.example'] })).toBe('b.example:8443');
    expect(strange(metadata, { endpointHosts: ['a.example', 'b.example:8443'] })).toBeUndefined();
    expect(strange(metadata, { endpointHosts: ['b.example:8443'], tokenUrl: 'https://a.example/t' })).toBeUndefined();
  });

  test.each<[string, string, boolean]>([
    // Google’s and CILogon’s as their metadata were in November 2026; the others as they are documented.
    ['https://cilogon.org', 'https://cilogon.org/oauth2/token', true],
    ['https://cilogon.org/dune', 'https://cilogon.org/oauth2/device_authorization', true],
    ['https://aai.egi.eu/auth/realms/egi', 'https://aai.egi.eu/auth/realms/egi/protocol/openid-connect/token', true],
    ['https://wlcg.cloud.cnaf.infn.it/', 'https://wlcg.cloud.cnaf.infn.it/token', true],
    ['https://auth.globus.org', 'https://auth.globus.org/v2/oauth2/token/revoke', true],
    ['https://accounts.google.com', 'https://oauth2.googleapis.com/token', true],
    ['https://accounts.google.com', 'https://www.googleapis.com/oauth2/v3/certs', true],
    ['https://accounts.google.com', 'https://evil.googleapis.com/token', false],
    ['https://accounts.google.com.evil.example', 'https://oauth2.googleapis.com/token', false],
    ['https://cilogon.org', 'https://oauth2.googleapis.com/token', false],
  ])('of %s: %s', (issuer, endpoint, allowed) => expect(mayBeAsked(provider({ issuer }), endpoint)).toBe(allowed));

  test('is not strange where the configuration has it, in whatever form', () => {
    const byHand = { revocationUrl: 'https://a.example' };
    expect(mayBeAsked(provider(byHand), 'https://a.example/')).toBe(true);
    expect(mayBeAsked(provider(byHand), 'https://a.example/other')).toBe(false);
    const { issuer: _, ...without } = provider({ tokenUrl: 'https://a.example/t' });
    expect(mayBeAsked(without, 'https://a.example/t')).toBe(true);
    expect(mayBeAsked(without, 'https://b.example/t')).toBe(false);
  });

  test('that is refused is told with the setting that allows it, and what is allowed already', () => {
    const configured = provider({ endpointHosts: ['a.example'] });
    expect(allowing(configured, ['b.example', 'a.example'])).toBe('p_ENDPOINT_HOSTS = a.example b.example');
    const refusal = (endpoint: string) => {
      try {
        refuseStrange(configured, endpoint);
      } catch (thrown) {
        return failureOf(thrown);
      }
      return undefined;
    };
    expect(refusal('https://a.example/t')).toBeUndefined();
    expect(refusal('https://b.example/t')).toMatchObject({
      kind: 'protocol',
      what: expect.stringContaining('an endpoint at another host: https://b.example/t'),
      hint: expect.stringContaining('set p_ENDPOINT_HOSTS = a.example b.example'),
    });
    expect(refusal('token')?.hint).toBe('whoever runs the issuer must mend this');
  });

  test('that says nothing of who somebody is may be anywhere', () => {
    expect(
      strange({ revocation_endpoint: 'https://x.example', authorization_endpoint: 'https://y.example' }),
    ).toBeUndefined();
    expect(strange({ token_endpoint: undefined, jwks_uri: 7 })).toBeUndefined();
  });
});
