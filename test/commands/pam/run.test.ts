import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { hasKey, membersOf, whoRuns } from '../../../src/commands/pam/people.js';
import { filesOf } from '../../../src/commands/pam/places.js';
import { type InstallOptions, runInstall, runUninstall } from '../../../src/commands/pam/run.js';
import { runPamStatus } from '../../../src/commands/pam/status.js';
import { failureOf } from '../../../src/core/failure.js';
import { effectiveBy, flatten } from '../../../src/core/sshd-config.js';
import { picture, put, room } from '../room.js';
import { debianFiles, debianSshd, furnish } from './machine.js';

let said = '';
beforeEach(() => {
  said = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    said += String(text);
    return true;
  });
});
afterEach(() => void vi.restoreAllMocks());

const toml = `[providers.i]
issuer = "https://i.example"
client_id = "x"
[pam]
enabled = true
[[pam.map]]
claim = "eppn"
match = "(.*)@x"
`;

function machine(more: Readonly<Record<string, string>> = {}) {
  const root = room();
  const config = put(join(room(), 'c.toml'), toml);
  const module = { '/usr/lib/x86_64-linux-gnu/security/pam_credmon.so': 'ELF' };
  furnish(root, { ...debianFiles(), ...module, '/etc/group': 'ops:x:10:root,alice\n', ...more });
  const options: InstallOptions = {
    ...{ mode: 'login', exceptGroup: [], except: true, hook: true, dryRun: false, yes: true, reload: false },
    ...{ root, config },
  };
  const undo = { dryRun: false, force: false, yes: true, reload: false, root };
  return { root, config, options, undo, before: picture(join(root, 'etc')) };
}

test('--reload does not reach out of a machine that is put together in a folder', async () => {
  const { root, options, undo } = machine();
  const before = picture(root);
  expect(await runInstall({ ...options, reload: true }).catch(failureOf)).toMatchObject({ kind: 'usage' });
  expect(await runUninstall({ ...undo, reload: true }).catch(failureOf)).toMatchObject({ kind: 'usage' });
  expect(picture(root)).toEqual(before);
});

test('--dry-run shows the differences and changes nothing', async () => {
  const { root, options } = machine();
  const before = picture(root);
  expect(await runInstall({ ...options, dryRun: true, exceptGroup: ['ops'] })).toBe(0);
  expect(said).toContain(`+++ ${root}/etc/ssh/sshd_config.d/10-credmon.conf`);
  expect(said).toContain('+AuthenticationMethods publickey,keyboard-interactive:pam');
  expect(said).toContain('+auth       [success=done default=die]   pam_credmon.so mode=login');
  expect(said).toContain('+account    [success=1 default=ignore]   pam_succeed_if.so quiet user ingroup ops');
  expect(said).toMatch(/^\+\+\+ \S+\/etc\/profile\.d\/credmon\.sh is new, a copy of \S+\/pam\/hook\/credmon\.sh$/m);
  expect(said).toContain('Nothing was changed.');
  expect(picture(root)).toEqual(before);
});

test('installs, says so, does nothing a second time, and takes it away again', async () => {
  const { root, options, undo, before } = machine();
  expect(await runInstall(options)).toBe(0);
  expect(said).toContain('Keep this session open');
  said = '';
  const once = picture(root);
  expect(await runInstall(options)).toBe(0);
  expect(said).toContain('Nothing is left to do');
  expect(picture(root)).toEqual(once);
  said = '';
  expect(await runUninstall({ ...undo, dryRun: true })).toBe(0);
  expect(said).toContain('-AuthenticationMethods');
  expect(said).toContain('/etc/profile.d/credmon.sh is taken away');
  expect(picture(root)).toEqual(once);
  expect(await runUninstall(undo)).toBe(0);
  expect(picture(join(root, 'etc'))).toEqual(before);
  said = '';
  expect(await runUninstall(undo)).toBe(0);
  expect(said).toBe('Nothing is installed.\n');
});

