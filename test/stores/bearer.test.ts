import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { failureOf } from '../../src/core/failure.js';
import { bearerPath, removeBearer, writeBearer } from '../../src/stores/bearer.js';
import { room, weAreRoot, withUmask } from './room.js';

const name = `bt_u${process.geteuid?.()}`;

/** A folder like /tmp. */
function sticky(): string {
  const shared = room();
  chmodSync(shared, 0o1777);
  return shared;
}

const failed = (act: Promise<unknown>): Promise<unknown> => act.then(() => undefined, failureOf);

describe('the bearer token file', () => {
  test('is in the runtime folder, else in /tmp, where discovery looks', () => {
    expect(bearerPath({ env: { XDG_RUNTIME_DIR: '/run/user/1' } })).toBe(`/run/user/1/${name}`);
    expect(bearerPath({ env: {}, provider: 'igwn' })).toBe(`/tmp/${name}-igwn`);
    expect(bearerPath({ env: { XDG_RUNTIME_DIR: 'relative' } })).toBe(`/tmp/${name}`);
    expect(() => bearerPath({ env: {}, provider: '../x' })).toThrow('cannot name');
  });

  test('holds the token and a newline, for us alone, under any umask', async () => {
    for (const mask of [0, 0o077]) {
      await withUmask(mask, async () => {
        const env = { XDG_RUNTIME_DIR: room() };
        const path = await writeBearer('token', { env });
        expect([path, readFileSync(path, 'utf8')]).toEqual([join(env.XDG_RUNTIME_DIR, name), 'token\n']);
        expect(statSync(path).mode & 0o777).toBe(0o600);
      });
    }
  });

  test('is replaced, has one for each provider, and can be removed', async () => {
    const options = { env: {}, shared: sticky() };
    await writeBearer('one', options);
    await writeBearer('two', options);
    await writeBearer('three', { ...options, provider: 'igwn' });
    expect(readFileSync(bearerPath(options), 'utf8')).toBe('two\n');
    expect(readdirSync(options.shared).sort()).toEqual([name, `${name}-igwn`]);
    expect(await removeBearer(options)).toBe(true);
    expect(await removeBearer(options)).toBe(false);
    expect(readdirSync(options.shared)).toEqual([`${name}-igwn`]);
  });

  test('what is no file of ours in its place is refused and left alone', async () => {
    const shared = sticky();
    const victim = join(room(), 'victim');
    writeFileSync(victim, 'untouched');
    symlinkSync(victim, join(shared, name));
    mkdirSync(join(shared, `${name}-folder`));
    for (const options of [
      { env: {}, shared },
      { env: {}, shared, provider: 'folder' },
    ]) {
      expect(await failed(writeBearer('secret', options))).toMatchObject({ kind: 'storage' });
      expect(await failed(removeBearer(options))).toMatchObject({
        kind: 'storage',
        what: `${bearerPath(options)} is not a regular file`,
      });
    }
    expect(readFileSync(victim, 'utf8')).toBe('untouched');
    expect(readdirSync(shared).sort()).toEqual([name, `${name}-folder`]);
  });

  test.runIf(weAreRoot)('somebody else’s file is refused, also by root', async () => {
    const options = { env: {}, shared: sticky() };
    writeFileSync(bearerPath(options), '', { mode: 0o666 });
    spawnSync('chown', ['1234', bearerPath(options)]);
    expect(await failed(writeBearer('secret', options))).toMatchObject({
      kind: 'storage',
      what: `${bearerPath(options)} belongs to uid 1234`,
    });
    expect(readFileSync(bearerPath(options), 'utf8')).toBe('');
  });

  test('a folder where others could take it away is refused', async () => {
    const dir = room();
    chmodSync(dir, 0o777);
    for (const options of [{ env: { XDG_RUNTIME_DIR: dir } }, { env: {}, shared: dir }]) {
      expect(await failed(writeBearer('secret', options))).toMatchObject({
        kind: 'storage',
        what: `${dir} is not a folder of yours alone, so no token is put there`,
      });
    }
    expect(await failed(writeBearer('secret', { env: { XDG_RUNTIME_DIR: join(dir, 'gone') } }))).toMatchObject({
      what: `cannot open ${join(dir, 'gone')}: it does not exist`,
    });
    expect(readdirSync(dir)).toEqual([]);
  });
});
