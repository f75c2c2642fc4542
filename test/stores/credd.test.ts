import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { failureOf } from '../../src/core/failure.js';
import { type CreddStore, creddStore } from '../../src/stores/credd.js';
import { room } from './room.js';

const secret = 'refresh-token-of-ada';
const hint = 'is condor_credd running, and HTCondor set up for OAuth (use feature:OAUTH)? See its log, CredLog';

/** A condor_store_cred that notes down what it is given and then does what `ending` says. */
class Tool {
  readonly dir = room();
  readonly env: Record<string, string>;

  constructor(ending = 'echo "Operation succeeded and is waiting for processing."') {
    const bin = join(this.dir, 'bin');
    mkdirSync(bin);
    const path = join(bin, 'condor_store_cred');
    const script = ['#!/bin/sh', 'cd "$SEEN"', 'printf "%s\\n" "$@" > argv', 'env > env', 'cat > stdin', ending];
    writeFileSync(path, `${script.join('\n')}\n`);
    chmodSync(path, 0o755);
    this.env = { PATH: `relative:${bin}:/usr/bin:/bin`, SEEN: this.dir };
  }

  store(limitMs = 10_000): CreddStore {
    return creddStore({ env: this.env, limitMs });
  }

  seen(what: 'argv' | 'env' | 'stdin'): string {
    return readFileSync(join(this.dir, what), 'utf8');
  }
}

const failed = (act: Promise<unknown>): Promise<unknown> => act.then(() => undefined, failureOf);

