import { execFile, spawnSync } from 'node:child_process';
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Failed, type Failure } from '../../src/core/failure.js';
import { epochMs } from '../../src/core/time.js';
import {
  type DirHandle,
  isStray,
  openDir,
  readBounded,
  readBoundedNow,
  removeSecret,
  stampAt,
  sweepStrays,
  writeSecret,
} from '../../src/stores/atomic.js';
import { built, readOnly, room, unprivileged, weAreRoot, withUmask } from './room.js';

function opened(path = room()): DirHandle {
  const dir = openDir(path);
  onTestFinished(() => dir.close());
  return dir;
}

async function failure(act: () => Promise<unknown> | unknown): Promise<Failure> {
  try {
    await act();
  } catch (thrown) {
    if (thrown instanceof Failed) return thrown.failure;
    throw thrown;
  }
  throw new Error('it did not fail');
}

const modeOf = (path: string): number => statSync(path).mode & 0o7777;
const durable = { durable: true };
const quick = { durable: false };

describe('writeSecret', () => {
  test('any bytes under any name come back whole, with the stamp that was promised', async () => {
    const dir = opened();
    await fc.assert(
      fc.asyncProperty(
        fc.stringMatching(/^[A-Za-z0-9+=_-][A-Za-z0-9+=_.-]{0,60}$/),
        fc.uint8Array({ minLength: 1, maxLength: 5000 }),
        fc.boolean(),
        async (name, bytes, lasting) => {
          const stamp = await writeSecret(dir, name, bytes, { durable: lasting });
          const back = await readBounded(dir, name, { limit: 5000, owners: [process.getuid?.() ?? -1] });
          expect(back.trouble ?? Buffer.compare(back.bytes, bytes)).toBe(0);
          expect(back).toMatchObject({ stamp });
          expect(stampAt(dir, name)).toBe(stamp);
        },
      ),
      { numRuns: 60 },
    );
    expect(readdirSync(dir.path).filter(isStray)).toEqual([]);
  });

  test('the mode is the one asked for, under any umask', async () => {
    for (const mask of [0o000, 0o022, 0o077, 0o777]) {
      const dir = opened();
      await withUmask(mask, async () => {
        await writeSecret(dir, 'a', 'secret', quick);
        await writeSecret(dir, 'b', 'secret', { mode: 0o400, durable: true });
        await writeSecret(dir, 'c', 'secret', { mode: 0o640, durable: true });
        expect(['a', 'b', 'c'].map((name) => modeOf(join(dir.path, name)))).toEqual([0o600, 0o400, 0o640]);
      });
    }
  });

  test('replaces, and the replaced file is another inode: open readers keep the old one', async () => {
    const dir = opened();
    const first = await writeSecret(dir, 'a', 'one', durable);
    const second = await writeSecret(dir, 'a', 'two', durable);
    expect(second).not.toBe(first);
    expect(readFileSync(join(dir.path, 'a'), 'utf8')).toBe('two');
  });

  test('while fsyncs of its tree are under way, what need not last waits for their end, and what must last does not', async () => {
    const dir = opened();
    mkdirSync(join(dir.path, 'in'));
    const inner = dir.sub('in');
    onTestFinished(() => inner.close());
    const round = dir.rounds.sync(dir.fd);
    // It begins with the next turn, and cannot be told of before the one after.
    await new Promise((resolve) => setImmediate(resolve));
    const use = writeSecret(inner, 'use', 'again', quick);
    expect(readdirSync(inner.path)).toEqual([]);
    const top = writeSecret(inner, 'top', 'only here', durable);
    expect(readdirSync(inner.path).filter(isStray)).toHaveLength(1);
    await Promise.all([round, use, top]);
    expect(readdirSync(inner.path).sort()).toEqual(['top', 'use']);
  });

  test('and is refused where its folder was closed meanwhile: the descriptor may be another folder by then', async () => {
    const dir = opened();
    for (const name of ['in', 'other']) mkdirSync(join(dir.path, name));
    const inner = dir.sub('in');
    const round = dir.rounds.sync(dir.fd);
    await new Promise((resolve) => setImmediate(resolve));
    const use = writeSecret(inner, 'use', 'again', quick);
    inner.close();
    const other = dir.sub('other');
    onTestFinished(() => other.close());
    expect(other.fd).toBe(inner.fd);
    await expect(use).rejects.toThrow();
    await round;
    expect(readdirSync(other.path)).toEqual([]);
  });

  test('what is not asked for its stamp has none', async () => {
    const dir = opened();
    expect(await writeSecret(dir, 'a', 'one', { durable: false, stamped: false })).toBe('');
    expect(readFileSync(join(dir.path, 'a'), 'utf8')).toBe('one');
  });

  test('takes a path as well as an open folder', async () => {
    const path = room();
    await writeSecret(path, 'a', 'one', durable);
    expect(readFileSync(join(path, 'a'), 'utf8')).toBe('one');
  });

  test('many writers and readers at once: every reader sees one writer’s value whole', async () => {
    const dir = opened();
    const value = (n: number): string => `${n}:`.padEnd(20_000, String(n % 10));
    await writeSecret(dir, 'a', value(0), quick);
    const writers = Promise.all(
      Array.from({ length: 64 }, (_, n) => writeSecret(dir, 'a', value(n), { durable: n % 2 === 0 })),
    );
    const seen = Promise.all(Array.from({ length: 200 }, () => readBounded(dir, 'a', { limit: 30_000 })));
    for (const read of await seen) {
      const text = read.trouble ?? read.bytes.toString();
      expect(text).toBe(value(Number.parseInt(text, 10)));
    }
    await writers;
    expect(readdirSync(dir.path)).toEqual(['a']);
  });

  test('is not led astray by a symbolic link, a folder or a FIFO in its place', async () => {
    const path = room();
    const dir = opened(path);
    const outside = join(room(), 'victim');
    writeFileSync(outside, 'untouched');
    symlinkSync(outside, join(path, 'link'));
    spawnSync('mkfifo', [join(path, 'fifo')]);
    mkdirSync(join(path, 'folder'));
    await writeSecret(dir, 'link', 'secret', durable);
    await writeSecret(dir, 'fifo', 'secret', durable);
    expect(await failure(() => writeSecret(dir, 'folder', 'secret', durable))).toMatchObject({
      kind: 'storage',
      what: `cannot write ${path}/folder: a folder is in its place`,
    });
    expect(readFileSync(outside, 'utf8')).toBe('untouched');
    expect(lstatSync(join(path, 'link')).isFile()).toBe(true);
    expect(lstatSync(join(path, 'fifo')).isFile()).toBe(true);
    expect(readdirSync(path).sort()).toEqual(['fifo', 'folder', 'link']);
  });

  test('check has the last word: what it throws is thrown, and the old file is whole', async () => {
    const dir = opened();
    const stamp = await writeSecret(dir, 'a', 'old', durable);
    const superseded = new Error('superseded');
    const check = (): void => {
      if (stampAt(dir, 'a') !== stamp) throw superseded;
    };
    await writeSecret(dir, 'a', 'new', { durable: true, check });
    await expect(writeSecret(dir, 'a', 'late', { durable: true, check })).rejects.toBe(superseded);
    expect(readFileSync(join(dir.path, 'a'), 'utf8')).toBe('new');
    expect(readdirSync(dir.path)).toEqual(['a']);
    await expect(removeSecret(dir, 'a', { durable: true, check })).rejects.toBe(superseded);
  });

  test('a deleted file is not brought back', async () => {
    const dir = opened();
    await writeSecret(dir, 'a', 'old', durable);
    const gone = new Error('gone');
    const check = (): void => {
      unlinkSync(join(dir.path, 'a')); // somebody else, at the worst moment
      if (stampAt(dir, 'a') === undefined) throw gone;
    };
    await expect(writeSecret(dir, 'a', 'new', { durable: true, check })).rejects.toBe(gone);
    expect(readdirSync(dir.path)).toEqual([]);
  });

  test('a file limit hit halfway leaves the old file and nothing else (disk full and quota go the same way)', async () => {
    const path = room();
    await writeSecret(path, 'a', 'old', durable);
    const script = `
      const { writeSecret } = await import(process.argv[1]);
      await writeSecret(process.argv[2], 'a', 'x'.repeat(1e6), { durable: true }).catch((e) => console.log(JSON.stringify(e.failure)));`;
    const { stdout } = await promisify(execFile)('sh', [
      ...['-c', 'ulimit -f 8; exec "$@"', 'sh', process.execPath, '--input-type=module', '-e', script],
      ...[built('stores/atomic.js'), path],
    ]);
    expect(JSON.parse(stdout)).toMatchObject({
      kind: 'storage',
      what: `cannot write ${path}/a: the file would be larger than allowed`,
    });
    expect(readFileSync(join(path, 'a'), 'utf8')).toBe('old');
    expect(readdirSync(path)).toEqual(['a']);
  });

  test('a folder that may not be written to', async () => {
    const path = room();
    await writeSecret(path, 'a', 'old', durable);
    await unprivileged([path], async () => {
      readOnly(path);
      expect(await failure(() => writeSecret(path, 'a', 'new', durable))).toEqual({
        kind: 'storage',
        what: `cannot write ${path}/a: permission denied`,
        hint: 'look at the owner and mode of that folder and of those above it',
      });
    });
    expect(readFileSync(join(path, 'a'), 'utf8')).toBe('old');
  });

  test('a folder that is not there, is a file, or is a symbolic link', async () => {
    const path = room();
    writeFileSync(join(path, 'file'), '');
    symlinkSync(path, join(path, 'link'));
    for (const name of ['nowhere', 'file', 'link']) {
      const { kind, what } = await failure(() => writeSecret(join(path, name), 'a', 'x', durable));
      expect([kind, what.startsWith(`cannot open ${join(path, name)}: it `)]).toEqual(['storage', true]);
    }
  });

  test.runIf(weAreRoot)('gives the file away before anything is in it', async () => {
    const dir = opened();
    const check = (): void => {
      const [stray] = readdirSync(dir.path).filter(isStray);
      expect(statSync(join(dir.path, stray ?? ''))).toMatchObject({ uid: 1234, gid: 4321 });
    };
    await writeSecret(dir, 'a', 'x', { uid: 1234, gid: 4321, mode: 0o640, durable: false, check });
    expect(modeOf(join(dir.path, 'a'))).toBe(0o640);
  });

  test('giving away without being root fails, and leaves nothing', async () => {
    const path = room();
    await unprivileged([path], async () => {
      expect(await failure(() => writeSecret(path, 'a', 'x', { uid: 0, durable: false }))).toMatchObject({
        kind: 'storage',
        what: `cannot write ${path}/a: it is not permitted`,
      });
    });
    expect(readdirSync(path)).toEqual([]);
  });
});

