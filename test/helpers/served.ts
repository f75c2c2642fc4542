import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Certificates } from './certificates.js';
import { listen } from './listen.js';

/** A request as it came in. */
export interface Asked<Endpoint extends string = string> {
  readonly endpoint: Endpoint | undefined;
  /** Of ours, the one it came to. */
  readonly address: string;
  readonly method: string;
  /** As it was sent, with its escapes. */
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  /** The members of a form or of a JSON object. */
  readonly params: Readonly<Record<string, string>>;
  /** The body, and the path with its query, as they came: to look for secrets in. */
  readonly raw: string;
  readonly headers: IncomingHttpHeaders;
  /** Epoch milliseconds. */
  readonly at: number;
  /** What it met instead of the usual, if anything. */
  readonly fault: Fault | undefined;
}

/** An object is sent as JSON, a string as HTML. */
export interface Answer {
  readonly status: number;
  readonly body?: object | string | undefined;
  readonly headers?: Readonly<Record<string, string | string[]>>;
}

/**
 * What a request meets instead of the usual: that answer, none ever, a broken connection with nothing done (reset) or
 * all done (lost), or half of the answer.
 */
export type Fault = Answer | 'hang' | 'reset' | 'lost' | 'truncated';

export interface ServedOptions<Endpoint extends string> {
  /** The same at each address; 0, the default, takes a free one. */
  readonly port?: number | undefined;
  /** Default 127.0.0.1 alone. */
  readonly addresses?: readonly string[] | undefined;
  /** How it calls itself, default localhost. */
  readonly hostname?: string | undefined;
  /** Makes it https. */
  readonly tls?: Certificates | undefined;
  /** Clock of the records, epoch milliseconds. */
  readonly now?: (() => number) | undefined;
  endpoint(method: string, path: string): Endpoint | undefined;
  answer(asked: Asked<Endpoint>): Answer;
}

export interface Served<Endpoint extends string = string> {
  /** Without a slash at the end. */
  readonly url: string;
  readonly port: number;
  readonly requests: readonly Asked<Endpoint>[];
  /** Milliseconds before each answer. */
  latency: number;
  /** The next requests to `endpoint` meet these, one each. */
  next(endpoint: Endpoint, ...faults: readonly Fault[]): void;
  /** All requests to `endpoint` meet this once the script is used up; undefined makes it healthy again. */
  always(endpoint: Endpoint, fault: Fault | undefined): void;
  stop(): Promise<void>;
}

/** A web server that remembers who asked what, works, and fails when told to. */
export async function serve<Endpoint extends string>(options: ServedOptions<Endpoint>): Promise<Served<Endpoint>> {
  const { tls, hostname = 'localhost', addresses = ['127.0.0.1'], now = Date.now } = options;
  const requests: Asked<Endpoint>[] = [];
  const scripts = new Map<Endpoint, Fault[]>();
  const habits = new Map<Endpoint, Fault | undefined>();

  async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', headers, url = '/' } = request;
    const { pathname: path, searchParams } = new URL(url, 'http://here');
    const endpoint = options.endpoint(method, path);
    const body = await text(request).catch(() => undefined);
    if (body === undefined) return;
    const fault = endpoint && (scripts.get(endpoint)?.shift() ?? habits.get(endpoint));
    const asked = {
      ...{ endpoint, method, path, headers, fault, at: now(), raw: `${url}\n${body}` },
      address: request.socket.localAddress ?? '',
      query: Object.fromEntries(searchParams),
      params: paramsOf(headers['content-type'], body),
    };
    requests.push(asked);
    if (served.latency > 0) await sleep(served.latency);
    if (fault === 'hang') return;
    if (fault === 'reset') return void request.socket.destroy();
    const answer = typeof fault === 'object' ? fault : options.answer(asked);
    if (fault === 'lost') return void request.socket.destroy();
    send(response, answer, fault === 'truncated');
  }

  const servers: (ReturnType<typeof createServer> | ReturnType<typeof createTlsServer>)[] = [];
  const start = async (address: string, port: number): Promise<number> => {
    const handler = (request: IncomingMessage, response: ServerResponse) => void respond(request, response);
    const server = tls ? createTlsServer({ cert: tls.cert, key: tls.key }, handler) : createServer(handler);
    servers.push(server);
    return await listen(server, port, address);
  };
  const [first = '127.0.0.1', ...others] = addresses;
  const port = await start(first, options.port ?? 0);
  for (const address of others) await start(address, port);

  const served: Served<Endpoint> = {
    url: `${tls ? 'https' : 'http'}://${hostname}:${port}`,
    port,
    requests,
    latency: 0,
    next: (endpoint, ...faults) => void scripts.set(endpoint, [...(scripts.get(endpoint) ?? []), ...faults]),
    always: (endpoint, fault) => void habits.set(endpoint, fault),
    stop: async () => {
      const closed = servers.map((server) => new Promise<void>((done) => server.close(() => done())));
      for (const server of servers) server.closeAllConnections();
      await Promise.all(closed);
    },
  };
  return served;
}

function send(response: ServerResponse, { status, body, headers = {} }: Answer, half: boolean): void {
  const html = typeof body === 'string';
  const content = Buffer.from(html ? body : body === undefined ? '' : JSON.stringify(body));
  const type = { 'content-type': html ? 'text/html' : 'application/json' };
  response.writeHead(status, { 'cache-control': 'no-store', ...type, ...headers, 'content-length': content.length });
  if (!half) return void response.end(content);
  response.write(content.subarray(0, content.length / 2), () => response.destroy());
}

function paramsOf(type = '', body: string): Record<string, string> {
  if (!type.startsWith('application/json')) return Object.fromEntries(new URLSearchParams(body));
  try {
    const json: unknown = JSON.parse(body);
    return json !== null && typeof json === 'object' ? (json as Record<string, string>) : {};
  } catch {
    return {};
  }
}
