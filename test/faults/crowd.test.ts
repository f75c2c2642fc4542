import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { most } from '../../src/core/batch.js';
import { accessPoint, type Run, until } from '../programs/kit.js';
import { count, issuerProcess } from './kit.js';

const patience = 60_000;
const people = count(800, 10_000);
/** What V8 may use for what lives long: MiB. */
const heap = 48;

interface Health {
  readonly user: string;
  readonly state: string;
}

/** The most that it ever had, in MiB: proc(5). */
const memory = (daemon: Run): number =>
  Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${daemon.pid}/status`, 'utf8'))?.[1]) / 1024;

test(`${people} users appear in a second: each has a token, nobody else waits for them, and it answers meanwhile`, {
  timeout: 4 * patience,
}, async () => {
  const [crowded, other] = await Promise.all([
    // It takes ten seconds and more to serve them all, and half of that life is over before that.
    issuerProcess({ latency: count(700, 20) }),
    issuerProcess({ expiresIn: 12 }),
  ]);
  const settings = {
    top: { token_minimum: 0 },
    providers: { test: { issuer: crowded.url }, other: { issuer: other.url } },
  };
  const p = accessPoint(settings);
  const grants = await crowded.grants(people, 'storage.read:/');
  const users = grants.map((_, n) => `user${n}`);
  const aside = join(p.base, 'aside');
  for (const [n, user] of users.entries()) {
    mkdirSync(join(aside, user), { recursive: true, mode: 0o700 });
    writeFileSync(join(aside, user, 'test.top'), JSON.stringify({ refresh_token: grants[n] }), { mode: 0o600 });
  }
  const [early, first, second] = (await other.grants(3)) as [string, string, string];
  p.login(early, { user: 'early', name: 'other' });
  p.login(first, { user: 'again', name: 'other' });
  const daemon = p.credmond([], { NODE_OPTIONS: `--max-old-space-size=${heap}` });
  await until(() => existsSync(p.complete), 'the first pass', patience);

  /** How long the token of someone who was there before is good, when that is shortest: milliseconds. */
  let shortest = Number.POSITIVE_INFINITY;
  const tokens = new Set<number>();
  const watching = setInterval(() => {
    const { expires_at } = JSON.parse(readFileSync(p.at('other.use', 'early'), 'utf8'));
    shortest = Math.min(shortest, expires_at * 1000 - Date.now());
    tokens.add(expires_at);
  }, 50);
  onTestFinished(() => clearInterval(watching));
  for (const user of users) renameSync(join(aside, user), join(p.dir, user));
  await until(async () => (await crowded.counts()).refreshes > 0, 'the first of them to be served', patience);

  // In the middle of it a configuration is read, somebody else logs in, and the status goes on.
  p.write({ ...settings, providers: { ...settings.providers, more: { issuer: other.url } } });
  daemon.child.kill('SIGHUP');
  p.login(second, { user: 'again', name: 'other' });
  const isReplaced = async () => !(await other.accepts([second]))[0];
  await until(isReplaced, 'the new login to be refreshed');
  expect((await crowded.counts()).refreshes).toBeLessThan(people);
  await daemon.says('the configuration was read again: test, other, more');
  const states = () => p.status().credentials as readonly Health[];
  const told = (fits: (fresh: readonly Health[]) => boolean) =>
    vi.waitUntil(() => fits(states().filter(({ state }) => state === 'fresh')), { timeout: patience, interval: 200 });
  await told((fresh) => fresh.some(({ user }) => user.startsWith('user')));

  const missing = [...users];
  const served = () => {
    // Each is looked for until it is there: the machine is credmond's.
    while (missing.length > 0 && existsSync(p.at('test.use', missing.at(-1)))) missing.pop();
    return missing.length === 0;
  };
  await until(served, 'a token for each', 3 * patience);
  await until(() => tokens.size > 1, 'the token of one who was there to be renewed', patience);
  await told((fresh) => fresh.length === people + 2);
  expect(shortest).toBeGreaterThan(0);
  expect(await crowded.counts()).toMatchObject({ refreshes: people, reuse: 0 });
  expect((await crowded.counts()).peak).toBeLessThanOrEqual(most);
  expect((await crowded.accepts(users.map((user) => p.top('test', user)))).filter((taken) => !taken)).toEqual([]);
  // What lives outside of V8's heap: buffers, watches, code. 105 to 130 MiB were seen, for 800 and 10,000.
  expect(memory(daemon)).toBeLessThan(200);
  daemon.child.kill('SIGTERM');
  expect((await daemon.ended).code).toBe(0);
  expect((await other.counts()).reuse).toBe(0);
});