describe('an open folder', () => {
  test('names nothing outside itself', () => {
    const dir = opened();
    for (const name of ['', '.', '..', 'a/b', '/etc/passwd', '../a', 'a\0b']) {
      expect(() => dir.at(name)).toThrow(RangeError);
      expect(() => dir.sub(name)).toThrow(RangeError);
    }
  });

  test('stays the same folder when another is put in its place', async () => {
    const path = room();
    mkdirSync(join(path, 'real'));
    mkdirSync(join(path, 'elsewhere'));
    const dir = opened(join(path, 'real'));
    renameSync(join(path, 'real'), join(path, 'moved'));
    symlinkSync(join(path, 'elsewhere'), join(path, 'real'));
    await writeSecret(dir, 'a', 'x', durable);
    expect(readdirSync(join(path, 'moved'))).toEqual(['a']);
    expect(readdirSync(join(path, 'elsewhere'))).toEqual([]);
  });

  test('opens folders within it, but no symbolic link', () => {
    const path = room();
    mkdirSync(join(path, 'sub'));
    symlinkSync('sub', join(path, 'link'));
    const dir = opened(path);
    const sub = dir.sub('sub');
    expect(sub.path).toBe(join(path, 'sub'));
    sub.close();
    sub.close();
    expect(() => sub.at('a')).toThrow(RangeError);
    expect(() => dir.sub('link')).toThrow(Failed);
  });
});

