import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Door, doorToml, makeDoor, people, startDoor } from './lab/door.js';
import { installCredmon } from './lab/install.js';
import { type IssuerProcess, startIssuerProcess } from './lab/issuer.js';
import { sure, untilTrue } from './lab/point.js';
import { enter, leave, obstacleTo, root } from './lab/pool.js';
import type { Release } from './lab/room.js';
import {
  dialogue,
  makeHost,
  newSource,
  openClient,
  prompt,
  runClient,
  type Sshd,
  shownCode,
  startSshd,
} from './lab/ssh.js';
import type { Terminal } from './lab/terminal.js';

/** credmon pam install on a Debian as it is shipped, and then people log in. Which sshd, and whether it shows text at once. */
const hosts = { bookworm: false, forky: true } as const satisfies Partial<Record<Release, boolean>>;
type Host = keyof typeof hosts;

const obstacles = new Map<Host, string | undefined>();
for (const host of Object.keys(hosts) as Host[]) obstacles.set(host, await obstacleTo(host));

let issuer: IssuerProcess;
let sshd: Sshd;
let door: Door;

/** All that a login could go by: contents, modes, owners and times. */
const etc = () =>
  sure(
    root(`cd /etc && find . -xdev \\( -type f -o -type d \\) ! -name .pwd.lock -printf '%p %m %u:%g %y\\n' | sort;
    find ssh pam.d profile.d -type f -printf '%p %T@\\n' -exec sha256sum {} + | sort`),
  );

async function ssh(words: string): Promise<Terminal> {
  const terminal = await openClient(`ssh -p ${sshd.port} -b ${newSource()} ${words}`);
  onTestFinished(() => terminal.close());
  return terminal;
}

const byKey = (user: string) => runClient(`ssh -p ${sshd.port} -b ${newSource()} ${user}@ap1 id -un`);

/** sshd reads its files when it starts. */
async function restartSshd(): Promise<void> {
  await sshd.stop();
  sshd = await startSshd();
}

