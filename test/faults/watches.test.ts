import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Faulty } from '../helpers/faulty.js';
import { accessPoint, faultyFor, type Run, run, until, weAreRoot } from '../programs/kit.js';
import { noShim, shim } from './shim.js';

const patience = 60_000;

type Point = ReturnType<typeof accessPoint>;

/** An access point where alice, bob and dave have logged in; nothing is swept but for SIGHUP. */
async function place() {
  const issuer = await faultyFor();
  const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
  const login = (user: string) => logIn(p, issuer, user);
  for (const user of ['alice', 'bob', 'dave']) login(user);
  return { p, issuer, login };
}

/** Logs somebody in; `seen`: until credmond has fetched a token for that. */
function logIn(p: Point, issuer: Faulty, user: string) {
  const token = issuer.grant('storage.read:/');
  p.login(token, { user });
  return { seen: () => until(() => !issuer.accepts(token), `the login of ${user} to be seen`, patience) };
}

const timesSaid = (daemon: Run, text: string): number => daemon.err().split(text).length - 1;
const [refused, over] = ['not every folder can be watched', 'every folder can be watched again'];
const sweep = (daemon: Run) => void daemon.child.kill('SIGHUP');
const started = (p: Point) => until(() => existsSync(p.complete), 'the first pass', patience);

async function ends(daemon: Run): Promise<void> {
  daemon.child.kill('SIGTERM');
  expect((await daemon.ended).code).toBe(0);
}

/** What `credmon status` shows to root: others see but their own. */
async function shown(p: Point): Promise<string> {
  const { code, out } = await run('credmon', ['status', '--config', p.config]).ended;
  expect(code).toBe(0);
  return out;
}

describe.concurrent('folders that cannot be watched are swept', () => {
  test.skipIf(noShim)(
    `some (ENOSPC), said once, and watched when there is room${noShim}`,
    { timeout: 4 * patience },
    async () => {
      const { p, login } = await place();
      const disk = shim(p.base);
      const daemon = p.credmond([], disk.env);
      await started(p);
      disk.rule(['watch', 'ENOSPC', '/carol$']);
      // That the folder was made is told; what is put into it a moment later may not be.
      const first = login('carol');
      sweep(daemon);
      await first.seen();
      await daemon.says(`${refused} (ENOSPC)`);
      for (const user of ['alice', 'bob', 'dave']) await login(user).seen();
      for (let n = 0; n < 2; n++) {
        const { seen } = login('carol');
        sweep(daemon);
        await seen();
      }
      expect(timesSaid(daemon, refused)).toBe(1);
      await until(() => p.status().unwatched === 'ENOSPC', 'the status to say so');
      if (weAreRoot) expect(await shown(p)).toContain('Not every folder can be watched (ENOSPC)');

      disk.rule();
      sweep(daemon);
      await daemon.says(over);
      await login('carol').seen();
      await until(() => p.status().unwatched === undefined, 'the status to be as before');
      if (weAreRoot) expect(await shown(p)).not.toContain('Not every folder');

      disk.rule(['watch', 'ENOSPC', '/erin$']);
      const another = login('erin');
      sweep(daemon);
      await another.seen();
      await until(() => timesSaid(daemon, refused) === 2, 'it to be said again');
      await ends(daemon);
    },
  );

  test.skipIf(noShim)(`all, for want of an inotify instance (EMFILE)${noShim}`, { timeout: 4 * patience }, async () => {
    const { p, login } = await place();
    const disk = shim(p.base);
    disk.rule(['inotify', 'EMFILE', 'inotify']);
    const daemon = p.credmond([], disk.env);
    await started(p);
    await daemon.says(`${refused} (EMFILE)`);
    const logins = ['alice', 'carol'].map(login);
    sweep(daemon);
    for (const { seen } of logins) await seen();
    expect([timesSaid(daemon, refused), timesSaid(daemon, over)]).toEqual([1, 0]);

    disk.rule();
    sweep(daemon);
    await daemon.says(over);
    for (const user of ['alice', 'bob', 'carol', 'erin']) await login(user).seen();
    expect(timesSaid(daemon, refused)).toBe(1);
    await ends(daemon);
  });

  test.skipIf(noShim)(`without a SIGHUP, within the sweep interval${noShim}`, { timeout: 4 * patience }, async () => {
    const issuer = await faultyFor();
    const p = accessPoint({ credmond: { sweep_interval: 1 }, providers: { test: { issuer: issuer.url } } });
    logIn(p, issuer, 'alice');
    const disk = shim(p.base);
    disk.rule(['watch', 'ENOSPC', '/']);
    const daemon = p.credmond([], disk.env);
    await started(p);
    for (const user of ['alice', 'bob', 'alice']) await logIn(p, issuer, user).seen();
    await daemon.says(`${refused} (ENOSPC)`);
    expect(timesSaid(daemon, refused)).toBe(1);
    await ends(daemon);
  });

  /** For the credential directory, the spool and one user. */
  const limit = ['-Ur', 'sh', '-c', 'echo 3 > /proc/sys/user/max_inotify_watches && exec "$@"', 'sh'];
  const noLimit = hasLimits(limit) ? '' : ' (needs user namespaces)';
  test.skipIf(noLimit)(`by the kernel’s own limit${noLimit}`, { timeout: 4 * patience }, async () => {
    const { p, login } = await place();
    const daemon = p.credmond([], {}, ['unshare', ...limit]);
    await started(p);
    await daemon.says(`${refused} (ENOSPC)`);
    const logins = ['alice', 'bob', 'dave', 'carol'].map(login);
    sweep(daemon);
    for (const { seen } of logins) await seen();
    const raise = 'echo 1000 > /proc/sys/user/max_inotify_watches';
    execFileSync('nsenter', [`--target=${daemon.pid}`, '--user', '--preserve-credentials', 'sh', '-c', raise]);
    sweep(daemon);
    await daemon.says(over);
    for (const user of ['alice', 'bob', 'dave', 'carol']) await login(user).seen();
    expect(timesSaid(daemon, refused)).toBe(1);
    await ends(daemon);
  });
});

