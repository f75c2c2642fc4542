import { existsSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { installCredmon } from './lab/install.js';
import { type IssuerProcess, startIssuerProcess } from './lab/issuer.js';
import {
  brokerSocket,
  credmondUp,
  credmonKnobs,
  credmonLog,
  filesOf,
  logIn,
  providerKnobs,
  putSecret,
  statusDir,
  sure,
  tree,
  untilTrue,
} from './lab/point.js';
import { as, credentials, installs, leave, path, root, startPool, stopPool } from './lab/pool.js';

const obstacle = await installs();

const challengeDir = '/var/lib/credmon/challenge';
const spool = '/var/lib/credmon/spool';
const statusOf = (uid: number) => `${statusDir}/${uid}.json`;

interface Heard {
  readonly kind: string;
  readonly path?: string;
  readonly user?: string;
  readonly failure?: { readonly kind: string; readonly what: string };
  readonly state?: { readonly at: string };
}

/**
 * A connection to the broker with somebody else's program at this end. Whose it is only the proof says, so the test's own
 * process may hold it, and what is to be done as a person in the file system is done by `as`.
 */
class Wire {
  readonly #heard: Heard[] = [];
  #wake: () => void = () => undefined;

  private constructor(private readonly socket: Socket) {
    createInterface({ input: socket.on('error', () => undefined) })
      .on('line', (line) => {
        this.#heard.push(JSON.parse(line));
        this.#wake();
      })
      .on('close', () => {
        this.#heard.push({ kind: 'closed' });
        this.#wake();
      });
    onTestFinished(() => void socket.destroy());
  }

  /** Connected, and told where to make a directory (as the room sees it). */
  static async open(): Promise<Wire & { readonly path: string }> {
    const wire = new Wire(connect(path(brokerSocket)));
    const challenge = await wire.hear();
    return Object.assign(wire, { path: challenge.path ?? '' });
  }

  /** Connected, and known to the broker as this person, who may be welcome ten times a minute and waits for that. */
  static async of(user: string): Promise<Wire> {
    for (;;) {
      const wire = await Wire.open();
      await sure(as(user, `mkdir -m 0500 ${wire.path}`));
      const answer = await wire.says({ kind: 'proved' });
      if (!answer.failure?.what.includes('in a minute')) {
        expect(answer).toEqual({ v: 1, kind: 'welcome', user });
        return wire;
      }
      wire.hangUp();
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }

  async hear(): Promise<Heard> {
    while (this.#heard.length === 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#heard.shift() as Heard;
  }

  /** What is answered to a record, or to a line as it is. */
  says(record: object | string): Promise<Heard> {
    this.socket.write(typeof record === 'string' ? record : `${JSON.stringify({ v: 1, ...record })}\n`);
    return this.hear();
  }

  hangUp(): void {
    this.socket.destroy();
  }
}

/** Everything of Alice's, byte for byte, with owners, modes and times; and who else has a folder. */
async function everything(): Promise<string> {
  const files = `find ${credentials}/alice -printf '%p %i %m %u:%g %s %T@\\n'; cat ${credentials}/alice/*`;
  return `${await sure(root(files))}\n${(await tree()).filter((line) => !/^(CREDMON_COMPLETE|pid|carol|nobody)\b/.test(line)).join('\n')}`;
}

const refusedAs = (what: string | RegExp) => ({
  v: 1,
  kind: 'bye',
  failure: expect.objectContaining({ kind: 'refused', what: expect.stringMatching(what) }),
});

describe.skipIf(obstacle)(`who would be Alice${obstacle ? ` (skipped: ${obstacle})` : ''}`, () => {
  let issuer: IssuerProcess;
  let before: string;

  beforeAll(async () => {
    // Nothing is refreshed meanwhile, so every change is somebody's doing.
    issuer = await startIssuerProcess({ life: 3600 });
    await installCredmon();
    await putSecret();
    await startPool({ knobs: credmonKnobs('cilogon') + providerKnobs('cilogon', issuer) });
    await credmondUp();
    await untilTrue('the broker listens', async () => existsSync(path(brokerSocket)));
    expect(await logIn('alice', issuer)).toMatchObject({ exitCode: 0 });
    // So that `nobody`, whose group has another name, can be acted as like everybody else.
    await sure(root('getent group nobody || groupadd -o -g 65534 nobody'));
    // In /tmp, which is sticky, and in a folder of Carol's that is not.
    await sure(as('alice', 'mkdir -m 0500 /tmp/alices; mkdir -m 0777 /tmp/alices-open; chmod 0777 /tmp/alices-open'));
    await sure(as('carol', 'chmod 0777 . && mkdir -m 0777 trap && chmod 0777 trap'));
    await sure(as('alice', 'mkdir -m 0500 /home/carol/trap/closed; mkdir /home/carol/trap/open'));
    await sure(as('alice', 'chmod 0777 /home/carol/trap/open; touch /tmp/alices-file'));
    for (const user of ['carol', 'nobody']) await sure(as(user, 'mkdir -m 0700 /tmp/early-$(id -un)'));
    before = await everything();
  });
  afterEach(async () => {
    expect(await everything()).toBe(before);
    expect((await sure(root(`ls -A ${spool}`))).trim()).toBe('');
  });
  afterAll(async () => {
    await stopPool();
    await leave();
    await issuer?.stop();
  });

  describe.each(['carol', 'nobody'])('%s, with a proof', (user) => {
    /** `$P` is where the broker looks. */
    test.each([
      ['of nothing', ':', /nothing is there/],
      ['by a link to a directory of hers', 'ln -s /tmp/alices $P', /it is a symbolic link/],
      ['by a link to her home', 'ln -s /home/alice $P', /it is a symbolic link/],
      ['by a link to her credentials', `ln -s ${credentials}/alice $P`, /it is a symbolic link/],
      ['by a file', 'umask 077; echo alice >$P', /it is not a directory/],
      ['by a fifo', 'mkfifo -m 0700 $P', /it is not a directory/],
      ['by a directory open to others', 'mkdir -m 0777 $P', /its mode is 0777, not 0500/],
      ['by one of mode 0700, as HTCondor’s own clients make it', 'mkdir -m 0700 $P', /its mode is 0700, not 0500/],
      ['by one that is sticky', 'mkdir $P; chmod 1500 $P', /its mode is 1500, not 0500/],
      ['by one with set-user-id', 'mkdir $P; chmod 4500 $P', /its mode is 4500, not 0500/],
      [
        'by one with another inside',
        'mkdir -m 0700 $P; mkdir -m 0700 $P/alice; chmod 0500 $P',
        /there is something in it/,
      ],
    ])('%s', async (_, how, what) => {
      const wire = await Wire.open();
      await sure(as(user, `P=${wire.path}; ${how}`));
      expect(await wire.says({ kind: 'proved' })).toEqual(refusedAs(what));
      await root(`rm -rf ${wire.path}`);
    });

    test.each([
      ['her directory moved there from a sticky folder', 'mv -T /tmp/alices $P'],
      ['her open directory moved there from a sticky folder', 'mv -T /tmp/alices-open $P'],
      ['her closed directory moved there from a folder where that is allowed', 'mv -T /home/carol/trap/closed $P'],
      [
        'her closed directory by rename(2) itself',
        `node -e 'fs.renameSync("/home/carol/trap/closed", process.argv[1])' $P`,
      ],
      ['her home', 'mv -T /home/alice $P'],
      ['a hard link to her directory', 'ln -d /tmp/alices $P'],
      ['a hard link to her file', 'ln /tmp/alices-file $P'],
      ['a directory given to her', 'mkdir -m 0500 $P; chown alice $P'],
      ['a bind mount of hers', 'mkdir -m 0500 $P; mount --bind /tmp/alices $P'],
      ['a mount in a namespace', 'mkdir -m 0500 $P; unshare -Urm mount --bind /tmp/alices $P'],
    ])('%s: not possible', async (_, how) => {
      const wire = await Wire.open();
      const { code, stderr } = await as(user, `P=${wire.path}; ${how}`);
      expect(code).not.toBe(0);
      expect(stderr).toMatch(/permission denied|not permitted|must be superuser|EACCES|EPERM/i);
      // Where a directory of one's own was left, one is oneself and nobody else.
      const answer = await wire.says({ kind: 'proved' });
      if (answer.kind === 'welcome') expect(answer.user).toBe(user);
      else expect(answer).toEqual(refusedAs(/nothing is there/));
    });

    test('by a directory of Alice’s that she left open in a folder of Carol’s', async () => {
      const wire = await Wire.open();
      await as('alice', 'mkdir -p /home/carol/trap/open; chmod 0777 /home/carol/trap/open');
      const moved = await as(user, `mv -T /home/carol/trap/open ${wire.path}`);
      const answer = await wire.says({ kind: 'proved' });
      expect(answer).toEqual(refusedAs(moved.code === 0 ? /its mode is 0777, not 0500/ : /nothing is there/));
    });

    test('by a directory made before it was asked for', async () => {
      const wire = await Wire.open();
      await sure(as(user, `mv -T /tmp/early-$(id -un) ${wire.path}; chmod 0500 ${wire.path}`));
      expect(await wire.says({ kind: 'proved' })).toEqual(refusedAs(/it was made before the broker asked for it/));
    });
  });

  test('a proof counts once, and for one connection only', async () => {
    const first = await Wire.open();
    await sure(as('carol', `mkdir -m 0500 ${first.path}`));
    expect(await first.says({ kind: 'proved' })).toMatchObject({ kind: 'welcome', user: 'carol' });
    expect(existsSync(path(first.path))).toBe(false);
    expect(await first.says({ kind: 'proved' })).toMatchObject({ kind: 'bye', failure: { kind: 'protocol' } });

    const [hers, carols] = [await Wire.open(), await Wire.open()];
    await sure(as('carol', `mkdir -m 0500 ${first.path}`));
    expect(await carols.says({ kind: 'proved' })).toEqual(refusedAs(/nothing is there/));
    // Alice’s own proof, while it stands, is no use to Carol: she cannot see, move, remove or copy it.
    await sure(as('alice', `mkdir -m 0500 ${hers.path}`));
    const again = await Wire.open();
    for (const trick of [
      `ls ${challengeDir}`,
      `mv -T ${hers.path} ${again.path}`,
      `rmdir ${hers.path}`,
      `mv -T ${hers.path} /tmp/stolen`,
      `cp -a ${hers.path} ${again.path}`,
    ]) {
      expect((await as('carol', trick)).code, trick).not.toBe(0);
    }
    const copied = await again.says({ kind: 'proved' });
    expect(copied.user).not.toBe('alice');
    expect(await hers.says({ kind: 'proved' })).toMatchObject({ kind: 'welcome', user: 'alice' });
    hers.hangUp();
    await root(`rmdir ${first.path}`);
  });

  test('changing what is there while the broker looks', async () => {
    for (let round = 0; round < 6; round++) {
      const wire = await Wire.open();
      const flip = 'mkdir -m 0500 $P; rmdir $P; ln -s /tmp/alices $P; rm $P';
      const loop = `i=0; while [ ! -e enough ] && [ $i -lt 2000 ]; do i=$((i+1)); ${flip}; done; rm -f enough begun`;
      const flipping = as('carol', `P=${wire.path}; touch begun; ${loop}`);
      await untilTrue('it is changing', async () => existsSync(path('/home/carol/begun')), 5000);
      const answer = await wire.says({ kind: 'proved' });
      expect([undefined, 'carol']).toContain(answer.user);
      await sure(as('carol', 'touch enough'));
      await flipping;
      await root(`rm -rf ${wire.path}`);
    }
  });

  test('saying another name', async () => {
    for (const more of [
      { user: 'alice' },
      { uid: 1000 },
      { owner: 'alice' },
      { kind: 'grant', user: 'alice', uid: 1000, refresh_token: 'x' },
      { kind: 'welcome', user: 'alice' },
    ]) {
      const wire = await Wire.of('bob');
      const answer = await wire.says({ kind: 'login', provider: 'cilogon', ...more });
      expect(answer, JSON.stringify(more)).toMatchObject({ kind: 'bye', failure: { kind: 'protocol' } });
      wire.hangUp();
    }
    const proto = await Wire.of('bob');
    const line = '{"v":1,"kind":"login","provider":"cilogon","__proto__":{"user":"alice","uid":1000}}\n';
    expect(await proto.says(line)).toMatchObject({ kind: 'bye', failure: { kind: 'protocol' } });
    const early = await Wire.open();
    expect(await early.says({ kind: 'login', provider: 'cilogon' })).toMatchObject({ kind: 'bye' });
    const proof = await Wire.open();
    await sure(as('carol', `mkdir -m 0500 ${proof.path}`));
    expect(await proof.says({ kind: 'proved', path: '/tmp/alices', user: 'alice' })).toMatchObject({
      kind: 'bye',
      failure: { kind: 'protocol' },
    });
  });

  test('names that lead elsewhere', async () => {
    const names = [
      { provider: '../alice/cilogon' },
      { provider: 'alice/cilogon' },
      { provider: '/etc/passwd' },
      { provider: 'cilogon', handle: '../alice/cilogon' },
      { provider: 'cilogon', handle: '/../../alice/cilogon' },
      { provider: 'cilogon', handle: '..' },
      { provider: 'cilogon', handle: 'x\u0000/../../alice/cilogon' },
      { provider: 'cilogon', handle: 'x/../../alice/cilogon' },
      { provider: 'cilogon\n', handle: 'x' },
      { provider: 'cilogon', handle: 'x_' },
      { provider: 'cilogon', handle: 'a'.repeat(250) },
      { provider: 'cilogon', handle: '' },
    ];
    for (const [index, name] of names.entries()) {
      for (const kind of ['login', 'logout']) {
        const wire = await Wire.of(['nobody', 'bob'][index % 2] ?? '');
        const answer = await wire.says({ kind, ...name });
        expect(answer, JSON.stringify(name)).toMatchObject({ kind: 'bye' });
        expect(['config', 'usage', 'protocol'], answer.failure?.what).toContain(answer.failure?.kind);
        wire.hangUp();
      }
    }
  });

  test('a flood of connections locks nobody out', async () => {
    const crowd = await Promise.all(Array.from({ length: 120 }, () => Wire.open()));
    const alice = await Wire.of('alice');
    alice.hangUp();
    for (const wire of crowd) wire.hangUp();
  });

  test('the broker’s and credmond’s files', async () => {
    const broker = (await sure(root('pgrep -u credmon'))).trim();
    for (const trick of [
      `rm ${brokerSocket}`,
      `mv ${brokerSocket} /tmp/`,
      `ln -sf /tmp/mine ${brokerSocket}`,
      `mv ${challengeDir} /tmp/`,
      `ln -sfnT /tmp/mine ${challengeDir}`,
      `rmdir ${challengeDir}`,
      `mv /run/credmon/broker /run/credmon/other`,
      `ls ${spool}`,
      `touch ${spool}/1795396149685-0123456789abcdef0123456789abcdef.grant`,
      `mv ${spool} /var/lib/credmon/other`,
      `ln -s /tmp/mine /var/lib/credmon/other`,
      `cat ${statusOf(1000)}`,
      `cat ${statusDir}/all.json`,
      `cp /etc/passwd ${statusOf(1000)}`,
      `mv ${statusOf(1000)} /tmp/`,
      `ln -s ${statusOf(1000)} ${statusDir}/1002.json`,
      `ls ${credentials}`,
      `ls ${credentials}/alice`,
      `cat ${credentials}/alice/cilogon.top`,
      `cat ${credentials}/alice/cilogon.use`,
      `touch ${credentials}/alice/cilogon.top`,
      `touch ${credentials}/alice.mark`,
      `ln -s alice ${credentials}/carol`,
      `mkdir ${credentials}/carol`,
      `kill -HUP $(cat ${credentials}/pid)`,
      `kill -TERM ${broker}`,
      `cat /proc/${broker}/environ`,
      `cat /proc/${broker}/mem`,
      `/usr/sbin/condor_store_cred query-oauth -s cilogon -u alice@pool.test`,
      `/usr/sbin/condor_store_cred delete-oauth -s cilogon -u alice@pool.test`,
      `echo '{"refresh_token":"x"}' | /usr/sbin/condor_store_cred add-oauth -s cilogon -i - -u alice@pool.test`,
    ]) {
      for (const user of ['carol', 'nobody']) {
        const { code, stdout } = await as(user, trick);
        expect(code, `${user}: ${trick}\n${stdout}`).not.toBe(0);
        expect(stdout, trick).not.toMatch(/token|alice\/|cilogon\./);
      }
    }
    expect(existsSync(path(brokerSocket))).toBe(true);
  });

  test('grants planted in the spool', async () => {
    const id = '0123456789abcdef0123456789abcdef';
    const name = `${spool}/1795396149685-${id}.grant`;
    const record = (whose: object) =>
      JSON.stringify({
        ...{ v: 1, id, at: 1795396149685, kind: 'grant', provider: 'cilogon', refresh_token: 'carols' },
        ...whose,
      });
    const plant = (as_: string, text: string, more = ':') =>
      sure(
        root(`umask 077; cat >/tmp/planted; chown ${as_} /tmp/planted; ${more}; mv /tmp/planted ${name}`, {
          stdin: text,
        }),
      );
    const alice = { user: 'alice', uid: 1000 };
    // Even if the folder were open: what is not the broker's alone is not believed.
    for (const [owner, text, more, what] of [
      ['carol', record(alice), ':', 'belongs to uid 1002, not to the broker'],
      ['root', record(alice), ':', 'belongs to uid 0, not to the broker'],
      ['credmon', record(alice), 'chmod 644 /tmp/planted', 'is open to others (mode 0644)'],
      ['credmon', record(alice), 'ln -f /tmp/planted /tmp/planted-too', 'has further names'],
      ['credmon', record(alice), 'mv /tmp/planted /tmp/real; ln -s /tmp/real /tmp/planted', 'is a symbolic link'],
      ['credmon', record({ user: '../alice', uid: 1002 }), ':', 'is not a record as the broker writes them'],
      ['credmon', record({ ...alice, provider: '../alice/cilogon' }), ':', 'is not a record as the broker writes them'],
    ] as const) {
      await plant(owner, text, more);
      await untilTrue(what, async () => (await credmonLog()).includes(`${name} ${what}`));
      await sure(root(`rm ${name}; rm -f /tmp/real /tmp/planted-too`));
    }
    // And a broker that lies about who somebody is.
    await plant('credmon', record({ user: 'alice', uid: 1002 }));
    await untilTrue('refused', async () => (await credmonLog()).includes('alice is not uid 1002 on this machine'));
    await untilTrue('taken away', async () => !existsSync(path(name)));
  });

  test('a socket of Carol’s in the broker’s place gets nothing of Alice', async () => {
    const heard = 'heard.txt';
    const program = `
      require("fs").rmSync("mine", { force: true });
      require("net").createServer((peer) => {
        peer.write(JSON.stringify({ v: 1, kind: "challenge", path: "${challengeDir}/" + "a".repeat(48) }) + "\\n");
        peer.on("data", (bytes) => require("fs").appendFileSync("${heard}", bytes)).on("error", () => {});
      }).listen("mine", () => require("fs").chmodSync("mine", 0o777));
      setTimeout(() => process.exit(), 60_000);`;
    const impostor = as('carol', `exec node -e '${program}'`);
    await untilTrue('it listens', async () => existsSync(path('/home/carol/mine')));
    const { code, stderr } = await as('alice', 'credmon login --force --plain', {
      env: { _CONDOR_CREDMON_BROKER_SOCKET: '/home/carol/mine' },
    });
    expect(code).toBe(78);
    expect(stderr).toContain('belongs to neither root nor the broker’s account');
    expect(existsSync(path(`/home/carol/${heard}`))).toBe(false);
    await sure(as('carol', 'pkill -u carol -x node'));
    await impostor;
  });

  test('her name in the environment makes nobody her; and Carol’s own login is Carol’s', async () => {
    const { exitCode, done } = await logIn('carol', issuer, '', {
      USER: 'alice',
      LOGNAME: 'alice',
      HOME: '/home/alice',
    });
    expect({ exitCode, done }).toMatchObject({ exitCode: 0, done: expect.stringContaining('as carol') });
    expect(await filesOf('carol')).toEqual([
      'carol 2700 condor:condor',
      'carol/cilogon.top 600 root:condor',
      'carol/cilogon.use 400 root:condor',
    ]);
    expect(await sure(as('carol', 'credmon status --json'))).not.toContain('alice');
    const { stdout } = await as('carol', 'USER=alice LOGNAME=alice credmon logout');
    expect(stdout).toBe('cilogon: removed; revoked at the issuer\n');
    expect((await tree()).filter((line) => !line.startsWith('alice'))).toEqual([
      '.credmon-intents 600 root:condor',
      'CREDMON_COMPLETE 644 root:condor',
      'carol 2700 condor:condor',
      'pid 644 root:condor',
    ]);
  });
});
