import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { accessPoint, faultyFor, type Run, until } from '../programs/kit.js';
import { count, field } from './kit.js';

const patience = 60_000;

/** prlimit(1) is of util-linux, which credmond needs anyhow. */
const limit = (daemon: Run, what: string) => execFileSync('prlimit', ['--pid', String(daemon.pid), what]);
/** The most that it ever had, in KiB: proc(5). */
const memory = (daemon: Run): number =>
  Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${daemon.pid}/status`, 'utf8'))?.[1]);
type Health = { readonly state: string };

describe.concurrent('descriptors', () => {
  test('64 (ulimit -n) are enough for 60 people who come at once', { timeout: 2 * patience }, async () => {
    const issuer = await faultyFor({ latency: 20 });
    const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
    const users = Array.from({ length: 60 }, (_, n) => `user${n}`);
    for (const user of users) p.login(issuer.grant(), { user });
    const daemon = p.credmond([], {}, ['prlimit', '--nofile=64:64']);
    await until(() => users.every((user) => existsSync(p.at('test.use', user))), 'all tokens', patience);
    await until(() => p.status().credentials.every(({ state }: Health) => state === 'fresh'), 'the status', patience);
    expect(issuer.counts).toMatchObject({ refreshes: users.length, reuse: 0 });
    expect(daemon.err()).not.toContain('too many files');
    daemon.child.kill('SIGTERM');
    expect((await daemon.ended).code).toBe(0);
  });

  test('none are left: it is told, nothing is torn or lost, and it goes on', { timeout: 2 * patience }, async () => {
    const f = await field({ users: 6, issuer: { expiresIn: 4 } });
    const daemon = f.start();
    await f.complete(daemon, patience);
    limit(daemon, '--nofile=8:4096');
    for (const { key } of f.credentials)
      await daemon.says(new RegExp(`${key}: cannot .*: too many files are open; again`));
    const before = await f.issuer.counts();
    expect([await f.lost(), await f.ahead(), f.torn(), before.reuse]).toEqual([[], [], [], 0]);
    // One or two, which is the hardest: what is begun may not find what it needs to end.
    const open = readdirSync(`/proc/${daemon.pid}/fd`).map(Number);
    for (const spare of [1, 2]) {
      const free = open.length + spare;
      limit(
        daemon,
        `--nofile=${Array.from({ length: free }, (_, n) => n).filter((n) => !open.includes(n))[spare] ?? free}:4096`,
      );
      await daemon.says(/too many files are open/);
    }
    limit(daemon, '--nofile=4096:4096');
    await until(
      () =>
        f.p
          .status()
          .credentials.every(
            ({ state, life }: Health & { life: { expires: number } }) => state === 'fresh' && life.expires > Date.now(),
          ),
      'all to be fresh',
      patience,
    );
    const { code } = await f.end(daemon, 'SIGTERM');
    expect([code, await f.lost(), await f.ahead(), f.torn(), f.strays()]).toEqual([0, [], [], [], []]);
    expect((await f.issuer.counts()).reuse).toBe(0);
  });
});

describe.concurrent('memory', () => {
  const times = count(3, 10);
  test(`runs out in the middle of the work, ${times} times: nothing is torn, and the next start goes on`, {
    timeout: 4 * patience,
  }, async () => {
    // What the issuer had answered and nobody could write down is the business of kill.test.ts: here it has a grace period.
    const f = await field({ users: 40, each: 2, issuer: { expiresIn: 4, latency: 3, grace: 600_000 } });
    for (let time = 0; time < times; time++) {
      const done = (await f.issuer.counts()).refreshes;
      const daemon = f.start();
      await until(async () => (await f.issuer.counts()).refreshes > done + 10, 'it to be at work', patience);
      // V8 asks for more as it works, and the kernel says no: the process is ended by its own abort(3).
      limit(daemon, '--as=1');
      const { signal, err } = await daemon.ended;
      // Node 20 aborts, later ones trap.
      expect([time, signal]).toEqual([time, expect.stringMatching(/^SIG(?:ABRT|TRAP|ILL|SEGV)$/)]);
      expect(err).not.toMatch(/(?:refresh|access)-[\w-]{22}/);
      expect([time, f.torn(), await f.ahead()]).toEqual([time, [], []]);
    }
    const daemon = f.start();
    await f.complete(daemon, patience);
    const { code } = await f.end(daemon, 'SIGTERM');
    expect([code, await f.lost(), f.torn()]).toEqual([0, [], []]);
  });

  test('is not for a user to use up: files of 1 TB are passed over', { timeout: 2 * patience }, async () => {
    const issuer = await faultyFor();
    const p = accessPoint({ credmond: { sweep_interval: 1 }, providers: { test: { issuer: issuer.url } } });
    const spool = join(p.base, 'spool');
    const huge = (path: string) => {
      writeFileSync(path, '{"refresh_token": "', { mode: 0o600 });
      truncateSync(path, 2 ** 40);
    };
    p.login(issuer.grant(), { user: 'bob' });
    mkdirSync(join(p.dir, 'alice'), { mode: 0o700 });
    for (let n = 0; n < 20; n++) huge(p.at(`test_h${n}.top`));
    p.login(issuer.grant(), { name: 'test_use' });
    p.login(issuer.grant(), { name: 'test_meta' });
    huge(p.at('test_use.use'));
    huge(p.at('test_meta.meta'));
    const daemon = p.credmond();
    await until(() => existsSync(p.complete) && existsSync(spool), 'credmond', patience);
    huge(join(spool, `${Date.now()}-${'0'.repeat(32)}.grant`));
    await daemon.says(/\.grant .*: not taken over/);
    const states = () => p.status().credentials.map(({ state }: Health) => state);
    await until(() => states().filter((state: string) => state === 'fresh').length === 3, 'the others', patience);
    expect(states().filter((state: string) => state === 'damaged')).toHaveLength(20);
    expect(p.use('test_use').access_token).toMatch(/^access-/);
    // A start takes some 100 MB at the most.
    expect(memory(daemon)).toBeLessThan(250 * 1024);
    daemon.child.kill('SIGTERM');
    expect((await daemon.ended).code).toBe(0);
  });
});
