import { writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { as, credentials, installs, leave, path, readLog, root, startPool, stopPool, userArgv } from './pool.js';
import { openTerminal } from './terminal.js';
import { until } from './until.js';

const obstacle = await installs();

describe.skipIf(obstacle)(`the lab itself${obstacle ? ` (${obstacle})` : ''}`, () => {
  beforeAll(() => startPool());
  afterAll(async () => {
    await stopPool();
    await leave();
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
});

/** What credmond is for, done by hand. */
async function putUse(token: string): Promise<void> {
  await writeFile(path(`${credentials}/new`), `${token}\n`, { mode: 0o400 });
  const done = await root(`mv -f ${credentials}/new ${credentials}/alice/cilogon.use`);
  expect(done.code, done.stderr).toBe(0);
}
