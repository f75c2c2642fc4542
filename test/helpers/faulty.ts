import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Certificates } from './certificates.js';
import type { Fault, Forgery, Json } from './faults.js';
import { remember } from './overheard.js';

type Endpoint = 'discovery' | 'device' | 'token' | 'revocation' | 'jwks';

export interface FaultyOptions {
  readonly port?: number;
  /** Makes it https, at `localhost`. */
  readonly tls?: Certificates;
  /** How many polls are answered `authorization_pending` before the token. Default 0. */
  readonly pending?: number;
  /** Seconds between polls in the device authorization answer. Default 1; not enforced. */
  readonly interval?: number;
  /** Seconds an access token lives, as `expires_in` says. Default 3600. */
  readonly expiresIn?: number;
  /** Whether a refresh replaces the refresh token. Default true. */
  readonly rotate?: boolean;
  /** Milliseconds before each answer. Default 0. */
  readonly latency?: number;
  /** Milliseconds between the work, such as a rotation, and the answer. Default 0. */
  readonly lag?: number;
  /** Milliseconds for which a replaced refresh token is taken as well, once or often, without that being reuse. Default 0. */
  readonly grace?: number;
  /** Clock of `iat` and `exp` in ID tokens and of `at` in the records, epoch milliseconds. */
  readonly now?: () => number;
}

/** A request as it came in. */
interface Recorded {
  readonly endpoint: Endpoint | undefined;
  readonly method: string;
  readonly path: string;
  /** The form, or nothing. */
  readonly params: Readonly<Record<string, string>>;
  readonly headers: IncomingHttpHeaders;
  /** Epoch milliseconds. */
  readonly at: number;
  /** How many without a fault had been answered when it came. */
  readonly answered: number;
  /** The name of the fault it met. */
  readonly fault: string | undefined;
  /** Of a refresh: which of those of {@link Faulty.grant} it was for, from 0 on. */
  readonly grant: number | undefined;
}

export interface Faulty {
  readonly url: string;
  readonly requests: readonly Recorded[];
  readonly counts: {
    /** Refresh tokens presented again after they had been replaced. */
    readonly reuse: number;
    /** Refreshes processed, whether or not the answer arrived. */
    readonly refreshes: number;
    /** The most requests that were ever open at the same time. */
    readonly peak: number;
  };
  /** Milliseconds before each answer. */
  latency: number;
  /** Milliseconds between the work and the answer. */
  lag: number;
  /** Milliseconds for which a replaced refresh token is taken as well. */
  grace: number;
  /** Seconds that the next access tokens live. */
  expiresIn: number;
  /** The next requests to `endpoint` meet these faults, one each. */
  next(endpoint: Endpoint, ...faults: readonly Fault[]): void;
  /** All requests to `endpoint` meet this one once the script is used up; undefined makes it healthy again. */
  always(endpoint: Endpoint, fault: Fault | undefined): void;
  /** A refresh token as if someone had logged in. */
  grant(scope?: string): string;
  /** Whether the issuer would accept this refresh token now. */
  accepts(refreshToken: string): boolean;
  /** How often its grant had been refreshed when this refresh or access token was made; undefined: it is none of ours. */
  generation(token: string): number | undefined;
  /** New connections find this certificate; those that there were are closed. */
  certify(tls: Certificates): void;
  /** Nobody listens at its port any more, and all connections are closed; it forgets nothing. */
  down(): Promise<void>;
  /** Again, at the same port. */
  up(): Promise<void>;
  stop(): Promise<void>;
}

const paths: Record<Endpoint, string> = {
  discovery: '/.well-known/openid-configuration',
  device: '/device_authorization',
  token: '/token',
  revocation: '/revoke',
  jwks: '/jwks',
};

interface Family {
  readonly number?: number;
  readonly scope: string;
  readonly clientId: string;
  readonly nonce: string | undefined;
  revoked: boolean;
  refreshes: number;
}

interface RefreshToken {
  readonly family: Family;
  /** When it was replaced by another, on the clock of the machine. */
  replaced: number | undefined;
}

type Answer = { readonly status: number; readonly body: Json };

const defaultScope = 'openid offline_access storage.read:/';

