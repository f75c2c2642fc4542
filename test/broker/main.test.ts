import { type ChildProcess, spawn } from 'node:child_process';
import { chownSync, existsSync, lstatSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { brokerAnswers, brokerLogin, brokerLogout } from '../../src/broker/client.js';
import { systemClock } from '../../src/system/clock.js';
import { confidentialClient, startIssuer } from '../helpers/issuer.js';
import { programs } from '../helpers/programs.js';
import { asNobody, cleanup, never, type Place, placeIn, Raw, room } from './kit.js';
import { Module } from './pam/kit.js';

const root = process.getuid?.() === 0;
const { version } = JSON.parse(readFileSync(join(programs, 'package.json'), 'utf8'));
// Loads the provider and the HTTP client while we may still look into the project's folder.
const early = await startIssuer();
await early.introspect('not.a.token');
await early.stop();
asNobody();

const program = join(programs, 'bin', 'credmon-broker.js');

/** As root, for as long as `work` takes: the tests' process can go back and forth. */
function asRoot<T>(work: () => T): T {
  if (!root) return work();
  process.seteuid?.(0);
  process.setegid?.(0);
  try {
    return work();
  } finally {
    process.setegid?.(65534);
    process.seteuid?.(65534);
  }
}

interface Run {
  readonly child: ChildProcess;
  readonly ended: Promise<{ readonly code: number | null; readonly out: string; readonly err: string }>;
  /** Resolves when standard error has this. */
  says(text: string): Promise<void>;
}

/** Not as root, unless that is what is tested. */
function start(args: readonly string[], { stay = false, sockets = [] as readonly number[], env = {} } = {}): Run {
  // As systemd does: the variable is of the very process.
  const told = sockets.length > 0 ? ['-c', 'LISTEN_PID=$$ exec "$@"', 'sh', process.execPath] : [];
  const child = asRoot(() =>
    spawn(told.length > 0 ? '/bin/sh' : process.execPath, [...told, program, ...args], {
      cwd: '/',
      env: { PATH: process.env.PATH ?? '', HOME: '/nonexistent', ...env },
      stdio: ['pipe', 'pipe', 'pipe', ...sockets],
      ...(root && !stay && { uid: 65534, gid: 65534 }),
    }),
  );
  let [out, err] = ['', ''];
  let wake = () => {};
  child.stdout?.on('data', (chunk) => {
    out += chunk;
  });
  child.stderr?.on('data', (chunk) => {
    err += chunk;
    wake();
  });
  child.stdin?.on('error', () => undefined);
  cleanup(() => asRoot(() => child.kill('SIGKILL')));
  return {
    child,
    ended: new Promise((resolve) => child.once('close', (code) => resolve({ code, out, err }))),
    says: (text) =>
      new Promise((resolve, reject) => {
        wake = () => err.includes(text) && resolve();
        child.once('close', () => reject(new Error(`it ended without "${text}": ${err}`)));
        wake();
      }),
  };
}

const input = (place: Place, names: readonly string[], more: object = {}, secrets: object = {}) => {
  const { dir: _, ...broker } = place;
  const providers = names.map((name) => ({
    name,
    flow: 'device',
    issuer: 'https://issuer.invalid',
    clientId: 'c',
    scopes: ['openid'],
    bare: false,
    ...more,
  }));
  return `${JSON.stringify({ v: 1, providers, secrets, broker, statusDir: '/nonexistent', debug: true })}\n`;
};

/** A socket that listens, to be passed on. */
async function bound(path: string): Promise<{ readonly fd: number; close(): void }> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(`${path}.tmp`, resolve));
  // So that it stays there when we close it.
  renameSync(`${path}.tmp`, path);
  cleanup(() => server.close());
  const { fd } = (server as unknown as { _handle: { fd: number } })._handle;
  return { fd, close: () => server.close() };
}

const options = (place: Place, provider: string) => ({
  ...place,
  clock: systemClock,
  stop: never,
  again: async () => false,
  request: { provider },
});

