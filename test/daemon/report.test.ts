import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Failed } from '../../src/core/failure.js';
import type { Health } from '../../src/core/health.js';
import { everyone, lineOf, parseSnapshot } from '../../src/core/snapshot.js';
import { epochMs, later, seconds } from '../../src/core/time.js';
import { Report, type ReportParts } from '../../src/daemon/report.js';
import { rememberDead, StatusFiles } from '../../src/daemon/status-files.js';
import { readAll, readMine } from '../../src/status/read.js';
import { table } from '../../src/status/table.js';
import { room, weAreRoot, withUmask } from '../stores/room.js';
import { hours, station } from './kit.js';

describe('the status files', () => {
  test('a person’s has that person’s alone, everybody’s has all; no secret is in either', async () => {
    const s = station();
    s.login(s.book().grant(), { user: 'alice', note: 'private-note' });
    s.login(s.book().grant(), { user: 'bob' });
    s.login('dead-refresh-token', { user: 'bob', handle: 'h' });
    await s.keeper.sweep();
    await s.clock.pass(2000);
    const [alice, bob, all] = ['1001.json', '1002.json', 'all.json'].map((name) => s.snapshot(name));
    expect(alice.credentials.map((one: Health) => one.user)).toEqual(['alice']);
    expect(bob.credentials.map((one: Health) => [one.user, one.state])).toEqual([
      ['bob', 'fresh'],
      ['bob', 'login-needed'],
    ]);
    expect(all.credentials).toHaveLength(3);
    expect(all).toMatchObject({ v: 1, pid: process.pid, at: expect.any(Number) });
    const text = readdirSync(s.statusDir)
      .map((name) => readFileSync(join(s.statusDir, name), 'utf8'))
      .join('');
    expect(text).not.toMatch(/-(?:refresh|access)-|private-note/);
  });

  test('everybody’s says why the system lets us watch no more, as long as that is so', async () => {
    const s = station();
    s.login(s.book().grant());
    s.refused = 'ENOSPC';
    await s.keeper.sweep();
    await s.clock.pass(2000);
    expect(s.snapshot().unwatched).toBe('ENOSPC');
    // A person can do nothing about it, and that file may not be written again for hours.
    expect(s.snapshot('1001.json')).not.toHaveProperty('unwatched');
    s.refused = undefined;
    s.report.swept();
    await s.clock.pass(2000);
    expect(s.snapshot()).not.toHaveProperty('unwatched');
  });

  test('modes: 0400 for a person, 0640 for everybody’s, whatever the umask; and owners, where we can give away', async () => {
    const dir = join(room(), 'run', 'status');
    for (const mask of [0o000, 0o077]) {
      await withUmask(mask, async () => {
        const files = new StatusFiles(dir, 4711);
        await files.begin(['{}\n']);
        await files.tell(1001, '{}');
        expect(await files.add('{}\n')).toBe(true);
      });
      const [all, mine] = [everyone, '1001.json'].map((name) => lstatSync(join(dir, name)));
      expect([(all?.mode ?? 0) & 0o7777, (mine?.mode ?? 0) & 0o7777]).toEqual([0o640, 0o400]);
      if (weAreRoot) expect([all?.uid, all?.gid, mine?.uid]).toEqual([0, 4711, 1001]);
    }
    expect(lstatSync(dir).mode & 0o022).toBe(0);
    expect(readdirSync(dir).sort()).toEqual(['1001.json', everyone]);
  });

  test('a link in their place is replaced, not followed; nor is anything added by way of one', async () => {
    const dir = room();
    const [victim, all] = [join(dir, 'victim'), join(dir, everyone)];
    writeFileSync(victim, 'mine');
    symlinkSync(victim, all);
    const files = new StatusFiles(dir, undefined);
    await files.begin(['{}\n']);
    expect(readFileSync(victim, 'utf8')).toBe('mine');
    expect(lstatSync(all).isFile()).toBe(true);
    rmSync(all);
    symlinkSync(victim, all);
    await expect(files.add('more\n')).rejects.toThrow('symbolic link');
    expect(readFileSync(victim, 'utf8')).toBe('mine');
  });

  test('a credential that went is no longer told of', async () => {
    const s = station();
    s.login(s.book().grant());
    await s.keeper.sweep();
    await s.clock.pass(2000);
    rmSync(s.at('cilogon.top'));
    await s.keeper.look('alice');
    await s.clock.pass(2000);
    expect(s.snapshot('1001.json').credentials).toEqual([]);
    expect(s.snapshot().credentials).toEqual([]);
  });

  test('what became of a login is told to that person, the last 20 of them', async () => {
    const s = station();
    for (let n = 0; n < 25; n++) s.report.settled('alice', { id: `${n}`, ok: true, what: 'taken over' });
    await s.clock.pass(1000);
    expect(s.snapshot('1001.json').settled.map(({ id }: { id: string }) => id)).toEqual(
      Array.from({ length: 20 }, (_, n) => `${n + 5}`),
    );
    expect(s.snapshot()).not.toHaveProperty('settled');
  });

  test('are written at the end without waiting for their turn', async () => {
    const s = station();
    s.login(s.book().grant());
    await s.keeper.sweep();
    await s.clock.pass(600);
    s.report.swept();
    const before = s.clock.steady();
    await s.report.flush();
    expect(s.clock.steady()).toBe(before);
    expect(s.snapshot()).toHaveProperty('swept');
  });

  test('that cannot be written stop nothing', async () => {
    const s = station();
    writeFileSync(s.statusDir, 'in the way');
    s.login(s.book().grant());
    await s.keeper.sweep();
    await s.clock.pass(hours(2));
    expect(s.health()).toMatchObject({ state: 'fresh' });
    expect(s.log.with('cannot write the status', 'error').length).toBeGreaterThan(0);
  });

  test('many changes are few writes', async () => {
    const s = station();
    let writes = 0;
    const report = new Report({
      keeper: s.keeper,
      clock: s.clock,
      log: s.log,
      config: () => ({ providers: s.configured, warning: seconds(0) }),
      numbers: { of: async () => new Map(), left: () => [], all: () => new Set() },
      files: {
        tell: async () => {},
        forget: async () => {},
        sweep: async () => {},
        begin: async () => void writes++,
        add: async () => ++writes > 0,
      },
    });
    for (let n = 0; n < 100; n++) {
      report.changed(`user${n}`);
      if (n % 10 === 9) await s.clock.pass(25);
    }
    await s.clock.pass(1000);
    expect(writes).toBeLessThanOrEqual(11);
  });
});

