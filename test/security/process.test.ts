import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { programs } from '../helpers/programs.js';
import { accessPoint, childrenOf, cleanup, faultyFor, until, weAreRoot } from '../programs/kit.js';

/** What a process listens on: `127.0.0.1:9229`, as /proc/net/tcp has it (hexadecimal, the address backwards). */
function listening(pid: number): string[] {
  const sockets = new Set<string>();
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    try {
      const [, inode] = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`)) ?? [];
      if (inode !== undefined) sockets.add(inode);
    } catch {
      // Closed meanwhile.
    }
  }
  const found = [];
  for (const line of readFileSync(`/proc/${pid}/net/tcp`, 'utf8').trim().split('\n').slice(1)) {
    const [, local = '', , state, , , , , , inode = ''] = line.trim().split(/\s+/);
    if (state !== '0A' || !sockets.has(inode)) continue;
    const [address = '', port = ''] = local.split(':');
    const octets = (address.match(/../g) ?? []).reverse().map((octet) => Number.parseInt(octet, 16));
    found.push(`${octets.join('.')}:${Number.parseInt(port, 16)}`);
  }
  return found;
}

describe.concurrent('SIGUSR1', () => {
  test('a Node that does not care listens for a debugger then, so that this test could fail', async () => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000); console.log("up")'], {
      // Any port, since another test's Node may have the usual one.
      env: { NODE_OPTIONS: '--inspect-port=0' },
    });
    cleanup(() => void child.kill('SIGKILL'));
    await new Promise((resolve) => child.stdout.once('data', resolve));
    child.kill('SIGUSR1');
    await until(() => listening(child.pid ?? -1).length > 0, 'a debugger’s port');
  });

  test('opens nothing in credmond, nor in its broker, and ends neither', async () => {
    const issuer = await faultyFor();
    const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
    // So that there is a broker.
    const secret = join(p.base, 'client-secret');
    execFileSync('sh', ['-c', 'umask 077; echo s3cret-for-tests-only >"$0"', secret]);
    p.write({ providers: { test: { issuer: issuer.url }, more: { issuer: issuer.url, client_secret_file: secret } } });
    p.login(issuer.grant());
    const daemon = p.credmond();
    await until(() => existsSync(p.at('test.use')), 'the first token');
    await until(() => existsSync(join(p.base, 'broker', 'socket')), 'the broker');
    const [broker] = childrenOf(daemon.pid).filter(({ command }) => command.includes('credmon-broker'));
    const both = [daemon.pid, broker?.pid ?? -1];
    for (const pid of both) for (let n = 0; n < 5; n++) process.kill(pid, 'SIGUSR1');
    // What is asked of it afterwards is done afterwards.
    p.login(issuer.grant(), { user: 'bob' });
    await until(() => existsSync(p.at('test.use', 'bob')), 'a token after the signal');
    for (const pid of both) expect(listening(pid)).toEqual([]);
    expect(daemon.err()).not.toMatch(/debugger|inspector/i);
    expect(childrenOf(daemon.pid).map(({ pid }) => pid)).toContain(broker?.pid);
  });
});

describe('a core dump', () => {
  const pattern = readFileSync('/proc/sys/kernel/core_pattern', 'utf8').trim();
  const limit = spawnSync('sh', ['-c', 'ulimit -Hc'], { encoding: 'utf8' }).stdout.trim();
  const obstacle = pattern !== 'core' ? `cores go to ${pattern}` : limit !== 'unlimited' ? 'cores are limited' : '';

  /** A program in a folder of its own, which may leave cores there; killed when it has `begun`. What is left of it. */
  async function crash(args: readonly string[], begun: () => unknown): Promise<Buffer[]> {
    const dir = execFileSync('mktemp', ['-d'], { encoding: 'utf8' }).trim();
    cleanup(() => void execFileSync('rm', ['-rf', dir]));
    const child = spawn('sh', ['-c', 'ulimit -c unlimited; exec "$0" "$@"', process.execPath, ...args], {
      cwd: dir,
      env: { PATH: process.env.PATH ?? '/usr/bin:/bin' },
      stdio: 'ignore',
    });
    cleanup(() => void child.kill('SIGKILL'));
    const ended = new Promise((resolve) => child.once('exit', (_, signal) => resolve(signal)));
    await until(begun, `${args.at(-1)} to be at work`);
    child.kill('SIGSEGV');
    expect(await ended).toBe('SIGSEGV');
    return readdirSync(dir).map((name) => readFileSync(join(dir, name)));
  }

  test.skipIf(obstacle !== '')(
    `of credmond holds no token, and one of another Node would${obstacle && ` (skipped: ${obstacle})`}`,
    async () => {
      const issuer = await faultyFor();
      const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
      const first = issuer.grant();
      p.login(first);
      const credmond = join(programs, 'bin', 'credmond.js');
      const left = await crash([credmond, '-c', p.dir, '--config', p.config], () => existsSync(p.complete));
      const secrets = [first, p.top(), p.use().access_token];
      expect(left.length).toBe(1);
      for (const core of left) for (const secret of secrets) expect(core.includes(secret)).toBe(false);

      const flag = join(p.base, 'up');
      const kept = 'globalThis.kept = Buffer.from(process.argv[1]); fs.writeFileSync(process.argv[2], "")';
      const other = ['-e', `${kept}; setInterval(() => {}, 1000)`, first, flag];
      const [core] = await crash(other, () => existsSync(flag));
      expect(core?.includes(first)).toBe(true);
    },
  );
});

describe('without /proc', () => {
  /** In a mount namespace of its own, where another file system hides it. */
  const hidden = (args: readonly string[]) =>
    spawnSync('unshare', ['--mount', 'sh', '-c', 'mount -t tmpfs none /proc && exec "$0" "$@"', ...args], {
      encoding: 'utf8',
      env: { PATH: process.env.PATH ?? '/usr/sbin:/usr/bin:/sbin:/bin' },
    });
  const can = weAreRoot && hidden(['true']).status === 0;

  test.skipIf(!can)('root does not keep a directory that others may write to (skipped without root or mounts)', () => {
    const p = accessPoint({ providers: { test: { issuer: 'https://issuer.invalid' } } });
    p.login('refresh-1');
    const credmond = [process.execPath, join(programs, 'bin', 'credmond.js')];
    const { status, stderr } = hidden([...credmond, '-c', p.dir, '--config', p.config, '--once']);
    expect([status, stderr]).toEqual([69, expect.stringContaining('error: /proc is not there')]);
    expect(readdirSync(p.dir)).toEqual(['alice']);
  });
});
