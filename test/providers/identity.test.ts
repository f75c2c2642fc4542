import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Failure } from '../../src/core/failure.js';
import type { Identity } from '../../src/core/identity.js';
import { pollOnce, requestCode } from '../../src/grants/device.js';
import { confidentialClient, publicClient, startIssuer } from '../helpers/issuer.js';
import { type Craft, clientId, encode, forge, mac, makeKey } from './forge.js';
import { failureIn, never, open, serve } from './kit.js';

/** Somebody: of these claims, or anybody. */
function known(result: Identity | Failure, claims: Readonly<Record<string, unknown>> = {}): Identity {
  expect(result).toMatchObject({ claims });
  return result as Identity;
}

/** Nobody, and for that reason; nothing of a token is said. */
function nobody(result: Identity | Failure, kind: Failure['kind'] = 'protocol', words = /./): void {
  expect(result).toMatchObject({ kind, what: expect.stringMatching(words) });
  expect(JSON.stringify(result)).not.toMatch(/eyJ|access-0|device-0|undefined|\[object/);
}

const loginOf = async (craft: Partial<Craft>) => (await forge(craft)).login();
const rogue = makeKey('ES256');
const seconds = () => Math.floor(Date.now() / 1000);

describe('who approved, at a real OpenID provider', () => {
  test('is told with their claims, to those who hold the very answer', async () => {
    const real = await startIssuer({
      interval: 0,
      behaviour: { claims: { alice: { groups: ['/vo'], eppn: 'alice@uni.example' } } },
    });
    onTestFinished(() => real.stop());
    const issuer = open({ issuer: real.url });
    const approved = async (nonce?: string) => {
      const code = await requestCode(issuer, { scopes: ['openid', 'offline_access'] }, never, nonce);
      await real.approve(code.userCode, { login: 'alice' });
      const reply = await pollOnce(issuer, code, never);
      if (reply.kind !== 'token') throw new Error(reply.kind);
      return reply.token;
    };
    const token = await approved('n-1');
    expect(await issuer.identity(token, { stop: never, nonce: 'n-1' })).toMatchObject({
      iss: real.url,
      sub: 'alice',
      claims: { preferred_username: 'alice', eppn: 'alice@uni.example', groups: ['/vo'] },
    });
    // The claims are beside the token and not in it: stores write tokens to files.
    expect(JSON.stringify(token)).not.toContain('eppn');
    expect((await failureIn(issuer.identity({ ...token }, { stop: never, nonce: 'n-1' }))).kind).toBe('protocol');
  });
});

describe('checklist 4: a real ID token', () => {
  /** As it was given to a client, by HTTP alone. */
  async function idTokenFor(
    real: Awaited<ReturnType<typeof startIssuer>>,
    clientId: string,
    secret?: string,
  ): Promise<string> {
    const post = async (path: string, form: Record<string, string>) => {
      const body = new URLSearchParams({ client_id: clientId, ...form });
      const basic = `Basic ${Buffer.from(`${clientId}:${secret}`).toString('base64')}`;
      const headers = secret === undefined ? {} : { authorization: basic };
      return (await (await fetch(`${real.url}${path}`, { method: 'POST', headers, body })).json()) as Record<
        string,
        string
      >;
    };
    const { pathname: device } = new URL(await endpoint(real.url, 'device_authorization_endpoint'));
    const { pathname: token } = new URL(await endpoint(real.url, 'token_endpoint'));
    const { device_code = '', user_code = '' } = await post(device, { scope: 'openid' });
    await real.approve(user_code, { login: 'alice' });
    const grant_type = 'urn:ietf:params:oauth:grant-type:device_code';
    return (await post(token, { grant_type, device_code })).id_token ?? '';
  }
  const endpoint = async (url: string, name: string): Promise<string> =>
    ((await (await fetch(`${url}/.well-known/openid-configuration`)).json()) as Record<string, string>)[name] ?? '';

  test('is good for the client that it was given to, and for no other', async () => {
    const real = await startIssuer({ clients: [publicClient, confidentialClient] });
    onTestFinished(() => real.stop());
    let idToken = '';
    // Whoever stands between hands on what others were given.
    const between = await serve(() => ({
      '/token': () => ({ body: { access_token: 'access-0123456789', token_type: 'Bearer', id_token: idToken } }),
    }));
    const issuer = open({ issuer: real.url, clientId: publicClient.client_id, tokenUrl: `${between.url}/token` });
    const login = async () => {
      const token = await issuer.token('urn:x', {}, { stop: never, identify: true });
      return issuer.identity(token, { stop: never });
    };
    idToken = await idTokenFor(real, publicClient.client_id);
    expect(await login()).toMatchObject({ iss: real.url, sub: 'alice' });
    const other = await idTokenFor(real, confidentialClient.client_id, confidentialClient.client_secret);
    expect(other).toMatch(/^eyJ/);
    idToken = other;
    expect((await failureIn(login())).kind).toBe('protocol');
    // Of another issuer that has the same clients and people.
    const twin = await startIssuer();
    onTestFinished(() => twin.stop());
    idToken = await idTokenFor(twin, publicClient.client_id);
    expect((await failureIn(login())).kind).toBe('protocol');
  });
});

describe('checklist 4: an ID token’s signature', () => {
  test.each(['ES256', 'RS256'] as const)('by a key of the issuer is good: %s', async (alg) => {
    const { login, url } = await forge({ key: makeKey(alg) });
    expect(known(await login(), { preferred_username: 'alice' })).toMatchObject({
      iss: url,
      sub: 'alice',
      userinfo: 'none',
    });
  });

  test('CVE-2025-4658 (opkssh): a crafted JWS is not taken for a signed one', async () => {
    const { craft, login } = await forge();
    const good = (claims: object) => craft.key.sign({ alg: 'ES256', kid: 'k1' }, { ...claims });
    const parts = (token: string) => token.split('.') as [string, string, string];
    const forged = (claims: object) => encode({ ...claims, sub: 'root', preferred_username: 'root' });
    const crafted: readonly Craft['idToken'][] = [
      // The payload or the header of another, with a signature that was good for this one.
      (claims) => `${parts(good(claims))[0]}.${forged(claims)}.${parts(good(claims))[2]}`,
      (claims) =>
        `${encode({ alg: 'ES256', kid: 'k1', typ: 'x' })}.${parts(good(claims))[1]}.${parts(good(claims))[2]}`,
      // More parts, or fewer.
      (claims) => `${good(claims)}.${forged(claims)}`,
      (claims) => `${parts(good(claims))[0]}.${forged(claims)}.${good(claims)}`,
      (claims) => `${good(claims)}:${forged(claims)}`,
      (claims) => parts(good(claims)).slice(0, 2).join('.'),
      (claims) => `${parts(good(claims))[0]}.${forged(claims)}.`,
      // RFC 7515 §7.2: JSON, with one signature or several, the good one among them.
      (claims) =>
        JSON.stringify({
          protected: parts(good(claims))[0],
          payload: forged(claims),
          signature: parts(good(claims))[2],
        }),
      (claims) => ({
        payload: forged(claims),
        signatures: [
          { protected: parts(good(claims))[0], signature: parts(good(claims))[2] },
          { protected: encode({ alg: 'none' }), signature: '' },
        ],
      }),
      (claims) => [good(claims)],
      // RFC 7797: a payload that is not encoded.
      (claims) => craft.key.sign({ alg: 'ES256', kid: 'k1', b64: false, crit: ['b64'] }, { ...claims }),
      (claims) => craft.key.sign({ alg: 'ES256', kid: 'k1', crit: ['exp'] }, { ...claims }),
    ];
    for (const idToken of crafted) {
      craft.idToken = idToken;
      nobody(await login());
    }
    craft.idToken = good;
    known(await login(), { sub: 'alice' });
  });

  test('CVE-2025-4658 (opkssh): a key that the token brings itself is not used', async () => {
    const elsewhere = await serve(() => ({ '/jwks': { body: { keys: [rogue.jwk] } } }));
    const { craft, login } = await forge();
    for (const header of [
      { kid: 'k1', jwk: rogue.jwk },
      { jwk: rogue.jwk },
      { kid: 'k1', jku: `${elsewhere.url}/jwks` },
      { kid: 'k1', x5u: `${elsewhere.url}/jwks` },
      { kid: `${elsewhere.url}/jwks` },
      { kid: '../../dev/null' },
      { kid: { toString: 'k1' } },
    ]) {
      craft.idToken = (claims) => rogue.sign({ alg: 'ES256', ...header }, claims);
      nobody(await login());
    }
    expect(elsewhere.asked).toEqual([]);
  });

  test('GHSA-6gp8-pp9v-gx45 (himmelblau): claims that nobody has signed are not believed', async () => {
    nobody(await loginOf({ idToken: (claims) => rogue.sign({ alg: 'ES256', kid: 'k1' }, claims) }));
    // Without keys to verify it by there is nobody either, and no other way in.
    nobody(await loginOf({ metadata: { jwks_uri: undefined } }), 'protocol', /no ID token that can be verified/);
    nobody(await loginOf({ keys: [] }));
    nobody(await loginOf({ jwks: { status: 503 } }), 'transient');
    nobody(await loginOf({ jwks: { status: 200, body: '<html>' } }));
    nobody(await loginOf({ idToken: () => undefined }), 'protocol', /no ID token/);
    nobody(await loginOf({ idToken: () => null }), 'protocol', /no ID token/);
    nobody(await loginOf({ idToken: () => '' }));
    nobody(await loginOf({ idToken: () => 'e30.e30.e30' }));
  });

  test('GHSA-6gp8-pp9v-gx45 (himmelblau): userinfo alone says nobody', async () => {
    const body = { sub: 'alice', preferred_username: 'alice' };
    nobody(await loginOf({ idToken: () => undefined, userinfo: { body } }), 'protocol', /no ID token/);
    nobody(await loginOf({ metadata: { jwks_uri: undefined }, userinfo: { body } }), 'protocol', /no ID token/);
  });

  test.each([
    ['none'],
    ['None'],
    ['NONE'],
    ['nOnE'],
    [''],
    [' ES256'],
    ['es256'],
    [null],
    [undefined],
    [0],
    [['ES256']],
    [{ ES256: 1 }],
  ])('with alg %j is none, also where the issuer offers it', async (alg) => {
    const { craft, login } = await forge({
      metadata: { id_token_signing_alg_values_supported: ['ES256', 'none', 'None', '', null, alg] },
    });
    known(await login());
    for (const signature of ['', '.', '.AA']) {
      craft.idToken = (claims) => `${encode({ alg, kid: 'k1' })}.${encode(claims)}${signature}`;
      nobody(await login());
    }
    craft.idToken = (claims) => craft.key.sign({ alg, kid: 'k1' }, claims);
    nobody(await login());
  });

  test.each(['HS256', 'HS384', 'HS512'])(
    'with %s and the public key as secret is none, also where the issuer offers it',
    async (alg) => {
      const key = makeKey('RS256');
      const { craft, login } = await forge({
        key,
        metadata: { id_token_signing_alg_values_supported: ['RS256', alg] },
      });
      const pem = key.publicKey.export({ type: 'spki', format: 'pem' });
      const der = key.publicKey.export({ type: 'spki', format: 'der' });
      for (const secret of [pem, String(pem).trim(), der, JSON.stringify(key.jwk), String(key.jwk.n), clientId, '']) {
        craft.idToken = (claims) => mac(secret, { alg, kid: 'k1' }, claims);
        nobody(await login());
      }
      // Nor with a secret among the keys.
      craft.keys = [{ kty: 'oct', kid: 'k1', k: encode('secret'), use: 'sig', alg }];
      craft.idToken = (claims) => mac('secret', { alg, kid: 'k1' }, claims);
      nobody(await login());
    },
  );

  test('by an algorithm that the issuer does not use for ID tokens is none', async () => {
    const rsa = makeKey('RS256', 'k2');
    const { craft, login } = await forge();
    craft.keys = [craft.key.jwk, rsa.jwk];
    craft.idToken = (claims) => rsa.sign({ alg: 'RS256', kid: 'k2' }, claims);
    nobody(await login());
    // OpenID Connect Discovery §3 has it required; RS256 is the default.
    craft.metadata = { id_token_signing_alg_values_supported: undefined };
    known(await (await forge({ ...craft })).login());
    nobody(
      await (
        await forge({ ...craft, idToken: (claims) => craft.key.sign({ alg: 'ES256', kid: 'k1' }, claims) })
      ).login(),
    );
  });

  test('by a key that is for something else, too short, or not the one that is named, is none', async () => {
    const { craft, login } = await forge();
    const { jwk } = craft.key;
    for (const keys of [
      [{ ...jwk, use: 'enc' }],
      [{ ...jwk, key_ops: ['encrypt'] }],
      [{ ...jwk, alg: 'ES384' }],
      [{ ...jwk, kid: 'k2' }],
      [rogue.jwk],
      [null],
      [{ ...jwk, x: rogue.jwk.x }],
      [{ kty: 'EC', kid: 'k1', crv: 'P-256' }],
    ]) {
      craft.keys = keys;
      nobody(await login());
    }
    craft.keys = [jwk];
    known(await login());
    const short = makeKey('RS256', 'k1', 1024);
    nobody(await loginOf({ key: short }));
  });

  test('covers every character of what is signed: with any one of them changed it is none', async () => {
    const { craft, login } = await forge();
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=. \n';
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.constantFrom(...alphabet), fc.boolean(), async (place, character, insert) => {
        let same = false;
        craft.idToken = (claims) => {
          const token = craft.key.sign({ alg: 'ES256', kid: 'k1' }, claims);
          const at = place % token.lastIndexOf('.');
          const changed = token.slice(0, at) + character + token.slice(insert ? at : at + 1);
          same = changed === token;
          return changed;
        };
        const result = await login();
        if (same) known(result);
        else nobody(result);
      }),
      { numRuns: 300 },
    );
  });

  test('that is all zeros is none', async () => {
    const zeros = Buffer.alloc(64).toString('base64url');
    nobody(await loginOf({ idToken: (claims) => `${encode({ alg: 'ES256', kid: 'k1' })}.${encode(claims)}.${zeros}` }));
  });

  test('is judged by the keys as they are now: a new one is known at once, a removed one is not', async () => {
    const { craft, login } = await forge();
    known(await login());
    const [old, next] = [craft.key, makeKey('ES256', 'k2')];
    craft.key = next;
    craft.keys = [old.jwk, next.jwk];
    known(await login());
    craft.keys = [next.jwk];
    craft.key = old;
    nobody(await login());
    craft.key = next;
    known(await login());
  });

  test('of a token that is encrypted, or inside another, is none', async () => {
    const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    expect(publicKey.asymmetricKeyType).toBe('rsa');
    const jwe = [encode({ alg: 'RSA-OAEP', enc: 'A256GCM', cty: 'JWT' }), 'AAAA', 'AAAA', 'AAAA', 'AAAA'].join('.');
    nobody(await loginOf({ idToken: () => jwe }));
    nobody(await loginOf({ idToken: () => `${encode({ alg: 'dir', enc: 'A256GCM' })}..AAAA.AAAA.AAAA` }));
    const { craft, login } = await forge();
    const inner = (claims: object) => craft.key.sign({ alg: 'ES256', kid: 'k1' }, { ...claims });
    craft.idToken = (claims) => craft.key.sign({ alg: 'ES256', kid: 'k1', cty: 'JWT' }, inner(claims));
    nobody(await login());
    craft.idToken = (claims) => craft.key.sign({ alg: 'ES256', kid: 'k1', cty: 'JWT' }, JSON.stringify(inner(claims)));
    nobody(await login());
  });
});

