import { execFileSync } from 'node:child_process';
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { isSpoolName } from '../../src/broker/spool.js';
import { epochMs } from '../../src/core/time.js';
import { Intake } from '../../src/daemon/intake.js';
import { jwtExpiry } from '../../src/providers/jwt.js';
import { condorCredentials } from '../../src/stores/condor.js';
import { provider } from '../daemon/kit.js';
import { programs } from '../helpers/programs.js';
import { accessPoint, cleanup, faultyFor, nobody, tree, until, weAreRoot } from '../programs/kit.js';
import { cuts, type Files } from './power.js';
import { noShim, type Op, shim } from './shim.js';

/*
 * The power goes at any moment: the system calls of the real programs are written down while they do one thing, and every
 * state of the disk that these allow is tried: see cuts().
 */

const patience = 60_000;

/** Not of credentials: written anew at each start, or, of the intents, believed only as far as it is whole. */
const isFurniture = (path: string): boolean => /\/(?:pid|CREDMON_COMPLETE|\.credmon-intents|[^/]+\.mark)$/.test(path);

const read = (paths: readonly string[]): Files => new Map(paths.map((path) => [path, readFileSync(path, 'utf8')]));

/** What the calls did in these folders; furniture comes by way of a file there. */
function opsOf(ops: readonly Op[], folders: readonly string[]): Op[] {
  const furniture = new Set(ops.filter(({ path, to = path }) => isFurniture(to)).map(({ inode }) => inode));
  return ops.filter(
    ({ path, inode }) =>
      !furniture.has(inode) && folders.some((folder) => path === folder || path.startsWith(`${folder}/`)),
  );
}

