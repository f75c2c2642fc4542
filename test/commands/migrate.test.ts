import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { apply, dropInIn } from '../../src/commands/migrate/apply.js';
import { current, type Manifest, writeManifest } from '../../src/commands/migrate/backup.js';
import { isSame, wasOf } from '../../src/commands/migrate/place.js';
import { dropInText, planKnobs, predecessorOf } from '../../src/commands/migrate/plan.js';
import { refuse } from '../../src/commands/migrate/refuse.js';
import { runMigrate } from '../../src/commands/migrate/run.js';
import { survey } from '../../src/commands/migrate/survey.js';
import { counts, tell, tellApplied, tellUndone } from '../../src/commands/migrate/text.js';
import { undo } from '../../src/commands/migrate/undo.js';
import { parseKnobs } from '../../src/config/knobs.js';
import { loadConfig } from '../../src/config/load.js';
import { failureOf } from '../../src/core/failure.js';
import { outcome, sortService } from '../../src/core/sorting.js';
import { age, condor, modeOf, picture, put, room, weAreRoot } from './room.js';

const secret = 'client-s3cret-of-this-test';
const secrets = [secret, 'refresh-of-alice', 'refresh-of-bob', 'web-flow-s3cret', 'access-of-alice'];
const programs = { daemon: '/usr/sbin/credmond', storer: '/usr/bin/credmon-storer' };
const key = 'a1'.repeat(32);
/** HTCondor’s. */
const account = { uid: 64000, gid: 64001 };

/** IceCube's set-up, after its README, with an OAuth2 provider of HTCondor's beside it. */
const rust = (base: string) => ({
  DAEMON_LIST: 'MASTER SCHEDD CREDD CREDMON_OAUTH',
  SEC_CREDENTIAL_DIRECTORY_OAUTH: join(base, 'creds'),
  CREDMON_OAUTH: '/usr/sbin/condor_credmon_rust',
  SEC_CREDENTIAL_STORER: '/usr/bin/condor_credmod_rust_client',
  VAULT_CREDMON_PROVIDER_NAMES: 'icecube',
  OAUTH2_CREDMON_PROVIDER_NAMES: 'cilogon, box',
  icecube_ISSUER: 'https://keycloak.example/realms/icecube',
  icecube_CLIENT_ID: 'credmon',
  icecube_CLIENT_SECRET_FILE: put(join(base, 'secret'), `${secret}\n`, 0o400),
  icecube_DEFAULT_OPTIONS: 'icecube',
  cilogon_ISSUER: 'https://cilogon.example',
  cilogon_CLIENT_ID: 'web',
  cilogon_CLIENT_SECRET_FILE: join(base, 'secret'),
});

async function machine() {
  const base = room();
  const { env, configDir } = condor(base, rust(base));
  const [dir, backups] = [join(base, 'creds'), join(base, 'lib', 'backup')];
  const at = (path: string, text: string, mode?: number) => put(join(dir, path), text, mode);
  const meta = (more: object) =>
    JSON.stringify({
      client_id: 'web',
      client_secret: secret,
      token_url: 'https://cilogon.example/token',
      use_refresh_token: true,
      ...more,
    });
  // World-readable, as IceCube's leaves them.
  at('alice/icecube.top', '{"refresh_token":"refresh-of-alice"}');
  at('alice/icecube.use', '{"access_token":"access-of-alice","expires_in":900}');
  // Of HTCondor's web flow: once with the configured client, once with another.
  at('bob/cilogon.top', '{"refresh_token":"refresh-of-bob"}', 0o600);
  at('bob/cilogon.meta', meta({}), 0o400);
  at('carol/cilogon.top', '{"refresh_token":"refresh-of-carol"}', 0o600);
  at('carol/cilogon.meta', meta({ client_id: 'other', client_secret: 'web-flow-s3cret' }), 0o400);
  at('carol/cilogon_final.top', '{"refresh_token":"x"}', 0o600);
  at('carol/cilogon_final.meta', meta({ use_refresh_token: false }), 0o400);
  // Of no use, or nobody's.
  at('dave/icecube.top', '{"access_token":"nothing"}', 0o600);
  at('dave/scitokens.top', 'dave@foo', 0o600);
  at(key, `Provider = "cilogon"\nClientSecret = "${secret}"\n`, 0o640);
  age(at('b2'.repeat(32), `Provider = "box"\nClientSecret = "web-flow-s3cret"\n`, 0o640), 5000);
  at('pid', '1');
  age(join(dir, key), 4000);
  const config = await loadConfig({ env });
  const knobs = parseKnobs(readFileSync(join(base, 'dump'), 'utf8'));
  const dropIn = join(configDir, '99-credmon-migrate.conf');
  const plan = async () => ({
    knobs: planKnobs(knobs, config, programs, [25, 14, 1]),
    found: await survey({ dir, config, condor: undefined }),
  });
  let n = 0;
  const go = async (step?: (what: string) => void) => {
    const { knobs: now, found } = await plan();
    const changes = existsSync(dropIn) ? [] : now.changes;
    return apply({ backups, dir, dropIn, changes, works: found.works, now: 1e12 + 1000 * n++, ...(step && { step }) });
  };
  return {
    base,
    env,
    dir,
    backups,
    dropIn,
    configDir,
    config,
    knobs,
    plan,
    go,
    undo: (step?: (what: string) => void) => undo({ backups, ...(step && { step }) }),
  };
}

