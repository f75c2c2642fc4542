import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { canMount } from '../helpers/mount.js';
import { accessPoint, cleanup, faultyFor, modeOf, type Run, tree, until } from '../programs/kit.js';
import { noShim, type Rule, shim } from './shim.js';

const there = (path: string) => until(() => existsSync(path), path);

/** As long as it takes on a busy machine: a few tries of credmond, each later than the one before. */
const patience = 60_000;

/** How one person's folder fails, and what the status says then. */
const troubles: readonly (readonly [user: string, says: RegExp, ...rules: Rule[]])[] = [
  ['full', /no space is left on the device/, ['write', 'ENOSPC', '/full/']],
  ['quota', /the disk quota is used up/, ['write', 'EDQUOT', '/quota/']],
  ['broken', /input\/output error/, ['write', 'EIO', '/broken/'], ['write', 'SHORT', '/broken/']],
  ['inodes', /no space is left on the device/, ['create', 'ENOSPC', '/inodes/']],
  ['readonly', /the file system is read-only/, ['create', 'EROFS', '/readonly/'], ['unlink', 'EROFS', '/readonly/']],
  ['unsynced', /input\/output error/, ['fsync', 'EIO', '/unsynced/.credmon-']],
  ['folder', /input\/output error/, ['fsync', 'EIO', '/folder$']],
  ['renamed', /input\/output error/, ['rename', 'EIO', '/renamed/test.top$']],
  ['unreadable', /cannot read .*input\/output error/, ['open', 'EIO', '/unreadable/test.top$']],
  ['last', /no space is left on the device/, ['rename', 'ENOSPC', '/last/test.use$']],
];