describe.concurrent('the power goes', () => {
  test.skipIf(noShim)(`in a refresh with rotation, at any call${noShim}`, { timeout: 2 * patience }, async () => {
    const issuer = await faultyFor();
    const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
    const folder = join(p.dir, 'alice');
    const disk = shim(p.dir);
    p.login(issuer.grant());
    const first = p.credmond([], disk.env);
    await until(() => existsSync(p.complete), 'the first token');
    // What the tokens are is written down before they are replaced; the login is not of credmond's calls.
    const old = p.use().access_token;
    const before = issuer.grant();
    const begun = disk.ops().length;
    p.login(before);
    const base = new Map([...read([p.at('test.use')]), [p.at('test.top'), JSON.stringify({ refresh_token: before })]]);
    await until(() => p.use().access_token !== old, 'the refresh');
    await until(() => p.status().credentials[0]?.refreshes === 2, 'the refresh to be over');
    first.child.kill('SIGKILL');
    await first.ended;
    const [after, fresh] = [p.top(), p.use().access_token];
    const ops = opsOf(disk.ops().slice(begun), [folder]);
    expect(ops.map(({ call }) => call)).toEqual(
      expect.arrayContaining(['create', 'write', 'syncing', 'fsync', 'rename', 'syncing', 'fsync', 'create', 'rename']),
    );

    const all = cuts(base, ops, p.dir);
    const synced = ops.map(({ call, path }) => call === 'fsync' && path === folder).indexOf(true);
    expect(synced).toBeGreaterThan(0);
    const states = new Map<string, Files>();
    for (const { at, files } of all) {
      const top = JSON.parse(files.get(p.at('test.top')) ?? '').refresh_token;
      // Whole, at every moment; and the new one for good, before the new access token is there.
      expect([before, after]).toContain(top);
      if (at > synced) expect(top).toBe(after);
      if (files.get(p.at('test.use'))?.includes(fresh.slice(0, 20))) expect(top).toBe(after);
      states.set(JSON.stringify([...files].sort(([a], [b]) => (a < b ? -1 : 1))), files);
    }
    expect(states.size).toBeGreaterThan(10);

    // Each state is a person's, and one credmond goes on from all of them. Whether the issuer had answered by then is
    // another question: here the refresh token that lies there is always one that it takes.
    const q = accessPoint({ providers: { test: { issuer: issuer.url } } });
    const users = [...states.values()].map((files, n) => {
      const [user, grant] = [`state${n}`, issuer.grant()];
      mkdirSync(join(q.dir, user), { mode: 0o700 });
      for (const [path, text] of files) {
        const copy = path.replace(folder, join(q.dir, user));
        writeFileSync(copy, text.replaceAll(before, grant).replaceAll(after, grant), { mode: 0o600 });
        // Nothing of that is of today; what was there before is older than what came after it.
        const age = base.get(path) === text ? 300 : 200;
        utimesSync(copy, Date.now() / 1000 - age, Date.now() / 1000 - age);
      }
      return user;
    });
    const second = q.credmond();
    const healths = () => q.status().credentials.filter(({ state }: { state: string }) => state === 'fresh');
    await until(() => healths().length === users.length, 'all to be fresh', patience);
    for (const user of users) {
      expect([user, issuer.accepts(q.top('test', user))]).toEqual([user, true]);
      expect([user, issuer.generation(q.use('test', user).access_token)]).not.toEqual([user, undefined]);
    }
    const furniture = ['pid', 'CREDMON_COMPLETE', '.credmon-intents'].map((name) => join(q.dir, name));
    const left = tree(q.dir).filter((path) => !/\.(?:top|use)$/.test(path) && !furniture.includes(path));
    expect(left).toEqual([]);
    expect(issuer.counts.reuse).toBe(0);
    second.child.kill('SIGTERM');
    expect((await second.ended).code).toBe(0);
  });

  test.skipIf(noShim)(
    `while a login, and then a logout, is taken over from the spool, at any call${noShim}`,
    { timeout: 2 * patience },
    async () => {
      const issuer = await faultyFor();
      const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
      const [dir, spool] = [p.dir, join(p.base, 'spool')];
      const disk = shim(p.base);
      const daemon = p.credmond([], disk.env);
      await until(() => existsSync(p.complete) && existsSync(spool), 'credmond');
      const who = weAreRoot ? { user: 'nobody', uid: nobody } : { user: userInfo().username, uid: userInfo().uid };
      const [top, use] = [p.at('test.top', who.user), p.at('test.use', who.user)];
      let number = 0;
      /** As the broker does it; resolves to its path. */
      const put = (record: object): string => {
        const [at, id] = [Date.now(), String(++number).padStart(32, '0')];
        const path = join(spool, `${at}-${id}.grant`);
        const text = JSON.stringify({ v: 1, id, at, ...who, provider: 'test', ...record });
        writeFileSync(join(p.base, 'record'), text, { mode: 0o600 });
        if (weAreRoot) chownSync(join(p.base, 'record'), nobody, nobody);
        renameSync(join(p.base, 'record'), path);
        return path;
      };
      /** What is on disk in every state of this, and what it is after a round of credmond. */
      const phase = async (record: object, over: () => unknown) => {
        const base = read([top, use].filter(existsSync));
        const begun = disk.ops().length;
        const path = put(record);
        const text = readFileSync(path, 'utf8');
        await until(over, 'the record to be taken over');
        const made = () => opsOf(disk.ops().slice(begun), [spool, dir]);
        await until(() => made().some((op) => op.call === 'fsync' && op.path === spool), 'the record to go for good');
        const ops = made();
        return { all: cuts(new Map([...base, [path, text]]), ops, p.base), ops, path, text };
      };

      const [refreshToken, accessToken, expires] = [issuer.grant(), 'access-of-the-login', Date.now() + 3_600_000];
      const login = { kind: 'grant', refresh_token: refreshToken, access_token: accessToken, expires_at: expires };
      const one = await phase(login, () => existsSync(use));
      expect(one.all.length).toBeGreaterThan(15);
      expect(one.ops.map(({ call }) => call)).toEqual(expect.arrayContaining(['mkdir', 'fsync', 'rename', 'unlink']));

      for (const { at, files } of one.all) {
        // It lies in one of the two places at the least, whole.
        const there = files.get(top)?.includes(refreshToken) || files.get(one.path) === one.text;
        expect([at, there]).toEqual([at, true]);
        const { left, read } = await recover(files, p.base, who);
        expect([at, await read()]).toMatchObject([at, { grant: { refreshToken } }]);
        expect([at, left().filter(isRecord)]).toEqual([at, []]);
      }

      await until(() => p.status().credentials.length === 1, 'the login');
      const other = await phase({ kind: 'logout' }, () => !existsSync(top));
      expect(other.all.length).toBeGreaterThan(10);
      expect(other.ops.map(({ call }) => call)).toEqual(expect.arrayContaining(['unlink', 'fsync']));
      for (const { at, files } of other.all) {
        const { left } = await recover(files, p.base, who);
        expect([at, left()]).toEqual([at, []]);
      }
      // And no later login is taken away by what was done already.
      const last = other.all.filter(({ at }) => at === other.ops.length);
      expect(last.map(({ files }) => [...files])).toEqual([[]]);
      daemon.child.kill('SIGKILL');
    },
  );

  test.skipIf(noShim)(`while the broker puts a login into the spool, at any call${noShim}`, async () => {
    const { base, disk, draft, program } = brokersSpool();
    execFileSync(process.execPath, program, { env: { ...process.env, ...disk.env } });
    const ops = disk.ops();
    const all = cuts(new Map(), ops, base);
    expect(all.length).toBeGreaterThan(10);
    for (const { at, files } of all) {
      const records = [...files].filter(([path]) => isRecord(path));
      for (const [, text] of records) expect(JSON.parse(text)).toMatchObject(draft);
      // It is told that it is there when it is.
      if (at === ops.length) expect(records).toHaveLength(1);
    }
  });

  const noTrace = noShim || (canTrace() ? '' : ' (needs strace, and that it may trace)');
  test.skipIf(noTrace)(`and no call is missed: strace sees the same ones${noTrace}`, async () => {
    const { base, disk, program } = brokersSpool();
    const [trace, names] = [join(base, '..', `${basename(base)}.trace`), 'rename,renameat,renameat2,fsync,fdatasync'];
    cleanup(() => rmSync(trace, { force: true }));
    const more =
      'link,linkat,unlink,unlinkat,rmdir,mkdir,mkdirat,truncate,ftruncate,fallocate,pwrite64,pwritev,pwritev2';
    const how = ['-f', '-qq', '-y', '-o', trace, '-e', `trace=${names},${more},copy_file_range,sendfile`];
    execFileSync('strace', [...how, process.execPath, ...program], { env: { ...process.env, ...disk.env } });
    const seen = readFileSync(trace, 'utf8')
      .split('\n')
      .filter((line) => line.includes(base));
    const calls = seen.filter((line) => !line.includes('resumed>')).map((line) => / (\w+)\(/.exec(line)?.[1]);
    const ours = disk.ops().filter(({ call }) => !['create', 'write', 'syncing'].includes(call));
    expect(calls).toEqual(ours.map(({ call }) => call));
  });
});

function canTrace(): boolean {
  try {
    execFileSync('strace', ['-qq', '-o', '/dev/null', 'true'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** A broker's work with its spool, as a program. */
function brokersSpool() {
  const base = room();
  const dir = join(base, 'spool');
  const draft = { kind: 'grant', user: 'alice', uid: 1001, provider: 'test', refresh_token: 'refresh' };
  const text = `const { openSpool } = await import(${JSON.stringify(join(programs, 'dist/broker/spool.js'))});
    const spool = await openSpool({ dir: ${JSON.stringify(dir)}, clock: { now: () => ${Date.now()} } });
    await spool.put(${JSON.stringify(draft)});`;
  return { base, disk: shim(base), draft, program: ['--input-type=module', '-e', text] };
}

function room(): string {
  const path = mkdtempSync(join(tmpdir(), 'credmon-power-'));
  cleanup(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

const isRecord = (path: string): boolean => isSpoolName(path.slice(path.lastIndexOf('/') + 1));

/** A state of the disk, and one round of the spool over it as after a start. */
async function recover(files: Files, root: string, { user, uid }: { readonly user: string; readonly uid: number }) {
  const base = room();
  const [dir, spool] = [join(base, 'credentials'), join(base, 'spool')];
  for (const path of [dir, spool]) mkdirSync(path, { mode: 0o700 });
  for (const [path, text] of files) {
    const copy = path.replace(root, base);
    mkdirSync(dirname(copy), { recursive: true, mode: 0o700 });
    writeFileSync(copy, text, { mode: 0o600 });
    utimesSync(copy, 1e9, 1e9);
  }
  const configured = new Map([['test', provider('test')]]);
  const own = process.geteuid?.() ?? 0;
  const credentials = condorCredentials({
    dir,
    services: () => configured.keys(),
    owners: [own],
    of: () => ({ flow: 'device', bare: false }),
    expiryOf: jwtExpiry,
  });
  await credentials.sweep(epochMs(Date.now() - 60_000));
  const said: string[] = [];
  const log = { error: (text: string) => void said.push(text), warn: () => {}, info: () => {}, debug: () => {} };
  const intake = new Intake({
    dir: spool,
    uid: own,
    credentials,
    clock: { now: () => epochMs(Date.now()) },
    log,
    providers: () => configured,
    issuer: () => Promise.reject(new Error('it is not there')),
    uidsOf: async () => new Map([[user, uid]]),
    welcome: async () => {},
    settled: () => {},
    passOver: () => () => {},
    look: async () => {},
  });
  await intake.round();
  expect(said).toEqual([]);
  return { left: () => tree(base), read: () => credentials.read({ user, service: 'test' }) };
}
