import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { hang } from '../helpers/faults.js';
import { canMount } from '../helpers/mount.js';
import { programs } from '../helpers/programs.js';
import {
  accessPoint,
  childrenOf,
  cleanup,
  faultyFor,
  issuerFor,
  modeOf,
  type Run,
  run,
  until,
  weAreRoot,
} from './kit.js';

const gone = (path: string) => until(() => !existsSync(path), `${path} to go`);
const there = (path: string, ms?: number) => until(() => existsSync(path), path, ms);

async function end(daemon: Run, signal: NodeJS.Signals = 'SIGTERM') {
  const begun = performance.now();
  daemon.child.kill(signal);
  const { code } = await daemon.ended;
  return { code, ms: performance.now() - begun };
}

// By itself, since it measures.
describe('credmond', () => {
  test('sees a new and a replaced .top by itself, without a signal', async () => {
    const issuer = await faultyFor();
    const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
    p.login(issuer.grant(), { user: 'warm' });
    p.credmond();
    await there(p.complete);
    const asked = () => issuer.requests.filter(({ endpoint }) => endpoint === 'token');
    const times: number[] = [];
    for (const name of ['test', 'test_h', 'test']) {
      const [before, grant, begun] = [asked().length, issuer.grant(), Date.now()];
      p.login(grant, { name });
      await until(() => asked().length > before, 'the request for a new token');
      expect(asked().at(-1)?.params.refresh_token).toBe(grant);
      times.push((asked().at(-1)?.at ?? 0) - begun);
      await until(() => p.top(name) !== grant, 'the rotation');
      await there(p.at(`${name}.use`));
    }
    console.info(`a .top was seen after ${times.join(', ')} ms (new folder, new file, replaced file)`);
    expect(Math.max(...times)).toBeLessThan(2000);
    expect(issuer.counts.reuse).toBe(0);
  });
});

