import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { accessPoint, cleanup, faultyFor, nobody, tree, until, weAreRoot } from '../programs/kit.js';

/** How often an attacker changes what is there, at least, while credmond refreshes. */
const rounds = 400;

/** What nobody may read through credmond, nor write, take, give away or remove: owner, mode, time and text of each file. */
function outside(base: string) {
  const dir = join(base, 'outside');
  mkdirSync(dir, { mode: 0o700 });
  writeFileSync(join(dir, 'test.top'), JSON.stringify({ refresh_token: 'outside-refresh-token-0123456789' }), {
    mode: 0o600,
  });
  writeFileSync(join(dir, 'test.use'), 'theirs', { mode: 0o600 });
  writeFileSync(join(dir, 'shadow'), 'root:outside-shadow-0123456789', { mode: 0o600 });
  const look = () =>
    [dir, ...tree(dir).sort()].map((path) => {
      const { uid, gid, mode, ino, mtimeMs } = lstatSync(path);
      const text = lstatSync(path).isFile() ? readFileSync(path, 'utf8') : '';
      return [path, uid, gid, mode, ino, mtimeMs, text];
    });
  return { dir, look };
}

type Point = ReturnType<typeof accessPoint>;
const folder = (p: Point, user: string) => {
  mkdirSync(join(p.dir, user), { mode: 0o700 });
  return join(p.dir, user);
};

/** Only root makes devices, and not in every container. */
const noDevices = (() => {
  const dir = mkdtempSync(join(tmpdir(), 'credmon-device-'));
  try {
    execFileSync('mknod', [join(dir, 'zero'), 'c', '1', '5'], { stdio: 'ignore' });
    closeSync(openSync(join(dir, 'zero'), 'r'));
    return '';
  } catch {
    return ' (but for devices, which cannot be made here)';
  } finally {
    rmSync(dir, { recursive: true });
  }
})();

/** A character device of the kernel's memory (1), such as /dev/zero (5), where there may be one. */
function device(path: string, minor: number): void {
  if (!noDevices) execFileSync('mknod', ['-m', '600', path, 'c', '1', String(minor)]);
}

/** What is put under a user's name, or in a user's folder: `at` is the path in the credential directory. */
const hostile: readonly (readonly [name: string, put: (p: Point, out: string) => void])[] = [
  ['a user’s folder that is a symbolic link', (p, out) => symlinkSync(out, join(p.dir, 'link'))],
  ['a user’s folder that is a file', (p) => writeFileSync(join(p.dir, 'file'), 'x')],
  ['a user’s folder that is a pipe', (p) => void execFileSync('mkfifo', [join(p.dir, 'fifo')])],
  ['a .top that is a symbolic link', (p, out) => symlinkSync(join(out, 'test.top'), join(folder(p, 'a'), 'test.top'))],
  ['a .top that is a dangling link', (p) => symlinkSync('/nowhere/at/all', join(folder(p, 'b'), 'test.top'))],
  ['a .top that is a hard link', (p, out) => linkSync(join(out, 'shadow'), join(folder(p, 'c'), 'test.top'))],
  ['a .top that is a pipe', (p) => void execFileSync('mkfifo', [join(folder(p, 'd'), 'test.top')])],
  ['a .top that is a folder', (p) => mkdirSync(join(folder(p, 'e'), 'test.top'))],
  [
    'a .top of a terabyte',
    (p) => {
      const path = join(folder(p, 'f'), 'test.top');
      writeFileSync(path, '');
      truncateSync(path, 2 ** 40);
    },
  ],
  ['a .use that is a symbolic link', (p, out) => symlinkSync(join(out, 'test.use'), join(folder(p, 'g'), 'test.use'))],
  ['a .meta that is a pipe', (p) => void execFileSync('mkfifo', [join(folder(p, 'h'), 'test.meta')])],
  // /dev/zero, of which a reader never sees the end.
  ['a .top that is a device', (p) => device(join(folder(p, 'k'), 'test.top'), 5)],
  ['a .meta that is a device', (p) => device(join(folder(p, 'l'), 'test.meta'), 5)],
  ['a user’s folder that is a device', (p) => device(join(p.dir, 'device'), 5)],
  [
    'names with a newline, an escape and no UTF-8',
    (p) => {
      const dir = folder(p, 'i');
      for (const name of ['test\n12-01-26 00:00:00 forged.top', 'test_\u001b[2J\u001b]0;pwned\u0007.top', 'test_..top'])
        writeFileSync(join(dir, name), '{"refresh_token":"x"}');
      for (const where of [dir, p.dir])
        execFileSync('sh', [
          '-c',
          'touch "$0/$(printf "test_\\377\\376.top")"; mkdir "$0/$(printf "u\\377\\nu")"',
          where,
        ]);
    },
  ],
  [
    'another’s folder in another account’s hands',
    (p, out) => {
      const dir = folder(p, 'j');
      writeFileSync(join(dir, 'test.top'), '{"refresh_token":"planted-0123456789"}', { mode: 0o600 });
      symlinkSync(join(out, 'test.use'), join(dir, 'test.use'));
      if (weAreRoot) chownSync(dir, nobody, nobody);
      else chmodSync(dir, 0o777);
    },
  ],
  [
    'what credmond itself makes, in the hands of others',
    (p, out) => {
      symlinkSync(join(out, 'shadow'), join(p.dir, 'pid'));
      symlinkSync(join(out, 'shadow'), join(p.dir, 'CREDMON_COMPLETE'));
      symlinkSync(join(out, 'shadow'), join(p.dir, '.credmon-intents'));
    },
  ],
];

