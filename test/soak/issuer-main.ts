/*
 * An issuer of the soak, as a process of its own: rotates at each refresh, misbehaves as it is told, and keeps account of
 * what becomes of its grants. Options come as JSON in the only argument, orders over the channel of `fork`.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { listen } from '../helpers/listen.js';

/** Those from `lost` on have rotated all the same. */
export type Mode = 'well' | 'slow' | 'down' | 'error' | 'busy' | 'hang' | 'reset' | 'lost' | 'half';

export interface SoakIssuerOptions {
  /** Of access tokens: seconds. */
  readonly life: number;
  /** Honours a refresh token until its successor is used, as issuers with a grace period have it. */
  readonly grace: boolean;
}

export interface SoakCounts {
  readonly refreshes: number;
  /** Refresh tokens that were presented after they had been replaced for good: what that ends is lost. */
  readonly reuse: number;
  /** When that was: milliseconds since 1970. */
  readonly reused: readonly number[];
  readonly failed: number;
}

export type Order =
  | { readonly what: 'mode'; readonly mode: Mode }
  | { readonly what: 'grant' }
  | { readonly what: 'accepts'; readonly tokens: readonly string[] }
  | { readonly what: 'counts' };

interface Family {
  /** The last number that was presented, and the last that was given. */
  base: number;
  latest: number;
  dead: boolean;
}

const { life, grace }: SoakIssuerOptions = JSON.parse(process.argv[2] ?? '{}');
const families: Family[] = [];
const counts = { refreshes: 0, reuse: 0, reused: [] as number[], failed: 0 };
let mode: Mode = 'well';

const tokenOf = (family: number, number: number): string => `soak-refresh.${family}.${number}.${'p'.repeat(60)}`;

function find(token: string): { readonly family: Family; readonly name: number; readonly number: number } | undefined {
  const [, name, number] = /^soak-refresh\.(\d+)\.(\d+)\.p+$/.exec(token) ?? [];
  const family = families[Number(name)];
  return family && { family, name: Number(name), number: Number(number) };
}

const isGood = ({ base, latest, dead }: Family, number: number): boolean =>
  !dead && number <= latest && (grace ? number >= base : number === latest);

function refresh(token: string): string | undefined {
  const found = find(token);
  if (found === undefined || found.family.dead) return undefined;
  const { family, name, number } = found;
  if (!isGood(family, number)) {
    counts.reuse++;
    counts.reused.push(Date.now());
    family.dead = true;
    return undefined;
  }
  counts.refreshes++;
  family.base = number;
  family.latest++;
  return tokenOf(name, family.latest);
}

function json(response: ServerResponse, status: number, body: object, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const now = mode;
  if (request.method === 'GET' && now === 'well') return json(response, 200, metadata());
  const body = await text(request).catch(() => undefined);
  if (body === undefined) return;
  if (now !== 'well' && now !== 'slow') counts.failed++;
  switch (now) {
    case 'down':
    case 'reset':
      return void request.socket.resetAndDestroy();
    case 'error':
      return json(response, 500 + Math.floor(4 * Math.random()), { error: 'server_error' });
    case 'busy':
      return json(response, 429, { error: 'temporarily_unavailable' }, { 'retry-after': '5' });
    case 'hang':
      return;
    default:
  }
  if (request.method === 'GET') return json(response, 200, metadata());
  const next = refresh(new URLSearchParams(body).get('refresh_token') ?? '');
  if (now === 'lost') return void request.socket.resetAndDestroy();
  if (next === undefined) return json(response, 400, { error: 'invalid_grant' });
  const answer = {
    access_token: `soak-access-${'x'.repeat(700)}`,
    token_type: 'Bearer',
    expires_in: life,
    refresh_token: next,
  };
  if (now === 'half') {
    const whole = JSON.stringify(answer);
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': whole.length });
    response.write(whole.slice(0, 200), () => request.socket.destroy());
  } else setTimeout(json, now === 'slow' ? 1000 + 3000 * Math.random() : 20, response, 200, answer);
}

const server = createServer((request, response) => void serve(request, response).catch(() => response.destroy()));
server.keepAliveTimeout = 60_000;
server.on('connection', (socket) => {
  if (mode === 'down') socket.destroy();
});
const url = `http://127.0.0.1:${await listen(server, 0, '127.0.0.1')}`;
const metadata = () => ({ issuer: url, token_endpoint: `${url}/token` });

function obey(order: Order): unknown {
  switch (order.what) {
    case 'mode':
      mode = order.mode;
      if (mode === 'down') server.closeAllConnections();
      return null;
    case 'grant':
      return tokenOf(families.push({ base: -1, latest: 0, dead: false }) - 1, 0);
    case 'accepts':
      return order.tokens.map((token) => {
        const found = find(token);
        return found !== undefined && isGood(found.family, found.number);
      });
    case 'counts':
      return counts;
  }
}

process.on('message', (order: Order) => void process.send?.(obey(order)));
process.on('disconnect', () => process.exit());
process.send?.({ url });
