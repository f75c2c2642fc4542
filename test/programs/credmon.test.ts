import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openSpool } from '../../src/broker/spool.js';
import { systemClock } from '../../src/system/clock.js';
import { error, set, without } from '../helpers/faults.js';
import { confidentialClient } from '../helpers/issuer.js';
import type { IssuerClient } from '../helpers/issuer-provider.js';
import { accessPoint, faultyFor, home, issuerFor, modeOf, nobody, run, until, weAreRoot, writeConfig } from './kit.js';

const scopes = ['openid', 'offline_access', 'storage.read:/alice'];
const events = (out: string) =>
  out
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, string>);

/** Exactly one error, with what to do. */
function message(err: string): string {
  const [first = '', hint, ...more] = err.trimEnd().split('\n');
  expect(first).toMatch(/^credmon: error: \S/);
  expect(hint).toMatch(/^credmon: hint: \S/);
  expect(more).toEqual([]);
  return err;
}

test('whoever reads may go away (credmon … | head)', async () => {
  const asked = home({ providers: {} }).credmon(['--help']);
  asked.child.stdout?.destroy();
  expect(await asked.ended).toMatchObject({ code: 74, err: '' });
});

describe.concurrent('a person’s own login, end to end', () => {
  test('--json: log in, use, look, and log out', async () => {
    const issuer = await issuerFor({ accessTokenTtl: 300 });
    const h = home({ providers: { test: { issuer: issuer.url, scopes } } });
    const login = await h.credmon(['login', '--json']).ended;
    expect(login).toMatchObject({ code: 0, err: '' });
    expect(events(login.out).map(({ event }) => event)).toEqual(['starting', 'code', 'storing', 'done']);
    expect(events(login.out)[1]).toMatchObject({
      provider: 'test',
      user_code: expect.any(String),
      verification_uri: issuer.verificationPage,
    });
    expect(events(login.out)[3]).toMatchObject({
      who: 'alice',
      place: { kind: 'file', path: h.state },
      missing_scopes: [],
      keeper: 'credmond --user',
    });
    expect([modeOf(h.state), modeOf(join(h.state, 'test.json')), modeOf(h.bearer)]).toEqual([0o700, 0o600, 0o600]);

    const token = await h.credmon(['token']).ended;
    expect(token).toMatchObject({ code: 0, err: '' });
    expect(await issuer.introspect(token.out.trim())).toBe(true);
    expect(readFileSync(h.bearer, 'utf8')).toBe(token.out);
    expect((await h.credmon(['token', 'test']).ended).out).toBe(token.out);
    expect(issuer.counts.refreshes).toBe(0);

    const status = await h.credmon(['status']).ended;
    expect(status).toMatchObject({ code: 0, err: '' });
    expect(status.out).toMatch(
      /^PROVIDER +BY +STATE +TOKEN ENDS +NEXT REFRESH\ntest +login +fresh +in \d+ (?:s|min) of \d+/,
    );
    expect(status.out).toContain('No credmond --user runs');
    const { credentials } = JSON.parse((await h.credmon(['status', '--json']).ended).out);
    expect(credentials).toMatchObject([{ provider: 'test', state: 'fresh', issuer: issuer.url }]);

    const { refreshToken } = h.stored().grant;
    const logout = await h.credmon(['logout']).ended;
    expect(logout).toMatchObject({ code: 0, out: `test: removed here; revoked at ${issuer.url}\n`, err: '' });
    expect(issuer.counts.revocations).toBe(1);
    expect([existsSync(join(h.state, 'test.json')), existsSync(h.bearer)]).toEqual([false, false]);
    expect(refreshToken).toMatch(/\S{20}/);
    expect(message((await h.credmon(['token']).ended).err)).toContain('you are not logged in');
    expect((await h.credmon(['logout']).ended).code).toBe(79);
  });

  test('several providers in one go: each has a login and a bearer token file of its own', async () => {
    const issuer = await issuerFor();
    const h = home({ providers: { one: { issuer: issuer.url, scopes }, two: { issuer: issuer.url, scopes } } });
    const { code, out } = await h.credmon(['login', 'one', 'two', '--json']).ended;
    expect(code).toBe(0);
    expect(events(out).flatMap(({ event, provider }) => (event === 'done' ? [provider] : []))).toEqual(['one', 'two']);
    const [one, two] = await Promise.all(['one', 'two'].map(async (p) => (await h.credmon(['token', p]).ended).out));
    // Without a default the first provider's is the one that other programs find by themselves; credmond --user agrees.
    expect([readFileSync(h.bearer, 'utf8'), readFileSync(`${h.bearer}-two`, 'utf8')]).toEqual([one, two]);
    expect((await h.credmond(['--once']).ended).code).toBe(0);
    expect([readFileSync(h.bearer, 'utf8'), readFileSync(`${h.bearer}-two`, 'utf8')]).toEqual([one, two]);
    expect(existsSync(`${h.bearer}-one`)).toBe(false);
  });

  test('status --watch shows what changes, until it is stopped', async () => {
    const issuer = await issuerFor();
    const h = home({ providers: { test: { issuer: issuer.url, scopes } } });
    const watch = h.credmon(['status', '--watch']);
    await watch.says(/You are not logged in/);
    expect((await h.credmon(['login', '--json']).ended).code).toBe(0);
    await watch.says(/test +login +fresh/);
    watch.child.kill('SIGINT');
    expect((await watch.ended).code).toBe(130);
  });

  test('--plain: words on standard error, nothing on standard output', async () => {
    const issuer = await issuerFor();
    const h = home({ providers: { test: { issuer: issuer.url, scopes } } });
    const { code, out, err } = await h.credmon(['login', 'test', '--plain', '--handle', 'h']).ended;
    expect([code, out]).toEqual([0, '']);
    expect(err).toContain(issuer.verificationPage);
    expect(err).toContain('alice');
    expect(h.stored('test_h')).toMatchObject({ provider: 'test', handle: 'h' });
    expect(existsSync(`${h.bearer}-test_h`)).toBe(true);
    expect((await h.credmon(['token', 'test', '--handle', 'h']).ended).code).toBe(0);
    expect((await h.credmon(['logout', 'test', '--handle', 'h']).ended).out).toMatch(/^test_h: removed here; revoked/);
    expect(existsSync(`${h.bearer}-test_h`)).toBe(false);
  });

  test('--if-needed says and asks nothing where a good one is; without it that is said; --force asks all the same', async () => {
    const issuer = await issuerFor();
    const h = home({ providers: { test: { issuer: issuer.url, scopes } } });
    expect((await h.credmon(['login', '--json', '--if-needed']).ended).code).toBe(0);
    const first = h.stored().grant.refreshToken;
    expect(await h.credmon(['login', '--if-needed']).ended).toMatchObject({ code: 0, out: '', err: '' });
    const kept = await h.credmon(['login', '--json']).ended;
    expect([kept.code, events(kept.out).map(({ event }) => event)]).toEqual([0, ['kept']]);
    expect(issuer.counts.deviceAuthorizations).toBe(1);
    expect((await h.credmon(['login', '--json', '--force']).ended).code).toBe(0);
    expect(issuer.counts.deviceAuthorizations).toBe(2);
    expect(h.stored().grant.refreshToken).not.toBe(first);
    // The provider's own by their names are what is there: as condor_submit and ensure have it.
    const own = ['--scope', 'storage.read:/alice'];
    expect(await h.credmon(['login', '--if-needed', ...own]).ended).toMatchObject({ code: 0, out: '', err: '' });
    expect((await h.credmon(['ensure', 'test&scopes=storage.read:/alice']).ended).code).toBe(0);
    expect((await h.credmon(['login', '--json', '--if-needed', '--scope', 'openid']).ended).code).toBe(0);
    expect(issuer.counts.deviceAuthorizations).toBe(3);
  });

  test('a token that has ended is refreshed when it is asked for, by one at a time', async () => {
    const issuer = await issuerFor({ accessTokenTtl: 1 });
    const h = home({ providers: { test: { issuer: issuer.url, scopes } } });
    await h.credmon(['login', '--json']).ended;
    const before = h.stored().grant.refreshToken;
    await until(() => h.stored().token.expires < Date.now(), 'the token to end');
    const tokens = await Promise.all(Array.from({ length: 4 }, () => h.credmon(['token']).ended));
    for (const { code, err } of tokens) expect([code, err]).toEqual([0, '']);
    expect(h.stored().grant.refreshToken).not.toBe(before);
    expect(issuer.counts.reuse).toBe(0);
    expect(`${h.stored().token.accessToken}\n`).toBe(readFileSync(h.bearer, 'utf8'));
  });

  test('a token is printed also where there is no place for the file with it', async () => {
    const issuer = await issuerFor({ accessTokenTtl: 1 });
    const h = home({ providers: { test: { issuer: issuer.url, scopes } } });
    await h.credmon(['login', '--json']).ended;
    await until(() => h.stored().token.expires < Date.now(), 'the token to end');
    const { code, out, err } = await h.credmon(['token'], { XDG_RUNTIME_DIR: join(h.base, 'nowhere') }).ended;
    expect([code, err]).toEqual([0, '']);
    expect(out.trim()).toBe(h.stored().token.accessToken);
  });

  test('a grant that the issuer has ended: said, with the command that mends it', async () => {
    const issuer = await issuerFor({ accessTokenTtl: 1 });
    const h = home({ providers: { test: { issuer: issuer.url, scopes } } });
    await h.credmon(['login', '--json']).ended;
    issuer.revokeGrants();
    await until(() => h.stored().token.expires < Date.now(), 'the token to end');
    const { code, out, err } = await h.credmon(['token']).ended;
    expect([code, out]).toEqual([79, '']);
    expect(message(err)).toContain('credmon: hint: run: credmon login test');
    const ensured = await h.credmon(['ensure']).ended;
    expect(ensured.code).toBe(79);
    expect(ensured.out).toMatch(/^test: login needed: .*\n {2}→ run: credmon login test\n$/);
  });

  test('credmond --user keeps it fresh, and the file that other programs look at', async () => {
    const issuer = await issuerFor({ accessTokenTtl: 2 });
    const h = home({ top: { token_minimum: 0 }, providers: { test: { issuer: issuer.url, scopes } } });
    await h.credmon(['login', '--json']).ended;
    const daemon = h.credmond();
    const seen = new Set<string>();
    await until(() => seen.add(readFileSync(h.bearer, 'utf8')).size >= 3, 'three different tokens', 15_000);
    for (const args of [['token'], ['status', '--json']]) expect((await h.credmon(args).ended).code).toBe(0);
    const status = JSON.parse((await h.credmon(['status', '--json']).ended).out);
    expect(status).toMatchObject({ daemon: { pid: daemon.pid, alive: true }, credentials: [{ state: 'fresh' }] });
    // Another login, which it is not told of.
    expect((await h.credmon(['login', '--json', '--force']).ended).out).not.toContain('keeper');
    const now = h.stored().grant.refreshToken;
    await until(() => h.stored().grant.refreshToken !== now, 'the new login to be refreshed');
    expect((await h.credmond().ended).code).toBe(99);
    expect((await h.credmon(['logout']).ended).code).toBe(0);
    daemon.child.kill('SIGTERM');
    expect((await daemon.ended).code).toBe(0);
    expect(issuer.counts.reuse).toBe(0);
    expect(existsSync(h.bearer)).toBe(false);
    expect(modeOf(join(h.state, 'status', 'all.json'))).toBe(0o640);
  });

  test('credmond --user --once, with one that cannot be read and one of a provider that is no more', async () => {
    const issuer = await issuerFor({ accessTokenTtl: 1 });
    const providers = { test: { issuer: issuer.url, scopes } };
    const h = home({
      top: { default_provider: 'test' },
      providers: { ...providers, gone: { issuer: issuer.url, scopes } },
    });
    for (const name of ['test', 'gone']) expect((await h.credmon(['login', name, '--json']).ended).code).toBe(0);
    writeConfig(h.config, { providers });
    writeFileSync(join(h.state, 'bad.json'), '{', { mode: 0o600 });
    const before = h.stored().token.accessToken;
    const over = (id: string) => h.stored(id).token.expires < Date.now();
    await until(() => over('test') && over('gone'), 'the tokens to end');
    const { code, err } = await h.credmond(['--once']).ended;
    expect(code).toBe(1);
    expect(err).toContain('one pass done: 2 could not be refreshed');
    expect(err).toContain('no provider "gone" is configured any more');
    expect(h.stored().token.accessToken).not.toBe(before);
    const status = await h.credmon(['status']).ended;
    expect(status.out).toMatch(/bad +login +damaged/);
    expect(status.out).toMatch(/gone +/);
    expect(status.out).toMatch(/test +/);
  });
});