describe('when it is told', () => {
  /** Files in memory; what `fails` says yes to cannot be written. */
  function desk(
    s: ReturnType<typeof station>,
    { fails = (_: string): boolean => false, more = {} as Partial<ReportParts> } = {},
  ) {
    const told: string[] = [];
    const full = (what: string) => {
      const cause = Object.assign(new Error(), { code: 'ENOSPC' });
      if (fails(what)) throw new Failed({ kind: 'storage', what: `${what}: no space` }, { cause });
      told.push(what);
    };
    const numbers = {
      of: async (users: readonly string[]) => new Map(users.map((user) => [user, Number(user.slice(1))])),
    };
    const report: Report = new Report({
      keeper: { users: () => [], healths: () => [], size: 10 },
      clock: s.clock,
      log: s.log,
      config: () => ({ providers: s.configured, warning: seconds(0) }),
      numbers: { ...numbers, left: () => [], all: () => new Set() },
      files: {
        tell: async (uid) => full(`${uid}`),
        forget: async () => {},
        sweep: async () => {},
        begin: async (lines) => full(`begin ${[...lines].length}`),
        add: async (text) => {
          full(`add ${text.split('\n').length - 2}`);
          return true;
        },
      },
      ...more,
    });
    return { report, told };
  }
  const people = (n: number, from = 0) => Array.from({ length: n }, (_, i) => `u${from + i}`);

  test('of a mere refresh not at once where there are very many, and of a state at once all the same', async () => {
    const s = station();
    const { report, told } = desk(s, { more: { keeper: { users: () => [], healths: () => [], size: 100_000 } } });
    report.changed('u1', 'refresh');
    await s.clock.pass(14_000);
    expect(told).not.toContain('1');
    report.changed('u2', 'state');
    await s.clock.pass(30);
    expect(told).toContain('2');
    expect(told).not.toContain('1');
    await s.clock.pass(1000);
    expect(told).toContain('1');
  });

  test('of people with very many credentials each, a few at a time', async () => {
    const s = station();
    const many = people(200);
    const healths = () =>
      Array.from({ length: 100 }, (_, n) => ({ service: `h${n}`, state: 'fresh' }) as Health & { stamp: string });
    const lengths: number[] = [];
    const { report, told } = desk(s, {
      more: {
        keeper: { users: () => many, healths, size: 20_000 },
        files: {
          tell: async (uid) => void told.push(`${uid}`),
          forget: async () => {},
          sweep: async () => {},
          begin: async (lines) => void [...lines],
          add: async (text) => lengths.push(text.length) > 0,
        },
      },
    });
    report.changed('u0');
    await s.clock.pass(100);
    told.length = 0;
    lengths.length = 0;
    for (const user of many) report.changed(user);
    await s.clock.pass(100);
    expect(told).toHaveLength(200);
    const one = JSON.stringify(healths()).length;
    expect(lengths.reduce((sum, length) => sum + length, 0)).toBeGreaterThan(200 * one);
    expect(Math.max(...lengths)).toBeLessThan(64 * 1024 + 2 * one);
  });

  test('of the one who came last first, where very many wait', async () => {
    const s = station();
    const { report, told } = desk(s);
    for (const user of people(1000)) report.changed(user);
    report.changed('u5');
    await s.clock.pass(30);
    expect(told.filter((what) => /^\d+$/.test(what)).slice(0, 2)).toEqual(['5', '999']);
    expect(new Set(told.filter((what) => /^\d+$/.test(what))).size).toBe(1000);
  });

  test('a disk on which a write takes 5 s makes the next change no later than that', async () => {
    const s = station();
    let late = 0;
    const { report, told } = desk(s, {
      fails: () => {
        late += 5000;
        return false;
      },
      more: { clock: { ...s.clock, now: s.clock.now, steady: () => s.clock.steady() + late } },
    });
    for (let n = 1; n < 10; n++) {
      report.changed(`u${n}`, n % 2 === 0 ? 'refresh' : 'state');
      await s.clock.pass(1100);
      expect(told).toContain(`${n}`);
    }
  });

  test('nor those whom nobody waits for later than a second after some that took very long', async () => {
    const s = station();
    let late = 0;
    const { report, told } = desk(s, {
      fails: (what) => {
        if (what === '0') late += 60_000;
        return false;
      },
      more: { clock: { ...s.clock, now: s.clock.now, steady: () => s.clock.steady() + late } },
    });
    for (const user of people(201)) report.changed(user, 'refresh');
    await s.clock.pass(100);
    expect([told.includes('0'), told.includes('200')]).toEqual([true, false]);
    await s.clock.pass(1100);
    expect(told).toContain('200');
  });

  test('the file of a number that is nobody’s any more goes', async () => {
    const s = station();
    const forgotten: number[] = [];
    const numbers = { of: async () => new Map([['u1', 2]]), all: () => new Set<number>() };
    const files = {
      ...{ tell: async () => {}, sweep: async () => {}, begin: async () => {}, add: async () => true },
      forget: async (uid: number) => void forgotten.push(uid),
    };
    const { report } = desk(s, { more: { numbers: { ...numbers, left: () => [1] }, files } });
    report.changed('u1');
    await s.clock.pass(30);
    expect(forgotten).toEqual([1]);
  });

  test('what could not be written is written when it can be, soon, without anything new; and said once', async () => {
    const s = station();
    let full = true;
    const { report, told } = desk(s, { fails: () => full });
    for (const user of people(500)) report.changed(user);
    await s.clock.pass(hours(2));
    expect(told).toEqual([]);
    expect(s.log.with('cannot write the status:', 'error')).toHaveLength(1);
    full = false;
    await s.clock.pass(6000);
    expect(told.filter((what) => /^\d+$/.test(what))).toHaveLength(500);
    expect(told).toContain('begin 1');
    expect(s.log.with('the status is written again', 'info')).toHaveLength(1);
    const before = told.length;
    await s.clock.pass(hours(1));
    expect(told).toHaveLength(before);
  });

  test('one person’s that cannot be written keeps nobody else from theirs', async () => {
    const s = station();
    const { report, told } = desk(s, { fails: (what) => what === '7' });
    for (const user of people(10)) report.changed(user);
    await s.clock.pass(30);
    expect(told.filter((what) => /^\d+$/.test(what))).toHaveLength(9);
  });

  test('a name service that does not answer keeps it from each person, not from everybody’s; then it is asked again', async () => {
    const s = station();
    let [down, asked] = [true, 0];
    const of = async (users: readonly string[]) => {
      asked++;
      if (down) throw new Failed({ kind: 'transient', what: 'getent does not answer' });
      return new Map(users.map((user) => [user, Number(user.slice(1))]));
    };
    const { report, told } = desk(s, { more: { numbers: { of, left: () => [], all: () => new Set() } } });
    await s.clock.pass(100);
    for (const user of people(1000)) report.changed(user);
    await s.clock.pass(30);
    expect(asked).toBe(1);
    expect(told.filter((what) => what.startsWith('begin'))).toHaveLength(1);
    down = false;
    await s.clock.pass(2000);
    expect(new Set(told.filter((what) => /^\d+$/.test(what))).size).toBe(1000);
  });
});