describe.concurrent('credmond keeps a credential directory', () => {
  test('from its start on: pid, CREDMON_COMPLETE, tokens, status', async () => {
    const issuer = await faultyFor();
    const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
    writeFileSync(p.complete, 'old');
    p.login(issuer.grant());
    const daemon = p.credmond();
    await until(() => existsSync(p.complete) && readFileSync(p.complete, 'utf8') === '', 'the pass to be over');
    expect(readFileSync(join(p.dir, 'pid'), 'utf8')).toBe(String(daemon.pid));
    expect(p.use().access_token).toMatch(/^access-/);
    expect(issuer.accepts(p.top())).toBe(true);
    expect([modeOf(p.at('test.use')), modeOf(p.at('test.top'))]).toEqual([0o400, 0o600]);
    await there(join(p.statusDir, 'all.json'));
    await until(() => p.status().credentials[0]?.state === 'fresh', 'the status');
    expect(p.status()).toMatchObject({ pid: daemon.pid, credentials: [{ user: 'alice', refreshes: 1 }] });
    // Whole milliseconds, for programs that read them as such.
    const { due, life, since } = p.status().credentials[0];
    for (const time of [due, life.issued, life.expires, since]) expect(time).toSatisfy(Number.isInteger);
    expect((await end(daemon)).code).toBe(0);
    expect(existsSync(join(p.dir, 'pid'))).toBe(false);
  });

  test('sees a removed one: nothing is refreshed any more, and nothing comes back', async () => {
    const issuer = await faultyFor();
    const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
    p.login(issuer.grant());
    p.credmond();
    await there(p.at('test.use'));
    rmSync(join(p.dir, 'alice'), { recursive: true });
    await until(() => p.status().credentials.length === 0, 'it to be noticed');
    p.login(issuer.grant());
    await there(p.at('test.use'));
  });

  test('killed at any moment and started again goes on where it was', async () => {
    const issuer = await faultyFor({ expiresIn: 4 });
    const p = accessPoint({ top: { token_minimum: 0 }, providers: { test: { issuer: issuer.url } } });
    for (let n = 0; n < 4; n++) p.login(issuer.grant(), { user: `user${n}` });
    for (let round = 0; round < 3; round++) {
      const daemon = p.credmond();
      await there(p.complete);
      expect((await end(daemon, 'SIGKILL')).code).toBeNull();
    }
    const daemon = p.credmond();
    await until(
      () =>
        p.status().credentials.filter(({ state }: { state: string }) => state === 'fresh').length === 4 &&
        p.status().pid === daemon.pid,
      'all to be fresh',
    );
    for (let n = 0; n < 4; n++) expect(issuer.accepts(p.top('test', `user${n}`))).toBe(true);
    expect(issuer.counts.reuse).toBe(0);
  });

  test('one issuer that hangs does not hold up another', async () => {
    const [good, bad] = [await faultyFor(), await faultyFor()];
    bad.always('discovery', hang);
    const p = accessPoint({ providers: { test: { issuer: good.url }, bad: { issuer: bad.url } } });
    for (let n = 0; n < 5; n++) {
      p.login(bad.grant(), { user: `user${n}`, name: 'bad' });
      p.login(good.grant(), { user: `user${n}` });
    }
    const daemon = p.credmond();
    for (let n = 0; n < 5; n++) await there(p.at('test.use', `user${n}`));
    // And SIGHUP is heard while it waits.
    p.login(good.grant(), { user: 'late' });
    daemon.child.kill('SIGHUP');
    await there(p.at('test.use', 'late'));
    expect((await end(daemon, 'SIGQUIT')).ms).toBeLessThan(3000);
  });

  test('services of other credmons stay as they are', async () => {
    const issuer = await faultyFor();
    const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
    p.login(issuer.grant());
    for (const name of ['box.top', 'scitokens.use', 'test2.top'])
      writeFileSync(p.at(name), `of ${name}`, { mode: 0o600 });
    const daemon = p.credmond();
    await there(p.complete);
    for (const name of ['box.top', 'scitokens.use', 'test2.top'])
      expect(readFileSync(p.at(name), 'utf8')).toBe(`of ${name}`);
    expect(p.status().credentials).toHaveLength(1);
    await end(daemon);
  });
});