/** A small issuer that works, except where told not to. It knows no clients and checks no secrets. */
export async function startFaulty(options: FaultyOptions = {}): Promise<Faulty> {
  const { pending = 0, interval = 1, rotate = true, now = Date.now } = options;
  const signer = createSigner();
  const requests: Recorded[] = [];
  const counts = { reuse: 0, refreshes: 0, peak: 0 };
  const scripts = new Map<Endpoint, Fault[]>();
  const habits = new Map<Endpoint, Fault | undefined>();
  const devices = new Map<string, { polls: number; readonly family: Family }>();
  const refreshTokens = new Map<string, RefreshToken>();
  const generations = new Map<string, number>();
  let granted = 0;
  let open = 0;

  const handle = (request: IncomingMessage, response: ServerResponse) => void serve(request, response);
  const { tls } = options;
  const secure = tls && createTlsServer({ cert: tls.cert, key: tls.key }, handle);
  const server = secure ?? createServer(handle);
  const listen = (port: number) => new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  await listen(options.port ?? 0);
  const { port } = server.address() as AddressInfo;
  const url = tls ? `https://localhost:${port}` : `http://127.0.0.1:${port}`;

  const endpoints: Record<Endpoint, (params: Record<string, string>, clientId: string) => Answer> = {
    discovery: () =>
      ok({
        issuer: url,
        device_authorization_endpoint: url + paths.device,
        token_endpoint: url + paths.token,
        revocation_endpoint: url + paths.revocation,
        jwks_uri: url + paths.jwks,
        authorization_endpoint: `${url}/authorize`,
        response_types_supported: ['code'],
        subject_types_supported: ['public'],
        id_token_signing_alg_values_supported: ['ES256'],
      }),
    jwks: () => ok({ keys: [signer.jwk] }),
    device: ({ scope = defaultScope, nonce }, clientId) => {
      const device_code = secret('device');
      devices.set(device_code, { polls: 0, family: { scope, clientId, nonce, revoked: false, refreshes: 0 } });
      const page = `${url}/device`;
      const complete = `${page}?user_code=WDJB-MJHT`;
      const where = { verification_uri: page, verification_uri_complete: complete, user_code: 'WDJB-MJHT' };
      return ok({ device_code, ...where, expires_in: 300, interval });
    },
    token: (params) => (params.grant_type === 'refresh_token' ? refresh(params) : poll(params)),
    revocation: ({ token = '' }) => {
      const known = refreshTokens.get(token);
      if (known) known.family.revoked = true;
      return ok({});
    },
  };

  function poll({ device_code = '' }: Record<string, string>): Answer {
    const device = devices.get(device_code);
    if (device === undefined) return refuse('invalid_grant');
    if (device.polls++ < pending) return refuse('authorization_pending');
    devices.delete(device_code);
    return issue(device.family, remember(device.family));
  }

  /** RFC 9700 §4.14.2: a replaced token coming back ends its whole family. */
  function refresh({ refresh_token = '', scope }: Record<string, string>): Answer {
    const known = refreshTokens.get(refresh_token);
    if (known && !inTime(known)) {
      counts.reuse++;
      known.family.revoked = true;
    }
    if (known === undefined || known.family.revoked) return refuse('invalid_grant');
    counts.refreshes++;
    known.family.refreshes++;
    if (rotate) known.replaced ??= Date.now();
    return issue(known.family, rotate ? remember(known.family) : refresh_token, scope);
  }

  const inTime = ({ replaced }: RefreshToken): boolean =>
    replaced === undefined || Date.now() - replaced < faulty.grace;

  function remember(family: Family): string {
    const token = secret('refresh');
    refreshTokens.set(token, { family, replaced: undefined });
    generations.set(token, family.refreshes);
    return token;
  }

  function issue(family: Family, refresh_token: string, scope = family.scope): Answer {
    const iat = Math.floor(now() / 1000);
    const claims = { iss: url, sub: 'alice', aud: family.clientId, iat, exp: iat + 3600, nonce: family.nonce };
    const id_token = scope.split(' ').includes('openid') ? signer.sign(claims) : undefined;
    const tokens = { access_token: secret('access'), refresh_token, id_token };
    generations.set(tokens.access_token, family.refreshes);
    return ok({ ...tokens, token_type: 'Bearer', expires_in: faulty.expiresIn, scope });
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    counts.peak = Math.max(counts.peak, ++open);
    response.once('close', () => open--);
    const { method = '', headers } = request;
    const path = new URL(request.url ?? '/', url).pathname;
    const endpoint = (Object.keys(paths) as Endpoint[]).find((name) => paths[name] === path);
    const body = await text(request).catch(() => undefined);
    if (body === undefined) return;
    const params = Object.fromEntries(new URLSearchParams(body));
    const fault = endpoint && (scripts.get(endpoint)?.shift() ?? habits.get(endpoint));
    const grant = refreshTokens.get(params.refresh_token ?? '')?.family.number;
    requests.push({ endpoint, method, path, params, headers, at: now(), answered, fault: fault?.name, grant });

    const send = (status: number, json: Json) => {
      response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
      response.end(JSON.stringify(json));
    };
    if (faulty.latency > 0) await sleep(faulty.latency);
    // Nothing is rotated for those whose connections went down with it.
    if (isDown) return;
    if (endpoint === undefined) return send(404, { error: 'not_found' });
    const work = () => endpoints[endpoint](params, clientOf(headers, params));
    const answer = fault?.processed === false ? ok({}) : work();
    if (faulty.lag > 0) await sleep(faulty.lag);
    if (fault === undefined) answered++;
    if (fault) fault.act({ request, response, answer, send, sign: signer.sign });
    else send(answer.status, answer.body);
  }

  let isDown = false;
  let answered = 0;

  async function close(): Promise<void> {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  }

  const faulty: Faulty = {
    url,
    requests,
    counts,
    latency: options.latency ?? 0,
    lag: options.lag ?? 0,
    grace: options.grace ?? 0,
    expiresIn: options.expiresIn ?? 3600,
    next: (endpoint, ...faults) => void scripts.set(endpoint, [...(scripts.get(endpoint) ?? []), ...faults]),
    always: (endpoint, fault) => void habits.set(endpoint, fault),
    grant: (scope = defaultScope) =>
      remember({ number: granted++, scope, clientId: 'public-cli', nonce: undefined, revoked: false, refreshes: 0 }),
    accepts: (refreshToken) => {
      const known = refreshTokens.get(refreshToken);
      return known !== undefined && inTime(known) && !known.family.revoked;
    },
    generation: (token) => generations.get(token),
    certify: ({ cert, key }) => {
      secure?.setSecureContext({ cert, key });
      server.closeAllConnections();
    },
    down: () => {
      isDown = true;
      return close();
    },
    up: () => {
      isDown = false;
      return listen(port);
    },
    stop: close,
  };
  return faulty;
}

