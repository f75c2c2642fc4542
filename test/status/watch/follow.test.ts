import { appendFileSync, mkdtempSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Follow } from '../../../src/status/watch/follow.js';
import { atLeisure, hurried } from './kit.js';

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'credmon-follow-'));
  path = join(dir, 'all.json');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function setUp() {
  const said: string[] = [];
  const follow = new Follow({
    path,
    line: (line) => void said.push(line),
    begin: () => void said.push('BEGIN'),
    end: () => void said.push('END') as unknown as boolean,
  });
  return {
    follow,
    /** What is new. */
    next: () => {
      follow.look();
      while (follow.read(atLeisure));
      return said.splice(0).join(' ');
    },
    said,
  };
}
const replace = (text: string) => {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
};

describe('a file that grows', () => {
  test('is read once, and then what was added; a line without its end is left for later', () => {
    writeFileSync(path, 'a\nb\n');
    const { next, follow } = setUp();
    expect(next()).toBe('BEGIN a b END');
    expect(follow.isRead).toBe(true);
    expect(next()).toBe('');
    appendFileSync(path, 'c\nd');
    expect(next()).toBe('c');
    appendFileSync(path, 'e\n');
    expect(next()).toBe('de');
  });

  test('another one in its place is read from the beginning', () => {
    writeFileSync(path, 'a\n');
    const { next } = setUp();
    next();
    appendFileSync(path, 'not read any more\n');
    replace('b\n');
    expect(next()).toBe('BEGIN b END');
    truncateSync(path, 0);
    appendFileSync(path, 'c\n');
    replace('');
    expect(next()).toBe('BEGIN END');
  });

  test('one that was cut is one that was begun anew', () => {
    writeFileSync(path, 'a\nb\n');
    const { next } = setUp();
    next();
    truncateSync(path, 2);
    expect(next()).toBe('BEGIN a END');
  });

  test('is read in pieces, none much longer than 64 KiB', () => {
    writeFileSync(path, `${'x'.repeat(999)}\n`.repeat(1000));
    const { follow, said } = setUp();
    follow.look();
    const pieces: number[] = [];
    for (let more = true; more; ) {
      more = follow.read(hurried);
      expect(follow.isRead).toBe(!more);
      pieces.push(said.splice(0).filter((line) => line.startsWith('x')).length);
    }
    expect(pieces.reduce((sum, n) => sum + n)).toBe(1000);
    expect(Math.max(...pieces)).toBe(65);
  });

  test('one that is not there, or cannot be read, is waited for; what was read stays', () => {
    const { next, follow } = setUp();
    expect([next(), follow.hindrance]).toEqual(['', 'missing']);
    writeFileSync(path, 'a\n');
    expect([next(), follow.hindrance]).toEqual(['BEGIN a END', undefined]);
    rmSync(path);
    expect([next(), follow.hindrance]).toEqual(['', 'missing']);
    symlinkSync('/etc/hosts', path);
    expect([next(), follow.hindrance]).toEqual(['', { code: 'ELOOP' }]);
    rmSync(path);
    replace('b\n');
    expect([next(), follow.hindrance]).toEqual(['BEGIN b END', undefined]);
    follow.close();
    rmSync(dir, { recursive: true });
    expect([next(), follow.hindrance]).toEqual(['', 'missing']);
  });
});