const mode = (of: Record<string, unknown>, path: string) => (of[path] as { mode: string } | undefined)?.mode;

describe('what is planned', () => {
  test('for IceCube’s credmon: the same providers, flows and files, for our programs', async () => {
    const { plan } = await machine();
    const { knobs } = await plan();
    expect(knobs.from).toBe('rust');
    expect(Object.fromEntries(knobs.changes.map(({ knob, to }) => [knob, to]))).toEqual({
      CREDMON_OAUTH: '/usr/sbin/credmond',
      SEC_CREDENTIAL_STORER: '/usr/bin/credmon-storer',
      CREDMON_PROVIDER_NAMES: 'icecube cilogon',
      VAULT_CREDMON_PROVIDER_NAMES: 'icecube cilogon',
      icecube_FLOW: 'exchange',
      cilogon_FLOW: 'device',
      OAUTH2_CREDMON_PROVIDER_NAMES: 'box',
    });
  });

  test('the file that is made says the same to the real parser, and all services go to the storer', async () => {
    const { plan, env, config, dropIn, knobs } = await machine();
    const { changes } = (await plan()).knobs;
    writeFileSync(dropIn, dropInText(changes));
    const then = await loadConfig({ env });
    expect([...then.providers]).toEqual([...config.providers]);
    const later = parseKnobs(
      `${knobs.names.map((name) => `${name} = ${knobs.get(name) ?? ''}`).join('\n')}\n${dropInText(changes)}`,
    );
    for (const name of config.providers.keys()) {
      const sorted = sortService(name, later, [25, 14, 1]);
      expect(sorted.storer).toEqual({ mode: 'vault' });
      expect(outcome(sorted, { top: true, use: false, matches: false })).toBe('ok');
    }
    expect(planKnobs(later, then, programs, [25, 14, 1]).changes).toEqual([]);
  });

  test('a local issuer would be lost, and every submit would wait for it', async () => {
    const { knobs, config } = await machine();
    const get = (knob: string) => (knob === 'LOCAL_CREDMON_PROVIDER_NAMES' ? 'scitokens' : knobs.get(knob));
    const { remarks, changes } = planKnobs({ names: knobs.names, get }, config, programs, [25, 14, 1]);
    expect(remarks.filter(({ kind }) => kind === 'loss')).toHaveLength(1);
    expect(changes).toContainEqual(
      expect.objectContaining({ knob: 'SUBMIT_ADD_LOCAL_CREDMON_PROVIDERS', to: 'False' }),
    );
  });

  test.each([
    ['/usr/bin/condor_vault_storer', ['CREDMON_OAUTH', 'SEC_CREDENTIAL_STORER']],
    ['/opt/condor_vault_storer', ['CREDMON_OAUTH', 'SEC_CREDENTIAL_STORER', 'CREDMON_VAULT_STORER']],
  ])('for Vault, ours calls HTCondor’s own storer, where it is: %s', async (old, changed) => {
    const base = room();
    const { env } = condor(base, {
      CREDMON_OAUTH: '/usr/sbin/condor_credmon_oauth',
      SEC_CREDENTIAL_STORER: old,
      SEC_CREDENTIAL_GETTOKEN_OPTS: '-a vault.example',
    });
    const knobs = parseKnobs(readFileSync(join(base, 'dump'), 'utf8'));
    const config = await loadConfig({ env });
    const { changes, from, remarks } = planKnobs(knobs, config, programs, [25, 14, 1]);
    expect(from).toBe('python');
    expect(changes.map(({ knob }) => knob)).toEqual(changed);
    expect(remarks.filter(({ kind }) => kind === 'loss')).toEqual([]);
    const bare = new Map([...config.providers].map(([name, provider]) => [name, { ...provider, vaultHosts: [] }]));
    const without = planKnobs(knobs, { ...config, providers: bare }, programs, [25, 14, 1]);
    expect(without.remarks.filter(({ kind }) => kind === 'loss')).toHaveLength(1);
  });

  test('a service called scitokens is freed from the local issuer', async () => {
    const base = room();
    const { env } = condor(base, { scitokens_ISSUER: 'https://s.example', scitokens_CLIENT_ID: 'me' });
    const knobs = parseKnobs(readFileSync(join(base, 'dump'), 'utf8'));
    const { changes } = planKnobs(knobs, await loadConfig({ env }), programs, [25, 14, 1]);
    expect(Object.fromEntries(changes.map(({ knob, to }) => [knob, to]))).toMatchObject({
      LOCAL_CREDMON_PROVIDER_NAMES: 'none',
      SUBMIT_ADD_LOCAL_CREDMON_PROVIDERS: 'False',
    });
  });

  test('what is taken over and what cannot be, without a word of a secret', async () => {
    const { plan, dropIn } = await machine();
    const { knobs, found } = await plan();
    expect(counts(found)).toEqual({
      taken: ['icecube: 1 credential of 1 user', 'cilogon: 2 credentials of 2 users'],
      left: [
        'carol/cilogon_final: it has no refresh token: it is good until its token ends',
        'dave/icecube: its .top is without a refresh_token',
        'dave/scitokens: its provider is not configured',
      ],
    });
    expect(
      found.works
        .filter(({ kind }) => kind === 'remove')
        .map(({ path }) => path)
        .sort(),
    ).toEqual([key, 'bob/cilogon.meta']);
    for (const columns of [80, 40]) {
      const lines = tell({ knobs, survey: found, dropIn, applied: false }, columns);
      for (const one of [...secrets, 'refresh-of-carol']) expect(lines.join('\n')).not.toContain(one);
      expect(lines.filter((line) => line.length > columns && !/ = |config\.d/.test(line))).toEqual([]);
    }
    for (const one of secrets) expect(JSON.stringify([knobs, found])).not.toContain(one);
  });

  test.each([
    ['/usr/sbin/condor_credmon_oauth', 'python'],
    ['/usr/sbin/condor_credmon_rust', 'rust'],
    ['/opt/credmon/bin/credmond.js', 'credmon'],
    ['/opt/own', 'unknown'],
    [undefined, 'none'],
  ])('%o is %s', (path, from) => expect(predecessorOf(path)).toBe(from));

  test('the file comes last in its folder', () => {
    expect(dropInIn('/d', ['00-x.conf', '99-a.conf', '.99-z', '99-x~'])).toBe('/d/99-credmon-migrate.conf');
    expect(dropInIn('/d', ['99-last.conf'])).toBe('/d/zz-credmon-migrate.conf');
    expect(dropInIn('/d', ['99-credmon-migrate.conf'])).toBe('/d/99-credmon-migrate.conf');
    expect(dropInIn('/d', ['99-last.conf', 'zz-credmon-migrate.conf'])).toBe('/d/zz-credmon-migrate.conf');
  });
});

