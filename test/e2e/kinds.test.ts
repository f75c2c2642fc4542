import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { canCertify, makeCertificates } from '../helpers/certificates.js';
import { type Mytoken, startMytoken } from '../helpers/mytoken.js';
import { type Pelican, startPelican } from '../helpers/pelican.js';
import { startVault, type Vault } from '../helpers/vault.js';
import { putFile, putHost, putHtgettoken, storerTold, tellingStorer } from './lab/htgettoken.js';
import { installCredmon } from './lab/install.js';
import { confidential, type IssuerProcess, robot, startIssuerProcess } from './lab/issuer.js';
import {
  credmondUp,
  filesOf,
  jobOutput,
  providerKnobs,
  putSecret,
  shortJob,
  submit,
  sure,
  untilTrue,
} from './lab/point.js';
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
} from './lab/pool.js';
import { webLogin } from './lab/python-credmon.js';
import { openTerminal } from './lab/terminal.js';

const releases = ['trixie', 'forky'] as const;
const obstacles = new Map<string, string | undefined>();
for (const release of releases)
  obstacles.set(release, canCertify ? await obstacleTo(release) : 'there is no openssl for certificates');

const authority = '/etc/condor/test-ca.pem';
const robotSecret = '/etc/condor/robot-secret';
const pelicanSecret = '/etc/condor/pelican-secret';
/** Vault listens on 8200 and nowhere else, so each run takes an address of its own. */
const addressOf = (last: number) => `127.${1 + ((process.pid >> 8) % 254)}.${process.pid & 255}.${last}`;
/** Seconds that tokens live. */
const life = 20;

interface Servers {
  readonly issuer: IssuerProcess;
  readonly vault: Vault;
  readonly evil: Vault;
  readonly pelican: Pelican;
  readonly mytoken: Mytoken;
}

const knobs = ({ issuer, pelican, mytoken }: Servers) => `
CREDMON_OAUTH = /usr/sbin/credmond
CREDMON_OAUTH_TOKEN_MINIMUM = 8
CREDMON_OAUTH_TOKEN_REFRESH = 5
CREDMON_SWEEP_INTERVAL = 3
SEC_CREDENTIAL_STORER = /usr/bin/credmon-storer
CREDMON_PROVIDER_NAMES = web robot dune phys my
VAULT_CREDMON_PROVIDER_NAMES = web dune my
${providerKnobs('web', issuer)}

CLIENT_CREDMON_PROVIDER_NAMES = robot
CLIENT_CREDMON_CLIENT_ID = ${robot.id}
CLIENT_CREDMON_robot_CLIENT_SECRET_FILE = ${robotSecret}
CLIENT_CREDMON_ISSUER = ${issuer.url}
CLIENT_CREDMON_AUTHZ_TEMPLATE = storage.read:/user/{username} storage.create:/user/{username}

SEC_CREDENTIAL_GETTOKEN_OPTS = -i dune
TRUSTED_VAULT_HOSTS = vault.test:8200
AUTH_SSL_CLIENT_CAFILE = ${authority}
CREDMON_VAULT_STORER = ${tellingStorer}

PELICAN_CREDMON_PROVIDER_NAMES = phys
PHYS_PELICAN_URL = pelican://${new URL(pelican.url).host}
PHYS_PELICAN_PREFIX = ${pelican.prefix}
PHYS_PELICAN_CLIENT_ID = ${pelican.client.id}
PHYS_PELICAN_CLIENT_SECRET_FILE = ${pelicanSecret}
PELICAN_CREDMON_CA_FILE = ${authority}

my_FLOW = mytoken
my_ISSUER = ${mytoken.url}
my_CA_FILE = ${authority}
`;

/** A job that is over at once, having shown the name and the content of each of its credentials. */
const tellingJob = (services: string, more = '') =>
  shortJob(services, more).replace(/^arguments .*$/m, `arguments = "-c 'cd $_CONDOR_CREDS; grep -H . *.use'"`);

