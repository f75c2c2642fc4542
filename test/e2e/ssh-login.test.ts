import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import {
  type Door,
  doorKnobs,
  doorLog,
  doorSocket,
  doorToml,
  installPam,
  isSeeded,
  left,
  makeDoor,
  people,
  spool,
  startDoor,
} from './lab/door.js';
import { installCredmon } from './lab/install.js';
import { type IssuerProcess, startIssuerProcess } from './lab/issuer.js';
import { credmondUp, credmonKnobs, credmonLog, filesOf, shortJob, sure, untilTrue } from './lab/point.js';
import { as, credentials, enter, leave, obstacleTo, root, startPool, stopPool } from './lab/pool.js';
import type { Release } from './lab/room.js';
import {
  dialogue,
  makeHost,
  newSource,
  openClient,
  pressEnter,
  prompt,
  readAuthLog,
  readSshdLog,
  refusal,
  refused,
  runClient,
  type Sshd,
  said,
  shownCode,
  shownCodes,
  startSshd,
} from './lab/ssh.js';
import type { Terminal } from './lab/terminal.js';
import { until } from './lab/until.js';

/** mode=login: the device flow is the login. Which sshd, and whether it shows at once what a module says. */
const hosts = {
  trixie: { version: /^OpenSSH_10\.0/, live: false },
  bookworm: { version: /^OpenSSH_9\.2/, live: false },
  forky: { version: /^OpenSSH_10\.[3-9]/, live: true },
} as const satisfies Partial<Record<Release, unknown>>;
type Host = keyof typeof hosts;

const obstacles = new Map<Host, string | undefined>();
for (const host of Object.keys(hosts) as Host[]) obstacles.set(host, await obstacleTo(host));

let issuer: IssuerProcess;
let sshd: Sshd;
let door: Door;
let etc: string;

/** A person's ssh, from an address that nobody else comes from. */
async function ssh(words: string, options: Parameters<typeof openClient>[1] = {}): Promise<Terminal> {
  const terminal = await openClient(`ssh -b ${newSource()} ${words}`, options);
  onTestFinished(() => terminal.close());
  return terminal;
}

/** Approves on the phone what the terminal shows, and says so there, no earlier than a person could. Returns the code. */
async function approve(terminal: Terminal, login: string, host: Host = 'trixie'): Promise<string> {
  const code = shownCode(await dialogue(terminal));
  const { logins = 0 } = await issuer.counts();
  await issuer.approve(code, login);
  await untilTrue('the broker has heard of it', async () => ((await issuer.counts()).logins ?? 0) > logins);
  if (!hosts[host].live) await pressEnter(terminal);
  return code;
}

/** Denies it there. */
async function deny(terminal: Terminal, host: Host): Promise<void> {
  const code = shownCode(await dialogue(terminal));
  const { polls = 0 } = await issuer.counts();
  await issuer.deny(code);
  await untilTrue('the broker has heard of it', async () => ((await issuer.counts()).polls ?? 0) > polls);
  if (!hosts[host].live) await pressEnter(terminal);
}

/** All of /etc, with contents, owners, modes and links. */
const allOfEtc = () =>
  sure(
    root(`cd /etc; find . -printf '%p %M %U:%G %l\\n' | sort; find . -type f -print0 | sort -z | xargs -0 sha256sum`),
  );

/** Processes of sshd that serve somebody. */
const serving = async () => {
  const { stdout } = await root(`pgrep -x 'sshd|sshd-session|sshd-auth' || :`);
  return stdout.split('\n').filter((pid) => pid !== '' && Number(pid) !== sshd.pid).length;
};

