import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Standing } from '../../src/core/standing.js';
import { epochMs, seconds } from '../../src/core/time.js';
import { LoginFiles } from '../../src/daemon/login-files.js';
import { room, unprivileged, weAreRoot, withUmask } from '../stores/room.js';
import { hours, minutes, provider, station } from './kit.js';

const well: Standing = { state: 'ok', what: '', command: '', good: ['cilogon'] };
const bad: Standing = { state: 'login', what: 'w', command: 'credmon login cilogon', good: [] };
const now = epochMs(Date.now());
const [alice, bob] = [1001, 1002];
const day = 86_400;

const files = (dir: string, more: { pid?: number; gid?: number } = {}) =>
  new LoginFiles({ dir, gid: more.gid, pid: more.pid ?? 4711 });
/** Tells one state of a file from the next. */
const stamp = (path: string) => lstatSync(path, { bigint: true }).ino + lstatSync(path, { bigint: true }).ctimeNs;

describe('the login files', () => {
  test('are a person’s own, 0440, the broker’s group may read them; the one for all others is for all; none can be listed', async () => {
    const dir = join(room(), 'status');
    await withUmask(0o077, async () => {
      const logins = files(dir, { gid: 4242 });
      await logins.tell('alice', alice, bad);
      await logins.tellNobody(bad);
    });
    const login = join(dir, 'login');
    const [own, nobodys, folder] = [join(login, 'alice'), join(login, '.default'), login].map((path) =>
      lstatSync(path),
    );
    expect([own, nobodys, folder].map((stat) => (stat?.mode ?? 0) & 0o7777)).toEqual([0o440, 0o444, 0o751]);
    if (weAreRoot) expect([own?.uid, own?.gid, nobodys?.uid]).toEqual([alice, 4242, 0]);
    expect(readFileSync(join(login, 'alice'), 'utf8')).toBe('1 login 0 4711\nw\ncredmon login cilogon\n\n');
  });

  test('are written only when what they say is something new, also by the next credmond', async () => {
    const dir = room();
    const [path, nobodys] = ['alice', '.default'].map((name) => join(dir, 'login', name)) as [string, string];
    const first = files(dir);
    await first.tell('alice', alice, well);
    await first.tellNobody(bad);
    const [was, wasNobodys] = [stamp(path), stamp(nobodys)];
    await first.tell('alice', alice, well);
    await first.tellNobody(bad);
    expect([stamp(path), stamp(nobodys)]).toEqual([was, wasNobodys]);
    const second = files(dir, { pid: 4712 });
    await second.tell('alice', alice, well);
    expect(stamp(path)).toBe(was);
    // But this one tells which credmond it is.
    await second.tellNobody(bad);
    expect(readFileSync(nobodys, 'utf8')).toMatch(/^1 login 0 4712\n/);
    await second.tell('alice', alice, bad);
    expect(readFileSync(path, 'utf8')).toMatch(/^1 login 0 4712\n/);
  });

  test('what an earlier credmond left is written anew where its owner, mode or text is another', async () => {
    const dir = room();
    const path = join(dir, 'login', 'alice');
    await files(dir).tell('alice', alice, well);
    chmodSync(path, 0o644);
    await files(dir).tell('alice', alice, well);
    expect(lstatSync(path).mode & 0o7777).toBe(0o440);
    if (!weAreRoot) return;
    await files(dir).tell('alice', bob, well);
    expect(lstatSync(path).uid).toBe(bob);
  });

  test('a link in their place is replaced, not followed', async () => {
    const dir = room();
    mkdirSync(join(dir, 'login'));
    writeFileSync(join(dir, 'victim'), 'mine');
    symlinkSync(join(dir, 'victim'), join(dir, 'login', 'alice'));
    await files(dir).tell('alice', alice, well);
    expect(readFileSync(join(dir, 'victim'), 'utf8')).toBe('mine');
    expect(lstatSync(join(dir, 'login', 'alice')).isFile()).toBe(true);
  });

  test('a link in the folder’s place is not followed, and a folder of somebody else’s is not used', async () => {
    const [dir, other] = [room(), room()];
    symlinkSync(other, join(dir, 'login'));
    await expect(files(dir).tell('alice', alice, well)).rejects.toThrow('cannot open');
    expect(readdirSync(other)).toEqual([]);
    if (!weAreRoot) return;
    await unprivileged([other], async () => mkdirSync(join(other, 'login')));
    await expect(files(other).tell('alice', alice, well)).rejects.toThrow('belongs to another account');
    expect(readdirSync(join(other, 'login'))).toEqual([]);
  });

  test('nobody’s name leads out of the folder, or to what is said to all', async () => {
    const dir = room();
    const logins = files(dir);
    await logins.tellNobody(bad);
    for (const name of ['../alice', '.default', '..']) {
      await logins.tell(name, alice, well);
      await logins.forget(name);
    }
    expect(readdirSync(join(dir, 'login'))).toEqual(['.default']);
    expect(readFileSync(join(dir, 'login', '.default'), 'utf8')).toMatch(/^1 login/);
  });

  test('of whoever has no credentials any more go, and what crashed writes left; everything else stays', async () => {
    const dir = room();
    const logins = files(dir);
    for (const name of ['alice', 'bob']) await logins.tell(name, alice, well);
    await logins.tellNobody(bad);
    const stray = join(dir, 'login', `.credmon-${'0'.repeat(24)}.tmp`);
    writeFileSync(stray, '');
    utimesSync(stray, 1, 1);
    await logins.sweep((user) => user === 'bob', now);
    expect(readdirSync(join(dir, 'login')).sort()).toEqual(['.default', 'bob']);
  });
});

