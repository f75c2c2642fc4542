import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { failureOf } from '../../src/core/failure.js';
import { parseOptions } from '../../src/daemon/options.js';
import { claimDirectory } from '../../src/daemon/ready.js';
import { fileLog } from '../../src/system/log.js';
import { room, unprivileged } from '../stores/room.js';

function directory(): string {
  const dir = join(room(), 'credentials');
  mkdirSync(dir);
  chmodSync(dir, 0o2770);
  return dir;
}

const refusal = async (dir: string) =>
  failureOf(
    await claimDirectory(dir).then(
      () => undefined,
      (thrown: unknown) => thrown,
    ),
  );

describe('the credential directory', () => {
  test('has our pid in it, and CREDMON_COMPLETE only after a pass, then touched by each', async () => {
    const dir = directory();
    const complete = join(dir, 'CREDMON_COMPLETE');
    writeFileSync(complete, 'of the one before');
    const claim = await claimDirectory(dir);
    expect(readFileSync(join(dir, 'pid'), 'utf8')).toBe(String(process.pid));
    expect(existsSync(complete)).toBe(false);
    await claim.completed();
    expect(readFileSync(complete, 'utf8')).toBe('');
    utimesSync(complete, 1, 1);
    await claim.completed();
    expect(Date.now() - lstatSync(complete).mtimeMs).toBeLessThan(5000);
    await claim.release();
    expect(existsSync(join(dir, 'pid'))).toBe(false);
  });

  test('of another daemon is not touched', async () => {
    const dir = directory();
    await claimDirectory(dir);
    writeFileSync(join(dir, 'pid'), '4711');
    expect(await refusal(dir)).toMatchObject({ code: 'taken', what: `another credmond keeps ${dir} already` });
    expect(readFileSync(join(dir, 'pid'), 'utf8')).toBe('4711');
  });

  const place: Record<string, (dir: string) => void> = {
    file: (dir) => writeFileSync(join(dir, 'file'), ''),
    link: (dir) => symlinkSync(dir, join(dir, 'link')),
  };
  test.each<[string, number, RegExp, RegExp]>([
    ['nowhere', 0o2770, /does not exist/, /install -d -o root -g condor -m 2770/],
    ['file', 0o2770, /is not a directory/, /symbolic link/],
    ['link', 0o2770, /is not a directory/, /symbolic link/],
    ['.', 0o2774, /open to everyone \(mode 2774\)/, /chmod 2770/],
    ['.', 0o771, /open to everyone \(mode 0771\)/, /chmod 2770/],
  ])('that is %s, mode %o, is refused, with what to do, and left as it is', async (name, mode, what, hint) => {
    const dir = directory();
    place[name]?.(dir);
    chmodSync(dir, mode);
    const failure = await refusal(join(dir, name));
    expect(failure).toMatchObject({
      kind: 'config',
      what: expect.stringMatching(what),
      hint: expect.stringMatching(hint),
    });
    expect(existsSync(join(dir, 'pid'))).toBe(false);
  });

  test('a link in the place of the pid file is not followed', async () => {
    const dir = directory();
    const victim = join(dir, '..', 'victim');
    writeFileSync(victim, 'precious');
    symlinkSync(victim, join(dir, 'pid'));
    await claimDirectory(dir);
    expect(readFileSync(victim, 'utf8')).toBe('precious');
    expect(lstatSync(join(dir, 'pid')).isFile()).toBe(true);
    expect(readFileSync(join(dir, 'pid'), 'utf8')).toBe(String(process.pid));
  });
});

/** A file of somebody else beside the log. */
function other(log: string, make = true): string {
  const path = `${log}-theirs`;
  if (make) writeFileSync(path, 'theirs');
  return path;
}

function pipe(path: string): void {
  execFileSync('mkfifo', [path]);
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  onTestFinished(() => closeSync(fd));
}

