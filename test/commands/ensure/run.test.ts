import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { type EnsureOptions, runEnsure } from '../../../src/commands/ensure/run.js';
import { failureOf } from '../../../src/core/failure.js';
import type { Kept } from '../../../src/core/ports.js';
import { later, seconds } from '../../../src/core/time.js';
import { fileStore } from '../../../src/stores/file.js';
import { stateDir } from '../../../src/stores/state.js';
import { health, hour, now, type Told } from '../../storer/kit.js';
import { put, room } from '../room.js';

afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

const providers = (names: readonly string[], more = '') =>
  names
    .map(
      (name) => `[providers.${name}]\nissuer = "https://${name}.invalid"\nclient_id = "x"\nscopes = ["a"]\n${more}\n`,
    )
    .join('');

async function ensure(options: Partial<EnsureOptions>) {
  const said: string[] = [];
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => said.push(String(text)) > 0);
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => said.push(String(text)) > 0);
  const code = await runEnsure({ services: [], submit: [], dag: [], json: false, ...options }).catch(failureOf);
  return { code, said: said.join('') };
}

/** A machine of one's own, with these logins. */
async function own(names: readonly string[], logins: readonly Kept[] = []) {
  const base = room();
  vi.stubEnv('HOME', base);
  vi.stubEnv('XDG_STATE_HOME', '');
  vi.stubEnv('XDG_RUNTIME_DIR', base);
  vi.stubEnv('DBUS_SESSION_BUS_ADDRESS', '');
  vi.stubEnv('PATH', '/usr/bin:/bin');
  vi.stubEnv('CREDMON_CONFIG', put(join(base, 'credmon.toml'), providers(names)));
  for (const kept of logins) await fileStore({ dir: stateDir(process.env) }).save(kept.provider, kept);
}

const kept = (left = hour): Kept => ({
  provider: 'test',
  grant: { refreshToken: 'secret', audience: 'https://there' },
  token: {
    accessToken: 'secret',
    tokenType: 'Bearer',
    issued: now(),
    expires: later(now(), left),
    lifeFrom: 'expires_in',
  },
  since: now(),
});

describe('on a machine of one’s own', () => {
  test('what is there is fine, what is not takes a login', async () => {
    await own(['test', 'other'], [kept()]);
    expect(await ensure({ services: ['test'] })).toEqual({ code: 0, said: 'test: fine\n' });
    expect(await ensure({ services: ['test', 'other'] })).toEqual({
      code: 79,
      said: 'test: fine\nother: login needed: you are not logged in to it\n  → run: credmon login other\n',
    });
  });

  test('a name that nobody knows is no success', async () => {
    await own(['test'], [kept()]);
    expect((await ensure({ services: ['test', 'nosuch'] })).code).toMatchObject({
      kind: 'config',
      what: expect.stringContaining('no provider "nosuch"'),
    });
  });

  test('what is there must be for the audience that is asked for', async () => {
    await own(['test'], [kept()]);
    expect((await ensure({ services: ['test&audience=https://there'] })).code).toBe(0);
    const { code, said } = await ensure({ services: ['test&audience=https://x'] });
    expect(code).toBe(79);
    expect(said).toContain('→ run: credmon login test --audience https://x\n');
  });

  test('and must last', async () => {
    await own(['test'], [kept()]);
    const { code, said } = await ensure({ services: ['test'], minRemaining: 2 * hour, json: true });
    expect(code).toBe(75);
    expect(JSON.parse(said)).toMatchObject({ credentials: [{ service: 'test', state: 'try-again' }], troubles: [] });
  });

  test('of several providers none is taken where none is named: as login has it', async () => {
    await own(['test', 'other'], [kept()]);
    expect((await ensure({})).code).toMatchObject({ kind: 'usage', hint: expect.stringContaining('credmon ensure') });
    await own(['test'], [kept()]);
    expect((await ensure({})).code).toBe(0);
  });
});

/** An access point, with what credmond tells. */
function point(told: readonly Told[], more = '') {
  const base = room();
  const [creds, status] = [join(base, 'creds'), join(base, 'status')];
  for (const dir of [creds, status]) mkdirSync(dir);
  const text = `[credmond]\ncred_dir = "${creds}"\nstatus_dir = "${status}"\n`;
  vi.stubEnv('CREDMON_CONFIG', put(join(base, 'credmon.toml'), `${text}${providers(['test'], more)}`));
  const tool = '#!/bin/sh\necho "No credential is stored."; exit 1\n';
  vi.stubEnv('PATH', `${join(put(join(base, 'bin', 'condor_store_cred'), tool, 0o755), '..')}:/usr/bin:/bin`);
  const snapshot = (credentials: readonly Told[]) => JSON.stringify({ v: 1, at: now(), pid: process.pid, credentials });
  writeFileSync(join(status, `${process.getuid?.()}.json`), snapshot(told));
  writeFileSync(join(status, 'all.json'), snapshot([]));
}
const trouble = (kind: 'refused' | 'transient' | 'login-needed') => ({ kind, what: 'it says no', hint: 'ask them' });

describe('on an access point the state says what the exit code does', () => {
  test.each<[state: string, code: number, Told]>([
    ['fine', 0, health('test')],
    ['login-needed', 79, health('test', { state: 'login-needed', life: null })],
    ['login-needed', 79, health('test', { state: 'retrying', life: null, trouble: trouble('login-needed') })],
    ['not-possible', 77, health('test', { state: 'retrying', life: null, trouble: trouble('refused') })],
    ['try-again', 75, health('test', { life: { issued: now(), expires: later(now(), 60) } })],
  ])('%s: %i', async (state, code, told) => {
    point([told]);
    const { said, ...ended } = await ensure({ services: ['test'], json: true, minRemaining: seconds(120) });
    expect(JSON.parse(said)).toMatchObject({ credentials: [{ service: 'test', state }] });
    expect(ended.code).toBe(code);
  });

  test('a login that is good, but not for long enough, is renewed by force', async () => {
    point([health('test', { ends: later(now(), 600), scopes: ['b'] })]);
    const { code, said } = await ensure({ services: ['test'], minRemaining: hour });
    expect([code, said]).toEqual([
      79,
      'test: login needed: its login ends in 10 min\n  → run: credmon login test --scope b --force\n',
    ]);
  });

  test('a name that nobody knows is told of along with the others', async () => {
    point([health('test')]);
    const { code, said } = await ensure({ services: ['test', 'nosuch'] });
    expect(code).toBe(78);
    expect(said).toMatch(/^test: fine\ncredmon: error: no credential service "nosuch" is known here\n/);
  });
});