test.concurrent(`hostile entries: nothing outside is touched or asked for, and others’ tokens are fetched all the same${noDevices}`, async () => {
  const issuer = await faultyFor();
  const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
  const { dir, look } = outside(p.base);
  for (const [name, put] of hostile) {
    expect(() => put(p, dir), name).not.toThrow();
  }
  const before = look();
  p.login(issuer.grant());
  const daemon = p.credmond(['-l', p.log, '-d']);
  await until(() => existsSync(p.at('test.use')), 'the token of somebody else');
  await until(() => existsSync(p.complete) && lstatSync(p.complete).isFile(), 'the pass to be over');
  // The `.use` of g has no grant beside it; with one, it is replaced and not followed.
  p.login(issuer.grant(), { user: 'g' });
  await until(() => lstatSync(p.at('test.use', 'g')).isFile(), 'a file in the place of the link');
  for (const user of noDevices ? ['h'] : ['h', 'l']) {
    p.login(issuer.grant(), { user });
    await until(() => existsSync(p.at('test.use', user)), 'a token beside a pipe or device');
  }
  daemon.child.kill('SIGTERM');
  expect((await daemon.ended).code).toBe(0);
  expect(look()).toEqual(before);
  const sent = issuer.requests.map(({ params }) => JSON.stringify(params)).join();
  expect(sent).not.toMatch(/outside-|planted-/);
  const log = readFileSync(p.log, 'utf8');
  const status = readFileSync(join(p.statusDir, 'all.json'), 'utf8');
  for (const text of [log, status]) {
    expect(text).not.toMatch(/outside-|planted-/);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: this is what must not be there
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]|forged/);
  }
  expect(
    log
      .trimEnd()
      .split('\n')
      .every((line) => /^\d\d\/\d\d\/\d\d \d\d:\d\d:\d\d \S/.test(line)),
  ).toBe(true);
});

/** A process that swaps in a loop, as another account where it can be one; it tells how often when it is told to end. */
function attacker(script: string, args: readonly string[]): { rounds(): Promise<number>; child: ChildProcess } {
  const program = `
    const fs = require('node:fs'); const [dir, out, user] = process.argv.slice(1); let n = 0, on = true;
    const tried = (what) => { try { what(); } catch {} };
    process.stdin.on('end', () => { on = false; }).resume();
    const step = () => { for (let i = 0; i < 20; i++, n++) { ${script} } if (on || n < ${rounds}) setImmediate(step); else console.log(n); };
    step();`;
  const child = spawn(process.execPath, ['-e', program, ...args]);
  cleanup(() => void child.kill('SIGKILL'));
  let said = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  return {
    child,
    rounds: async () => {
      child.stdin?.end();
      await ended;
      return Number(said);
    },
  };
}

