import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { failureOf } from '../../src/core/failure.js';
import { type KeyringOptions, type KeyringStore, keyringStore, probeKeyring } from '../../src/stores/keyring.js';
import { bare, kept, tokenStoreContract } from '../contracts/token-store.js';
import { built, room } from './room.js';

const helper = fileURLToPath(new URL('fake-keyring.mjs', import.meta.url));

type Mode = 'ok' | 'locked' | 'hang' | 'die' | 'garbage' | 'absent';

/** A keyring whose items are in `file`, in one of its moods. */
function fake(file: string, mode: Mode = 'ok'): Required<KeyringOptions> {
  const env = { DBUS_SESSION_BUS_ADDRESS: 'unix:path=/nowhere', FAKE_KEYRING: JSON.stringify({ file, mode }) };
  return { helper, env, limitMs: mode === 'hang' ? 300 : 10_000 };
}

function opened(dir: string, mode?: Mode): KeyringStore {
  const store = keyringStore({ indexDir: join(dir, 'state'), ...fake(join(dir, 'items'), mode) });
  onTestFinished(() => store.close());
  return store;
}

tokenStoreContract('keyringStore', () => opened(room()));

describe('keyringStore', () => {
  test('no secret is in the state folder', async () => {
    const dir = room();
    await opened(dir).save('cilogon', kept());
    expect(readdirSync(join(dir, 'state'))).toEqual(['cilogon.json']);
    expect(readFileSync(join(dir, 'state', 'cilogon.json'), 'utf8')).toBe('{"version":1,"at":"keyring"}\n');
    expect(readFileSync(join(dir, 'items'), 'utf8')).toContain('refresh-x');
  });

  test('a secret is in no argument and in no environment', async () => {
    const dir = room();
    const store = opened(dir);
    await store.save('cilogon', kept());
    await store.load('cilogon');
    const seen = readFileSync(join(dir, 'items.seen'), 'utf8');
    expect(seen).toContain('fake-keyring.mjs');
    expect(seen).not.toMatch(/refresh-x|access-x/);
  });

  test('a locked keyring looks empty, but is not taken for empty', async () => {
    const dir = room();
    await opened(dir).save('cilogon', kept());
    const locked = opened(dir, 'locked');
    expect(await locked.list()).toEqual(['cilogon']);
    for (const [verb, act] of [
      ['read', () => locked.load('cilogon')],
      ['save', () => locked.save('cilogon', bare)],
      ['remove', () => locked.remove('cilogon')],
    ] as const) {
      expect(await act().then(() => undefined, failureOf)).toMatchObject({
        kind: 'storage',
        what: `cannot ${verb} cilogon in the keyring: the keyring is locked`,
      });
    }
    expect(await locked.load('nobody')).toBeUndefined();
    expect(await opened(dir).load('cilogon')).toEqual(kept());
  });

  test('what was deleted in the keyring by other means is said to be so, and can be removed', async () => {
    const dir = room();
    const store = opened(dir);
    await store.save('cilogon', kept());
    writeFileSync(join(dir, 'items'), '{}');
    await expect(store.load('cilogon')).rejects.toThrow('cilogon is no longer in the keyring');
    expect(await store.remove('cilogon')).toBe(true);
    expect(await store.list()).toEqual([]);
    expect(JSON.parse(readFileSync(join(dir, 'items'), 'utf8'))).toEqual({});
  });

  test('what is damaged in the keyring is said to be so, without quoting it', async () => {
    const dir = room();
    const store = opened(dir);
    await store.save('cilogon', kept());
    for (const text of ['secret', '{"provider":"secret"}']) {
      writeFileSync(join(dir, 'items'), JSON.stringify({ cilogon: text }));
      const failure = await store.load('cilogon').then(() => undefined, failureOf);
      expect(failure).toMatchObject({ kind: 'storage', hint: 'log in again' });
      expect(JSON.stringify(failure)).not.toContain('secret');
    }
  });

  test('a helper that hangs is given up, and the next operation starts another', async () => {
    const dir = room();
    const hung = opened(dir, 'hang');
    for (let n = 0; n < 2; n++) {
      await expect(hung.save('a', bare)).rejects.toThrow('the keyring did not answer within 0.3 s');
    }
  });
});

describe('probeKeyring', () => {
  test('a keyring that answers is well, and is left as it was', async () => {
    const dir = room();
    writeFileSync(join(dir, 'items'), '{"other":"1"}');
    expect(await probeKeyring(fake(join(dir, 'items')))).toEqual({ ok: true });
    expect(readFileSync(join(dir, 'items'), 'utf8')).toBe('{"other":"1"}');
  });

  test.each([
    ['locked', 'the keyring is locked'],
    ['hang', 'the keyring did not answer within 0.3 s'],
    ['die', 'its helper ended (exit code 3)'],
    ['garbage', 'its helper gave a senseless answer'],
    ['absent', 'keytar is not installed'],
  ] as const)('%s: %s', async (mode, because) => {
    expect(await probeKeyring(fake(join(room(), 'items'), mode))).toEqual({ ok: false, because });
  });

  test('a helper that is not there', async () => {
    const { env } = fake(join(room(), 'items'));
    const probed = await probeKeyring({ env, helper: join(room(), 'none.js'), limitMs: 10_000 });
    expect(probed).toEqual({ ok: false, because: 'its helper ended (exit code 1)' });
  });

  test('without a session bus nothing is started', async () => {
    for (const env of [{}, { XDG_RUNTIME_DIR: room() }, { DBUS_SESSION_BUS_ADDRESS: '' }]) {
      expect(await probeKeyring({ env, helper: '/nowhere' })).toEqual({ ok: false, because: 'no D-Bus session' });
    }
  });

  test('our own helper says why it cannot: keytar is missing, or there is no bus at that address', async () => {
    const { env } = fake('');
    const probed = await probeKeyring({ env, helper: built('stores/keyring-child.js'), limitMs: 10_000 });
    expect(['keytar is not installed', 'no D-Bus session']).toContain(probed.ok || probed.because);
  });
});