/** What a job has shown: content by name. */
async function shown(user: string): Promise<Readonly<Record<string, string>>> {
  await untilTrue(
    `${user}'s job has ended`,
    async () => (await as(user, 'condor_wait -wait 1 job.log')).code === 0,
    60_000,
  );
  const lines = (await jobOutput(user)).split('\n').filter(Boolean);
  return Object.fromEntries(lines.map((line) => line.split(/\.use:(.*)/s)));
}

/** Submits a job that nobody needs to be asked about. */
async function goesIn(user: string, job: string): Promise<void> {
  const { code, stdout, stderr } = await submit(user, job);
  expect(code, stdout + stderr).toBe(0);
}

const claimsOf = (token: string) => JSON.parse(`${Buffer.from(token.split('.')[1] ?? '', 'base64url')}`);

const useOf = (user: string, name: string) =>
  readFile(path(`${credentials}/${user}/${name}.use`), 'utf8').catch(() => '');

/** As credmond tells a user. */
async function stateOf(user: string, service: string): Promise<string | undefined> {
  const { credentials: told } = JSON.parse((await as(user, 'credmon status --json')).stdout);
  return told.find((one: { service: string }) => one.service === service)?.state;
}

/** As HTCondor's storers do it. */
const store = (user: string, words: string, content: object | string) =>
  as(user, `/usr/sbin/condor_store_cred add-oauth ${words} -i -`, {
    stdin: typeof content === 'string' ? content : JSON.stringify(content),
  });

