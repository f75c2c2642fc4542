import type { IncomingMessage, ServerResponse } from 'node:http';
import { json } from 'node:stream/consumers';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { type Issuer, startIssuer } from './issuer.js';
import './overhear.js';

/*
 * The test issuer as a process of its own, for tests of whole programs and for showing to people.
 *
 *     npx esbuild test/helpers/issuer-main.ts --bundle --packages=external --platform=node --format=esm \
 *       --outfile=node_modules/.cache/issuer-main.mjs
 *     node node_modules/.cache/issuer-main.mjs --port 9090 --access-token-ttl 60 --interval 1
 *
 * --behaviour and --clients take JSON, in the shape of `Behaviour` (part of it) and of `IssuerClient[]`.
 * It prints one line, {"url": "http://127.0.0.1:9090"}, and ends with SIGTERM, SIGINT, or its stdin if --until-eof.
 * A test drives it over HTTP at the same address, JSON in and out; errors are 400 {"error": "…"}:
 *
 *     POST /control/approve {"userCode": "ABCD-EFGH", "login": "alice"}    POST /control/deny {"userCode": "…"}
 *     POST /control/introspect {"token": "…"} → {"active": true}           POST /control/revoke-grants
 *     POST /control/hold: requests for tokens wait from now on, until      POST /control/release
 *     POST /control/delay {"ms": "200"}: device authorizations and requests for tokens take so much longer
 *     POST /control/behave {"narrowing": "refused", "subjects": ["alice"]}: some or all of `Behaviour`; null is undefined
 *     GET  /control/counts → what has been asked, and `held`: how many requests wait
 */

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    'access-token-ttl': { type: 'string', default: '60' },
    'device-code-ttl': { type: 'string', default: '300' },
    'refresh-token-ttl': { type: 'string', default: `${365 * 24 * 3600}` },
    'no-rotation': { type: 'boolean', default: false },
    behaviour: { type: 'string', default: '{}' },
    clients: { type: 'string' },
    interval: { type: 'string', default: '1' },
    'access-token-format': { type: 'string', default: 'jwt' },
    login: { type: 'string', default: 'alice' },
    'until-eof': { type: 'boolean', default: false },
  },
});

type Orders = Record<string, (asked: Record<string, string>, issuer: Issuer) => Promise<unknown>>;

/** Requests for tokens that wait to be let go on; undefined: none has to. */
let held: (() => void)[] | undefined;
/** Milliseconds by which device authorizations and requests for tokens take longer. */
let delay = 0;

const orders: Orders = {
  'POST approve': ({ userCode = '', login = values.login }, issuer) => issuer.approve(userCode, { login }),
  'POST deny': ({ userCode = '' }, issuer) => issuer.deny(userCode),
  'POST introspect': async ({ token = '' }, issuer) => ({ active: await issuer.introspect(token) }),
  'POST revoke-grants': async (_, issuer) => issuer.revokeGrants(),
  'POST behave': async (asked, issuer) => {
    const changed = Object.entries(asked).map(([name, value]) => [name, value ?? undefined]);
    Object.assign(issuer.behaviour, Object.fromEntries(changed));
  },
  'POST hold': async () => {
    held ??= [];
  },
  'POST release': async () => {
    for (const go of held ?? []) go();
    held = undefined;
  },
  'POST delay': async ({ ms }) => {
    delay = Number(ms);
  },
  'GET counts': async (_, issuer) => ({ ...issuer.counts, held: held?.length ?? 0 }),
};

const issuer: Issuer = await startIssuer({
  port: Number(values.port),
  accessTokenTtl: Number(values['access-token-ttl']),
  deviceCodeTtl: Number(values['device-code-ttl']),
  refreshTokenTtl: Number(values['refresh-token-ttl']),
  rotate: !values['no-rotation'],
  behaviour: JSON.parse(values.behaviour),
  ...(values.clients !== undefined && { clients: JSON.parse(values.clients) }),
  interval: Number(values.interval),
  accessTokenFormat: values['access-token-format'] === 'opaque' ? 'opaque' : 'jwt',
  login: values.login,
  intercept: async (request, response) => {
    if (request.url?.startsWith('/control/')) {
      await obey(request, response);
      return true;
    }
    if (delay > 0 && (request.url === '/token' || request.url === '/device/auth')) await pause(delay);
    if (held && request.url === '/token') await new Promise<void>((go) => held?.push(go));
    return false;
  },
});

const stop = () => void issuer.stop();
process.once('SIGTERM', stop).once('SIGINT', stop);
if (values['until-eof']) process.stdin.once('end', stop).resume();
process.stdout.write(`${JSON.stringify({ url: issuer.url })}\n`);

async function obey(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const answer = (status: number, body: unknown) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(body ?? {})}\n`);
  };
  const order = orders[`${request.method} ${request.url?.slice('/control/'.length)}`];
  if (order === undefined) return answer(404, { error: 'no such order' });
  // Programs send no Origin, pages do: a page open in the same browser must not approve its own login.
  if (request.headers.origin !== undefined) return answer(403, { error: 'not for web pages' });
  try {
    const asked = request.method === 'POST' && request.headers['content-length'] !== '0' ? await json(request) : {};
    answer(200, await order(asked as Record<string, string>, issuer));
  } catch (error) {
    answer(400, { error: String(error) });
  }
}