/** What is the same with every sshd. */
function everyHost(host: Host): void {
  test('this is the sshd that is meant', () => expect(sshd.version).toMatch(hosts[host].version));

  test('checklist 8: the dialogue shows machine, user, source address and what is granted; approved, it gives a shell', async () => {
    const source = newSource();
    const before = await issuer.counts();
    const terminal = await openClient(`ssh -b ${source} alice@ap1`);
    onTestFinished(() => terminal.close());
    await dialogue(terminal);
    const whole = await said(terminal);
    expect(whole).toMatch(new RegExp(`ssh login of alice at \\S+ from ${source.replaceAll('.', '\\.')}`));
    expect(whole).toContain(`${issuer.url}/device`);
    expect(whole).toContain('do not approve it');
    await approve(terminal, 'alice', host);
    expect(prompt.exec(await terminal.waitFor(prompt))?.[1]).toBe('alice');
    expect(await terminal.history()).toContain('credmon: ');
    await untilTrue('seeded', () => isSeeded('alice'));
    await terminal.type('exit 7\r');
    expect(await terminal.exitCode()).toBe(7);
    expect((await issuer.counts()).deviceAuthorizations).toBe((before.deviceAuthorizations ?? 0) + 1);
  });

  test('Enter before the approval: one code, and the login goes on by itself once it is approved', async () => {
    const before = await issuer.counts();
    const terminal = await ssh('alice@ap1');
    const code = shownCode(await dialogue(terminal));
    // No earlier than a person could.
    const polled = (await issuer.counts()).polls ?? 0;
    await untilTrue('polled twice', async () => ((await issuer.counts()).polls ?? 0) >= polled + 2);
    await pressEnter(terminal);
    await issuer.approve(code, 'alice');
    await terminal.waitFor(prompt);
    expect((await issuer.counts()).deviceAuthorizations).toBe((before.deviceAuthorizations ?? 0) + 1);
  });

  test('checklist 17: denied at the issuer, it is refused, and that is the last word', async () => {
    const [before, counted] = [await left(), await issuer.counts()];
    const terminal = await ssh('bob@ap1');
    await deny(terminal, host);
    expect(await terminal.exitCode()).toBe(255);
    expect(await terminal.history()).toMatch(refusal);
    expect(await left()).toBe(before);
    expect((await issuer.counts()).deviceAuthorizations).toBe((counted.deviceAuthorizations ?? 0) + 1);
  });

  test('checklist 11: a client that is killed while all wait: module and broker are done within 2 s, and nothing is seeded', async () => {
    const [before, { gone }] = [await left(), await door.counters()];
    const source = newSource();
    const terminal = await openClient(`echo $$ >pid; exec ssh -b ${source} bob@ap1`);
    onTestFinished(() => terminal.close());
    const code = shownCode(await dialogue(terminal));
    await sure(as('carol', 'kill -KILL $(cat pid)'));
    const begun = performance.now();
    await untilTrue('sshd is done', async () => (await serving()) === 0);
    expect(performance.now() - begun).toBeLessThan(2000);
    const polls = (await issuer.counts()).polls;
    // Counters are written once a second.
    await untilTrue('the broker is done', async () => (await door.counters()).gone > gone);
    expect(performance.now() - begun).toBeLessThan(3500);
    await issuer.approve(code, 'bob');
    expect((await issuer.counts()).polls).toBeLessThanOrEqual((polls ?? 0) + 1);
    expect(await left()).toBe(before);
  });

  test('LoginGraceTime shorter than the code lives: sshd hangs up, and the broker is done with it', async () => {
    const [before, { gone }] = [await left(), await door.counters()];
    const hurried = await startSshd(['LoginGraceTime=3']);
    onTestFinished(() => hurried.stop());
    const terminal = await ssh(`-p ${hurried.port} bob@ap1`);
    const code = shownCode(await dialogue(terminal));
    await untilTrue('the broker is done', async () => (await door.counters()).gone > gone);
    await issuer.approve(code, 'bob');
    // A client that asks does not look whether anybody still listens.
    if (!hosts[host].live) await pressEnter(terminal);
    expect(await terminal.exitCode()).toBe(255);
    expect(await left()).toBe(before);
  });

  test('BatchMode is refused at once, and the broker is not asked', async () => {
    const { deviceAuthorizations } = await issuer.counts();
    const { code, stderr } = await runClient(`ssh -o BatchMode=yes -b ${newSource()} alice@ap1 true`);
    expect({ code, stderr }).toEqual({ code: 255, stderr: expect.stringContaining('(keyboard-interactive)') });
    expect((await issuer.counts()).deviceAuthorizations).toBe(deviceAuthorizations);
  });

  test.runIf(hosts[host].live)(
    'nobody at a terminal: the link is on standard error, and it goes on when approved',
    async () => {
      const heard = as('carol', `exec setsid ssh -b ${newSource()} alice@ap1 id -un 2>heard`);
      const written = async () => /code {2}([A-Z]{4}-[A-Z]{4})/.exec((await as('carol', 'cat heard')).stdout)?.[1];
      await issuer.approve(await until(written, 10_000, () => 'no code'), 'alice');
      expect(await heard).toMatchObject({ code: 0, stdout: 'alice\n' });
    },
  );

  test.skipIf(hosts[host].live)(
    'nobody at a terminal: it fails fast with advice, and all rounds have one code',
    async () => {
      const [before, counted] = [await left(), await issuer.counts()];
      const begun = performance.now();
      const { code, stdout, stderr } = await runClient(`ssh -b ${newSource()} bob@ap1 true`);
      expect({ code, stdout }).toEqual({ code: 255, stdout: '' });
      expect(stderr).toContain('ControlMaster');
      expect(performance.now() - begun).toBeLessThan(8000);
      expect((await issuer.counts()).deviceAuthorizations).toBeLessThanOrEqual((counted.deviceAuthorizations ?? 0) + 1);
      expect(await left()).toBe(before);
    },
  );
}

