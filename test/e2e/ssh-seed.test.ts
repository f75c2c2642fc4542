import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Door, doorKnobs, doorSocket, installPam, left, makeDoor, people, startDoor } from './lab/door.js';
import { installCredmon } from './lab/install.js';
import { type IssuerProcess, startIssuerProcess } from './lab/issuer.js';
import { credmondUp, credmonKnobs, filesOf, sure, untilTrue } from './lab/point.js';
import { as, installs, leave, root, startPool, stopPool } from './lab/pool.js';
import {
  dialogue,
  makeHost,
  newSource,
  openClient,
  pressEnter,
  prompt,
  runClient,
  type Sshd,
  said,
  shownCode,
  startSshd,
} from './lab/ssh.js';
import type { Terminal } from './lab/terminal.js';

const obstacle = await installs();

let issuer: IssuerProcess;
let sshd: Sshd;
let door: Door;

/** A person's ssh, from an address that nobody else comes from. */
async function ssh(words: string): Promise<Terminal> {
  const terminal = await openClient(`ssh -b ${newSource()} ${words}`);
  onTestFinished(() => terminal.close());
  return terminal;
}

/** Approves on the phone what the terminal shows, and says so there. */
async function approve(terminal: Terminal, login: string): Promise<void> {
  const code = shownCode(await dialogue(terminal));
  const { logins = 0 } = await issuer.counts();
  await issuer.approve(code, login);
  await untilTrue('the broker has heard of it', async () => ((await issuer.counts()).logins ?? 0) > logins);
  await pressEnter(terminal);
}

const codesAsked = async () => (await issuer.counts()).deviceAuthorizations ?? 0;

/** Whether credmond says that all is well with the credentials of this person. */
const isWell = async (user: string) =>
  / ok /.test((await root(`head -1 /var/lib/credmon/status/login/${user}`)).stdout);