describe.each(releases)('%s', (release) => {
  const obstacle = obstacles.get(release);
  describe.skipIf(obstacle)(
    `each kind of credential on a real pool${obstacle ? ` (skipped: ${obstacle})` : ''}`,
    () => {
      let servers: Servers;
      let dune: ReturnType<Vault['credential']>;
      let vaultToken: string;

      beforeAll(async () => {
        const hosts = {
          'vault.test': addressOf(1),
          'evil.test': addressOf(2),
          'pelican.test': '127.0.0.1',
          'my.test': '127.0.0.1',
        };
        const tls = makeCertificates(Object.keys(hosts).map((name) => `DNS:${name}`));
        const vaultAt = (hostname: keyof typeof hosts) =>
          startVault({ tls, hostname, port: 8200, addresses: [hosts[hostname]], accessTokenLife: life });
        servers = {
          issuer: await startIssuerProcess({ life }),
          vault: await vaultAt('vault.test'),
          evil: await vaultAt('evil.test'),
          pelican: await startPelican({ tls, hostname: 'pelican.test', accessTokenLife: life }),
          mytoken: await startMytoken({ tls, hostname: 'my.test', accessTokenLife: life }),
        };
        const { vault, pelican } = servers;
        const scopes = ['storage.read:/', 'storage.create:/out'];
        const users = ['alice', 'bob', 'carol'].map((user) => {
          const one = vault.credential({ issuer: 'dune', user, scopes });
          return [user, { token: vault.token(one), url: one.url, stsUrl: one.stsUrl, one }] as const;
        });
        [[, { one: dune, token: vaultToken }]] = users as [(typeof users)[0]];

        await enter(release);
        await installCredmon();
        await putSecret();
        for (const [file, secret] of [
          [robotSecret, robot.secret],
          [pelicanSecret, pelican.client.secret],
        ] as const)
          await sure(root(`umask 077; cat >${file}; chmod 0400 ${file}`, { stdin: `${secret}\n` }));
        await putFile(authority, tls.ca);
        for (const [name, address] of Object.entries(hosts)) await putHost(name, address);
        await putHtgettoken(Object.fromEntries(users));
        await startPool({ knobs: knobs(servers) });
        await credmondUp();
        await webLogin('alice', 'web', servers.issuer);
      });
      afterAll(async () => {
        await stopPool();
        await Promise.all(Object.values(servers ?? {}).map((one: { stop(): Promise<void> }) => one.stop()));
        await leave();
      });

      test('HTCondor’s web flow left an access token alone: jobs get it, and its end is told', async () => {
        await webLogin('carol', 'web', servers.issuer, { final: true });
        const before = await useOf('carol', 'web');
        await untilTrue('it is known', async () => (await stateOf('carol', 'web')) === 'fresh');
        await goesIn('carol', tellingJob('web'));
        expect(await shown('carol')).toMatchObject({ web: before });
      });

      test('Pelican: the subject token is exchanged, for the scopes that condor_credd stored with it', async () => {
        const { pelican } = servers;
        const subject = pelican.subjectToken({
          scope: 'offline_access storage.read:/data/alice storage.modify:/data/alice',
        });
        await sure(store('alice', '-s phys -S storage.read:/data/alice', { access_token: subject }));
        await untilTrue('there is a token', async () => (await useOf('alice', 'phys')) !== '');
        const { access_token } = JSON.parse(await useOf('alice', 'phys'));
        expect(`${pelican.read(access_token)?.scope}`.split(' ').sort()).toEqual([
          'offline_access',
          'storage.read:/data/alice',
        ]);
        const top = JSON.parse(await readFile(path(`${credentials}/alice/phys.top`), 'utf8'));
        expect(pelican.accepts(top.refresh_token)).toBe(true);
      });

      test('mytoken, one that rotates', async () => {
        const { mytoken } = servers;
        const mine = mytoken.make({ rotation: { on_AT: true, auto_revoke: true } });
        await sure(store('alice', '-s my', { mytoken: mine }));
        await untilTrue('there is a token', async () => (await useOf('alice', 'my')) !== '');
        const top = JSON.parse(await readFile(path(`${credentials}/alice/my.top`), 'utf8'));
        expect([top.mytoken === mine, mytoken.accepts(top.mytoken)]).toEqual([false, true]);
      });

      test('Vault without anybody to answer: it fails at once, having asked HTCondor’s storer without OIDC', async () => {
        const started = performance.now();
        const { code, stderr } = await submit('bob', tellingJob('dune'));
        console.log(`${release}: Vault's storer gave up after ${(performance.now() - started).toFixed(0)} ms`);
        expect(code).toBe(1);
        expect(stderr).toContain(`credmon-storer: error: ${tellingStorer} did not get a credential for dune\n`);
        expect(stderr).toContain(`credmon-storer: hint: run in a terminal: ${tellingStorer} dune\n`);
        expect(await storerTold('bob')).toEqual(['argv [dune]', 'env [--nooidc]', 'stdin /dev/null']);
      });

      test('Vault with Kerberos needs nobody', async () => {
        await as('bob', 'touch kerberos');
        await goesIn('bob', tellingJob('dune'));
        expect(claimsOf((await shown('bob')).dune ?? '')).toMatchObject({ sub: 'bob', iss: 'https://dune.example' });
      });

      test('Vault in a terminal: HTCondor’s storer has it, and a job gets a token of every kind', async () => {
        // HTCondor 25 has its own ways with the client's: condor_submit waits for it.
        await sure(as('alice', 'cat > job.sub', { stdin: tellingJob('dune, my, phys, robot, web') }));
        const command = userArgv('alice', 'condor_submit job.sub; echo "exit $?"; sleep 60');
        const terminal = await openTerminal({ command, cols: 80, rows: 24 });
        try {
          await terminal.waitFor('Complete the authentication at', 20_000);
          await terminal.type('done\r');
          await terminal.waitFor(/1 job\(s\) submitted to cluster \d+\.[\s\S]*exit 0/, 30_000);
        } finally {
          await terminal.close();
        }
        expect(await storerTold('alice')).toEqual(['argv [dune]', 'env []', 'stdin tty']);

        const got = await shown('alice');
        const json = (name: string) => JSON.parse(got[name] ?? '').access_token as string;
        expect(Object.keys(got).sort()).toEqual(['dune', 'my', 'phys', 'robot', 'web']);
        expect(claimsOf(got.dune ?? '')).toMatchObject({ sub: 'alice', scope: 'storage.read:/ storage.create:/out' });
        expect(await servers.issuer.isGood(json('web'))).toBe(true);
        expect(await servers.issuer.isGood(json('robot'))).toBe(true);
        expect(claimsOf(json('robot')).scope).toBe('storage.read:/user/alice storage.create:/user/alice');
        expect(servers.pelican.read(json('phys'))).toBeDefined();
        expect(claimsOf(json('my')).sub).toBe('alice');
        const { stdout } = await root(`ls ${credentials}/alice`);
        expect(stdout.split('\n').filter((name) => /robot/.test(name))).toEqual(['robot.top', 'robot.use']);
      });

      test('a handle of Vault’s has its Vault token from its parent', async () => {
        const asked = tellingJob('dune', 'dune_oauth_permissions_ro = storage.read:/home');
        await goesIn('alice', asked);
        expect(await storerTold('alice')).toEqual([
          'argv [dune&handle=ro&scopes=storage.read:/home]',
          'env [--nooidc]',
          'stdin /dev/null',
        ]);
        const top = JSON.parse(await readFile(path(`${credentials}/alice/dune_ro.top`), 'utf8'));
        expect(top).toEqual({ vault_url: dune.stsUrl, scopes: 'storage.read:/home' });
        expect(claimsOf((await shown('alice')).dune_ro ?? '')).toMatchObject({
          sub: 'alice',
          scope: 'storage.read:/home',
        });
      });

      test('a host that is not trusted is never asked', async () => {
        const { evil } = servers;
        const one = evil.credential({ issuer: 'dune', user: 'carol' });
        const content = { vault_token: evil.token(one), vault_url: one.url };
        const { code } = await store('carol', '-s dune', content);
        // 25.x compares with TRUSTED_VAULT_HOSTS itself, host and port.
        expect(code).toBe(release === 'trixie' ? 0 : 1);
        await sure(root(`umask 077; cat >${credentials}/carol/dune.top`, { stdin: JSON.stringify(content) }));
        await untilTrue('it is told', async () =>
          (await as('carol', 'credmon status')).stdout.includes(
            'its vault_url leads to evil.test, which is not trusted',
          ),
        );
        expect(evil.requests).toEqual([]);
        expect(await useOf('carol', 'dune')).toBe('');
      });

      test('all of them are kept fresh', async () => {
        const names = ['dune', 'dune_ro', 'my', 'phys', 'robot', 'web'];
        const tokens = () => Promise.all(names.map((name) => useOf('alice', name)));
        const before = await tokens();
        expect(before).not.toContain('');
        await untilTrue('each is another', async () => (await tokens()).every((one, i) => one !== before[i]));
        const { counts } = servers.pelican;
        expect([counts.exchanges, counts.reuse, servers.mytoken.counts.reuse]).toEqual([1, 0, 0]);
        expect(await servers.issuer.counts()).toMatchObject({ reuse: 0, refusals: 0 });
        // HTCondor's web flow left this: the client that it was for goes on being used.
        expect(await filesOf('alice')).toContainEqual(expect.stringMatching(/^alice\/web\.meta 400 root:/));
      });

      test('the token without a refresh token has ended, and that is told', async () => {
        await untilTrue('it is', async () => (await stateOf('carol', 'web')) === 'login-needed');
      });

      test('credmon doctor has nothing to complain of', async () => {
        const { code, stdout, stderr } = await root('credmon doctor');
        expect(code, stdout + stderr).toBe(0);
      });

      test('permission denied: Vault’s credential is removed, and so is what hangs on it', async () => {
        servers.vault.revoke(vaultToken);
        const left = async () => (await filesOf('alice')).filter((line) => line.includes('/dune'));
        await untilTrue('they are gone', async () => (await left()).length === 0);
        expect(await readLog('CredMonOAuthLog')).not.toContain(vaultToken);
        const { code, stderr } = await submit('alice', tellingJob('dune'));
        // What the storer has of Vault is a token that the Vault does not know.
        expect([code, stderr]).toEqual([1, expect.stringContaining('dune')]);
      });

      test('no secret is in the log', async () => {
        const log = await readLog('CredMonOAuthLog');
        for (const secret of [vaultToken, confidential.secret, robot.secret, servers.pelican.client.secret])
          expect(log).not.toContain(secret);
      });
    },
  );
});
