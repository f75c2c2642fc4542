import { createServer } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Failed } from '../../src/core/failure.js';
import { openHttp } from '../../src/providers/http.js';
import { failureIn, never, serve, soon, until } from './kit.js';

function http() {
  const opened = openHttp(undefined);
  onTestFinished(() => opened.close());
  return opened;
}
const get = (url: string, signal = never) =>
  http().fetch(url, { method: 'GET', headers: {}, body: null, redirect: 'manual', signal });

/** A server that sends exactly this and closes. */
async function raw(bytes: string | Buffer): Promise<string> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end(bytes));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return `http://127.0.0.1:${(server.address() as { port: number }).port}/`;
}

describe('an exchange', () => {
  test('brings the status, the headers and the whole body', async () => {
    const { url } = await serve(() => ({ '/x': { status: 418, headers: { 'x-a': ['1', '2'] }, body: 'tea' } }));
    const answer = await get(`${url}/x`);
    expect([answer.status, answer.headers.get('x-a'), await answer.text()]).toEqual([418, '1, 2', 'tea']);
  });

  test('sends a form as it is', async () => {
    const { url, asked } = await serve(() => ({ '/x': {} }));
    const body = new URLSearchParams({ a: '1 &=ü' });
    await http().fetch(`${url}/x`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body,
      redirect: 'manual',
      signal: never,
    });
    expect(asked[0]).toMatchObject({ method: 'POST', params: { a: '1 &=ü' } });
  });

  test.each([204, 205, 304])('without a body: %d', async (status) => {
    const { url } = await serve(() => ({ '/x': { status, body: '' } }));
    expect((await get(`${url}/x`)).status).toBe(status);
  });

  test('a redirect is not followed', async () => {
    const { url, asked } = await serve(() => ({ '/x': { status: 302, headers: { location: '/y' }, body: '' } }));
    expect((await get(`${url}/x`)).status).toBe(302);
    expect(asked).toHaveLength(1);
  });

  test('headers that no Headers object takes do not lose the answer', async () => {
    // Headers takes bytes only, and would throw after the answer was read.
    const url = await raw(
      'HTTP/1.1 200 OK\r\nX-Org: Zürich Ω\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}',
    );
    const answer = await get(url);
    expect([answer.headers.get('content-type'), await answer.text()]).toEqual(['application/json', '{}']);
  });
});

describe('what fails is transient or protocol, and told in words', () => {
  test.each<[string, string, string]>([
    ['no HTTP at all', 'SSH-2.0-OpenSSH_9.2\r\n', 'transient'],
    ['nothing', '', 'transient'],
    ['half a body', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"a":', 'transient'],
    ['too many headers', `HTTP/1.1 200 OK\r\n${'X-A: b\r\n'.repeat(20_000)}\r\n`, 'transient'],
    ['a body too long', `HTTP/1.1 200 OK\r\n\r\n${'x'.repeat(600_000)}`, 'protocol'],
    ['a body that promised more', 'HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\nx', 'transient'],
  ])('%s', async (_, bytes, kind) => {
    const url = await raw(bytes);
    const failure = await failureIn(get(url));
    expect(failure.kind).toBe(kind);
    expect(failure.what).toContain(new URL(url).origin);
  });

  test('nobody listens', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    await new Promise((resolve) => server.close(resolve));
    expect(await failureIn(get(`http://127.0.0.1:${port}/`))).toMatchObject({
      kind: 'transient',
      what: `cannot reach http://127.0.0.1:${port}: the connection was refused`,
    });
  });
});

describe('an abort', () => {
  test('ends it at once, with the reason given', async () => {
    let reached = false;
    const { url } = await serve(() => ({}));
    const silent = createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => {
        reached = true;
      });
    });
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void silent.close());
    const stop = new AbortController();
    const reason = new Failed({ kind: 'cancelled', what: 'enough' });
    const asked = get(`http://127.0.0.1:${(silent.address() as { port: number }).port}/`, stop.signal);
    await until(() => reached);
    stop.abort(reason);
    await soon(asked);
    await expect(asked).rejects.toBe(reason);
    await expect(get(url, stop.signal)).rejects.toBe(reason);
  });
});
