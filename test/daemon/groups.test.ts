import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { readText } from '../../src/config/text.js';
import { openGroups } from '../../src/daemon/groups.js';
import { failure, file } from '../grants/kit.js';

function open(text: string) {
  const path = file(text);
  let reads = 0;
  const groups = openGroups((name) => {
    reads++;
    return readText(name);
  });
  return { path, of: (user: string) => groups(path, user), reads: () => reads };
}

test('a file is read once, however many ask, and however many at once', async () => {
  const s = open(Array.from({ length: 50_000 }, (_, n) => `* user${n} group${n}`).join('\n'));
  const asked = ['user0', 'user49999', 'nobody', 'user0'];
  expect(await Promise.all(asked.map(s.of))).toEqual([['group0'], ['group49999'], [], ['group0']]);
  for (const user of asked) await s.of(user);
  expect(s.reads()).toBe(1);
});

test('one that is written, or is another file, counts from the next time on', async () => {
  const s = open('* alice cms\n');
  expect(await s.of('alice')).toEqual(['cms']);
  writeFileSync(s.path, '* alice atlas,cms\n');
  expect(await s.of('alice')).toEqual(['atlas', 'cms']);
  writeFileSync(`${s.path}.new`, '* alice cms,atlas\n');
  renameSync(`${s.path}.new`, s.path);
  expect(await s.of('alice')).toEqual(['cms', 'atlas']);
  expect(s.reads()).toBe(3);
});

test('one that is gone gives nobody the groups of before, and is read when it is back', async () => {
  const s = open('* alice cms\n');
  await s.of('alice');
  rmSync(s.path);
  for (let n = 0; n < 2; n++) expect((await failure(s.of('alice'))).what).toBe(`${s.path} cannot be read (ENOENT)`);
  writeFileSync(s.path, '* alice atlas\n');
  expect(await s.of('alice')).toEqual(['atlas']);
});
