import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseIntent, slotBytes } from '../../src/core/intent.js';
import { intentFile } from '../../src/daemon/intents.js';
import { accessPoint, childrenOf, until } from '../programs/kit.js';
import { count, field, issuerProcess } from './kit.js';

type Field = Awaited<ReturnType<typeof field>>;

/** Whom the record names, as the next credmond will read it. */
function named({ p }: Field): string[] {
  const bytes = readFileSync(join(p.dir, intentFile), 'latin1');
  const slots = Array.from({ length: bytes.length / slotBytes }, (_, n) =>
    bytes.slice(n * slotBytes, (n + 1) * slotBytes),
  );
  return slots.map(parseIntent).flatMap((intent) => {
    expect(intent).not.toBe('damaged');
    return typeof intent === 'object' ? [intent.key] : [];
  });
}

/** How long a start takes until everybody has been refreshed once: milliseconds. */
async function wholeRun(f: Field): Promise<number> {
  const begun = performance.now();
  const first = f.start();
  await f.complete(first);
  const ms = performance.now() - begun;
  await f.end(first, 'SIGKILL');
  return ms;
}

async function killAtRandom(f: Field, kills: number, after: (n: number) => Promise<void>): Promise<void> {
  const whole = await wholeRun(f);
  for (let n = 1; n <= kills; n++) {
    const daemon = f.start();
    // Most of a start is loading: the kills are to hit what comes after it more often than that.
    await new Promise((resolve) => setTimeout(resolve, (0.3 + 0.9 * Math.random()) * whole));
    expect((await f.end(daemon, 'SIGKILL')).code).toBeNull();
    expect(f.torn(), `after ${n} kills`).toEqual([]);
    expect(await f.ahead(), `after ${n} kills`).toEqual([]);
    await after(n);
  }
}

describe.concurrent('SIGKILL in mid-run', () => {
  const kills = count(15, 200);

  test(`${kills} times at random moments: whole files, no .use newer than its .top, and who lost a grant was named`, async () => {
    const f = await field({ users: 24, issuer: { expiresIn: 1, latency: 2, lag: 3 } });
    let most = 0;
    await killAtRandom(f, kills, async (n) => {
      const [lost, suspects] = [await f.lost(), named(f)];
      most = Math.max(most, lost.length);
      expect(suspects, `after ${n} kills`).toEqual(expect.arrayContaining(lost));
    });
    const last = f.start();
    await f.complete(last);
    expect((await f.end(last, 'SIGTERM')).code).toBe(0);
    const lost = await f.lost();
    const told = f.p.status().credentials as {
      user: string;
      state: string;
      suspect?: number;
      trouble?: { hint: string };
    }[];
    for (const { user, state, suspect, trouble } of told.filter(({ user: one }) => lost.includes(`${one}/test`))) {
      expect([user, state]).toEqual([user, 'login-needed']);
      expect(suspect).toBeGreaterThan(0);
      expect(trouble?.hint).toContain('credmon login');
    }
    expect(named(f).sort()).toEqual(lost.sort());
    expect(f.strays()).toEqual([]);
    console.info(`${kills} kills lost ${most} of ${f.credentials.length} grants, all of them named`);
  }, 600_000);

  test(`${kills} times with an issuer that takes a replaced token for a minute more: nothing is lost`, async () => {
    const f = await field({ users: 24, issuer: { expiresIn: 1, latency: 2, lag: 3, grace: 60_000 } });
    await killAtRandom(f, kills, async (n) => expect(await f.lost(), `after ${n} kills`).toEqual([]));
    const last = f.start();
    await f.complete(last);
    expect((await f.end(last, 'SIGTERM')).code).toBe(0);
    await f.issuer.set({ grace: 0 });
    expect(await f.lost()).toEqual([]);
    expect(named(f)).toEqual([]);
    expect((await f.issuer.counts()).reuse).toBe(0);
  }, 600_000);

  test('takes the broker with it, and the next one is the only one', async () => {
    const issuer = await issuerProcess();
    const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
    const secret = join(p.base, 'secret');
    writeFileSync(secret, 'a-client-secret-of-the-test', { mode: 0o600 });
    p.write({ providers: { test: { issuer: issuer.url, client_secret_file: secret } } });
    for (let n = 0; n < 3; n++) {
      const daemon = p.credmond();
      const broker = () => childrenOf(daemon.pid).find(({ command }) => command.includes('credmon-broker'));
      await until(broker, 'the broker to be there');
      await until(() => existsSync(p.complete), 'the first pass');
      const second = await p.credmond().ended;
      expect(second.code).toBe(99);
      const { pid = -1 } = broker() ?? {};
      expect(pid).toBeGreaterThan(0);
      daemon.child.kill('SIGKILL');
      await until(() => !existsSync(`/proc/${pid}`), 'the broker to end as well');
    }
  }, 60_000);
});
