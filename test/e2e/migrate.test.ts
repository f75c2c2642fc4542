import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { installCredmon } from './lab/install.js';
import { exchanger, type IssuerProcess, startIssuerProcess } from './lab/issuer.js';
import {
  credmondUp,
  credmonLog,
  filesOf,
  jobOutput,
  printingJob,
  shortJob,
  submit,
  sure,
  tokensIn,
  tree,
  untilTrue,
} from './lab/point.js';
import { as, credentials, enter, leave, obstacleTo, path, root, startPool, stopPool } from './lab/pool.js';
import { putPythonCredmon, webLogin } from './lab/python-credmon.js';
import { putProgram } from './lab/tools.js';
import { until } from './lab/until.js';

const releases = ['trixie', 'forky'] as const;
const obstacles = new Map<string, string | undefined>();
for (const release of releases) obstacles.set(release, await obstacleTo(release));

/** As HTCondor's Python credmon sends it: in the body. */
const web = { id: 'web', secret: 'web-s3cret-for-tests-only' };
const clients = [
  { client_id: web.id, client_secret: web.secret, token_endpoint_auth_method: 'client_secret_post' },
  {
    client_id: exchanger.id,
    client_secret: exchanger.secret,
    token_endpoint_auth_method: 'client_secret_basic',
    grant_types: ['urn:ietf:params:oauth:grant-type:token-exchange', 'refresh_token'],
    may_impersonate: true,
  },
] as const;

const secretFile = '/etc/condor/web-secret';
const exchangeSecret = '/etc/condor/exchange-secret';
/** With times that suit tests; the rest is as an admin has it for HTCondor's own credmon. */
const short = 'CREDMON_OAUTH_TOKEN_MINIMUM = 8\nCREDMON_SWEEP_INTERVAL = 3\n';

const pythonKnobs = (program: string, { url }: IssuerProcess) => `
${short}
CREDMON_OAUTH = ${program}
osdf_CLIENT_ID = ${web.id}
osdf_CLIENT_SECRET_FILE = ${secretFile}
osdf_RETURN_URL_SUFFIX = /return/osdf
osdf_AUTHORIZATION_URL = ${url}/auth
osdf_TOKEN_URL = ${url}/token
osdf_CLIENT_AUTH = post
`;

const rustKnobs = ({ url }: IssuerProcess) => `
${short}
CREDMON_OAUTH = /usr/sbin/condor_credmon_rust
SEC_CREDENTIAL_STORER = /usr/bin/condor_credmon_rust_client
VAULT_CREDMON_PROVIDER_NAMES = icecube
icecube_ISSUER = ${url}
icecube_CLIENT_ID = ${exchanger.id}
icecube_CLIENT_SECRET_FILE = ${exchangeSecret}
icecube_DEFAULT_OPTIONS = icecube
`;

/** All that a migration may touch: path, type, mode, owner, and what is in it. */
async function everything(): Promise<string> {
  const places = `${credentials} /etc/condor`;
  // All but the last are credmons', and that is of HTCondor's tools.
  const running = '! -name pid ! -name CREDMON_COMPLETE ! -name .credmon-intents ! -name known_hosts';
  const listed = await sure(root(`find ${places} ${running} -printf '%p %y %m %u:%g\\n' | sort`));
  return listed + (await sure(root(`find ${places} -type f ${running} -exec sha256sum {} + | sort -k2`)));
}

const tokenFile = (user: string, name: string) =>
  readFile(path(`${credentials}/${user}/${name}.use`), 'utf8').catch(() => '');

const accessToken = async (user: string, name: string): Promise<string> =>
  JSON.parse((await tokenFile(user, name)) || '{}').access_token ?? '';

/** Runs the commands that `credmon migrate` names, except the last, `credmon doctor`. */
async function runNext(told: string): Promise<void> {
  const commands = told.slice(told.indexOf('Next, run:')).match(/^ {2}\S.*$/gm) ?? [];
  const condor = commands.map((line) => line.trim()).filter((line) => line.startsWith('condor_'));
  expect(condor).toEqual([
    'condor_reconfig',
    'condor_off -fast -subsystem CREDMON_OAUTH',
    'condor_on -subsystem CREDMON_OAUTH',
  ]);
  const pid = await readFile(path(`${credentials}/pid`), 'utf8').catch(() => '');
  for (const command of condor) {
    await sure(root(command));
    if (!command.startsWith('condor_off') || pid === '') continue;
    await untilTrue('the one before has ended', async () => (await root(`kill -0 ${pid}`)).code !== 0);
  }
}