describe('everybody’s', () => {
  test('is begun anew when so much was added as it began with, and when it is not the one that was begun', async () => {
    const s = station();
    for (let n = 0; n < 5; n++) s.login(s.book().grant(), { handle: `h${n}` });
    await s.keeper.sweep();
    await s.clock.pass(2000);
    const path = join(s.statusDir, everyone);
    const sizes: number[] = [];
    for (let n = 0; n < 100; n++) {
      s.report.changed('alice');
      await s.clock.pass(100);
      sizes.push(lstatSync(path).size);
    }
    expect(Math.max(...sizes)).toBeLessThan(70_000);
    expect(sizes.filter((size, n) => size < (sizes[n - 1] ?? 0)).length).toBeGreaterThan(0);
    expect(s.snapshot().credentials).toHaveLength(5);
    rmSync(path);
    writeFileSync(path, 'somebody else’s\n');
    s.report.changed('alice');
    await s.clock.pass(100);
    expect(s.snapshot().credentials).toHaveLength(5);
    expect(readFileSync(path, 'utf8')).not.toContain('somebody');
  });

  test('of very many is written while others have their turn', async () => {
    const dir = room();
    const files = new StatusFiles(dir, undefined);
    let [turns, over] = [0, false];
    const turn = () => {
      turns++;
      if (!over) setImmediate(turn);
    };
    setImmediate(turn);
    await files.begin(
      Array.from({ length: 20_000 }, (_, n) => lineOf(`user${n}`, '[{"service":"ünïcode","pad":"0123456789"}]')),
    );
    over = true;
    expect(turns).toBeGreaterThan(10);
    const lines = readFileSync(join(dir, everyone), 'utf8').split('\n');
    expect(lines).toHaveLength(20_001);
    expect(JSON.parse(lines[19_999] ?? '')).toEqual({
      user: 'user19999',
      credentials: [{ service: 'ünïcode', pad: '0123456789' }],
    });
  });

  test('files of numbers that nobody has any more go once all has been told, and those of others stay', async () => {
    const s = station();
    s.login(s.book().grant());
    mkdirSync(s.statusDir);
    for (const name of ['1001.json', '4242.json', 'notes.json']) writeFileSync(join(s.statusDir, name), '{}');
    await s.keeper.sweep();
    await s.clock.pass(2000);
    expect(readdirSync(s.statusDir)).toContain('4242.json');
    s.report.swept();
    await s.clock.pass(2000);
    expect(readdirSync(s.statusDir).sort()).toEqual(['1001.json', everyone, 'notes.json']);
  });
});