describe.concurrent('giving up', () => {
  test.each(['SIGINT', 'SIGTERM'] as const)('%s ends it at once with 130, and nothing is left', async (signal) => {
    // The next poll is a minute away: nothing is waited for.
    const issuer = await issuerFor({ approves: false, interval: 60 });
    const h = home({ providers: { test: { issuer: issuer.url, scopes } } });
    const login = h.credmon(['login', '--json']);
    await login.says('user_code');
    const begun = performance.now();
    login.child.kill(signal);
    const { code, out } = await login.ended;
    const ms = performance.now() - begun;
    expect(code).toBe(130);
    expect(events(out).at(-1)).toMatchObject({ event: 'failed', kind: 'cancelled', exit_code: 130 });
    console.info(`${signal} ended the login after ${Math.round(ms)} ms`);
    expect(ms).toBeLessThan(10_000);
    expect(h.files()).toEqual([]);
  });

  test('--timeout: 124', async () => {
    const issuer = await issuerFor({ approves: false });
    const h = home({ providers: { test: { issuer: issuer.url, scopes } } });
    const { code, err, ms } = await h.credmon(['login', '--plain', '--timeout', '1']).ended;
    expect(code).toBe(124);
    expect(err).toContain('was not approved within 1 s (--timeout); nothing was stored');
    expect(ms).toBeLessThan(5000);
    expect(h.files()).toEqual([]);
  });

  test('a no at the issuer: 77', async () => {
    const issuer = await issuerFor({ approves: false, onCode: (code) => void issuer.deny(code) });
    const h = home({ providers: { test: { issuer: issuer.url, scopes } } });
    expect((await h.credmon(['login', '--json']).ended).code).toBe(77);
    expect(h.files()).toEqual([]);
  });
});

