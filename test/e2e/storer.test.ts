import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { installCredmon } from './lab/install.js';
import { exchanger, type IssuerProcess, startIssuerProcess } from './lab/issuer.js';
import {
  codeOn,
  credmondUp,
  credmonKnobs,
  filesOf,
  jobOutput,
  printingJob,
  providerKnobs,
  putSecret,
  shortJob,
  submit,
  sure,
  tokensIn,
  tree,
  untilTrue,
} from './lab/point.js';
import { as, credentials, enter, leave, obstacleTo, root, startPool, stopPool, userArgv } from './lab/pool.js';
import { openTerminal } from './lab/terminal.js';

const releases = ['trixie', 'forky'] as const;
const obstacles = new Map<string, string | undefined>();
for (const release of releases) obstacles.set(release, await obstacleTo(release));

const secondSecret = '/etc/condor/exchange-secret';
const people = ['alice', 'bob', 'carol'];

/** As the README has it for both: logins at `cilogon`, none at `icecube`, in the knobs of the IceCube credmon. */
const knobs = (issuer: IssuerProcess) => `
${credmonKnobs('cilogon icecube')}
SEC_CREDENTIAL_STORER = /usr/bin/credmon-storer
VAULT_CREDMON_PROVIDER_NAMES = cilogon icecube
${providerKnobs('cilogon', issuer)}
icecube_ISSUER = ${issuer.url}
icecube_CLIENT_ID = ${exchanger.id}
icecube_CLIENT_SECRET_FILE = ${secondSecret}
icecube_DEFAULT_OPTIONS = icecube
icecube_SCOPES = storage.read:/home
icecube_ALLOWED_SCOPES = storage.read:/home storage.create:/home/{username}
`;

/** The scopes of what jobs are handed now. */
async function scopesOf(user: string, name: string): Promise<string | undefined> {
  const { code, stdout } = await root(`cat ${credentials}/${user}/${name}.use`);
  return code === 0 ? (JSON.parse(stdout) as { scope?: string }).scope : undefined;
}

