import { once } from 'node:events';
import { request } from 'node:http';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { text as wholeOf } from 'node:stream/consumers';
import { describe, expect, onTestFinished, test } from 'vitest';
import { MetricsListener } from '../../src/daemon/metrics-listener.js';
import { systemClock } from '../../src/system/clock.js';

async function listening(text: () => string = () => 'a 1\n', clock: { steady(): number } = systemClock) {
  const listener = new MetricsListener(clock);
  // 0: any port.
  await listener.listen({ host: '127.0.0.1', port: 0 }, text);
  onTestFinished(() => listener.close());
  const port = listener.address?.port ?? 0;
  return {
    listener,
    port,
    /** Resolves to the status, the headers and the text. */
    async ask(path = '/metrics', { method = 'GET', host = `127.0.0.1:${port}` } = {}) {
      const asked = request({ port, path, method, headers: { host } });
      const [answer] = await once(asked.end(), 'response');
      return { status: answer.statusCode as number, headers: answer.headers, text: await wholeOf(answer) };
    },
    async connection(): Promise<Socket> {
      const socket = connect(port, '127.0.0.1');
      socket.on('error', () => {});
      onTestFinished(() => void socket.destroy());
      await once(socket, 'connect');
      return socket;
    },
  };
}

const closed = (socket: Socket): Promise<unknown> => {
  socket.resume();
  return socket.closed ? Promise.resolve() : once(socket, 'close');
};

describe('the listener', () => {
  test('tells Prometheus what it asks for, and keeps nothing open', async () => {
    const { ask } = await listening();
    const { status, headers, text } = await ask();
    expect([status, text]).toEqual([200, 'a 1\n']);
    expect(headers).toMatchObject({
      'content-type': 'text/plain; version=0.0.4; charset=utf-8',
      connection: 'close',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    });
    expect(headers).not.toHaveProperty('access-control-allow-origin');
  });

  test.each(['localhost', '[::1]:9815', '127.0.0.1:1'])('takes the Host %s for this machine', async (host) => {
    expect((await (await listening()).ask('/metrics', { host })).status).toBe(200);
  });

  test.each(['rebound.example.org', '127.0.0.1.example.org', '192.168.0.1', '0.0.0.0', '[::]'])(
    'does not for %s, which a web page may have resolve to this machine',
    async (host) => {
      const { status, text } = await (await listening()).ask('/metrics', { host });
      expect([status, text]).toEqual([421, 'Misdirected request\n']);
    },
  );

  test('does not without a Host', async () => {
    const { connection } = await listening();
    for (const version of ['1.0', '1.1']) {
      const socket = await connection();
      socket.write(`GET /metrics HTTP/${version}\r\n\r\n`);
      expect(await wholeOf(socket)).toMatch(/^HTTP\/1\.1 (?:421|400) /);
    }
  });

  test('has nothing else, and does nothing else', async () => {
    const { ask } = await listening();
    for (const path of ['/', '/metrics/', '/metrics?a=1', '/../metrics', '/status'])
      expect([path, (await ask(path)).status]).toEqual([path, 404]);
    for (const method of ['POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS']) {
      const { status, headers } = await ask('/metrics', { method });
      expect([method, status, headers.allow]).toEqual([method, 405, 'GET']);
    }
  });

  test('makes the text once a second, however often it is asked', async () => {
    let [now, made] = [0, 0];
    const { ask } = await listening(() => `a ${++made}\n`, { steady: () => now });
    const texts = [];
    for (const at of [0, 500, 999, 1000, 1500]) {
      now = at;
      texts.push((await ask()).text);
    }
    expect(texts).toEqual(['a 1\n', 'a 1\n', 'a 1\n', 'a 2\n', 'a 2\n']);
  });

  test('outlives a text that cannot be made', async () => {
    let bad = true;
    const { ask } = await listening(() => {
      if (bad) throw new Error('no descriptors are left');
      return 'a 1\n';
    });
    const { status, text } = await ask();
    expect([status, text]).toEqual([500, '']);
    bad = false;
    expect((await ask()).status).toBe(200);
  });

  test('closes the connection of whoever says nothing, does not come to an end, or says too much', async () => {
    const { connection, ask } = await listening();
    const silent = await connection();
    const slow = await connection();
    slow.write('GET /metrics HTTP/1.1\r\n');
    const dripping = setInterval(() => slow.write('X-A: b\r\n'), 200);
    const body = await connection();
    body.write('GET /metrics HTTP/1.1\r\nHost: other.example.org\r\nContent-Length: 100000\r\n\r\n');
    const large = await connection();
    large.write(`GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-A: ${'b'.repeat(10_000)}\r\n\r\n`);
    await Promise.all([silent, slow, body, large].map(closed));
    clearInterval(dripping);
    expect((await ask()).status).toBe(200);
  });

  test('has few connections at once', async () => {
    const { connection, ask } = await listening();
    const many = await Promise.all(Array.from({ length: 30 }, connection));
    let open = many.length;
    for (const socket of many) void closed(socket).then(() => open--);
    // The others are turned away at once; these it would wait for.
    await expect.poll(() => open, { timeout: 10_000, interval: 10 }).toBe(8);
    for (const socket of many) socket.destroy();
    await expect.poll(async () => (await ask().catch(() => undefined))?.status, { timeout: 10_000 }).toBe(200);
  });

  test('moves where it is told to, says why it cannot, and ends', async () => {
    const { listener, port } = await listening();
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    onTestFinished(() => void taken.close());
    const theirs = (taken.address() as AddressInfo).port;
    const text = () => 'a 1\n';
    await expect(listener.listen({ host: '127.0.0.1', port: theirs }, text)).rejects.toThrow(
      `cannot listen at 127.0.0.1, port ${theirs} (EADDRINUSE)`,
    );
    const refused = async (at: number) => {
      const socket = connect(at, '127.0.0.1');
      const [error] = await once(socket, 'error');
      return (error as NodeJS.ErrnoException).code;
    };
    expect(await refused(port)).toBe('ECONNREFUSED');
    await listener.listen({ host: '127.0.0.1', port }, text);
    expect(listener.address).toMatchObject({ address: '127.0.0.1', port });
    await listener.listen(undefined, text);
    expect(await refused(port)).toBe('ECONNREFUSED');
  });
});
