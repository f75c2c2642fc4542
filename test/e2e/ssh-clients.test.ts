import { copyFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Door, doorToml, installPam, left, makeDoor, people, startDoor } from './lab/door.js';
import { installCredmon } from './lab/install.js';
import { type IssuerProcess, startIssuerProcess } from './lab/issuer.js';
import { sure, untilTrue } from './lab/point.js';
import { enter, leave, obstacleTo, path, root } from './lab/pool.js';
import { type Release, template } from './lab/room.js';
import {
  dialogue,
  key,
  makeHost,
  newSource,
  openClient,
  pressEnter,
  type Sshd,
  said,
  shownCode,
  startSshd,
} from './lab/ssh.js';

/** Other clients than OpenSSH's usual one, against an sshd that shows text only with a prompt, and one that shows it at once. */
const hosts = { trixie: false, forky: true } as const satisfies Partial<Record<Release, boolean>>;
type Host = keyof typeof hosts;

const obstacles = new Map<Release, string | undefined>();
for (const host of [...Object.keys(hosts), 'bookworm'] as Release[]) obstacles.set(host, await obstacleTo(host));

let issuer: IssuerProcess;
let sshd: Sshd;
let door: Door;
let fingerprint = '';

const who = `'echo in as $(id -un)'`;
const clients = [
  [
    'dbclient (dropbear)',
    () => `dbclient -y -i ${key}.dropbear -b ${newSource()} -p ${sshd.port} alice@127.0.0.1 ${who}`,
  ],
  [
    'plink (PuTTY)',
    () => `plink -ssh -no-antispoof -hostkey ${fingerprint} -i ${key}.ppk -P ${sshd.port} alice@127.0.0.1 ${who}`,
  ],
  [
    'python3-paramiko',
    () => `python3 -W ignore /opt/paramiko-login.py ${sshd.port} ${newSource()} alice ${key} ${who}`,
  ],
  ['libssh', () => `/opt/libssh-login ${sshd.port} ${newSource()} alice ${key} ${who}`],
  ['ssh -q', () => `ssh -q -b ${newSource()} alice@ap1 ${who}`],
  ['ssh with LC_ALL=C', () => `LC_ALL=C ssh -b ${newSource()} alice@ap1 ${who}`],
  ['ssh -v', () => `ssh -v -b ${newSource()} alice@ap1 ${who}`],
] as const;

describe.each(Object.keys(hosts) as Host[])('other ssh clients, Debian %s', (host) => {
  const obstacle = obstacles.get(host);
  if (obstacle !== undefined) return test.skip(`(${obstacle})`, () => undefined);

  beforeAll(async () => {
    issuer = await startIssuerProcess({ life: 3600, behaviour: { claims: people } });
    await enter(host);
    await installCredmon();
    await makeHost();
    await makeDoor(doorToml(issuer));
    for (const name of ['paramiko-login.py', 'libssh-login.c'])
      await copyFile(fileURLToPath(new URL(`lab/clients/${name}`, import.meta.url)), path(`/opt/${name}`));
    await sure(
      root(`set -e
        gcc -Wall -Wextra -Werror -o /opt/libssh-login /opt/libssh-login.c -lssh
        dropbearconvert openssh dropbear ${key} ${key}.dropbear 2>/dev/null
        puttygen ${key} -O private -o ${key}.ppk
        chmod 644 ${key}.*`),
    );
    await installPam();
    if (!obstacles.get('bookworm')) await copyFile(`${template('bookworm')}/usr/bin/ssh`, path('/opt/ssh-9.2'));
    sshd = await startSshd();
    door = await startDoor();
    fingerprint = (await sure(root('ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub'))).split(' ')[1] ?? '';
  });
  afterAll(async () => {
    await door?.stop();
    await sshd?.stop();
    await leave();
    await issuer?.stop();
  });

  test.each(clients)(
    '%s: the link and the code are there to read, and once approved it is let in',
    async (_, command) => {
      const terminal = await openClient(command());
      onTestFinished(() => terminal.close());
      const code = shownCode(await dialogue(terminal));
      expect((await said(terminal)).replaceAll(/ \| | /g, '')).toContain(`${issuer.url}/device?user_code=${code}`);
      const { logins = 0 } = await issuer.counts();
      await issuer.approve(code, 'alice');
      await untilTrue('approved', async () => ((await issuer.counts()).logins ?? 0) > logins);
      if (!hosts[host]) await pressEnter(terminal);
      await terminal.waitFor('in as alice');
      expect(await terminal.exitCode()).toBe(0);
      expect(await left()).toContain('spool/');
    },
  );

  test.skipIf(hosts[host])('on 80x24 the picture is whole, without scrolling', async () => {
    const terminal = await openClient(`clear; ssh -b ${newSource()} alice@ap1`);
    onTestFinished(() => terminal.close());
    await dialogue(terminal);
    const picture = (text: string) => text.split('\n').filter((line) => /[▀▄█]{3}/.test(line));
    const all = picture(await terminal.history());
    expect(all.length).toBeGreaterThan(14);
    expect(picture(await terminal.screen())).toEqual(all);
  });

  test('on 40 columns the code is whole, and the link is all that is on its lines', async () => {
    const terminal = await openClient(`ssh -b ${newSource()} alice@ap1`, { cols: 40 });
    onTestFinished(() => terminal.close());
    const screen = await dialogue(terminal);
    const code = shownCode(screen);
    expect(screen).toMatch(new RegExp(`^.*code  ${code}$`, 'm'));
    expect(screen.split('\n').join('')).toMatch(new RegExp(`any device:${issuer.url}/device\\?user_code=${code}and`));
  });

  const old = obstacles.get('bookworm');
  describe.runIf(hosts[host] && old === undefined)('a client as old as OpenSSH 9.2', () => {
    test('shows it, and is let in', async () => {
      expect((await root('/opt/ssh-9.2 -V')).stderr).toContain('OpenSSH_9.2');
      const terminal = await openClient(`/opt/ssh-9.2 -b ${newSource()} alice@ap1 ${who}`);
      onTestFinished(() => terminal.close());
      await issuer.approve(shownCode(await dialogue(terminal)), 'alice');
      await terminal.waitFor('in as alice');
    });

    test('that is to be quiet shows nothing of it: there the prompt has to hold it, also with a new sshd', async () => {
      const quiet = () => openClient(`/opt/ssh-9.2 -q -b ${newSource()} alice@ap1 ${who}`);
      const { deviceAuthorizations = 0 } = await issuer.counts();
      const blind = await quiet();
      onTestFinished(() => blind.close());
      const asked = async () => ((await issuer.counts()).deviceAuthorizations ?? 0) > deviceAuthorizations;
      await untilTrue('it has a code', asked);
      await sure(root('echo always >/etc/credmon/pam-prompt'));
      const terminal = await quiet();
      onTestFinished(() => terminal.close());
      await dialogue(terminal);
      expect(await blind.screen()).toBe('');
      await sure(root('echo never >/etc/credmon/pam-prompt'));
    });
  });
});
