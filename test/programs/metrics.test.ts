import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readExposition, sampleOf } from '../helpers/exposition.js';
import { error, status } from '../helpers/faults.js';
import { accessPoint, faultyFor, modeOf, until } from './kit.js';

/** A port that nobody has now. */
async function freePort(): Promise<number> {
  const server = createServer();
  const { port } = await new Promise<AddressInfo>((resolve) =>
    server.listen(0, '127.0.0.1', () => resolve(server.address() as AddressInfo)),
  );
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe.concurrent('credmond tells Prometheus', () => {
  test('how credentials stand and what came of refreshes, in a file and at a port', async () => {
    const [good, bad] = [await faultyFor(), await faultyFor()];
    bad.always('token', status(503));
    const p = accessPoint({ providers: { good: { issuer: good.url }, bad: { issuer: bad.url } } });
    const file = join(p.base, 'node', 'credmon.prom');
    mkdirSync(join(p.base, 'node'));
    const port = await freePort();
    const providers = { good: { issuer: good.url }, bad: { issuer: bad.url } };
    p.write({
      credmond: { metrics_file: file, metrics_listen: `127.0.0.1:${port}` },
      broker: { start: false },
      providers,
    });
    // What the broker leaves beside its socket.
    const rule = 'map = [{ claim = "sub" }]';
    appendFileSync(p.config, `\n[pam]\nenabled = true\nprovider = "good"\n${rule}\n`);
    mkdirSync(join(p.base, 'broker'));
    const logins = { asked: 7, approved: 4, denied: 1, expired: 1, gone: 1, decoys: 0, unavailable: 0, committed: 3 };
    writeFileSync(join(p.base, 'broker', 'counters.json'), JSON.stringify({ ...logins, since: Date.now() }));
    for (const user of ['alice', 'bob']) p.login(good.grant(), { user, name: 'good' });
    p.login('of-nobody', { user: 'carol', name: 'good' });
    p.login(bad.grant(), { user: 'dave', name: 'bad' });
    const daemon = p.credmond();
    const read = () => readExposition(readFileSync(file, 'utf8'));
    const states = (provider: string, state: string) => sampleOf(read(), 'credmon_credentials', { provider, state });
    await until(() => states('good', 'fresh') === 2 && states('bad', 'retrying') === 1, 'the file to tell', 30_000);
    expect(states('good', 'login-needed')).toBe(1);
    const outcome = (provider: string, outcome: string) =>
      sampleOf(read(), 'credmon_refreshes_total', { provider, outcome });
    expect([outcome('good', 'ok'), outcome('good', 'invalid_grant'), outcome('good', 'transient')]).toEqual([2, 1, 0]);
    expect(outcome('bad', 'transient')).toBeGreaterThanOrEqual(1);
    expect(sampleOf(read(), 'credmon_log_lines_total', { level: 'warning' })).toBeGreaterThanOrEqual(2);
    expect(sampleOf(read(), 'credmon_process_resident_memory_bytes')).toBeGreaterThan(10e6);
    const began = sampleOf(read(), 'credmon_process_start_time_seconds') ?? 0;
    expect(Math.abs(Date.now() / 1000 - began)).toBeLessThan(120);
    await until(() => read().has('credmon_last_pass_timestamp_seconds'), 'the pass', 30_000);
    expect(modeOf(file)).toBe(0o644);
    expect(sampleOf(read(), 'credmon_ssh_logins_ended_total', { outcome: 'approved' })).toBe(4);

    const answer = await fetch(`http://127.0.0.1:${port}/metrics`);
    expect([answer.status, answer.headers.get('content-type')]).toEqual([
      200,
      'text/plain; version=0.0.4; charset=utf-8',
    ]);
    const told = readExposition(await answer.text());
    expect([...told.keys()]).toEqual([...read().keys()]);
    expect(sampleOf(told, 'credmon_credentials', { provider: 'good', state: 'fresh' })).toBe(2);

    // By SIGHUP: the port is closed, and the file is gone.
    p.write({ providers });
    daemon.child.kill('SIGHUP');
    await until(
      () =>
        fetch(`http://127.0.0.1:${port}/metrics`).then(
          () => false,
          () => true,
        ),
      'the port to be closed',
    );
    await until(() => !existsSync(file), 'the file to go');
    daemon.child.kill('SIGTERM');
    expect((await daemon.ended).code).toBe(0);
  });

  test('once, of a single pass', async () => {
    const issuer = await faultyFor();
    issuer.always('token', error('invalid_client'));
    const p = accessPoint({});
    const file = join(p.base, 'credmon.prom');
    p.write({ credmond: { metrics_file: file }, providers: { test: { issuer: issuer.url } } });
    p.login(issuer.grant());
    expect((await p.credmond(['--once']).ended).code).toBe(1);
    const found = readExposition(readFileSync(file, 'utf8'));
    expect(sampleOf(found, 'credmon_refreshes_total', { provider: 'test', outcome: 'invalid_client' })).toBe(1);
    expect(sampleOf(found, 'credmon_credentials', { provider: 'test', state: 'retrying' })).toBe(1);
    expect(found.has('credmon_last_pass_duration_seconds')).toBe(true);
  });

  test.each([
    ['metrics_listen', '0.0.0.0:9815', 'must be a loopback address and a port'],
    ['metrics_listen', 'access.example.org:9815', 'must be a loopback address and a port'],
    ['metrics_file', '/var/lib/node/credmon.txt', 'must end with .prom'],
    ['metrics_file', 'credmon.prom', 'must be an absolute path'],
  ])('nothing where %s = %s: the configuration is refused', async (key, value, why) => {
    const p = accessPoint({ credmond: { [key]: value }, providers: { test: { issuer: 'https://issuer.example' } } });
    const { code, err } = await p.credmond().ended;
    expect(code).toBe(78);
    expect(err).toContain(`credmond.${key} ${why}`);
  });

  test('and keeps tokens fresh where it cannot: no folder, and a port that is taken', async () => {
    const issuer = await faultyFor();
    const taken = createServer();
    const { port } = await new Promise<AddressInfo>((resolve) =>
      taken.listen(0, '127.0.0.1', () => resolve(taken.address() as AddressInfo)),
    );
    const p = accessPoint({});
    const folder = join(p.base, 'node');
    const settings = { metrics_file: join(folder, 'credmon.prom'), metrics_listen: `127.0.0.1:${port}` };
    p.write({ credmond: settings, providers: { test: { issuer: issuer.url } } });
    p.login(issuer.grant());
    const daemon = p.credmond();
    await until(() => p.use().access_token !== '', 'the token');
    await daemon.says(`metrics: cannot listen at 127.0.0.1, port ${port} (EADDRINUSE)`);
    await daemon.says(/metrics: cannot open .*node: it does not exist/);
    mkdirSync(folder);
    await new Promise((resolve) => taken.close(resolve));
    await until(() => readFileSync(settings.metrics_file, 'utf8').length > 0, 'the file', 30_000);
    await until(() => fetch(`http://127.0.0.1:${port}/metrics`).then(({ ok }) => ok), 'the port', 30_000);
    rmSync(folder, { recursive: true });
    daemon.child.kill('SIGTERM');
    expect((await daemon.ended).code).toBe(0);
    expect(daemon.err().match(/ERROR|error: metrics/g)).toHaveLength(2);
  });

  test('in its log one line a decision: none for refreshes that go well, nor for sweeps', async () => {
    const issuer = await faultyFor({ expiresIn: 2 });
    const p = accessPoint({});
    const settings = { sweep_interval: 1 };
    p.write({ top: { token_minimum: 0 }, credmond: settings, providers: { test: { issuer: issuer.url } } });
    const users = ['alice', 'bob', 'carol', 'dave'];
    for (const user of users) p.login(issuer.grant(), { user });
    const daemon = p.credmond(['-l', p.log]);
    const lines = () => readFileSync(p.log, 'utf8').split('\n').slice(0, -1);
    const refreshes = (count: number) => until(() => issuer.counts.refreshes >= count, `${count} refreshes`, 30_000);
    await refreshes(users.length);
    await until(
      () => lines().filter((line) => line.includes('refreshed (')).length === users.length,
      'the first tokens',
    );
    const before = lines();
    // Its start, and of each the look and the first token.
    expect(before).toHaveLength(1 + 2 * users.length);
    for (let n = 0; n < 10; n++) {
      daemon.child.kill('SIGHUP');
      await refreshes((n + 2) * users.length);
    }
    expect(lines()).toEqual(before);
    daemon.child.kill('SIGTERM');
    await daemon.ended;
    expect(lines().slice(before.length)).toEqual([
      expect.stringContaining('SIGTERM: ending'),
      expect.stringContaining('ended'),
    ]);
  });
});