describe('of very many people', () => {
  const names = Array.from({ length: 1200 }, (_, n) => `user${n}`);
  const stamps = (dir: string) => new Map(names.map((name) => [name, stamp(join(dir, 'login', name))]));
  const changed = (dir: string, was: ReadonlyMap<string, bigint>) =>
    [...stamps(dir)].filter(([name, now]) => was.get(name) !== now).map(([name]) => name);
  /** How often others had their turn meanwhile. */
  const turnsDuring = async (work: () => Promise<void>): Promise<number> => {
    let [turns, over] = [0, false];
    const turn = () => {
      turns++;
      if (!over) setImmediate(turn);
    };
    setImmediate(turn);
    await work();
    over = true;
    return turns;
  };
  const tellAll = async (logins: LoginFiles, standing: (name: string) => Standing) => {
    for (const name of names) await logins.tell(name, alice, standing(name));
  };

  test('just those are written who stand otherwise, and others have their turn in between', async () => {
    const dir = room();
    const logins = files(dir);
    expect(await turnsDuring(() => tellAll(logins, () => well))).toBeGreaterThan(100);
    const was = stamps(dir);
    await tellAll(logins, (name) => (name === 'user7' ? bad : well));
    expect(changed(dir, was)).toEqual(['user7']);
    // The next credmond has to look at each, and writes none.
    const then = stamps(dir);
    expect(
      await turnsDuring(() => tellAll(files(dir, { pid: 1 }), (name) => (name === 'user7' ? bad : well))),
    ).toBeGreaterThan(100);
    expect(changed(dir, then)).toEqual([]);
  });

  test('those that go are not taken away in one go', async () => {
    const dir = room();
    const logins = files(dir);
    await tellAll(logins, () => well);
    expect(await turnsDuring(() => logins.sweep((user) => user === 'user7', now))).toBeGreaterThan(4);
    expect(readdirSync(join(dir, 'login'))).toEqual(['user7']);
  });
});

