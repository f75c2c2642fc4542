import { existsSync, readFileSync, renameSync, rmSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { accessPoint, faultyFor, type Run, until } from '../programs/kit.js';
import { noShim, shim } from './shim.js';

const patience = 60_000;

async function ends(daemon: Run): Promise<void> {
  daemon.child.kill('SIGTERM');
  expect((await daemon.ended).code).toBe(0);
}

describe.concurrent('what is credmond’s own, and somebody takes away or fills up', () => {
  test.skipIf(noShim)(
    `the log: it begins anew, tells what is missing, and keeps nothing up${noShim}`,
    {
      timeout: 2 * patience,
    },
    async () => {
      const issuer = await faultyFor({ expiresIn: 2 });
      const p = accessPoint({ top: { token_minimum: 0 }, providers: { test: { issuer: issuer.url } } });
      p.login(issuer.grant());
      const disk = shim(p.base);
      // What goes without saying is told for whoever looks for a fault.
      const daemon = p.credmond(['-d', '-l', p.log], disk.env);
      const lines = () => readFileSync(p.log, 'utf8').split('\n').slice(0, -1);
      const refreshed = async (times: number) => {
        const done = issuer.counts.refreshes;
        await until(() => issuer.counts.refreshes >= done + times, 'refreshes', patience);
      };
      await until(() => lines().some((line) => line.includes('refreshed')), 'the log', patience);

      unlinkSync(p.log);
      await until(() => lines().some((line) => line.includes('refreshed')), 'another log', patience);
      renameSync(p.log, `${p.log}.1`);
      await until(() => lines().some((line) => line.includes('refreshed')), 'and another', patience);

      disk.rule(['write', 'ENOSPC', '/CredMonLog']);
      await refreshed(2);
      disk.rule(['write', 'SHORT', '/CredMonLog']);
      await refreshed(1);
      disk.rule();
      await until(
        () => lines().some((line) => /\d+ lines before this one are lost \(ENOSPC\)$/.test(line)),
        'it to be told',
        patience,
      );
      await refreshed(2);
      const torn = lines().filter((line) => !/^\d\d\/\d\d\/\d\d \d\d:\d\d:\d\d \S/.test(line));
      expect(torn).toEqual([]);
      await ends(daemon);
      expect(issuer.accepts(p.top())).toBe(true);
      expect([(await daemon.ended).err, issuer.counts.reuse]).toEqual(['', 0]);
    },
  );

  test('the pid and CREDMON_COMPLETE: they are there again after the next look', {
    timeout: 2 * patience,
  }, async () => {
    const issuer = await faultyFor();
    const p = accessPoint({ credmond: { sweep_interval: 1 }, providers: { test: { issuer: issuer.url } } });
    const daemon = p.credmond();
    const pid = join(p.dir, 'pid');
    await until(() => existsSync(p.complete), 'credmond');
    for (const path of [pid, p.complete]) rmSync(path);
    await until(() => existsSync(p.complete) && readFileSync(pid, 'utf8') === String(daemon.pid), 'both', patience);
    await ends(daemon);
    expect(existsSync(pid)).toBe(false);
  });

  test.skipIf(noShim)(
    `the status: it is right again when it can be written${noShim}`,
    { timeout: 2 * patience },
    async () => {
      const issuer = await faultyFor();
      const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
      const disk = shim(p.base);
      p.login(issuer.grant());
      const daemon = p.credmond([], disk.env);
      const users = () => p.status().credentials.map(({ user }: { user: string }) => user);
      await until(() => users().includes('alice'), 'the status', patience);
      for (const [user, what, words] of [
        ['bob', 'ENOSPC', /cannot write everybody’s status: .*no space is left/],
        ['carol', 'EROFS', /cannot write everybody’s status: .*read-only/],
      ] as const) {
        disk.rule(['create', what, '/status/'], ['write', what, '/status/']);
        p.login(issuer.grant(), { user });
        await until(() => existsSync(p.at('test.use', user)), 'the others to go on', patience);
        await daemon.says(words);
        expect(users()).not.toContain(user);
        // Nothing else changes from here on.
        disk.rule();
        await until(() => users().includes(user), `the status after ${what}`, patience);
      }
      rmSync(p.statusDir, { recursive: true });
      p.login(issuer.grant(), { user: 'dave' });
      await until(() => users().length === 4, 'another folder', patience);
      await ends(daemon);
    },
  );
});