describe('checklist 4: an ID token', () => {
  test.each<[string, (url: string) => Record<string, unknown>]>([
    ['of another issuer', () => ({ iss: 'https://evil.example' })],
    ['of an issuer that only looks the same', (url) => ({ iss: `${url}/` })],
    ['of several issuers', (url) => ({ iss: [url] })],
    ['of no issuer', () => ({ iss: undefined })],
    ['for another client', () => ({ aud: 'other' })],
    ['for a client whose name ours begins with', () => ({ aud: clientId.slice(0, -1) })],
    ['for several others', () => ({ aud: ['a', 'b'] })],
    ['for nobody', () => ({ aud: undefined })],
    ['for nobody, in a list', () => ({ aud: [] })],
    ['for an object', () => ({ aud: { [clientId]: true } })],
    ['for us inside a longer list', () => ({ aud: [[clientId]] })],
    ['for us and others, without saying whom it was given to', () => ({ aud: [clientId, 'other'] })],
    ['for us, but given to another (azp)', () => ({ azp: 'other' })],
    ['for us and others, but given to another (azp)', () => ({ aud: [clientId, 'other'], azp: 'other' })],
    ['given to a list (azp)', () => ({ azp: [clientId] })],
    ['given to nobody (azp)', () => ({ azp: null })],
    ['that expired a minute ago', () => ({ exp: seconds() - 60 })],
    ['that expired in 1970', () => ({ exp: 0 })],
    ['that never expires', () => ({ exp: undefined })],
    ['whose end is text', () => ({ exp: String(seconds() + 600) })],
    ['that is not valid yet', () => ({ nbf: seconds() + 600 })],
    ['of a time to come', () => ({ iat: seconds() + 600 })],
    ['of no time', () => ({ iat: undefined })],
    ['whose time is text', () => ({ iat: String(seconds()) })],
    ['whose time is without end', () => ({ iat: 1e308 * 10 })],
    ['with a nonce that nobody sent', () => ({ nonce: 'n' })],
    ['with an empty nonce', () => ({ nonce: '' })],
    ['with no nonce at all, but null', () => ({ nonce: null })],
    ['of nobody', () => ({ sub: undefined })],
    ['of nobody, in quotes', () => ({ sub: '' })],
    ['of null', () => ({ sub: null })],
    ['of a number', () => ({ sub: 1000 })],
    ['of a list', () => ({ sub: ['alice'] })],
    ['of an object', () => ({ sub: { toString: 'alice' } })],
    ['of somebody with a line of their own', () => ({ sub: 'alice\nroot' })],
    ['of somebody with a NUL', () => ({ sub: 'alice\0' })],
    ['of somebody with blanks around', () => ({ sub: ' alice' })],
    ['of somebody who is turned around', () => ({ sub: 'alice\u202E' })],
    ['of somebody whose name never ends', () => ({ sub: 'a'.repeat(256) })],
  ])('%s is nobody’s', async (_, claims) => {
    const { url, craft, login } = await forge();
    craft.claims = claims(url);
    nobody(await login());
  });

  // Of the moment at which each runs: the others before it may take their time.
  test.each<[string, () => Record<string, unknown>]>([
    ['that expired ten seconds ago, for clocks differ', () => ({ exp: seconds() - 10 })],
    ['of ten seconds to come, for clocks differ', () => ({ iat: seconds() + 10, nbf: seconds() + 10 })],
    ['for us alone, in a list', () => ({ aud: [clientId] })],
    ['for us and others, given to us', () => ({ aud: ['other', clientId], azp: clientId })],
    ['of a long name', () => ({ sub: 'a'.repeat(255) })],
    ['of a name like CILogon’s', () => ({ sub: 'http://cilogon.org/serverE/users/4711' })],
  ])('%s is good', async (_, make) => {
    const claims = make();
    known(await loginOf({ claims }), claims);
  });

  test('with the nonce that was sent is good, with another it is not, and without it is', async () => {
    const { craft, login } = await forge();
    known(await login('n-1'));
    craft.claims = { nonce: 'n-1' };
    known(await login('n-1'));
    nobody(await login('n-2'), 'protocol', /another request/);
    nobody(await login(), 'protocol', /another request/);
  });

  test('is read once: where a key is there twice, what is judged is what counts', async () => {
    const { craft, login, url } = await forge();
    const twice = (first: string, second: string) =>
      `{"sub":"${first}","iss":"${url}","aud":"${clientId}","iat":${seconds()},"exp":${seconds() + 600},"sub":"${second}"}`;
    craft.idToken = () => craft.key.sign({ alg: 'ES256', kid: 'k1' }, twice('root', 'alice'));
    expect(known(await login()).sub).toBe('alice');
    craft.idToken = () =>
      craft.key.sign(
        { alg: 'ES256', kid: 'k1' },
        `{"iss":"${url}",${twice('x', 'alice').slice(1, -1)},"iss":"https://evil.example"}`,
      );
    nobody(await login());
    craft.idToken = (claims) => craft.key.sign('{"alg":"ES256","kid":"k1","alg":"none"}', claims);
    nobody(await login());
    // And of two tokens in one answer.
    const forged = rogue.sign(
      { alg: 'ES256', kid: 'k1' },
      { iss: url, sub: 'root', aud: clientId, iat: seconds(), exp: seconds() + 600 },
    );
    craft.idToken = (claims) => craft.key.sign({ alg: 'ES256', kid: 'k1' }, claims);
    craft.answer = `{"access_token":"access-0123456789","token_type":"Bearer","id_token":"${forged}","id_token":"%"}`;
    expect(known(await login()).sub).toBe('alice');
    craft.answer = `{"access_token":"access-0123456789","token_type":"Bearer","id_token":"%","id_token":"${forged}"}`;
    nobody(await login());
  });

  test('that is no object, or no JSON, or no UTF-8, is nobody’s', async () => {
    const { craft, login } = await forge();
    for (const payload of [
      '[]',
      'null',
      '"alice"',
      '1',
      '',
      '{',
      '{"sub":"alice"',
      '\uFFFE',
      `${'['.repeat(100_000)}`,
    ]) {
      craft.idToken = () => craft.key.sign({ alg: 'ES256', kid: 'k1' }, payload);
      nobody(await login());
    }
  });

  test('with keys that every object has changes nothing for anybody', async () => {
    const { craft, login, url } = await forge({
      userinfo: { headers: { 'content-type': 'application/json' }, body: '' },
    });
    const odd =
      '"__proto__":{"groups":["admin"],"email_verified":true},"constructor":{"prototype":{"groups":["admin"]}},"hasOwnProperty":1,"toString":null';
    craft.idToken = () =>
      craft.key.sign(
        { alg: 'ES256', kid: 'k1' },
        `{"iss":"${url}","sub":"alice","aud":"${clientId}","iat":${seconds()},"exp":${seconds() + 600},${odd}}`,
      );
    craft.userinfo = { headers: { 'content-type': 'application/json' }, body: `{"sub":"alice",${odd}}` };
    const { claims } = known(await login());
    expect(claims.groups).toBeUndefined();
    expect(claims.email_verified).toBeUndefined();
    expect(({} as Record<string, unknown>).groups).toBeUndefined();
    expect(Object.getPrototypeOf(claims)).toBe(Object.prototype);
  });

  test('that is too large, or nested too deep, is nobody’s', async () => {
    nobody(await loginOf({ claims: { padding: 'x'.repeat(600_000) } }));
    const deep = '['.repeat(120_000) + ']'.repeat(120_000);
    const { craft, login } = await forge();
    craft.answer = `{"access_token":"access-0123456789","token_type":"Bearer","x":${deep},"id_token":"%"}`;
    nobody(await login());
    craft.answer = undefined;
    known(await login());
  });
});