describe('the log', () => {
  const at = new Date(2026, 10, 23, 4, 5, 6);
  const open = (more: object = {}, file = join(room(), 'CredMonLog')) => ({
    file,
    log: fileLog({ file, debug: false, max: 0, keep: 1, ...more }, () => at),
    lines: () => readFileSync(file, 'utf8').split('\n').slice(0, -1),
  });

  test('has HTCondor’s lines, one decision each, without secrets', () => {
    const { log, lines } = open();
    log.info('plain');
    log.warn('two\nlines');
    log.error('refresh_token=abcdef Bearer abcdefghij eyJhbGciOiJub25l.eyJleHAiOjF9.x');
    log.debug('not asked for');
    expect(lines()).toEqual([
      '11/23/26 04:05:06 plain',
      '11/23/26 04:05:06 WARNING: two | lines',
      '11/23/26 04:05:06 ERROR: refresh_token=… Bearer … …',
    ]);
    const noisy = open({ debug: true });
    noisy.log.debug('asked for');
    expect(noisy.lines()).toEqual(['11/23/26 04:05:06 (D_FULLDEBUG) asked for']);
  });

  test('goes on in a file that is there, and changes to another when it is full: one is kept as .old', () => {
    const file = join(room(), 'CredMonLog');
    writeFileSync(file, 'earlier\n');
    const { log, lines } = open({ max: 100 }, file);
    for (let n = 0; n < 5; n++) log.info(`line ${n} ${'x'.repeat(20)}`);
    expect(readFileSync(`${file}.old`, 'utf8').split('\n').length).toBeGreaterThan(1);
    expect(
      [...readFileSync(`${file}.old`, 'utf8').split('\n'), ...lines()].filter((line) => line.includes('line 4')),
    ).toHaveLength(1);
    expect(lstatSync(file).size).toBeLessThanOrEqual(100);
  });

  test('or as many as are wanted, by their time', async () => {
    const dir = room();
    const file = join(dir, 'Log');
    let second = 0;
    const log = fileLog({ file, debug: false, max: 60, keep: 3 }, () => new Date(Date.UTC(2026, 0, 1, 0, 0, second++)));
    writeFileSync(join(dir, 'Log.of-somebody'), '');
    for (let n = 0; n < 20; n++) log.info(`line ${n} ${'x'.repeat(20)}`);
    const names = readdirSync(dir).sort();
    expect(names.filter((name) => /^Log\.\d{8}T\d{6}$/.test(name))).toHaveLength(3);
    expect(names).toContain('Log.of-somebody');
    expect(readFileSync(file, 'utf8')).toContain('line 19');
  });

  test('that cannot be changed for another is gone on with', () =>
    unprivileged([], async () => {
      const dir = room();
      const { log, lines } = open({ max: 60 }, join(dir, 'Log'));
      log.info('first');
      chmodSync(dir, 0o500);
      for (let n = 0; n < 10; n++) log.info(`line ${n} ${'x'.repeat(20)}`);
      chmodSync(dir, 0o700);
      expect(lines()).toHaveLength(11);
      log.info('last');
      expect(readFileSync(join(dir, 'Log'), 'utf8')).toContain('last');
      expect(existsSync(join(dir, 'Log.old'))).toBe(true);
    }));

  test.each<[string, (file: string) => unknown, RegExp]>([
    [
      'has another name, which root may have been meant to write to',
      (file) => linkSync(other(file), file),
      /further names/,
    ],
    ['is a pipe with somebody at its other end', (file) => pipe(file), /it is not a file/],
  ])('that %s is not opened, and nothing is written to it', (_, put, what) => {
    const file = join(room(), 'Log');
    put(file);
    expect(() => fileLog({ file, debug: false, max: 0, keep: 1 })).toThrow(what);
    if (existsSync(other(file, false))) expect(readFileSync(other(file, false), 'utf8')).toBe('theirs');
  });

  test('that was moved away or removed is begun anew within a second', () => {
    const [dir, times] = [room(), [0, 0, 500, 1500, 1600, 3000]];
    const file = join(dir, 'Log');
    const log = fileLog(
      { file, debug: false, max: 0, keep: 1 },
      () => new Date(Date.UTC(2026, 0, 1) + (times.shift() ?? 0)),
    );
    log.info('first');
    renameSync(file, `${file}.1`);
    log.info('second');
    log.info('third');
    log.info('fourth');
    rmSync(file);
    log.info('fifth');
    log.info('sixth');
    expect(readFileSync(`${file}.1`, 'utf8').match(/\w+$/gm)).toEqual(['first', 'second', 'third']);
    expect(readFileSync(file, 'utf8').match(/\w+$/gm)).toEqual(['sixth']);
  });

  test('that is removed with its folder tells what is missing when there is a folder again', () => {
    const dir = join(room(), 'logs');
    const file = join(dir, 'Log');
    let second = 0;
    mkdirSync(dir);
    const log = fileLog({ file, debug: false, max: 0, keep: 1 }, () => new Date(Date.UTC(2026, 0, 1, 0, 0, second++)));
    log.info('first');
    rmSync(dir, { recursive: true });
    for (const line of ['second', 'third']) log.info(line);
    mkdirSync(dir);
    log.info('fourth');
    const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1);
    expect(lines.map((line) => line.slice(18))).toEqual([
      'WARNING: 2 lines before this one are lost (ENOENT)',
      'fourth',
    ]);
  });

  test.each(['nowhere/Log', '.', 'link'])('that cannot be opened (%s) is a failure in words', (name) => {
    const dir = room();
    symlinkSync('/etc/passwd', join(dir, 'link'));
    const open = () => fileLog({ file: join(dir, name), debug: false, max: 0, keep: 1 });
    expect(open).toThrow(/cannot open the log .*\((?:ENOENT|EISDIR|ELOOP)\)/);
  });
});

describe('the options', () => {
  test('as HTCondor’s own credmon has them', () => {
    expect(parseOptions(['-c', '/d', '-n', 'credmon_x', '-l', '/l', '-d', '-v'])).toMatchObject({
      credDir: '/d',
      name: 'CREDMON_X',
      logFile: '/l',
      debug: true,
      verbose: true,
      once: false,
      user: false,
    });
    expect(parseOptions([])).toMatchObject({ name: 'CREDMON_OAUTH', debug: false });
    expect(parseOptions(['--cred-dir=/d', '--once', '--config=/c'])).toMatchObject({
      credDir: '/d',
      once: true,
      config: '/c',
    });
  });

  test.each([['--onse'], ['-c'], ['extra'], ['--name', '../x'], ['--once=yes']])(
    '%s %s: one sentence, and where help is',
    (...argv) => {
      const failure = failureOf(
        (() => {
          try {
            parseOptions(argv);
          } catch (thrown) {
            return thrown;
          }
        })(),
      );
      expect(failure).toMatchObject({ kind: 'usage', hint: 'see: credmond --help' });
      expect(failure?.what).not.toContain('\n');
    },
  );
});