describe.each(Object.keys(hosts) as Host[])('ssh login, Debian %s', (host) => {
  const obstacle = obstacles.get(host);
  if (obstacle !== undefined) return test.skip(`(${obstacle})`, () => undefined);
  const pool = host === 'trixie';

  beforeAll(async () => {
    issuer = await startIssuerProcess({ life: 3600, behaviour: { claims: people } });
    await enter(host);
    await installCredmon();
    await makeHost();
    await makeDoor(pool ? undefined : doorToml(issuer));
    if (pool) {
      await startPool({ knobs: credmonKnobs('cilogon') + doorKnobs(issuer) });
      await credmondUp();
    }
    etc = await allOfEtc();
    await installPam();
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

  everyHost(host);
  if (pool) accessPoint();

  test('credmon pam uninstall puts /etc back byte for byte, and people get in as before', async () => {
    await sure(root('credmon pam uninstall --yes'));
    expect(await allOfEtc()).toBe(etc);
    const before = await startSshd();
    onTestFinished(() => before.stop());
    const terminal = await ssh(`-p ${before.port} alice@ap1 id -un`);
    expect(await terminal.exitCode()).toBe(0);
    expect(await said(terminal)).toBe('alice');
  });
});

/** What is the same with every sshd is proved with one, and that an HTCondor pool makes something of the credential. */
function accessPoint(): void {
  test('a job gets a token, with nothing done but the login', async () => {
    const terminal = await ssh('alice@ap1');
    await approve(terminal, 'alice');
    await terminal.waitFor(prompt);
    await as('alice', 'cat >ssh.sub', { stdin: shortJob('cilogon', '', 'ssh') });
    await terminal.type('clear; condor_submit ssh.sub && condor_wait -wait 60 ssh.log\r');
    await terminal.waitFor('All jobs done', 70_000);
    const { access_token: token } = JSON.parse(await sure(as('alice', 'cat ssh.out')));
    expect(await issuer.isGood(token)).toBe(true);
    expect(await filesOf('alice')).toEqual([
      'alice 2700 condor:condor',
      'alice/cilogon.top 600 root:condor',
      'alice/cilogon.use 400 root:condor',
    ]);
  });

  test('checklist 19: one LOG_AUTHPRIV record a login, with user, sub, iss, remote host, acr, result and transaction', async () => {
    const before = (await readAuthLog()).length;
    const source = newSource();
    const terminal = await openClient(`ssh -b ${source} alice@ap1 true`);
    onTestFinished(() => terminal.close());
    await approve(terminal, 'alice');
    expect(await terminal.exitCode()).toBe(0);
    const lines = (await readAuthLog())
      .slice(before)
      .split('\n')
      .filter((line) => line.includes('result='));
    expect(lines).toHaveLength(1);
    // 80 to 87: the facility authpriv (10).
    expect(lines[0]).toMatch(/^<8[0-7]>.* credmon: result=accepted user="alice" uid="1000" sub="alice" iss="http:/);
    expect(lines[0]).toContain(`rhost="${source}"`);
    expect(lines[0]).toMatch(/ id="[0-9a-f]{16}"$/);
  });

  describe('approved by somebody who may not', () => {
    test.each([
      [
        'CVE-2024-9313: by another user of this machine',
        'alice',
        'bobs',
        /approved as bobs, who may not log in as alice/,
      ],
      ['by somebody of the wrong group (checklist 6)', 'bob', 'guest', /group/],
      ['without a claim that tells the groups: a missing claim denies (checklist 6)', 'bob', 'ungrouped', /group/],
      ['without the claim that names the account (checklist 6)', 'bob', 'nameless', /account/],
      ['with a claim that only begins like one (checklist 18)', 'bob', 'stranger', /account/],
      ['by another identity than the account has had (checklist 3)', 'alice', 'second', /another identity/],
    ])('%s: refused, and nothing is seeded', async (_, user, approver, what) => {
      const before = await left();
      const logged = (await readAuthLog()).length;
      const terminal = await ssh(`${user}@ap1`);
      await approve(terminal, approver);
      expect(await terminal.exitCode()).toBe(255);
      const screen = await said(terminal);
      expect(screen).toMatch(what);
      expect(screen).toMatch(refusal);
      expect((await readAuthLog()).slice(logged)).toMatch(
        new RegExp(`result=denied user="${user}".* sub="${approver}"`),
      );
      expect(await left()).toBe(before);
    });
  });

  test('checklist 5: accounts that may not, and a code that expires: the same words, nobody can approve, nothing is seeded', async () => {
    const before = await left();
    await issuer.behave({ deviceCodeLife: 5 });
    onTestFinished(() => issuer.behave({ deviceCodeLife: null }));
    const real = await ssh('bob@ap1');
    const shape = (screen: string, user: string) =>
      screen
        .replaceAll(shownCode(screen), 'CODE')
        .replaceAll(new RegExp(`\\b${user}\\b`, 'g'), 'USER')
        .replaceAll(/127\.1\.\d+\.\d+/g, 'SOURCE')
        .replaceAll(/[▀▄█ \n]+/g, ' ');
    const wanted = shape(await dialogue(real), 'bob');
    const asked = await issuer.counts();
    const terminals = await Promise.all(refused.map((user) => ssh(`${user}@ap1`)));
    for (const [index, terminal] of terminals.entries()) {
      const screen = await dialogue(terminal);
      expect(shape(screen, refused[index] ?? '')).toBe(wanted);
      await expect(issuer.approve(shownCode(screen), 'bob')).rejects.toThrow('no such code');
    }
    expect((await issuer.counts()).deviceAuthorizations).toBe(asked.deviceAuthorizations);
    const shown = performance.now();
    await untilTrue('the codes have run out', async () => performance.now() > shown + 5000);
    for (const terminal of [real, ...terminals]) {
      await pressEnter(terminal);
      expect(await terminal.exitCode(30_000)).toBe(255);
      expect(await terminal.history()).toMatch(refusal);
    }
    expect(await left()).toBe(before);
  });

  test('checklist 1: approved, and then refused by sshd’s account phase: nothing is seeded', async () => {
    const [before, { committed }] = [await left(), await door.counters()];
    await sure(root('echo closed >/etc/nologin'));
    onTestFinished(() => sure(root('rm /etc/nologin')).then(() => undefined));
    const terminal = await ssh('bob@ap1');
    await approve(terminal, 'bob');
    expect(await terminal.exitCode()).toBe(255);
    expect(await left()).toBe(before);
    await untilTrue('counted', async () => (await door.counters()).approved > 0);
    expect((await door.counters()).committed).toBe(committed);
  });

  test('checklist 10: two windows of one person have one code, and one approval is enough', async () => {
    const { deviceAuthorizations } = await issuer.counts();
    const source = newSource();
    const windows = await Promise.all([1, 2].map(() => openClient(`ssh -b ${source} alice@ap1`)));
    onTestFinished(async () => void (await Promise.all(windows.map((window) => window.close()))));
    const [one, other] = await Promise.all(windows.map(dialogue));
    expect(shownCode(one ?? '')).toBe(shownCode(other ?? ''));
    await approve(windows[0] as Terminal, 'alice');
    await pressEnter(windows[1] as Terminal);
    for (const window of windows) await window.waitFor(prompt);
    expect((await issuer.counts()).deviceAuthorizations).toBe((deviceAuthorizations ?? 0) + 1);
  });

  test('CVE-2025-5689: the session has the groups of the account, and no account comes into being', async () => {
    const accounts = await sure(root('cat /etc/passwd /etc/group'));
    const terminal = await ssh('alice@ap1 id');
    await approve(terminal, 'alice');
    expect(await terminal.exitCode()).toBe(0);
    expect(await terminal.history()).toContain((await sure(root('id alice'))).trim());
    expect(await sure(root('cat /etc/passwd /etc/group'))).toBe(accounts);
  });

  test('checklist 15: neither the client secret nor the door is anybody’s but the broker’s and root’s', async () => {
    const knock = `perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0); connect(S, sockaddr_un("${doorSocket}")) or die $!'`;
    for (const user of ['alice', 'carol']) {
      expect((await as(user, 'cat /etc/credmon/client-secret')).stderr).toContain('Permission denied');
      expect((await as(user, knock)).stderr).toContain('Permission denied');
      expect((await as(user, `ls ${spool} /var/lib/credmon/identities`)).stdout).toBe('');
    }
  });

  test('root gets in by key, also when the broker is down, and by nothing else', async () => {
    await door.stop();
    const terminal = await ssh('-o PasswordAuthentication=no root@ap1 id -un');
    expect(await terminal.exitCode()).toBe(0);
    expect(await said(terminal)).toBe('root');
    // Without the key there is no other, whatever the broker would say.
    const other = await ssh('-o PubkeyAuthentication=no root@ap1 id -un');
    expect(await other.exitCode()).toBe(255);
    door = await startDoor();
  });

  describe('without a first factor', () => {
    let open: Sshd;
    beforeAll(async () => {
      open = await startSshd(['AuthenticationMethods=keyboard-interactive:pam']);
    });
    afterAll(() => open?.stop());

    test('checklist 7: a public key (or another factor) has to come first, if nothing else is set, for everybody alike', async () => {
      const { deviceAuthorizations } = await issuer.counts();
      for (const user of ['alice', 'nobody-here']) {
        const terminal = await ssh(`-p ${open.port} -o PubkeyAuthentication=no ${user}@ap1`);
        expect(await terminal.exitCode()).toBe(255);
        expect(await terminal.history()).toMatch(/public key/);
      }
      expect((await issuer.counts()).deviceAuthorizations).toBe(deviceAuthorizations);
    });

    test('checklist 7: where it is optional, whoever has none types the code: no QR code, and no link with the code in it', async () => {
      await door.stop();
      door = await startDoor({ _CONDOR_CREDMON_PAM_FIRST_FACTOR: 'optional' });
      const terminals = [];
      for (const user of ['alice', 'nobody-here']) {
        const terminal = await ssh(`-p ${open.port} -o PubkeyAuthentication=no ${user}@ap1`);
        terminals.push(terminal);
        const screen = await dialogue(terminal);
        expect(screen).not.toMatch(/[▀▄█]|user_code=/);
        expect(screen).toContain(`${issuer.url}/device\n`);
        if (user !== 'alice') await expect(issuer.approve(shownCode(screen), 'alice')).rejects.toThrow('no such code');
      }
      await approve(terminals[0] as Terminal, 'alice');
      await terminals[0]?.waitFor(prompt);
      await door.stop();
      door = await startDoor();
    });
  });

  describe('when something is broken, it fails closed', () => {
    test('the issuer does not listen', async () => {
      const before = await left();
      await door.stop();
      door = await startDoor({ _CONDOR_cilogon_ISSUER: 'http://127.0.0.1:9' });
      const terminal = await ssh('alice@ap1');
      expect(await terminal.exitCode(20_000)).toBe(255);
      expect(await said(terminal)).toMatch(/^Cannot reach http:\S+ the connection was refused/);
      await door.stop();
      door = await startDoor();
      expect(await left()).toBe(before);
    });

    test('the issuer does not answer: within 20 s', async () => {
      const before = await left();
      await issuer.delay(60_000);
      const terminal = await ssh('alice@ap1');
      expect(await terminal.exitCode(20_000)).toBe(255);
      await issuer.delay(0);
      expect(await left()).toBe(before);
    });

    test('the broker is killed in the dialogue, and is not there after that', async () => {
      const before = await left();
      const terminal = await ssh('alice@ap1');
      await dialogue(terminal);
      await door.stop('KILL');
      await pressEnter(terminal);
      expect(await terminal.exitCode()).toBe(255);
      expect(await said(terminal)).toMatch(/login service of this machine does not answer/);
      const next = await ssh('alice@ap1');
      expect(await next.exitCode()).toBe(255);
      expect(await said(next)).toMatch(/login service of this machine does not answer/);
      door = await startDoor();
      expect(await left()).toBe(before);
    });

    test('an impostor on the socket, who says yes to everything, lets nobody in', async () => {
      await door.stop();
      const yes = (user: string) => {
        const field = (tag: number, text: string) =>
          Buffer.concat([Buffer.from([tag, 0, text.length]), Buffer.from(text)]);
        const payload = Buffer.concat([field(1, user), field(33, 'ok')]);
        return Buffer.concat([Buffer.from([1, 66, 0, payload.length]), payload]).toString('hex');
      };
      const program = `require("net").createServer((peer) => peer.on("error", () => {}).on("data", () => peer.write(Buffer.from("${yes('alice')}", "hex")))).listen("${doorSocket}")`;
      const places = [
        ['a folder that others may write to', 'chmod 1777 /run/credmon/pam', 'chmod 711 /run/credmon/pam'],
        ['his folder', 'chown carol /run/credmon/pam', 'chown credmon /run/credmon/pam'],
        ['the folder as it should be', 'chmod 1777 /run/credmon/pam', ':', 'chmod 711 /run/credmon/pam'],
      ] as const;
      for (const [, before, after, meanwhile = ':'] of places) {
        await sure(root(`rm -f ${doorSocket}; ${before}`));
        const impostor = as('carol', `exec node -e '${program}'`, { limit: 60_000 });
        await untilTrue('he listens', async () => (await root(`test -S ${doorSocket}`)).code === 0);
        await sure(root(meanwhile));
        const terminal = await ssh('alice@ap1');
        expect(await terminal.exitCode()).toBe(255);
        expect(await said(terminal)).toMatch(/login service of this machine does not answer/);
        await sure(root(`pkill -u carol -x node; rm -f ${doorSocket}; ${after}`));
        await impostor;
      }
      door = await startDoor();
      const terminal = await ssh('alice@ap1 echo in');
      await approve(terminal, 'alice');
      expect(await terminal.exitCode()).toBe(0);
    });
  });

  test('checklist 9: nobody was told to slow down', async () => expect((await issuer.counts()).slowDowns).toBe(0));

  test('checklist 14: no core dump of the broker holds its memory', async () => {
    expect(Number.parseInt(await sure(root(`cat /proc/${door.pid}/coredump_filter`)), 16)).toBe(0);
  });

  test('checklist 14: no code and no token is in any log', async () => {
    const tokens = await sure(root(`cat ${credentials}/*/*`));
    const secrets = [...shownCodes, ...tokens.matchAll(/[\w-]{24,}(?:\.[\w-]+)*/g)].map(String);
    expect(secrets.length).toBeGreaterThan(20);
    const logs = [await readAuthLog(), await readSshdLog(), await doorLog(), await credmonLog()].join('\n');
    expect(secrets.filter((secret) => logs.includes(secret))).toEqual([]);
  });
}