describe.each(Object.keys(hosts) as Host[])('credmon pam install, Debian %s', (host) => {
  const obstacle = obstacles.get(host);
  if (obstacle !== undefined) return test.skip(`(${obstacle})`, () => undefined);
  let before = '';

  beforeAll(async () => {
    issuer = await startIssuerProcess({ life: 3600, behaviour: { claims: people } });
    await enter(host);
    await installCredmon();
    await makeHost();
    await makeDoor(doorToml(issuer));
    await sure(root('groupadd ops; usermod -aG ops bob; printf "%s:pass-of-%s\\\\n" alice alice root root | chpasswd'));
    door = await startDoor();
    sshd = await startSshd();
    before = await etc();
  });
  afterAll(async () => {
    await door?.stop();
    await sshd?.stop();
    await leave();
    await issuer?.stop();
  });

  test('--dry-run changes nothing; without a terminal it does not go on by itself', async () => {
    const shown = await sure(root('credmon pam install --except-group ops --dry-run'));
    expect(shown).toContain('+AuthenticationMethods publickey,keyboard-interactive:pam');
    expect((await root('credmon pam install --except-group ops')).stderr).toContain('say --yes');
    expect(await etc()).toBe(before);
  });

  test('where no sshd is found that could be told to read its files, --reload puts everything back', async () => {
    const done = await root('credmon pam install --except-group ops --yes --reload');
    expect([done.code, done.stderr]).toEqual([69, expect.stringContaining('no sshd was found')]);
    expect(await etc()).toBe(before);
  });

  test('login: after a key the login by device; root and the excepted group by key alone', async () => {
    await sure(root('credmon pam install --mode login --except-group ops --yes'));
    expect(await sure(root('cat /etc/credmon/pam-prompt'))).toMatch(hosts[host] ? /^never\n/ : /^always\n/);
    await restartSshd();
    const terminal = await ssh('alice@ap1');
    const { logins = 0 } = await issuer.counts();
    await issuer.approve(shownCode(await dialogue(terminal)), 'alice');
    await untilTrue('the broker has heard of it', async () => ((await issuer.counts()).logins ?? 0) > logins);
    if (!hosts[host]) await terminal.type('\r');
    expect(prompt.exec(await terminal.waitFor(prompt))?.[1]).toBe('alice');
    const { deviceAuthorizations } = await issuer.counts();
    for (const user of ['root', 'bob']) expect(await byKey(user)).toMatchObject({ code: 0, stdout: `${user}\n` });
    expect((await issuer.counts()).deviceAuthorizations).toBe(deviceAuthorizations);
    if (!hosts[host]) expect((await byKey('carol')).code).toBe(255);
  });

  test('it finds nothing wrong with itself, and nothing left to do', async () => {
    const { code, stdout } = await root('credmon pam status');
    expect([code, stdout]).toEqual([0, expect.stringContaining('Installed: login, but not for ops')]);
    expect(stdout).not.toMatch(/ERROR|warn/);
    expect(await sure(root('credmon pam install --yes'))).toContain('Nothing is left to do');
  });

  test('while the broker is down root and the excepted group get in, and nobody else', async () => {
    await door.stop();
    for (const user of ['root', 'bob']) expect(await byKey(user)).toMatchObject({ code: 0, stdout: `${user}\n` });
    const terminal = await ssh('alice@ap1');
    expect(await terminal.exitCode()).toBe(255);
    door = await startDoor();
  });

  test('uninstall puts everything back, and people get in as before', async () => {
    await sure(root('credmon pam uninstall --yes'));
    expect(await etc()).toBe(before);
    await restartSshd();
    expect(await byKey('alice')).toMatchObject({ code: 0, stdout: 'alice\n' });
  });

  describe('seed', () => {
    beforeAll(async () => {
      await sure(root('credmon pam install --mode seed --yes'));
      await restartSshd();
    });

    const withPassword = async (words = '') => {
      const terminal = await ssh(`-o PubkeyAuthentication=no ${words} alice@ap1`);
      await terminal.waitFor(/assword: *$/);
      await terminal.type('pass-of-alice\r');
      return terminal;
    };

    test('keys get in as before, also where nobody is at a terminal', async () => {
      expect(await byKey('alice')).toMatchObject({ code: 0, stdout: 'alice\n' });
      expect(await byKey('-o BatchMode=yes alice')).toMatchObject({ code: 0, stdout: 'alice\n' });
    });

    test('after the password somebody is asked for a credential, and may go on without', async () => {
      const terminal = await withPassword();
      await dialogue(terminal);
      await terminal.type('\r');
      expect(prompt.exec(await terminal.waitFor(prompt, 40_000))?.[1]).toBe('alice');
    });

    test('root, who may not come by password, may not by keyboard-interactive either', async () => {
      const terminal = await ssh(
        '-o PubkeyAuthentication=no -o PreferredAuthentications=keyboard-interactive -o NumberOfPasswordPrompts=1 root@ap1',
      );
      await terminal.waitFor(/assword: *$/);
      await terminal.type('pass-of-root\r');
      expect(await terminal.exitCode()).toBe(255);
    });

    test('a wrong password is asked for nothing', async () => {
      const { deviceAuthorizations } = await issuer.counts();
      const terminal = await ssh(
        '-o PubkeyAuthentication=no -o PreferredAuthentications=keyboard-interactive -o NumberOfPasswordPrompts=1 alice@ap1',
      );
      await terminal.waitFor(/assword: *$/);
      await terminal.type('wrong\r');
      expect(await terminal.exitCode()).toBe(255);
      expect((await issuer.counts()).deviceAuthorizations).toBe(deviceAuthorizations);
    });

    test('while the broker is down people get in as before', async () => {
      await door.stop();
      const terminal = await withPassword();
      expect(prompt.exec(await terminal.waitFor(prompt))?.[1]).toBe('alice');
      door = await startDoor();
    });

    test('the method that is called password gets in, too', async () => {
      const terminal = await withPassword('-o PreferredAuthentications=password');
      expect(prompt.exec(await terminal.waitFor(prompt, 40_000))?.[1]).toBe('alice');
    });

    test('uninstall puts everything back', async () => {
      await sure(root('credmon pam uninstall --yes'));
      expect(await etc()).toBe(before);
    });
  });
});