const ok = (body: Json): Answer => ({ status: 200, body });
const refuse = (error: string): Answer => ({ status: 400, body: { error } });
const secret = (kind: string): string => remember(`${kind}-${randomBytes(16).toString('base64url')}`);

/** RFC 6749 §2.3.1, in either form; the secret is not looked at. */
function clientOf({ authorization = '' }: IncomingHttpHeaders, params: Record<string, string>): string {
  const basic = /^Basic (.*)$/i.exec(authorization)?.[1];
  const name = basic && Buffer.from(basic, 'base64').toString().split(':')[0];
  return name ? decodeURIComponent(name) : (params.client_id ?? '');
}

/** ES256 (RFC 7518 §3.4), or what a forger would try instead. */
function createSigner() {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const encode = (json: Json) => Buffer.from(JSON.stringify(json)).toString('base64url');
  return {
    jwk: { ...publicKey.export({ format: 'jwk' }), kid: 'faulty', use: 'sig', alg: 'ES256' },
    sign: (claims: Json, how?: Forgery): string => {
      if (how === 'alg none') return `${encode({ alg: 'none' })}.${encode(claims)}.`;
      const signed = `${encode({ alg: 'ES256', kid: 'faulty', typ: 'JWT' })}.${encode(claims)}`;
      const key = { key: privateKey, dsaEncoding: 'ieee-p1363' } as const;
      const content = how === 'bad signature' ? `${signed}x` : signed;
      return `${signed}.${sign('sha256', Buffer.from(content), key).toString('base64url')}`;
    },
  };
}
