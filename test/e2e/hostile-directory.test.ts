import { existsSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
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
  untilTrue,
} from './lab/point.js';
import { as, credentials, installs, leave, path, root, startPool, stopPool } from './lab/pool.js';

const obstacle = await installs();
const confined = readFileSync(new URL('../../docs/confined.conf', import.meta.url), 'utf8');

/** What no credmond has to do with: every file, its owner, mode, links and times; and what is in the decoys. */
const outside = (): Promise<string> =>
  sure(root(`find /etc /root /opt /home/alice -printf '%p %y %i %m %u:%g %n %s %T@\\n' | sort; cat /etc/decoy.*`));

const tokenOf = (user: string): string => readFileSync(path(`${credentials}/${user}/cilogon.use`), 'utf8');

/** Somebody else's tokens are replaced as if nothing were the matter. */
async function fresher(user: string, times: number): Promise<void> {
  for (let n = 0; n < times; n++) {
    const was = tokenOf(user);
    await untilTrue(`another token of ${user}`, async () => tokenOf(user) !== was, 40_000);
  }
}

/** As a member of condor's group, who is nobody else there; and as condor's account itself, which owns users' folders. */
const member = (command: string) =>
  root(`cd ${credentials} && setpriv --reuid=carol --regid=condor --clear-groups --no-new-privs sh -c "$COMMAND"`, {
    env: { COMMAND: command },
  });
const condor = (command: string) =>
  root(`cd ${credentials} && setpriv --reuid=condor --regid=condor --clear-groups sh -c "$COMMAND"`, {
    env: { COMMAND: command },
  });

