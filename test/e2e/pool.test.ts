import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { installCredmon } from './lab/install.js';
import { confidential, type IssuerProcess, startIssuerProcess } from './lab/issuer.js';
import {
  brokerSocket,
  codeOn,
  credmondUp,
  credmonKnobs,
  credmonLog,
  filesOf,
  jobOutput,
  logIn,
  loginTerminal,
  printingJob,
  providerKnobs,
  putSecret,
  secretFile,
  stays,
  submit,
  sure,
  tokensIn,
  tree,
  untilTrue,
} from './lab/point.js';
import { as, credentials, installs, leave, path, readLog, root, startPool, stopPool } from './lab/pool.js';

const obstacle = await installs();
const story = (title: string) => `${title}${obstacle ? ` (skipped: ${obstacle})` : ''}`;

/** Longer than any refresh of these 20-second tokens is away. */
const onePeriod = 13_000;
const query = '/usr/sbin/condor_store_cred query-oauth -s cilogon';

describe.skipIf(obstacle)(story('an access point whose client has a secret'), () => {
  let issuer: IssuerProcess;
  beforeAll(async () => {
    issuer = await startIssuerProcess({ life: 20 });
    await installCredmon();
    await putSecret();
    await startPool({ knobs: credmonKnobs('cilogon') + providerKnobs('cilogon', issuer) });
  });
  afterAll(async () => {
    await stopPool();
    await issuer?.stop();
  });

  test('condor_master starts credmond, and that the broker with its privileges dropped', async () => {
    const pid = await credmondUp();
    expect(await readLog('MasterLog')).toContain(`Started process "/usr/sbin/credmond", pid and pgroup = ${pid}`);
    expect(await tree()).toEqual([
      '.credmon-intents 600 root:condor',
      'CREDMON_COMPLETE 644 root:condor',
      'pid 644 root:condor',
    ]);
    await untilTrue('the broker listens', async () => existsSync(path(brokerSocket)));

    const broker = (await sure(root('pgrep -u credmon'))).trim();
    const status = await sure(root(`cat /proc/${broker}/status`));
    expect(status).toMatch(new RegExp(`^PPid:\t${pid}$`, 'm'));
    const uid = (await sure(root('id -u credmon'))).trim();
    expect(status).toMatch(new RegExp(`^Uid:(\t${uid}){4}$`, 'm'));
    expect(status).toMatch(/^Gid:\t(\d+)\t\1\t\1\t\1$/m);
    expect(status).toMatch(/^Groups:\t *$/m);
    for (const kind of ['Prm', 'Eff', 'Amb']) expect(status).toMatch(new RegExp(`^Cap${kind}:\t0+$`, 'm'));
    const environment = (await sure(root(`cat /proc/${broker}/environ`))).split('\0').filter(Boolean);
    expect(environment.sort()).toEqual(['LC_ALL=C.UTF-8', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin']);
    expect(await sure(root(`cat /proc/${broker}/cmdline`))).not.toContain(confidential.secret);
  });

  test('the secret is for nobody else', async () => {
    const broker = (await sure(root('pgrep -u credmon'))).trim();
    for (const file of [secretFile, `/proc/${broker}/environ`, `/proc/${broker}/mem`, `/proc/${broker}/fd/0`]) {
      expect(await as('alice', `cat ${file}`), file).toMatchObject({ code: 1, stdout: '' });
    }
  });

  test('before the login condor_submit cannot say what to do, and credmon can', async () => {
    const { code, stdout } = await submit('alice', printingJob('cilogon'));
    expect(code).toBe(1);
    // HTCondor's own words, of its web flow: only a storer could say it better.
    expect(stdout).toMatch(/^Hellow, alice\.\nPlease visit: https:\/\/\S+\/key\/[0-9a-f]{64}$/m);
    const { stdout: told } = await as('alice', 'credmon status');
    expect(told).toContain('You are not logged in to any provider. Run: credmon login');
    expect(told).not.toContain('credmond does not run');
    expect(await as('alice', 'credmon token')).toMatchObject({
      code: 69,
      stderr: expect.stringContaining('use_oauth_services = cilogon'),
    });
  });

  test.each(['q', '\x03'])(
    'whoever gives up a login with %j is back at once, and the broker forgets it',
    async (key) => {
      const terminal = await loginTerminal('alice');
      const cancelled = async () => (await credmonLog()).match(/alice .* cilogon: cancelled: /g)?.length ?? 0;
      const before = await cancelled();
      try {
        await terminal.waitFor('Waiting for your approval', 20_000);
        const begin = performance.now();
        await terminal.type(key);
        expect(await terminal.exitCode()).toBe(130);
        expect(performance.now() - begin).toBeLessThan(2000);
        expect(await terminal.screen()).toContain('Login to cilogon cancelled');
        await untilTrue('the broker says so', async () => (await cancelled()) === before + 1);
      } finally {
        await terminal.close();
      }
    },
  );

  test('a login that takes too long is given up', async () => {
    const late = await as('alice', 'credmon login --timeout 1', { limit: 20_000 });
    expect(late).toMatchObject({ code: 124, stderr: expect.stringContaining('not approved within 1 s') });
  });

  test('alice logs in at a terminal of 80x24', async () => {
    const { waiting, done, exitCode } = await logIn('alice', issuer);
    expect(waiting.split('\n').length).toBeLessThanOrEqual(24);
    expect(waiting).toMatch(/^ Log in to cilogon\b/m);
    expect(waiting).toContain(`${issuer.url} for alice@`);
    expect(waiting).toContain(
      codeOn(waiting)
        .replace('-', '')
        .split('')
        .join(' ')
        .replace(/^(.{7})/, '$1 -'),
    );
    expect(waiting).toContain(`${issuer.url}/device?user_code=${codeOn(waiting)}`);
    expect(waiting.match(/█▀▀|▄▄▄▄▄/g)?.length, 'a QR code has three corners').toBeGreaterThan(3);
    expect(waiting).toContain('read files below /home');
    expect(waiting).toMatch(/code valid for (4 min \d+|5 min 0) s/);
    expect(done).toMatch(/✓ Logged in to cilogon as alice/);
    expect(done).toMatch(/Stored +in HTCondor’s credential directory/);
    expect(done).toMatch(/Token good +for (20|19|18) s/);
    expect(done).toMatch(/First refresh +in \d+ s, at \d\d:\d\d/);
    expect(done).not.toMatch(/user_code|▄▄▄/);
    expect(exitCode).toBe(0);
    expect(await filesOf('alice')).toEqual([
      'alice 2700 condor:condor',
      'alice/cilogon.top 600 root:condor',
      'alice/cilogon.use 400 root:condor',
    ]);
    expect((await sure(root('ls -A /var/lib/credmon/spool'))).trim()).toBe('');
    expect(await sure(as('alice', query))).toContain('A credential was stored and is valid.');
    expect(await as('alice', 'credmon login --if-needed')).toMatchObject({ code: 0, stdout: '', stderr: '' });
  });

  test('a running job sees one good token after the other, also when credmond is killed in between', async () => {
    const submitted = await submit('alice', printingJob('cilogon'));
    expect(submitted, submitted.stderr).toMatchObject({ code: 0 });
    expect(submitted.stdout).toContain('1 job(s) submitted to cluster');
    const seen = new Map<string, boolean>();
    const look = async () => {
      for (const token of tokensIn(await jobOutput('alice')))
        if (!seen.has(token)) seen.set(token, await issuer.isGood(token));
      return seen.size;
    };
    await untilTrue('the job sees a second token', async () => (await look()) >= 2, 60_000);

    const [credmond, broker] = [(await credmondUp()).trim(), (await sure(root('pgrep -u credmon'))).trim()];
    await sure(root(`kill -KILL ${credmond}`));
    const next = await credmondUp(credmond);
    expect(await readLog('MasterLog')).toContain(`The CREDMON_OAUTH (pid ${credmond}) died due to signal 9`);
    await untilTrue('there is a new broker only', async () => {
      const pids = (await root('pgrep -u credmon')).stdout.trim();
      return /^\d+$/.test(pids) && pids !== broker;
    });
    expect(await sure(root(`ps -o ppid= -u credmon`))).toMatch(new RegExp(`^ *${next}\n$`));

    await untilTrue('the job sees a fourth token', async () => (await look()) >= 4, 60_000);
    expect([...seen.values()]).toEqual([...seen.keys()].map(() => true));
    expect(await issuer.counts()).toMatchObject({ logins: 1, reuse: 0, refusals: 0 });
    expect(await filesOf('alice')).toEqual([
      'alice 2700 condor:condor',
      'alice/cilogon.top 600 root:condor',
      'alice/cilogon.use 400 root:condor',
    ]);
  });

  test('credmon status, for alice and for root', async () => {
    const row = 'cilogon +login +fresh +in \\d+ s of \\d+ s +(in \\d+ s|now)$';
    const own = await as('alice', 'credmon status');
    expect(own).toMatchObject({ code: 0, stderr: '' });
    expect(own.stdout).toMatch(new RegExp(`^PROVIDER +BY +STATE +TOKEN ENDS +NEXT REFRESH\n${row}`, 'm'));
    expect(await sure(root('credmon status'))).toMatch(new RegExp(`^USER +PROVIDER +BY +STATE .*\nalice +${row}`, 'm'));
    const told = JSON.parse(await sure(as('alice', 'credmon status --json')));
    expect(told).toMatchObject({ daemon: { alive: true }, credentials: [{ user: 'alice', state: 'fresh' }] });
    expect(JSON.stringify(told)).not.toMatch(/token"/);
  });

  test('a second credmond says so and exits 99', async () => {
    const before = await credmondUp();
    const second = await root('credmond');
    expect(second).toMatchObject({
      code: 99,
      stderr: expect.stringContaining(`another credmond keeps ${credentials}`),
    });
    expect(await credmondUp()).toBe(before);
  });

  test('a grant that the issuer took back: status says what to do, nothing more is asked, and a login mends it', async () => {
    await issuer.revokeGrants();
    await untilTrue('it is seen', async () => (await as('alice', 'credmon status')).code === 79);
    const { stdout } = await as('alice', 'credmon status');
    expect(stdout).toMatch(/^cilogon +login +login needed/m);
    expect(stdout).toContain('→ run: credmon login cilogon');
    expect(await sure(root('credmon status'))).toMatch(/^alice +cilogon +login +login needed/m);
    // What jobs have stays: it may still be good for a while.
    expect(await filesOf('alice')).toContain('alice/cilogon.use 400 root:condor');

    const once = async () => (await issuer.counts()).refusals === 1;
    await sure(root('condor_reconfig'));
    await stays('the issuer was asked once', once, 4000);
    expect(await logIn('alice', issuer)).toMatchObject({ exitCode: 0 });
    expect((await as('alice', 'credmon status')).code).toBe(0);
    expect(await issuer.counts()).toMatchObject({ refusals: 1, logins: 2, reuse: 0 });
    const known = tokensIn(await jobOutput('alice')).length;
    await untilTrue('the job sees it', async () => tokensIn(await jobOutput('alice')).length > known);
    expect(await issuer.isGood(tokensIn(await jobOutput('alice')).at(-1) ?? '')).toBe(true);
  });

  test('condor_rm and credmon logout: removed, and revoked at the issuer', async () => {
    await sure(as('alice', 'condor_rm -all && condor_wait -wait 60 job.log'));
    const { refresh_token } = JSON.parse(await readFile(path(`${credentials}/alice/cilogon.top`), 'utf8'));
    const { code, stdout } = await as('alice', 'credmon logout');
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'cilogon: removed; revoked at the issuer\n' });
    expect(await filesOf('alice')).toEqual(['alice 2700 condor:condor']);
    expect(await issuer.counts()).toMatchObject({ revocations: 1 });
    expect(await issuer.takes(refresh_token)).toBe(false);
    expect((await as('alice', query)).stdout).toContain('No credential is stored.');
  });

  test('what is deleted by HTCondor does not come back', async () => {
    await logIn('alice', issuer);
    const before = await issuer.counts();
    await sure(as('alice', '/usr/sbin/condor_store_cred delete-oauth -s cilogon'));
    await stays(
      'the folder is empty',
      async () => (await filesOf('alice')).join() === 'alice 2700 condor:condor',
      onePeriod,
    );
    expect(await issuer.counts()).toMatchObject({ refreshes: before.refreshes, reuse: 0 });
    expect(await sure(as('alice', 'credmon status'))).toContain('You are not logged in to any provider');
  });

  test('condor_off ends it, gracefully and fast, and condor_on brings it back', async () => {
    for (const [how, signal] of [
      ['-graceful', 'SIGTERM: ending'],
      ['-fast', 'SIGQUIT: ending at once'],
    ]) {
      const pid = await credmondUp();
      const before = (await credmonLog()).length;
      await sure(root(`condor_off ${how} -subsystem CREDMON_OAUTH`));
      await untilTrue('condor_master has seen its end', async () =>
        (await readLog('MasterLog')).includes(`The CREDMON_OAUTH (pid ${pid}) exited with status 0`),
      );
      expect((await credmonLog()).slice(before)).toMatch(new RegExp(`${signal}\n[^]*ended\n$`));
      expect((await root('pgrep -u credmon')).code).toBe(1);
      expect(existsSync(path(brokerSocket))).toBe(false);
      await sure(root('condor_on -subsystem CREDMON_OAUTH'));
      await credmondUp(pid);
    }
  });
});

describe.skipIf(obstacle)(story('an access point with a public client and no broker'), () => {
  let issuer: IssuerProcess;
  beforeAll(async () => {
    issuer = await startIssuerProcess({ life: 20 });
    await startPool({ knobs: credmonKnobs('osdf') + providerKnobs('osdf', issuer, { open: true }) });
    await credmondUp();
  });
  afterAll(async () => {
    await stopPool();
    await issuer?.stop();
    await leave();
  });

  test('bob logs in, and condor_credd stores the grant', async () => {
    expect(existsSync(path(brokerSocket))).toBe(false);
    const { waiting, done, exitCode } = await logIn('bob', issuer, 'osdf');
    expect(waiting).toContain(`${issuer.url}/device?user_code=${codeOn(waiting)}`);
    expect(done).toMatch(/✓ Logged in to osdf as bob/);
    expect(done).toMatch(/Stored +in HTCondor’s credential directory/);
    expect(exitCode).toBe(0);
    expect(await filesOf('bob')).toEqual([
      'bob 2700 condor:condor',
      expect.stringMatching(/^bob\/osdf\.top 600 root:(condor|root)$/),
      'bob/osdf.use 400 root:condor',
    ]);
    expect((await root('pgrep -u credmon')).code, 'no broker').toBe(1);
    expect(await readLog('CredLog')).toMatch(/bob/);
  });

  test('his job sees fresh tokens', async () => {
    const submitted = await submit('bob', printingJob('osdf'));
    expect(submitted, submitted.stderr).toMatchObject({ code: 0 });
    await untilTrue('two tokens', async () => tokensIn(await jobOutput('bob')).length >= 2, 60_000);
    expect(await issuer.isGood(tokensIn(await jobOutput('bob')).at(-1) ?? '')).toBe(true);
    expect(await issuer.counts()).toMatchObject({ logins: 1, reuse: 0, refusals: 0 });
    await sure(as('bob', 'condor_rm -all'));
  });

  test('his logout removes it, and says that it could not be revoked', async () => {
    const { code, stdout } = await as('bob', 'credmon logout');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^osdf: removed from HTCondor; not revoked at http/);
    expect(await filesOf('bob')).toEqual(['bob 2700 condor:condor']);
    expect((await as('bob', '/usr/sbin/condor_store_cred query-oauth -s osdf')).stdout).toContain(
      'No credential is stored.',
    );
  });

  test('a configuration that is of no use is told in the log, and condor_master does not try it again and again', async () => {
    const broken = '/etc/condor/config.d/70-broken.conf';
    await sure(root(`echo 'CREDMON_PROVIDER_NAMES = osdf, nosuch' >${broken}; chmod 644 ${broken}`));
    await sure(root('condor_off -subsystem CREDMON_OAUTH'));
    await untilTrue('ended', async () => (await credmonLog()).endsWith(' ended\n'));
    await sure(root('condor_on -subsystem CREDMON_OAUTH'));
    const given = 'exited with status 99 (daemon will not restart automatically)';
    await untilTrue('given up', async () => (await readLog('MasterLog')).includes(given));
    expect(await credmonLog()).toMatch(/ERROR: HTCondor’s configuration: nosuch_\w+ is missing \(.*\)\n$/);

    await sure(root(`rm ${broken}; condor_on -subsystem CREDMON_OAUTH`));
    await untilTrue('it runs again', async () =>
      (await credmonLog()).includes('starts', (await credmonLog()).lastIndexOf('ERROR')),
    );
  });
});