/** mode=seed: people get in by what they have, and are asked for a credential on the way if they have none. */
describe.skipIf(obstacle)(`ssh brings a credential along${obstacle ? ` (skipped: ${obstacle})` : ''}`, () => {
  beforeAll(async () => {
    issuer = await startIssuerProcess({ life: 3600, behaviour: { claims: people } });
    await installCredmon();
    await makeHost();
    await makeDoor();
    await startPool({ knobs: credmonKnobs('cilogon') + doorKnobs(issuer) });
    await credmondUp();
    await installPam('--mode seed --after key');
    sshd = await startSshd();
    door = await startDoor();
  });
  afterAll(async () => {
    await door?.stop();
    await sshd?.stop();
    await stopPool();
    await leave();
    await issuer?.stop();
  });

  describe('after a key', () => {
    test('Enter alone goes on without, and nothing is seeded', async () => {
      const before = await left();
      const terminal = await ssh('alice@ap1');
      expect(await dialogue(terminal)).toContain('Enter alone goes on without');
      const { polls = 0 } = await issuer.counts();
      await untilTrue('polled', async () => ((await issuer.counts()).polls ?? 0) > polls);
      await pressEnter(terminal);
      await terminal.waitFor(prompt, 20_000);
      expect(await said(terminal)).toContain('credmon login');
      expect(await left()).toBe(before);
    });

    test('denied, or approved by somebody else: in all the same, and nothing is seeded', async () => {
      const before = await left();
      const denied = await ssh('alice@ap1');
      const { polls = 0 } = await issuer.counts();
      await issuer.deny(shownCode(await dialogue(denied)));
      await untilTrue('heard', async () => ((await issuer.counts()).polls ?? 0) > polls);
      await pressEnter(denied);
      await denied.waitFor(prompt);
      const other = await ssh('alice@ap1');
      await approve(other, 'bob');
      await other.waitFor(prompt);
      expect(await said(other)).toContain('approved as bob');
      expect(await left()).toBe(before);
    });

    test('approved, the credential is there, and next time there is silence', async () => {
      const terminal = await ssh('alice@ap1');
      await approve(terminal, 'alice');
      await terminal.waitFor(prompt);
      expect(await said(terminal)).toContain('a credential for cilogon is stored');
      await untilTrue('stored', async () => (await filesOf('alice')).length === 3);
      expect(await filesOf('alice')).toEqual([
        'alice 2700 condor:condor',
        'alice/cilogon.top 600 root:condor',
        'alice/cilogon.use 400 root:condor',
      ]);
      await untilTrue('credmond says so', () => isWell('alice'));
      const asked = await codesAsked();
      const next = await ssh('-o LogLevel=VERBOSE alice@ap1 echo in');
      expect(await next.exitCode()).toBe(0);
      expect(await said(next)).not.toMatch(/credmon|code|Enter/);
      expect(await codesAsked()).toBe(asked);
    });

    test('who has no key does not get in by an approval', async () => {
      const { code, stdout } = await runClient(`ssh -o PubkeyAuthentication=no -b ${newSource()} alice@ap1 echo in`);
      expect({ code, stdout }).toEqual({ code: 255, stdout: '' });
    });

    /** Nobody is at a terminal in any of these. */
    const programs = [
      ['ssh', (port: number) => `ssh -p ${port} alice@ap1 echo in`, 'in\n'],
      ['scp', (port: number) => `scp -q -P ${port} /etc/hosts alice@ap1:copy`, ''],
      ['rsync', (port: number) => `rsync -e 'ssh -p ${port}' /etc/hosts alice@ap1:copy`, ''],
      ['sftp', (port: number) => `sh -c 'echo get copy got | sftp -q -P ${port} alice@ap1 >/dev/null'`, ''],
      [
        'git',
        (port: number) => `sh -c 'rm -rf repo; GIT_SSH_COMMAND="ssh -p ${port}" git clone -q alice@ap1:repo'`,
        '',
      ],
    ] as const;
    describe.each(programs)('%s with nobody at a terminal', (_, command, stdout) => {
      beforeAll(() =>
        sure(
          as(
            'alice',
            'test -e repo || { git init -q repo; cd repo; git -c user.name=a -c user.email=a commit -q --allow-empty -m a; }',
          ),
        ),
      );

      test('is unharmed and silent, with a good credential', async () => {
        expect(await runClient(command(sshd.port))).toEqual({ code: 0, stdout, stderr: '' });
      });

      test('is unharmed without one', async () => {
        const without = command(sshd.port).replaceAll('alice', 'bob');
        await sure(root('test -e /home/bob/repo || { cp -r /home/alice/repo /home/bob; chown -R bob: /home/bob; }'));
        await as('bob', 'cp /etc/hosts copy');
        const begun = performance.now();
        expect(await runClient(without)).toMatchObject({ code: 0, stdout });
        expect(performance.now() - begun).toBeLessThan(5000);
      });
    });

    test('over a connection that is shared nothing is asked, with or without a credential', async () => {
      const control = '-o ControlPath=/tmp/carol-%C -o ControlPersist=60';
      const terminal = await ssh(`-M ${control} bob@ap1`);
      await dialogue(terminal);
      const { polls = 0 } = await issuer.counts();
      await untilTrue('polled', async () => ((await issuer.counts()).polls ?? 0) > polls);
      await pressEnter(terminal);
      await terminal.waitFor(prompt, 20_000);
      const asked = await codesAsked();
      for (const command of [`ssh ${control} bob@ap1 echo in`, `ssh -o BatchMode=yes ${control} bob@ap1 echo in`])
        expect(await runClient(command)).toEqual({ code: 0, stdout: 'in\n', stderr: '' });
      expect(await codesAsked()).toBe(asked);
      await as('carol', `ssh -O exit ${control} bob@ap1`);
    });

    describe('whatever breaks, people with a key get in', () => {
      /** bob has no credential, and is in within so many milliseconds. */
      const getsIn = async (limit = 5000) => {
        const begun = performance.now();
        const terminal = await ssh('bob@ap1 echo in');
        expect(await terminal.exitCode(limit)).toBe(0);
        expect(await said(terminal)).toMatch(/in$/);
        expect(performance.now() - begun).toBeLessThan(limit);
      };

      test('the issuer does not listen', async () => {
        await door.stop();
        door = await startDoor({ _CONDOR_cilogon_ISSUER: 'http://127.0.0.1:9' });
        await getsIn();
        await door.stop();
        door = await startDoor();
      });

      test('the issuer does not answer', async () => {
        await issuer.delay(60_000);
        await getsIn(21_000);
        await issuer.delay(0);
      });

      test('the broker is killed in the dialogue, and is not there after that', async () => {
        const before = await left();
        const terminal = await ssh('bob@ap1');
        await dialogue(terminal);
        await door.stop('KILL');
        await pressEnter(terminal);
        await terminal.waitFor(prompt);
        await getsIn();
        await sure(root('mv /run/credmon/pam /run/credmon/away'));
        await getsIn();
        await sure(root('mv /run/credmon/away /run/credmon/pam'));
        expect(await left()).toBe(before);
      });

      test('somebody else has the socket, and says no, or nothing', async () => {
        const no = Buffer.from([1, 66, 0, 9, 33, 0, 6, ...Buffer.from('denied')]).toString('hex');
        for (const answer of [`peer.write(Buffer.from("${no}", "hex"))`, '0']) {
          await sure(root(`rm -f ${doorSocket}; chown carol /run/credmon/pam`));
          const program = `require("net").createServer((peer) => peer.on("error", () => {}).on("data", () => ${answer})).listen("${doorSocket}")`;
          const impostor = as('carol', `exec node -e '${program}'`, { limit: 60_000 });
          await untilTrue('he listens', async () => (await root(`test -S ${doorSocket}`)).code === 0);
          await getsIn();
          await sure(root(`pkill -u carol -x node; rm -f ${doorSocket}; chown credmon /run/credmon/pam`));
          await impostor;
        }
        door = await startDoor();
      });

      test('the module has an option that it does not know', async () => {
        await sure(
          root('cp -p /etc/pam.d/sshd /root/stack && sed -i "s/mode=seed/mode=seed moed=seed/" /etc/pam.d/sshd'),
        );
        await getsIn();
        await sure(root('cp -p /root/stack /etc/pam.d/sshd'));
      });
    });

    test('BatchMode is shut out, since sshd is made to demand what it switches off: so this way is nobody’s default', async () => {
      const { code, stderr } = await runClient(`ssh -o BatchMode=yes -b ${newSource()} alice@ap1 true`);
      expect({ code, stderr }).toEqual({ code: 255, stderr: expect.stringContaining('(keyboard-interactive)') });
    });
  });

  describe('after a password', () => {
    beforeAll(async () => {
      await sshd.stop();
      await sure(root('credmon pam uninstall --yes && echo bob:correct-horse | chpasswd'));
      expect(await installPam('--mode seed')).toContain('after a password');
      sshd = await startSshd();
    });

    const byPassword = '-o PreferredAuthentications=keyboard-interactive -o NumberOfPasswordPrompts=1';

    test('the wrong one: refused, and nobody is asked to approve anything', async () => {
      const asked = await codesAsked();
      const terminal = await ssh(`-p ${sshd.port} ${byPassword} bob@ap1`);
      await terminal.waitFor(/assword: *$/);
      await terminal.type('wrong\r');
      expect(await terminal.exitCode(15_000)).toBe(255);
      expect(await codesAsked()).toBe(asked);
    });

    test('the right one: then the dialogue, and approved it is seeded', async () => {
      const terminal = await ssh(`-p ${sshd.port} ${byPassword} bob@ap1`);
      await terminal.waitFor(/assword: *$/);
      await terminal.type('correct-horse\r');
      await approve(terminal, 'bob');
      await terminal.waitFor(prompt);
      await untilTrue('stored', async () => (await filesOf('bob')).length === 3);
      await untilTrue('credmond says so', () => isWell('bob'));
      const next = await ssh(`-p ${sshd.port} ${byPassword} bob@ap1 echo in`);
      await next.waitFor(/assword: *$/);
      await next.type('correct-horse\r');
      expect(await next.exitCode()).toBe(0);
    });

    test('by key nothing is asked at all, BatchMode gets in, and the broker may be down', async () => {
      const asked = await codesAsked();
      const command = (more: string) => `ssh -p ${sshd.port} ${more} -b ${newSource()} carol@ap1 echo in`;
      expect(await runClient(command('-o BatchMode=yes'))).toEqual({ code: 0, stdout: 'in\n', stderr: '' });
      await door.stop();
      expect(await runClient(command('-o BatchMode=yes'))).toEqual({ code: 0, stdout: 'in\n', stderr: '' });
      const terminal = await ssh(`-p ${sshd.port} ${byPassword} bob@ap1 echo in`);
      await terminal.waitFor(/assword: *$/);
      await terminal.type('correct-horse\r');
      expect(await terminal.exitCode()).toBe(0);
      expect(await codesAsked()).toBe(asked);
    });
  });
});
