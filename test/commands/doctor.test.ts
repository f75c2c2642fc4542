import { chmodSync, chownSync, existsSync, mkdirSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type Check, examine } from '../../src/commands/doctor/check.js';
import { brokerChecks } from '../../src/commands/doctor/checks/broker.js';
import { configurationChecks } from '../../src/commands/doctor/checks/configuration.js';
import { creddChecks } from '../../src/commands/doctor/checks/credd.js';
import { directoryChecks } from '../../src/commands/doctor/checks/directory.js';
import { issuerChecks } from '../../src/commands/doctor/checks/issuers.js';
import { metricsChecks } from '../../src/commands/doctor/checks/metrics.js';
import { ownChecks } from '../../src/commands/doctor/checks/own.js';
import { pamChecks } from '../../src/commands/doctor/checks/pam.js';
import { programChecks } from '../../src/commands/doctor/checks/programs.js';
import { secretChecks } from '../../src/commands/doctor/checks/secrets.js';
import { serviceChecks } from '../../src/commands/doctor/checks/services.js';
import { type Finding, inOrder, levels, sections, teller } from '../../src/commands/doctor/finding.js';
import { findOurs, lookAtProgram } from '../../src/commands/doctor/programs.js';
import { subjects } from '../../src/commands/doctor/run.js';
import { json, report, summary } from '../../src/commands/doctor/text.js';
import { openWorld, type World } from '../../src/commands/doctor/world.js';
import { everyKnob } from '../../src/config/condor.js';
import { Failed, failureOf } from '../../src/core/failure.js';
import { systemClock as clock } from '../../src/system/clock.js';
import { startIssuer } from '../helpers/issuer.js';
import { serve } from '../helpers/served.js';
import { age, condor, put, room, weAreRoot } from './room.js';

const secret = 'client-s3cret-of-this-test';
const refresh = 'refresh-t0ken-of-alice';

/** Programs of ours as they are installed; all of it root's, or whoever we are. */
function install(base: string, ...names: readonly string[]): Record<string, string> {
  const home = join(base, 'opt');
  put(join(home, 'package.json'), '{"name":"credmon","version":"0.1.0"}');
  return Object.fromEntries(
    names.map((name) => [name, put(join(home, 'bin', `${name}.js`), '#!/usr/bin/env node\n', 0o755)]),
  );
}

const usual = (base: string) => {
  const ours = install(base, 'credmond', 'credmon-storer');
  return {
    DAEMON_LIST: 'MASTER SCHEDD CREDMON_OAUTH',
    AUTO_INCLUDE_CREDD_IN_DAEMON_LIST: 'True',
    TRUST_CREDENTIAL_DIRECTORY: 'True',
    SEC_DEFAULT_ENCRYPTION: 'required',
    SEC_CREDENTIAL_SWEEP_DELAY: '1209600',
    SEC_CREDENTIAL_DIRECTORY_OAUTH: join(base, 'creds'),
    CREDMON_OAUTH: ours.credmond ?? '',
    SEC_CREDENTIAL_STORER: ours['credmon-storer'] ?? '',
    CREDMON_PROVIDER_NAMES: 'cilogon',
    VAULT_CREDMON_PROVIDER_NAMES: 'cilogon',
    cilogon_ISSUER: 'https://127.0.0.1:1',
    cilogon_CLIENT_ID: 'me',
    cilogon_CLIENT_SECRET_FILE: put(join(base, 'secrets', 'cilogon'), `${secret}\n`, 0o400),
    cilogon_SCOPES: 'openid',
    CREDMON_BROKER_SOCKET: join(base, 'run/socket'),
    CREDMON_BROKER_CHALLENGE_DIR: join(base, 'lib/challenge'),
    CREDMON_BROKER_SPOOL_DIR: join(base, 'lib/spool'),
    CREDMON_BROKER_ACCOUNT: 'nobody',
    CREDMON_STATUS_DIR: join(base, 'lib/status'),
  };
};

async function machine(more: Readonly<Record<string, string>> = {}, services: readonly string[] = []) {
  const base = room();
  const { env, bin, configDir } = condor(base, { ...usual(base), ...more });
  return { base, env, bin, configDir, world: () => openWorld({ env, clock, services }) };
}

/** Whatever is found to be wrong comes with what mends it. */
const look = async (world: World, ...subjects: readonly ((world: World) => readonly Check[])[]) => {
  const findings = await examine(
    world,
    subjects.flatMap((subject) => subject(world)),
  );
  const wrong = findings.filter(({ level }) => level === 'error' || level === 'warning');
  expect(wrong.filter(({ mend }) => mend === undefined)).toEqual([]);
  return findings;
};
const bad = (findings: readonly Finding[]) => findings.filter(({ level }) => level !== 'ok').map(({ id }) => id);
const the = (findings: readonly Finding[], id: string) => findings.find((finding) => finding.id === id);

