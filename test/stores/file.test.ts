import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { failureOf } from '../../src/core/failure.js';
import { fileStore } from '../../src/stores/file.js';
import { stateDir } from '../../src/stores/state.js';
import { bare, kept, tokenStoreContract } from '../contracts/token-store.js';
import { readOnly, room, unprivileged, weAreRoot, withUmask } from './room.js';

tokenStoreContract('fileStore', () => fileStore({ dir: join(room(), 'state', 'credmon') }));

const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8);

async function failure(
  act: () => Promise<unknown>,
): Promise<{ kind: string; what: string; hint?: string } | undefined> {
  return act().then(() => undefined, failureOf);
}

describe('fileStore', () => {
  test('the folder is ours alone and so are the files, under any umask', async () => {
    for (const mask of [0, 0o022, 0o077]) {
      await withUmask(mask, async () => {
        const dir = join(room(), '.local', 'state', 'credmon');
        await fileStore({ dir }).save('a', kept());
        expect([mode(join(dir, '..')), mode(dir), mode(join(dir, 'a.json'))]).toEqual(['700', '700', '600']);
      });
    }
  });

  test('looking creates nothing, and nothing outside the folder is touched', async () => {
    const home = room();
    const dir = join(home, 'credmon');
    const store = fileStore({ dir });
    await store.load('a');
    await store.list();
    await store.remove('a');
    expect(readdirSync(home)).toEqual([]);
    await store.save('a', kept());
    await store.remove('a');
    expect([readdirSync(home), readdirSync(dir)]).toEqual([['credmon'], []]);
  });

  test('a folder of ours that others may look into is closed to them', async () => {
    const dir = room();
    chmodSync(dir, 0o755);
    await fileStore({ dir }).load('a');
    expect(mode(dir)).toBe('700');
  });

  test.runIf(weAreRoot)('a folder of somebody else’s is refused', async () => {
    const dir = room();
    spawnSync('chown', ['1234', dir]);
    for (const act of [() => fileStore({ dir }).load('a'), () => fileStore({ dir }).save('a', bare)]) {
      expect(await failure(act)).toMatchObject({
        kind: 'storage',
        what: `${dir} is not your folder: it belongs to uid 1234`,
      });
    }
  });

  test('a file that others may read is refused, with its mode', async () => {
    const dir = room();
    const store = fileStore({ dir });
    await store.save('a', kept());
    chmodSync(join(dir, 'a.json'), 0o640);
    expect(await failure(() => store.load('a'))).toEqual({
      kind: 'storage',
      what: `${dir}/a.json is open to others: its mode is 0640`,
      hint: `if nobody else can have read it: chmod 600 ${dir}/a.json; otherwise remove it and log in again`,
    });
    expect(await store.list()).toEqual(['a']);
    await store.save('a', bare);
    expect(await store.load('a')).toEqual(bare);
  });

  test('a damaged file fails with its name and the mend, without quoting it; it can be removed and replaced', async () => {
    const dir = room();
    const store = fileStore({ dir });
    const { refreshToken: _, ...noToken } = kept().grant;
    const wrongs: Record<string, string> = {
      'it is empty': '',
      'it is not JSON': '{"version":1,"at":"file","kept":{"secret"',
      'it is not a JSON object': '["secret"]',
      'it has no version': '{"kept":"secret"}',
      'it does not say where the secret is': '{"version":1,"at":"secret"}',
      'it holds no credential': '{"version":1,"at":"file"}',
      'grant.refreshToken is missing or wrong': JSON.stringify({
        version: 1,
        at: 'file',
        kept: { ...kept(), grant: noToken },
      }),
      'token.expires is missing or wrong': JSON.stringify({
        ...{ version: 1, at: 'file' },
        kept: { ...kept(), token: { ...kept().token, expires: 'secret' } },
      }),
    };
    for (const [how, text] of Object.entries(wrongs)) {
      writeFileSync(join(dir, 'a.json'), text, { mode: 0o600 });
      expect(await failure(() => store.load('a'))).toEqual({
        kind: 'storage',
        what: `${dir}/a.json is damaged: ${how}`,
        hint: `remove it (rm ${dir}/a.json) and log in again`,
      });
      expect(await store.list()).toEqual(['a']);
      expect(await store.remove('a')).toBe(true);
    }
    writeFileSync(join(dir, 'a.json'), '{"version":2}', { mode: 0o600 });
    expect(await failure(() => store.load('a'))).toMatchObject({
      what: `${dir}/a.json was written by a newer credmon`,
    });
    await store.save('a', bare);
    expect(await store.load('a')).toEqual(bare);
  });

  test('what is not a file of ours in its place is refused', async () => {
    const dir = room();
    const store = fileStore({ dir });
    const elsewhere = join(room(), 'elsewhere');
    writeFileSync(elsewhere, 'untouched', { mode: 0o600 });
    symlinkSync(elsewhere, join(dir, 'link.json'));
    spawnSync('mkfifo', [join(dir, 'fifo.json')]);
    mkdirSync(join(dir, 'folder.json'));
    for (const id of ['link', 'fifo', 'folder']) {
      expect(await failure(() => store.load(id))).toMatchObject({
        kind: 'storage',
        what: `${dir}/${id}.json is not to be trusted: not a file`,
      });
    }
    await store.save('link', bare);
    expect(await store.load('link')).toEqual(bare);
    expect(readFileSync(elsewhere, 'utf8')).toBe('untouched');
  });

  test('a symbolic link in place of the folder is refused', async () => {
    const home = room();
    symlinkSync(room(), join(home, 'credmon'));
    expect(await failure(() => fileStore({ dir: join(home, 'credmon') }).save('a', bare))).toMatchObject({
      kind: 'storage',
    });
  });

  test('a home that cannot be written to', async () => {
    const home = room();
    await unprivileged([home], async () => {
      readOnly(home);
      const dir = join(home, 'credmon');
      expect(await failure(() => fileStore({ dir }).save('a', bare))).toMatchObject({
        kind: 'storage',
        what: `cannot create ${dir}: permission denied`,
      });
      expect(await fileStore({ dir }).load('a')).toBeUndefined();
    });
  });
});

test('the state folder is XDG’s', () => {
  expect(stateDir({ XDG_STATE_HOME: '/state', HOME: '/home/ada' })).toBe('/state/credmon');
  expect(stateDir({ XDG_STATE_HOME: 'relative', HOME: '/home/ada' })).toBe('/home/ada/.local/state/credmon');
  for (const env of [{}, { HOME: '' }, { HOME: 'relative' }]) {
    expect(() => stateDir(env)).toThrow('it is not known where your home folder is');
  }
});
