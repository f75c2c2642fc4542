import { spawn } from 'node:child_process';
import { chmodSync, mkdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { openSshWorld, sshFindings } from '../../../src/commands/doctor/checks/ssh.js';
import { runInstall } from '../../../src/commands/pam/run.js';
import { loadConfig } from '../../../src/config/load.js';
import { debianFiles, furnish } from '../pam/machine.js';
import { put, room, weAreRoot } from '../room.js';

const module = '/usr/lib/x86_64-linux-gnu/security/pam_credmon.so';

async function machine() {
  const root = room();
  furnish(root, { ...debianFiles(), [module]: 'ELF', '/etc/group': '' });
  const socket = '/run/credmon/pam/socket';
  mkdirSync(dirname(root + socket), { recursive: true });
  for (const folder of ['/run', '/run/credmon', '/run/credmon/pam']) chmodSync(root + folder, 0o755);
  const server = createServer().listen(root + socket);
  await new Promise((resolve) => server.once('listening', resolve));
  onTestFinished(() => void server.close());
  chmodSync(root + socket, 0o600);
  const toml = `[providers.i]\nissuer = "https://i.example"\nclient_id = "x"\n[pam]\nenabled = true\nsocket = "${socket}"\n[[pam.map]]\nclaim = "eppn"\n`;
  const file = put(join(room(), 'c.toml'), toml);
  const config = await loadConfig({ env: {}, file });
  const look = async () =>
    (await sshFindings(await openSshWorld(config, { root, mayAsk: true }))).map(({ id, level }) => `${level} ${id}`);
  const install = async (mode: 'login' | 'seed' = 'login') => {
    const write = process.stdout.write;
    process.stdout.write = () => true;
    const usual = { mode, exceptGroup: [], except: true, hook: false, dryRun: false, yes: true };
    await runInstall({ ...usual, reload: false, root, config: file }).finally(() => {
      process.stdout.write = write;
    });
  };
  return { root, socket, look, install, config };
}

const bad = (found: readonly string[]) => found.filter((one) => !one.startsWith('ok'));

test('nothing is wrong with what was installed', async () => {
  const { look, install } = await machine();
  expect(bad(await look()).filter((one) => !mayBe.includes(one))).toEqual(['warning ssh.stack']);
  await install();
  expect(bad(await look()).filter((one) => !mayBe.includes(one))).toEqual([]);
});

/** The tests' own folders are everybody's, and files another's than root's; and somebody may have built a real module here. */
const mayBe = [
  'error ssh.socket-folder',
  'warning ssh.module-other',
  ...(weAreRoot ? [] : ['error ssh.module-open', 'error ssh.socket-open']),
];

test('what is: the socket, the module, lines that are gone, an installation that was cut short', async () => {
  const { root, socket, look, install } = await machine();
  await install();
  const stack = join(root, 'etc/pam.d/sshd');
  const { readFileSync } = await import('node:fs');
  const text = readFileSync(stack, 'utf8');
  writeFileSync(stack, text.replace(/^account.*pam_credmon.*\n/m, ''));
  expect(await look()).toContain('error ssh.account');
  expect(await look()).toContain('warning ssh.changed');
  writeFileSync(stack, text.replace(/^session.*pam_credmon.*\n/m, ''));
  expect(await look()).toContain('error ssh.session');
  writeFileSync(stack, text);

  const manifest = join(root, 'var/lib/credmon/pam-backup/manifest.json');
  writeFileSync(manifest, readFileSync(manifest, 'utf8').replace('"installed"', '"begun"'));
  expect(await look()).toContain('error ssh.begun');

  chmodSync(root + socket, 0o666);
  expect(await look()).toContain('error ssh.socket-open');
  rmSync(root + socket);
  expect(await look()).toContain('error ssh.socket');

  chmodSync(root + module, 0o666);
  expect(await look()).toContain('error ssh.module-open');
  rmSync(root + module);
  expect(await look()).toContain('error ssh.module');
});

test('an sshd that was started before the drop-in was written', async () => {
  const { root, look, install } = await machine();
  await install();
  const program = join(room(), 'sshd');
  symlinkSync('/bin/sh', program);
  const sshd = spawn(program, ['-c', 'read line'], { stdio: ['pipe', 'ignore', 'ignore'] });
  onTestFinished(() => void sshd.kill());
  await new Promise((resolve) => sshd.once('spawn', resolve));
  const pidFile = put(join(root, 'run/sshd.pid'), `${sshd.pid}\n`);
  expect(await look()).not.toContain('warning ssh.unread');
  utimesSync(pidFile, 1, 1);
  expect(await look()).toContain('warning ssh.unread');
  // One that has died tells nothing.
  put(pidFile, `${process.pid}\n`);
  utimesSync(pidFile, 1, 1);
  expect(await look()).not.toContain('warning ssh.unread');
});

test('passwords that were forbidden after the dialogue was switched on', async () => {
  const { root, config, install } = await machine();
  await install('seed');
  const world = await openSshWorld(config, { root, mayAsk: true });
  const found = async (passwords: string) => {
    const told = {
      ...{ usepam: 'yes', kbdinteractiveauthentication: 'yes', authenticationmethods: 'any' },
      ...{ passwordauthentication: passwords, logingracetime: '300', maxstartups: '250:30:400' },
    };
    const sshd = {
      ...{ path: '/usr/sbin/sshd', version: [9, 2] as const, test: async () => undefined },
      effective: async () => new Map(Object.entries(told).map(([keyword, value]) => [keyword, [value]])),
    };
    return (await sshFindings({ ...world, sshd })).map(({ id, level }) => `${level} ${id}`);
  };
  expect(await found('yes')).toContain('ok ssh.sshd');
  expect(await found('no')).toContain('error ssh.passwords');
});

test('where the broker does not answer sshd nothing is looked at, but by status', async () => {
  const { config, root } = await machine();
  const { pam: _, ...off } = config;
  const found = await sshFindings(await openSshWorld(off, { root, mayAsk: false }));
  expect(found.map(({ id }) => id)).toContain('ssh.off');
});
