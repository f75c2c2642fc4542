import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { changesFor, install, readInstallation } from '../../../src/commands/pam/apply.js';
import type { Places } from '../../../src/commands/pam/places.js';
import { plan, type Wish } from '../../../src/commands/pam/plan.js';
import { findSshd } from '../../../src/commands/pam/sshd.js';
import { survey } from '../../../src/commands/pam/survey.js';
import { check } from '../../../src/commands/pam/verify.js';
import { failureOf } from '../../../src/core/failure.js';
import { effectiveBy, flatten } from '../../../src/core/sshd-config.js';
import { put, room, weAreRoot } from '../room.js';
import { debianSshd, machineIn, redHatSshd, textsIn, wish } from './machine.js';
import { debian, redHat } from './stacks.js';

const there = existsSync('/usr/sbin/sshd');
/** sshd reads its host keys as root. */
const can = there && weAreRoot;
const why = there ? 'only root may ask sshd' : 'openssh-server is not installed';
const real = test.runIf(can);
test.skipIf(can)(`these need a real sshd: ${why}`, () => {});

/** A machine whose sshd is that of this one, with all files in a folder; places without a root, for sshd's own paths. */
function machine(sshd: Readonly<Record<string, string>>, stacks = debian): Places {
  const root = room();
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(root, 'hostkey')]);
  for (const [name, text] of Object.entries(sshd)) {
    const inside = text.replaceAll('/etc/ssh/', `${root}/ssh/`);
    put(join(root, 'ssh', name), name === 'sshd_config' ? `HostKey ${root}/hostkey\n${inside}` : inside);
  }
  for (const [name, text] of Object.entries(stacks)) put(join(root, 'pam.d', name), text);
  return {
    root: '',
    sshdConfig: join(root, 'ssh/sshd_config'),
    dropIn: join(root, 'ssh/sshd_config.d/10-credmon.conf'),
    pamDirs: [join(root, 'pam.d')],
    prompt: join(root, 'pam-prompt'),
    backup: join(root, 'backup'),
  };
}

async function run(places: Places, asked: Partial<Wish> = {}, spoil = () => {}) {
  const installation = await readInstallation(places);
  const sshd = await findSshd(places);
  const seen = await survey(places, installation, sshd);
  const own = await machineIn(places, { version: sshd?.version }, installation);
  const made = plan({ ...wish, ...asked }, { ...own, ...seen });
  expect(made.refusals).toEqual([]);
  await install({
    ...{ places, installation, changes: await changesFor(places, installation, made.files) },
    about: {
      ...{ way: made.way, asked: { ...wish, ...asked, hook: false }, service: 'sshd', sshdConfig: places.sshdConfig },
      seen: { everybody: Object.fromEntries(seen.everybody), root: Object.fromEntries(seen.root) },
    },
    stack: `${places.pamDirs[0]}/sshd`,
    check: () => {
      spoil();
      return check(sshd, made.everybody, made.excepted, []);
    },
    reload: async () => {},
  });
  return sshd;
}

real('what is read here is what sshd itself says', async () => {
  const places = machine({
    sshd_config: `${debianSshd}LoginGraceTime 1m30\nMatch User root\nPasswordAuthentication no\n`,
  });
  const told = await (await findSshd(places))?.effective('nobody');
  if (told === undefined || 'trouble' in told) throw new Error(JSON.stringify(told));
  for (const [keyword, [value]] of effectiveBy(flatten(places.sshdConfig, textsIn(places))))
    expect([keyword, told.get(keyword)?.[0]?.replace('without-password', 'prohibit-password')]).toEqual([
      keyword,
      keyword === 'authorizedkeysfile' ? expect.any(String) : value,
    ]);
});

real.each([
  ['Debian', { sshd_config: debianSshd }, debian],
  ['Red Hat', redHatSshd, redHat],
  ['none of them: without Include', { sshd_config: debianSshd.replace(/^Include.*\n/, '') }, debian],
] as const)('sshd takes what is installed for %s, and lets root in by key alone', async (_, config, stacks) => {
  const places = machine(config, stacks);
  const sshd = await run(places);
  expect(await sshd?.test()).toBeUndefined();
  const [nobody, root] = [await sshd?.effective('nobody'), await sshd?.effective('root')];
  if (nobody === undefined || 'trouble' in nobody || root === undefined || 'trouble' in root) throw new Error('untold');
  expect(nobody.get('authenticationmethods')?.[0]).toMatch(/^publickey,keyboard-interactive:pam/);
  expect(nobody.get('kbdinteractiveauthentication')).toEqual(['yes']);
  expect(nobody.get('logingracetime')).toEqual(['300']);
  expect(nobody.get('maxstartups')).toEqual(['250:30:400']);
  expect(root.get('authenticationmethods')?.[0]).toMatch(/^publickey(?: gssapi-with-mic)?$/);
});

real('seed after passwords leaves to sshd who gets in', async () => {
  const places = machine({ sshd_config: debianSshd });
  const sshd = await run(places, { mode: 'seed' });
  const told = await sshd?.effective('nobody');
  expect(told !== undefined && 'get' in told && told.get('authenticationmethods')).toEqual(['any']);
});

real('when sshd -t refuses, or something overrules it, all is put back', async () => {
  const site = 'sshd_config.d/11-site.conf';
  for (const [text, what] of [
    ['NoSuchKeyword yes\n', /^sshd -t refuses it: .*NoSuchKeyword/i],
    [
      'Match User nobody\nAuthenticationMethods password\n',
      /^for nobody sshd would take authenticationmethods password/,
    ],
  ] as const) {
    const places = machine({ sshd_config: debianSshd });
    const stack = readFileSync(`${places.pamDirs[0]}/sshd`);
    const spoil = () => writeFileSync(join(places.sshdConfig, '..', site), text);
    const failure = failureOf(await run(places, {}, spoil).catch((thrown) => thrown));
    expect(failure?.what).toMatch(what);
    expect(failure?.hint).toBe('everything was put back as it was');
    expect(existsSync(places.dropIn)).toBe(false);
    expect(readFileSync(`${places.pamDirs[0]}/sshd`)).toEqual(stack);
    expect((await readInstallation(places)).manifest).toBeUndefined();
  }
});

real('a fault that was there before is said, and nothing is changed', async () => {
  const places = machine({ sshd_config: `${debianSshd}Nonsense\n` });
  expect(await run(places).catch(failureOf)).toMatchObject({
    kind: 'config',
    what: expect.stringContaining('sshd -t finds a fault'),
  });
  expect(existsSync(places.backup)).toBe(false);
});