describe('a disk that does not do its part', () => {
  function open() {
    const s = station();
    const [written, refused]: [string[], Set<string>] = [[], new Set()];
    /** Milliseconds that a write takes. */
    const disk = { takes: 0 };
    const write = async (name: string): Promise<void> => {
      if (disk.takes > 0) await new Promise<void>((resolve) => s.clock.after(disk.takes, resolve));
      if (refused.has(name) || refused.has('*')) throw new Error('no space is left');
      written.push(name);
    };
    const report = new Report({
      keeper: s.keeper,
      clock: s.clock,
      log: s.log,
      config: () => ({ providers: s.configured, warning: seconds(0) }),
      numbers: {
        of: async (users) => new Map(users.map((user) => [user, Number(user.slice(4))])),
        left: () => [],
        all: () => new Set(),
      },
      files: {
        tell: (uid) => write(`${uid}.json`),
        begin: () => write(everyone),
        add: async () => write(everyone).then(() => true),
        forget: async () => {},
        sweep: async () => {},
      },
    });
    const times = (name: string) => written.filter((one) => one === name).length;
    return { ...s, report, refused, times, disk };
  }

  test('but is slow: what changes afterwards is told of as soon as ever', async () => {
    const { clock, report, times, disk } = open();
    disk.takes = 5000;
    report.changed('user1');
    await clock.pass(10_100);
    expect(times('all.json')).toBe(1);
    disk.takes = 0;
    report.changed('user1');
    // Not a hundred seconds later: it has hardly anything to do.
    await clock.pass(1000);
    expect(times('all.json')).toBe(2);
  });

  test('that takes nothing: told once, and tried again until it takes it, with no other change', async () => {
    const { clock, report, times, log, refused } = open();
    refused.add('*');
    for (let n = 0; n < 50; n++) report.changed(`user${n}`);
    await clock.pass(60_000);
    expect(log.with('cannot write the status', 'error')).toHaveLength(1);
    refused.clear();
    await clock.pass(6000);
    expect([times('all.json'), times('0.json'), times('49.json')]).toEqual([1, 1, 1]);
    expect(log.with('the status is written again', 'info')).toHaveLength(1);
  });

  test('one person’s file that cannot be written: everybody’s has no line for each try', async () => {
    const { clock, report, times, refused } = open();
    refused.add('7.json');
    for (let n = 0; n < 20; n++) report.changed(`user${n}`);
    await clock.pass(2000);
    const before = times(everyone);
    await clock.pass(600_000);
    expect(times(everyone)).toBe(before);
    // But for what is new of that person.
    report.changed('user7', 'refresh');
    await clock.pass(20_000);
    expect(times(everyone)).toBe(before + 1);
    refused.clear();
    await clock.pass(6000);
    expect([times('7.json'), times(everyone)]).toEqual([1, before + 1]);
  });

  test('one person’s file that cannot be written keeps nobody from theirs', async () => {
    const { clock, report, times, refused } = open();
    refused.add('7.json');
    for (let n = 0; n < 20; n++) report.changed(`user${n}`);
    await clock.pass(1000);
    expect([times('6.json'), times('8.json')]).toEqual([1, 1]);
    expect(times(everyone)).toBeGreaterThan(0);
    refused.clear();
    await clock.pass(6000);
    expect([times('7.json'), times('8.json')]).toEqual([1, 1]);
  });
});

