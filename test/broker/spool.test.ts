import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { isSpoolName, openSpool, readSpoolFile, type Spool, type SpoolDraft } from '../../src/broker/spool.js';
import { epochMs } from '../../src/core/time.js';
import { handClock, room, secrets } from './kit.js';

const own = { uid: process.getuid?.() ?? -1 };
const root = own.uid === 0;
const grant: SpoolDraft = {
  kind: 'grant',
  user: 'alice',
  uid: 1000,
  provider: 'cilogon',
  handle: 'prod',
  scopes: ['read:/'],
  refresh_token: secrets.refresh,
  access_token: secrets.access,
  expires_at: epochMs(1_800_000_000_000),
  who: 'Alice',
};
const logout: SpoolDraft = { kind: 'logout', user: 'alice', uid: 1000, provider: 'cilogon' };

describe('the spool', () => {
  let dir: string;
  let spool: Spool;
  const clock = handClock();
  beforeEach(async () => {
    dir = join(room(), 'var', 'spool');
    spool = await openSpool({ dir, clock, most: 5, mostEach: 3 });
  });
  const only = () => join(dir, readdirSync(dir)[0] ?? '');

  test('hands over what it was given, and the id', async () => {
    const id = await spool.put(grant);
    expect(readdirSync(dir)).toEqual([`${clock.now()}-${id}.grant`]);
    expect(isSpoolName(readdirSync(dir)[0] ?? '')).toBe(true);
    expect(lstatSync(only()).mode & 0o7777).toBe(0o600);
    expect(await readSpoolFile(only(), own)).toEqual({ record: { ...grant, v: 1, id, at: clock.now() } });
  });

  test('what else is to be made from it, and when it ends', async () => {
    const { access_token: _, expires_at: __, ...rest } = grant as Extract<SpoolDraft, { kind: 'grant' }>;
    const also = [{ handle: 'w', scopes: ['write:/'] }, { audience: 'https://x' }];
    const several: SpoolDraft = { ...rest, also, ends: epochMs(1_900_000_000_000) };
    const id = await spool.put(several);
    expect(await readSpoolFile(only(), own)).toEqual({ record: { ...several, v: 1, id, at: clock.now() } });
  });

  test('a logout', async () => {
    const id = await spool.put(logout);
    expect(await readSpoolFile(only(), own)).toEqual({ record: { ...logout, v: 1, id, at: clock.now() } });
  });

  test.each<[string, object]>([
    ...(root ? [] : [['root', { uid: 0 }] as [string, object]]),
    ['a path as user', { user: '../root' }],
    ['a path as handle', { handle: '..' }],
    ['an empty refresh token', { refresh_token: '' }],
    ['a refresh token with a newline', { refresh_token: 'a\nb' }],
    ['a refresh token of 20 kB', { refresh_token: 'q'.repeat(20_000) }],
    [
      'more than a file may hold',
      {
        refresh_token: 'q'.repeat(16_000),
        access_token: 'q'.repeat(32_768),
        granted_scopes: Array(256).fill('y'.repeat(90)),
      },
    ],
    ['a path among more', { also: [{ handle: '../x' }] }],
    ['more of another user', { also: [{ handle: 'x', user: 'root' }] }],
    ['17 more', { also: Array(17).fill({ handle: 'x' }) }],
    ['none more', { also: [] }],
    ['a key too many', { admin: true }],
  ])('%s is not handed over, and nothing is left behind', async (_, more) => {
    const failed = await spool.put({ ...grant, ...more } as SpoolDraft).catch((thrown) => thrown);
    expect(failed.failure.kind).toBe('protocol');
    expect(failed.message).not.toContain('qqq');
    expect(readdirSync(dir)).toEqual([]);
  });

  test('holds only so many of one person, and in all, however they came there', async () => {
    for (let i = 0; i < 3; i++) await spool.put(grant);
    await expect(spool.put(logout)).rejects.toThrow('3 logins of yours wait for credmond');
    await spool.put({ ...grant, uid: 1001 });
    spool = await openSpool({ dir, clock, most: 5, mostEach: 3 });
    await expect(spool.put(grant)).rejects.toThrow('3 logins of yours wait');
    await spool.put({ ...grant, uid: 1001 });
    await expect(spool.put({ ...grant, uid: 1002 })).rejects.toThrow('5 logins wait for credmond');
    rmSync(only());
    await spool.put({ ...grant, uid: 1002 });
  });

  test('a folder that is open to others, a link, or another’s is refused', async () => {
    chmodSync(dir, 0o750);
    await expect(openSpool({ dir, clock })).rejects.toThrow('is open to others (mode 0750)');
    symlinkSync(dir, `${dir}-link`);
    await expect(openSpool({ dir: `${dir}-link`, clock })).rejects.toThrow('is not a folder');
    if (!root) return;
    chmodSync(dir, 0o700);
    chownSync(dir, 12345, 12345);
    await expect(openSpool({ dir, clock })).rejects.toThrow('belongs to uid 12345');
  });

  test('what a broker that died left unfinished is removed, what another writes now is not', async () => {
    const [old, young] = ['a', 'b'].map((c) => `.${c.repeat(32)}.tmp`) as [string, string];
    for (const name of [old, young, 'other']) writeFileSync(join(dir, name), '', { mode: 0o600 });
    utimesSync(join(dir, old), 1, 1);
    await openSpool({ dir, clock });
    expect(readdirSync(dir).sort()).toEqual([young, 'other'].sort());
  });

  test('a full disk or a lost folder is a failure in words', async () => {
    rmSync(dir, { recursive: true });
    await expect(spool.put(grant)).rejects.toThrow(`cannot hand the login over in ${dir} (ENOENT)`);
  });

  describe('is read with suspicion', () => {
    beforeEach(() => spool.put(grant));
    const trouble = async (path = only(), uid = own.uid) => (await readSpoolFile(path, { uid })).trouble;
    const rewrite = (change: (record: Record<string, unknown>) => object) =>
      writeFileSync(only(), JSON.stringify(change(JSON.parse(readFileSync(only(), 'utf8')))));

    test('owner', async () =>
      expect(await trouble(only(), own.uid + 1)).toBe(`belongs to uid ${own.uid}, not to the broker`));

    test('mode', async () => {
      chmodSync(only(), 0o640);
      expect(await trouble()).toBe('is open to others (mode 0640)');
    });

    test('hard links', async () => {
      linkSync(only(), join(dir, '..', 'elsewhere'));
      expect(await trouble()).toBe('has further names (hard links)');
    });

    test('symbolic links', async () => {
      const path = only();
      renameSync(path, join(dir, '..', 'elsewhere'));
      symlinkSync(join(dir, '..', 'elsewhere'), path);
      expect(await trouble(path)).toBe('is a symbolic link');
    });

    test('a FIFO does not make it wait, and a folder is none', async () => {
      const path = only();
      rmSync(path);
      execFileSync('mkfifo', ['-m', '600', path]);
      expect(await trouble(path)).toBe('is not a plain file');
      rmSync(path);
      mkdirSync(path, 0o700);
      expect(await trouble(path)).toBe('is not a plain file');
      rmSync(path, { recursive: true });
      expect(await trouble(path)).toBe('is not there');
    });

    test('size', async () => {
      writeFileSync(only(), ' '.repeat(64 * 1024 + 1));
      expect(await trouble()).toBe(`is too large (${64 * 1024 + 1} bytes)`);
    });

    test('name', async () => {
      expect(await trouble(join(dir, 'x.grant'))).toBe('has a name that the broker does not give');
      const other = only().replace(/[0-9a-f]{32}/, '0'.repeat(32));
      renameSync(only(), other);
      expect(await trouble(other)).toBe('has another id in it than in its name');
    });

    test.each<[string, (record: Record<string, unknown>) => object]>([
      ['a user with a path', (record) => ({ ...record, user: '../../root' })],
      ['a broken uid', (record) => ({ ...record, uid: 1.5 })],
      ['a provider with a path', (record) => ({ ...record, provider: 'a/b' })],
      ['a handle with dots', (record) => ({ ...record, handle: '..' })],
      ['another version', (record) => ({ ...record, v: 2 })],
      ['a key too many', (record) => ({ ...record, mode: 0 })],
      ['no refresh token', ({ refresh_token: _, ...record }) => record],
      ['a bad scope', (record) => ({ ...record, scopes: ['a b'] })],
    ])('%s', async (_, change) => {
      rewrite(change);
      expect(await trouble()).toBe('is not a record as the broker writes them');
    });

    test('for root, of a broker that is not', async () => {
      rewrite((record) => ({ ...record, uid: 0 }));
      const broker = root ? 65534 : own.uid;
      if (root) chownSync(only(), broker, broker);
      const read = await readSpoolFile(only(), { uid: broker });
      expect(read).toEqual({ trouble: 'is for root, for whom the broker does not speak' });
    });

    test('half a file', async () => {
      writeFileSync(only(), readFileSync(only()).subarray(0, 50));
      expect(await trouble()).toBe('is not JSON in UTF-8');
    });
  });
});