describe('checklist 12: an issuer’s metadata', () => {
  test('may send us to other hosts only where they are configured', async () => {
    for (const name of ['token_endpoint', 'device_authorization_endpoint', 'jwks_uri', 'userinfo_endpoint']) {
      const elsewhere = await forge();
      const served = `${elsewhere.url}/${name.split('_')[0]}`;
      const metadata = { [name]: name === 'jwks_uri' ? `${elsewhere.url}/jwks` : served };
      const { craft, login, url, loginBy } = await forge({ metadata });
      // The other host is good for everything: it has the same keys, and gives the same tokens.
      elsewhere.craft.keys = [craft.key.jwk];
      elsewhere.craft.key = craft.key;
      elsewhere.craft.claims = { iss: url };
      nobody(await login(), 'protocol', /name an endpoint at another host: http:\/\/127\.0\.0\.1/);
      const { host } = new URL(elsewhere.url);
      elsewhere.craft.userinfo = { body: { sub: 'alice' } };
      known(await loginBy({ endpointHosts: ['x.example', host] }), { sub: 'alice' });
      nobody(await loginBy({ endpointHosts: ['127.0.0.1', `x${host}`] }));
      if (name === 'token_endpoint') known(await loginBy({ tokenUrl: served }), { sub: 'alice' });
    }
  });
});