describe('configuration and programs', () => {
  test('as they should be', async () => {
    const { world } = await machine();
    const findings = await look(await world(), configurationChecks, programChecks, serviceChecks);
    // The tests' own folders may be another account's than root's.
    expect(bad(findings).filter((id) => !id.endsWith('.replaceable'))).toEqual([]);
    expect(the(findings, 'service')?.what).toMatch(
      /^condor_submit calls the storer, in mode vault \(VAULT_CREDMON_PROVIDER_NAMES\)/,
    );
    expect(the(findings, 'condor.version')?.what).toBe('HTCondor 25.14.1');
  });

  test.each<[Record<string, string>, string, string | undefined]>([
    [{ DAEMON_LIST: 'MASTER' }, 'daemons.credmon', 'use feature : OAUTH'],
    [{ AUTO_INCLUDE_CREDD_IN_DAEMON_LIST: 'False' }, 'daemons.credd', 'DAEMON_LIST = $(DAEMON_LIST) CREDD'],
    [{ SEC_DEFAULT_ENCRYPTION: 'OPTIONAL' }, 'encryption.optional', 'SEC_DEFAULT_ENCRYPTION = REQUIRED'],
    [{ SEC_DEFAULT_ENCRYPTION: 'PREFERRED' }, 'encryption.preferred', 'SEC_DEFAULT_ENCRYPTION = REQUIRED'],
    [{ TRUST_CREDENTIAL_DIRECTORY: 'False' }, 'trust.off', 'use feature : OAUTH'],
    [
      { SEC_CREDENTIAL_REFRESH: '600', CREDMON_OAUTH_TOKEN_MINIMUM: '360' },
      'minimum.short',
      'CREDMON_OAUTH_TOKEN_MINIMUM = 660',
    ],
    [{ SEC_CREDENTIAL_REFRESH: '0' }, 'refresh.off', 'SEC_CREDENTIAL_REFRESH = 300'],
    [{ SEC_CREDENTIAL_SWEEP_DELAY: '3600' }, 'sweep.soon', 'SEC_CREDENTIAL_SWEEP_DELAY = 1209600'],
    [{ LOCAL_CREDMON_PROVIDER_NAMES: 'scitokens' }, 'added.unmade', 'SUBMIT_ADD_LOCAL_CREDMON_PROVIDERS = False'],
    [{ cilogon_FLOW: 'exchange' }, 'exchange.open', 'cilogon_ALLOWED_SCOPES = openid'],
    [{ CILOGON_ALOWED_SCOPES: 'a' }, 'knob.unknown', 'did you mean cilogon_ALLOWED_SCOPES?'],
    [
      { CREDMON_PROVIDER_NAMES: 'cilogon v', v_FLOW: 'vault', VAULT_CREDMON_PROVIDER_NAMES: 'cilogon v' },
      'vault.hosts',
      'TRUSTED_VAULT_HOSTS = vault.example.org',
    ],
    [{ PELICAN_CREDMON_TLS_SKIP_VERIFY: 'True' }, 'pelican.tls', 'PELICAN_CREDMON_CA_FILE = /path/to/your/ca.pem'],
    [{ CONDOR_VERSION: '23.9.6', SEC_CREDENTIAL_PRODUCER: '/p' }, 'producer.skipped', undefined],
    [{ SEC_CREDENTIAL_STORER: '' }, 'credmon-storer.unset', 'SEC_CREDENTIAL_STORER'],
    [{ SEC_CREDENTIAL_STORER: '/no/storer' }, 'credmon-storer.broken', 'SEC_CREDENTIAL_STORER'],
    [{ SEC_CREDENTIAL_STORER: '/bin/sh' }, 'credmon-storer.other', 'SEC_CREDENTIAL_STORER'],
    [{ CREDMON_OAUTH: '/bin/sh' }, 'credmond.other', 'CREDMON_OAUTH'],
  ])('%o', async (more, id, set) => {
    const { world } = await machine(more);
    const found = the(await look(await world(), configurationChecks, programChecks), id);
    expect(found).toBeDefined();
    // Programs of ours are not installed where the tests run.
    if (set !== undefined) expect(Object.values(found?.mend ?? {})).toEqual([expect.stringContaining(set)]);
  });

  test('what HTCondor and its credmons read of a name is not taken for misspelt', async () => {
    const theirs = ['USER_DEFINE_SCOPES', 'USER_DEFINE_AUDIENCE', 'USER_DEFINE_OPTIONS', 'DEFAULT_OPTIONS'];
    const more = ['RETURN_URL_SUFFIX', 'AUTHORIZATION_URL', 'PELICAN_PERMISSIONS', 'PELICAN_PREFIX', 'PELICAN_URL'];
    const set = [...theirs, ...more, ...everyKnob().map((knob) => knob.replace(/^P_/, ''))];
    const { world } = await machine({
      CREDMON_PROVIDER_NAMES: 'cilogon CILOGON_X',
      CILOGON_X_ISSUER: 'https://127.0.0.1:1',
      CILOGON_X_CLIENT_ID: 'me',
    });
    const { knobs, ...rest } = await world();
    const names = [...(knobs?.names ?? []), ...set.map((end) => `cilogon_${end}`)];
    const found = await look({ ...rest, knobs: knobs && { get: knobs.get, names } }, configurationChecks);
    expect(bad(found)).not.toContain('knob.unknown');
  });

  test('a configuration that is broken, or names nobody, is said to be', async () => {
    const { world } = await machine({ cilogon_ISSUER: 'ftp://x' });
    expect(the(await look(await world(), ...subjects), 'config.broken')?.level).toBe('error');
    const none = await machine({ CREDMON_PROVIDER_NAMES: '*' });
    expect(the(await look(await none.world(), configurationChecks), 'config.empty')?.mend).toEqual({
      run: 'credmon config init --htcondor',
    });
  });

  test('a file that users cannot read, though root can', async () => {
    const { world, configDir } = await machine();
    const file = put(join(configDir, '60-x.conf'), 'X = 1\n', 0o600);
    put(join(configDir, '.hidden'), '', 0o600);
    const findings = await look(await world(), configurationChecks);
    expect(bad(findings)).toEqual(['files.hidden']);
    expect(the(findings, 'files.hidden')?.mend).toEqual({ run: `chmod a+r ${file}` });
  });

  test('programs: setuid, of another version, not for users', async () => {
    const { world, base } = await machine();
    chmodSync(join(base, 'opt/bin/credmon-storer.js'), 0o4750);
    put(join(base, 'opt/package.json'), '{"name":"credmon","version":"0.0.9"}');
    const ids = bad(await look(await world(), programChecks));
    for (const id of ['credmon-storer.setuid', 'credmon-storer.version', 'credmon-storer.closed'])
      expect(ids).toContain(id);
    expect(lookAtProgram('relative').trouble).toBe('not absolute');
    expect(findOurs('credmond', { PATH: '' }, join(base, 'opt/bin/credmon.js'))).toBe(
      join(base, 'opt/bin/credmond.js'),
    );
  });
});

