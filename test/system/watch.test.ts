import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { roomFor, type WatchOptions, watchTree } from '../../src/system/watch.js';
import { unprivileged } from '../stores/room.js';

/** A root with these folders in it, watched; `heard`: of which folders it told, in order. */
function open(folders: readonly string[], options: WatchOptions = {}) {
  const root = mkdtempSync(join(tmpdir(), 'credmon-watch-'));
  for (const folder of folders) mkdirSync(join(root, folder));
  const heard: string[] = [];
  const watch = watchTree(root, (folder, leaving) => heard.push(leaving ? `${folder} leaving` : folder), options);
  onTestFinished(() => {
    watch.close();
    rmSync(root, { recursive: true, force: true });
  });
  const write = (...path: string[]) => writeFileSync(join(root, ...path), 'x');
  const until = (...wanted: string[]) =>
    vi.waitUntil(() => wanted.every((folder) => heard.includes(folder)), { timeout: 15_000, interval: 2 });
  return { root, watch, heard, write, until };
}

describe('a folder and those in it', () => {
  test('what appears in the root and in a watched folder is told, by the folder', async () => {
    const { root, watch, heard, write, until } = open(['alice', 'bob']);
    watch.add('alice');
    write('alice', 'a.top');
    await until('alice');
    mkdirSync(join(root, 'carol'));
    await until('carol');
    expect(heard).not.toContain('bob');
    expect(watch.watched).toBe(1);
  });

  test('names that do not matter are passed over', async () => {
    const { watch, heard, write, until } = open(['alice', 'bob'], { matters: (name) => name.endsWith('.top') });
    for (const user of ['alice', 'bob']) watch.add(user);
    write('alice', 'a.use');
    write('bob', 'a.top');
    await until('bob');
    expect(heard).not.toContain('alice');
  });

  test('a folder that was removed and made again is watched again when it is named again', async () => {
    const { root, watch, heard, write, until } = open(['alice'], { matters: (name) => name.endsWith('.top') });
    watch.add('alice');
    rmSync(join(root, 'alice'), { recursive: true });
    await vi.waitUntil(() => watch.watched === 0, { timeout: 15_000, interval: 2 });
    mkdirSync(join(root, 'alice'));
    await until('alice');
    watch.add('alice');
    heard.length = 0;
    write('alice', 'a.top');
    await until('alice');
  });

  test('neither a symbolic link nor a file is watched, and that is no refusal of the system', async () => {
    const { root, watch, heard, write, until } = open(['alice', 'elsewhere']);
    symlinkSync(join(root, 'elsewhere'), join(root, 'mallory'));
    write('file');
    for (const name of ['mallory', 'file', 'nobody', 'alice']) watch.add(name);
    expect([watch.watched, watch.refused]).toEqual([1, undefined]);
    await until('mallory', 'file');
    heard.length = 0;
    write('elsewhere', 'a.top');
    write('alice', 'a.top');
    await until('alice');
    expect(heard).not.toContain('mallory');
  });
});

describe('no more folders than there is room for', () => {
  test('those that are named first take the place of the one of which nothing was heard for longest', async () => {
    const { watch, heard, write, until } = open(['a', 'b', 'c', 'd'], { room: 2 });
    for (const folder of ['a', 'b', 'c']) watch.add(folder);
    expect(watch.watched).toBe(2);
    watch.add('a', true);
    watch.add('d', true);
    expect(watch.watched).toBe(2);
    for (const folder of ['a', 'b', 'c', 'd']) write(folder, 'x.top');
    await until('a', 'd');
    write('a', 'y.top');
    await until('a');
    expect(new Set(heard)).toEqual(new Set(['a', 'b leaving', 'd']));
  });

  test('12,000 are all watched, or half of what the system has watches for; of more, and where it has few, 4,000', () => {
    expect([0, 12_000, 12_001].map((folders) => roomFor(folders, 1e6))).toEqual([12_000, 12_000, 4000]);
    expect([5000, 5001].map((folders) => roomFor(folders, 10_000))).toEqual([5000, 4000]);
    expect([100, 9000].map((folders) => roomFor(folders, 4096))).toEqual([4000, 4000]);
  });

  test('where there are so many that fewer have room, those of which nothing was heard for longest go by and by', async () => {
    const names = Array.from({ length: 250 }, (_, n) => `u${n}`);
    const { watch, heard, write, until } = open(names, { room: (folders) => (folders > 250 ? 20 : 250) });
    watch.fit(250);
    for (const folder of names) watch.add(folder);
    watch.again();
    expect([watch.watched, watch.room]).toEqual([250, 250]);
    watch.fit(251);
    watch.add('another');
    expect([watch.watched, watch.room]).toEqual([250, 20]);
    for (const left of [150, 50, 20, 20]) {
      watch.again();
      expect(watch.watched).toBe(left);
    }
    await vi.waitUntil(() => heard.length >= 230, { timeout: 15_000, interval: 2 });
    expect(new Set(heard)).toEqual(new Set(names.slice(0, 230).map((name) => `${name} leaving`)));
    write('u230', 'x.top');
    await until('u230');
    watch.fit(20);
    watch.add('u0');
    expect([watch.watched, watch.room]).toEqual([21, 250]);
  });

  test('what happened in one a moment before its place was given to another is told', async () => {
    const { watch, heard, write, until } = open(['a', 'b', 'c'], { room: 2 });
    for (const folder of ['a', 'b']) watch.add(folder);
    // Nobody reads meanwhile: the event loop is ours.
    write('a', 'x.top');
    watch.add('c', true);
    await until('a leaving');
    expect([watch.watched, heard]).toEqual([2, ['a leaving']]);
  });

  test('one of which something was heard a moment ago gives way to nobody who has been quiet', async () => {
    const { watch, heard, write, until } = open(['a', 'b', 'c'], { room: 2, gather: 200 });
    for (const folder of ['a', 'b']) watch.add(folder);
    write('b', 'x.top');
    await until('b');
    // Heard, and not told yet.
    write('a', 'x.top');
    // The kernel has told of it at once: it is read in the next turn.
    for (let n = 0; n < 3; n++) await turn();
    watch.add('c', true);
    write('a', 'y.top');
    await until('a', 'b leaving');
    expect(heard).not.toContain('a leaving');
  });

  test('a file that comes in the root takes no folder’s place', async () => {
    const { watch, heard, write, until } = open(['a'], { room: 1 });
    watch.add('a');
    write('COMPLETE');
    await until('COMPLETE');
    watch.add('COMPLETE', true);
    write('file');
    await until('file');
    expect([watch.watched, heard]).toEqual([1, ['COMPLETE', 'file']]);
  });
});

