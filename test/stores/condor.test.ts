import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { failureOf } from '../../src/core/failure.js';
import type { CredentialId } from '../../src/core/names.js';
import { Superseded } from '../../src/core/ports.js';
import { epochMs } from '../../src/core/time.js';
import { jwtExpiry } from '../../src/providers/jwt.js';
import { type CondorOptions, condorCredentials } from '../../src/stores/condor.js';
import { fileStore } from '../../src/stores/file.js';
import { ownCredentials } from '../../src/stores/own.js';
import { accessToken, credentialsContract } from '../contracts/credentials.js';
import { readOnly, room, unprivileged, weAreRoot, withUmask } from './room.js';

const us = process.getuid?.() ?? 0;
/** An account like condor's, where we can give files away. */
const condor = weAreRoot ? { uid: 64123, gid: 64124 } : undefined;
const alice: CredentialId = { user: 'alice', service: 'cilogon' };

function open(more: Partial<CondorOptions> = {}) {
  const dir = room();
  chmodSync(dir, 0o2770);
  const credentials = condorCredentials({
    dir,
    services: () => ['cilogon', 'igwn', 'dune', 'dune_production', 'plain'],
    owners: [...new Set([0, us, ...(condor ? [condor.uid] : [])])],
    ...(condor && { folderOwner: condor }),
    of: (service) => ({ flow: 'device', bare: service === 'plain' }),
    expiryOf: jwtExpiry,
    ...more,
  });
  /** As condor_credd does it: a folder of condor's, a file by way of `.tmp`. */
  const store = (name: string, text: string | Buffer, user = 'alice') => {
    const folder = join(dir, user);
    if (!existsSync(folder)) {
      mkdirSync(folder, { mode: 0o700 });
      if (condor) chownSync(folder, condor.uid, condor.gid);
      chmodSync(folder, 0o2700);
    }
    writeFileSync(join(folder, `${name}.tmp`), text, { mode: 0o600 });
    renameSync(join(folder, `${name}.tmp`), join(folder, name));
    return join(folder, name);
  };
  const at = (name: string, user = 'alice') => join(dir, user, name);
  const json = (name: string) => JSON.parse(readFileSync(at(name), 'utf8')) as Record<string, unknown>;
  return { dir, credentials, store, at, json, folder: join(dir, 'alice') };
}

const login = (refreshToken = 'refresh-1', more: object = {}) =>
  JSON.stringify({ refresh_token: refreshToken, ...more });

credentialsContract('those in HTCondor’s directory', async () => {
  const { credentials, store, at } = open();
  return {
    credentials,
    user: 'alice',
    login: async (id, refreshToken) => void store(`${id.service}.top`, login(refreshToken), id.user),
    logout: async (id) => {
      rmSync(at(`${id.service}.top`, id.user));
      rmSync(at(`${id.service}.use`, id.user), { force: true });
    },
  };
});

credentialsContract('those in a person’s own store', async () => {
  const store = fileStore({ dir: join(room(), 'state') });
  return {
    credentials: ownCredentials(store, 'alice', { give: async () => {}, takeBack: async () => {} }),
    user: 'alice',
    login: (id, refreshToken) =>
      store.save(id.service, { provider: id.service, grant: { refreshToken }, since: epochMs(Date.now()) }),
    logout: async (id) => void (await store.remove(id.service)),
  };
});

