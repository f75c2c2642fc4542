import { execFileSync } from 'node:child_process';
import { chownSync, existsSync, lstatSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { accessPoint, childrenOf, faultyFor, nobody, until, weAreRoot } from '../programs/kit.js';

const patience = 30_000;
/** What does not come within so long does not come: milliseconds. */
const impatience = 4000;

/** As an administrator is told to have it. */
const advice = readFileSync(new URL('../../docs/confined.conf', import.meta.url), 'utf8');
const powers = (/--bounding-set -all,(\S+)/.exec(advice)?.[1] ?? '').split(',');

const mayDrop =
  weAreRoot &&
  (() => {
    try {
      execFileSync('setpriv', ['--no-new-privs', '--bounding-set', '-all', '--', 'true'], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  })();

/** What is not done without each of them. */
const missing: Readonly<Record<string, string>> = {
  '+chown': 'the spool',
  '+dac_override': 'a token',
  '+setuid': 'a broker',
  '+setgid': 'a broker',
  '+kill': 'the end of a broker that hangs',
};

/** What a root credmond with these capabilities, and no others, leaves undone of its work. */
async function undone(some: readonly string[]): Promise<string[]> {
  const issuer = await faultyFor();
  const p = accessPoint({ providers: {} });
  // The person and the broker are nobody here, an account that every system has.
  const user = execFileSync('id', ['-un', String(nobody)], { encoding: 'utf8' }).trim();
  const secret = join(p.base, 'secret');
  writeFileSync(secret, 'a-client-secret-of-the-test', { mode: 0o600 });
  chownSync(secret, nobody, nobody);
  p.write({ providers: { test: { issuer: issuer.url, client_secret_file: secret } } });
  p.login(issuer.grant(), { user });
  const [status, spool] = [join(p.statusDir, `${nobody}.json`), join(p.base, 'spool')];
  const under = ['setpriv', '--no-new-privs', '--bounding-set', ['-all', ...some].join(','), '--'];
  const daemon = p.credmond([], {}, under);
  const left: string[] = [];
  const look = (what: string, isSo: () => unknown) =>
    until(isSo, what, daemon.child.exitCode === null ? impatience : 1).catch(() => left.push(what));
  const broker = () => childrenOf(daemon.pid).find(({ command }) => command.includes('credmon-broker'))?.pid;
  await until(() => existsSync(p.complete) || daemon.child.exitCode !== null, 'the first pass', patience);
  await look('a token', () => existsSync(p.at('test.use', user)));
  await look('the status', () => lstatSync(status).uid === nobody && (lstatSync(status).mode & 0o777) === 0o400);
  await look('the spool', () => lstatSync(spool).uid === nobody);
  await look('a broker', () => {
    const text = readFileSync(`/proc/${broker()}/status`, 'utf8');
    return new RegExp(`^Uid:\\s+${nobody}\\s`, 'm').test(text) && /^CapEff:\s*0+$/m.test(text);
  });
  const pid = broker();
  if (pid !== undefined) process.kill(pid, 'SIGSTOP');
  daemon.child.kill('SIGTERM');
  const { code, err } = await daemon.ended;
  if (code !== 0) left.push(`all of it: ${err.trim().split('\n').at(-1)}`);
  if (pid !== undefined) {
    await look('the end of a broker that hangs', () => !existsSync(`/proc/${pid}`));
    if (existsSync(`/proc/${pid}`)) process.kill(pid, 'SIGKILL');
  }
  return left;
}

describe.runIf(mayDrop)('the capabilities of docs/confined.conf (skipped where root’s cannot be dropped)', () => {
  test.concurrent('are enough', { timeout: 4 * patience }, async () => expect(await undone(powers)).toEqual([]));

  test.concurrent.each(powers)('are too few without %s', { timeout: 4 * patience }, async (power) => {
    expect(await undone(powers.filter((one) => one !== power))).toContain(missing[power]);
  });
});