describe.concurrent('signals', () => {
  test('SIGHUP: the configuration is read again', async () => {
    const issuer = await faultyFor();
    const p = accessPoint({ providers: { other: { issuer: issuer.url } } });
    p.login(issuer.grant());
    const daemon = p.credmond();
    await there(p.complete);
    expect(existsSync(p.at('test.use'))).toBe(false);
    p.write({ providers: { test: { issuer: issuer.url } } });
    daemon.child.kill('SIGHUP');
    await there(p.at('test.use'));
    writeFileSync(p.config, 'not = [toml');
    daemon.child.kill('SIGHUP');
    await daemon.says(/line 1, column \d+.*; the configuration stays as it was/);
    p.login(issuer.grant(), { user: 'bob' });
    await there(p.at('test.use', 'bob'));
    expect((await end(daemon)).code).toBe(0);
  });

  test('SIGHUP: the log’s level follows', async () => {
    const issuer = await faultyFor();
    const p = accessPoint({ credmond: { sweep_interval: 1 }, providers: { test: { issuer: issuer.url } } });
    const daemon = p.credmond();
    await there(p.complete);
    p.write({ credmond: { sweep_interval: 1, debug: true }, providers: { test: { issuer: issuer.url } } });
    daemon.child.kill('SIGHUP');
    await daemon.says(/a full pass is over/);
    expect((await end(daemon)).code).toBe(0);
  });

  test('SIGHUP as soon as our pid is there, as condor_credd may send it, ends nothing', async () => {
    const issuer = await faultyFor();
    const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
    p.login(issuer.grant());
    const daemon = p.credmond();
    await until(
      () => existsSync(join(p.dir, 'pid')) && readFileSync(join(p.dir, 'pid'), 'utf8') !== '',
      'the pid file',
    );
    for (let n = 0; n < 20; n++) {
      daemon.child.kill('SIGHUP');
      await new Promise((resolve) => setImmediate(resolve));
    }
    await there(p.at('test.use'));
    expect(daemon.child.exitCode ?? daemon.child.signalCode).toBeNull();
  });

  test('SIGTERM: what is in flight is finished, then 0', async () => {
    const issuer = await faultyFor();
    const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
    const daemon = p.credmond();
    await there(p.complete);
    issuer.latency = 1200;
    const first = issuer.grant();
    p.login(first);
    await until(() => issuer.requests.some(({ endpoint }) => endpoint === 'token'), 'the request');
    const { code, ms } = await end(daemon);
    expect(code).toBe(0);
    expect(ms).toBeGreaterThan(500);
    expect(p.top()).not.toBe(first);
    expect(issuer.accepts(p.top())).toBe(true);
    expect(p.use().access_token).toMatch(/^access-/);
    expect(p.status().credentials).toMatchObject([{ state: 'fresh' }]);
  });

  test.each(['SIGQUIT', 'SIGTERM then SIGQUIT'])('%s: at once, with 0, whatever hangs', async (how) => {
    const issuer = await faultyFor();
    issuer.always('token', hang);
    const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
    const first = issuer.grant();
    p.login(first);
    const daemon = p.credmond();
    await until(() => issuer.requests.some(({ endpoint }) => endpoint === 'token'), 'the request');
    if (how.startsWith('SIGTERM')) {
      daemon.child.kill('SIGTERM');
      await daemon.says('SIGTERM: ending');
    }
    const { code, ms } = await end(daemon, 'SIGQUIT');
    expect(code).toBe(0);
    expect(ms).toBeLessThan(2000);
    expect(p.top()).toBe(first);
    expect(existsSync(join(p.dir, 'pid'))).toBe(false);
  });
});

describe.concurrent('--once', () => {
  test('ends with 0 when every credential is fresh', async () => {
    const issuer = await issuerFor();
    const faulty = await faultyFor();
    const p = accessPoint({ providers: { test: { issuer: faulty.url }, idle: { issuer: issuer.url } } });
    p.login(faulty.grant());
    const first = await p.credmond(['--once']).ended;
    expect(first).toMatchObject({ code: 0, out: '' });
    expect(first.err).toContain('one pass done: every credential is fresh');
    expect(p.use().access_token).toMatch(/^access-/);
    expect(p.status().credentials).toMatchObject([{ state: 'fresh' }]);
    expect(existsSync(p.complete)).toBe(true);
    const second = await p.credmond(['--once']).ended;
    expect(second.code).toBe(0);
    expect(faulty.counts.refreshes).toBe(1);
  });

  test('with nothing to do ends with 0', async () => {
    const p = accessPoint({ providers: { test: { issuer: 'https://issuer.invalid' } } });
    expect((await p.credmond(['--once']).ended).code).toBe(0);
  });

  test('ends with 1 when one could not be refreshed, and the others were', async () => {
    const [good, bad] = [await faultyFor(), await faultyFor()];
    await bad.stop();
    const p = accessPoint({ providers: { test: { issuer: good.url }, bad: { issuer: bad.url } } });
    p.login(good.grant());
    p.login('x', { name: 'bad' });
    p.login('no such token', { user: 'bob' });
    mkdirSync(p.at('test_dir.top'));
    const { code, err } = await p.credmond(['--once']).ended;
    expect(code).toBe(1);
    expect(err).toContain('one pass done: 3 could not be refreshed; see: credmon status');
    expect(existsSync(p.at('test.use'))).toBe(true);
    expect(err).toMatch(/alice\/bad: cannot reach .*: the connection was refused/);
  });
});