describe('services', () => {
  const judged = async (more: Record<string, string>, ...services: string[]) => {
    const { world } = await machine(more, services);
    return look(await world(), serviceChecks);
  };

  test.each<[Record<string, string>, string, RegExp]>([
    [{ VAULT_CREDMON_PROVIDER_NAMES: '' }, 'service.web', /cilogon_CLIENT_ID is set.*prints a web link.*client secret/],
    [{ VAULT_CREDMON_PROVIDER_NAMES: 'CILogon' }, 'service.web', /cilogon_CLIENT_ID/],
    [{ OAUTH2_CREDMON_PROVIDER_NAMES: 'cilogon' }, 'service.web', /OAUTH2_CREDMON_PROVIDER_NAMES/],
    [
      { cilogon_FLOW: 'device', CLIENT_CREDMON_PROVIDER_NAMES: 'cilogon' },
      'service.client-list',
      /CLIENT_CREDMON_PROVIDER_NAMES.*stands still/,
    ],
    [{ LOCAL_CREDMON_PROVIDER_NAMES: 'cilogon' }, 'service.local', /stands still/],
    [{ OAUTH2_CREDMON_PROVIDER_NAMES: 'x', VAULT_CREDMON_PROVIDER_NAMES: 'y' }, 'service.unknown', /in no list/],
    [{ SEC_CREDENTIAL_STORER: '' }, 'service.no-storer', /Vault credential … is missing/],
    [{ SEC_CREDENTIAL_STORER: '', CONDOR_VERSION: '23.9.6' }, 'service.no-storer', /web link/],
  ])('%o', async (more, id, what) => {
    const [found] = await judged(more);
    expect(found).toMatchObject({ id, about: 'cilogon' });
    expect(found?.what).toMatch(what);
    expect(found?.mend).toBeDefined();
  });

  test('on 23.9.6 no list matters', async () => {
    expect(await judged({ CONDOR_VERSION: '23.9.6', OAUTH2_CREDMON_PROVIDER_NAMES: 'cilogon' })).toMatchObject([
      { level: 'ok' },
    ]);
  });

  test('of the command line, in all three spellings; and those that are nobody’s', async () => {
    const findings = await judged(
      {},
      'cilogon',
      'cilogon_h1',
      'cilogon&handle=h2&scopes=a',
      'cilogon*h3',
      'CILogon',
      'cilogno',
      'other',
    );
    expect(findings.map(({ about, id }) => `${about} ${id}`)).toEqual([
      'cilogon service',
      'cilogon_h1 service',
      'cilogon_h2 service',
      'cilogon_h3 service',
      'CILogon service.web',
      'cilogno service.stranger',
      'other service.stranger',
    ]);
    expect(findings[5]?.mend).toEqual({ do: 'did you mean cilogon?' });
    expect(findings[6]?.mend).toEqual({ do: 'check the name, or configure it; there is: cilogon' });
    await expect(machine({}, ['a/b']).then(({ world }) => world())).rejects.toMatchObject({
      failure: { kind: 'usage' },
    });
  });

  test('scitokens is the local issuer’s', async () => {
    const [found] = await judged({
      CREDMON_PROVIDER_NAMES: 'scitokens',
      VAULT_CREDMON_PROVIDER_NAMES: 'scitokens',
      scitokens_ISSUER: 'https://s.example',
      scitokens_CLIENT_ID: 'me',
    });
    expect(found).toMatchObject({
      id: 'service.local',
      mend: { set: expect.stringContaining('LOCAL_CREDMON_PROVIDER_NAMES') },
    });
  });

  test('of the client’s own tokens condor_credd asks for them, and nothing is wrong with that', async () => {
    const client = {
      CREDMON_PROVIDER_NAMES: 'robot',
      CLIENT_CREDMON_PROVIDER_NAMES: 'robot',
      CLIENT_CREDMON_robot_ISSUER: 'https://r.example',
      CLIENT_CREDMON_robot_CLIENT_ID: 'me',
      CLIENT_CREDMON_robot_CLIENT_SECRET_FILE: '/x',
    };
    const { world } = await machine(client);
    expect(bad(await look(await world(), serviceChecks, configurationChecks))).toEqual([]);
  });
});

