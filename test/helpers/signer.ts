import { createPublicKey, generateKeyPairSync, randomBytes, sign, verify } from 'node:crypto';
import { remember } from './overheard.js';

type Claims = Readonly<Record<string, unknown>>;

export interface Signer {
  /** The public key as RFC 7517 writes it. */
  readonly jwk: Claims;
  /** A JWT (ES256) with a `jti` of its own; claims that are undefined are left out. */
  sign(claims: Claims): string;
  /** The claims of a JWT signed here, whatever they say; undefined for all others. */
  read(token: string): Claims | undefined;
}

export function makeSigner(kid: string): Signer {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const encode = (json: Claims) => Buffer.from(JSON.stringify(json)).toString('base64url');
  return {
    jwk: { ...publicKey.export({ format: 'jwk' }), kid, use: 'sig', alg: 'ES256' },
    sign: (claims) => {
      const signed = `${encode({ alg: 'ES256', kid, typ: 'JWT' })}.${encode({ ...claims, jti: secret('jti') })}`;
      const key = { key: privateKey, dsaEncoding: 'ieee-p1363' } as const;
      return `${signed}.${sign('sha256', Buffer.from(signed), key).toString('base64url')}`;
    },
    read: (token) => {
      const [header, payload = '', signature = ''] = token.split('.');
      const key = { key: createPublicKey(privateKey), dsaEncoding: 'ieee-p1363' } as const;
      const good = verify('sha256', Buffer.from(`${header}.${payload}`), key, Buffer.from(signature, 'base64url'));
      return good ? (JSON.parse(Buffer.from(payload, 'base64url').toString()) as Claims) : undefined;
    },
  };
}

/** A value nobody can guess, which says what it is. */
export function secret(kind: string): string {
  return remember(`${kind}-${randomBytes(16).toString('base64url')}`);
}

/** `storage.read:/a` covers `storage.read:/a/b`, as WLCG tokens have it; any other scope covers itself only. */
export function covers(granted: string, asked: string): boolean {
  const [right, path] = granted.split(/:(.*)/s);
  const [askedRight, askedPath] = asked.split(/:(.*)/s);
  if (path === undefined || askedPath === undefined || right !== askedRight) return granted === asked;
  return askedPath === path || askedPath.startsWith(path.endsWith('/') ? path : `${path}/`);
}
