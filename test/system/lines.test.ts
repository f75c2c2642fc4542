import { execFileSync } from 'node:child_process';
import { appendFileSync, linkSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Lines } from '../../src/system/lines.js';
import { room } from '../stores/room.js';

function all(lines: Lines): string[] {
  const read: string[] = [];
  while (lines.next((line) => read.push(line)));
  return read;
}

test('whole lines, also very long ones; what is added later is read later', () => {
  const path = join(room(), 'f');
  const long = 'ü'.repeat(1_000_000);
  writeFileSync(path, `a\n\n${long}\nb`);
  const lines = Lines.open(path) as Lines;
  expect(all(lines)).toEqual(['a', '', long]);
  expect(lines.rest()).toBe('b');
  expect(all(lines)).toEqual([]);
  appendFileSync(path, 'c\nd');
  expect(all(lines)).toEqual(['bc']);
  expect(lines.at).toBe(2_000_000 + 7);
  lines.close();
});

test('many lines are all of them, each once', () => {
  const path = join(room(), 'f');
  const many = Array.from({ length: 100_000 }, (_, n) => `line ${n}`);
  writeFileSync(path, `${many.join('\n')}\n`);
  const lines = Lines.open(path) as Lines;
  expect(all(lines)).toEqual(many);
  lines.close();
});

test('what is no file, or has further names, is not read; a link is not followed', () => {
  const dir = room();
  const [file, fifo, link, other] = ['file', 'fifo', 'link', 'other'].map((name) => join(dir, name)) as [
    string,
    string,
    string,
    string,
  ];
  writeFileSync(file, 'a\n');
  execFileSync('mkfifo', [fifo]);
  symlinkSync(file, link);
  expect(Lines.open(fifo)).toBeUndefined();
  expect(() => Lines.open(link)).toThrow('ELOOP');
  expect(() => Lines.open(join(dir, 'nowhere'))).toThrow('ENOENT');
  linkSync(file, other);
  expect(Lines.open(file)).toBeUndefined();
});
