import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startIssuerProcess } from './issuer.js';
import { filesOf, tree } from './point.js';
import {
  as,
  credentials,
  enter,
  leave,
  obstacleTo,
  path,
  readLog,
  root,
  startPool,
  stopPool,
  userArgv,
} from './pool.js';
import { startPythonCredmon, webLogin } from './python-credmon.js';
import type { Release } from './room.js';
import { openTerminal } from './terminal.js';
import { openShell, putProgram, runDag, submitByPython } from './tools.js';
import { until } from './until.js';

/** With the HTCondor that each has to have: another one would be another pool than the one meant. */
const releases: Readonly<Partial<Record<Release, RegExp>>> = { trixie: /^23\.9\./, forky: /^25\./ };
const obstacles = new Map<string, string | undefined>();
for (const release of Object.keys(releases)) obstacles.set(release, await obstacleTo(release as Release));

const storer = '/opt/storer';
/** What both versions need for a service to go to the storer; and 25.x’s Python credmon, to take a service for its own. */
const knobs = `
SEC_CREDENTIAL_STORER = ${storer}
VAULT_CREDMON_PROVIDER_NAMES = cilogon
osdf_CLIENT_ID = public-cli
CREDMON_OAUTH = /usr/bin/sleep
CREDMON_OAUTH_ARGS = 100000
`;
/** Tells who called it and where it stands: pid, parent, group, session, terminal, the terminal's foreground group. */
const telling = `#!/bin/sh
echo "storer $*"
echo "why not" >&2
read -r pid name state ppid group session tty foreground rest </proc/$$/stat
echo "$(cat /proc/$ppid/comm) $([ $group = $foreground ] && echo foreground || echo background) tty=$([ $tty = 0 ] && echo no || echo yes)" >>/tmp/storer
`;
/** What it has told since this was asked last. */
const told = async () => (await root('cat /tmp/storer; rm -f /tmp/storer')).stdout.trim().split('\n');
const job =
  'executable = /bin/true\nrequest_cpus = 1\nrequest_memory = 64\nrequest_disk = 1000\nuse_oauth_services = cilogon\nqueue\n';