describe.concurrent('a disk that does not take what is written', () => {
  test.skipIf(noShim)(
    `leaves the old files whole, is told, keeps nobody else from theirs, and loses nothing: ${troubles.length} ways${noShim}`,
    { timeout: 2 * patience },
    async () => {
      const issuer = await faultyFor({ expiresIn: 4 });
      const p = accessPoint({ top: { token_minimum: 0 }, providers: { test: { issuer: issuer.url } } });
      const users = troubles.map(([user]) => user);
      for (const user of [...users, 'well', 'half']) p.login(issuer.grant(), { user });
      const disk = shim(p.dir);
      // That half of it is written at first is no failure, and nothing to tell of.
      disk.rule(['write', 'SHORT', '/half/']);
      const daemon = p.credmond([], disk.env);
      await there(p.complete);
      await until(() => users.every((user) => existsSync(p.at('test.use', user))), 'the first tokens');

      const before = new Map(users.map((user) => [user, { top: p.top('test', user), use: p.use('test', user) }]));
      const well = p.use('test', 'well');
      disk.rule(...troubles.flatMap(([, , ...rules]) => rules), ['write', 'SHORT', '/half/']);
      const health = (user: string) => p.status().credentials.find((one: { user: string }) => one.user === user);
      for (const [user, says] of troubles)
        await until(() => says.test(health(user).trouble?.what), `${user}: ${says} in the status`, patience);
      for (const [user, { top, use }] of before) {
        expect([user, health(user).state, p.use('test', user)]).toEqual([user, 'retrying', use]);
        // The rotation went well where only what comes after it fails.
        if (!['folder', 'last'].includes(user)) expect([user, p.top('test', user)]).toEqual([user, top]);
      }
      await until(() => p.use('test', 'well').access_token !== well.access_token, 'the others to go on');
      expect(issuer.counts.reuse).toBe(0);
      // What of a rotation is not durable is no login of somebody else's, to be looked at at once, and again.
      const tries = (user: string) => daemon.err().split(`${user}/test: cannot write`).length;
      expect(tries('folder')).toBeLessThan(2 * tries('unsynced') + 2);
      const asked = issuer.requests.length;

      disk.rule();
      for (const [user, { use }] of before) {
        await until(() => health(user).state === 'fresh', `${user} to go on`, patience);
        expect([user, issuer.accepts(p.top('test', user))]).toEqual([user, true]);
        expect([user, p.use('test', user).access_token]).not.toEqual([user, use.access_token]);
      }
      expect(issuer.requests.length).toBeGreaterThan(asked);
      expect(issuer.counts.reuse).toBe(0);
      expect(await ended(daemon)).toBe(0);
      for (const user of [...users, 'well', 'half']) {
        expect([user, issuer.accepts(p.top('test', user))]).toEqual([user, true]);
        expect([modeOf(p.at('test.top', user)), modeOf(p.at('test.use', user))]).toEqual([0o600, 0o400]);
      }
      expect(tree(p.dir).filter((path) => path.includes('.credmon-') && !path.endsWith('intents'))).toEqual([]);
      expect(daemon.out() + daemon.err()).not.toMatch(/(?:refresh|access)-[\w-]{22}/);
    },
  );

  test.skipIf(noShim)(
    `puts no more grants at risk than are in flight when it fills up${noShim}`,
    {
      timeout: 2 * patience,
    },
    async () => {
      const issuer = await faultyFor({ expiresIn: 4, latency: 20 });
      const p = accessPoint({ top: { token_minimum: 0 }, providers: { test: { issuer: issuer.url } } });
      const users = Array.from({ length: 40 }, (_, n) => `user${n}`);
      for (const user of users) p.login(issuer.grant(), { user });
      const disk = shim(p.dir);
      const daemon = p.credmond([], disk.env);
      await until(() => users.every((user) => existsSync(p.at('test.use', user))), 'the first tokens', patience);
      const before = issuer.counts.refreshes;
      disk.rule(['write', 'ENOSPC', '/.credmon-']);
      for (const user of users) await daemon.says(new RegExp(`${user}/test: cannot write .*no space is left`));
      // The others are not asked for, since what the issuer would answer could be held in memory only.
      const held = issuer.counts.refreshes - before;
      expect(held).toBeGreaterThan(0);
      expect(held).toBeLessThanOrEqual(issuer.counts.peak);
      disk.rule();
      await until(() => users.every((user) => issuer.accepts(p.top('test', user))), 'all to be written', patience);
      expect(await ended(daemon)).toBe(0);
      expect(users.filter((user) => !issuer.accepts(p.top('test', user)))).toEqual([]);
      expect(issuer.counts.reuse).toBe(0);
    },
  );

  test.skipIf(noShim).each([true, false])(
    `a SIGTERM while a new refresh token cannot be written, and there is room again: %s${noShim}`,
    { timeout: 2 * patience },
    async (room) => {
      const issuer = await faultyFor();
      const p = accessPoint({ top: { token_minimum: 0 }, providers: { test: { issuer: issuer.url } } });
      const first = issuer.grant();
      const disk = shim(p.dir);
      disk.rule(['write', 'ENOSPC', '/alice/']);
      p.login(first);
      const daemon = p.credmond([], disk.env);
      await daemon.says(/alice\/test: cannot write .*test\.top: no space is left on the device; again in \d+/);
      expect(p.top()).toBe(first);
      if (room) disk.rule();
      expect(await ended(daemon)).toBe(0);
      expect(issuer.counts).toMatchObject({ refreshes: 1, reuse: 0 });
      const lost = 'alice/test: its new refresh token is lost, a login will be needed: cannot write';
      expect(daemon.err().includes(lost)).toBe(!room);
      expect(issuer.accepts(p.top())).toBe(room);
      expect(p.top() === first).toBe(!room);
    },
  );

  test.skipIf(noShim).each(['ENOSPC', 'EROFS'] as const)(
    `that is so when credmond starts (%s): it comes up, and goes on${noShim}`,
    {
      timeout: 2 * patience,
    },
    async (what) => {
      const issuer = await faultyFor();
      const p = accessPoint({ credmond: { sweep_interval: 1 }, providers: { test: { issuer: issuer.url } } });
      const stray = p.at(`.credmon-${'0'.repeat(24)}.tmp`);
      p.login(issuer.grant());
      writeFileSync(stray, 'cut short');
      utimesSync(stray, 1e9, 1e9);
      const disk = shim(p.dir);
      const rules: Rule[] = [['create', what, '/credentials/']];
      disk.rule(...rules, ...(what === 'EROFS' ? ([['unlink', what, '/credentials/']] satisfies Rule[]) : []));
      const daemon = p.credmond([], disk.env);
      await daemon.says(/cannot (?:write|remove) .*(?:no space is left|read-only).*; tried again at the next look/);
      await daemon.says(/alice\/test: cannot write /);
      disk.rule();
      await until(() => existsSync(p.complete) && existsSync(p.at('test.use')), 'it to go on', patience);
      expect(readFileSync(join(p.dir, 'pid'), 'utf8')).toBe(String(daemon.pid));
      expect(await ended(daemon)).toBe(0);
      expect([issuer.accepts(p.top()), issuer.counts.reuse]).toEqual([true, 0]);
    },
  );

  test.runIf(canMount)('remounted read-only, and writable again', { timeout: 2 * patience }, async () => {
    const issuer = await faultyFor({ expiresIn: 4 });
    const p = accessPoint({ top: { token_minimum: 0 }, providers: { test: { issuer: issuer.url } } });
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m,mode=2770', 'tmpfs', p.dir]);
    cleanup(() => void execFileSync('umount', ['-l', p.dir]));
    p.login(issuer.grant());
    const daemon = p.credmond();
    await there(p.complete);
    execFileSync('mount', ['-o', 'remount,ro', p.dir]);
    const [top, use] = [p.top(), readFileSync(p.at('test.use'), 'utf8')];
    const health = () => p.status().credentials[0];
    await until(() => /the file system is read-only/.test(health().trouble?.what), 'the status to say so', patience);
    expect([p.top(), readFileSync(p.at('test.use'), 'utf8')]).toEqual([top, use]);
    execFileSync('mount', ['-o', 'remount,rw', p.dir]);
    await until(() => health().state === 'fresh', 'it to go on', patience);
    expect(readFileSync(p.at('test.use'), 'utf8')).not.toBe(use);
    expect([issuer.accepts(p.top()), issuer.counts.reuse]).toEqual([true, 0]);
    expect(await ended(daemon)).toBe(0);
  });
});

async function ended(daemon: Run, signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
  daemon.child.kill(signal);
  return (await daemon.ended).code;
}