describe('what lies in HTCondor’s directory is understood as its credmons write it', () => {
  test.each<[string, string, object]>([
    ['condor_store_cred add-oauth, any JSON of the user’s', '{"refresh_token":"r"}\n', {}],
    [
      'the same with -S and -A: pretty-printed, keys in front, commas or blanks',
      '{\n  "scopes": "storage.read:/,openid",\n  "audience": "https://a.example",\n  "refresh_token": "r"\n}\n',
      { scopes: ['openid', 'storage.read:/'], audience: 'https://a.example' },
    ],
    ['blanks between scopes', login('r', { scopes: 'b a' }), { scopes: ['a', 'b'] }],
    ['scopes and audience of nobody', login('r', { scopes: '', audience: '' }), {}],
    ['fields of other programs', login('r', { iss: 'https://i', n: { m: [1] } }), {}],
  ])('.top: %s', async (_, text, wanted) => {
    const { credentials, store } = open();
    store('cilogon.top', text);
    expect(await credentials.read(alice)).toMatchObject({ grant: { refreshToken: 'r' } });
    const { grant } = (await credentials.read(alice)) as { grant: object };
    expect(grant).toEqual({ refreshToken: 'r', ...wanted });
  });

  test.each<[string, string | Buffer, string]>([
    ['empty', '', 'empty'],
    ['of 10 MB', Buffer.alloc(10 << 20, 'a'), 'too large'],
    ['of 64 KiB and a byte', Buffer.alloc(65_537, ' '), 'too large'],
    ['no JSON', 'alice@foo', 'not a JSON object'],
    ['half a JSON', '{"refresh_token": "secret', 'not a JSON object'],
    ['a JSON array', '[{"refresh_token":"secret"}]', 'not a JSON object'],
    ['a JSON string', '"secret"', 'not a JSON object'],
    ['null', 'null', 'not a JSON object'],
    ['of another credmon', '{"vault_token":"secret","vault_url":"https://v:8200/v1/"}', 'without a refresh_token'],
    ['with an empty refresh token', login(''), 'without a refresh_token'],
    ['with a number for it', '{"refresh_token": 7}', 'without a refresh_token'],
    ['binary', Buffer.from([0, 255, 254, 1]), 'not a JSON object'],
  ])('a .top that is %s is of no use, which is said without its contents', async (_, text, trouble) => {
    const { credentials, store } = open();
    store('cilogon.top', text);
    const top = await credentials.read(alice);
    expect(top).toEqual({
      trouble: expect.stringContaining(trouble),
      stamp: (await credentials.scan('alice')).get('alice/cilogon')?.stamp,
    });
  });

  test('a directory, symbolic link, FIFO or hard link in its place is not read, and can be told from the next', async () => {
    const { credentials, store, at, dir, folder } = open();
    store('other.top', login('not ours'));
    const others = join(dir, 'secret');
    writeFileSync(others, login('elsewhere'), { mode: 0o600 });
    const place: Record<string, [make: () => void, trouble: string]> = {
      directory: [() => mkdirSync(at('cilogon.top')), 'not a file'],
      'symbolic link': [() => symlinkSync(others, at('cilogon.top')), 'not a file'],
      'dangling link': [() => symlinkSync(join(dir, 'nowhere'), at('cilogon.top')), 'not a file'],
      FIFO: [() => execFileSync('mkfifo', [at('cilogon.top')]), 'not a file'],
      'hard link': [() => linkSync(others, at('cilogon.top')), 'hard link'],
    };
    const stamps = new Set<string>();
    for (const [what, [make, trouble]] of Object.entries(place)) {
      make();
      const top = await credentials.read(alice);
      expect([what, top.trouble]).toEqual([what, trouble]);
      const found = (await credentials.scan('alice')).get('alice/cilogon');
      expect(found?.stamp).toBe(top.stamp);
      stamps.add(String(found?.stamp));
      await expect(credentials.rotate(alice, String(top.stamp), 'new')).rejects.toThrow(Superseded);
      rmSync(at('cilogon.top'), { recursive: true });
    }
    expect(stamps.size).toBe(5);
    expect(readFileSync(others, 'utf8')).toBe(login('elsewhere'));
    expect(readdirSync(folder)).toEqual(['other.top']);
  });

  test.runIf(weAreRoot)('a .top of an account that has no business there is not believed', async () => {
    const { credentials, store } = open();
    chownSync(store('cilogon.top', login()), 4711, 4711);
    expect(await credentials.read(alice)).toMatchObject({ trouble: 'wrong owner' });
    chownSync(store('cilogon.top', login()), condor?.uid ?? 0, condor?.gid ?? 0);
    expect(await credentials.read(alice)).toMatchObject({ grant: {} });
  });

  const jwt = (exp: number) =>
    `${btoa('{"alg":"none"}')}.${Buffer.from(JSON.stringify({ exp })).toString('base64url')}.x`;
  const now = Math.floor(Date.now() / 1000);
  test.each<[string, string, { expires: number } | undefined]>([
    [
      'JSON with expires_in alone: from the file’s time on',
      '{"access_token":"a","expires_in":1200}',
      { expires: 1_600_001_200 },
    ],
    [
      'JSON with expires_at as OAuthCredmon leaves it',
      `{"access_token":"a","expires_in":1,"expires_at":${now + 0.5}}`,
      { expires: now + 0.5 },
    ],
    ['JSON with a JWT in it', JSON.stringify({ access_token: jwt(now + 77) }), { expires: now + 77 }],
    ['a bare JWT and a newline, as the Vault credmon', `${jwt(now + 99)}\n`, { expires: now + 99 }],
    ['a bare opaque token', 'abc\n', undefined],
    ['JSON without a time', '{"access_token":"a"}', undefined],
    ['JSON without a token', '{"expires_in":1200}', undefined],
    ['a life that is none', '{"access_token":"a","expires_in":-1}', undefined],
    ['nothing', '', undefined],
    ['only blanks', ' \n', undefined],
    ['an array', '["a"]', undefined],
    ['10 MB', 'a'.repeat(10 << 20), undefined],
  ])('.use: %s', async (_, text, expected) => {
    const { credentials, store } = open();
    store('cilogon.top', login());
    utimesSync(store('cilogon.use', text), 1_600_000_000, 1_600_000_000);
    const life = await credentials.life(alice);
    expect(life && { expires: life.expires / 1000 }).toEqual(expected);
    if (life) expect(life.issued).toBe(1_600_000_000_000);
  });

  test('.meta: the client of HTCondor’s web flow', async () => {
    const { credentials, store } = open();
    store('cilogon.top', login());
    const meta = { client_id: 'c', client_secret: 's', token_url: 'https://i/token', use_refresh_token: true };
    store('cilogon.meta', JSON.stringify(meta));
    expect(await credentials.read(alice)).toMatchObject({
      client: { clientId: 'c', secret: 's', tokenUrl: 'https://i/token' },
    });
    for (const text of ['', 'x', '[]', '{"client_id":""}', '{"client_id":7}']) {
      store('cilogon.meta', text);
      expect(await credentials.read(alice)).not.toHaveProperty('client');
    }
  });
});

