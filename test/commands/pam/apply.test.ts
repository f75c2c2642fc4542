import {
  chmodSync,
  chownSync,
  existsSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  changesFor,
  type InstallParts,
  install,
  readInstallation,
  uninstall,
} from '../../../src/commands/pam/apply.js';
import type { Places } from '../../../src/commands/pam/places.js';
import { plan, type Wish } from '../../../src/commands/pam/plan.js';
import { fail, failureOf } from '../../../src/core/failure.js';
import { hasModule } from '../../../src/core/pam-stack.js';
import { effectiveBy, flatten } from '../../../src/core/sshd-config.js';
import { modeOf, picture, room, weAreRoot } from '../room.js';
import { debianFiles, debianSshd, furnish, machineIn, textsIn, wish } from './machine.js';

const nothing = async () => {};

async function run(
  places: Places,
  more: Partial<InstallParts> = {},
  asked: Partial<Wish> = {},
): Promise<readonly string[]> {
  const installation = await readInstallation(places);
  const made = plan({ ...wish, ...asked }, await machineIn(places, {}, installation));
  expect(made.refusals).toEqual([]);
  const steps: string[] = [];
  await install({
    ...{ places, installation, changes: await changesFor(places, installation, made.files) },
    about: {
      ...{ way: made.way, asked: { ...wish, ...asked, hook: false }, service: 'sshd', sshdConfig: places.sshdConfig },
      seen: installation.manifest?.seen ?? seenIn(places),
    },
    ...{ stack: '/etc/pam.d/sshd', check: nothing, reload: nothing },
    step: (what) => void steps.push(what),
    ...more,
  });
  return steps;
}

const seenIn = (places: Places) => {
  const all = Object.fromEntries(effectiveBy(flatten(places.sshdConfig, textsIn(places))));
  return { everybody: all, root: all };
};

async function back(places: Places, force = false, step = (_: string) => {}) {
  const { manifest, before } = await readInstallation(places);
  if (manifest === undefined) throw new Error('nothing is installed');
  return uninstall({ places, installation: { manifest, before }, force, step });
}

/** Debian's, with modes and times of its own; without an Include, so that the main file is changed too. */
function machine(sshd = debianSshd.replace(/^Include.*\n/, '')) {
  const root = room();
  const places = furnish(root, debianFiles(sshd));
  chmodSync(join(root, 'etc/pam.d/sshd'), 0o640);
  utimesSync(join(root, 'etc/pam.d/sshd'), 1e9, 1e9);
  if (weAreRoot) chownSync(join(root, 'etc/ssh/sshd_config'), 12, 34);
  return { root, places, before: picture(join(root, 'etc')) };
}

/** Folders keep no times, and that of the stack's is what is compared. */
const now = (root: string) => picture(join(root, 'etc'));

test('installs and puts back byte for byte: contents, modes, owners and times', async () => {
  const { root, places, before } = machine();
  await run(places, {}, { groups: ['wheel'] });
  expect(hasModule(readFileSync(join(root, 'etc/pam.d/sshd'), 'utf8'))).toBe(true);
  expect(modeOf(join(root, 'etc/pam.d/sshd'))).toBe(0o640);
  expect(modeOf(join(root, 'etc/ssh/sshd_config.d/10-credmon.conf'))).toBe(0o644);
  expect(modeOf(join(root, 'var/lib/credmon/pam-backup'))).toBe(0o700);
  await back(places);
  expect(now(root)).toEqual(before);
  expect(existsSync(join(root, 'var/lib/credmon/pam-backup'))).toBe(false);
});

test('a second time changes nothing, and other groups change what they are about', async () => {
  const { root, places, before } = machine();
  await run(places);
  const once = now(root);
  await run(places);
  expect(now(root)).toEqual(once);
  await run(places, {}, { groups: ['ops'] });
  expect(readFileSync(join(root, 'etc/ssh/sshd_config.d/10-credmon.conf'), 'utf8')).toContain('Match Group ops');
  await back(places);
  expect(now(root)).toEqual(before);
});