describe('what is remembered of dead grants', () => {
  const dead = (stamp: string) => ({
    v: 1,
    at: 1,
    pid: 1,
    credentials: [
      {
        user: 'alice',
        service: 'cilogon',
        provider: 'cilogon',
        state: 'login-needed',
        since: 5,
        stamp,
        trouble: { kind: 'login-needed', what: 'w' },
      },
      { user: 'bob', service: 'cilogon', provider: 'cilogon', state: 'retrying', since: 5, stamp },
    ],
  });

  test('counts for the same file only, and only for dead ones', () => {
    const dir = room();
    writeFileSync(join(dir, 'all.json'), JSON.stringify(dead('s')));
    const remembered = rememberDead(dir);
    expect(remembered('alice/cilogon', 'other')).toBeUndefined();
    expect(remembered('bob/cilogon', 's')).toBeUndefined();
    expect(remembered('alice/cilogon', 's')).toEqual({ since: 5, trouble: { kind: 'login-needed', what: 'w' } });
    expect(remembered('alice/cilogon', 's')).toBeUndefined();
  });

  test.each(['', 'null', '{}', '{"v":1}', '{"v":2,"credentials":[]}', '[', '{"v":1,"credentials":{}}'])(
    'a status file with %j in it is as none',
    (text) => {
      const dir = room();
      writeFileSync(join(dir, 'all.json'), text);
      expect(rememberDead(dir)('alice/cilogon', 's')).toBeUndefined();
      expect(rememberDead(join(dir, 'nowhere'))('alice/cilogon', 's')).toBeUndefined();
      expect(parseSnapshot(text)).toBeUndefined();
    },
  );
});