describe('apply and undo', () => {
  test('there and back again, to the byte', async () => {
    const { base, dir, dropIn, backups, go, undo: back } = await machine();
    const before = picture(dir);
    const { backup, skipped } = await go();
    expect(skipped).toEqual([]);
    const then = picture(dir);
    expect(mode(then, '')).toBe('2770');
    for (const user of ['alice', 'bob']) expect(mode(then, user)).toBe('2700');
    expect(mode(then, 'alice/icecube.top')).toBe('600');
    expect(mode(then, 'alice/icecube.use')).toBe('400');
    expect(then['bob/cilogon.meta']).toBeUndefined();
    expect(then[key]).toBeUndefined();
    expect(then['carol/cilogon.meta']).toEqual(before['carol/cilogon.meta']);
    expect(then['b2'.repeat(32)]).toEqual(before['b2'.repeat(32)]);
    expect(mode(picture(backups), '')).toBe('700');
    expect(mode(picture(base), 'lib')).toBe('755');
    // What is kept holds no refresh token.
    for (const name of readdirSync(backup)) expect(readFileSync(join(backup, name), 'utf8')).not.toMatch(/refresh-of-/);

    const undone = await back();
    expect(undone.left).toEqual([]);
    expect(picture(dir)).toEqual(before);
    expect(existsSync(dropIn)).toBe(false);
    expect(readdirSync(backup)).toEqual(['manifest.json']);
    expect(failureOf(await back().catch((thrown: unknown) => thrown))).toMatchObject({ kind: 'usage' });
  });

  test('ended before any step, both a second apply and an undo leave a sane state', async () => {
    const steps: string[] = [];
    const whole = await machine();
    await whole.go((what) => steps.push(what));
    const goal = picture(whole.dir);
    expect(steps.length).toBeGreaterThan(10);
    const crash = (at: number) => {
      let n = 0;
      return () => {
        if (n++ === at) throw new Error('killed');
      };
    };
    const shape = (of: Record<string, unknown>) => Object.keys(of).map((path) => [path, mode(of, path)]);
    for (let at = 0; at < steps.length; at++) {
      const one = await machine();
      const before = picture(one.dir);
      await expect(one.go(crash(at))).rejects.toThrow('killed');
      // No secret is gone before the new configuration is there.
      if (!existsSync(one.dropIn))
        for (const path of ['bob/cilogon.meta', key]) expect(existsSync(join(one.dir, path))).toBe(true);
      await one.go();
      expect([steps[at], shape(picture(one.dir))]).toEqual([steps[at], shape(goal)]);
      expect(readFileSync(one.dropIn, 'utf8')).toBe(
        readFileSync(whole.dropIn, 'utf8').replaceAll(whole.base, one.base),
      );
      await one.undo();
      expect([steps[at], picture(one.dir)]).toEqual([steps[at], before]);

      const two = await machine();
      const first = picture(two.dir);
      await expect(two.go(crash(at))).rejects.toThrow('killed');
      if ((await current(two.backups)) !== undefined) await two.undo();
      expect([steps[at], picture(two.dir)]).toEqual([steps[at], first]);
      expect(existsSync(two.dropIn)).toBe(false);
    }
  });

  test('an undo that was ended can be run again', async () => {
    const probe = await machine();
    await probe.go();
    let count = 0;
    await probe.undo(() => count++);
    for (let at = 0; at < count; at++) {
      const one = await machine();
      const before = picture(one.dir);
      await one.go();
      let n = 0;
      await expect(
        one.undo(() => {
          if (n++ === at) throw new Error('killed');
        }),
      ).rejects.toThrow('killed');
      expect((await one.undo()).left).toEqual([]);
      expect(picture(one.dir)).toEqual(before);
      expect(existsSync(one.dropIn)).toBe(false);
    }
  });

  test('what has been replaced or removed since stays so, and is told', async () => {
    const { dir, go, undo: back } = await machine();
    await go();
    // credmond has rotated it; somebody has logged out; the web flow has brought another.
    rmSync(join(dir, 'alice/icecube.top'));
    put(join(dir, 'alice/icecube.top'), '{"refresh_token":"rotated"}', 0o600);
    rmSync(join(dir, 'bob'), { recursive: true });
    put(join(dir, key), 'Provider = "cilogon"\n', 0o640);
    const { left } = await back();
    expect([...left].sort()).toEqual(
      [
        `${key}: a newer one has taken its place, and stays there`,
        'alice/icecube.top: a newer one has taken its place, and stays there',
        'bob/cilogon.meta: it has been removed since, and stays so',
        'bob: it has been removed since, and stays so',
      ].sort(),
    );
    expect(readFileSync(join(dir, 'alice/icecube.top'), 'utf8')).toContain('rotated');
    expect(existsSync(join(dir, 'bob'))).toBe(false);
  });

  test('a .meta comes back to a login that was refreshed since, but not to one that was removed', async () => {
    const { dir, go, undo: back } = await machine();
    await go();
    rmSync(join(dir, 'bob/cilogon.top'));
    put(join(dir, 'bob/cilogon.top'), '{"refresh_token":"rotated"}', 0o600);
    expect((await back()).left).toEqual([]);
    expect(existsSync(join(dir, 'bob/cilogon.meta'))).toBe(true);
  });

  test('a file in the way of ours comes back; one of ours that was edited stays', async () => {
    const one = await machine();
    writeFileSync(one.dropIn, 'X = 1\n');
    const changes = (await one.plan()).knobs.changes;
    await apply({ backups: one.backups, dir: one.dir, dropIn: one.dropIn, changes, works: [], now: 0 });
    await one.undo();
    expect(readFileSync(one.dropIn, 'utf8')).toBe('X = 1\n');

    const two = await machine();
    await two.go();
    writeFileSync(two.dropIn, 'Y = 1\n');
    expect((await two.undo()).left).toEqual([expect.stringContaining('somebody has edited it')]);
    expect(readFileSync(two.dropIn, 'utf8')).toBe('Y = 1\n');
  });

  test('of another credential directory an earlier one has to be undone first', async () => {
    const { backups, dropIn, go, base } = await machine();
    await go();
    mkdirSync(join(base, 'other'));
    const again = apply({ backups, dir: join(base, 'other'), dropIn, changes: [], works: [], now: 0 });
    expect(failureOf(await again.catch((thrown: unknown) => thrown))).toMatchObject({ kind: 'config' });
  });

  test('a link, and a file with a second name, are left alone', async () => {
    const { dir, plan, base } = await machine();
    const outside = put(join(base, 'outside'), 'x', 0o644);
    mkdirSync(join(dir, 'eve'));
    symlinkSync(outside, join(dir, 'eve/icecube.top'));
    linkSync(outside, join(dir, 'eve/icecube_h.top'));
    symlinkSync(base, join(dir, 'mallory'));
    const { found } = await plan();
    expect(found.works.filter(({ path }) => /^(?:eve\/|mallory)/.test(path))).toEqual([]);
    expect(found.notes.filter((text) => text.startsWith('eve/'))).toHaveLength(2);
  });

  test.runIf(weAreRoot)('owners of folders are mended and put back (skipped unless root)', async () => {
    const { dir, config, backups, dropIn, undo: back } = await machine();
    chownSync(join(dir, 'alice'), 64000, 0);
    chmodSync(join(dir, 'alice'), 0o755);
    chownSync(join(dir, 'alice/icecube.top'), 64000, 64001);
    const before = picture(dir);
    const { works } = await survey({ dir, config, condor: account });
    await apply({ backups, dir, dropIn, changes: [], works, now: 0 });
    const then = picture(dir) as Record<string, { uid: number; gid: number; mode: string }>;
    expect(then['']).toMatchObject({ uid: 0, gid: 64001, mode: '2770' });
    expect(then.alice).toMatchObject({ uid: 64000, gid: 64001, mode: '2700' });
    expect(then['alice/icecube.top']).toMatchObject({ uid: 64000, gid: 64001, mode: '600' });
    expect(then['alice/icecube.use']).toMatchObject({ uid: 0, gid: 0, mode: '400' });
    await back();
    expect(picture(dir)).toEqual(before);
    expect(basename(dropIn)).toBe('99-credmon-migrate.conf');
  });
});

