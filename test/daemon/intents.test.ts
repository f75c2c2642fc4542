import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { formatIntent, slotBytes } from '../../src/core/intent.js';
import { epochMs } from '../../src/core/time.js';
import { Intents, intentFile } from '../../src/daemon/intents.js';
import { openDir } from '../../src/stores/atomic.js';

function room() {
  const dir = mkdtempSync(join(tmpdir(), 'credmon-intents-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const log: string[] = [];
  const say = (text: string) => void log.push(text);
  let now = 1000;
  const open = () => {
    const folder = openDir(dir);
    const intents = new Intents(folder, {
      clock: { now: () => epochMs(now++) },
      log: { error: say, warn: say, info: say, debug: say },
    });
    onTestFinished(() => {
      folder.close();
    });
    return intents;
  };
  return { dir, log, open, file: join(dir, intentFile) };
}

describe('the record of refresh tokens that are out', () => {
  test('outlives us: what was out is a suspect after the next start, and what was settled is not', () => {
    const { open, file, log } = room();
    const first = open();
    for (const key of ['a/x', 'b/x', 'c/x', 'd/x']) first.sending(key, `${key[0]}1`);
    first.settled('b/x');
    first.refused('c/x');
    expect([...first.suspects()]).toEqual([]);
    const second = open();
    expect([...second.suspects()]).toEqual(['a/x', 'd/x']);
    expect([second.since('a/x', 'a1'), second.since('a/x', 'a2'), second.since('b/x', 'b1')]).toEqual([
      1000,
      undefined,
      undefined,
    ]);
    // Another `.top`, or none.
    second.forget('a/x', 'a1');
    second.forget('d/x', 'd2');
    expect([...second.suspects()]).toEqual(['a/x']);
    second.check(() => false);
    expect([...open().suspects()]).toEqual([]);
    expect(lstatSync(file).mode & 0o777).toBe(0o600);
    expect(log).toEqual([]);
  });

  test('a suspicion stays through refusals and further tries, and ends with a success', () => {
    const { open } = room();
    const intents = open();
    intents.sending('a/x', 's');
    intents.ended('a/x');
    expect(intents.since('a/x', 's')).toBe(1000);
    intents.sending('a/x', 's');
    intents.refused('a/x');
    expect(intents.since('a/x', 's')).toBe(1000);
    const next = open();
    expect([...next.suspects()]).toEqual(['a/x']);
    next.sending('a/x', 's');
    next.settled('a/x');
    next.ended('a/x');
    expect([...next.suspects(), ...open().suspects()]).toEqual([]);
  });

  test('what is replaced stays in the file while others are out, and never beside a newer record of its own', () => {
    const { open, file } = room();
    const intents = open();
    const records = () => [...readFileSync(file, 'latin1').matchAll(/^1 \d+ (\S+) (\S+) *$/gm)].map(([, ...of]) => of);
    for (const key of ['a/x', 'b/x', 'c/x']) intents.sending(key, 's1');
    intents.replaced('a/x');
    intents.replaced('b/x');
    expect([intents.since('a/x', 's1'), [...intents.suspects()]]).toEqual([undefined, []]);
    expect(records()).toHaveLength(3);
    // Its own slot, though another one is free for longer.
    intents.sending('b/x', 's2');
    expect(records()).toEqual([
      ['s1', 'a/x'],
      ['s2', 'b/x'],
      ['s1', 'c/x'],
    ]);
    intents.sending('d/x', 's1');
    expect(records()).toEqual([
      ['s1', 'd/x'],
      ['s2', 'b/x'],
      ['s1', 'c/x'],
    ]);
    intents.replaced('d/x');
    intents.ended('c/x');
    expect(records()).toHaveLength(3);
    intents.replaced('b/x');
    expect(records()).toEqual([['s1', 'c/x']]);
    expect([...intents.suspects()]).toEqual(['c/x']);
    // The last of those that are open from before leaves nothing behind either.
    const next = open();
    next.sending('c/x', 's1');
    next.replaced('c/x');
    expect(records()).toEqual([]);
  });

  test('of two records of one credential, which a disk that failed in between leaves, the later counts', () => {
    const { open, file } = room();
    const record = (key: string, stamp: string, since: number) => formatIntent({ key, stamp, since: epochMs(since) });
    const all = [record('a/x', 's1', 10), record('b/x', 's1', 11), record('a/x', 's2', 12), record('b/x', 's0', 9)];
    writeFileSync(file, all.join(''), { mode: 0o600 });
    for (const intents of [open(), open()]) {
      expect([intents.since('a/x', 's2'), intents.since('b/x', 's1')]).toEqual([12, 11]);
      expect([...intents.suspects()]).toEqual(['a/x', 'b/x']);
    }
  });

  test('slots are used again: the file stays as long as the most that were ever out at once', () => {
    const { open, file } = room();
    const intents = open();
    for (let n = 0; n < 1000; n++) {
      intents.sending(`u${n}/x`, 's');
      intents.settled(`u${n}/x`);
    }
    expect(lstatSync(file).size).toBe(96 * slotBytes);
    for (let n = 0; n < 100; n++) intents.sending(`u${n}/x`, 's');
    expect([...open().suspects()]).toHaveLength(100);
  });

  test.each<[string, (file: string, dir: string) => void]>([
    ['a symbolic link', (file, dir) => symlinkSync(join(dir, 'victim'), file)],
    ['a hard link', (file, dir) => linkSync(join(dir, 'victim'), file)],
    ['a FIFO', (file) => void execFileSync('mkfifo', [file])],
    [
      'one that others may write',
      (file) => {
        writeFileSync(file, 'x'.repeat(512));
        chmodSync(file, 0o666);
      },
    ],
    [
      'a huge one',
      (file) => {
        writeFileSync(file, 'x', { mode: 0o600 });
        truncateSync(file, 1 << 30);
      },
    ],
    ['garbage', (file) => writeFileSync(file, 'x'.repeat(700), { mode: 0o600 })],
  ])('%s in its place is told, not believed and not written, and another takes its place', (_, put) => {
    const { open, file, dir, log } = room();
    const victim = join(dir, 'victim');
    writeFileSync(victim, '1 5 s eve/x\n'.padEnd(512), { mode: 0o600 });
    put(file, dir);
    const before = readFileSync(victim, 'utf8');
    const intents = open();
    expect([...intents.suspects()]).toEqual([]);
    intents.sending('a/x', 's');
    expect(log).toHaveLength(1);
    expect(readFileSync(victim, 'utf8')).toBe(before);
    expect(lstatSync(file).isFile() && lstatSync(file).nlink === 1).toBe(true);
    expect([...open().suspects()]).toEqual(['a/x']);
    expect(readdirSync(dir).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  test('a folder in its place is told once, and stops nothing; when it is gone the record is there', () => {
    const { open, file, log } = room();
    mkdirSync(file);
    const intents = open();
    intents.sending('a/x', 's');
    intents.check(() => true);
    expect(log).toHaveLength(2);
    rmSync(file, { recursive: true });
    intents.check(() => true);
    expect([...open().suspects()]).toEqual(['a/x']);
  });

  test('another file in its place: neither is written, and nothing is lost', async () => {
    const { dir, open, file } = room();
    const intents = open();
    intents.sending('a/x', 's');
    const away = join(dir, 'away');
    renameSync(file, away);
    const there = readFileSync(away);
    writeFileSync(file, 'of somebody else', { mode: 0o600 });
    linkSync(file, join(dir, 'theirs'));
    // It is open no longer than a turn of the event loop, and looked at when it is opened.
    await new Promise((resolve) => setImmediate(resolve));
    intents.sending('b/x', 's');
    expect(readFileSync(away)).toEqual(there);
    expect(readFileSync(join(dir, 'theirs'), 'utf8')).toBe('of somebody else');
    expect([...open().suspects()]).toEqual(['a/x', 'b/x']);
  });

  test('is open for writing no longer than a turn of the event loop', async () => {
    const { open, file } = room();
    const intents = open();
    const opened = () =>
      readdirSync('/proc/self/fd').filter((fd) => {
        try {
          return readlinkSync(`/proc/self/fd/${fd}`) === file;
        } catch {
          return false;
        }
      }).length;
    for (const key of ['a/x', 'b/x']) intents.sending(key, 's');
    intents.settled('a/x');
    expect(opened()).toBe(1);
    await new Promise((resolve) => setImmediate(resolve));
    expect(opened()).toBe(0);
    intents.settled('b/x');
    expect([...open().suspects()]).toEqual([]);
  });

  test('a file that was taken away is made again at the next look', () => {
    const { open, file } = room();
    const intents = open();
    intents.sending('a/x', 's');
    rmSync(file);
    intents.check(() => true);
    expect(existsSync(file)).toBe(true);
    expect([...open().suspects()]).toEqual(['a/x']);
  });
});
