import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { filesOf, submit } from './lab/point.js';
import { as, credentials, enter, leave, obstacleTo, path, root, startPool, stopPool } from './lab/pool.js';
import { putProgram } from './lab/tools.js';

const releases = ['trixie', 'forky'] as const;
const obstacles = new Map<string, string | undefined>();
for (const release of releases) obstacles.set(release, await obstacleTo(release));

const producer = fileURLToPath(new URL('../../bin/credmon-producer', import.meta.url));
const extra = '/etc/condor/config.d/70-extra.conf';
/** No credmon: what condor_submit and condor_credd do is all that is looked at. */
const knobs = `
SEC_CREDENTIAL_PRODUCER = /usr/bin/credmon-producer
CREDMON_OAUTH = /usr/bin/sleep
CREDMON_OAUTH_ARGS = 100000
`;

const job = (services = '') => `
executable = /bin/true
log = job.log
hold = true
request_memory = 64
request_disk = 1000
${services === '' ? '' : `use_oauth_services = ${services}`}
queue
`;

/** Knobs on top of the others, for condor_credd as well. */
async function setKnobs(text: string): Promise<void> {
  await root(`cat >${extra} && chmod 644 ${extra} && condor_reconfig`, { stdin: text });
}

describe.each(releases)('%s', (release) => {
  const obstacle = obstacles.get(release);
  describe.skipIf(obstacle)(`SEC_CREDENTIAL_PRODUCER${obstacle ? ` (skipped: ${obstacle})` : ''}`, () => {
    beforeAll(async () => {
      await enter(release);
      await putProgram('/usr/bin/credmon-producer', await readFile(producer, 'utf8'));
      await startPool({ knobs });
    });
    afterAll(async () => {
      await stopPool();
      await leave();
    });

    test('every submit asks condor_credd for the local issuer’s credential, and waits for nothing', async () => {
      const started = performance.now();
      const { code, stdout, stderr } = await submit('alice', job());
      expect(code, stdout + stderr).toBe(0);
      expect(performance.now() - started).toBeLessThan(5000);
      expect(await filesOf('alice')).toEqual([
        'alice 2700 condor:condor',
        expect.stringMatching(/^alice\/scitokens\.top 600 root:/),
      ]);
      expect(await readFile(path(`${credentials}/alice/scitokens.top`), 'utf8')).toBe('alice');
      expect((await as('alice', 'condor_q -af SendCredential OAuthServicesNeeded')).stdout).toBe('true undefined\n');
    });

    test('the local issuer may have another name', async () => {
      await setKnobs('LOCAL_CREDMON_PROVIDER_NAME = mylocal\nSUBMIT_ADD_LOCAL_CREDMON_PROVIDERS = False\n');
      const { code, stdout, stderr } = await submit('bob', job());
      expect(code, stdout + stderr).toBe(0);
      expect(await filesOf('bob')).toEqual([
        'bob 2700 condor:condor',
        expect.stringMatching(/^bob\/mylocal\.top 600 root:/),
      ]);
      expect(await readFile(path(`${credentials}/bob/mylocal.top`), 'utf8')).toBe('bob');
    });

    test('beside a storer, for a job that asks for services', async () => {
      await putProgram(
        '/opt/storer',
        '#!/bin/sh\n/usr/sbin/condor_store_cred add-oauth -s cilogon -i - </etc/hostname\n',
      );
      await setKnobs('SEC_CREDENTIAL_STORER = /opt/storer\nVAULT_CREDMON_PROVIDER_NAMES = cilogon\n');
      const { code, stdout, stderr } = await submit('carol', job('cilogon'));
      expect(code, stdout + stderr).toBe(0);
      // 23.9.6 is content with the storer; 25.x goes on to condor_credd, and then to the producer.
      const names = (await filesOf('carol')).map((line) => line.split(' ')[0]);
      const both = ['carol', 'carol/cilogon.top', 'carol/scitokens.top'];
      expect(names).toEqual(release === 'trixie' ? both.slice(0, 2) : both);
    });
  });
});
