/**
 * The keyring as a desktop has it: keytar as its own install script builds it, a session bus, and gnome-keyring. The bus
 * is started from here rather than by dbus-run-session, so that its services can be stopped and continued by their pids;
 * it activates nothing by itself.
 */
import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { failureOf } from '../../src/core/failure.js';
import { type KeyringStore, keyringStore, type Probe, probeKeyring } from '../../src/stores/keyring.js';
import { openPersonalStore, type PersonalStore } from '../../src/stores/personal.js';
import { bare, kept, tokenStoreContract } from '../contracts/token-store.js';
import { must, run } from './lab/run.js';
import { until } from './lab/until.js';

const project = fileURLToPath(new URL('../..', import.meta.url));

/** The product with keytar, in a folder of its own. */
const copy = mkdtempSync(join(tmpdir(), 'credmon-keyring-'));
const helper = join(copy, 'dist', 'stores', 'keyring-child.js');
const obstacle = await prepare();
afterAll(() => rmSync(copy, { recursive: true, force: true }));

/** Says what is lacking, if something is. */
async function prepare(): Promise<string | undefined> {
  const lacking = async (): Promise<string | undefined> => {
    const programs = ['dbus-daemon', 'dbus-send', 'gnome-keyring-daemon', 'pkg-config', 'make', 'g++', 'python3'];
    for (const program of programs) {
      if ((await run(['sh', '-c', `command -v ${program}`])).code !== 0) return `${program} is not installed`;
    }
    if ((await run(['pkg-config', '--exists', 'libsecret-1'])).code !== 0) return 'libsecret-1-dev is not installed';
    return undefined;
  };
  const packages = 'dbus gnome-keyring libsecret-1-dev pkg-config make g++ python3'.split(' ');
  if ((await lacking()) !== undefined && process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')) {
    const apt = ['env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '-qq'];
    await run([...apt, 'update'], { limit: 300_000 });
    await run([...apt, 'install', '-y', '--no-install-recommends', ...packages], { limit: 600_000 });
  }
  return (await lacking()) ?? (await install());
}

async function install(): Promise<string | undefined> {
  for (const file of ['package.json', 'package-lock.json']) cpSync(join(project, file), join(copy, file));
  // It emits also what does not compile elsewhere in the tree; what is used here shows in the tests.
  const tsc = join(project, 'node_modules', '.bin', 'tsc');
  await run([tsc, '-p', join(project, 'tsconfig.build.json'), '--outDir', join(copy, 'dist')]);
  const npm = (...args: string[]): string[] => [
    'npm',
    '--prefix',
    copy,
    ...args,
    '--omit=dev',
    '--no-audit',
    '--no-fund',
  ];
  const env = ['env', 'npm_config_build_from_source=true'];
  const ci = await run([...env, ...npm('ci')], { limit: 300_000 });
  // A lock file that npm ci will not have still names the versions.
  const installed = ci.code === 0 ? ci : await run([...env, ...npm('install')], { limit: 300_000 });
  const keytar = join(copy, 'node_modules', 'keytar');
  const addon = join(keytar, 'build', 'Release', 'keytar.node');
  // npm 12 runs no install scripts of dependencies.
  if (existsSync(keytar) && !existsSync(addon))
    await run(['npm', '--prefix', keytar, 'run', 'build'], { limit: 300_000 });
  return existsSync(addon) ? undefined : `keytar was not built: ${installed.stderr.trim().split('\n').at(-1)}`;
}

type Env = Record<string, string>;

/** A session bus and, unless `keyring` is none, gnome-keyring on it. */
class Session {
  readonly home = mkdtempSync(join(tmpdir(), 'credmon-session-'));
  readonly env: Env = { PATH: process.env.PATH ?? '', HOME: this.home, XDG_RUNTIME_DIR: join(this.home, 'run') };
  keyringPid = 0;

  static async open(keyring: 'unlocked' | 'bare' | 'none' = 'unlocked'): Promise<Session> {
    const session = new Session();
    onTestFinished(() => rmSync(session.home, { recursive: true, force: true }));
    mkdirSync(join(session.home, 'run'), { mode: 0o700 });
    await session.startBus();
    if (keyring !== 'none') await session.startKeyring(keyring === 'unlocked');
    return session;
  }

  private start(argv: string[], stdin = ''): { pid: number; firstLine: Promise<string> } {
    const [file = '', ...args] = argv;
    const child = spawn(file, args, { env: this.env, stdio: ['pipe', 'pipe', 'ignore'] });
    child.stdin.on('error', () => undefined).end(stdin); // not everybody reads
    const lines = createInterface({ input: child.stdout });
    const ended = new Promise<void>((done) => child.once('close', () => done()));
    onTestFinished(() => {
      child.kill('SIGKILL');
      return ended;
    });
    return { pid: child.pid ?? 0, firstLine: new Promise((done) => lines.once('line', done)) };
  }

  private async startBus(): Promise<void> {
    const config = join(this.home, 'bus.conf');
    writeFileSync(
      config,
      `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
        "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
      <busconfig>
        <type>session</type><listen>unix:dir=${this.home}</listen><auth>EXTERNAL</auth>
        <policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
      </busconfig>`,
    );
    const bus = this.start(['dbus-daemon', `--config-file=${config}`, '--nofork', '--print-address=1']);
    this.env.DBUS_SESSION_BUS_ADDRESS = await bus.firstLine;
  }

  private async startKeyring(unlock: boolean): Promise<void> {
    const argv = ['gnome-keyring-daemon', '--foreground', '--components=secrets', ...(unlock ? ['--unlock'] : [])];
    this.keyringPid = this.start(argv, unlock ? 'password' : '').pid;
    await until(
      async () =>
        (
          await this.call(
            'org.freedesktop.DBus',
            '/',
            'org.freedesktop.DBus.NameHasOwner',
            'string:org.freedesktop.secrets',
          )
        ).includes('true')
          ? true
          : undefined,
      20_000,
      () => 'gnome-keyring-daemon did not come up',
    );
  }

  /** A method call on the bus; resolves to the reply as dbus-send prints it. */
  call(destination: string, path: string, method: string, ...args: string[]): Promise<string> {
    const environment = Object.entries(this.env).map(([name, value]) => `${name}=${value}`);
    const send = ['dbus-send', '--session', '--print-reply', '--reply-timeout=10000', `--dest=${destination}`];
    return must(['env', '-i', ...environment, ...send, path, method, ...args]);
  }

  secrets(method: string, ...args: string[]): Promise<string> {
    return this.call(
      'org.freedesktop.secrets',
      '/org/freedesktop/secrets',
      `org.freedesktop.Secret.Service.${method}`,
      ...args,
    );
  }

  lock(): Promise<string> {
    return this.secrets('Lock', 'array:objpath:/org/freedesktop/secrets/collection/login');
  }

  store(): KeyringStore {
    const store = keyringStore({ indexDir: join(this.home, '.local/state/credmon'), env: this.env, helper });
    onTestFinished(() => store.close());
    return store;
  }

  personal(): Promise<PersonalStore> {
    return openPersonalStore({ env: this.env, keyring: { helper } });
  }

  probe(): Promise<Probe> {
    return probeKeyring({ env: this.env, helper });
  }

  /** Runs the built product's code in a process of its own; `say` prints. */
  async node(code: string): Promise<unknown> {
    const environment = Object.entries(this.env).map(([name, value]) => `${name}=${value}`);
    const text = `const say = (value) => console.log(JSON.stringify(value ?? null)); const { env } = process; ${code}`;
    const out = await must(['env', '-i', ...environment, process.execPath, '--input-type=module', '-e', text], {
      limit: 20_000,
    });
    return JSON.parse(out);
  }
}

const failed = (act: Promise<unknown>): Promise<unknown> => act.then(() => undefined, failureOf);
const module = (name: string): string => JSON.stringify(join(copy, 'dist', 'stores', name));

describe.skipIf(obstacle)(`the keyring${obstacle ? ` (skipped: ${obstacle})` : ''}`, () => {
  tokenStoreContract('keyringStore with gnome-keyring', async () => (await Session.open()).store());

  test('is found, and the canary leaves nothing in it', async () => {
    const session = await Session.open();
    expect(await session.probe()).toEqual({ ok: true });
    expect(await session.secrets('SearchItems', 'dict:string:string:service,credmon')).not.toContain('object path');
    await session.store().save('cilogon', kept());
    expect(await session.secrets('SearchItems', 'dict:string:string:service,credmon')).toContain('object path');
  });

  test('one program saves, the next one loads, and neither stays behind', async () => {
    const session = await Session.open();
    const saved = await session.node(`
      const { openPersonalStore } = await import(${module('personal.js')});
      const store = await openPersonalStore({ env });
      await store.save('cilogon', ${JSON.stringify(kept())});
      say(store.place);`);
    expect(saved).toEqual({ kind: 'keyring' });
    expect(readFileSync(join(session.home, '.local/state/credmon/cilogon.json'), 'utf8')).not.toContain('refresh-x');
    const loaded = await session.node(`say(await (await import(${module('quick.js')})).quickToken(env));`);
    expect(loaded).toEqual({ id: 'cilogon', kept: kept() });
  });

  test('a locked one looks empty, but is not taken for empty', async () => {
    const session = await Session.open();
    const store = session.store();
    await store.save('cilogon', kept());
    await session.lock();
    expect(await store.list()).toEqual(['cilogon']);
    for (const [verb, act] of [
      ['read', () => store.load('cilogon')],
      ['save', () => store.save('cilogon', bare)],
      ['remove', () => store.remove('cilogon')],
    ] as const) {
      expect(await failed(act())).toMatchObject({
        kind: 'storage',
        what: `cannot ${verb} cilogon in the keyring: the keyring is locked`,
      });
    }
    expect(await session.probe()).toEqual({ ok: false, because: 'the keyring is locked' });
    const personal = await session.personal();
    expect(personal.place).toMatchObject({ kind: 'file', because: 'the keyring is locked' });
    expect(await failed(personal.load('cilogon'))).toMatchObject({ kind: 'storage' });
  });

  test('one that hangs is given up after three seconds, and is used again when it is back', async () => {
    const session = await Session.open();
    const store = session.store();
    await store.save('cilogon', kept());
    process.kill(session.keyringPid, 'SIGSTOP');
    const begin = performance.now();
    expect(await failed(store.load('cilogon'))).toMatchObject({
      kind: 'storage',
      what: 'cannot read cilogon in the keyring: the keyring did not answer within 3 s',
    });
    expect(performance.now() - begin).toBeLessThan(5000);
    const personal = await session.personal();
    expect(personal.place).toMatchObject({ kind: 'file', because: 'the keyring did not answer within 3 s' });
    process.kill(session.keyringPid, 'SIGCONT');
    expect(await store.load('cilogon')).toEqual(kept());
  });

  test('one that dies', async () => {
    const session = await Session.open();
    const store = session.store();
    await store.save('cilogon', kept());
    process.kill(session.keyringPid, 'SIGKILL');
    expect(await failed(store.load('cilogon'))).toMatchObject({ kind: 'storage' });
    expect(await store.list()).toEqual(['cilogon']);
  });

  test('what was deleted by another program is said to be gone', async () => {
    const session = await Session.open();
    const store = session.store();
    await store.save('cilogon', kept());
    const reply = await session.secrets('SearchItems', 'dict:string:string:service,credmon');
    const item = /object path "([^"]+)"/.exec(reply)?.[1] ?? '';
    await session.call('org.freedesktop.secrets', item, 'org.freedesktop.Secret.Item.Delete');
    await expect(store.load('cilogon')).rejects.toThrow('cilogon is no longer in the keyring');
    expect(await store.remove('cilogon')).toBe(true);
  });

  test('one that nobody has set up, and none at all', async () => {
    expect(await (await Session.open('bare')).probe()).toEqual({
      ok: false,
      because: 'the keyring has not been set up',
    });
    expect(await (await Session.open('none')).probe()).toEqual({ ok: false, because: 'no Secret Service is running' });
  });

  test('without D-Bus there is the file, with its reason', async () => {
    for (const address of [undefined, 'unix:path=/nowhere']) {
      const session = await Session.open('none');
      if (address === undefined) delete session.env.DBUS_SESSION_BUS_ADDRESS;
      else session.env.DBUS_SESSION_BUS_ADDRESS = address;
      const place = await session.node(`
        const { openPersonalStore } = await import(${module('personal.js')});
        const store = await openPersonalStore({ env });
        await store.save('cilogon', ${JSON.stringify(kept())});
        say(store.place);`);
      const path = join(session.home, '.local/state/credmon');
      expect(place).toEqual({ kind: 'file', path, because: 'no D-Bus session' });
      const loaded = await session.node(`say(await (await import(${module('quick.js')})).quickToken(env));`);
      expect(loaded).toEqual({ id: 'cilogon', kept: kept() });
    }
  });

  test('without keytar, or with one that does not load', async () => {
    const session = await Session.open();
    const other = join(session.home, 'product');
    cpSync(join(copy, 'dist'), join(other, 'dist'), { recursive: true });
    writeFileSync(join(other, 'package.json'), '{"type":"module"}');
    const probe = (): Promise<Probe> =>
      probeKeyring({ env: session.env, helper: join(other, 'dist/stores/keyring-child.js') });
    expect(await probe()).toEqual({ ok: false, because: 'keytar is not installed' });
    cpSync(join(copy, 'node_modules/keytar'), join(other, 'node_modules/keytar'), { recursive: true });
    writeFileSync(join(other, 'node_modules/keytar/build/Release/keytar.node'), 'not a library');
    expect(await probe()).toEqual({
      ok: false,
      because: 'keytar cannot be loaded, perhaps because libsecret is not installed',
    });
  });
});
