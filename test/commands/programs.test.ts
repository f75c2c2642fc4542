import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { run, weAreRoot } from '../programs/kit.js';
import { condor, modeOf, put, room } from './room.js';

const secret = 'client-s3cret-of-this-test';

function point() {
  const base = room();
  const made = condor(base, {
    DAEMON_LIST: 'MASTER CREDD CREDMON_OAUTH',
    CREDMON_OAUTH: '/usr/sbin/condor_credmon_rust',
    SEC_CREDENTIAL_STORER: '/usr/bin/condor_credmod_rust_client',
    SEC_CREDENTIAL_DIRECTORY_OAUTH: join(base, 'creds'),
    VAULT_CREDMON_PROVIDER_NAMES: 'icecube',
    icecube_ISSUER: 'https://127.0.0.1:1',
    icecube_CLIENT_ID: 'me',
    icecube_CLIENT_SECRET_FILE: put(join(base, 'secret'), secret, 0o600),
  });
  put(join(base, 'creds/alice/icecube.top'), '{"refresh_token":"refresh-of-alice"}');
  return {
    ...made,
    base,
    credmon: (args: readonly string[], as?: 'nobody') =>
      run('credmon', args, { env: made.env, ...(as && { as }) }).ended,
  };
}

describe('credmon doctor', () => {
  test('says what is wrong and what mends it, ends with 78, and tells no secret', async () => {
    const { credmon } = point();
    const text = await credmon(['doctor', 'icecube_h']);
    expect(text.code).toBe(78);
    expect(text.out).toContain(' ERROR CREDMON_OAUTH is /usr/sbin/condor_credmon_rust, which does not exist');
    expect(text.out.trimEnd().split('\n').at(-1)).toMatch(/^\d+ errors.*as it should be\.|as they should be\.$/);
    const json = await credmon(['doctor', '--json']);
    expect(json.code).toBe(78);
    expect(JSON.parse(json.out)).toMatchObject({
      v: 1,
      htcondor: '25.14.1',
      accessPoint: true,
      services: [
        { service: 'icecube', type: 'vault', knob: 'VAULT_CREDMON_PROVIDER_NAMES', storer: { mode: 'vault' } },
      ],
    });
    for (const { out, err } of [text, json]) {
      expect(out + err).not.toContain(secret);
      expect(out + err).not.toContain('refresh-of-alice');
    }
  });

  test('on a machine of one’s own where all is well it ends with 0', async () => {
    const base = room();
    const file = put(join(base, 'credmon.toml'), '[providers.v]\nflow = "vault"\nvault_hosts = "vault.example"\n');
    const env = { HOME: join(base, 'home'), CREDMON_CONFIG: file };
    const { code, out } = await run('credmon', ['doctor'], { env }).ended;
    expect([code, out]).toEqual([0, expect.stringContaining('Own store')]);
  });

  test('a service that can be none is refused', async () => {
    expect(await point().credmon(['doctor', 'a/b'])).toMatchObject({ code: 64, err: expect.stringContaining('"a/b"') });
  });
});

describe('credmon config init', () => {
  const flags = ['--provider', 'dune', '--issuer', 'https://d.example', '--client-id', 'me'];

  test('prints a file, one more among those that are there', async () => {
    const { code, out, err } = await point().credmon(['config', 'init', '--htcondor', ...flags]);
    expect([code, err]).toEqual([0, '']);
    expect(out).toContain('\nCREDMON_PROVIDER_NAMES = dune\n');
    expect(out).toContain('\nVAULT_CREDMON_PROVIDER_NAMES = $(VAULT_CREDMON_PROVIDER_NAMES) dune\n');
  });

  test('writes it where none is', async () => {
    const { credmon, configDir } = point();
    const path = join(configDir, '60-credmon.conf');
    expect(await credmon(['config', 'init', ...flags, '--write', path])).toMatchObject({ code: 0, out: '' });
    const before = readFileSync(path, 'utf8');
    expect(modeOf(path)).toBe(0o644);
    expect(await credmon(['config', 'init', ...flags, '--write', path])).toMatchObject({
      code: 64,
      err: expect.stringContaining('is there already'),
    });
    expect(readFileSync(path, 'utf8')).toBe(before);
  });

  test('asks nothing where there is no terminal', async () => {
    expect(await point().credmon(['config', 'init'])).toMatchObject({
      code: 64,
      err: expect.stringContaining('not given: --provider, --issuer, --client-id'),
    });
  });
});

describe('credmon migrate', () => {
  test('says what it would do, and changes nothing', async () => {
    const { credmon, base } = point();
    const { code, out } = await credmon(['migrate']);
    expect(code).toBe(0);
    expect(out).toContain('IceCube’s credmon');
    expect(out).toContain(weAreRoot ? 'icecube: 1 credential of 1 user' : 'only root can see them');
    expect(out).toContain('Nothing was changed.');
    expect(out).not.toContain('refresh-of-alice');
    expect(modeOf(join(base, 'creds/alice/icecube.top'))).toBe(0o644);
    expect(JSON.parse((await credmon(['migrate', '--json'])).out)).toMatchObject({
      v: 1,
      applied: false,
      from: 'rust',
    });
  });

  test.each(['--apply', '--undo'])('%s is refused to who is not root', async (option) => {
    expect(await point().credmon(['migrate', option], 'nobody')).toMatchObject({
      code: 69,
      out: '',
      err: expect.stringMatching(new RegExp(`only root can.*\\n.*sudo credmon migrate ${option}`)),
    });
  });

  test('not both at once, and not without HTCondor', async () => {
    expect((await point().credmon(['migrate', '--apply', '--undo'])).code).toBe(64);
  });
});
