import { chmodSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { failureOf } from '../../src/core/failure.js';
import { openPersonalStore, type PersonalChoice, type PersonalStore } from '../../src/stores/personal.js';
import { quickToken } from '../../src/stores/quick.js';
import { bare, kept, tokenStoreContract } from '../contracts/token-store.js';
import { room } from './room.js';

const helper = fileURLToPath(new URL('fake-keyring.mjs', import.meta.url));

/** One person's machine: a home, and a keyring that answers or does not. */
class Desk {
  readonly home = room();
  mode = 'ok';

  get env(): Record<string, string> {
    return {
      HOME: this.home,
      DBUS_SESSION_BUS_ADDRESS: 'unix:path=/nowhere',
      FAKE_KEYRING: JSON.stringify({ file: join(this.home, 'items'), mode: this.mode }),
    };
  }

  open(choice: PersonalChoice): Promise<PersonalStore> {
    return openPersonalStore({ env: this.env, choice, keyring: { helper, limitMs: 10_000 } });
  }

  inKeyring(): string[] {
    const file = join(this.home, 'items');
    return existsSync(file) ? Object.keys(JSON.parse(readFileSync(file, 'utf8')) as object) : [];
  }

  state(id: string): string {
    return readFileSync(join(this.home, '.local/state/credmon', `${id}.json`), 'utf8');
  }
}

for (const choice of ['auto', 'keyring', 'file', 'stay'] as const) {
  tokenStoreContract(`openPersonalStore (${choice})`, () => new Desk().open(choice));
}

describe('where a secret goes', () => {
  test('auto: into the keyring that answers', async () => {
    const desk = new Desk();
    const store = await desk.open('auto');
    expect(store.place).toEqual({ kind: 'keyring' });
    await store.save('a', kept());
    expect(desk.inKeyring()).toEqual(['a']);
    expect(desk.state('a')).not.toContain('refresh');
    expect(store.placeOf('a')).toEqual({ kind: 'keyring' });
    expect(store.placeOf('b')).toBeUndefined();
  });

  test('auto: else into a file, saying why', async () => {
    const desk = new Desk();
    desk.mode = 'locked';
    const store = await desk.open('auto');
    expect(store.place).toEqual({
      kind: 'file',
      path: join(desk.home, '.local/state/credmon'),
      because: 'the keyring is locked',
    });
    await store.save('a', kept());
    expect(desk.state('a')).toContain('refresh-x');
  });

  test('the keyring, when it was chosen and does not answer, is an error', async () => {
    const desk = new Desk();
    desk.mode = 'absent';
    expect(await desk.open('keyring').then(() => undefined, failureOf)).toMatchObject({
      kind: 'storage',
      what: 'the keyring cannot be used: keytar is not installed',
    });
  });

  test('the file, when it was chosen, probes nothing', async () => {
    const probe = (): never => {
      throw new Error('probed');
    };
    const store = await openPersonalStore({ env: { HOME: room() }, choice: 'file', probe });
    expect(store.place).not.toHaveProperty('because');
  });
});

describe('one owner', () => {
  test('saving to the other place moves it, both ways', async () => {
    const desk = new Desk();
    const [file, keyring] = [await desk.open('file'), await desk.open('keyring')];
    await file.save('a', kept('one'));
    await keyring.save('a', kept('two'));
    expect(desk.state('a')).not.toContain('refresh');
    expect(await file.load('a')).toEqual(kept('two'));
    await file.save('a', kept('three'));
    expect(desk.inKeyring()).toEqual([]);
    expect(desk.state('a')).not.toContain('orphan');
    expect(await keyring.load('a')).toEqual(kept('three'));
    expect(await keyring.list()).toEqual(['a']);
  });

  test('stay: a refresh is saved where the credential lives', async () => {
    const desk = new Desk();
    await (await desk.open('keyring')).save('a', kept('one'));
    await (await desk.open('file')).save('b', kept('one'));
    const stay = await desk.open('stay');
    for (const id of ['a', 'b']) await stay.save(id, kept('two'));
    expect(desk.inKeyring()).toEqual(['a']);
    expect(desk.state('b')).toContain('refresh-two');
    expect([await stay.load('a'), await stay.load('b')]).toEqual([kept('two'), kept('two')]);
  });

  test('what could not be removed from a locked keyring is remembered, and goes later', async () => {
    const desk = new Desk();
    await (await desk.open('keyring')).save('a', kept('one'));
    desk.mode = 'die';
    const away = await desk.open('auto');
    expect(away.place.kind).toBe('file');
    await away.save('a', kept('two'));
    expect(await away.load('a')).toEqual(kept('two'));
    expect(desk.inKeyring()).toEqual(['a']);
    desk.mode = 'ok';
    await (await desk.open('stay')).save('a', kept('three'));
    expect(desk.inKeyring()).toEqual([]);
    expect(desk.state('a')).not.toContain('orphan');
  });

  test('removing takes it from where it is', async () => {
    const desk = new Desk();
    await (await desk.open('keyring')).save('a', kept());
    expect(await (await desk.open('file')).remove('a')).toBe(true);
    expect(desk.inKeyring()).toEqual([]);
    expect(await (await desk.open('file')).list()).toEqual([]);
  });
});

describe('quickToken', () => {
  test('by name, or the only one there is', async () => {
    const desk = new Desk();
    expect(await quickToken(desk.env)).toBeUndefined();
    const store = await desk.open('file');
    await store.save('a', kept());
    expect(await quickToken(desk.env)).toEqual({ id: 'a', kept: kept() });
    await store.save('b', bare);
    expect(await quickToken(desk.env, 'b')).toEqual({ id: 'b', kept: bare });
    expect(await quickToken(desk.env, 'c')).toBeUndefined();
    expect(await quickToken(desk.env).then(() => undefined, failureOf)).toMatchObject({
      kind: 'usage',
      what: 'there are several credentials: a, b',
    });
  });

  test('what looks wrong is judged thoroughly', async () => {
    const desk = new Desk();
    await (await desk.open('file')).save('a', kept());
    const path = join(desk.home, '.local/state/credmon/a.json');
    writeFileSync(path, desk.state('a').replace('accessToken', 'else'));
    await expect(quickToken(desk.env, 'a')).rejects.toThrow('token.accessToken is missing or wrong');
    chmodSync(path, 0o644);
    await expect(quickToken(desk.env, 'a')).rejects.toThrow('its mode is 0644');
  });

  test('one that lives in the keyring needs the keyring', async () => {
    const desk = new Desk();
    await (await desk.open('keyring')).save('a', kept());
    const { DBUS_SESSION_BUS_ADDRESS: _, ...env } = desk.env;
    await expect(quickToken(env)).rejects.toThrow('cannot read a in the keyring: no D-Bus session');
    expect(readdirSync(join(desk.home, '.local/state/credmon'))).toEqual(['a.json']);
  });
});