/** The kernel may keep no limits of a namespace, and the administrator may allow none. */
function hasLimits(args: readonly string[]): boolean {
  try {
    execFileSync('unshare', [...args, 'true'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

describe('more events than the kernel keeps', () => {
  const queue = Number(readFileSync('/proc/sys/fs/inotify/max_queued_events', 'utf8'));
  const tooLong = queue <= 200_000 ? '' : ' (the queue is too long here)';

  test.skipIf(tooLong)(
    `what was lost is seen all the same, without a sweep, and it is said${tooLong}`,
    { timeout: 4 * patience },
    async () => {
      const { p, login } = await place();
      const daemon = p.credmond();
      await started(p);
      for (const user of ['alice', 'bob', 'dave'])
        await until(() => existsSync(p.at('test.use', user)), 'the first tokens');
      // Each of them is watched.
      for (const user of ['alice', 'bob', 'dave']) await login(user).seen();

      daemon.child.kill('SIGSTOP');
      await until(() => /\) T /.test(readFileSync(`/proc/${daemon.pid}/stat`, 'utf8')), 'it to be stopped');
      const names = ['a.tmp', 'b.tmp'].map((name) => p.at(name)) as [string, string];
      writeFileSync(names[0], '');
      // Two events each.
      for (let n = 0; n <= queue / 2; n++) renameSync(names[n % 2] as string, names[(n + 1) % 2] as string);
      rmSync(join(p.dir, 'dave'), { recursive: true });
      const logins = ['alice', 'bob', 'carol', 'dave'].map(login);
      daemon.child.kill('SIGCONT');
      for (const { seen } of logins) await seen();
      expect(timesSaid(daemon, 'more changed at once than the kernel may remember')).toBe(1);

      // And what is new since is watched.
      for (const user of ['alice', 'bob', 'carol', 'dave']) await login(user).seen();
      await ends(daemon);
    },
  );
});
