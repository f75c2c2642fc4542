import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { outcomes, sshLoginsFile } from '../../src/core/ssh-logins.js';
import { readSshLogins } from '../../src/status/read.js';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'credmon-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

const read = () => readSshLogins(join(dir, 'socket'));
const good = JSON.stringify({ ...Object.fromEntries(outcomes.map((name) => [name, 1])), since: 2 });

test('what the broker tells of ssh logins is read', () => {
  expect(read()).toBeUndefined();
  writeFileSync(join(dir, sshLoginsFile), `${good}\n`);
  expect(read()).toMatchObject({ asked: 1, since: 2 });
});

test.each<[string, (path: string) => void]>([
  ['a FIFO', (path) => void execFileSync('mkfifo', [path])],
  ['an endless device by a symbolic link', (path) => symlinkSync('/dev/zero', path)],
  ['more than it can be', (path) => writeFileSync(path, good + ' '.repeat(1 << 20))],
])('a broker that was broken into holds nobody up: %s', (_, make) => {
  make(join(dir, sshLoginsFile));
  const found = read();
  if (found !== undefined) expect(found).toMatchObject({ asked: 1 });
});