describe('what is written into HTCondor’s directory', () => {
  test('.use is JSON with token and life, or bare; 0400 of ours, whatever the umask', async () => {
    const { credentials, at, json } = open();
    await withUmask(0o000, async () => {
      const token = accessToken('1');
      await credentials.publish(alice, await credentials.put(alice, { refreshToken: 'r' }), token);
      expect(json('cilogon.use')).toEqual({
        access_token: 'access-1',
        token_type: 'bearer',
        expires_in: 1200,
        expires_at: token.expires / 1000,
        scope: 'openid storage.read:/',
      });
      const plain = { ...alice, service: 'plain' };
      await credentials.publish(plain, await credentials.put(plain, { refreshToken: 'r' }), token);
      expect(readFileSync(at('plain.use'), 'utf8')).toBe('access-1\n');
    });
    for (const name of ['cilogon.use', 'plain.use']) {
      expect(lstatSync(at(name)).mode & 0o7777).toBe(0o400);
      expect(lstatSync(at(name)).uid).toBe(us);
    }
  });

  test('what a power failure has left of a .use is no token, though it may tell its end', async () => {
    const { credentials, at, store } = open();
    const jwt = ['{"alg":"none"}', '{"exp":4000000000}', 'signature'].map((part) => btoa(part)).join('.');
    for (const service of ['cilogon', 'plain']) {
      const id = { ...alice, service };
      await credentials.publish(id, await credentials.put(id, { refreshToken: 'r' }), {
        ...accessToken('1'),
        accessToken: jwt,
      });
      const whole = readFileSync(at(`${service}.use`), 'utf8');
      expect(await credentials.life(id)).toBeDefined();
      for (const cut of [0, 1, 20, jwt.indexOf('.') + 30, jwt.length - 1, jwt.length + 10, whole.length - 1]) {
        if (cut >= whole.length) continue;
        for (const torn of [whole.slice(0, cut), whole.slice(0, cut).padEnd(whole.length, '\0')]) {
          store(`${service}.use`, torn);
          expect([torn, await credentials.life(id)]).toEqual([torn, undefined]);
        }
      }
    }
  });

  test('.top is 0600, with scopes and audience only where they were asked for: condor_credd compares them', async () => {
    const { credentials, at, json } = open();
    await withUmask(0o000, async () => void (await credentials.put(alice, { refreshToken: 'r' })));
    expect(json('cilogon.top')).toEqual({ refresh_token: 'r' });
    expect(lstatSync(at('cilogon.top')).mode & 0o7777).toBe(0o600);
    await credentials.put(alice, { refreshToken: 'r', scopes: [] });
    expect(json('cilogon.top')).toEqual({ refresh_token: 'r' });
    const stamp = await credentials.put(alice, { refreshToken: 'r', scopes: ['a', 'b'], audience: 'x' });
    expect(json('cilogon.top')).toEqual({ refresh_token: 'r', scopes: 'a b', audience: 'x' });
    await credentials.rotate(alice, stamp, 'r2');
    expect(lstatSync(at('cilogon.top')).mode & 0o7777).toBe(0o600);
  });

  test('a new user’s folder is condor’s alone', async () => {
    const { credentials, folder } = open();
    await withUmask(0o000, async () => void (await credentials.put(alice, { refreshToken: 'r' })));
    const stat = lstatSync(folder);
    expect(stat.mode & 0o777).toBe(0o700);
    expect(stat.uid).toBe(condor?.uid ?? us);
    if (condor) expect(stat.gid).toBe(condor.gid);
  });

  test('what is in a .top that is not ours survives a rotation, scopes in their own spelling too', async () => {
    const { credentials, store, json } = open();
    const theirs = { scopes: 'b,a', audience: 'x', note: { of: ['them', 1, null] }, iss: 'https://i' };
    store('cilogon.top', JSON.stringify({ ...theirs, refresh_token: 'r' }, null, 2));
    const { stamp } = await credentials.read(alice);
    await credentials.rotate(alice, stamp as string, 'r2');
    expect(json('cilogon.top')).toEqual({ ...theirs, refresh_token: 'r2' });
  });

  test('the .meta of the one before is not of a login that came after it, when a crash has kept it', async () => {
    const { credentials, store } = open();
    await credentials.put(alice, { refreshToken: 'r', since: epochMs(1e12) });
    store('cilogon.meta', '{"client_id":"c","use_refresh_token":false}');
    const top = await credentials.read(alice);
    expect(top).toMatchObject({ grant: { refreshToken: 'r' } });
    expect(top).not.toHaveProperty('client');
    store('cilogon.top', login());
    expect(await credentials.read(alice)).toMatchObject({ grant: { kind: 'final' }, client: { clientId: 'c' } });
  });

  test('a removal takes a token away that has outlived its grant', async () => {
    const { credentials, store, folder } = open();
    store('cilogon.use', 'left');
    store('cilogon.meta', 'left');
    expect(await credentials.remove(alice)).toBe(false);
    expect(readdirSync(folder)).toEqual([]);
  });

  test('a login clears away the .meta of the one before, a rotation does not', async () => {
    const { credentials, store, at } = open();
    store('cilogon.top', login());
    store('cilogon.meta', '{"client_id":"c"}');
    const { stamp } = await credentials.read(alice);
    await credentials.rotate(alice, stamp as string, 'r2');
    expect(existsSync(at('cilogon.meta'))).toBe(true);
    await credentials.put(alice, { refreshToken: 'r3' });
    expect(existsSync(at('cilogon.meta'))).toBe(false);
  });

  test('nothing is left behind in the folder but what belongs there', async () => {
    const { credentials, folder } = open();
    const stamp = await credentials.put(alice, { refreshToken: 'r' });
    await credentials.publish(alice, await credentials.rotate(alice, stamp, 'r2'), accessToken('1'));
    await credentials.rotate(alice, stamp, 'late').catch(() => {});
    await credentials.publish(alice, stamp, accessToken('late')).catch(() => {});
    expect(readdirSync(folder).sort()).toEqual(['cilogon.top', 'cilogon.use']);
  });

  test('a folder where a .use should be is a failure in words, and the .top stays', async () => {
    const { credentials, at } = open();
    const stamp = await credentials.put(alice, { refreshToken: 'r' });
    mkdirSync(at('cilogon.use'));
    const failure = failureOf(await credentials.publish(alice, stamp, accessToken('1')).catch((thrown) => thrown));
    expect(failure).toMatchObject({ kind: 'storage', what: expect.stringContaining('cilogon.use') });
    expect(await credentials.read(alice)).toEqual({ grant: { refreshToken: 'r' }, stamp });
  });

  test('where it cannot be written the old files stay whole', async () => {
    const dir = room();
    const folder = join(dir, 'alice');
    await unprivileged([dir], async () => {
      const own = process.geteuid?.() ?? 0;
      const credentials = condorCredentials({ ...silent, dir, owners: [own] });
      const stamp = await credentials.put(alice, { refreshToken: 'r' });
      await credentials.publish(alice, stamp, accessToken('1'));
      const use = readFileSync(join(folder, 'cilogon.use'), 'utf8');
      readOnly(folder);
      for (const act of [
        () => credentials.rotate(alice, stamp, 'r2'),
        () => credentials.publish(alice, stamp, accessToken('2')),
        () => credentials.put(alice, { refreshToken: 'r3' }),
        () => credentials.remove(alice),
      ]) {
        expect(failureOf(await act().catch((thrown) => thrown))?.kind).toBe('storage');
      }
      expect(await credentials.read(alice)).toEqual({ grant: { refreshToken: 'r' }, stamp });
      expect(readFileSync(join(folder, 'cilogon.use'), 'utf8')).toBe(use);
      expect(readdirSync(folder).sort()).toEqual(['cilogon.top', 'cilogon.use']);
    });
  });
});