describe.concurrent('the log', () => {
  test('is a file in HTCondor’s form, and another when it is full', async () => {
    const issuer = await faultyFor();
    const p = accessPoint({
      credmond: { max_log: 2000, max_num_log: 2, log: '/nowhere/else' },
      providers: { test: { issuer: issuer.url } },
    });
    for (let n = 0; n < 20; n++) p.login(issuer.grant(), { user: `user${n}` });
    const daemon = p.credmond(['-l', p.log, '-d']);
    await there(p.complete);
    expect((await end(daemon)).code).toBe(0);
    expect((await daemon.ended).err).toBe('');
    const lines = readFileSync(p.log, 'utf8').trimEnd().split('\n');
    expect(lines.at(-1)).toMatch(/^\d\d\/\d\d\/\d\d \d\d:\d\d:\d\d ended$/);
    expect(lines.every((line) => /^\d\d\/\d\d\/\d\d \d\d:\d\d:\d\d \S/.test(line))).toBe(true);
    expect(lstatSync(p.log).size).toBeLessThanOrEqual(2000);
    const old = execFileSync('ls', [p.base], { encoding: 'utf8' }).match(/CredMonLog\.\d{8}T\d{6}/g) ?? [];
    expect(old.length).toBeGreaterThanOrEqual(1);
    expect(old.length).toBeLessThanOrEqual(2);
  });

  test('--verbose: to standard error as well; without a file, only there', async () => {
    const p = accessPoint({ providers: { test: { issuer: 'https://issuer.invalid' } } });
    const { err } = await p.credmond(['--once', '-v', '-l', p.log]).ended;
    expect(err).toMatch(/^credmond: credmond \d.* starts, pid \d+, configuration from .*: test\n/);
    expect(readFileSync(p.log, 'utf8').split('\n')).toHaveLength(err.split('\n').length);
  });
});