type Bad = readonly [
  name: string,
  code: number,
  what: RegExp,
  args: readonly string[],
  config: (base: string) => string | Promise<string>,
];

const provider = (issuer: string, more = '', name = 'test') =>
  `[providers.${name}]\nissuer = "${issuer}"\nclient_id = "public-cli"\n${more}\n`;

describe.concurrent('bad input: one clear message, the right exit code, and nothing left behind', () => {
  const bad: readonly Bad[] = [
    ['no provider at all', 78, /no provider is configured/, ['login'], () => ''],
    [
      'an unknown provider',
      78,
      /no provider "cilogn" in .*\n.*did you mean cilogon\? There is: cilogon/,
      ['login', 'cilogn'],
      () => provider('https://x.invalid', '', 'cilogon'),
    ],
    ...(['login', 'ensure', 'logout'] as const).map(
      (command): Bad => [
        `several, and none named: ${command}`,
        64,
        /several providers, and none is the default: test, b\n.*credmon (?:login|ensure|logout) test/,
        [command],
        () => provider('https://x.invalid') + provider('https://x.invalid', '', 'b'),
      ],
    ),
    [
      'something to ensure that nobody knows',
      78,
      /no provider "nosuch" in /,
      ['ensure', 'nosuch'],
      () => provider('https://x.invalid'),
    ],
    [
      'a login for what nobody knows',
      78,
      /no credential service "tset" is known here\n.*did you mean test\?/,
      ['login', '--request', 'tset&scopes=a'],
      () => provider('https://x.invalid'),
    ],
    [
      'a number that is none',
      64,
      /positive whole number of seconds\.\n.*see: credmon ensure --help\n/,
      ['ensure', '--min-remaining', 'soon'],
      () => provider('https://x.invalid'),
    ],
    [
      'an issuer without https',
      78,
      /providers\.test\.issuer must be an https URL/,
      ['login'],
      () => provider('http://issuer.example'),
    ],
    ['no TOML', 78, /line 1, column \d+/, ['login'], () => '[providers'],
    [
      'a setting that is none',
      78,
      /providers\.test\.colour is not a known setting/,
      ['login'],
      () => provider('https://x.invalid', 'colour = 1'),
    ],
    [
      'a client secret that others can read',
      78,
      /secret is open to others \(mode 0644\)/,
      ['login'],
      (base) => {
        writeFileSync(join(base, 'secret'), 'very-secret');
        return provider('http://127.0.0.1:1', `client_secret_file = "${join(base, 'secret')}"`);
      },
    ],
    [
      'a CA file that is none',
      78,
      /holds no certificate/,
      ['login'],
      (base) => {
        writeFileSync(join(base, 'ca.pem'), 'no');
        return provider('https://127.0.0.1:1', `ca_file = "${join(base, 'ca.pem')}"`);
      },
    ],
    [
      'an issuer that is not there',
      75,
      /cannot reach http:\/\/127\.0\.0\.1:1: the connection was refused/,
      ['login'],
      () => provider('http://127.0.0.1:1'),
    ],
    ['a name that does not resolve', 75, /does not resolve/, ['login'], () => provider('https://issuer.invalid')],
    [
      'a wrong certificate',
      76,
      /certificate of https:\/\/127\.0\.0\.1:\d+ cannot be trusted/,
      ['login'],
      async (base) => {
        const args = '-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost'.split(' ');
        execFileSync('openssl', ['req', ...args, '-keyout', join(base, 'key.pem'), '-out', join(base, 'cert.pem')], {
          stdio: 'ignore',
        });
        const [cert, key] = ['cert.pem', 'key.pem'].map((name) => readFileSync(join(base, name), 'utf8')) as [
          string,
          string,
        ];
        return provider((await issuerFor({ tls: { cert, key } })).url);
      },
    ],
    [
      'metadata of another issuer',
      76,
      /against the standards/,
      ['login'],
      async () => {
        const issuer = await faultyFor();
        issuer.always('discovery', set({ issuer: 'https://other.example' }));
        return provider(issuer.url);
      },
    ],
    [
      'no device endpoint',
      69,
      /offers no device flow/,
      ['login'],
      async () => {
        const issuer = await faultyFor();
        issuer.always('discovery', without('device_authorization_endpoint'));
        return provider(issuer.url);
      },
    ],
    [
      'a client that the issuer does not know',
      77,
      /refused: invalid_client/,
      ['login'],
      async () => provider((await issuerFor({ clients: [] as IssuerClient[] })).url),
    ],
    [
      'a scope that the issuer does not give',
      77,
      /refused: invalid_scope/,
      ['login', '--scope', 'no.such'],
      async () => {
        const issuer = await faultyFor();
        issuer.always('device', error('invalid_scope'));
        return provider(issuer.url);
      },
    ],
    [
      'no refresh token',
      77,
      /no refresh token/,
      ['login'],
      async () => {
        const issuer = await faultyFor();
        issuer.always('token', without('refresh_token'));
        return provider(issuer.url);
      },
    ],
    [
      'a link that is not https',
      76,
      /login link that is not https/,
      ['login'],
      async () => {
        const issuer = await faultyFor();
        issuer.always('device', set({ verification_uri: 'http://evil.example/' }));
        return provider(issuer.url);
      },
    ],
    [
      'an option that is none',
      64,
      /unknown option '--frce'\n.*did you mean --force\?/,
      ['login', '--frce'],
      () => provider('https://x.invalid'),
    ],
    ['a command that is none', 64, /unknown command 'logn'/, ['logn'], () => provider('https://x.invalid')],
    [
      'a handle with a path',
      64,
      /--handle \.\.\/x/,
      ['login', '--handle', '../x'],
      () => provider('https://x.invalid'),
    ],
    ['a handle with blanks', 64, /--handle a b/, ['login', '--handle', 'a b'], () => provider('https://x.invalid')],
    [
      'a handle of 300 characters',
      64,
      /more than 128 characters/,
      ['login', '--handle', 'x'.repeat(300)],
      () => provider('https://x.invalid'),
    ],
    [
      'a scope that is none',
      64,
      /cannot have \(RFC 6749/,
      ['login', '--scope', 'a"b'],
      () => provider('https://x.invalid'),
    ],
    [
      'a request along with a provider',
      64,
      /cannot be given along with --request/,
      ['login', 'test', '--request', 'test'],
      () => provider('https://x.invalid'),
    ],
    [
      'a request that is none',
      64,
      /the request "test&colour=red" has "&colour"/,
      ['login', '--request', 'test&colour=red'],
      () => provider('https://x.invalid'),
    ],
    [
      'two requests for different things under one name',
      64,
      /test_h is asked for with different scopes: a \(--request test&handle=h&scopes=a\) and b \(--request/,
      ['login', '--request', 'test&handle=h&scopes=a', '--request', 'test&handle=h&scopes=b'],
      () => provider('https://x.invalid'),
    ],
    [
      'a submit file that is not there',
      64,
      /--submit: there is no file nowhere\.sub/,
      ['login', '--submit', 'nowhere.sub'],
      () => provider('https://x.invalid'),
    ],
    [
      'a provider that nobody logs in to',
      69,
      /test: no login is needed/,
      ['login', 'test'],
      (base) => provider('https://x.invalid', `flow = "exchange"\nclient_secret_file = "${join(base, 's')}"`),
    ],
    ['a time that is none', 64, /--timeout/, ['login', '--timeout', '-5'], () => provider('https://x.invalid')],
    [
      'a store that is none',
      64,
      /Allowed choices are auto, condor, keyring, file/,
      ['login', '--store', 'x'],
      () => provider('https://x.invalid'),
    ],
    [
      'HTCondor’s store without HTCondor',
      69,
      /no credential directory/,
      ['login', '--store', 'condor'],
      () => provider('https://x.invalid'),
    ],
    [
      'a token of somebody not logged in',
      79,
      /not logged in to test/,
      ['token', 'test'],
      () => provider('https://x.invalid'),
    ],
    [
      'a token for a path',
      64,
      /cannot be the name of a login/,
      ['token', '../../etc'],
      () => provider('https://x.invalid'),
    ],
    ['two tokens', 64, /one token at a time/, ['token', 'a', 'b'], () => provider('https://x.invalid')],
    [
      'a logout of an unknown provider',
      78,
      /no provider "tset"/,
      ['logout', 'tset'],
      () => provider('https://x.invalid'),
    ],
    [
      'a logout of a path',
      64,
      /cannot be the name of a login/,
      ['logout', 'test', '--handle', '../x'],
      () => provider('https://x.invalid'),
    ],
  ];

  test.each(bad)('%s: %i', async (_, code, what, args, config) => {
    const h = home({});
    writeFileSync(h.config, await config(h.base));
    const ended = await h.credmon(args).ended;
    // What fails while it is drawn is said by the face that draws it.
    const drawn = / failed: (.*)\n {2}Hint: \S/.exec(ended.err);
    if (drawn === null) message(ended.err);
    expect(ended.err).toMatch(what);
    expect([ended.code, ended.out]).toEqual([code, '']);
    expect(ended.err).not.toContain('very-secret');
    expect(ended.err).not.toMatch(/\n\s+at /);
    expect(h.files()).toEqual([]);
    expect(existsSync(h.bearer)).toBe(false);
    if (drawn === null) return;
    const json = await h.credmon([...args, '--json']).ended;
    expect([json.code, json.err]).toEqual([code, '']);
    expect(events(json.out).at(-1)).toMatchObject({ event: 'failed', exit_code: code, hint: expect.any(String) });
  });

  test('a configuration that is not there, or may not be read: 78', async () => {
    const h = home({});
    expect(message((await h.credmon(['login', '--config', '/nowhere.toml']).ended).err)).toContain(
      '/nowhere.toml does not exist',
    );
    expect(message((await h.credmon(['login', '--config', h.base]).ended).err)).toContain('cannot be read (EISDIR)');
  });

  test('no HOME: 74, before anybody is sent to the issuer', async () => {
    const issuer = await issuerFor();
    const h = home({ providers: { test: { issuer: issuer.url, scopes } } });
    for (const command of ['login', 'token', 'status']) {
      const { code, err } = await h.credmon([command], { HOME: '' }).ended;
      expect([command, code]).toEqual([command, 74]);
      expect(message(err)).toContain('neither XDG_STATE_HOME nor HOME');
    }
    expect(issuer.counts.deviceAuthorizations).toBe(0);
  });

  test('a read-only home: 74', async () => {
    const issuer = await issuerFor();
    const h = home({ providers: { test: { issuer: issuer.url, scopes } } }, 'nobody');
    chmodSync(h.dir, 0o500);
    const { code, err } = await h.credmon(['login', '--plain', '--store', 'file']).ended;
    expect(err).toMatch(/cannot create .*: permission denied/);
    expect(code).toBe(74);
    expect(h.files()).toEqual([]);
    expect(existsSync(h.bearer)).toBe(false);
  });

  test('a store that others can write to: 74', async () => {
    const issuer = await issuerFor();
    const h = home({ providers: { test: { issuer: issuer.url, scopes } } });
    mkdirSync(h.state, { recursive: true });
    const file = join(h.state, 'test.json');
    for (const [text, mode, what] of [
      ['', 0o600, 'is damaged: it is empty'],
      ['{', 0o600, 'is damaged: it is not JSON'],
      ['x'.repeat(10 << 20), 0o600, 'is damaged: it has more than'],
      ['{}', 0o644, 'is open to others'],
    ] as const) {
      writeFileSync(file, text);
      chmodSync(file, mode);
      const { code, err } = await h.credmon(['token', 'test']).ended;
      expect([code, message(err)]).toEqual([74, expect.stringContaining(what)]);
    }
  });
});

describe.concurrent('on an access point', () => {
  test('a token is for jobs: how they get it', async () => {
    const p = accessPoint({ providers: { test: { issuer: 'https://issuer.invalid' } } });
    const h = home({});
    const { code, err } = await h.credmon(['token', 'test', '--config', p.config]).ended;
    expect(code).toBe(69);
    expect(message(err)).toContain('use_oauth_services = test');
  });

  test('status for root shows everybody, for a person their own; without a daemon that is said', async () => {
    const issuer = await faultyFor();
    const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
    p.login(issuer.grant());
    p.login('dead', { user: 'bob' });
    expect((await p.credmond(['--once']).ended).code).toBe(1);
    const h = home({});
    const { code, out } = await h.credmon(['status', '--config', p.config]).ended;
    expect(code).toBe(0);
    if (!weAreRoot) return;
    expect(out).toContain('credmond does not run');
    expect(out).toMatch(/USER .*\nbob +test +login +login needed/);
    expect(out).toMatch(/alice +test +login +fresh/);
    const nobodys = home({}, 'nobody');
    const theirs = await nobodys.credmon(['status', '--config', p.config]).ended;
    expect(theirs.out).not.toMatch(/alice|bob/);
    expect(theirs.code).toBe(0);
  });

  test('several services and handles of one provider: one approval, and each gets its own scopes', async () => {
    const issuer = await issuerFor({ accessTokenTtl: 3600 });
    const p = accessPoint({});
    const secretFile = join(p.base, 'secret');
    writeFileSync(secretFile, confidentialClient.client_secret ?? '', { mode: 0o400 });
    p.write({
      credmond: { debug: true },
      providers: {
        test: {
          issuer: issuer.url,
          client_id: confidentialClient.client_id,
          client_secret_file: secretFile,
          scopes,
        },
        sky: {
          flow: 'exchange',
          issuer: issuer.url,
          client_id: confidentialClient.client_id,
          client_secret_file: secretFile,
        },
      },
    });
    chmodSync(p.config, 0o644);
    const daemon = p.credmond();
    await until(() => existsSync(join(p.base, 'broker', 'socket')), 'the broker');
    const homeDir = join(p.base, 'home');
    mkdirSync(homeDir, { mode: 0o700 });
    if (weAreRoot) chownSync(homeDir, nobody, nobody);
    const login = (...args: string[]) =>
      run('credmon', ['login', ...args], { env: { HOME: homeDir, CREDMON_CONFIG: p.config }, as: 'nobody' }).ended;
    const requests = [
      ...['--request', 'test&handle=write&scopes=storage.create:/alice,storage.modify:/alice'],
      ...['--request', 'test', '--request', 'test_stage&scopes=storage.stage:/alice'],
      ...['--request', 'sky', '--request', 'scitokens'],
    ];
    const { code, out, err } = await login('--json', ...requests);
    expect([code, err]).toEqual([0, 'credmon: sky: no login is needed: credmond gets its tokens by itself\n']);
    expect(events(out).map(({ event }) => event)).toEqual([
      'starting',
      'code',
      'storing',
      'waiting',
      'waiting',
      'done',
    ]);
    expect(events(out)[1]).toMatchObject({
      scopes: [...scopes.toSorted(), 'storage.create:/alice', 'storage.modify:/alice', 'storage.stage:/alice'],
      also: [{ handle: 'write' }, { handle: 'stage' }],
    });
    expect(events(out).at(-1)).not.toHaveProperty('note');
    // That is said when all are there.
    const user = execFileSync('id', ['-un', ...(weAreRoot ? [String(nobody)] : [])], { encoding: 'utf8' }).trim();
    const scopesOf = (name: string) => {
      const [, payload = ''] = p.use(name, user).access_token.split('.');
      return String(JSON.parse(Buffer.from(payload, 'base64url').toString()).scope)
        .split(' ')
        .sort();
    };
    expect(scopesOf('test')).toEqual([...scopes].sort());
    expect(scopesOf('test_write')).toEqual(['storage.create:/alice', 'storage.modify:/alice']);
    expect(scopesOf('test_stage')).toEqual(['storage.stage:/alice']);
    expect(issuer.counts).toMatchObject({ deviceAuthorizations: 1, logins: 1, reuse: 0 });
    for (const name of ['test_write', 'test_stage'])
      expect(JSON.parse(readFileSync(p.at(`${name}.top`, user), 'utf8'))).not.toHaveProperty('refresh_token');

    expect(await login('--if-needed', ...requests)).toMatchObject({ code: 0, out: '', err: '' });
    expect(issuer.counts.deviceAuthorizations).toBe(1);
    daemon.child.kill('SIGTERM');
    expect((await daemon.ended).code).toBe(0);
  });

  test('a login for just what a submit file needs', async () => {
    const issuer = await issuerFor();
    const h = home({ providers: { test: { issuer: issuer.url, scopes } } });
    const file = join(h.base, 'job.sub');
    writeFileSync(
      file,
      ['use_oauth_services = test, other, tset', 'test_oauth_permissions_r = storage.read:/alice', 'queue 3'].join(
        '\n',
      ),
    );
    const { code, out, err } = await h.credmon(['login', '--submit', file, '--json']).ended;
    expect([code, err]).toEqual([0, 'credmon: no credential service "tset" is known here; did you mean test?\n']);
    expect(events(out)[1]).toMatchObject({ handle: 'r', scopes: ['storage.read:/alice'] });
    expect(h.stored('test_r')).toMatchObject({ handle: 'r', grant: { scopes: ['storage.read:/alice'] } });
    const dag = join(h.base, 'all.dag');
    writeFileSync(dag, `JOB A ${file}\nJOB B nowhere.sub\n`);
    const again = await h.credmon(['login', '--dag', dag, '--if-needed']).ended;
    expect([again.code, again.out]).toEqual([0, '']);
    expect(again.err).toMatch(/^credmon: nowhere\.sub is not there \(node B\)\n$/);
    expect(issuer.counts.deviceAuthorizations).toBe(1);
  });

  test('a submit file that needs nothing: that is said, and all is well', async () => {
    const h = home({ providers: { test: { issuer: 'https://x.invalid' } } });
    const file = join(h.base, 'job.sub');
    writeFileSync(file, 'executable = /bin/true\nqueue\n');
    const [login, ensure] = await Promise.all(
      ['login', 'ensure'].map((command) => h.credmon([command, '--submit', file]).ended),
    );
    expect(login).toMatchObject({ code: 0, out: '', err: 'credmon: no credential is asked for there\n' });
    expect(ensure).toMatchObject({ code: 0, out: 'No credential is asked for.\n', err: '' });
  });

  test('what comes through the spool is taken over while it runs, and at its next start', async () => {
    const issuer = await faultyFor();
    const p = accessPoint({ providers: { test: { issuer: issuer.url } } });
    // The broker's account is nobody's there, and so is the person: an account that every system has.
    const dir = join(p.base, 'spool');
    const uid = weAreRoot ? nobody : (process.getuid?.() ?? -1);
    const spool = await openSpool({ dir, clock: systemClock });
    const user = execFileSync('id', ['-un', String(uid)], { encoding: 'utf8' }).trim();
    const put = async (draft: object) => {
      const id = await spool.put({ user, uid, provider: 'test', ...draft } as Parameters<typeof spool.put>[0]);
      if (weAreRoot) execFileSync('chown', ['-R', String(nobody), dir]);
      return id;
    };
    if (weAreRoot) chownSync(dir, nobody, nobody);
    const first = issuer.grant();
    await put({ kind: 'grant', refresh_token: first });
    expect((await p.credmond(['--once']).ended).code).toBe(0);
    expect(issuer.accepts(p.top('test', user))).toBe(true);
    const daemon = p.credmond();
    await until(() => existsSync(p.complete), 'the first pass');
    const id = await put({ kind: 'logout' });
    await until(() => !existsSync(p.at('test.top', user)), 'the logout');
    const mine = () => JSON.parse(readFileSync(join(p.statusDir, `${uid}.json`), 'utf8'));
    await until(() => mine().settled?.some((one: { id: string }) => one.id === id), 'it to be told');
    expect(mine().settled).toMatchObject([{ id, ok: true, what: 'removed; revoked at the issuer' }]);
    expect(modeOf(join(p.statusDir, `${uid}.json`))).toBe(0o400);
    daemon.child.kill('SIGTERM');
    expect((await daemon.ended).code).toBe(0);
  });
});

test('--version and --help end well, and without arguments help is shown', async () => {
  const h = home({});
  expect((await h.credmon(['--version']).ended).out).toMatch(/^credmon \d+\.\d+\.\d+\n$/);
  expect(await h.credmon(['--help']).ended).toMatchObject({ code: 0, err: '' });
  const login = await h.credmon(['login', '--help']).ended;
  expect(login.out).toContain('--config <file>');
  expect(login).toMatchObject({ code: 0, err: '' });
  // Off and empty go without saying.
  expect(login.out.match(/default:\s+\S+\)/g)).toEqual([expect.stringContaining('"auto"')]);
  expect((await h.credmon([]).ended).code).toBe(64);
});
