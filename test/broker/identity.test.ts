import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { type Challenge, type Challenges, openChallenges, proofTrouble } from '../../src/broker/identity.js';
import { canMount } from '../helpers/mount.js';
import { handClock, listLog, room } from './kit.js';

const root = process.getuid?.() === 0;
/** Not even root may everywhere. */
/** Only root mounts, and not in every container; what is decided of it is tested above without. */
const mounts = root && canMount;

describe('challenges', () => {
  let dir: string;
  let clock: ReturnType<typeof handClock>;
  let challenges: Challenges;
  let challenge: Challenge;
  beforeEach(async () => {
    dir = join(room(), 'run', 'challenge');
    clock = handClock();
    challenges = await openChallenges(dir, clock, listLog());
    challenge = challenges.fresh();
  });
  const refused = (why: string) => expect(challenge.look()).rejects.toThrow(why);

  test('a directory tells whose it is, once, and is gone then', async () => {
    mkdirSync(challenge.path, 0o500);
    expect(await challenge.look()).toBe(process.getuid?.());
    await refused('looked at before');
    await challenge.drop();
    expect(existsSync(challenge.path)).toBe(false);
  });

  test('paths are fresh, in the folder, and cannot be guessed', () => {
    const paths = Array.from({ length: 100 }, () => challenges.fresh().path);
    expect(new Set(paths).size).toBe(100);
    for (const path of paths) {
      expect(dirname(path)).toBe(dir);
      expect(path).toMatch(/\/[0-9a-f]{48}$/);
    }
  });

  test('nothing there', () => refused('nothing is there'));

  test('a file instead of a directory', async () => {
    writeFileSync(challenge.path, '', { mode: 0o500 });
    await refused('it is not a directory');
    await challenge.drop();
    expect(existsSync(challenge.path)).toBe(false);
  });

  test('a symbolic link to a good directory', async () => {
    const other = join(dirname(dir), 'other');
    mkdirSync(other, 0o500);
    symlinkSync(other, challenge.path);
    await refused('it is a symbolic link');
    await challenge.drop();
    expect(() => lstatSync(challenge.path)).toThrow('ENOENT');
    expect(existsSync(other)).toBe(true);
  });

  test.each([0o755, 0o711, 0o770, 0o700, 0o550, 0o000, 0o1500, 0o2500])('mode %o', async (mode) => {
    mkdirSync(challenge.path);
    chmodSync(challenge.path, mode);
    await refused('not 0500');
  });

  test('a directory with another in it', async () => {
    mkdirSync(join(challenge.path, 'sub'), { recursive: true });
    chmodSync(challenge.path, 0o500);
    if (lstatSync(challenge.path).nlink > 2) await refused('there is something in it');
    // Only root could take away what is in it.
    chmodSync(challenge.path, 0o700);
  });

  test('a directory that is older than the challenge', async () => {
    clock.advance(3_600_000);
    challenge = challenges.fresh();
    mkdirSync(challenge.path, 0o500);
    await refused('made before the broker asked for it');
  });

  test('something mounted there, whose file system says what it likes', () => {
    const now = Date.now();
    const stat = {
      isDirectory: () => true,
      isSymbolicLink: () => false,
      dev: 7n,
      mode: 0o40500n,
      nlink: 2n,
      ctimeMs: BigInt(now),
      birthtimeMs: BigInt(now),
    };
    expect(proofTrouble(stat, { since: now, dev: 7n })).toBeUndefined();
    expect(proofTrouble(stat, { since: now, dev: 8n })).toBe('it is on another file system');
  });

  test.runIf(mounts)('a file system mounted there, of whomever it says (skipped where nobody may mount)', async () => {
    mkdirSync(challenge.path, 0o500);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'mode=0500,uid=12345', 'credmon-test', challenge.path]);
    try {
      expect(lstatSync(challenge.path)).toMatchObject({ uid: 12345 });
      await refused('it is on another file system');
    } finally {
      execFileSync('umount', [challenge.path]);
    }
  });

  test('an old directory that was moved there has moved its ctime along, but was born before', () => {
    const now = Date.now();
    const stat = {
      isDirectory: () => true,
      isSymbolicLink: () => false,
      dev: 7n,
      mode: 0o40500n,
      nlink: 2n,
      ctimeMs: BigInt(now),
      birthtimeMs: BigInt(now - 5000),
    };
    const asked = { since: now, dev: 7n };
    expect(proofTrouble(stat, asked)).toBe('it was made before the broker asked for it');
    expect(proofTrouble({ ...stat, birthtimeMs: 0n }, asked)).toBeUndefined();
    expect(proofTrouble({ ...stat, nlink: 1n, birthtimeMs: BigInt(now) }, asked)).toBeUndefined();
  });

  test('a proof at another’s path proves nothing here', async () => {
    const other = challenges.fresh();
    mkdirSync(other.path, 0o500);
    await refused('nothing is there');
    renameSync(other.path, challenge.path);
    expect(existsSync(other.path)).toBe(false);
  });

  test.runIf(root)('not even its owner can move a directory like a proof there (skipped unless root)', () => {
    const elsewhere = join(dirname(dir), 'elsewhere');
    mkdirSync(elsewhere);
    chownSync(elsewhere, 12345, 12345);
    process.seteuid?.(12345);
    try {
      const theirs = join(elsewhere, 'theirs');
      mkdirSync(theirs, 0o500);
      expect(() => renameSync(theirs, challenge.path)).toThrow('EACCES');
    } finally {
      process.seteuid?.(0);
    }
  });

  test.runIf(root)('is its owner’s, and the folder’s owner can remove it (skipped unless root)', async () => {
    mkdirSync(challenge.path, 0o500);
    chownSync(challenge.path, 12345, 12345);
    expect(await challenge.look()).toBe(12345);
    chownSync(dir, 65534, 65534);
    process.seteuid?.(65534);
    try {
      await challenge.drop();
    } finally {
      process.seteuid?.(0);
    }
    expect(existsSync(challenge.path)).toBe(false);
  });

  test('what was left behind is swept away when it is old', async () => {
    const young = challenges.fresh().path;
    mkdirSync(young, 0o500);
    await challenges.sweep();
    expect(existsSync(young)).toBe(true);
    clock.advance(61_000);
    await challenges.sweep();
    expect(existsSync(young)).toBe(false);
  });
});

