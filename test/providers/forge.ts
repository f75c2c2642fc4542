import { createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { type Failure, failureOf } from '../../src/core/failure.js';
import type { Identity } from '../../src/core/identity.js';
import type { Clock, Issuer } from '../../src/core/ports.js';
import type { Provider } from '../../src/core/provider.js';
import { systemClock } from '../../src/system/clock.js';
import { never, open, type Reply, serve } from './kit.js';

type Json = Readonly<Record<string, unknown>>;

export interface Key {
  /** The public part as RFC 7517 writes it. */
  readonly jwk: Json;
  readonly publicKey: KeyObject;
  /** A compact JWS (RFC 7515 §7.1) of these parts, as they stand where they are text. */
  sign(header: Json | string, payload: Json | string): string;
}

export const encode = (part: Json | string): string =>
  Buffer.from(typeof part === 'string' ? part : JSON.stringify(part)).toString('base64url');

export function makeKey(alg: 'ES256' | 'RS256', kid = 'k1', modulusLength = 2048): Key {
  const { privateKey, publicKey } =
    alg === 'ES256'
      ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
      : generateKeyPairSync('rsa', { modulusLength });
  return {
    publicKey,
    jwk: { ...publicKey.export({ format: 'jwk' }), kid, use: 'sig', alg },
    sign: (header, payload) => {
      const text = `${encode(header)}.${encode(payload)}`;
      const key = { key: privateKey, dsaEncoding: 'ieee-p1363' } as const;
      return `${text}.${sign('sha256', Buffer.from(text), key).toString('base64url')}`;
    },
  };
}

/** HS256 with anything as its secret. */
export function mac(secret: string | Buffer, header: Json, payload: Json): string {
  const text = `${encode(header)}.${encode(payload)}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

/** What an issuer under our thumb does; all of it may be changed between two logins. */
export interface Craft {
  key: Key;
  keys: readonly unknown[];
  metadata: Json;
  /** Beside or instead of the usual claims of the ID token; undefined leaves one out. */
  claims: Json;
  /** What is sent as `id_token`; by default the claims signed with `key`. */
  idToken: (claims: Json, craft: Craft) => unknown;
  /** The token answer as text, with the ID token for `%`. */
  answer: string | undefined;
  userinfo: Reply | undefined;
  jwks: Reply | undefined;
}

export interface Forge {
  readonly url: string;
  readonly craft: Craft;
  readonly issuer: Issuer;
  /** Approved by somebody: who that is, or why not. */
  login(nonce?: string): Promise<Identity | Failure>;
  /** The same by a client that is configured otherwise. */
  loginBy(more: Partial<Provider>): Promise<Identity | Failure>;
  /** How often an endpoint was asked. */
  asked(path: string): number;
}

export const clientId = 'public-cli';

/** An issuer that gives a token for the asking, made as `change` says. */
export async function forge(change: Partial<Craft> = {}, clock: Clock = systemClock): Promise<Forge> {
  const key = change.key ?? makeKey('ES256');
  const craft: Craft = {
    key,
    keys: [key.jwk],
    metadata: {},
    claims: {},
    idToken: (claims, { key: now }) => now.sign({ alg: now.jwk.alg, kid: now.jwk.kid, typ: 'JWT' }, claims),
    answer: undefined,
    userinfo: undefined,
    jwks: undefined,
    ...change,
  };
  const json = { 'content-type': 'application/json' };
  const { url, asked } = await serve((url) => ({
    '/.well-known/openid-configuration': () => ({
      body: {
        issuer: url,
        token_endpoint: `${url}/token`,
        device_authorization_endpoint: `${url}/device`,
        jwks_uri: `${url}/jwks`,
        authorization_endpoint: `${url}/authorize`,
        response_types_supported: ['code'],
        subject_types_supported: ['public'],
        id_token_signing_alg_values_supported: [key.jwk.alg],
        ...(craft.userinfo !== undefined && { userinfo_endpoint: `${url}/userinfo` }),
        ...craft.metadata,
      },
    }),
    '/jwks': () => craft.jwks ?? { body: { keys: craft.keys } },
    '/token': () => {
      const now = Math.floor(Date.now() / 1000);
      const usual = { iss: url, sub: 'alice', aud: clientId, iat: now, exp: now + 600, preferred_username: 'alice' };
      const idToken = craft.idToken({ ...usual, ...craft.claims }, craft);
      if (craft.answer !== undefined) return { headers: json, body: craft.answer.replaceAll('%', String(idToken)) };
      return { body: { access_token: 'access-0123456789', token_type: 'Bearer', expires_in: 600, id_token: idToken } };
    },
    '/userinfo': () => craft.userinfo ?? { status: 404 },
  }));
  const issuer = open({ issuer: url, clientId }, undefined, clock);
  return {
    url,
    craft,
    issuer,
    asked: (path) => asked.filter((one) => one.path === path).length,
    login: (nonce) => who(issuer, nonce),
    loginBy: (more) => who(open({ issuer: url, clientId, ...more }, undefined, clock)),
  };
}

async function who(issuer: Issuer, nonce?: string): Promise<Identity | Failure> {
  try {
    const token = await issuer.token('urn:x', { device_code: 'device-0123456789' }, { stop: never, identify: true });
    return await issuer.identity(token, { stop: never, ...(nonce !== undefined && { nonce }) });
  } catch (thrown) {
    const failure = failureOf(thrown);
    if (failure === undefined) throw thrown;
    return failure;
  }
}