describe('a system that lets us watch no more', () => {
  test('one that it refused, and for which there is no room when it would let us, is no refusal any more', () =>
    unprivileged([], async () => {
      const { root, watch } = open(['a', 'b', 'c', 'd'], { room: 3 });
      watch.add('a');
      chmodSync(join(root, 'c'), 0);
      for (const folder of ['c', 'b', 'd']) watch.add(folder);
      expect([watch.watched, watch.refused, watch.again()]).toEqual([1, 'EACCES', ['c', 'b', 'd']]);
      // Still so.
      watch.add('c');
      expect(watch.refused).toBe('EACCES');

      chmodSync(join(root, 'c'), 0o700);
      watch.again();
      for (const folder of ['b', 'd']) watch.add(folder);
      expect([watch.watched, watch.refused]).toEqual([3, 'EACCES']);
      watch.add('c');
      expect([watch.watched, watch.refused, watch.again()]).toEqual([3, undefined, []]);
    }));

  test('one that it refuses in another’s place as well takes that place from nobody, nor does one that is gone', () =>
    unprivileged([], async () => {
      const { root, watch, heard, write, until } = open(['a', 'b', 'c'], { room: 2 });
      for (const folder of ['a', 'b']) watch.add(folder);
      chmodSync(join(root, 'c'), 0);
      for (const folder of ['c', 'gone', 'c']) watch.add(folder, true);
      expect([watch.watched, watch.refused, watch.again()]).toEqual([2, 'EACCES', ['c']]);
      heard.length = 0;
      for (const folder of ['a', 'b']) write(folder, 'x.top');
      await until('a', 'b');
    }));

  test('what happened in one a moment before another was tried in its place is told', () =>
    unprivileged([], async () => {
      const { root, watch, heard, write, until } = open(['a', 'b', 'c']);
      for (const folder of ['a', 'b']) watch.add(folder);
      chmodSync(join(root, 'c'), 0);
      watch.add('c');
      write('a', 'x.top');
      watch.add('c', true);
      expect(watch.watched).toBe(2);
      await until('a');
      expect(heard.filter((folder) => folder !== 'c')).toEqual(['a']);
    }));

  test('whose place was given away is to be added again', () =>
    unprivileged([], async () => {
      const { root, watch } = open(['a', 'b', 'c']);
      watch.add('a');
      chmodSync(join(root, 'c'), 0);
      watch.add('c');
      watch.add('b', true);
      expect([watch.watched, watch.again()]).toEqual([1, ['c', 'a']]);
      chmodSync(join(root, 'c'), 0o700);
      for (const folder of ['c', 'a']) watch.add(folder);
      expect([watch.watched, watch.refused]).toEqual([3, undefined]);
    }));
});

describe('a kernel that loses events', () => {
  test('is noticed by how many came at once, once for them all, and a folder of that time is watched anew', async () => {
    let lost = 0;
    const { root, watch, heard, write, until } = open(['alice', 'bob'], { queue: 100, lost: () => lost++ });
    watch.add('alice');
    watch.add('bob');
    // Nobody reads meanwhile: the event loop is ours.
    for (let n = 0; n < 200; n++) write('alice', `${n}.top`);
    await until('alice');
    await vi.waitUntil(() => lost > 0, { timeout: 15_000, interval: 2 });
    expect(lost).toBe(1);
    // As if the events of this had been among the lost: nothing has told that the watch is dead.
    renameSync(join(root, 'bob'), join(root, 'was-bob'));
    mkdirSync(join(root, 'bob'));
    watch.add('bob');
    await until('bob');
    heard.length = 0;
    write('bob', 'new.top');
    await until('bob');
  });

  test('a few events are nothing to be told of', async () => {
    let lost = 0;
    const { watch, write, until } = open(['alice'], { queue: 100, lost: () => lost++ });
    watch.add('alice');
    for (let n = 0; n < 5; n++) {
      write('alice', `${n}.top`);
      await until('alice');
    }
    expect(lost).toBe(0);
  });
});