test.concurrent.each([
  [
    'the user’s folder for a link out and back',
    `const at = dir + '/' + user;
     tried(() => fs.renameSync(at, dir + '/.aside'));
     tried(() => fs.symlinkSync(out, at));
     tried(() => fs.unlinkSync(at));
     tried(() => fs.renameSync(dir + '/.aside', at));`,
  ],
  [
    'the .top for a link out and back',
    `const at = dir + '/' + user + '/test.top';
     tried(() => fs.renameSync(at, at + '-aside'));
     tried(() => fs.symlinkSync(out + '/test.top', at));
     tried(() => fs.unlinkSync(at));
     tried(() => fs.renameSync(at + '-aside', at));`,
  ],
  [
    'the .use and the .meta for links out',
    `for (const end of ['use', 'meta']) {
       const at = dir + '/' + user + '/test.' + end;
       tried(() => fs.unlinkSync(at));
       tried(() => fs.symlinkSync(out + '/test.use', at));
     }`,
  ],
])(`a race of at least ${rounds} rounds: %s`, async (_, script) => {
  const issuer = await faultyFor({ expiresIn: 1 });
  const p = accessPoint({
    top: { token_minimum: 0 },
    credmond: { sweep_interval: 1 },
    providers: { test: { issuer: issuer.url } },
  });
  const { dir, look } = outside(p.base);
  const before = look();
  p.login(issuer.grant(), { user: 'mallory' });
  p.login(issuer.grant());
  const daemon = p.credmond();
  await until(() => existsSync(p.at('test.use')), 'the first token');
  const attack = attacker(script, [p.dir, dir, 'mallory']);
  const asked = issuer.requests.length;
  for (let n = 0; n < 5; n++) {
    const was = readFileSync(p.at('test.use'), 'utf8');
    daemon.child.kill('SIGHUP');
    await until(() => readFileSync(p.at('test.use'), 'utf8') !== was, 'another token of somebody else', 15_000);
  }
  expect(await attack.rounds()).toBeGreaterThanOrEqual(rounds);
  expect(issuer.requests.length).toBeGreaterThan(asked);
  daemon.child.kill('SIGTERM');
  expect((await daemon.ended).code).toBe(0);
  expect(look()).toEqual(before);
  expect(readdirSync(dir).sort()).toEqual(['shadow', 'test.top', 'test.use']);
  expect(issuer.requests.map(({ params }) => JSON.stringify(params)).join()).not.toContain('outside-');
  // Who swaps away what was rotated loses a grant of one's own, and nobody else does.
  expect(issuer.accepts(p.top())).toBe(true);
  rmSync(join(p.dir, '.aside'), { recursive: true, force: true });
});

test.concurrent.each<[string, (path: string, out: string) => unknown]>([
  ['a hard link', (path, out) => linkSync(join(out, 'shadow'), path)],
  ['a pipe', (path) => execFileSync('mkfifo', [path])],
  ['a folder', (path) => mkdirSync(path)],
  ['a terabyte', (path) => [writeFileSync(path, ''), truncateSync(path, 2 ** 40)]],
])('%s in the place of the record of what is out is not read or written, and stops nothing', async (_, put) => {
  const issuer = await faultyFor();
  const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
  const { dir, look } = outside(p.base);
  put(join(p.dir, '.credmon-intents'), dir);
  const before = look();
  p.login(issuer.grant());
  const daemon = p.credmond();
  await until(() => existsSync(p.at('test.use')), 'a token');
  daemon.child.kill('SIGTERM');
  expect((await daemon.ended).code).toBe(0);
  expect(look()).toEqual(before);
  expect(issuer.counts.reuse).toBe(0);
});