describe.each(releases)('%s', (release) => {
  const obstacle = obstacles.get(release);
  describe.skipIf(obstacle)(`a submit on a real pool${obstacle ? ` (skipped: ${obstacle})` : ''}`, () => {
    let issuer: IssuerProcess;
    beforeAll(async () => {
      issuer = await startIssuerProcess({ life: 60, behaviour: { subjects: people } });
      await enter(release);
      await installCredmon();
      await putSecret();
      const umask = `umask 077; cat > ${secondSecret}; chmod 0400 ${secondSecret}`;
      await sure(root(umask, { stdin: `${exchanger.secret}\n` }));
      await startPool({ knobs: knobs(issuer) });
      await credmondUp();
    });
    afterAll(async () => {
      await stopPool();
      await issuer?.stop();
      await leave();
    });

    test('without a login and without a terminal it fails at once, with the command to run', async () => {
      const asked = shortJob('cilogon', 'cilogon_oauth_permissions = storage.read:/home');
      const { code, stdout, stderr } = await submit('alice', asked);
      expect(code).toBe(1);
      expect(stderr).toMatch(/^credmon-storer: error: the job needs a token of cilogon: you are not logged in to it$/m);
      const command = /then submit again: (credmon login .*)$/m.exec(stderr)?.[1];
      expect(command).toBe('credmon login cilogon --scope storage.read:/home');
      expect(stdout + stderr).not.toContain('Please visit');
      // Without a storer condor_credd leaves a key file with the client's secret here.
      expect(await tree()).toEqual([
        '.credmon-intents 600 root:condor',
        'CREDMON_COMPLETE 644 root:condor',
        'pid 644 root:condor',
      ]);
      const timed = await as('alice', 'date +%s%3N; credmon-storer cilogon 2>&1; date +%s%3N');
      const [first = 0, last = 0] = [...timed.stdout.matchAll(/^\d{13}$/gm)].map(Number);
      console.log(`${release}: refused after ${last - first} ms`);
    });

    test('in a terminal the login comes up in the middle of it, and the job goes in', async () => {
      await sure(as('alice', 'cat > job.sub', { stdin: printingJob('cilogon', 3) }));
      const command = userArgv('alice', 'condor_submit job.sub; echo "exit $?"; sleep 60');
      const terminal = await openTerminal({ command, cols: 80, rows: 24 });
      try {
        const waiting = await terminal.waitFor('Waiting for your approval', 20_000);
        expect(waiting.split('\n').length).toBeLessThanOrEqual(24);
        await issuer.approve(codeOn(waiting), 'alice');
        await terminal.waitFor(/1 job\(s\) submitted to cluster \d+\.[\s\S]*exit 0/, 30_000);
        expect(await terminal.history()).toContain('Submitting job(s)');
      } finally {
        await terminal.close();
      }
      await untilTrue('the job has its token', async () => tokensIn(await jobOutput('alice')).length > 0, 60_000);
      const [token = ''] = tokensIn(await jobOutput('alice'));
      expect(await issuer.isGood(token)).toBe(true);
    });

    test('with a good credential nothing is said, and nobody is asked', async () => {
      const before = await issuer.counts();
      const { code, stdout, stderr } = await submit('alice', shortJob('cilogon'));
      expect([code, stdout]).toEqual([0, expect.stringMatching(/^Submitting job\(s\)\.\n1 job\(s\) submitted/)]);
      expect(stderr).not.toContain('credmon');
      expect((await issuer.counts()).refreshes).toBe(before.refreshes);
    });

    test('a narrower one is made from the login that is there, with nobody at the terminal', async () => {
      const narrow = shortJob('cilogon', 'cilogon_oauth_permissions_ro = storage.read:/home');
      expect(await submit('alice', narrow)).toMatchObject({ code: 0, stderr: expect.not.stringContaining('credmon') });
      expect(await scopesOf('alice', 'cilogon_ro')).toBe('storage.read:/home');
      expect(await filesOf('alice')).toContain('alice/cilogon_ro.use 400 root:condor');
      // The login's own is as it was.
      expect(await scopesOf('alice', 'cilogon')).toContain('storage.create:/home/out');
    });

    test('other scopes than those that are there are named, and so is what to do', async () => {
      const other = shortJob('cilogon', 'cilogon_oauth_permissions_ro = storage.create:/home/out');
      const { code, stderr } = await submit('alice', other);
      expect(code).toBe(1);
      expect(stderr).toContain('asks cilogon_ro for the scopes storage.create:/home/out');
      expect(stderr).toContain('is for the scopes storage.read:/home');
      expect(stderr).toContain('credmon logout cilogon --handle ro');
    });

    test('two services with handles and different scopes take one approval', async () => {
      const handles = `cilogon_oauth_permissions_in = storage.read:/home
cilogon_oauth_permissions_out = storage.create:/home/out
icecube_oauth_permissions_in = storage.read:/home
icecube_oauth_permissions_out = storage.create:/home/bob`;
      await sure(as('bob', 'cat > job.sub', { stdin: shortJob('cilogon, icecube', handles) }));
      const command = userArgv('bob', 'condor_submit job.sub; echo "exit $?"; sleep 60');
      const terminal = await openTerminal({ command, cols: 80, rows: 24 });
      try {
        await issuer.approve(codeOn(await terminal.waitFor('Waiting for your approval', 20_000)), 'bob');
        await terminal.waitFor(/submitted to cluster \d+\.[\s\S]*exit 0/, 40_000);
      } finally {
        await terminal.close();
      }
      expect(await scopesOf('bob', 'cilogon_in')).toBe('storage.read:/home');
      expect(await scopesOf('bob', 'cilogon_out')).toBe('storage.create:/home/out');
      expect(await scopesOf('bob', 'icecube_in')).toBe('storage.read:/home');
      expect(await scopesOf('bob', 'icecube_out')).toBe('storage.create:/home/bob');
      await untilTrue('all tokens are in the job', async () => tokensIn(await jobOutput('bob')).length === 4, 60_000);
    });

    test('no click at all: two users at once', async () => {
      const started = performance.now();
      const ended = await Promise.all(['alice', 'carol'].map((user) => submit(user, shortJob('icecube'))));
      console.log(`${release}: two submits with token exchange took ${(performance.now() - started).toFixed(0)} ms`);
      expect(ended.map(({ code, stderr }) => [code, stderr.includes('credmon')])).toEqual([
        [0, false],
        [0, false],
      ]);
      const tokens = [];
      for (const user of ['alice', 'carol']) {
        await untilTrue(`${user}'s job`, async () => tokensIn(await jobOutput(user)).length > 0, 60_000);
        tokens.push(tokensIn(await jobOutput(user))[0] ?? '');
      }
      const subjects = tokens.map((token) =>
        JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()),
      );
      expect(subjects.map(({ sub }) => sub)).toEqual(['alice', 'carol']);
    });

    test('no click, but only what the administrator allows', async () => {
      const before = await issuer.counts();
      const asked = (scope: string) => shortJob('icecube', `icecube_oauth_permissions_x = ${scope}`);
      const { code, stderr } = await submit('bob', asked('storage.create:/home/alice'));
      expect(code).toBe(1);
      expect(stderr).toContain('bob may not have the scope storage.create:/home/alice from icecube');
      expect((await issuer.counts()).exchanges).toBe(before.exchanges);
      expect(await submit('bob', asked('storage.create:/home/bob'))).toMatchObject({ code: 0 });
      expect(await scopesOf('bob', 'icecube_x')).toBe('storage.create:/home/bob');
    });

    test('what a user stores by hand is no way to another’s token', async () => {
      const store = (text: string, name: string) =>
        as('bob', `/usr/sbin/condor_store_cred add-oauth -s icecube -H ${name} -i -`, { stdin: text });
      await store('{"credmon_request":1,"provider":"icecube","handle":"a","user":"alice"}', 'a');
      await store('{"credmon_request":1,"provider":"icecube","handle":"b"}', 'c');
      await store('{"credmon_request":1,"provider":"cilogon","handle":"d"}', 'd');
      await untilTrue('they are refused', async () => {
        const { stdout } = await as('bob', 'credmon status');
        return ['icecube_a', 'icecube_c', 'icecube_d'].every((name) =>
          new RegExp(`${name} +\\S+ +damaged`).test(stdout),
        );
      });
      expect((await filesOf('bob')).filter((line) => /icecube_[acd]\.use/.test(line))).toEqual([]);
    });

    test('200 submits in a row', async () => {
      const loop = 'for i in $(seq 200); do condor_submit job.sub || exit 1; done; condor_rm -all >/dev/null';
      await sure(as('carol', 'cat > job.sub', { stdin: shortJob('icecube', 'hold = true') }));
      const before = await issuer.counts();
      const started = performance.now();
      await sure(as('carol', loop, { limit: 240_000 }));
      console.log(`${release}: 200 submits took ${((performance.now() - started) / 200).toFixed(0)} ms each`);
      expect((await issuer.counts()).exchanges).toBe(before.exchanges);
    }, 300_000);

    test('a service that is not there is taken for the one that was meant', async () => {
      const { code, stderr } = await submit('carol', shortJob('icecub'));
      // HTCondor 25 does not ask the storer about names that no list has.
      if (release === 'trixie') expect(stderr).toContain('did you mean icecube?');
      expect(code).toBe(1);
    });

    test('credmon-storer is silent on services of others, and knows its arguments', async () => {
      expect(await as('carol', 'credmon-storer scitokens')).toEqual({ code: 0, stdout: '', stderr: '' });
      expect(await as('carol', 'credmon-storer "icecube&colour=red"')).toMatchObject({ code: 1, stdout: '' });
    });
  });
});
