import type { LookupAddress } from 'node:dns';
import { connect, type Socket } from 'node:net';
import { Worker } from 'node:worker_threads';
import type { Certificates } from './certificates.js';
import { type Answer, type Asked, type Fault, serve } from './served.js';
import { covers, makeSigner, secret } from './signer.js';

/*
 * A Vault with the OAuth plugin, as far as htgettoken and the credmons go, by the servers' own code:
 *
 * - the plugin: openbao/openbao-plugin-secrets-oauthapp, pkg/backend/path_creds.go, path_sts.go, token.go (3.4.0, which
 *   fermitools/htvault-config 2.4 installs); reading `creds` takes `minimum_seconds` alone, `sts` also `scopes` and
 *   `audiences` as comma-separated lists;
 * - its paths and policies: fermitools/htvault-config, libexec/*policy.template;
 * - the envelope and the errors: https://developer.hashicorp.com/vault/api-docs, `{"errors": […]}` for any failure.
 */

export interface VaultOptions {
  /** A real one listens on 8200. 0, the default, takes a free one. */
  readonly port?: number;
  /** Where it listens, each with the same port; default 127.0.0.1 alone. */
  readonly addresses?: readonly string[];
  /** Addresses of the same name where connections are never answered: to connect there takes until the client gives up. */
  readonly dead?: readonly string[];
  /** Addresses of the same name where connections are refused. */
  readonly closed?: readonly string[];
  /** Default localhost. */
  readonly hostname?: string;
  /** Real ones are https always. */
  readonly tls?: Certificates;
  readonly accessTokenFormat?: 'jwt' | 'opaque';
  /** Seconds an access token of the issuer behind it lives, default 3 hours; undefined: the issuer does not say. */
  readonly accessTokenLife?: number | undefined;
  /** Clock of lifetimes and records, epoch milliseconds. */
  readonly now?: () => number;
}

/** What somebody has logged in for. */
interface VaultCredential {
  /** Where to read it, as `--showbearerurl` of htgettoken prints it. */
  readonly url: string;
  /** Where to read it with fewer scopes or another audience. */
  readonly stsUrl: string;
  /** What the issuer behind the Vault says to refreshes and exchanges from now on; undefined: it serves them. */
  refusal: string | undefined;
  /** Nobody has it any more. */
  remove(): void;
}

export interface Vault {
  readonly url: string;
  readonly port: number;
  /** All addresses of its name: the dead ones, the closed ones, and those where it is. */
  readonly addresses: readonly string[];
  /** In the shape of `dns.lookup` with `all`: the host has these addresses. */
  readonly lookup: (host: string, options: object, done: (error: null, found: LookupAddress[]) => void) => void;
  readonly requests: readonly Asked[];
  /** How often the issuer behind it was asked. */
  readonly counts: { readonly refreshes: number; readonly exchanges: number };
  latency: number;
  credential(of: {
    issuer: string;
    user: string;
    role?: string;
    scopes?: readonly string[];
    audience?: string;
  }): VaultCredential;
  /** A vault token that may read these credentials. */
  token(...credentials: readonly VaultCredential[]): string;
  /** From now on the token is as if it never was: revoked and expired ones look the same. */
  revoke(token: string): void;
  next(...faults: readonly Fault[]): void;
  always(fault: Fault | undefined): void;
  stop(): Promise<void>;
}

const errors = (status: number, ...texts: string[]): Answer => ({ status, body: { errors: texts } });

/** Failures that need no cause of their own, for `next` and `always`. */
export const vaultFaults = {
  sealed: errors(503, 'Vault is sealed'),
  internal: errors(500, '1 error occurred:\n\t* internal error\n\n'),
  /** A policy says no to a good token. */
  forbidden: errors(403, '1 error occurred:\n\t* permission denied\n\n'),
  /** As before Vault 1.13. */
  denied: errors(403, 'permission denied'),
  /** A proxy in front of it, say. */
  forbiddenByProxy: { status: 403, body: '<html><body><h1>403 Forbidden</h1></body></html>' },
  limited: {
    ...errors(429, 'request path "secret/oauth/creds": rate limit quota exceeded'),
    headers: { 'retry-after': '7' },
  },
  gateway: { status: 502, body: '<html><body><h1>502 Bad Gateway</h1></body></html>' },
  noToken: { status: 200, body: { request_id: 'r', data: { type: 'Bearer' }, warnings: null } },
  noData: { status: 200, body: { request_id: 'r', data: null, warnings: ['nothing there'] } },
  notJson: { status: 200, body: 'welcome' },
  redirect: { status: 307, headers: { location: 'https://evil.example:8200/v1/secret/oauth/creds/x' } },
} satisfies Record<string, Answer>;