describe('what is on disk', () => {
  const stock = (base: string) => {
    const at = (path: string, text: string, mode: number) => put(join(base, 'creds', path), text, mode);
    at('alice/cilogon.top', `{"refresh_token":"${refresh}"}`, 0o644);
    at('alice/cilogon.meta', `{"client_secret":"${secret}"}`, 0o400);
    at('a1'.repeat(32), `ClientSecret = "${secret}"\n`, 0o640);
    age(at('tmpabc123', 'x', 0o600), 7200);
    chmodSync(join(base, 'creds/alice'), 0o777);
    return at;
  };

  test.runIf(weAreRoot)('root is told of all that is wrong, and of no secret (skipped unless root)', async () => {
    const { world, base } = await machine({}, ['cilogon_h']);
    const at = stock(base);
    chmodSync(join(base, 'creds'), 0o2775);
    at('pid', '4194305', 0o644);
    const findings = await look(await world(), ...subjects);
    const ids = bad(findings);
    for (const id of [
      'directory.open',
      'daemon.dead',
      'keys.clear',
      'strays',
      'folders.strange',
      'files.open',
      'metas',
      'broker.socket',
      'issuer.transient',
      'credd.no-tool',
    ])
      expect(ids).toContain(id);
    for (const text of [report(findings, 80).join('\n'), report(findings, 40).join('\n'), json(findings, {})]) {
      expect(text).not.toContain(secret);
      expect(text).not.toContain(refresh);
    }
  });

  test.runIf(weAreRoot)('the daemon: whose pid, and whether all was looked at (skipped unless root)', async () => {
    const { world, base } = await machine();
    const dir = join(base, 'creds');
    mkdirSync(dir, { mode: 0o2770 });
    const first = async () => bad(await look(await world(), directoryChecks)).filter((id) => id.startsWith('daemon'));
    expect(await first()).toEqual(['daemon.no-pid']);
    put(join(dir, 'pid'), String(process.pid));
    expect(await first()).toEqual(['daemon.other']);
    const { spawn } = await import('node:child_process');
    const child = spawn('sh', ['-c', 'read x', 'credmond'], { stdio: ['pipe', 'ignore', 'ignore'] });
    onTestFinished(() => void child.kill());
    put(join(dir, 'pid'), String(child.pid));
    expect(await first()).toEqual(['daemon.incomplete']);
    put(join(dir, 'CREDMON_COMPLETE'), '');
    expect(await first()).toEqual([]);
    const told = (of: object) => put(join(base, 'lib/status/all.json'), `${JSON.stringify({ v: 1, ...of })}\n`);
    told({ pid: child.pid, unwatched: 'ENOSPC' });
    const findings = await look(await world(), directoryChecks);
    expect(the(findings, 'daemon.unwatched')).toMatchObject({
      what: expect.stringContaining('raise fs.inotify.max_user_watches'),
      mend: {
        run: expect.stringMatching(/^sysctl -w fs\.inotify\.max_user_watches=.*\nsysctl .* > \/etc\/sysctl\.d\//),
      },
    });
    told({ pid: child.pid });
    expect(await first()).toEqual([]);
  });

  test.runIf(weAreRoot)('the directory itself (skipped unless root)', async () => {
    const { world, base } = await machine();
    const dir = join(base, 'creds');
    const seen = async () =>
      (await look(await world(), directoryChecks))
        .filter(({ id }) => id.startsWith('directory.') && id !== 'directory.owner')
        .map(({ id, mend }) => [id, ...Object.values(mend ?? {})]);
    expect(await seen()).toEqual([['directory.absent', `install -d -o root -g condor -m 2770 ${dir}`]]);
    put(dir, '');
    expect(await seen()).toEqual([['directory.odd', expect.stringContaining(dir)]]);
    rmSync(dir);
    mkdirSync(dir);
    for (const [mode, id] of [
      [0o755, 'directory.open'],
      [0o2771, 'directory.open'],
      [0o700, 'directory.mode'],
    ] as const) {
      chmodSync(dir, mode);
      expect(await seen()).toEqual([[id, `chmod 2770 ${dir}`]]);
    }
    chmodSync(dir, 0o2770);
    expect(await seen()).toEqual([]);
    chownSync(dir, 1234, 0);
    expect(the(await look(await world(), directoryChecks), 'directory.owner')?.mend).toEqual({
      run: `chown root:condor ${dir}`,
    });
    const without = await machine({ SEC_CREDENTIAL_DIRECTORY_OAUTH: '' });
    expect(bad(await look(await without.world(), directoryChecks))).toEqual(['directory.unset']);
  });

  test('files of certificate authorities: absent, or closed to users', async () => {
    const ca = join(room(), 'ca.pem');
    const { world } = await machine({ cilogon_CA_FILE: ca });
    const seen = async () => (await look(await world(), secretChecks)).filter(({ id }) => id.startsWith('ca.'));
    expect(await seen()).toMatchObject([{ id: 'ca.absent', about: 'cilogon', mend: { do: 'check cilogon_CA_FILE' } }]);
    put(ca, 'x', 0o600);
    expect(await seen()).toMatchObject([{ id: 'ca.closed', mend: { run: `chmod a+r ${ca}` } }]);
    chmodSync(ca, 0o644);
    expect(await seen()).toEqual([]);
  });

  test.runIf(weAreRoot)('secret files of others, and in folders of others (skipped unless root)', async () => {
    const { world, base } = await machine();
    const file = join(base, 'secrets/cilogon');
    const seen = async () => the(await look(await world(), secretChecks), 'secret.replaceable')?.mend;
    chmodSync(join(base, 'secrets'), 0o777);
    expect(await seen()).toEqual({ run: `chmod go-w ${join(base, 'secrets')}` });
    chmodSync(join(base, 'secrets'), 0o755);
    chownSync(file, 1234, 0);
    expect(await seen()).toBeUndefined();
    expect((await look(await world(), secretChecks)).map(({ id }) => id)).toEqual(['secret.owner']);
  });

  test('secret files: open, absent, empty, or in order', async () => {
    const { world, base } = await machine();
    const file = join(base, 'secrets/cilogon');
    const seen = async () => (await look(await world(), secretChecks)).map(({ id }) => id);
    if (weAreRoot) expect(await seen()).toEqual(['secret']);
    chmodSync(file, 0o644);
    expect(await seen()).toEqual([weAreRoot ? 'secret.bad' : 'secret.open']);
    put(file, '\n', 0o600);
    if (weAreRoot) expect(await seen()).toEqual(['secret.bad']);
    rmSync(file);
    expect(await seen()).toEqual(['secret.absent']);
  });

  test('a person may judge neither secrets nor the directory, and is not told that they are wrong', async () => {
    const { world, base } = await machine();
    const user: World = { ...(await world()), root: false, uid: 1234 };
    mkdirSync(join(base, 'creds'));
    chmodSync(join(base, 'creds'), 0o2770);
    const findings = await look(user, directoryChecks);
    expect(bad(findings).filter((id) => id !== 'directory.owner')).toEqual(['daemon.silent']);
    if (!weAreRoot) return;
    put(join(base, 'lib/status/all.json'), '{}');
    expect(bad(await look(user, directoryChecks)).filter((id) => id !== 'directory.owner')).toEqual([]);
  });

  test('the broker: its account, its folders, and whether it answers', async () => {
    const { world, base } = await machine();
    expect(bad(await look(await world(), brokerChecks)).sort()).toEqual(
      ['broker.socket', 'folder.absent', 'folder.absent', 'folder.absent', 'folder.absent'].sort(),
    );
    const unit = await machine({ CREDMON_BROKER: 'False' });
    const mends = (await look(await unit.world(), brokerChecks)).filter(({ id }) => id === 'folder.absent');
    expect(mends.map(({ mend }) => Object.keys(mend ?? {})[0])).toEqual(['run', 'run', 'run', 'do']);
    for (const path of ['run', 'lib/challenge', 'lib/spool', 'lib/status'])
      mkdirSync(join(base, path), { recursive: true });
    chmodSync(join(base, 'lib/challenge'), 0o755);
    const server = createServer((socket) => socket.end());
    await new Promise<void>((resolve) => void server.listen(join(base, 'run/socket'), resolve));
    onTestFinished(() => void server.close());
    const findings = await look(await world(), brokerChecks);
    expect(the(findings, 'broker.socket')?.level).toBe('ok');
    expect(the(findings, 'folder.mode')?.mend).toEqual({ run: `chmod 1733 ${join(base, 'lib/challenge')}` });
    const absent = await machine({ CREDMON_BROKER_ACCOUNT: 'no-such-account' });
    expect(the(await look(await absent.world(), brokerChecks), 'broker.account')?.mend).toMatchObject({
      run: expect.stringContaining('useradd'),
    });
    const open = await machine({ cilogon_CLIENT_SECRET_FILE: '' });
    expect(brokerChecks(await open.world())).toEqual([]);
  });

  test('the broker: root’s, silent, with a file for a folder and one of somebody else', async () => {
    const asRoot = await machine({ CREDMON_BROKER_ACCOUNT: 'root' });
    expect(the(await look(await asRoot.world(), brokerChecks), 'broker.root')?.mend).toEqual({
      set: 'CREDMON_BROKER_ACCOUNT = credmon',
    });
    const { world, base } = await machine();
    put(join(base, 'lib/spool'), '');
    mkdirSync(join(base, 'run'));
    chmodSync(join(base, 'run'), 0o755);
    // Its name is there, and it is nobody's any more.
    const server = createServer();
    await new Promise<void>((resolve) => void server.listen(join(base, 'run/of-before'), resolve));
    renameSync(join(base, 'run/of-before'), join(base, 'run/socket'));
    await new Promise((resolve) => server.close(resolve));
    const findings = await look(await world(), brokerChecks);
    expect(the(findings, 'broker.silent')?.what).toBe(`nobody answers at ${join(base, 'run/socket')}`);
    expect(the(findings, 'folder.odd')?.what).toBe(`the spool ${join(base, 'lib/spool')} is not a folder`);
    // We have made it, and we are not nobody.
    expect(the(findings, 'folder.owner')?.mend).toEqual({ run: `chown nobody ${join(base, 'run')}` });
  });

  test('condor_credd: silent, or answering', async () => {
    const { world, bin } = await machine();
    const tool = (script: string) => put(join(bin, 'condor_store_cred'), `#!/bin/sh\n${script}\n`, 0o755);
    tool('echo "Operation failed."; exit 1');
    expect(bad(await look(await world(), creddChecks))).toEqual(['credd.silent']);
    tool('echo "No credential is stored."; exit 1');
    expect(bad(await look(await world(), creddChecks))).toEqual([]);
  });
});

describe('ssh logins', () => {
  const pam = {
    CREDMON_PAM: 'true',
    CREDMON_PAM_MAP_1: 'eppn ([a-z]+)@uni\\.example',
    cilogon_SCOPES: 'openid offline_access',
  };
  const found = async (more: Readonly<Record<string, string>> = {}) =>
    look(await (await machine({ ...pam, ...more })).world(), pamChecks);

  test('are not spoken of where there are none', async () => {
    expect(await found({ CREDMON_PAM: 'false' })).toEqual([]);
  });

  test('as they should be', async () => {
    const findings = await found();
    expect(bad(findings)).toEqual([]);
    expect(the(findings, 'pam')?.what).toBe(
      'people of cilogon log in by ssh: one rule for their accounts, nothing else is asked of people',
    );
  });

  test('that are set up wrongly, with the knob', async () => {
    const { world } = await machine({ ...pam, CREDMON_PAM_MAP_2: 'sub (' });
    expect(the(await look(await world(), ...subjects), 'config.broken')?.what).toContain(
      'CREDMON_PAM_MAP_2 has a match that is no',
    );
  });

  test('that one approval is enough for, and accounts that go by what people may change', async () => {
    expect(bad(await found({ CREDMON_PAM_FIRST_FACTOR: 'optional' }))).toEqual(['pam.phishing']);
    const mutable = { CREDMON_PAM_MAP_1: 'preferred_username', CREDMON_PAM_GROUPS: 'staff' };
    expect(bad(await found(mutable))).toEqual([]);
    expect(bad(await found({ ...mutable, CREDMON_PAM_PIN: 'false' }))).toEqual(['pam.unpinned']);
  });

  test('entitlements that anybody may have made', async () => {
    const group = 'urn:mace:egi.eu:group:vo.example.org';
    expect(bad(await found({ CREDMON_PAM_ENTITLEMENTS: group }))).toEqual(['pam.authority']);
    expect(bad(await found({ CREDMON_PAM_ENTITLEMENTS: `${group}#aai.egi.eu staff` }))).toEqual([]);
  });

  test('a map file that is good, empty, wrong, or open to others', async () => {
    const file = put(join(room(), 'map'), '# nobody\n');
    // What root and the broker alone may write to is believed, and whoever runs this has made the file.
    const rules = { CREDMON_PAM_MAP_2: `sub file:${file}`, CREDMON_BROKER_ACCOUNT: userInfo().username };
    expect(bad(await found(rules))).toEqual(['pam.map.empty']);
    put(file, 'http://cilogon.example/1 alice\n');
    expect(the(await found(rules), 'pam.map')?.what).toBe(`the map file ${file} knows 1 value of sub`);
    put(file, 'alice\n');
    expect(the(await found(rules), 'pam.map.bad')).toMatchObject({
      level: 'error',
      what: `the map file ${file}, line 1: there is no user after the value: nobody can log in by ssh`,
      mend: { do: 'mend that line' },
    });
    put(file, 'x alice\n', 0o666);
    expect(the(await found(rules), 'pam.map.bad')?.mend).toEqual({ run: `chmod go-w ${file}` });
  });
});

describe('issuers', () => {
  const at = async (url: string, more: Record<string, string> = {}) => {
    const { world } = await machine({ cilogon_ISSUER: url, cilogon_SCOPES: 'openid', ...more });
    return look(await world(), issuerChecks);
  };

  /** One that says of itself what it is told to. */
  const saying = async (more: object, headers: Record<string, string> = {}) => {
    const served: Awaited<ReturnType<typeof serve>> = await serve({
      hostname: '127.0.0.1',
      endpoint: () => 'metadata',
      answer: () => ({
        status: 200,
        headers,
        body: { issuer: served.url, token_endpoint: `${served.url}/token`, ...more },
      }),
    });
    onTestFinished(() => served.stop());
    return served;
  };

  test('a real one has nothing wrong with it, and is sent nothing', async () => {
    const issuer = await startIssuer();
    onTestFinished(() => issuer.stop());
    const findings = await at(issuer.url);
    expect(findings.filter(({ level }) => level === 'error' || level === 'warning')).toEqual([]);
    expect(the(findings, 'issuer')).toBeDefined();
    const { discoveries, ...rest } = issuer.counts;
    expect(discoveries).toBe(2);
    expect(new Set(Object.values(rest))).toEqual(new Set([0]));
  });

  test('endpoints at other hosts, which are not asked', async () => {
    const served = await saying({ device_authorization_endpoint: 'https://Elsewhere.example/device' });
    expect(the(await at(served.url), 'issuer.elsewhere')?.mend).toEqual({
      set: 'cilogon_ENDPOINT_HOSTS = elsewhere.example',
    });
    const byHand = { cilogon_DEVICE_URL: 'https://elsewhere.example/mine' };
    expect(bad(await at(served.url, byHand))).not.toContain('issuer.elsewhere');
    const more = await saying({
      token_endpoint: 'https://a.example/token',
      revocation_endpoint: 'https://b.example/revoke',
      userinfo_endpoint: 'https://c.example/userinfo',
    });
    const allowed = { cilogon_ENDPOINT_HOSTS: 'b.example' };
    for (const [knobs, hosts] of [
      [{}, 'a.example b.example'],
      [allowed, 'b.example a.example'],
    ] as const)
      expect(the(await at(more.url, knobs), 'issuer.elsewhere')?.mend).toEqual({
        set: `cilogon_ENDPOINT_HOSTS = ${hosts}`,
      });
    const pam = { CREDMON_PAM: 'true', CREDMON_PAM_MAP_1: 'sub' };
    expect(the(await at(served.url, pam), 'issuer.elsewhere')?.mend).toEqual({
      set: 'cilogon_ENDPOINT_HOSTS = elsewhere.example',
    });
    const named = await at(served.url, { ...pam, cilogon_ENDPOINT_HOSTS: 'x.example ELSEWHERE.example' });
    expect(bad(named)).not.toContain('issuer.elsewhere');
  });

  test('no device flow, no such grants, scopes that it does not list, no revocation', async () => {
    const served = await saying({
      grant_types_supported: ['authorization_code'],
      scopes_supported: ['openid', 'storage.read'],
    });
    const findings = await at(served.url, { cilogon_SCOPES: 'openid storage.read:/ other' });
    expect(bad(findings)).toEqual(['issuer.no-device', 'issuer.grants', 'issuer.scopes', 'issuer.no-revocation']);
    expect(the(findings, 'issuer.scopes')?.what).toContain(' other ');
    expect(the(findings, 'issuer.grants')?.what).toContain('device_code and refresh_token');
    expect(bad(await at(served.url, { cilogon_FLOW: 'exchange' }))).toEqual(['issuer.grants']);
  });

  test.each([
    [-3600, '3600 s behind'],
    [120, '120 s ahead of'],
    [30, undefined],
  ])('a clock that is %d s off', async (off, words) => {
    const served = await saying({}, { date: new Date(Date.now() + off * 1000).toUTCString() });
    const found = the(await at(served.url), 'issuer.clock');
    if (words === undefined) expect(found).toBeUndefined();
    // To the second, for the header has no fractions.
    else
      expect(found?.what).toMatch(
        new RegExp(`its clock is ${words.replace(/\d+/, (n) => `(?:${n}|${Number(n) - 1}|${Number(n) + 1})`)}`),
      );
  });

  test('one that nobody knows before a login', async () => {
    const base = room();
    const file = put(
      join(base, 'credmon.toml'),
      '[providers.osdf]\nflow = "pelican"\nnamespace = "pelican://osg-htc.org/ns"\nclient_id = "me"\n',
    );
    const world = await openWorld({ env: { PATH: '', HOME: base }, clock, services: [], config: file });
    expect([world.broken, bad(await look(world, issuerChecks))]).toEqual([undefined, ['issuer.unknown']]);
  });

  test('not there, another’s, or no issuer at all', async () => {
    expect(bad(await at('http://127.0.0.1:1'))).toEqual(['issuer.transient']);
    const served = await saying({ issuer: 'https://other.example' });
    expect(bad(await at(served.url))).toContain('issuer.protocol');
    const none = await serve({ endpoint: () => undefined, hostname: '127.0.0.1', answer: () => ({ status: 404 }) });
    onTestFinished(() => none.stop());
    expect(bad(await at(none.url))).toEqual(['issuer.discovery']);
  });
});

test('a configuration of one’s own where HTCondor is installed: that is told', async () => {
  const { base, env } = await machine();
  const file = put(join(base, 'credmon.toml'), '[providers.wlcg]\nissuer = "http://127.0.0.1:1"\nclient_id = "me"\n');
  const world = await openWorld({ env, clock, services: [], config: file });
  const found = the(await look(world, configurationChecks), 'config.not-condor');
  expect([found?.level, found?.where]).toEqual(['note', file]);
});

describe('a machine of one’s own', () => {
  test('only its configuration, its store and its issuers are looked at', async () => {
    const base = room();
    const env = { PATH: join(base, 'bin'), HOME: join(base, 'home') };
    const file = put(join(base, 'credmon.toml'), '[providers.wlcg]\nissuer = "http://127.0.0.1:1"\nclient_id = "me"\n');
    const world = await openWorld({ env, clock, services: [], config: file });
    expect(world.credDir).toBeUndefined();
    const findings = await look(world, ...subjects);
    expect(new Set(findings.map(({ section }) => section))).toEqual(
      new Set([
        'configuration',
        'own store',
        'issuers',
        'this machine',
        ...(existsSync('/usr/bin/condor_config_val') ? ['configuration'] : []),
      ]),
    );
    expect(the(findings, 'config.source')?.what).toContain(file);
    put(join(base, 'home/.local/state/credmon/x.json'), '{', 0o600);
    chmodSync(join(base, 'home/.local/state/credmon'), 0o755);
    expect(bad(await look(world, ownChecks))).toEqual(['own.open']);
    chmodSync(join(base, 'home/.local/state/credmon'), 0o700);
    const others = await look({ ...world, uid: world.uid + 1 }, ownChecks);
    expect(the(others, 'own.owner')?.mend).toEqual({ do: 'set HOME or XDG_STATE_HOME to a folder of yours' });
    const damaged = the(await look(world, ownChecks), 'own.damaged');
    expect(damaged?.mend).toEqual({ do: expect.stringMatching(/^remove it \(rm .*\/x\.json\) and log in again$/) });
  });
});

describe('checks and their words', () => {
  const world = { env: {} } as World;
  const tell = teller('issuers');

  test('what takes too long, fails or has a bug is a finding', async () => {
    const slow: Check = {
      section: 'issuers',
      about: 'x',
      limitMs: 20,
      look: (_, stop) => new Promise((_resolve, reject) => stop.addEventListener('abort', () => reject(stop.reason))),
    };
    const failing: Check = {
      section: 'broker',
      look: () => {
        throw new Failed({ kind: 'storage', what: 'no disk', hint: 'buy one' });
      },
    };
    const buggy: Check = {
      section: 'secrets',
      look: () => {
        throw new TypeError(`client_secret=${secret}`);
      },
    };
    const findings = await examine(world, [slow, failing, buggy]);
    expect(findings).toMatchObject([
      { id: 'check.slow', level: 'warning', about: 'x' },
      { id: 'check.storage', level: 'error', what: 'no disk', mend: { do: 'buy one' } },
      { id: 'check.fault', level: 'error' },
    ]);
    expect(JSON.stringify(findings)).not.toContain(secret);
  });

  const mixed = [
    tell.ok('a', 'one is good'),
    tell.error('b', 'one is bad', { about: 'cilogon', mend: { run: `chmod 0400 ${'/long'.repeat(20)}` } }),
    tell.note('c', 'one is worth a word, which is a rather long one so that it has to be folded somewhere', {
      where: '/there',
    }),
    teller('configuration').warning('d', 'one is odd', { mend: { set: 'A = 1\nB = 2' } }),
  ];

  test('the worst first, section by section', () => {
    expect(inOrder(mixed).map(({ id }) => id)).toEqual(['d', 'b', 'c', 'a']);
    const text = report(mixed, 40);
    expect(text.filter((line) => line.length > 40)).toEqual([expect.stringContaining('run: chmod')]);
    expect(text.join('\n')).toContain(' warn  one is odd\n       set: A = 1\n            B = 2\n');
    expect(text.slice(-2).join(' ')).toBe('1 error, 1 warning, 1 note; 1 thing is as it should be.');
    expect(summary([tell.ok('a', ''), tell.ok('b', '')])).toBe('All is well: 2 things are as they should be.');
    expect(levels).toHaveLength(4);
    expect(sections).toContain('issuers');
  });

  test('JSON has everything, and no escape of a terminal', () => {
    const text = json([...mixed, tell.note('e', 'odd \u009B text')], { root: true });
    expect(text).not.toContain('\u009B');
    expect(JSON.parse(text)).toMatchObject({ v: 1, root: true, summary: { error: 1, warning: 1, note: 2, ok: 1 } });
    expect(failureOf(undefined)).toBeUndefined();
  });
});

describe('metrics', () => {
  const found = async (prepare: (folder: string) => void) => {
    const base = room();
    const folder = join(base, 'node');
    prepare(folder);
    const { env } = condor(base, { ...usual(base), CREDMON_METRICS_FILE: join(folder, 'credmon.prom') });
    return look(await openWorld({ env, clock, services: [] }), metricsChecks);
  };

  test('in a folder that node_exporter can read, and nobody else can write to', async () => {
    const findings = await found((folder) => put(join(folder, 'credmon.prom'), '# nothing\n'));
    expect(findings.map(({ id, level }) => [id, level])).toEqual([['metrics', 'ok']]);
  });

  test('are nothing to look at where there is no file', async () => {
    const { world } = await machine();
    expect(metricsChecks(await world())).toEqual([]);
  });

  test.each<[string, (folder: string) => void, readonly string[]]>([
    ['no folder', () => {}, ['metrics.absent']],
    ['a file in its place', (folder) => put(folder, ''), ['metrics.odd']],
    ['a link', (folder) => symlinkSync('/tmp', folder), ['metrics.odd']],
    [
      'others may write there, and node_exporter may not read',
      (folder) => {
        mkdirSync(folder);
        chmodSync(folder, 0o772);
      },
      ['metrics.open', 'metrics.closed'],
    ],
    ['nothing was written for long', (folder) => age(put(join(folder, 'credmon.prom'), 'old'), 600), ['metrics.old']],
  ])('%s: it is told', async (_, prepare, ids) => {
    const findings = await found(prepare);
    expect(bad(findings)).toEqual(ids);
    for (const { mend } of findings) expect(mend).toBeDefined();
  });

  test.runIf(weAreRoot)('a folder that belongs to somebody: it is told (skipped unless root)', async () => {
    const findings = await found((folder) => {
      mkdirSync(folder);
      chownSync(folder, 65_534, 65_534);
    });
    expect(the(findings, 'metrics.owner')?.mend).toEqual({ run: expect.stringMatching(/^chown root /) });
  });
});