describe.skipIf(obstacle)(`a directory full of traps${obstacle ? ` (skipped: ${obstacle})` : ''}`, () => {
  let issuer: IssuerProcess;
  let pid: string;
  let before: string;

  beforeAll(async () => {
    issuer = await startIssuerProcess({ life: 20 });
    await installCredmon();
    await putSecret();
    await startPool({ knobs: credmonKnobs('cilogon') + providerKnobs('cilogon', issuer) + confined });
    pid = await credmondUp();
    await untilTrue('the broker listens', async () => existsSync(path(brokerSocket)));
    expect(await logIn('alice', issuer)).toMatchObject({ exitCode: 0 });
    await sure(
      root(`umask 077; for end in top use; do echo '{"refresh_token":"outside-0123456789"}' >/etc/decoy.$end; done`),
    );
    before = await outside();
  });
  afterAll(async () => {
    await stopPool();
    await leave();
    await issuer?.stop();
  });

  test('credmond has the powers of docs/confined.conf and no others, and does all its work', async () => {
    const status = await sure(root(`cat /proc/${pid}/status`));
    const bits = (name: string) => BigInt(`0x${new RegExp(`^${name}:\\s*([0-9a-f]+)$`, 'm').exec(status)?.[1]}`);
    // capabilities(7): chown 0, dac_override 1, kill 5, setgid 6, setuid 7.
    const allowed = [0n, 1n, 5n, 6n, 7n].reduce((all, bit) => all | (1n << bit), 0n);
    expect([bits('CapBnd'), bits('CapPrm'), bits('CapEff')]).toEqual([allowed, allowed, allowed]);
    expect(status).toMatch(/^NoNewPrivs:\s*1$/m);
    const broker = (await sure(root('pgrep -u credmon'))).trim();
    expect(await sure(root(`cat /proc/${broker}/status`))).toMatch(/^CapEff:\s*0+$/m);
    expect(await filesOf('alice')).toEqual([
      'alice 2700 condor:condor',
      'alice/cilogon.top 600 root:condor',
      'alice/cilogon.use 400 root:condor',
    ]);
    expect(await sure(root(`stat -c '%U %a' ${statusDir}/1000.json`))).toBe('alice 400\n');
    await fresher('alice', 1);
    // A broker that is killed is another's to start, and a hung one credmond's to end.
    await sure(root(`kill -STOP ${broker}`));
    expect(await logIn('bob', issuer).catch(() => 'hung')).toBeDefined();
    await sure(root(`kill -KILL ${broker}`));
    await untilTrue(
      'another broker',
      async () => ((await root('pgrep -u credmon')).stdout.trim() || broker) !== broker,
    );
    expect(await credmonLog()).not.toMatch(/EPERM|not permitted/);
  });

  test.each(['carol', 'nobody'])('%s, who is nobody in particular, gets at nothing', async (user) => {
    for (const trick of [
      `ls ${credentials}`,
      `ln -s /etc/decoy.top ${credentials}/x`,
      `mkdir ${credentials}/x`,
      `mkfifo ${credentials}/alice/x.top`,
      `mv ${credentials}/alice /tmp/`,
      `ln ${credentials}/alice/cilogon.top /tmp/x`,
      `ln -s /etc/decoy.top ${statusDir}/x`,
      `ln -s /etc/decoy.top /var/log/condor/CredMonOAuthLog.old`,
      `kill -USR1 ${pid}`,
      `cat /proc/${pid}/environ`,
      `ls /proc/${pid}/fd`,
    ]) {
      const { code, stdout } = await as(user, trick);
      expect(code, `${trick}\n${stdout}`).not.toBe(0);
    }
    const store = (name: string) =>
      as(user, `echo '{"refresh_token":"x"}' | /usr/sbin/condor_store_cred add-oauth -s "$NAME" -i -`, {
        env: { NAME: name },
      });
    for (const name of ['../alice/cilogon', 'cilogon/../../x', 'cilogon\n'])
      expect((await store(name)).code, name).not.toBe(0);
    // That one HTCondor admits, as `...top`; to us it is no name.
    await store('..');
    expect(await outside()).toBe(before);
  });

  test('condor’s group and account lay every trap; nothing outside is read or touched, others stay fresh', async () => {
    await sure(
      member(`ln -s /etc link; ln -s /etc/decoy.top file; mkfifo pipe; mkdir theirs; chmod 777 theirs
        ln -s /etc/decoy.top theirs/cilogon.top; rm -f CREDMON_COMPLETE; ln -s /etc/decoy.use CREDMON_COMPLETE
        ln -s /etc/decoy.use .credmon-0123456789abcdef01234567.tmp; mkdir "$(printf 'u\\nu\\377')" "$(printf '\\033[2Jx')"`),
    );
    await sure(
      condor(`umask 077; for u in m1 m2 m3 m4 m5; do mkdir $u; done
        ln -s /etc/decoy.top m1/cilogon.top; mkfifo m2/cilogon.top; mkdir m3/cilogon.top
        truncate -s 1T m4/cilogon.top
        echo '{"refresh_token":"of-nobody-0123456789"}' >m5/cilogon.top; ln -s /etc/decoy.use m5/cilogon.use; mkfifo m5/cilogon.meta`),
    );
    // Where the kernel does not protect hard links, that is one more.
    await condor('ln /etc/decoy.top m1/cilogon_hard.top');
    const links = (await root('stat -c %h /etc/decoy.top')).stdout.trim();
    if (links === '1') expect(await outside()).toBe(before);
    await sure(root(`kill -HUP ${pid}`));
    const swap = `i=0; while [ $i -lt 1500 ]; do i=$((i+1)); mv m5 .m5; ln -s /etc m5; rm m5; mv .m5 m5
      ln -sf /etc/decoy.use m5/cilogon.use; done 2>/dev/null; true`;
    const [swapped] = await Promise.all([condor(swap), fresher('alice', 2)]);
    expect(swapped.code).toBe(0);
    await root(`rm -f ${credentials}/m1/cilogon_hard.top`);
    expect((await sure(root('cat /etc/decoy.*'))).split('\n').filter(Boolean)).toHaveLength(2);
    const unlinked = (text: string) => text.replace(/^(\/etc\/decoy\.top \S+ \S+ \S+ \S+ )\S+/m, '$1');
    expect(unlinked(await outside())).toBe(unlinked(before));
    const told = `${await credmonLog()}${await sure(root(`cat ${statusDir}/*.json`))}`;
    expect(told).not.toContain('outside-');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: this is what must not be there
    expect(told).not.toMatch(/\u001b/);
    expect((await issuer.counts()).reuse).toBe(0);
    expect(await sure(root(`cat ${credentials}/pid`))).toBe(pid);
  });
});
