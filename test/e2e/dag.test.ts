import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { installCredmon } from './lab/install.js';
import { type IssuerProcess, startIssuerProcess } from './lab/issuer.js';
import {
  codeOn,
  credmondUp,
  credmonKnobs,
  providerKnobs,
  putSecret,
  secretFile,
  shortJob,
  sure,
  tokensIn,
  untilTrue,
} from './lab/point.js';
import { as, credentials, enter, leave, obstacleTo, path, root, startPool, stopPool, userArgv } from './lab/pool.js';
import { openTerminal } from './lab/terminal.js';
import { putDag, runDag, submitByPython } from './lab/tools.js';

const releases = ['trixie', 'forky'] as const;
const obstacles = new Map<string, string | undefined>();
for (const release of releases) obstacles.set(release, await obstacleTo(release));

/** 23.9.6 tries six times, after 1, 2, 4, 8 and 16 s, whatever the storer says; 25.x once. */
const tries = 2;
const knobs = (issuer: IssuerProcess) => `
${credmonKnobs('cilogon')}
SEC_CREDENTIAL_STORER = /usr/bin/credmon-storer
VAULT_CREDMON_PROVIDER_NAMES = cilogon
DAGMAN_MAX_SUBMIT_ATTEMPTS = ${tries}
${providerKnobs('cilogon', issuer)}
`;

const dag = 'JOB A a.sub\nJOB B b.sub\nJOB C c.sub\nPARENT A CHILD B C\n';
/** One credential for reading, one for writing, and a node that needs both. */
const nodes = {
  'a.sub': shortJob('cilogon', 'cilogon_oauth_permissions_in = storage.read:/home', 'A'),
  'b.sub': shortJob('cilogon', 'cilogon_oauth_permissions_out = storage.create:/home/out', 'B'),
  'c.sub': shortJob(
    'cilogon',
    'cilogon_oauth_permissions_in = storage.read:/home\ncilogon_oauth_permissions_out = storage.create:/home/out',
    'C',
  ),
};

/** The scopes of the tokens that a node has shown, sorted. */
async function scopesShown(user: string, node: string): Promise<readonly unknown[]> {
  const tokens = tokensIn(await readFile(path(`/home/${user}/dag/${node}.out`), 'utf8'));
  return tokens.map((token) => JSON.parse(`${Buffer.from(token.split('.')[1] ?? '', 'base64url')}`).scope).sort();
}