describe.concurrent('what it cannot work with ends it with one clear message', () => {
  const message = (err: string) => {
    const [error, hint, ...more] = err
      .trimEnd()
      .split('\n')
      .filter((line) => !/ starts, pid /.test(line));
    expect(error).toMatch(/^credmond: error: \S/);
    expect(hint).toMatch(/^credmond: hint: \S/);
    expect(more).toEqual([]);
    return error;
  };

  test('a log that cannot be opened: 44', async () => {
    const p = accessPoint({ providers: { test: { issuer: 'https://issuer.invalid' } } });
    const { code, err } = await p.credmond(['-l', join(p.base, 'nowhere', 'Log')]).ended;
    expect(code).toBe(44);
    expect(message(err)).toContain('cannot open the log');
    expect(existsSync(join(p.dir, 'pid'))).toBe(false);
  });

  test('a second one on the same directory: 99, and the first goes on', async () => {
    const issuer = await faultyFor();
    const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
    const first = p.credmond();
    await there(p.complete);
    for (const args of [[], ['--once']]) {
      const { code, err } = await p.credmond(args).ended;
      expect(code).toBe(99);
      expect(message(err)).toContain(`another credmond keeps ${p.dir} already`);
    }
    expect(readFileSync(join(p.dir, 'pid'), 'utf8')).toBe(String(first.pid));
    p.login(issuer.grant());
    await there(p.at('test.use'));
    await end(first, 'SIGKILL');
    expect((await p.credmond(['--once']).ended).code).toBe(0);
  });

  type Point = ReturnType<typeof accessPoint>;
  test.each<[string, (p: Point) => readonly string[] | undefined, number, RegExp]>([
    ['a directory that is missing', (p) => void rmSync(p.dir, { recursive: true }), 78, /does not exist/],
    ['one that is world-readable', (p) => void chmodSync(p.dir, 0o2775), 78, /open to everyone \(mode 2775\)/],
    ['a file in its place', (p) => ['-c', p.config], 78, /is not a directory/],
    [
      'a configuration that is missing',
      (p) => ['--config', join(p.base, 'none.toml')],
      78,
      /none\.toml does not exist/,
    ],
    ['one with a mistake', (p) => void writeFileSync(p.config, '[providers\n'), 78, /line 1, column \d+/],
    [
      'one with an unknown setting',
      (p) => void writeFileSync(p.config, 'colour = "red"\n'),
      78,
      /colour is not a known setting/,
    ],
    [
      'no provider',
      (p) => void writeFileSync(p.config, `[credmond]\ncred_dir = "${p.dir}"\n`),
      78,
      /no provider is configured/,
    ],
    [
      'an issuer without https',
      (p) => p.write({ providers: { test: { issuer: 'http://issuer.example' } } }) as undefined,
      78,
      /must be an https URL/,
    ],
    ['an option that is none', () => ['--onse'], 64, /--onse/],
  ])('%s: the code of the failure, and 99 under condor_master', async (_, spoil, code, what) => {
    const p = accessPoint({ providers: { test: { issuer: 'https://issuer.invalid' } } });
    const args = spoil(p) ?? [];
    const runs = [{}, { CONDOR_INHERIT: '4711 <127.0.0.1:1> 0 0' }].map(
      (env) => p.credmond(['--once', ...args], env).ended,
    );
    const [alone, mastered] = await Promise.all(runs);
    expect([alone?.code, mastered?.code]).toEqual([code, 99]);
    for (const one of [alone, mastered]) expect(message(one?.err ?? '')).toMatch(what);
  });

  test('HTCondor’s configuration cannot be had: condor_master’s folder of logs says so, and no other', async () => {
    const p = accessPoint({});
    const at = (name: string) => join(p.base, name);
    for (const folder of ['bin', 'log', 'other']) mkdirSync(at(folder));
    writeFileSync(at('bin/condor_config_val'), '#!/bin/sh\necho no answer >&2; exit 1\n', { mode: 0o755 });
    writeFileSync(at('log/MasterLog'), '');
    const env = { PATH: `${at('bin')}:${process.env.PATH}`, CONDOR_INHERIT: '4711 <127.0.0.1:1> 0 0' };
    const runs = ['log', 'other'].map((folder) => run('credmond', [], { env, cwd: at(folder) }).ended);
    for (const { code, err } of await Promise.all(runs)) {
      expect(code).toBe(99);
      expect(err).toContain('condor_config_val: no answer');
    }
    expect(readFileSync(at('log/CredMonOAuthLog'), 'utf8')).toMatch(
      /ERROR: condor_config_val: no answer \(mend HTC.*\)\n$/,
    );
    expect(readdirSync(at('other'))).toEqual([]);
  });

  test('--version and --help end well', async () => {
    const p = accessPoint({});
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
    expect(await p.credmond(['--version']).ended).toMatchObject({ code: 0, out: `credmond ${version}\n`, err: '' });
    // As condor_master starts it: its first line has options for Node, which env must split.
    const env = { PATH: `${dirname(process.execPath)}:/usr/bin:/bin` };
    expect(execFileSync(join(programs, 'bin/credmond.js'), ['--version'], { env, encoding: 'utf8' })).toBe(
      `credmond ${version}\n`,
    );
    const { code, out } = await p.credmond(['--help']).ended;
    expect(code).toBe(0);
    for (const option of [
      '-c, --cred-dir',
      '-n, --name',
      '-l, --log-file',
      '-d, --debug',
      '-v, --verbose',
      '--config',
      '--once',
      '--user',
    ])
      expect(out).toContain(option);
  });
});