describe.each(Object.entries(releases))('the lab with Debian %s', (name, version) => {
  const release = name as Release;
  const obstacle = obstacles.get(release);
  if (obstacle !== undefined) return test.skip(`(${obstacle})`, () => undefined);

  beforeAll(async () => {
    await enter(release);
    await putProgram(storer, telling);
    await startPool({ knobs });
  });
  afterAll(async () => {
    await stopPool();
    await leave();
  });

  test('has the HTCondor that is meant', async () => {
    const { stdout } = await root('condor_version');
    expect(/CondorVersion: (\S+)/.exec(stdout)?.[1]).toMatch(version);
  });

  test('a user stores a credential', async () => {
    const store = '/usr/sbin/condor_store_cred add-oauth -s cilogon -i -';
    const { code } = await as('alice', store, { stdin: '{"refresh_token":"one"}' });
    expect(code).toBe(0);
    const { stdout } = await root(`stat -c '%a %U' ${credentials}/alice/cilogon.top`);
    expect(stdout.trim()).toBe('600 root');
  });

  test('a running job sees its token, and the one that replaces it', async () => {
    await putUse('first-token');
    const submit = `
      executable = /bin/sh
      arguments = "-c 'cd $_CONDOR_CREDS; until grep second cilogon.use; do cat cilogon.use; sleep 0.5; done'"
      output = job.out
      error = job.err
      log = job.log
      request_cpus = 1
      request_memory = 64
      request_disk = 1000
      use_oauth_services = cilogon
      queue
    `;
    const submitted = await as('alice', 'cat > job.sub && condor_submit job.sub', { stdin: submit });
    expect(submitted, submitted.stderr).toMatchObject({ code: 0 });
    const output = async () => (await as('alice', 'cat job.out')).stdout;
    await until(
      async () => (await output()).includes('first') || undefined,
      60_000,
      () => readLog('SchedLog'),
    );
    await putUse('second-token');
    const ended = await as('alice', 'condor_wait -wait 60 job.log; cat job.out');
    expect([...new Set(ended.stdout.match(/\w+-token/g))]).toEqual(['first-token', 'second-token']);
  });

  test('a shell with job control: the storer is in the foreground there, and in the background it is not', async () => {
    const shell = await openShell('alice');
    try {
      await told();
      await as('alice', 'cat > job.sub', { stdin: job });
      await shell.type('condor_submit job.sub\r');
      await shell.waitFor('submitted to cluster');
      expect(await told()).toEqual(['condor_submit foreground tty=yes']);
      await shell.type('clear; condor_submit job.sub & wait; echo en""ded\r');
      await shell.waitFor('ended');
      expect(await told()).toEqual(['condor_submit background tty=yes']);
    } finally {
      await shell.close();
    }
  });

  test('DAGMan, whose nodes call the storer without a terminal', async () => {
    const done = await runDag('alice', 'JOB A a.sub\nJOB B a.sub\nPARENT A CHILD B\n', { 'a.sub': job });
    expect(done, done.log).toMatchObject({ status: 0, stderr: 'why not\nwhy not\n' });
    expect(done.stdout).toContain('storer cilogon\n');
    const [first, second, third] = await told();
    expect(first).toMatch(/^condor_\S+ background tty=no$/);
    expect([second, third]).toEqual([first, undefined]);
  });

  test('Python, which calls the storer too', async () => {
    const submitted = await submitByPython('alice', job);
    expect(submitted).toMatchObject({ code: 0, stdout: expect.stringMatching(/^storer cilogon\n\d+\n$/) });
    await putProgram(storer, '#!/bin/sh\nexit 79\n');
    const failed = await submitByPython('alice', job);
    expect(failed).toMatchObject({ code: 1, stderr: expect.stringContaining(`${storer}' failed`) });
  });

  test('a user has a terminal, with a controlling one behind /dev/tty', async () => {
    const terminal = await openTerminal({
      command: userArgv('bob', 'echo name? >/dev/tty; read name; echo "$(id -un) $name"; exit 3'),
    });
    try {
      await terminal.waitFor('name?');
      await terminal.type('Bob\r');
      await terminal.waitFor('bob Bob');
      expect(await terminal.exitCode()).toBe(3);
    } finally {
      await terminal.close();
    }
  });

  test('HTCondor’s own Python credmon refreshes what its web application left', async () => {
    const issuer = await startIssuerProcess({ life: 600 });
    const own = async () => JSON.parse(await readFile(path(`${credentials}/carol/osdf.use`), 'utf8'));
    try {
      await webLogin('carol', 'osdf', issuer);
      const before = await own();
      const credmon = await startPythonCredmon();
      await until(
        async () => ((await own()).access_token !== before.access_token ? true : undefined),
        10_000,
        async () => `not refreshed:\n${await credmon.log()}`,
      );
      await credmon.scan();
      await credmon.stop();
      expect(await issuer.isGood((await own()).access_token)).toBe(true);
      expect(await issuer.counts()).toMatchObject({ refreshes: 1 });
      expect(await filesOf('carol')).toEqual([
        'carol 2700 condor:condor',
        expect.stringMatching(/^carol\/osdf\.meta 400 root:/),
        'carol/osdf.top 400 root:condor',
        'carol/osdf.use 400 root:condor',
      ]);
      expect(await tree()).toContain('CREDMON_COMPLETE 644 root:condor');
    } finally {
      await issuer.stop();
    }
  });
});

/** What credmond is for, done by hand. */
async function putUse(token: string): Promise<void> {
  await writeFile(path(`${credentials}/new`), `${token}\n`, { mode: 0o400 });
  const done = await root(`mv -f ${credentials}/new ${credentials}/alice/cilogon.use`);
  expect(done.code, done.stderr).toBe(0);
}