const silent: Omit<CondorOptions, 'dir' | 'owners'> = {
  services: () => ['cilogon'],
  of: () => ({ flow: 'device', bare: false }),
  expiryOf: () => undefined,
};

/** Every turn of the event loop at which something may come in between, while `act` is under way. */
async function atEveryTurn(rounds: (turn: number) => Promise<void>): Promise<void> {
  for (let turn = 0; turn < 16; turn++) await rounds(turn);
}

const turns = async (n: number): Promise<void> => {
  for (let i = 0; i < n; i++) await new Promise((resolve) => setImmediate(resolve));
};

/** rm -r fails when a file is made in the folder meanwhile. */
function removeAll(folder: string): void {
  while (existsSync(folder)) {
    try {
      rmSync(folder, { recursive: true });
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== 'ENOTEMPTY') throw thrown;
    }
  }
}

describe('whatever comes in between, at whatever moment, wins', () => {
  const acts = {
    rotate: (o: ReturnType<typeof open>, stamp: string) => o.credentials.rotate(alice, stamp, 'late'),
    publish: (o: ReturnType<typeof open>, stamp: string) => o.credentials.publish(alice, stamp, accessToken('late')),
    /** As a refresh does it; time passes between any two. */
    both: async (o: ReturnType<typeof open>, stamp: string) => {
      const drop = o.credentials.hold?.(alice);
      try {
        await o.credentials.read(alice);
        await turns(2);
        const now = await o.credentials.rotate(alice, stamp, 'late');
        await turns(2);
        await o.credentials.publish(alice, now, accessToken('late'));
      } finally {
        drop?.();
      }
    },
  };
  /** Starts, lets `n` turns go by, interferes; what came of it. */
  const race = async (act: keyof typeof acts, n: number, interfere: (o: ReturnType<typeof open>) => void) => {
    const o = open();
    const stamp = await o.credentials.put(alice, { refreshToken: 'r' });
    const outcome = acts[act](o, stamp).then(
      () => 'done' as const,
      (thrown: unknown) => thrown,
    );
    await turns(n);
    interfere(o);
    const thrown = await outcome;
    if (thrown !== 'done') expect(thrown).toBeInstanceOf(Superseded);
    return o;
  };
  const strays = (dir: string) => readdirSync(dir).filter((name) => name.startsWith('.credmon-'));

  test.each(['rotate', 'publish', 'both'] as const)('a login during %s', (act) =>
    atEveryTurn(async (turn) => {
      const { json, folder } = await race(act, turn, (o) => o.store('cilogon.top', login('of the login')));
      expect(json('cilogon.top')).toEqual({ refresh_token: 'of the login' });
      expect(strays(folder)).toEqual([]);
    }),
  );

  test.each(['rotate', 'publish', 'both'] as const)(
    'a deletion during %s: condor_store_cred takes .top and .use',
    (act) =>
      atEveryTurn(async (turn) => {
        const { folder } = await race(act, turn, (o) => {
          rmSync(o.at('cilogon.top'), { force: true });
          rmSync(o.at('cilogon.use'), { force: true });
        });
        expect(readdirSync(folder)).toEqual([]);
      }),
  );

  test.each(['rotate', 'publish', 'both'] as const)('condor_credd’s sweep during %s: the whole folder goes', (act) =>
    atEveryTurn(async (turn) => {
      const { dir } = await race(act, turn, (o) => removeAll(o.folder));
      expect(readdirSync(dir)).toEqual([]);
    }),
  );

  test.each(['rotate', 'publish', 'both'] as const)(
    'the folder swapped for a link during %s: nothing is written there',
    (act) =>
      atEveryTurn(async (turn) => {
        const elsewhere = room();
        writeFileSync(join(elsewhere, 'cilogon.top'), login('elsewhere'), { mode: 0o600 });
        const { credentials } = await race(act, turn, (o) => {
          renameSync(o.folder, join(o.dir, 'away'));
          symlinkSync(elsewhere, o.folder);
        });
        expect(readdirSync(elsewhere)).toEqual(['cilogon.top']);
        expect(readFileSync(join(elsewhere, 'cilogon.top'), 'utf8')).toBe(login('elsewhere'));
        expect(await credentials.scan('alice')).toEqual(new Map());
        expect(await credentials.read(alice)).toEqual({ trouble: 'absent' });
      }),
  );

  test('one that is held is replaced where it lies by now, and nothing stays open', async () => {
    const { credentials, dir, folder, store } = open();
    const opened = () => readdirSync('/proc/self/fd').length;
    const stamp = await credentials.put(alice, { refreshToken: 'r' });
    const before = opened();
    const drop = credentials.hold?.(alice);
    await credentials.read(alice);
    // The folder is another one, with the same in it: that is no login.
    renameSync(folder, join(dir, 'away'));
    store('cilogon.top', readFileSync(join(dir, 'away', 'cilogon.top')));
    await expect(credentials.rotate(alice, stamp, 'r2')).rejects.toThrow(Superseded);
    const now = await credentials.read(alice);
    const after = await credentials.rotate(alice, now.stamp as string, 'r2');
    // What is there now counts, and not what was read before.
    store('cilogon.top', login('of another'));
    await expect(credentials.rotate(alice, after, 'r3')).rejects.toThrow(Superseded);
    drop?.();
    expect(await credentials.read(alice)).toMatchObject({ grant: { refreshToken: 'of another' } });
    expect(readFileSync(join(dir, 'away', 'cilogon.top'), 'utf8')).toContain('"r"');
    expect(opened()).toBe(before);
  });

  test('what a rotation has put there is known as ours as soon as it is there, and nothing else', async () => {
    const { credentials, store, at } = open();
    const stamp = await credentials.put(alice, { refreshToken: 'r' });
    expect(credentials.isOurs('alice', 'cilogon.top')).toBe(false);
    const rotated = credentials.rotate(alice, stamp, 'r2');
    while (!readFileSync(at('cilogon.top'), 'utf8').includes('r2')) await turns(1);
    expect(credentials.isOurs('alice', 'cilogon.top')).toBe(true);
    await rotated;
    expect(credentials.isOurs('alice', 'cilogon.top')).toBe(true);
    for (const [user, name] of [['alice', 'dune.top'] as const, ['bob', 'cilogon.top'] as const])
      expect(credentials.isOurs(user, name)).toBe(false);
    // A login with the very same in it.
    store('cilogon.top', readFileSync(at('cilogon.top')));
    expect(credentials.isOurs('alice', 'cilogon.top')).toBe(false);
    rmSync(at('cilogon.top'));
    expect(credentials.isOurs('alice', 'cilogon.top')).toBe(false);
  });

  test('of many rotations at once one wins', async () => {
    const { credentials, folder } = open();
    const stamp = await credentials.put(alice, { refreshToken: 'r' });
    const tried = await Promise.allSettled(
      Array.from({ length: 20 }, (_, n) => credentials.rotate(alice, stamp, `r-${n}`)),
    );
    const won = tried.findIndex(({ status }) => status === 'fulfilled');
    expect(tried.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(await credentials.read(alice)).toMatchObject({ grant: { refreshToken: `r-${won}` } });
    expect(readdirSync(folder)).toEqual(['cilogon.top']);
  });
});

describe('names', () => {
  test('services with underscores, handles, and letters in another case', async () => {
    const { credentials, store } = open();
    for (const name of ['dune', 'dune_h', 'dune_production', 'dune_production_h', 'CILogon', 'igwn_a_b'])
      store(`${name}.top`, login());
    const found = [...(await credentials.scan('alice')).values()].map(({ id: { service, handle }, provider }) => [
      service,
      handle,
      provider,
    ]);
    expect(found.sort()).toEqual(
      [
        ['CILogon', undefined, 'cilogon'],
        ['dune', undefined, 'dune'],
        ['dune', 'h', 'dune'],
        ['dune_production', undefined, 'dune_production'],
        ['dune_production', 'h', 'dune_production'],
        ['igwn', 'a_b', 'igwn'],
      ].sort(),
    );
  });

  test('what is no name, or no .top, is passed over', async () => {
    const { credentials, store, dir } = open();
    store('cilogon.top', login());
    for (const name of [
      'cilogon.use',
      'cilogon.top.tmp',
      'cilogon_.top',
      'cilogon_...top',
      'cilogon_a..b.top',
      'cilogon_a b.top',
      'cilogon_é.top',
      `cilogon_${'x'.repeat(230)}.top`,
      '.top',
      '..top',
      'tmpab12',
    ])
      store(name, login());
    for (const user of ['a b', '.hidden', 'a..b', 'u_', 'x'.repeat(200)]) store('cilogon.top', login(), user);
    for (const file of ['pid', 'CREDMON_COMPLETE', 'alice.mark', 'f'.repeat(64), 'wsgi_session_key'])
      writeFileSync(join(dir, file), '');
    symlinkSync(join(dir, 'alice'), join(dir, 'bob'));
    expect([...(await credentials.scan('alice')).keys()]).toEqual(['alice/cilogon']);
    expect(await credentials.users()).toEqual(['alice']);
    expect(await credentials.scan('bob')).toEqual(new Map());
  });

  test.each(['..', '.', '', 'a/b', '../alice', 'a b', 'a\0b', 'a\nb', 'x'.repeat(300)])(
    'user %j leads nowhere',
    async (user) => {
      const { credentials, dir, store } = open();
      store('cilogon.top', login());
      const id = { ...alice, user };
      expect(await credentials.scan(user)).toEqual(new Map());
      expect(await credentials.read(id)).toEqual({ trouble: 'absent' });
      expect(await credentials.life(id)).toBeUndefined();
      expect(await credentials.remove(id)).toBe(false);
      await expect(credentials.rotate(id, 's', 'r')).rejects.toThrow(Superseded);
      await expect(credentials.put(id, { refreshToken: 'r' })).rejects.toMatchObject({ failure: { kind: 'storage' } });
      expect(readdirSync(dir)).toEqual(['alice']);
    },
  );

  test.each(['../igwn', 'a/b', '/etc/x', 'a\0b'])('handle %j leads nowhere', async (handle) => {
    const { credentials, dir, folder } = open();
    await credentials.put(alice, { refreshToken: 'r' });
    await expect(credentials.put({ ...alice, handle }, { refreshToken: 'r' })).rejects.toThrow();
    expect(readdirSync(dir)).toEqual(['alice']);
    expect(readdirSync(folder)).toEqual(['cilogon.top']);
  });

  test.runIf(weAreRoot)('a folder that others made or may write to is not believed, nor written to', async () => {
    const { credentials, folder, store } = open();
    store('cilogon.top', login());
    const refused = async () => {
      expect(await credentials.scan('alice')).toEqual(new Map());
      expect(await credentials.read(alice)).toEqual({ trouble: 'absent' });
      await expect(credentials.put(alice, { refreshToken: 'x' })).rejects.toMatchObject({
        failure: { kind: 'storage' },
      });
      expect(readFileSync(join(folder, 'cilogon.top'), 'utf8')).toBe(login());
    };
    chownSync(folder, 4711, 4711);
    await refused();
    chownSync(folder, 0, 0);
    chmodSync(folder, 0o707);
    await refused();
  });

  test.runIf(weAreRoot)('the folders that condor_credd works with are worked with', async () => {
    const { credentials, folder, store } = open();
    store('cilogon.top', login());
    const { uid = 0, gid = 0 } = condor ?? {};
    for (const [owner, group, mode] of [
      [uid, gid, 0o2700],
      [uid, gid, 0o700],
      [0, gid, 0o2770],
      [0, gid, 0o2700],
      [0, 0, 0o700],
    ] as const) {
      chownSync(folder, owner, group);
      chmodSync(folder, mode);
      expect([mode.toString(8), (await credentials.scan('alice')).size]).toEqual([mode.toString(8), 1]);
    }
  });
});

test('services of other credmons are not touched, whatever we do', async () => {
  const { credentials, store, dir, at } = open();
  const theirs = [
    'box.top',
    'box.use',
    'box.meta',
    'scitokens.use',
    'scitokens.top',
    'cilogon2.top',
    'tmpx1',
    'a.top.tmp',
  ];
  for (const name of theirs) store(name, `bytes of ${name}\0`);
  writeFileSync(join(dir, 'e'.repeat(64)), 'ClientSecret = "x"');
  const before = theirs.map((name) => ({ name, bytes: readFileSync(at(name), 'utf8'), stat: lstatSync(at(name)) }));
  for (const id of [alice, { ...alice, handle: 'h' }]) {
    const stamp = await credentials.put(id, { refreshToken: 'r' });
    await credentials.publish(id, await credentials.rotate(id, stamp, 'r2'), accessToken('1'));
  }
  await credentials.sweep(epochMs(Date.now() + 1000));
  for (const id of [alice, { ...alice, handle: 'h' }]) await credentials.remove(id);
  expect(readdirSync(join(dir, 'alice')).sort()).toEqual([...theirs].sort());
  const after = theirs.map((name) => ({ name, bytes: readFileSync(at(name), 'utf8'), stat: lstatSync(at(name)) }));
  // Reading may move atime.
  const bare = ({ stat: { ino, mode, uid, gid, mtimeMs, ctimeMs }, ...rest }: (typeof before)[number]) => ({
    ...rest,
    stat: { ino, mode, uid, gid, mtimeMs, ctimeMs },
  });
  expect(after.map(bare)).toEqual(before.map(bare));
});

test('the sweep takes our own leftovers, when they are old, and nobody else’s', async () => {
  const { credentials, store, folder } = open();
  const ours = `.credmon-${'a'.repeat(24)}.tmp`;
  const young = `.credmon-${'b'.repeat(24)}.tmp`;
  const theirs = ['.credmon-x.tmp', 'tmpk2j3', 'cilogon.top.tmp'];
  for (const name of [ours, young, ...theirs]) store(name, '');
  for (const name of [ours, ...theirs]) utimesSync(join(folder, name), 1, 1);
  expect(await credentials.sweep(epochMs(Date.now() - 60_000))).toBe(1);
  expect(readdirSync(folder).sort()).toEqual([young, ...theirs].sort());
});

test('a credential directory that is gone is a failure in words', async () => {
  const { credentials, dir } = open();
  rmSync(dir, { recursive: true });
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  await expect(credentials.users()).rejects.toMatchObject({ failure: { kind: 'storage', hint: expect.any(String) } });
});

describe('what is no refresh token', () => {
  const request = '{\n  "scopes": "b,a",\n  "handle": "h",\n  "provider": "cilogon",\n  "credmon_request": 1\n}\n';
  const made: CredentialId = { ...alice, handle: 'h' };

  test('a request as condor_credd has it is read; what an exchange brings is put beside its wishes', async () => {
    const { credentials, store, json } = open();
    store('cilogon_h.top', request);
    const top = await credentials.read(made);
    expect(top).toMatchObject({ grant: { kind: 'request', scopes: ['a', 'b'] } });
    const stamp = await credentials.rotate(made, top.stamp as string, 'refresh-1');
    expect(json('cilogon_h.top')).toEqual({ ...JSON.parse(request), refresh_token: 'refresh-1' });
    expect(await credentials.read(made)).toMatchObject({
      grant: { kind: 'request', scopes: ['a', 'b'], refreshToken: 'refresh-1' },
      stamp,
    });
  });

  test('one that is stored under another name than it says is none, and stays what it is', async () => {
    const { credentials, store, at } = open();
    for (const name of ['cilogon', 'cilogon_x', 'igwn_h']) {
      store(`${name}.top`, request);
      const [service = '', handle] = name.split('_');
      expect(await credentials.read({ user: 'alice', service, ...(handle !== undefined && { handle }) })).toEqual({
        trouble: 'a request for another credential',
        stamp: expect.any(String),
      });
      expect(readFileSync(at(`${name}.top`), 'utf8')).toBe(request);
    }
  });

  test('a request that is put there is read back, without a secret', async () => {
    const { credentials, at } = open();
    await credentials.put(made, { kind: 'request', from: '', scopes: ['a'], audience: 'x', refreshToken: 'refresh-9' });
    expect(await credentials.read(made)).toMatchObject({
      grant: { kind: 'request', from: '', scopes: ['a'], audience: 'x' },
    });
    expect(readFileSync(at('cilogon_h.top'), 'utf8')).not.toContain('refresh-9');
    expect(lstatSync(at('cilogon_h.top')).mode & 0o777).toBe(0o600);
  });

  test('a mytoken is replaced by a mytoken, bare or in JSON; a request for one keeps a refresh token', async () => {
    const { credentials, store, json } = open({ of: () => ({ flow: 'mytoken', bare: false }) });
    for (const text of ['mt-1\n', '{"mytoken":"mt-1"}']) {
      store('cilogon.top', text);
      const before = await credentials.read(alice);
      expect(before).toMatchObject({ grant: { kind: 'mytoken', mytoken: 'mt-1' } });
      await credentials.rotate(alice, before.stamp as string, 'mt-2');
      expect(json('cilogon.top')).toEqual({ mytoken: 'mt-2' });
    }
    store('cilogon_h.top', request);
    await credentials.rotate(made, (await credentials.read(made)).stamp as string, 'refresh-1');
    expect(json('cilogon_h.top')).toMatchObject({ credmon_request: 1, refresh_token: 'refresh-1' });
    expect(json('cilogon_h.top')).not.toHaveProperty('mytoken');
  });

  test('a subject token has done its work once there is a refresh token', async () => {
    const { credentials, store, json } = open({ of: () => ({ flow: 'pelican', bare: false }) });
    store('cilogon.top', '{"access_token":"subject-1","scopes":"a"}');
    const top = await credentials.read(alice);
    expect(top).toMatchObject({ grant: { kind: 'subject', accessToken: 'subject-1' } });
    await credentials.rotate(alice, top.stamp as string, 'refresh-1');
    expect(json('cilogon.top')).toEqual({ scopes: 'a', refresh_token: 'refresh-1' });
  });

  test('where HTCondor’s web flow noted that there is nothing to refresh with, it is final; a login changes that', async () => {
    const { credentials, store, at } = open();
    store('cilogon.top', '{"refresh_token":""}');
    store('cilogon.meta', '{"client_id":"theirs","use_refresh_token":false}');
    expect(await credentials.read(alice)).toMatchObject({ grant: { kind: 'final' }, client: { clientId: 'theirs' } });
    store('cilogon.meta', '{"client_id":"theirs","use_refresh_token":true}');
    expect(await credentials.read(alice)).toMatchObject({ trouble: 'without a refresh_token' });
    store('cilogon.meta', '{"use_refresh_token":false}');
    await credentials.put(alice, { refreshToken: 'refresh-1' });
    expect(existsSync(at('cilogon.meta'))).toBe(false);
    expect(await credentials.read(alice)).toMatchObject({ grant: { refreshToken: 'refresh-1' } });
  });
});

describe('what could not be read back', () => {
  test('is not written: what lies there stays as it is', async () => {
    const { credentials, store, at } = open();
    store('cilogon.top', login());
    const { stamp } = await credentials.read(alice);
    const failure = { kind: 'protocol', code: 'unwritable', what: expect.stringContaining('cannot be kept') };
    for (const token of ['x'.repeat(16_385), 'x'.repeat(70_000), 'naïve', 'line\nbreak'])
      await expect(credentials.rotate(alice, stamp as string, token)).rejects.toMatchObject({ failure });
    expect(readFileSync(at('cilogon.top'), 'utf8')).toBe(login());
    // What is as long as any is read, but not where too much lies beside it.
    const longest = 'x'.repeat(16_384);
    await credentials.rotate(alice, stamp as string, longest);
    expect(await credentials.read(alice)).toMatchObject({ grant: { refreshToken: longest } });
    store('cilogon.top', login('refresh-1', { more: 'x'.repeat(60_000) }));
    const crowded = await credentials.read(alice);
    await expect(credentials.rotate(alice, crowded.stamp as string, longest)).rejects.toMatchObject({ failure });
    expect(await credentials.read(alice)).toEqual(crowded);
  });

  test('nor is what a user has nested more deeply than can be written', async () => {
    const { credentials, store, at } = open();
    const deep = `{"refresh_token":"refresh-1","x":${'['.repeat(30_000)}${']'.repeat(30_000)}}`;
    store('cilogon.top', deep);
    const { stamp } = await credentials.read(alice);
    await expect(credentials.rotate(alice, stamp as string, 'refresh-2')).rejects.toMatchObject({
      failure: { kind: 'storage', code: 'unwritable' },
    });
    expect(readFileSync(at('cilogon.top'), 'utf8')).toBe(deep);
  });
});