interface Issued {
  readonly token: string;
  /** Epoch milliseconds; undefined: unknown. */
  readonly expires: number | undefined;
}

interface Held {
  readonly credential: VaultCredential;
  readonly issuer: string;
  readonly user: string;
  readonly scopes: readonly string[];
  readonly audience: string;
  /** By what was asked of `sts`; of `creds` under the empty name. */
  readonly issued: Map<string, Issued>;
}

const mount = '/v1/secret/oauth';
/** "A bit of leeway": pkg/backend/token.go. */
const leeway = 10;

export async function startVault(options: VaultOptions = {}): Promise<Vault> {
  const { tls, hostname = 'localhost', addresses = ['127.0.0.1'], dead = [], now = Date.now } = options;
  const life = 'accessTokenLife' in options ? options.accessTokenLife : 3 * 3600;
  const signer = makeSigner('vault-issuer');
  const counts = { refreshes: 0, exchanges: 0 };
  const credentials = new Map<string, Held>();
  const tokens = new Map<string, ReadonlySet<VaultCredential>>();

  function read({ method, path, headers, query }: Asked): Answer {
    if (method !== 'GET') return errors(405, '1 error occurred:\n\t* unsupported operation\n\n');
    const may = tokens.get(`${headers['x-vault-token']}`);
    if (may === undefined) return errors(403, '2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n');
    const [, kind, name = ''] = /^\/v1\/secret\/oauth\/(creds|sts)\/(.+)$/.exec(decodeURIComponent(path)) ?? [];
    const held = credentials.get(name);
    // A policy names paths, whether or not there is something at them.
    const allowed = [...may].some(({ url }) => url.endsWith(`${mount}/creds/${name}`));
    if (kind === undefined || !allowed) return vaultFaults.forbidden;
    if (held === undefined) return { status: 404, body: { errors: [] } };
    const least = Math.max(leeway, Number(query.minimum_seconds ?? 0));
    if (!Number.isInteger(least)) {
      return errors(
        400,
        `error converting input for field "minimum_seconds": strconv.ParseInt: parsing "${query.minimum_seconds}"`,
      );
    }
    return kind === 'creds' ? readCreds(held, least) : readSts(held, least, query);
  }

  /** The access token it has, while that lives long enough, else a new one. The scopes asked for are not looked at. */
  function readCreds(held: Held, least: number): Answer {
    const { credential, issuer, scopes, audience } = held;
    const kept = held.issued.get('');
    if (!lasts(kept, least) && credential.refusal === undefined) {
      counts.refreshes++;
      held.issued.set('', issue(held, scopes, audience));
    }
    const issued = held.issued.get('');
    const why = `refresh failed: ${credential.refusal}`;
    if (issued === undefined || !lasts(issued, least)) {
      return errors(400, credential.refusal === undefined ? 'token expired' : why);
    }
    return found({ server: issuer, ...dataOf(issued) }, credential.refusal && `token will expire: ${why}`);
  }

  /** RFC 8693 with the access token of `creds`, which has to last as long itself. */
  function readSts(held: Held, least: number, query: Readonly<Record<string, string>>): Answer {
    const first = readCreds(held, least);
    if (first.status !== 200) return first;
    const scopes = list(query.scopes) ?? held.scopes;
    const audience = list(query.audiences)?.join(' ') ?? held.audience;
    const beyond = scopes.some((scope) => !held.scopes.some((one) => covers(one, scope)));
    const refusal = held.credential.refusal ?? (beyond ? 'invalid_scope' : undefined);
    const name = `scopes=${scopes.join(' ')},audiences=${audience}`;
    if (!lasts(held.issued.get(name), least)) {
      if (refusal !== undefined) return errors(400, `exchange failed: ${refusal}`);
      counts.exchanges++;
      held.issued.set(name, issue(held, scopes, audience));
    }
    const issued = held.issued.get(name);
    return issued && lasts(issued, least) ? found(dataOf(issued)) : errors(400, 'token expired');
  }

  const lasts = (issued: Issued | undefined, least: number): boolean =>
    issued !== undefined && (issued.expires === undefined || issued.expires - least * 1000 >= now());

  function issue(held: Held, scopes: readonly string[], audience: string): Issued {
    const iat = Math.floor(now() / 1000);
    const exp = life === undefined ? undefined : iat + life;
    const claims = { iss: `https://${held.issuer}.example`, sub: held.user, scope: scopes.join(' '), aud: audience };
    const jwt = () => signer.sign({ ...claims, iat, nbf: iat, exp, 'wlcg.ver': '1.0' });
    const token = options.accessTokenFormat === 'opaque' ? secret('access') : jwt();
    return { token, expires: exp === undefined ? undefined : exp * 1000 };
  }

  const served = await serve({
    ...{ port: options.port, addresses, hostname, tls, now },
    endpoint: (_, path) => (path.startsWith('/v1/') ? 'read' : undefined),
    answer: (asked) => (asked.endpoint ? read(asked) : { status: 404, body: '404 page not found' }),
  });
  const holes = await Promise.all(dead.map((address) => dig(address, served.port)));
  const all = [...dead, ...(options.closed ?? []), ...addresses];

  return {
    ...{ url: served.url, port: served.port, addresses: all, requests: served.requests, counts },
    get latency() {
      return served.latency;
    },
    set latency(milliseconds) {
      served.latency = milliseconds;
    },
    lookup: (_, __, done) =>
      done(
        null,
        all.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
      ),
    credential: ({
      issuer,
      user,
      role = 'default',
      scopes = ['storage.read:/'],
      audience = 'https://wlcg.cern.ch/jwt/v1/any',
    }) => {
      const name = `${issuer}/${user}:${role}`;
      const credential: VaultCredential = {
        url: `${served.url}${mount}/creds/${name}`,
        stsUrl: `${served.url}${mount}/sts/${name}`,
        refusal: undefined,
        remove: () => void credentials.delete(name),
      };
      credentials.set(name, { credential, issuer, user, scopes, audience, issued: new Map() });
      return credential;
    },
    token: (...may) => {
      const token = secret('hvs.test');
      tokens.set(token, new Set(may));
      return token;
    },
    revoke: (token) => void tokens.delete(token),
    next: (...faults) => served.next('read', ...faults),
    always: (fault) => served.always('read', fault),
    stop: async () => {
      await Promise.all([served.stop(), ...holes.map((fill) => fill())]);
    },
  };
}