describe('credmon-broker', () => {
  test('--version and --help, also for root', async () => {
    expect(await start(['--version'], { stay: true }).ended).toEqual({
      code: 0,
      out: `credmon-broker ${version}\n`,
      err: '',
    });
    expect((await start(['--help'], { stay: true }).ended).out).toContain('usage: credmon-broker');
  });

  test.runIf(root)('does not run as root (skipped unless root)', async () => {
    const file = join(placeIn(room()).dir, 'credmon.toml');
    writeFileSync(file, '[providers.alone]\nissuer = "https://issuer.invalid"\nclient_id = "c"\n');
    const { code, err } = await start(['--config', file], { stay: true }).ended;
    expect(code).toBe(78);
    expect(err).toMatch(/^credmon-broker: error: credmon-broker does not run as root.*\ncredmon-broker: hint: /);
  });

  test('an option that is not', async () => {
    const { code, err } = await start(['--chlid']).ended;
    expect(code).toBe(64);
    expect(err).toContain('credmon-broker: hint: see: credmon-broker --help');
  });

  test('a configuration that is not there', async () => {
    const { code, err } = await start(['--config', '/nonexistent/credmon.toml']).ended;
    expect({ code, err }).toEqual({
      code: 78,
      err: expect.stringContaining('/nonexistent/credmon.toml does not exist'),
    });
  });

  test('a configuration on standard input that is of no use is not repeated', async () => {
    const run = start(['--child']);
    run.child.stdin?.write('{"v":1,"secrets":{"cilogon":"s3cret"},"providers":7}\n');
    const { code, err } = await run.ended;
    expect(code).toBe(78);
    expect(err).toContain('a fault at providers');
    expect(err).not.toContain('s3cret');
    const other = start(['--child']);
    other.child.stdin?.end();
    expect((await other.ended).err).toContain('it ended before the first line did');
  });

  test('as a child: serves, takes a new configuration, and ends with standard input', async () => {
    const place = placeIn(room());
    const run = start(['--child']);
    run.child.stdin?.write(input(place, ['first']));
    await run.says('listening at');
    expect(lstatSync(place.socket).mode & 0o777).toBe(0o666);
    expect(lstatSync(place.challengeDir).mode & 0o7777).toBe(0o1733);
    expect(lstatSync(place.spoolDir).mode & 0o7777).toBe(0o700);
    await expect(brokerLogout(options(place, 'second'))).rejects.toThrow('knows no provider "second"');
    run.child.stdin?.write('rubbish\n');
    await run.says('the old configuration stays');
    run.child.stdin?.write(input(place, ['second']));
    await run.says('new configuration: second');
    expect(await brokerLogout(options(place, 'second'))).toMatch(/^[0-9a-f]{32}$/);
    expect(readdirSync(place.spoolDir)).toHaveLength(1);
    run.child.stdin?.end();
    expect((await run.ended).code).toBe(0);
    expect(existsSync(place.socket)).toBe(false);
  });

  test('a provider whose secret did not come', async () => {
    const place = placeIn(room());
    const run = start(['--child']);
    run.child.stdin?.write(input(place, ['first'], { secretFile: '/etc/x' }));
    await run.says('listening at');
    const states = [];
    for await (const state of brokerLogin(options(place, 'first'))) states.push(state);
    expect(states).toMatchObject([
      { at: 'failed', failure: { kind: 'config', what: expect.stringContaining('client secret of first') } },
    ]);
  });

  test('alone, from a file; SIGTERM ends it in good order', async () => {
    const place = placeIn(room());
    const [file, secret] = [join(place.dir, 'credmon.toml'), join(place.dir, 'secret')];
    writeFileSync(secret, 's3cret\n', { mode: 0o600 });
    writeFileSync(
      file,
      `[broker]\nsocket = "${place.socket}"\nchallenge_dir = "${place.challengeDir}"\nspool_dir = "${place.spoolDir}"\n` +
        `[providers.alone]\nissuer = "https://issuer.invalid"\nclient_id = "c"\nclient_secret_file = "${secret}"\n`,
    );
    if (root) asRoot(() => chownSync(secret, 65534, 65534));
    const socket = join(place.dir, 'other.sock');
    const run = start(['--config', file, '--socket', socket]);
    await run.says(`listening at ${socket}`);
    expect(await brokerAnswers(socket)).toBe(true);
    const raw = new Raw(socket);
    await raw.prove();
    asRoot(() => run.child.kill('SIGHUP'));
    await run.says('new configuration: alone');
    const before = performance.now();
    asRoot(() => run.child.kill('SIGTERM'));
    expect(await raw.refusal()).toMatchObject({ kind: 'transient' });
    const { code, err } = await run.ended;
    expect(code).toBe(0);
    expect(performance.now() - before).toBeLessThan(3000);
    expect(err).not.toContain('s3cret');
  });

  test('takes the sockets that systemd made, and leaves them there', async () => {
    const place = placeIn(room());
    const file = join(place.dir, 'credmon.toml');
    const pam = join(place.dir, 'pam.sock');
    writeFileSync(
      file,
      `[broker]\nsocket = "/nonexistent/socket"\nchallenge_dir = "${place.challengeDir}"\nspool_dir = "${place.spoolDir}"\n` +
        `[pam]\nenabled = true\nsocket = "/nonexistent/pam"\n[[pam.map]]\nclaim = "sub"\n` +
        '[providers.alone]\nissuer = "https://issuer.invalid"\nclient_id = "c"\n',
    );
    const sockets = [await bound(pam), await bound(place.socket)];
    const run = start(['--config', file], {
      sockets: sockets.map(({ fd }) => fd),
      env: { LISTEN_FDS: '2', LISTEN_FDNAMES: 'pam:broker' },
    });
    for (const fd of [3, 4]) await run.says(`listening at systemd's socket (descriptor ${fd})`);
    for (const { close } of sockets) close();
    expect(await brokerAnswers(place.socket)).toBe(true);
    const module = new Module(pam);
    module.send({ kind: 'account', user: 'mallory-2', connection: 'c:1', service: 'sshd', rhost: '', mode: 'login' });
    expect(await module.verdict()).toMatchObject({ result: 'denied' });
    asRoot(() => run.child.kill('SIGTERM'));
    const { code, err } = await run.ended;
    expect([code, err]).toEqual([0, expect.stringContaining('result=denied user="mallory-2"')]);
    // The next one is started by whoever connects.
    for (const path of [pam, place.socket]) expect(lstatSync(path).isSocket()).toBe(true);
  });

  test('a whole login with a real issuer, whose client secret the terminal never sees', async () => {
    const issuer = await startIssuer({ interval: 1 });
    cleanup(() => issuer.stop());
    const place = placeIn(room());
    const run = start(['--child']);
    const { client_id: clientId, client_secret: secret = '' } = confidentialClient;
    const provider = {
      issuer: issuer.url,
      clientId,
      secretFile: '/root/secret',
      scopes: ['openid', 'storage.read:/alice'],
    };
    run.child.stdin?.write(input(place, ['real'], provider, { real: secret }));
    await run.says('listening at');
    const states = [];
    for await (const state of brokerLogin(options(place, 'real'))) {
      states.push(state);
      if (state.at === 'code') await issuer.approve(state.linkComplete ?? state.code, { login: 'alice' });
    }
    expect(states.map(({ at }) => at)).toEqual(['starting', 'code', 'storing', 'done']);
    const [name = ''] = readdirSync(place.spoolDir);
    const record = JSON.parse(readFileSync(join(place.spoolDir, name), 'utf8'));
    expect(record).toMatchObject({ kind: 'grant', provider: 'real', token_type: 'bearer', iss: issuer.url });
    run.child.stdin?.end();
    const told = JSON.stringify(states) + (await run.ended).err;
    for (const hidden of [secret, record.refresh_token, record.access_token]) expect(told).not.toContain(hidden);
    expect(told).toContain(`handed over as ${record.id}`);
  });
});
