import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { systemCode } from '../core/errno.js';
import { Failed } from '../core/failure.js';
import { isLoopbackHost, type Loopback } from '../core/loopback.js';
import { metricsType } from '../core/metrics.js';
import type { Clock } from '../core/ports.js';

/** Whoever is on this machine may connect: so few at once, each for so long, with requests so large. Milliseconds, bytes. */
const [most, patience, largest] = [8, 2000, 4096];
/** The same text is told again for so long: milliseconds. */
const old = 1000;

/** `GET /metrics` on a loopback address, for a Prometheus on this machine; nothing else is answered, and nothing kept open. */
export class MetricsListener {
  #server: Server | undefined;
  #at: Loopback | undefined;
  #text = '';
  #told = Number.NEGATIVE_INFINITY;

  constructor(private readonly clock: Pick<Clock, 'steady'>) {}

  /** Where it listens now, with the port that it was given. */
  get address(): AddressInfo | undefined {
    return (this.#server?.address() as AddressInfo | null) ?? undefined;
  }

  /** Listens there and nowhere else from now on; undefined: nowhere. Throws Failed. */
  async listen(at: Loopback | undefined, text: () => string): Promise<void> {
    if (at?.host === this.#at?.host && at?.port === this.#at?.port) return;
    await this.close();
    if (at === undefined) return;
    const { createServer } = await import('node:http');
    const server = createServer(
      {
        headersTimeout: patience,
        requestTimeout: patience,
        connectionsCheckingInterval: patience / 4,
        maxHeaderSize: largest,
      },
      (request, response) => this.#answer(request, response, text),
    );
    server.maxConnections = most;
    // Also of those who do not read their answer.
    server.setTimeout(2 * patience, (socket) => socket.destroy());
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) =>
        reject(
          new Failed(
            {
              kind: 'config',
              what: `cannot listen at ${at.host}, port ${at.port} (${systemCode(cause) ?? cause.message})`,
              hint: 'name another port with CREDMON_METRICS_LISTEN',
            },
            { cause },
          ),
        ),
      );
      server.listen(at.port, at.host, resolve);
    });
    // Nobody is kept from a token by what becomes of it.
    server.on('error', () => {});
    server.unref();
    [this.#server, this.#at] = [server, at];
  }

  async close(): Promise<void> {
    const server = this.#server;
    [this.#server, this.#at] = [undefined, undefined];
    if (server === undefined) return;
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  }

  #answer({ method, url, headers }: IncomingMessage, response: ServerResponse, text: () => string): void {
    response.setHeader('Connection', 'close');
    response.setHeader('X-Content-Type-Options', 'nosniff');
    const refusal = refusalOf(method, url, headers.host);
    if (refusal !== undefined) {
      const [status, words] = refusal;
      response.writeHead(status, {
        'Content-Type': 'text/plain; charset=utf-8',
        ...(status === 405 && { Allow: 'GET' }),
      });
      response.end(`${words}\n`);
      return;
    }
    const now = this.clock.steady();
    try {
      if (now - this.#told >= old) [this.#text, this.#told] = [text(), now];
    } catch {
      // What nobody could ask for is nothing to end credmond.
      response.writeHead(500).end();
      return;
    }
    response.writeHead(200, { 'Content-Type': metricsType, 'Cache-Control': 'no-store' });
    response.end(this.#text);
  }
}

function refusalOf(method = '', url = '', host = ''): readonly [status: number, words: string] | undefined {
  // RFC 9110 §15.5.20. A page in a browser on this machine may have its own name resolve to 127.0.0.1.
  if (!isLoopbackHost(host)) return [421, 'Misdirected request'];
  if (url !== '/metrics') return [404, 'There is nothing but /metrics'];
  return method === 'GET' ? undefined : [405, 'GET alone'];
}