test('the stack is written last, after sshd has taken its own files and read them; and put back first', async () => {
  const { places } = machine();
  const steps = await run(places);
  expect(steps.filter((step) => !step.startsWith('copy'))).toEqual([
    'begun',
    'write /etc/credmon/pam-prompt',
    'write /etc/ssh/sshd_config',
    'write /etc/ssh/sshd_config.d/10-credmon.conf',
    'check',
    'reload',
    'write /etc/pam.d/sshd',
    'installed',
  ]);
  const undone: string[] = [];
  await back(places, false, (step) => void undone.push(step));
  expect(undone[0]).toBe('restore /etc/pam.d/sshd');
});

describe('when sshd does not take it', () => {
  test.each(['check', 'reload'] as const)('(%s) all is as it was, and nothing counts as installed', async (which) => {
    const { root, places, before } = machine();
    const refuse = async () => fail('config', 'sshd -t refuses it');
    const thrown = await run(places, { [which]: refuse }).catch(failureOf);
    expect(thrown).toMatchObject({ kind: 'config' });
    expect(now(root)).toEqual(before);
    expect((await readInstallation(places)).manifest).toBeUndefined();
  });

  test('the installation that was there before stays', async () => {
    const { root, places } = machine();
    await run(places);
    const once = now(root);
    const refuse = async () => fail('config', 'no');
    await run(places, { check: refuse }, { groups: ['ops'] }).catch(failureOf);
    expect(Object.keys(now(root))).toEqual(Object.keys(once));
    expect(readFileSync(join(root, 'etc/ssh/sshd_config.d/10-credmon.conf'), 'utf8')).not.toContain('ops');
    expect((await readInstallation(places)).manifest?.asked.groups).toEqual([]);
  });
});

describe('cut short at any step', () => {
  class PowerFailure extends Error {}
  const all = 9;

  /** The first n steps are done, and then nothing any more: not even what an error would put back. */
  async function cut(places: Places, n: number): Promise<boolean> {
    let left = n;
    const before = new Map<string, string | undefined>();
    const seen = new Set<string>();
    try {
      await run(places, {
        step: (what) => {
          if (left-- > 0) return;
          // What is put back on the way out is undone again below: a power failure puts nothing back.
          for (const path of [
            '/etc/pam.d/sshd',
            '/etc/ssh/sshd_config',
            '/etc/ssh/sshd_config.d/10-credmon.conf',
            '/etc/credmon/pam-prompt',
          ]) {
            before.set(path, textsIn(places).read(path));
            seen.add(what);
          }
          const manifest = textsIn(places).read(`${places.backup}/manifest.json`);
          before.set(`${places.backup}/manifest.json`, manifest);
          for (const name of textsIn(places).list(places.backup))
            before.set(`${places.backup}/${name}`, textsIn(places).read(`${places.backup}/${name}`));
          throw new PowerFailure();
        },
      });
      return false;
    } catch (thrown) {
      if (!(thrown instanceof PowerFailure)) throw thrown;
    }
    furnish(
      places.root,
      Object.fromEntries([...before].flatMap(([path, text]) => (text === undefined ? [] : [[path, text]]))),
    );
    if (before.get(`${places.backup}/manifest.json`) !== undefined) {
      chmodSync(`${places.root}${places.backup}`, 0o700);
    } else rmSync(`${places.root}${places.backup}`, { recursive: true, force: true });
    return true;
  }

  test.each(Array.from({ length: all }, (_, n) => n))(
    'after %i steps people get in, and it can be finished or undone',
    async (n) => {
      for (const finish of [true, false]) {
        const { root, places, before } = machine();
        if (!(await cut(places, n))) throw new Error('it has fewer steps');
        // Our stack without AuthenticationMethods would refuse everybody who comes with a key.
        const files = textsIn(places);
        const stack = hasModule(files.read('/etc/pam.d/sshd') ?? '');
        const methods = effectiveBy(flatten(places.sshdConfig, files)).get('authenticationmethods')?.[0];
        if (stack) expect(methods).toContain('keyboard-interactive:pam');
        const { manifest } = await readInstallation(places);
        const touched = stack || methods !== 'any' || files.read('/etc/credmon/pam-prompt') !== undefined;
        if (touched) expect(manifest?.state).toBe('begun');
        if (finish) {
          await run(places);
          expect(hasModule(textsIn(places).read('/etc/pam.d/sshd') ?? '')).toBe(true);
          await back(places);
        } else if (manifest !== undefined) await back(places);
        const texts = Object.entries(now(root)).map(([path, value]) => [path, (value as { text?: string }).text]);
        expect(texts).toEqual(Object.entries(before).map(([path, value]) => [path, (value as { text?: string }).text]));
      }
    },
  );

  test('an uninstallation too: it can be finished', async () => {
    for (let n = 0; n < 5; n++) {
      const { root, places, before } = machine();
      await run(places);
      let left = n;
      const died = await back(places, false, () => {
        if (left-- === 0) throw new PowerFailure();
      }).catch(String);
      expect(String(died)).toContain('Error');
      await back(places);
      expect(now(root)).toEqual(before);
    }
  });
});