describe('credmond', () => {
  test('tells in them how a person stands, from the first look to the last credential', async () => {
    const s = station({ logins: true });
    s.login(s.book().grant());
    s.login('dead-refresh-token', { user: 'bob' });
    await s.keeper.sweep();
    await s.clock.pass(2000);
    expect(s.loginFile()).toBe('1 ok 0 4711\n\n\ncilogon\n');
    expect(s.loginFile('bob')).toMatch(/^1 login 0 4711\ncilogon: login needed \(.*\)\ncredmon login cilogon\n\n$/);
    expect(s.loginFile('.default')).toBe('1 login 0 4711\nyou are not logged in to cilogon\ncredmon login cilogon\n\n');
    rmSync(s.at('cilogon.top'));
    await s.keeper.look('alice');
    await s.clock.pass(2000);
    expect(readdirSync(join(s.statusDir, 'login')).sort()).toEqual(['.default', 'bob']);
  });

  test('sweeps them once it has seen everybody, of those who lost their credentials while it was down', async () => {
    const s = station({ logins: true });
    s.login(s.book().grant());
    s.login(s.book().grant(), { user: 'bob' });
    await s.keeper.sweep();
    await s.clock.pass(2000);
    rmSync(s.at('cilogon.top', 'bob'));
    s.start();
    await s.keeper.sweep();
    await s.clock.pass(2000);
    expect(readdirSync(join(s.statusDir, 'login'))).toContain('bob');
    s.report.swept();
    await s.clock.pass(2000);
    expect(readdirSync(join(s.statusDir, 'login')).sort()).toEqual(['.default', 'alice']);
  });

  test('tells of a login that is about to end when its time has come, though nothing has happened', async () => {
    const s = station({ logins: true, providers: [provider('cilogon', { grantLife: seconds(10 * day) })] });
    s.login(s.book().grant(), { granted_at: Math.floor(s.clock.now() / 1000) });
    await s.keeper.sweep();
    await s.clock.pass(2000);
    expect(s.loginFile()).toMatch(/^1 ok [1-9]\d+ 4711\n/);
    await s.keeper.close(seconds(0));
    s.clock.jump(hours(24 * 8));
    s.report.swept();
    await s.clock.pass(2000);
    expect(s.loginFile()).toMatch(
      /^1 warn [1-9]\d+ 4711\nyour login to cilogon ends on .* UTC\ncredmon login cilogon --force\ncilogon\n$/,
    );
    s.clock.jump(hours(36));
    s.report.swept();
    await s.clock.pass(2000);
    expect(s.loginFile()).toMatch(/^1 login /);
  });

  test('refreshes of many hours are not one write of them', async () => {
    const s = station({ logins: true });
    s.login(s.book().grant());
    await s.keeper.sweep();
    await s.clock.pass(2000);
    const was = stamp(join(s.statusDir, 'login', 'alice'));
    await s.clock.pass(hours(12));
    expect(s.book().counts.refreshes).toBeGreaterThan(10);
    expect(stamp(join(s.statusDir, 'login', 'alice'))).toBe(was);
  });

  test('what cannot be written there stops nothing else, and is told once', async () => {
    const s = station({ logins: true });
    mkdirSync(s.statusDir);
    writeFileSync(join(s.statusDir, 'login'), 'in the way');
    s.login(s.book().grant());
    await s.keeper.sweep();
    s.report.swept();
    await s.clock.pass(minutes(60));
    expect(s.snapshot('1001.json').credentials).toHaveLength(1);
    expect(s.log.with('cannot write what the login hook reads')).toHaveLength(1);
    // Once it can, what others have left goes all the same.
    rmSync(join(s.statusDir, 'login'));
    mkdirSync(join(s.statusDir, 'login'));
    writeFileSync(join(s.statusDir, 'login', 'bob'), '1 ok 0 1\n\n\n\n');
    s.report.swept();
    await s.clock.pass(6000);
    expect(readdirSync(join(s.statusDir, 'login'))).not.toContain('bob');
  });
});