describe.each(releases)('%s', (release) => {
  const obstacle = obstacles.get(release);
  describe.skipIf(obstacle)(`a workflow on a real pool${obstacle ? ` (skipped: ${obstacle})` : ''}`, () => {
    let issuer: IssuerProcess;
    beforeAll(async () => {
      issuer = await startIssuerProcess({ life: 60 });
      await enter(release);
      await installCredmon();
      await putSecret();
      await startPool({ knobs: knobs(issuer) });
      await credmondUp();
    });
    afterAll(async () => {
      await stopPool();
      await issuer?.stop();
      await leave();
    });

    test('DAGMan without a login: it fails at once, and lib.err has the command to run', async () => {
      const started = performance.now();
      const { status, log, stderr } = await runDag('alice', dag, nodes);
      console.log(`${release}: a DAG without a login ended after ${(performance.now() - started).toFixed(0)} ms`);
      expect(status, log).toBe(1);
      const refusals = stderr.match(/^credmon-storer: error: .*$/gm);
      expect(refusals).toEqual(
        Array(release === 'trixie' ? tries : 1).fill(
          'credmon-storer: error: the job needs a token of cilogon_in: you are not logged in to it',
        ),
      );
      expect(stderr).toMatch(
        /run in a terminal, then submit again: credmon login cilogon --handle in --scope storage\.read:\/home$/m,
      );
      expect(log).toMatch(/Job submit failed|Node submit failed/);
    });

    test('credmon ensure says so beforehand, for all nodes at once', async () => {
      await putDag('alice', dag, nodes);
      const { code, stdout } = await as('alice', 'cd dag; credmon ensure --dag a.dag');
      expect(code).toBe(79);
      expect(stdout).toContain('→ run: credmon login cilogon --handle in --scope storage.read:/home\n');
      expect(stdout).toContain('→ run: credmon login cilogon --handle out --scope storage.create:/home/out\n');
    });

    test('credmon login --dag: one approval for different scopes in different nodes', async () => {
      const command = userArgv('alice', 'cd dag; credmon login --dag a.dag');
      const terminal = await openTerminal({ command, cols: 80, rows: 24 });
      try {
        await issuer.approve(codeOn(await terminal.waitFor('Waiting for your approval', 20_000)), 'alice');
        expect(await terminal.exitCode(30_000), await terminal.history()).toBe(0);
      } finally {
        await terminal.close();
      }
      expect(await issuer.counts()).toMatchObject({ logins: 1 });
      expect(await as('alice', 'cd dag; credmon ensure --dag a.dag')).toMatchObject({ code: 0, stderr: '' });
    });

    test('the DAG completes, each node with the tokens that it asked for', async () => {
      const { status, log, stderr } = await runDag('alice', dag, nodes);
      expect(status, log).toBe(0);
      expect(stderr).toBe('');
      expect(await scopesShown('alice', 'A')).toEqual(['storage.read:/home']);
      expect(await scopesShown('alice', 'B')).toEqual(['storage.create:/home/out']);
      expect(await scopesShown('alice', 'C')).toEqual(['storage.create:/home/out', 'storage.read:/home']);
      expect(await issuer.counts()).toMatchObject({ logins: 1, reuse: 0, refusals: 0 });
    });

    test('Python with good credentials: nothing is said, and the job goes in', async () => {
      const submitted = await submitByPython('alice', nodes['c.sub']);
      expect(submitted).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\d+\n$/), stderr: '' });
    });

    test('Python without a login: it raises, and stderr has the command to run', async () => {
      const started = performance.now();
      const { code, stdout, stderr } = await submitByPython('bob', nodes['a.sub']);
      console.log(`${release}: issue_credentials() raised after ${(performance.now() - started).toFixed(0)} ms`);
      expect([code, stdout]).toEqual([1, '']);
      expect(stderr).toContain('the job needs a token of cilogon_in: you are not logged in to it\n');
      expect(stderr).toContain('then submit again: credmon login cilogon --handle in --scope storage.read:/home\n');
      expect(stderr).toMatch(
        release === 'trixie'
          ? /^RuntimeError: process_job_credentials\(\): invoking '\/usr\/bin\/credmon-storer' failed/m
          : /^\S*HTCondorException: '\/usr\/bin\/credmon-storer' failed: exit code 256$/m,
      );
    });

    describe('credmon doctor', () => {
      const extra = '/etc/condor/config.d/70-extra.conf';
      const knob = (text: string) => `echo '${text}' >${extra}; chmod 644 ${extra}`;
      const notSet = `rm ${extra}`;

      test.each(['root', 'alice'])('for %s: all is well', async (user) => {
        const ask = 'credmon doctor; credmon doctor cilogon';
        const { code, stdout, stderr } = user === 'root' ? await root(ask) : await as(user, ask);
        expect(code, stdout + stderr).toBe(0);
        expect(stdout).not.toMatch(/ERROR/);
      });

      /** What is broken, how, how it is mended, and what is said of it. */
      const breakages: [string, string, string, RegExp][] = [
        ['storer', knob('SEC_CREDENTIAL_STORER = /usr/bin/nothing'), notSet, /SEC_CREDENTIAL_STORER/],
        ['secret', `chmod 0644 ${secretFile}`, `chmod 0400 ${secretFile}`, /client-secret.*(?:0644|open)/],
        ['directory', `chmod 2777 ${credentials}`, `chmod 2770 ${credentials}`, /oauth_credentials.*(?:2777|open)/],
        [
          'daemon',
          'condor_off -fast -subsystem CREDMON_OAUTH',
          'condor_on -subsystem CREDMON_OAUTH',
          /condor_on -subsystem CREDMON_OAUTH/,
        ],
      ];
      if (release !== 'trixie') {
        const other = knob('VAULT_CREDMON_PROVIDER_NAMES = other');
        breakages.push(['list', other, notSet, /VAULT_CREDMON_PROVIDER_NAMES/]);
      }

      test.each(breakages)('what is broken is named: %s', async (_, breaking, mending, named) => {
        const well = async () => (await root('credmon doctor')).code === 0;
        const pid = await credmondUp();
        await sure(root(breaking));
        if (breaking.startsWith('condor_off'))
          await untilTrue('credmond has ended', async () => (await root(`kill -0 ${pid}`)).code !== 0);
        const { code, stdout } = await root('credmon doctor');
        await sure(root(mending));
        const bad = stdout
          .split('\n')
          .filter((line) => !/^ *(?:ok|note) /.test(line))
          .join('\n');
        expect(code, stdout).not.toBe(0);
        expect(bad).toMatch(named);
        await untilTrue('all is well again', well);
      });
    });
  });
});