describe('what others have changed since', () => {
  test('is not overwritten, neither by undoing nor by doing it again, but by force', async () => {
    const { root, places, before } = machine();
    await run(places);
    const stack = join(root, 'etc/pam.d/sshd');
    writeFileSync(stack, `${readFileSync(stack, 'latin1')}# mine\n`);
    const mine = now(root);
    expect(await back(places).catch(failureOf)).toMatchObject({
      kind: 'refused',
      what: `${stack} has been changed since credmon wrote it`,
    });
    expect(await run(places).catch(failureOf)).toMatchObject({ kind: 'refused' });
    expect(now(root)).toEqual(mine);
    await back(places, true);
    expect(now(root)).toEqual(before);
  });

  test('and what they have put back already is fine', async () => {
    const { root, places, before } = machine();
    await run(places);
    rmSync(join(root, 'etc/ssh/sshd_config.d/10-credmon.conf'));
    await back(places);
    expect(now(root)).toEqual(before);
  });
});

test('what somebody changes while the differences are read is not overwritten', async () => {
  const { root, places } = machine();
  const installation = await readInstallation(places);
  const { files } = plan(wish, await machineIn(places, {}, installation));
  const changes = await changesFor(places, installation, files);
  writeFileSync(join(root, 'etc/pam.d/sshd'), '# other\n');
  const about = {
    way: 'login',
    asked: { ...wish, hook: false },
    service: 'sshd',
    sshdConfig: places.sshdConfig,
  } as const;
  const parts = { places, installation, changes, about: { ...about, seen: seenIn(places) }, stack: '/etc/pam.d/sshd' };
  expect(await install({ ...parts, check: nothing, reload: nothing }).catch(failureOf)).toMatchObject({
    kind: 'refused',
  });
  expect(readFileSync(join(root, 'etc/pam.d/sshd'), 'utf8')).toBe('# other\n');
  expect((await readInstallation(places)).manifest).toBeUndefined();
});

test('a symbolic link is not written through', async () => {
  const { root, places } = machine(debianSshd);
  rmSync(join(root, 'etc/pam.d/sshd'));
  symlinkSync('common-auth', join(root, 'etc/pam.d/sshd'));
  const installation = await readInstallation(places);
  const files = [{ path: '/etc/pam.d/sshd', text: 'x', mode: 0o644 }];
  expect(await changesFor(places, installation, files).catch(failureOf)).toMatchObject({ kind: 'unsupported' });
});

test('a backup that is not what was copied is not put back', async () => {
  const { root, places } = machine();
  await run(places);
  const { manifest } = await readInstallation(places);
  const copy = manifest?.parts.find(({ path }) => path === '/etc/pam.d/sshd')?.before?.copy ?? '';
  writeFileSync(join(root, places.backup, copy), 'auth sufficient pam_permit.so\n');
  expect(await readInstallation(places).catch(failureOf)).toMatchObject({
    kind: 'storage',
    what: expect.stringContaining('/etc/pam.d/sshd'),
  });
});
