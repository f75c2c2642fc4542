import { chmodSync, lstatSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Health } from '../../src/core/health.js';
import { parseSnapshot } from '../../src/core/snapshot.js';
import { epochMs, seconds } from '../../src/core/time.js';
import { Report } from '../../src/daemon/report.js';
import { rememberDead, writeStatus } from '../../src/daemon/status-files.js';
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

  test('modes: 0400 for a person, 0640 for everybody’s, whatever the umask; and owners, where we can give away', async () => {
    const dir = join(room(), 'run', 'status');
    for (const mask of [0o000, 0o077]) {
      await withUmask(mask, async () => {
        await writeStatus(dir, 4711, 'all.json', '{}', undefined);
        await writeStatus(dir, 4711, '1001.json', '{}', 1001);
      });
      const [all, mine] = ['all.json', '1001.json'].map((name) => lstatSync(join(dir, name)));
      expect([(all?.mode ?? 0) & 0o7777, (mine?.mode ?? 0) & 0o7777]).toEqual([0o640, 0o400]);
      if (weAreRoot) expect([all?.uid, all?.gid, mine?.uid]).toEqual([0, 4711, 1001]);
    }
    expect(lstatSync(dir).mode & 0o022).toBe(0);
    expect(readdirSync(dir).sort()).toEqual(['1001.json', 'all.json']);
  });

  test('a link in their place is replaced, not followed', async () => {
    const dir = room();
    const victim = join(dir, 'victim');
    writeFileSync(victim, 'mine');
    symlinkSync(victim, join(dir, 'all.json'));
    await writeStatus(dir, undefined, 'all.json', '{}', undefined);
    expect(readFileSync(victim, 'utf8')).toBe('mine');
    expect(lstatSync(join(dir, 'all.json')).isFile()).toBe(true);
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
      uidsOf: async () => new Map(),
      write: async () => void writes++,
    });
    for (let n = 0; n < 100; n++) {
      report.changed(`user${n}`);
      await s.clock.pass(10);
    }
    await s.clock.pass(1000);
    expect(writes).toBeLessThanOrEqual(4);
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
      { now, columns: 120, users: true },
    );
    expect(lines[0]).toMatch(/^USER +PROVIDER +STATE +TOKEN ENDS +NEXT REFRESH$/);
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

  test('on a narrow terminal no line is wider than needed for its words', () => {
    const lines = table([health({ handle: 'a-rather-long-handle-of-somebody' })], { now, columns: 40, users: false });
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