const anybodys = 'it could be anybody’s: have the person log in again';

describe('what is not root’s or condor’s', () => {
  test.runIf(weAreRoot).each([false, true])('a stranger’s stays so: force %o (skipped unless root)', async (force) => {
    const { dir, config, backups, dropIn } = await machine();
    for (const name of ['alice/icecube.top', 'alice/icecube.use', 'bob/cilogon.meta'])
      chownSync(join(dir, name), 1234, 1234);
    const before = picture(dir);
    const { works, notes, credentials, doubts } = await survey({ dir, config, condor: account, force });
    expect(works.map(({ path }) => path)).toEqual(expect.arrayContaining(['', 'alice', 'bob']));
    expect(works.filter(({ path }) => /^(?:alice|bob)\//.test(path))).toEqual([]);
    expect(notes).toContain(
      'alice/icecube.top belongs to uid 1234, neither root nor condor, so credmond does not believe it',
    );
    expect(notes.filter((text) => text.includes('uid 1234'))).toHaveLength(3);
    expect(credentials).toContainEqual({ user: 'alice', name: 'icecube', provider: 'icecube', why: anybodys });
    expect(doubts).toEqual([]);
    await apply({ backups, dir, dropIn, changes: [], works, now: 0 });
    for (const name of ['alice/icecube.top', 'alice/icecube.use', 'bob/cilogon.meta'])
      expect(picture(dir)[name]).toEqual(before[name]);
  });

  test.runIf(weAreRoot)('nor is one put in the place of root’s in between (skipped unless root)', async () => {
    const { dir, config, backups, dropIn } = await machine();
    const { works } = await survey({ dir, config, condor: account });
    const file = join(dir, 'alice/icecube.top');
    rmSync(file);
    put(file, '{"refresh_token":"mallory"}');
    chownSync(file, 1234, 1234);
    const { skipped } = await apply({ backups, dir, dropIn, changes: [], works, now: 0 });
    expect(skipped).toEqual(['alice/icecube.top']);
    expect(lstatSync(file)).toMatchObject({ uid: 1234, gid: 1234 });
  });

  test.runIf(weAreRoot)('nor is a file given away that takes the place of a folder (skipped unless root)', async () => {
    const { dir, config, backups, dropIn } = await machine();
    const { works } = await survey({ dir, config, condor: account });
    renameSync(join(dir, 'alice'), join(dir, 'elsewhere'));
    put(join(dir, 'alice'), 'root’s');
    const { skipped } = await apply({ backups, dir, dropIn, changes: [], works, now: 0 });
    expect([...skipped].sort()).toEqual(['alice', 'alice/icecube.top', 'alice/icecube.use']);
    expect(lstatSync(join(dir, 'alice'))).toMatchObject({ uid: 0, gid: 0 });
  });

  const owned = (uid: number, gid: number, mode: number) => (path: string) => {
    chownSync(path, uid, gid);
    chmodSync(path, mode);
  };
  const opened: readonly (readonly [string, string, (path: string) => void])[] = [
    ['everybody’s', 'everybody', (path) => chmodSync(path, 0o777)],
    ['sticky', 'everybody', (path) => chmodSync(path, 0o1777)],
    ...(weAreRoot
      ? ([
          ['another group’s', 'group 1234', owned(0, 1234, 0o2770)],
          ['a stranger’s', 'uid 1234', owned(1234, 0, 0o700)],
        ] as const)
      : []),
  ];

  test.each(opened)('a folder that was %s is left for the admin to look at, with all in it', async (_, who, open) => {
    const { dir, config, knobs, backups, dropIn } = await machine();
    open(join(dir, 'bob'));
    const before = picture(dir);
    const found = await survey({ dir, config, condor: undefined });
    const { works, doubts, credentials } = found;
    expect(works.filter(({ path }) => path.startsWith('bob'))).toEqual([]);
    expect(works.map(({ path }) => path)).toContain('alice/icecube.top');
    expect(doubts).toEqual([{ path: 'bob', what: expect.stringContaining(`${who} could write to bob: `) }]);
    expect(credentials).toContainEqual({ user: 'bob', name: 'cilogon', provider: 'cilogon', why: anybodys });
    const said = tell(
      { knobs: planKnobs(knobs, config, programs, [25, 14, 1]), survey: found, dropIn, applied: false },
      2000,
    );
    expect(said).toContain('For you to look at');
    expect(said.join('\n')).toMatch(/could write to bob: .*could be anybody’s.*log in again.*--force/);
    refuse({ knobs: { remarks: [] }, survey: found, programs: [], force: false });
    await apply({ backups, dir, dropIn, changes: [], works, now: 0 });
    for (const name of ['bob', 'bob/cilogon.top', 'bob/cilogon.meta']) expect(picture(dir)[name]).toEqual(before[name]);
  });

  test('with --force it is mended, and still told', async () => {
    const { dir, config } = await machine();
    chmodSync(join(dir, 'alice'), 0o777);
    const { works, doubts, credentials } = await survey({ dir, config, condor: undefined, force: true });
    expect(works.map(({ path }) => path)).toEqual(
      expect.arrayContaining(['alice', 'alice/icecube.top', 'alice/icecube.use']),
    );
    expect(doubts).toEqual([{ path: 'alice', what: expect.stringContaining('mended all the same (--force)') }]);
    expect(credentials).toContainEqual({ user: 'alice', name: 'icecube', provider: 'icecube' });
  });

  test.runIf(weAreRoot)('what condor’s group could write to is condor’s (skipped unless root)', async () => {
    const { dir, config } = await machine();
    for (const path of ['', 'alice']) {
      chownSync(join(dir, path), 0, account.gid);
      chmodSync(join(dir, path), 0o2775);
    }
    const { works, doubts } = await survey({ dir, config, condor: account });
    expect(doubts).toEqual([]);
    expect(works).toContainEqual({ kind: 'mode', path: 'alice', mode: 0o2700, ...account });
  });

  test('a credential directory that was open: nothing is mended, and nothing done without --force', async () => {
    const { dir, config } = await machine();
    chmodSync(dir, 0o777);
    const found = await survey({ dir, config, condor: undefined });
    expect(found.works).toEqual([]);
    expect(found.doubts).toEqual([{ path: '', what: expect.stringContaining('everybody could write to') }]);
    expect(counts(found).taken).toEqual([]);
    const attempt = (force: boolean) => () =>
      refuse({ knobs: { remarks: [] }, survey: found, programs: [], force: force });
    expect(attempt(false)).toThrow(/could write to/);
    expect(attempt(true)).not.toThrow();
    const forced = await survey({ dir, config, condor: undefined, force: true });
    expect(forced.works.map(({ path }) => path)).toEqual(expect.arrayContaining(['', 'alice/icecube.top', key]));
  });

  test('a file that others could write to is not made root’s alone, unless they could not get at it', async () => {
    const { dir, config } = await machine();
    for (const name of ['alice/icecube.use', 'dave/icecube.top']) chmodSync(join(dir, name), 0o666);
    chmodSync(join(dir, 'dave'), 0o700);
    const { works, doubts } = await survey({ dir, config, condor: undefined });
    expect(doubts.map(({ path }) => path)).toEqual(['alice/icecube.use']);
    const paths = works.map(({ path }) => path);
    expect(paths).toContain('dave/icecube.top');
    expect(paths).not.toContain('alice/icecube.use');
    expect((await survey({ dir, config, condor: undefined, force: true })).works.map(({ path }) => path)).toContain(
      'alice/icecube.use',
    );
  });
});

describe('what changes meanwhile', () => {
  /** Does something once, before a step. */
  const justBefore = (step: string, then: () => void) => {
    let done = false;
    return (what: string) => {
      if (what !== step || done) return;
      done = true;
      then();
    };
  };

  test.each([
    ['a link', 'mode alice/icecube.top'],
    ['a link', 'manifest'],
    ['nothing', 'mode alice/icecube.top'],
  ])('%s in place of a file, before %s: it is skipped, and the rest is done', async (what, step) => {
    const { base, dir, dropIn, go, undo: back } = await machine();
    const outside = put(join(base, 'outside'), 'x', 0o644);
    const file = join(dir, 'alice/icecube.top');
    const { skipped } = await go(
      justBefore(step, () => {
        rmSync(file);
        if (what === 'a link') symlinkSync(outside, file);
      }),
    );
    expect(skipped).toEqual(what === 'a link' ? ['alice/icecube.top'] : []);
    expect(existsSync(dropIn)).toBe(true);
    expect(existsSync(join(dir, key))).toBe(false);
    expect(modeOf(outside)).toBe(0o644);
    const { left } = await back();
    expect(left).toEqual([expect.stringMatching(/^alice\/icecube\.top: (?:a newer one|it has been removed)/)]);
    expect(existsSync(dropIn)).toBe(false);
    expect(existsSync(join(dir, key))).toBe(true);
  });

  test('a file that goes between a look and its opening', async () => {
    const { dir, go } = await machine();
    const { setMode } = await import('../../src/commands/migrate/place.js');
    await go();
    const was = wasOf(lstatSync(join(dir, 'alice'), { bigint: true }));
    for (const code of ['ENOENT', 'ENOTDIR', 'ELOOP'])
      expect(
        setMode(
          () => {
            throw Object.assign(new Error(code), { code });
          },
          was,
          was,
        ),
      ).toBe(false);
    expect(() =>
      setMode(
        () => {
          throw Object.assign(new Error('EIO'), { code: 'EIO' });
        },
        was,
        was,
      ),
    ).toThrow('EIO');
  });

  test.each(['copy bob/cilogon.meta', 'mode bob', 'remove bob/cilogon.meta'])(
    'a link in place of a folder, before %s: told, and not followed',
    async (step) => {
      const { base, dir, dropIn, go } = await machine();
      const [folder, moved] = [join(dir, 'bob'), join(base, 'moved')];
      const { skipped } = await go(
        justBefore(step, () => {
          renameSync(folder, moved);
          symlinkSync(moved, folder);
        }),
      );
      expect(skipped).toContain('bob/cilogon.meta');
      expect(existsSync(join(moved, 'cilogon.meta'))).toBe(true);
      expect(existsSync(dropIn)).toBe(true);
    },
  );

  test('a link in place of the directory itself is not followed, by neither', async () => {
    const { base, dir, backups, dropIn, plan, undo: back } = await machine();
    const moved = join(base, 'moved');
    const swap = () => {
      renameSync(dir, moved);
      symlinkSync(moved, dir);
    };
    const swapBack = () => {
      rmSync(dir);
      renameSync(moved, dir);
    };
    const mode = modeOf(dir);
    const works = (await plan()).found.works.filter(({ path }) => path === '');
    const go = (step: (what: string) => void) => apply({ backups, dir, dropIn, changes: [], works, now: 0, step });
    expect((await go(justBefore('mode ', swap))).skipped).toEqual(['']);
    expect(modeOf(moved)).toBe(mode);
    swapBack();
    await go(() => {});
    expect(modeOf(dir)).toBe(0o2770);
    expect((await back(justBefore('restore ', swap))).left).toEqual([
      `${dir}: a newer one has taken its place, and stays there`,
    ]);
    expect(modeOf(moved)).toBe(0o2770);
  });

  test('what others named is shown without what acts on a terminal', () => {
    const name = 'al\u001b[2J\u202eice\u009b/x\r\n.top';
    const undone = { restored: 0, dropIn: '/d', left: [`${name}: gone`], next: [] };
    const said = [
      ...tellApplied({ backup: '/b', skipped: [name, ''], overridden: [], next: ['credmon doctor'] }),
      ...tellUndone(undone),
    ];
    expect(said).toContain('alice/x .top changed meanwhile and was left alone: run this again.');
    expect(said).toContain('Not as before: alice/x .top: gone.');
    expect(said.join('')).toMatch(/^[^\p{Cc}\u202e]*$/u);
  });
});

describe('backups', () => {
  /** As if it had been written by another version, or before the machine was started again. */
  async function rewrite(backups: string, change: (manifest: Manifest) => Manifest): Promise<void> {
    const backup = await current(backups);
    if (backup === undefined) throw new Error('there is none');
    await writeManifest({ path: backup.path, manifest: change(backup.manifest) });
  }
  const withDev = ({ entries, ...rest }: Manifest, dev: string | undefined): Manifest => ({
    ...rest,
    entries: entries.map(({ was: { dev: _, ...was }, ...entry }) => ({
      ...entry,
      was: { ...was, ...(dev !== undefined && { dev }) },
    })),
  });

  test('a number is that of a file in its file system; old backups do not tell which', () => {
    const stat = lstatSync(put(join(room(), 'x'), 'x'), { bigint: true });
    const { dev, ...old } = wasOf(stat);
    expect(dev).toBe(`${stat.dev}`);
    expect(isSame(stat, { ...old, dev: `${stat.dev}` })).toBe(true);
    expect(isSame(stat, { ...old, dev: `${stat.dev + 1n}` })).toBe(false);
    expect(isSame(stat, old)).toBe(true);
  });

  test.each([
    ['one without them', (manifest: Manifest) => withDev({ ...manifest, root: undefined as never }, undefined)],
    [
      'one of before the file system had another number',
      (manifest: Manifest) => withDev({ ...manifest, root: { dev: '99999', ino: manifest.root?.ino ?? '' } }, '99999'),
    ],
  ])('%s is undone, and gone on with', async (_, change) => {
    const { backups, dir, go, undo: back } = await machine();
    const first = picture(dir);
    await go();
    await rewrite(backups, change);
    put(join(dir, 'erin/icecube.top'), '{"refresh_token":"refresh-of-erin"}');
    await go();
    rmSync(join(dir, 'erin'), { recursive: true });
    await rewrite(backups, change);
    const { left } = await back();
    expect(left.every((text) => text.startsWith('erin'))).toBe(true);
    expect(picture(dir)).toEqual(first);
  });

  test('what lies in another file system is another, whatever its number', async () => {
    const { backups, go, undo: back } = await machine();
    await go();
    await rewrite(backups, (manifest) => withDev(manifest, '99999'));
    expect((await back()).left).toContain('alice/icecube.top: a newer one has taken its place, and stays there');
  });

  test('the copy of what took another’s place overwrites none, nor is overwritten', async () => {
    const { backups, dir, dropIn, undo: back } = await machine();
    const [bob, erin] = ['bob/cilogon.meta', 'erin/cilogon.meta'];
    const go = (paths: readonly string[], step = (_: string) => {}) =>
      apply({
        backups,
        dir,
        dropIn,
        changes: [],
        works: paths.map((path) => ({ kind: 'remove', path })),
        now: 0,
        step,
      });
    const end = (what: string) => {
      if (what === `remove ${bob}`) throw new Error('killed');
    };
    await expect(go([bob], end)).rejects.toThrow('killed');
    put(join(dir, 'bob/new'), '"of bob"', 0o400);
    renameSync(join(dir, 'bob/new'), join(dir, bob));
    put(join(dir, 'erin/cilogon.top'), '{}');
    put(join(dir, erin), '"of erin"', 0o400);
    await go([bob, erin]);
    expect([bob, erin].map((path) => existsSync(join(dir, path)))).toEqual([false, false]);
    expect((await back()).left).toEqual([]);
    expect([bob, erin].map((path) => readFileSync(join(dir, path), 'utf8'))).toEqual(['"of bob"', '"of erin"']);
  });
});

describe.runIf(weAreRoot)('credmon migrate --apply as root (skipped unless root)', () => {
  async function installed() {
    const made = await machine();
    const bin = join(made.base, 'bin');
    for (const name of ['credmond', 'credmon-storer']) put(join(bin, name), '#!/bin/sh\n', 0o755);
    vi.stubEnv('PATH', bin);
    const written: string[] = [];
    const spy = vi.spyOn(process.stdout, 'write').mockImplementation((text) => written.push(String(text)) > 0);
    onTestFinished(() => {
      spy.mockRestore();
      vi.unstubAllEnvs();
    });
    const run = (more: Partial<Parameters<typeof runMigrate>[0]>) =>
      runMigrate({ apply: false, undo: false, force: false, json: false, backups: made.backups, ...more });
    return { ...made, bin, run, said: () => written.join('') };
  }

  test('is refused where others could replace our programs, with --force too', async () => {
    const { bin, run, dir, dropIn } = await installed();
    const before = picture(dir);
    for (const [path, mode] of [
      [bin, 0o777],
      [join(bin, 'credmond'), 0o775],
      [join(bin, 'credmon-storer'), 0o757],
    ] as const) {
      chmodSync(path, mode);
      const failure = failureOf(await run({ apply: true, force: true }).catch((thrown: unknown) => thrown));
      expect(failure).toMatchObject({
        kind: 'unsupported',
        what: expect.stringContaining(
          `others than root may replace ${path === bin ? join(bin, 'credmond') : path}: ${path}`,
        ),
        hint: expect.stringContaining('--force does not help'),
      });
      chmodSync(path, 0o755);
    }
    expect(picture(dir)).toEqual(before);
    expect(existsSync(dropIn)).toBe(false);
  });

  test('is done where only root can, and undone', async () => {
    const { run, dir, dropIn, said } = await installed();
    const before = picture(dir);
    expect(await run({ apply: true, force: true })).toBe(0);
    expect(existsSync(dropIn)).toBe(true);
    expect(said()).toContain('Next, run:\n  condor_reconfig\n');
    expect(await run({ undo: true })).toBe(0);
    expect(picture(dir)).toEqual(before);
    expect(said()).toMatch(/Put back: \d+ files and folders, and HTCondor’s configuration/);
  });

  test('tells of a folder that was open, and leaves it', async () => {
    const { run, dir, said } = await installed();
    chmodSync(join(dir, 'bob'), 0o777);
    expect(await run({ apply: true })).toBe(0);
    expect(modeOf(join(dir, 'bob'))).toBe(0o777);
    expect(said()).toContain('For you to look at');
    expect(await run({ apply: true, force: true })).toBe(0);
    expect(modeOf(join(dir, 'bob'))).toBe(0o2700);
  });
});
