import { createServer, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { setImmediate as turn } from 'node:timers/promises';
import { expect, onTestFinished } from 'vitest';
import { Failed, type Failure } from '../../src/core/failure.js';
import type { Clock, Issuer } from '../../src/core/ports.js';
import type { Provider } from '../../src/core/provider.js';
import { openIssuer } from '../../src/providers/issuer.js';
import { systemClock } from '../../src/system/clock.js';
import { type Faulty, type FaultyOptions, startFaulty } from '../helpers/faulty.js';

export const never: AbortSignal = new AbortController().signal;

const providerOf = (more: Partial<Provider> = {}): Provider => ({
  name: 'test',
  clientId: 'public-cli',
  scopes: [],
  flow: 'device',
  bare: false,
  ...more,
});

type Closable = Issuer & { close(): Promise<void> };

/** An issuer for one test, closed after it. */
export function open(more: Partial<Provider>, secret?: string, clock: Clock = systemClock): Closable {
  const issuer = openIssuer(providerOf(more), secret, clock);
  onTestFinished(() => issuer.close());
  return issuer;
}

export async function faultyFor(options: FaultyOptions = {}): Promise<Faulty> {
  const faulty = await startFaulty(options);
  onTestFinished(() => faulty.stop());
  return faulty;
}

/** What an issuer of ours threw: never anything but a Failed, and never a secret in it. */
export async function failureIn(promise: Promise<unknown>, ...secrets: readonly string[]): Promise<Failure> {
  const thrown = await promise.then(
    (value) => expect.fail(`no failure but ${JSON.stringify(value)}`),
    (error: unknown) => error,
  );
  if (!(thrown instanceof Failed)) throw thrown;
  const { failure } = thrown;
  const said = `${JSON.stringify(failure)} ${thrown.message}`;
  expect(said).not.toMatch(/(?:access|refresh|device)-[\w-]{6}|eyJ/);
  for (const secret of secrets) expect(said).not.toContain(secret);
  expect(failure.what).not.toMatch(/undefined|\[object|\p{Cc}/u);
  return failure;
}

/** Resolves once `promise` is settled; fails when it is not after so many turns of the event loop, however long they take. */
export async function soon(promise: Promise<unknown>, turns = 50): Promise<void> {
  let settled = false;
  const done = () => {
    settled = true;
  };
  promise.then(done, done);
  for (let i = 0; i < turns && !settled; i++) await turn();
  expect(settled).toBe(true);
}

/** Resolves once `holds` does. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await turn();
}

interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly params: Readonly<Record<string, string>>;
}

export interface Reply {
  readonly status?: number;
  readonly headers?: OutgoingHttpHeaders;
  /** Text as it stands, anything else as JSON. */
  readonly body?: unknown;
}

/** A server that answers as told, and 404 to what it was not told of. */
export async function serve(
  routes: (url: string) => Readonly<Record<string, Reply | ((asked: Asked) => Reply)>>,
): Promise<{ readonly url: string; readonly asked: readonly Asked[] }> {
  const asked: Asked[] = [];
  const server = createServer(async (request, response) => {
    const { method = '', headers } = request;
    const path = new URL(request.url ?? '/', url).pathname;
    const params = Object.fromEntries(new URLSearchParams(await text(request)));
    const one = { method, path, headers, params };
    asked.push(one);
    const route = table[path];
    const reply = (typeof route === 'function' ? route(one) : route) ?? { status: 404, body: 'not found' };
    const isText = typeof reply.body === 'string';
    response.writeHead(reply.status ?? 200, {
      'content-type': isText ? 'text/plain' : 'application/json',
      ...reply.headers,
    });
    response.end(isText ? reply.body : JSON.stringify(reply.body ?? {}));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const table = routes(url);
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url, asked };
}
