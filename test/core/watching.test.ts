import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { seconds } from '../../src/core/time.js';
import { toWatchMore, unwatchedInWords, unwatchedNotice } from '../../src/core/watching.js';

test.each([
  ['ENOSPC', 'raise fs.inotify.max_user_watches', 'fs.inotify.max_user_watches'],
  ['EMFILE', 'raise fs.inotify.max_user_instances, or the limit of open files', 'fs.inotify.max_user_instances'],
])('%s: which limit to raise, and how', (refused, cure, limit) => {
  expect(unwatchedInWords(refused, seconds(60))).toBe(
    `not every folder can be watched (${refused}): changes there are seen with a SIGHUP, or within 60 s; ${cure}`,
  );
  expect(unwatchedNotice(refused, seconds(60))).toMatch(/^Not every folder .*\. Run: sysctl -w fs\.inotify\./);
  // With a sysctl that shows what it is told, and one limit as it is.
  const sysctl = `sysctl() { case $1 in -n) echo 8192;; *) echo "$*";; esac; }; ${toWatchMore(refused)?.[0]}`;
  expect(execFileSync('sh', ['-c', sysctl], { encoding: 'utf8' })).toBe(`-w ${limit}=16384\n`);
  expect(toWatchMore(refused)?.[1]).toBe(`sysctl ${limit} > /etc/sysctl.d/60-credmon-${limit.split('.').at(-1)}.conf`);
});

test('for any other reason no limit is named, nothing acts on a terminal, and none is nothing to tell', () => {
  expect(unwatchedNotice('EACCES\x1b[2J', seconds(5))).toBe(
    'Not every folder can be watched (EACCES): changes there are seen with a SIGHUP, or within 5 s.',
  );
  expect(toWatchMore('EACCES')).toBeUndefined();
  expect(unwatchedNotice(undefined, seconds(5))).toBeUndefined();
});
