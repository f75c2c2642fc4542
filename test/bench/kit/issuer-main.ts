/*
 * A small and fast issuer in a process of its own: discovery and a token endpoint for refresh tokens, which it rotates and
 * whose reuse it counts. It knows every grant that is named: `tokenOf(name, generation)`, of which it takes the newest, and
 * with a grace the one before. Driven over the channel of child_process.fork: see issuer.ts.
 */
import { createServer, type ServerResponse } from 'node:http';
import { listen } from '../../helpers/listen.js';
import type { Behaviour, Counts, Order } from './issuer.js';

const behaviour: Behaviour = { latency: 0, life: 36_000, rotates: true, grace: false, status: 200 };
/** How often each grant was rotated. */
const generations = new Map<string, number>();
let counts = empty();
let begun = performance.now();
let atOnce = 0;

function empty(): Counts {
  return {
    requests: 0,
    refreshed: 0,
    reused: 0,
    refused: 0,
    atOnce: 0,
    connections: 0,
    first: 0,
    last: 0,
    seconds: [],
  };
}

const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
/** As long as a WLCG token with its signature (RS256) is. */
const signature = 'x'.repeat(342);
const padding = 'p'.repeat(48);
const header = part({ alg: 'RS256', typ: 'JWT', kid: 'bench' });

const server = createServer((request, response) => {
  if (request.method !== 'POST') {
    request.resume();
    if (request.url?.startsWith('/.well-known/')) json(response, 200, metadata());
    else json(response, 404, {});
    return;
  }
  counts.requests++;
  atOnce++;
  counts.atOnce = Math.max(counts.atOnce, atOnce);
  const second = Math.floor((performance.now() - begun) / 1000);
  counts.seconds[second] = (counts.seconds[second] ?? 0) + 1;
  counts.first ||= Date.now();
  response.once('close', () => void atOnce--);
  let body = '';
  request.setEncoding('latin1').on('data', (text: string) => {
    body += text;
  });
  request.once('end', () => {
    if (behaviour.latency === 0) answer(body, response);
    else setTimeout(answer, behaviour.latency, body, response);
  });
});
server.keepAliveTimeout = 60_000;
server.on('connection', () => void counts.connections++);
const port = await listen(server, 0, '127.0.0.1');
const url = `http://127.0.0.1:${port}`;

function metadata(): object {
  return {
    issuer: url,
    token_endpoint: `${url}/token`,
    device_authorization_endpoint: `${url}/device`,
    token_endpoint_auth_methods_supported: ['client_secret_basic', 'client_secret_post', 'none'],
  };
}

/** The answer is made when the latency is over: who leaves before has rotated nothing. */
function answer(body: string, response: ServerResponse): void {
  if (response.destroyed) return;
  counts.last = Date.now();
  if (behaviour.status !== 200) {
    counts.refused++;
    json(response, behaviour.status, { error: 'temporarily_unavailable' });
    return;
  }
  const given = new URLSearchParams(body).get('refresh_token') ?? '';
  const [, name, number] = /^bench\.(.+)\.(\d+)\.p*$/.exec(given) ?? [];
  if (name === undefined) {
    counts.refused++;
    json(response, 400, { error: 'invalid_grant' });
    return;
  }
  const now = generations.get(name) ?? 0;
  if (Number(number) !== now) {
    counts.reused++;
    if (!behaviour.grace || Number(number) !== now - 1) {
      json(response, 400, { error: 'invalid_grant' });
      return;
    }
  } else if (behaviour.rotates) generations.set(name, now + 1);
  counts.refreshed++;
  const seconds = Math.floor(Date.now() / 1000);
  const claims = { iss: url, sub: name, iat: seconds, exp: seconds + behaviour.life, jti: counts.refreshed };
  json(response, 200, {
    access_token: `${header}.${part({ ...claims, scope: 'storage.read:/ storage.modify:/' })}.${signature}`,
    token_type: 'Bearer',
    expires_in: behaviour.life,
    scope: 'storage.read:/ storage.modify:/',
    ...(behaviour.rotates && { refresh_token: `bench.${name}.${generations.get(name)}.${padding}` }),
  });
}

function json(response: ServerResponse, status: number, value: object): void {
  const text = JSON.stringify(value);
  const length = Buffer.byteLength(text);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': length }).end(text);
}

function obey(order: Order): unknown {
  switch (order.what) {
    case 'behave':
      return Object.assign(behaviour, order.change);
    case 'counts':
      return counts;
    case 'reset':
      begun = performance.now();
      counts = empty();
      return counts;
    case 'grants':
      return [...generations];
  }
}

process.on('message', (order: Order) => void process.send?.(obey(order)));
process.on('disconnect', () => process.exit());
process.send?.({ url });