describe.each(releases)('%s', (release) => {
  const obstacle = obstacles.get(release);
  describe.skipIf(obstacle)(`from another credmon${obstacle ? ` (skipped: ${obstacle})` : ''}`, () => {
    let issuer: IssuerProcess;
    beforeAll(async () => {
      issuer = await startIssuerProcess({ life: 20, clients, behaviour: { subjects: ['alice', 'bob'] } });
      await enter(release);
      await installCredmon();
      for (const [file, { secret }] of [
        [secretFile, web],
        [exchangeSecret, exchanger],
      ] as const)
        await sure(root(`umask 077; cat >${file}; chmod 0400 ${file}`, { stdin: `${secret}\n` }));
    });
    afterAll(async () => {
      await stopPool();
      await issuer?.stop();
      await leave();
    });

    describe('HTCondor’s own, in Python', () => {
      let before: string;
      /** Of its processes. */
      let group: string;
      beforeAll(async () => {
        await startPool({ knobs: pythonKnobs(await putPythonCredmon(), issuer) });
        await credmondUp();
      });

      /** It looks by itself every minute, and at SIGHUP; it refreshes what is past half its life. */
      const pythonRefreshes = async () => {
        const now = () => Promise.all(['alice', 'bob'].map((user) => tokenFile(user, 'osdf')));
        const old = await now();
        const look = async () => {
          await sure(root(`kill -HUP $(cat ${credentials}/pid)`));
          return (await now()).every((text, i) => text !== old[i]) || undefined;
        };
        await until(look, 30_000, async () => `the tokens are the same:\n${await credmonLog()}`, 1000);
      };

      test('it has worked here: refreshed tokens, a job that runs, a web page’s key file', async () => {
        for (const user of ['alice', 'bob']) await webLogin(user, 'osdf', issuer, { client: web });
        await webLogin('carol', 'box', issuer, { client: web });
        await pythonRefreshes();
        expect(await submit('alice', printingJob('osdf'))).toMatchObject({ code: 0 });
        await untilTrue('the job has a token', async () => tokensIn(await jobOutput('alice')).length > 0, 60_000);
        const { stdout } = await submit('carol', shortJob('osdf'));
        expect(stdout).toMatch(/Please visit: https:\/\/\S+\/key\/[0-9a-f]{64}$/m);
      });

      test('credmon migrate says what will be done, and does nothing', async () => {
        // So that nothing changes meanwhile but by us.
        group = (await sure(root(`ps -o pgid= -p $(cat ${credentials}/pid)`))).trim();
        await sure(root(`kill -STOP -${group}`));
        before = await everything();
        const { code, stdout, stderr } = await root('credmon migrate');
        expect([code, stderr]).toEqual([0, '']);
        expect(stdout).toContain('condor_master starts HTCondor’s own credmon (condor_credmon_oauth).');
        expect(stdout).toMatch(/CREDMON_OAUTH = \/usr\/sbin\/credmond$/m);
        expect(stdout).toMatch(/SEC_CREDENTIAL_STORER = \/usr\/bin\/credmon-storer$/m);
        expect(stdout).toContain('osdf: 2 credentials of 2 users');
        expect(stdout).toContain('carol/box: its provider is not configured');
        expect(stdout).toContain('2 × .meta removed');
        expect(stdout).toContain('1 × key file');
        expect(stdout).toContain('Nothing was changed');
        for (const secret of [web.secret, exchanger.secret]) expect(stdout).not.toContain(secret);
        expect(await everything()).toBe(before);
      });

      test('users see what concerns them, and can change nothing', async () => {
        const { code, stdout } = await as('alice', 'credmon migrate');
        expect(code).toBe(0);
        expect(stdout).toContain('only root can see them');
        expect((await as('alice', 'credmon migrate --apply')).code).toBe(69);
        expect(await everything()).toBe(before);
      });

      test('--apply and --undo at once: all is as it was, byte for byte', async () => {
        await sure(root('credmon migrate --apply'));
        expect((await tree()).filter((line) => /\.meta|[0-9a-f]{64}/.test(line))).toEqual([
          expect.stringMatching(/^carol\/box\.meta /),
        ]);
        await sure(root('credmon migrate --undo'));
        expect(await everything()).toBe(before);
        await sure(root(`kill -CONT -${group}`));
      });

      test('credmond takes over: the same refresh tokens, and the job that runs has fresh ones', async () => {
        const [python, known] = [
          await readFile(path(`${credentials}/pid`), 'utf8'),
          tokensIn(await jobOutput('alice')),
        ];
        const counted = await issuer.counts();
        await runNext(await sure(root('credmon migrate --apply')));
        await credmondUp(python);
        expect(await credmonLog()).toMatch(/credmond \S+ starts/);
        const fresh = async () => {
          const last = tokensIn(await jobOutput('alice')).at(-1) ?? '';
          return !known.includes(last) && (await issuer.isGood(last));
        };
        await untilTrue('the job sees a token of credmond’s', fresh);
        await untilTrue('and so will bob’s', async () => issuer.isGood(await accessToken('bob', 'osdf')));
        const counts = await issuer.counts();
        expect(counts).toMatchObject({ logins: counted.logins, reuse: 0, refusals: 0 });
        expect(await submit('bob', shortJob('osdf'))).toMatchObject({
          code: 0,
          stderr: expect.not.stringContaining('credmon'),
        });
        expect(await filesOf('bob')).toEqual([
          'bob 2700 condor:condor',
          expect.stringMatching(/^bob\/osdf\.top 600 root:/),
          expect.stringMatching(/^bob\/osdf\.use 400 root:/),
        ]);
        expect((await submit('carol', shortJob('osdf'))).stdout).not.toContain('Please visit');
      });

      test('credmon doctor has nothing to complain of', async () => {
        const { code, stdout, stderr } = await root('credmon doctor');
        expect(code, stdout + stderr).toBe(0);
      });

      test('and back: the Python credmon goes on with the refresh tokens of today', async () => {
        const credmond = await credmondUp();
        await runNext(await sure(root('credmon migrate --undo')));
        await credmondUp(credmond);
        await pythonRefreshes();
        expect(await issuer.isGood(await accessToken('bob', 'osdf'))).toBe(true);
        expect(await issuer.counts()).toMatchObject({ reuse: 0, refusals: 0 });
        // But for the tokens, which are newer.
        const but = (text: string) => text.split('\n').filter((line) => !/(?:osdf|box)\.(top|use)/.test(line));
        expect(but(await everything())).toEqual(but(before));
      });
      afterAll(stopPool);
    });

    describe('IceCube’s, in Rust', () => {
      /** What it gets at the storer, and writes in place with the umask of whoever submits (src/data.rs). */
      async function rustLogin(user: string): Promise<void> {
        const form = {
          grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
          audience: exchanger.id,
          requested_token_type: 'urn:ietf:params:oauth:token-type:refresh_token',
          requested_subject: user,
          scope: 'storage.read:/home',
        };
        const basic = Buffer.from(`${exchanger.id}:${exchanger.secret}`).toString('base64');
        const response = await fetch(`${issuer.url}/token`, {
          method: 'POST',
          headers: { authorization: `Basic ${basic}` },
          body: new URLSearchParams(form),
        });
        const got = (await response.json()) as Record<string, string>;
        expect(response.ok, JSON.stringify(got)).toBe(true);
        const pretty = (value: object) => JSON.stringify(value, undefined, 2);
        const { access_token, refresh_token, scope = '' } = got;
        const use = { access_token, token_type: 'bearer', expires_in: 20, expires_at: Date.now() / 1000 + 20 };
        const dir = `${credentials}/${user}`;
        await root(`rm -rf ${dir}; install -d -o root -g condor -m 2755 ${dir}`);
        await writeFile(path(`${dir}/icecube.top`), pretty({ refresh_token, scopes: scope }), { mode: 0o644 });
        await writeFile(path(`${dir}/icecube.use`), pretty({ ...use, scope: scope.split(' ') }), { mode: 0o644 });
      }

      beforeAll(async () => {
        await putProgram('/usr/sbin/condor_credmon_rust', '#!/bin/sh\nexec sleep 100000\n');
        await putProgram('/usr/bin/condor_credmon_rust_client', '#!/bin/sh\nexit 0\n');
        await root(`chmod 4755 /usr/bin/condor_credmon_rust_client; rm -rf ${credentials}/*`);
        await startPool({ knobs: rustKnobs(issuer) });
        for (const user of ['alice', 'bob']) await rustLogin(user);
      });

      test('two paths change, and the modes of files that were open to all', async () => {
        const before = await everything();
        const { code, stdout, stderr } = await root('credmon migrate');
        expect([code, stderr]).toEqual([0, '']);
        expect(stdout).toContain('condor_master starts IceCube’s credmon (condor_credmon_rust).');
        expect(stdout).toContain('icecube: 2 credentials of 2 users');
        expect(stdout).toContain('chmod ug-s /usr/bin/condor_credmon_rust_client');
        await sure(root('credmon migrate --apply'));
        expect(await filesOf('alice')).toEqual([
          expect.stringMatching(/^alice 27[05]0 /),
          expect.stringMatching(/^alice\/icecube\.top 600 root:/),
          expect.stringMatching(/^alice\/icecube\.use 400 root:/),
        ]);
        await sure(root('credmon migrate --undo'));
        expect(await everything()).toBe(before);
      });

      test('credmond takes over, and jobs are submitted without a click', async () => {
        const old = await accessToken('alice', 'icecube');
        const before = await issuer.counts();
        await runNext(await sure(root('credmon migrate --apply')));
        await credmondUp();
        await untilTrue('it is refreshed', async () => ![old, ''].includes(await accessToken('alice', 'icecube')));
        expect(await issuer.isGood(await accessToken('alice', 'icecube'))).toBe(true);
        const counts = await issuer.counts();
        expect(counts).toMatchObject({ exchanges: before.exchanges, reuse: 0, refusals: 0 });
        expect(await submit('alice', shortJob('icecube'))).toMatchObject({
          code: 0,
          stderr: expect.not.stringContaining('credmon'),
        });
        await untilTrue('its job has it', async () => tokensIn(await jobOutput('alice')).length > 0, 60_000);
        expect(tokensIn(await jobOutput('alice'))).toHaveLength(1);
      });

      test('a refresh token that has died is exchanged for another, with nobody noticing', async () => {
        const { exchanges = 0 } = await issuer.counts();
        await issuer.revokeGrants();
        const exchanged = async () => ((await issuer.counts()).exchanges ?? 0) >= exchanges + 2;
        await untilTrue('both have been', exchanged);
        expect(await sure(root('credmon status'))).not.toContain('login needed');
      });
    });
  });
});
