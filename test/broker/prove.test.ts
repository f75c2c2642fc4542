import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { prove } from '../../src/broker/prove.js';
import { room } from './kit.js';

const name = 'a1'.repeat(24);
const uid = process.getuid?.() ?? -1;

describe('prove', () => {
  let dir: string;
  beforeEach(() => {
    dir = join(room(), 'challenge');
    mkdirSync(dir);
    chmodSync(dir, 0o1733);
  });
  const at = (path: string, owners: readonly number[] = [uid]) => prove(path, { dir, owners });

  test('makes the directory, and removes it', async () => {
    const undo = await at(join(dir, name));
    expect(lstatSync(join(dir, name)).mode & 0o7777).toBe(0o500);
    await undo();
    expect(existsSync(join(dir, name))).toBe(false);
    await undo();
  });

  test.each([
    ['elsewhere', (d: string) => join(d, '..', name)],
    ['deeper', (d: string) => join(d, 'x', name)],
    ['through ..', (d: string) => `${d}/x/../${name}`],
    ['a relative path', () => name],
    ['another name', (d: string) => join(d, '.ssh')],
    ['a short name', (d: string) => join(d, 'abc')],
    ['a trailing slash', (d: string) => `${d}/${name}/`],
    ['a newline', (d: string) => `${d}/${name}\n`],
    ['the folder itself', (d: string) => d],
  ])('%s: nothing is made', async (_, path) => {
    await expect(at(path(dir))).rejects.toThrow('not a fresh one in');
    expect(readdirSync(dir)).toEqual([]);
    expect(readdirSync(join(dir, '..'))).toEqual(['challenge']);
  });

  test('a folder that is not sticky, not there, a link, or another’s', async () => {
    await expect(at(join(dir, name), [uid + 1])).rejects.toThrow(`belongs to uid ${uid}, neither root nor the broker`);
    chmodSync(dir, 0o777);
    await expect(at(join(dir, name))).rejects.toThrow('is not sticky');
    expect(readdirSync(dir)).toEqual([]);
    const link = `${dir}-link`;
    symlinkSync(dir, link);
    await expect(prove(join(link, name), { dir: link, owners: [uid] })).rejects.toThrow('is not a folder');
    await expect(prove('/nonexistent/x', { dir: '/nonexistent', owners: [uid] })).rejects.toThrow('not a fresh one');
    await expect(prove(`/nonexistent/${name}`, { dir: '/nonexistent', owners: [uid] })).rejects.toThrow('ENOENT');
  });

  test('what is there already is not taken for ours', async () => {
    mkdirSync(join(dir, name), 0o500);
    await expect(at(join(dir, name))).rejects.toThrow('EEXIST');
    expect(existsSync(join(dir, name))).toBe(true);
  });
});