describe('creddStore', () => {
  test('the refresh token is in stdin and nowhere else', async () => {
    const tool = new Tool();
    await tool
      .store()
      .save(
        { service: 'cilogon', handle: 'prod' },
        { refreshToken: secret, scopes: ['openid', 'storage.read:/'], audience: 'https://example.org' },
      );
    expect(tool.seen('argv').trim().split('\n')).toEqual(
      'add-oauth -s cilogon -H prod -S openid,storage.read:/ -A https://example.org -i -'.split(' '),
    );
    expect(JSON.parse(tool.seen('stdin'))).toEqual({ refresh_token: secret });
    expect(tool.seen('argv') + tool.seen('env')).not.toContain(secret);
  });

  test('only what there is becomes an option', async () => {
    const tool = new Tool();
    await tool.store().save({ service: 'igwn' }, { refreshToken: secret, scopes: [] });
    expect(tool.seen('argv').trim().split('\n')).toEqual(['add-oauth', '-s', 'igwn', '-i', '-']);
  });

  test('a request: what it names in stdin, scopes with commas and the audience apart, and no secret anywhere', async () => {
    const tool = new Tool();
    const id = { service: 'cilogon', handle: 'prod' };
    const wish = { from: '', scopes: ['storage.create:/b', 'storage.read:/a'], audience: 'https://x/?a=b' };
    await tool.store().request(id, { ...wish, refreshToken: secret } as typeof wish);
    expect(tool.seen('argv').trim().split('\n')).toEqual(
      'add-oauth -s cilogon -H prod -S storage.create:/b,storage.read:/a -A https://x/?a=b -i -'.split(' '),
    );
    expect(JSON.parse(tool.seen('stdin'))).toEqual({
      credmon_request: 1,
      provider: 'cilogon',
      handle: 'prod',
      from: '',
    });
    expect(tool.seen('argv') + tool.seen('env') + tool.seen('stdin')).not.toContain(secret);
    await tool.store().request({ service: 'igwn' }, {});
    expect(tool.seen('argv').trim().split('\n')).toEqual(['add-oauth', '-s', 'igwn', '-i', '-']);
    expect(JSON.parse(tool.seen('stdin'))).toEqual({ credmon_request: 1, provider: 'igwn' });
  });

  test('a request that is refused is told as any other, and hostile names reach nobody', async () => {
    const tool = new Tool('echo "Operation failed."; exit 1');
    expect(await failed(tool.store().request({ service: 'a' }, {}))).toMatchObject({
      kind: 'storage',
      what: 'HTCondor did not store a: condor_store_cred says: Operation failed.',
    });
    const other = new Tool();
    expect(await failed(other.store().request({ service: '../a' }, {}))).toMatchObject({ kind: 'usage' });
    expect(existsSync(join(other.dir, 'argv'))).toBe(false);
  });

  // As HTCondor 23.9.6 answers.
  const preamble = 'echo "Account: <current> (alice)"; echo "CredType: oauth"; echo;';
  const absent = `${preamble} echo "No credential is stored."; exit 1`;
  const pending = `${preamble} echo "A credential was stored and is waiting for processing."; echo "Credential info:"`;
  const ready = `${preamble} echo "A credential was stored and is valid."; echo "Credential info:"`;
  const mismatch = `echo "Credential was found but it did not match requested scopes or audience"; ${preamble} exit 2`;

  test.each(Object.entries({ none: absent, pending, ready, mismatch }))('query: %s', async (state, ending) => {
    const tool = new Tool(ending);
    expect(await tool.store().query({ service: 'cilogon' }, { scopes: ['a', 'b'], audience: 'x' })).toBe(state);
    expect(tool.seen('argv').trim().split('\n')).toEqual('query-oauth -s cilogon -S a,b -A x'.split(' '));
  });

  test('remove says whether there was one, though the tool does not', async () => {
    for (const [before, was] of [
      [ready, true],
      [pending, true],
      [mismatch, true],
      [absent, false],
    ] as const) {
      const tool = new Tool(`grep -q query argv || { ${preamble} echo "Operation succeeded."; exit 0; }; ${before}`);
      expect(await tool.store().remove({ service: 'a', handle: 'b' })).toBe(was);
      expect(tool.seen('argv').trim().split('\n')).toEqual(['delete-oauth', '-s', 'a', '-H', 'b']);
    }
  });

  test('without condor_credd', async () => {
    const tool = new Tool(
      `${preamble} printf "Operation failed.\\n    Make sure your ALLOW_WRITE setting includes this host.\\n"; exit 1`,
    );
    expect(await failed(tool.store().query({ service: 'a' }))).toEqual({
      kind: 'storage',
      what: 'HTCondor did not look for a: condor_store_cred says: Operation failed.     Make sure your ALLOW_WRITE setting includes this host.',
      hint,
    });
  });

  test('a refusal quotes the tool, harmlessly and without a secret', async () => {
    const tool = new Tool(`printf 'Operation failed.\\n\\033[31m"refresh_token":"${secret}"\\n' >&2; exit 1`);
    for (const [verb, act] of [
      ['store', () => tool.store().save({ service: 'cilogon' }, { refreshToken: secret })],
      ['look for', () => tool.store().query({ service: 'cilogon' })],
    ] as const) {
      expect(await failed(act())).toEqual({
        kind: 'storage',
        what: `HTCondor did not ${verb} cilogon: condor_store_cred says: Operation failed. "refresh_token":"…"`,
        hint,
      });
    }
  });

  test('what it was given is not quoted in any other way', async () => {
    const tool = new Tool('echo "cannot parse: $(cat stdin | sed s/_/-/)"; exit 1');
    const failure = await failed(tool.store().save({ service: 'a' }, { refreshToken: secret }));
    expect(failure).toMatchObject({ what: expect.stringContaining('cannot parse: {"refresh-token":"…"}') });
  });

  test('one that says nothing, and one that is killed', async () => {
    const act = (ending: string): Promise<unknown> =>
      failed(new Tool(ending).store().save({ service: 'a' }, { refreshToken: secret }));
    expect(await act('exit 7')).toMatchObject({
      what: 'HTCondor did not store a: condor_store_cred ended with exit code 7',
    });
    expect(await act('kill -9 $$')).toMatchObject({
      what: 'HTCondor did not store a: condor_store_cred ended with SIGKILL',
    });
  });

  test('one that does not read, and says a lot', async () => {
    const tool = new Tool();
    const path = join(tool.dir, 'bin', 'condor_store_cred');
    writeFileSync(path, '#!/bin/sh\nyes "Operation failed." | head -c 1000000\nexit 1\n');
    const act = tool.store().save({ service: 'a' }, { refreshToken: 'x'.repeat(1_000_000) });
    expect(await failed(act)).toMatchObject({ kind: 'storage' });
  });

  test('one that hangs is ended at the limit', async () => {
    expect(await failed(new Tool('exec sleep 100').store(100).query({ service: 'a' }))).toMatchObject({
      kind: 'transient',
      what: 'condor_store_cred did not end within 0.1 s',
    });
  });

  test('it can be stopped', async () => {
    const tool = new Tool('exec sleep 100');
    const stop = new AbortController();
    const act = tool.store().query({ service: 'a' }, {}, stop.signal);
    const reason = new Error('stopped');
    stop.abort(reason);
    await expect(act).rejects.toBe(reason);
    await expect(tool.store().query({ service: 'a' }, {}, stop.signal)).rejects.toBe(reason);
  });

  test('hostile names never reach it', async () => {
    const tool = new Tool();
    for (const id of [{ service: '../a' }, { service: 'a', handle: '..' }, { service: 'a', handle: '' }]) {
      expect(await failed(tool.store().query(id))).toMatchObject({ kind: 'usage' });
    }
    expect(existsSync(join(tool.dir, 'argv'))).toBe(false);
  });

  test('without the tool', async () => {
    const gone = creddStore({ path: '/nowhere/condor_store_cred' });
    expect(await failed(gone.query({ service: 'a' }))).toMatchObject({ kind: 'unsupported' });
    if (existsSync('/usr/sbin/condor_store_cred')) return;
    expect(await failed(creddStore({ env: { PATH: room() } }).query({ service: 'a' }))).toMatchObject({
      kind: 'unsupported',
      what: 'condor_store_cred was not found on PATH or in /usr/sbin',
    });
  });
});