describe.concurrent('with a client secret', () => {
  const secret = 's3cret-of-the-client';
  const confidential = (base: string, issuer: string, mode = 0o400) => {
    const file = join(base, 'secret');
    writeFileSync(file, `${secret}\nsecond line\n`, { mode });
    chmodSync(file, mode);
    return { issuer, client_id: 'confidential', client_secret_file: file };
  };

  test('a broker of its own runs beside it, knows nothing of condor_master’s session, and ends with it', async () => {
    const issuer = await faultyFor();
    const p = accessPoint({});
    p.write({ providers: { test: confidential(p.base, issuer.url) } });
    p.login(issuer.grant());
    const inherit = { CONDOR_INHERIT: '1 <x>', CONDOR_PRIVATE_INHERIT: 'FamilySessionKey:family:c0ffee' };
    const daemon = p.credmond([], inherit);
    await there(join(p.base, 'broker', 'socket'));
    await there(p.at('test.use'));
    const [broker, ...others] = childrenOf(daemon.pid);
    expect(others).toEqual([]);
    expect(broker?.command).toMatch(/broker.* --child/);
    expect(broker?.environ).not.toMatch(/CONDOR|c0ffee|s3cret/);
    if (weAreRoot) expect(lstatSync(`/proc/${broker?.pid}`).uid).toBe(65534);
    // The secret goes to the issuer as RFC 6749 §2.3.1 has it.
    const sent = issuer.requests.find(({ endpoint }) => endpoint === 'token')?.headers.authorization ?? '';
    const basic = Buffer.from(sent.replace('Basic ', ''), 'base64').toString();
    expect(decodeURIComponent(basic)).toBe(`confidential:${secret}`);
    expect(modeOf(join(p.base, 'spool'))).toBe(0o700);
    process.kill(broker?.pid ?? -1, 'SIGKILL');
    await daemon.says('the broker ended (SIGKILL); started again in 2 s');
    await until(() => childrenOf(daemon.pid).length === 1, 'another broker');
    expect((await end(daemon)).code).toBe(0);
    await gone(join(p.base, 'broker', 'socket'));
  });

  test('that others can read: said with its mode; what needs no secret goes on', async () => {
    const issuer = await faultyFor();
    const p = accessPoint({});
    p.write({ providers: { open: confidential(p.base, issuer.url, 0o644), test: { issuer: issuer.url } } });
    p.login(issuer.grant());
    p.login(issuer.grant(), { name: 'open' });
    const { code, err } = await p.credmond(['--once']).ended;
    expect(code).toBe(1);
    expect(err).toContain(`${join(p.base, 'secret')} is open to others (mode 0644)`);
    expect(err).not.toContain(secret);
    expect([existsSync(p.at('test.use')), existsSync(p.at('open.use'))]).toEqual([true, false]);
  });
});

describe.concurrent('a full disk', () => {
  test.runIf(canMount)('loses nothing: the old files stay whole, and when there is room again it goes on', async () => {
    const issuer = await faultyFor({ expiresIn: 4 });
    const p = accessPoint({ top: { token_minimum: 0 }, providers: { test: { issuer: issuer.url } } });
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k,mode=2770', 'tmpfs', p.dir]);
    cleanup(() => void execFileSync('umount', ['-l', p.dir]));
    p.login(issuer.grant());
    // The same again is told for whoever looks for a fault.
    const daemon = p.credmond(['-d']);
    await there(p.complete);
    const [top, use] = [p.top(), readFileSync(p.at('test.use'), 'utf8')];
    const { bavail, bsize } = statfsSync(p.dir);
    writeFileSync(join(p.dir, 'ballast'), Buffer.alloc(bavail * bsize));
    await daemon.says(/cannot write .*test\.top: no space is left on the device; again in \d+ s/);
    expect([p.top(), readFileSync(p.at('test.use'), 'utf8')]).toEqual([top, use]);
    expect(issuer.accepts(top)).toBe(false);
    const asked = issuer.requests.length;
    await daemon.says(/(?:no space is left[\s\S]*){2}/);
    expect(issuer.requests).toHaveLength(asked);
    rmSync(join(p.dir, 'ballast'));
    await until(() => p.top() !== top && issuer.accepts(p.top()), 'the new token to be written', 15_000);
    await until(() => readFileSync(p.at('test.use'), 'utf8') !== use, 'a new access token');
    expect(issuer.counts.reuse).toBe(0);
    expect((await end(daemon)).code).toBe(0);
  });
});