function found(data: object, warning?: string): Answer {
  const lease = { lease_id: '', renewable: false, lease_duration: 0 };
  const rest = { wrap_info: null, warnings: warning ? [warning] : null, auth: null };
  return { status: 200, body: { request_id: secret('request'), ...lease, data, ...rest } };
}

/** Go writes times with nanoseconds, which JavaScript reads as milliseconds. */
function dataOf({ token, expires }: Issued): object {
  const expire_time = expires && new Date(expires).toISOString().replace('Z', '123456Z');
  return { access_token: token, type: 'Bearer', ...(expire_time && { expire_time }) };
}

function list(value: string | undefined): string[] | undefined {
  return value === undefined ? undefined : value.split(',').map((one) => one.trim());
}

/**
 * A place where a connection is neither made nor refused; resolves with what ends it.
 *
 * A listener that takes no connection off its queue: once the queue is full, Linux drops each SYN (listen(2),
 * tcp_abort_on_overflow 0). Node's takes them off by itself, so its thread is made to sleep right after `listen`.
 */
async function dig(address: string, port: number): Promise<() => Promise<void>> {
  const code = `
    const { parentPort, workerData } = require('node:worker_threads');
    require('node:net').createServer().listen({ ...workerData, backlog: 1 }, () => {
      parentPort.postMessage('up');
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    });`;
  const worker = new Worker(code, { eval: true, workerData: { host: address, port } });
  await new Promise((done, failed) => void worker.once('message', done).once('error', failed));
  const waiting: Socket[] = [];
  for (let full = false; !full && waiting.length < 10; ) {
    const socket = connect(port, address).on('error', () => {});
    waiting.push(socket);
    full = await new Promise<boolean>((done) => {
      const timer = setTimeout(() => done(true), 150);
      socket.once('connect', () => {
        clearTimeout(timer);
        done(false);
      });
    });
  }
  return async () => {
    for (const socket of waiting) socket.destroy();
    await worker.terminate();
  };
}