describe('reading them', () => {
  test('none is none; one that may not be read is a failure in words', () => {
    const dir = room();
    expect(readMine(dir, 1001)).toBeUndefined();
    expect(readAll(join(dir, 'nowhere'))).toBeUndefined();
    writeFileSync(join(dir, 'all.json'), '{}');
    if (weAreRoot) return;
    chmodSync(join(dir, 'all.json'), 0);
    expect(() => readAll(dir)).toThrow('cannot read');
  });

  const now = epochMs(1_800_000_000_000);
  const health = (more: Partial<Health>): Health => ({
    user: 'alice',
    provider: 'cilogon',
    service: 'cilogon',
    issuer: 'https://i',
    state: 'fresh',
    since: epochMs(now - 3_600_000),
    refreshes: 1,
    life: { issued: epochMs(now - 60_000), expires: epochMs(now + 600_000) },
    due: epochMs(now + 300_000),
    ...more,
  });

  test('as a table: worst first, with what to do; a line that an issuer wrote cannot do harm', () => {
    const lines = table(
      [
        health({ user: 'carol' }),
        health({
          user: 'bob',
          state: 'login-needed',
          trouble: { kind: 'login-needed', what: 'evil \u001b[2J\u202e text', hint: 'run: credmon login cilogon' },
        }),
        health({ state: 'retrying', handle: 'h', trouble: { kind: 'transient', what: 'it is down' } }),
      ],
      { now, columns: 120, users: true, warning: seconds(3 * 86_400) },
    );
    expect(lines[0]).toMatch(/^USER +PROVIDER +BY +STATE +TOKEN ENDS +NEXT REFRESH$/);
    expect(lines.filter((line) => /^(?:alice|bob|carol)/.test(line)).map((line) => line.split(' ')[0])).toEqual([
      'bob',
      'alice',
      'carol',
    ]);
    expect(lines.join('\n')).toContain('→ run: credmon login cilogon');
    expect(lines.join('\n')).toContain('cilogon_h');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what must not be there
    expect(lines.join('\n')).not.toMatch(/[\u001b\u202e]/);
  });

  test('how each is had, of what it is made, and when its login ends', () => {
    const soon = later(now, 3600);
    const lines = table(
      [
        health({ ends: soon }),
        health({ handle: 'ro', grant: 'request', origin: '' }),
        health({ handle: 'x', grant: 'request' }),
        health({ handle: 'v', grant: 'vault', ends: later(now, 30 * 86_400) }),
      ],
      { now, columns: 120, users: false, warning: seconds(3 * 86_400) },
    );
    const text = lines.join('\n');
    expect(text).toMatch(/^cilogon +login /m);
    expect(text).toMatch(/^cilogon_ro +from a login .*\n {2}made from the login cilogon$/m);
    expect(text).toMatch(/^cilogon_x +exchange /m);
    expect(text).toMatch(/^cilogon_v +Vault .*\n {2}the login ends in 30 days$/m);
    expect(text).toContain('  the login ends in 60 min\n  → run: credmon login cilogon --force');
    expect(text.match(/→/g)).toHaveLength(1);
  });

  test('on a narrow terminal no line is wider than needed for its words', () => {
    const lines = table([health({ handle: 'a-rather-long-handle-of-somebody' })], {
      now,
      columns: 40,
      users: false,
      warning: seconds(3 * 86_400),
    });
    expect(lines[0]).toBe('cilogon_a-rather-long-handle-of-somebody');
    expect(lines).toContain('  state: fresh');
    expect(lines.some((line) => line.startsWith('PROVIDER'))).toBe(false);
  });
});

test('a report outlives the clock: its times are those of the clock it was given', async () => {
  const s = station();
  s.clock.jump(-hours(1));
  s.login(s.book().grant());
  await s.keeper.sweep();
  await s.clock.pass(seconds(2) * 1000);
  expect(s.snapshot().at).toBeLessThan(Date.now() - hours(0.9));
});