describe.each([
  ['readBounded', readBounded],
  ['readBoundedNow', readBoundedNow],
] as const)('%s', (_, read) => {
  test('says what is wrong with what is there', async () => {
    const path = room();
    const dir = opened(path);
    const file = (name: string, text: string): void => writeFileSync(join(path, name), text);
    file('good', 'four');
    file('empty', '');
    file('large', 'fives');
    file('linked', 'x');
    linkSync(join(path, 'linked'), join(path, 'again'));
    symlinkSync('good', join(path, 'symlink'));
    mkdirSync(join(path, 'folder'));
    spawnSync('mkfifo', [join(path, 'fifo')]);
    const server = createServer();
    await new Promise<void>((done) => server.listen(join(path, 'socket'), done));
    onTestFinished(() => void server.close());
    const us = process.getuid?.() ?? -1;
    const said = async (name: string, owners?: number[]): Promise<string> => {
      const result = await read(dir, name, owners ? { limit: 4, owners } : { limit: 4 });
      return result.trouble ?? result.bytes.toString();
    };
    expect(await said('good')).toBe('four');
    expect(await said('good', [us])).toBe('four');
    expect(await said('good', [us + 1])).toBe('wrong owner');
    expect(await said('absent')).toBe('absent');
    expect(await said('empty')).toBe('empty');
    expect(await said('large')).toBe('too large');
    expect(await said('linked')).toBe('hard link');
    for (const name of ['symlink', 'folder', 'fifo', 'socket'])
      expect([name, await said(name)]).toEqual([name, 'not a file']);
  });

  test('what may not be read fails', async () => {
    const path = room();
    writeFileSync(join(path, 'a'), 'x');
    chmodSync(join(path, 'a'), 0);
    await unprivileged([path], async () => {
      const dir = opened(path);
      expect(await failure(() => read(dir, 'a', { limit: 9 }))).toMatchObject({
        kind: 'storage',
        what: `cannot read ${path}/a: permission denied`,
      });
    });
  });
});

test('removeSecret says whether there was one', async () => {
  const dir = opened();
  await writeSecret(dir, 'a', 'x', durable);
  expect(await removeSecret(dir, 'a', durable)).toBe(true);
  expect(await removeSecret(dir, 'a', durable)).toBe(false);
});

test('sweepStrays takes old leftovers and nothing else', () => {
  const dir = opened();
  const old = `.credmon-${'0'.repeat(24)}.tmp`;
  const fresh = `.credmon-${'1'.repeat(24)}.tmp`;
  const others = ['cilogon.top', '.credmon-zz.tmp', 'tmpabc', '.hidden'];
  for (const name of [old, fresh, ...others]) writeFileSync(join(dir.path, name), 'x');
  for (const name of [old, ...others]) utimesSync(join(dir.path, name), 1000, 1000);
  expect(sweepStrays(dir, epochMs(2_000_000))).toBe(1);
  expect(readdirSync(dir.path).sort()).toEqual([fresh, ...others].sort());
});