describe('checklist 12: an issuer’s userinfo endpoint', () => {
  test('over plain http to elsewhere is not asked, not even where its host is configured', async () => {
    const metadata = { userinfo_endpoint: 'http://issuer.example/userinfo' };
    const { login, loginBy } = await forge({ metadata });
    nobody(await login(), 'protocol', /another host: http:\/\/issuer\.example/);
    nobody(await loginBy({ endpointHosts: ['issuer.example'] }), 'protocol', /without https: http:\/\/issuer\.example/);
  });

  test.each([[5], [{}], ['x'], [''], [null], [['x']], ['javascript:x']])(
    'that makes no sense says nobody: %j',
    async (value) => {
      nobody(await loginOf({ metadata: { userinfo_endpoint: value } }));
    },
  );
});

describe('checklist 4: userinfo', () => {
  const says = (body: Readonly<Record<string, unknown>>) => ({ body });

  test('of the same sub adds its claims; those of the ID token count before', async () => {
    const { craft, login } = await forge({
      userinfo: says({ sub: 'alice', groups: ['x'], eppn: 'alice@uni.example' }),
    });
    craft.claims = { groups: ['y'] };
    expect(known(await login(), { groups: ['y'], eppn: 'alice@uni.example' }).userinfo).toBe('merged');
  });

  test.each([
    ['of another sub', { sub: 'root' }],
    ['of a sub in other letters', { sub: 'Alice' }],
    ['of no sub', { preferred_username: 'alice' }],
    ['of a list of subs', { sub: ['alice'] }],
    ['of a sub with something behind it', { sub: 'alice ' }],
    ['of null', { sub: null }],
  ])('%s says nobody', async (_, body) => {
    nobody(await loginOf({ userinfo: says(body) }));
  });

  test('that may not be asked adds nothing, and that fails says nobody', async () => {
    for (const status of [401, 403]) {
      const found = known(await loginOf({ userinfo: { status, body: { sub: 'alice', groups: ['admin'] } } }));
      expect(found).toMatchObject({ userinfo: 'refused' });
      expect(found.claims.groups).toBeUndefined();
    }
    for (const status of [500, 503, 429]) nobody(await loginOf({ userinfo: { status, body: 'no' } }), 'transient');
    nobody(await loginOf({ userinfo: { status: 404, body: 'no' } }), 'refused');
    nobody(await loginOf({ userinfo: { status: 200, body: '<html>' } }));
    nobody(await loginOf({ userinfo: { status: 200, headers: { 'content-type': 'application/json' }, body: '[]' } }));
    nobody(await loginOf({ userinfo: { status: 204 } }), 'refused');
    nobody(await loginOf({ userinfo: { body: { sub: 'alice', padding: 'x'.repeat(600_000) } } }));
  });

  test('checklist 12: that sends us elsewhere is not followed', async () => {
    const elsewhere = await serve(() => ({ '/': { body: { sub: 'alice', groups: ['admin'] } } }));
    for (const status of [301, 302, 307, 308])
      nobody(
        await loginOf({ userinfo: { status, headers: { location: `${elsewhere.url}/` } } }),
        'protocol',
        /elsewhere/,
      );
    expect(elsewhere.asked).toEqual([]);
  });

  test('that is a JWT is verified like an ID token', async () => {
    const jwt = { 'content-type': 'application/jwt' };
    const { craft, login, url } = await forge({
      userinfo: { body: '' },
      metadata: { userinfo_signing_alg_values_supported: ['ES256', 'none', 'HS256'] },
    });
    const answer = (token: string) => {
      craft.userinfo = { headers: jwt, body: token };
      return login();
    };
    const header = { alg: 'ES256', kid: 'k1' };
    const claims = { iss: url, aud: clientId, sub: 'alice', groups: ['x'] };
    known(await answer(craft.key.sign(header, claims)), { groups: ['x'] });
    nobody(await answer(rogue.sign(header, claims)));
    nobody(await answer(`${encode({ alg: 'none' })}.${encode(claims)}.`));
    nobody(await answer(mac(JSON.stringify(craft.key.jwk), { alg: 'HS256', kid: 'k1' }, claims)));
    nobody(await answer(craft.key.sign(header, { ...claims, sub: 'root' })));
    nobody(await answer(craft.key.sign(header, { ...claims, iss: 'https://evil.example' })));
    nobody(await answer(craft.key.sign(header, { ...claims, aud: 'other' })));
    nobody(await answer(craft.key.sign(header, { ...claims, exp: seconds() - 600 })));
  });

  test('says whether an address is verified only of the address that it names', async () => {
    const emailOf = async (signed: object, more: object) => {
      const { claims } = known(await loginOf({ claims: { ...signed }, userinfo: says({ sub: 'alice', ...more }) }));
      return [claims.email, claims.email_verified];
    };
    const [mine, theirs] = ['alice@uni.example', 'root@uni.example'];
    expect(await emailOf({}, { email: mine, email_verified: true })).toEqual([mine, true]);
    expect(await emailOf({ email: mine }, { email: mine, email_verified: true })).toEqual([mine, true]);
    expect(await emailOf({ email: theirs }, { email: mine, email_verified: true })).toEqual([theirs, undefined]);
    expect(await emailOf({ email: theirs }, { email_verified: true })).toEqual([theirs, undefined]);
    expect(await emailOf({ email_verified: true }, { email: theirs })).toEqual([theirs, undefined]);
    expect(await emailOf({ email: mine, email_verified: false }, { email: mine, email_verified: true })).toEqual([
      mine,
      false,
    ]);
  });
});