describe('the challenge folder', () => {
  const open = (dir: string) => openChallenges(dir, handClock(), listLog());
  const mode = (dir: string) => lstatSync(dir).mode & 0o7777;

  test('is made so that nobody sees the others’ names', async () => {
    const dir = join(room(), 'challenge');
    await open(dir);
    expect(mode(dir)).toBe(0o1733);
  });

  test('is mended if it is ours, and 1777 will do', async () => {
    const dir = room();
    await open(dir);
    expect(mode(dir)).toBe(0o1733);
    chmodSync(dir, 0o1777);
    await open(dir);
    expect(mode(dir)).toBe(0o1777);
    chmodSync(dir, 0o3733);
    await open(dir);
    expect(mode(dir)).toBe(0o1733);
  });

  test('is not a symbolic link, nor a file', async () => {
    const dir = room();
    symlinkSync(dir, join(dir, 'link'));
    await expect(open(join(dir, 'link'))).rejects.toThrow('is not a folder');
    writeFileSync(join(dir, 'file'), '');
    await expect(open(join(dir, 'file'))).rejects.toThrow('is not a folder');
  });

  test.runIf(root)('is not somebody else’s (skipped unless root)', async () => {
    const dir = room();
    chownSync(dir, 12345, 12345);
    await expect(open(dir)).rejects.toThrow('belongs to uid 12345');
    rmSync(dir, { recursive: true });
  });
});