test('what is not said is as it was: an upgrade is followed by the same command, and takes nobody’s exception away', async () => {
  const { root, config, options } = machine();
  await runInstall({ ...options, exceptGroup: ['ops'], except: false, hook: false });
  const once = picture(root);
  said = '';
  const again = { except: true, hook: true, dryRun: false, yes: true, reload: false, root, config };
  expect(await runInstall(again)).toBe(0);
  expect(said).toContain('Nothing is left to do');
  expect(picture(root)).toEqual(once);
});

test('the login hook goes where the shells of this machine look, and away again', async () => {
  const { root, options, undo } = machine({
    '/etc/zsh/zprofile': '# mine',
    '/etc/csh/login.d/x': '',
    '/etc/fish/config.fish': '',
  });
  const before = picture(join(root, 'etc'));
  await runInstall({ ...options, mode: 'seed' });
  const files = filesOf({ root });
  expect(files.read('/etc/profile.d/credmon.sh')).toContain('__credmon_hook');
  expect(files.read('/etc/csh/login.d/credmon.csh')).toBeDefined();
  expect(files.read('/etc/fish/conf.d/credmon.fish')).toBeDefined();
  expect(files.read('/etc/zsh/zprofile')).toMatch(/^# mine\n\[\[ -r .*emulate sh.*\n$/);
  await runUninstall(undo);
  expect(picture(join(root, 'etc'))).toEqual(before);
  await runInstall({ ...options, hook: false });
  expect(files.read('/etc/profile.d/credmon.sh')).toBeUndefined();
});

test('where sshd takes keys alone, seed is the login hook', async () => {
  const { root, options } = machine({ '/etc/ssh/sshd_config': `PasswordAuthentication no\n${debianSshd}` });
  expect(await runInstall({ ...options, mode: 'seed' })).toBe(0);
  const files = filesOf({ root });
  expect([
    files.read('/etc/ssh/sshd_config.d/10-credmon.conf'),
    files.read('/etc/pam.d/sshd')?.includes('credmon'),
  ]).toEqual([undefined, false]);
  expect(files.read('/etc/profile.d/credmon.sh')).toBeDefined();
});

test('another mode wants the first one taken away, so that nobody is locked out between the two', async () => {
  const { options } = machine();
  await runInstall(options);
  expect(await runInstall({ ...options, mode: 'seed' }).catch(failureOf)).toMatchObject({
    kind: 'unsupported',
    hint: expect.stringContaining('credmon pam uninstall'),
  });
});

test('shows what somebody has changed since, and leaves it', async () => {
  const { root, options, undo } = machine();
  await runInstall(options);
  const stack = join(root, 'etc/pam.d/sshd');
  writeFileSync(stack, readFileSync(stack, 'utf8').replace('pam_nologin.so', 'pam_access.so'));
  said = '';
  expect(await runUninstall(undo).catch(failureOf)).toMatchObject({ kind: 'refused' });
  expect(said).toContain('-account    required     pam_access.so');
  expect(readFileSync(stack, 'utf8')).toContain('pam_access.so');
});

test('is refused: without the module, without a terminal to ask on, for a group that is not there', async () => {
  const { root, options } = machine();
  const before = picture(root);
  const kind = async (more: Partial<InstallOptions>) =>
    failureOf(await runInstall({ ...options, ...more }).catch((thrown) => thrown));
  expect(await kind({ yes: false })).toMatchObject({ kind: 'usage', hint: 'say --yes' });
  expect(await kind({ exceptGroup: ['nope'] })).toMatchObject({ kind: 'usage', what: 'there is no group nope' });
  expect(await kind({ exceptGroup: ['a b'] })).toMatchObject({ kind: 'usage' });
  for (const more of [{ service: '../x' }, { sshdConfig: 'sshd_config' }, { root: 'x' }, { after: 'key' as const }])
    expect(await kind(more)).toMatchObject({ kind: 'usage' });
  const { options: bare } = machine({ '/usr/lib/x86_64-linux-gnu/security/pam_credmon.so': '' });
  expect(picture(root)).toEqual(before);
  const { rmSync } = await import('node:fs');
  rmSync(join(bare.root ?? '', 'usr'), { recursive: true });
  expect(failureOf(await runInstall(bare).catch((thrown) => thrown))).toMatchObject({
    ...{ kind: 'unsupported', what: 'pam_credmon.so is not installed' },
    hint: expect.stringMatching(/^run: make -C \/.*pam install$/),
  });
});

test('status says what is installed and what ails it', async () => {
  const { root, config, options } = machine();
  expect(await runPamStatus({ json: false, root, config })).toBe(78);
  expect(said).toContain('Nothing is installed.');
  expect(said).toContain('sshd does not ask the broker');
  await runInstall({ ...options, exceptGroup: ['ops'] });
  said = '';
  await runPamStatus({ json: false, root, config });
  expect(said).toContain('Installed: login, but not for ops');
  expect(said).toContain(`${root}/etc/pam.d/sshd (changed)`);
  expect(said).toContain('all files are as credmon wrote them');
  said = '';
  await runPamStatus({ json: true, root, config });
  const { installed, findings } = JSON.parse(said);
  expect(installed).toMatchObject({ mode: 'login', groups: ['ops'], service: 'sshd' });
  expect(findings.map(({ id }: { id: string }) => id)).toContain('ssh.socket');
});

describe('people', () => {
  const settings = (text: string) =>
    effectiveBy(flatten('/c', { read: (path) => (path === '/c' ? text : undefined), list: () => [] }));
  const alice = { name: 'alice', uid: 1000, home: '/home/alice' };

  test('have a key where sshd would find one', () => {
    const root = room();
    furnish(root, {
      '/home/alice/.ssh/authorized_keys': '# none\n\n',
      '/home/alice/.ssh/authorized_keys2': 'ssh-ed25519 AAAA alice\n',
      '/etc/keys/alice': 'ssh-ed25519 AAAA alice\n',
    });
    const files = filesOf({ root });
    const has = (text: string) => hasKey(alice, settings(text), files);
    expect(has('')).toBe(true);
    expect(has('AuthorizedKeysFile .ssh/authorized_keys\n')).toBe(false);
    expect(has('AuthorizedKeysFile /etc/keys/%u\n')).toBe(true);
    expect(has('AuthorizedKeysFile none\n')).toBe(false);
    expect(has('AuthorizedKeysFile none\nTrustedUserCAKeys /etc/ca\n')).toBe(true);
    expect(has('PubkeyAuthentication no\n')).toBe(false);
  });

  test('behind sudo are found by it, and root is nobody else', async () => {
    const root = room();
    const files = filesOf({ root });
    const none = settings(debianSshd);
    const login = (uid: string) => put(join(room(), 'loginuid'), uid);
    expect(await whoRuns({ SUDO_UID: '65534' }, none, files)).toMatchObject({ name: 'nobody', hasKey: false });
    expect(await whoRuns({}, none, files, login('65534'))).toMatchObject({ name: 'nobody' });
    expect(await whoRuns({}, none, files, login('4294967295'))).toBeUndefined();
    expect(await whoRuns({ SUDO_UID: '0' }, none, files, login('0'))).toBeUndefined();
    expect(await whoRuns({}, none, files, '/no/file')).toBeUndefined();
  });

  test('of a group: one whom sshd can be asked about', async () => {
    const root = room();
    furnish(root, { '/etc/group': 'ops:x:10:root\ndev:x:11:root,bob\nsolo:x:12:carol,dan\n' });
    const files = filesOf({ root });
    expect(await membersOf(['ops', 'dev', 'solo'], { root, files })).toEqual(['carol']);
  });
});
