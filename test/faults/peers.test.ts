import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Health } from '../../src/core/health.js';
import { hang, unprocessed, without } from '../helpers/faults.js';

import { accessPoint, childrenOf, faultyFor, type Run, run, until } from '../programs/kit.js';
import { isLong } from './kit.js';
import { noShim, wallClock } from './shim.js';

/*
 * What other credmons stumble over, each as a test of a real credmond on real files. In most of these somebody has trouble of
 * their own and everybody else notices nothing: so there are three good people beside them, whose tokens live for two seconds.
 */

const patience = 30_000;
const others = ['bob', 'carol', 'dave'];

type Point = ReturnType<typeof accessPoint>;

/** Somebody's credentials at `test`, whatever is in them, and three good ones. */
async function company() {
  const issuer = await faultyFor({ expiresIn: 2 });
  const p = accessPoint({ top: { token_minimum: 0 }, providers: { test: { issuer: issuer.url } } });
  for (const user of others) p.login(issuer.grant(), { user });
  return { issuer, p };
}

const healthOf = (p: Point, user: string, service = 'test'): Health | undefined =>
  (p.status().credentials as Health[]).find((one) => one.user === user && one.service === service);

/** Each of them has been given a new token so many times from now on. */
async function goOn(p: Point, daemon: Run, times = 2, users = others): Promise<void> {
  const seen = new Map(users.map((user) => [user, new Set<string>()]));
  const look = () =>
    users.every((user) => {
      const tokens = seen.get(user) as Set<string>;
      if (existsSync(p.at('test.use', user))) tokens.add(p.use('test', user).access_token);
      return tokens.size > times;
    });
  await until(look, `${users} to be refreshed ${times} times\n${daemon.err()}`, patience);
  expect(daemon.child.exitCode).toBe(null);
}

const is = (p: Point, user: string, state: string) =>
  until(() => healthOf(p, user)?.state === state, `${user} to be ${state}`, patience);

async function end(daemon: Run): Promise<void> {
  daemon.child.kill('SIGTERM');
  expect((await daemon.ended).code).toBe(0);
}

/** A file as root, condor or a user may leave it there. */
function put(p: Point, user: string, name: string, content: string | Buffer): void {
  mkdirSync(join(p.dir, user), { recursive: true, mode: 0o700 });
  writeFileSync(p.at(`${name}.tmp`, user), content, { mode: 0o600 });
  renameSync(p.at(`${name}.tmp`, user), p.at(name, user));
}

describe.concurrent('HTCondor’s Python credmon', () => {
  test('one answer without expires_in (there: breaks every later pass): 20 min are assumed, which is said, and others go on', async () => {
    const { issuer, p } = await company();
    issuer.next('token', without('expires_in'));
    p.login(issuer.grant());
    const daemon = p.credmond();
    await until(() => p.use() && others.every((user) => p.use('test', user)), 'the first tokens', patience);
    const silent = ['alice', ...others].filter((user) => 'expires_in' in p.use('test', user) && lifeOf(user) === 1200);
    expect(silent).toHaveLength(1);
    await goOn(
      p,
      daemon,
      2,
      others.filter((user) => !silent.includes(user)),
    );
    await is(p, silent[0] as string, 'fresh');
    const { due = 0 } = healthOf(p, silent[0] as string) ?? {};
    expect((due - Date.now()) / 60_000).toBeGreaterThan(5);
    expect(
      daemon.err().match(/test does not always say how long a token lives: then it is taken for 20 min/g),
    ).toHaveLength(1);
    await end(daemon);

    function lifeOf(user: string): number {
      return (p.use('test', user) as unknown as { expires_in: number }).expires_in;
    }
  }, 90_000);

  test('`.top` and `.meta` without `.use`, as the web flow leaves them (there: never looked at): it gets its `.use`', async () => {
    const { issuer, p } = await company();
    const meta = {
      use_refresh_token: true,
      client_id: 'webflow',
      client_secret: 'hush',
      token_url: `${issuer.url}/token`,
    };
    put(p, 'alice', 'test.meta', JSON.stringify(meta));
    p.login(issuer.grant());
    const daemon = p.credmond();
    await until(() => p.use().access_token, 'the first token', patience);
    // Also of one who comes later, and whose `.meta` comes last.
    p.login(issuer.grant(), { user: 'wendy' });
    put(p, 'wendy', 'test.meta', JSON.stringify(meta));
    await goOn(p, daemon, 2, ['alice', 'wendy']);
    const clients = issuer.requests.filter(
      ({ endpoint, headers, params }) => endpoint === 'token' && asWebFlow(headers, params),
    );
    expect(clients.length).toBeGreaterThanOrEqual(4);
    expect(JSON.parse(readFileSync(p.at('test.meta'), 'utf8'))).toEqual(meta);
    await end(daemon);

    function asWebFlow(
      { authorization = '' }: { authorization?: string | undefined },
      { client_id }: Record<string, string>,
    ) {
      return client_id === 'webflow' || Buffer.from(authorization.slice(6), 'base64').toString() === 'webflow:hush';
    }
  }, 90_000);

  test(`a hung issuer (there: no time-out, and SIGHUP does not help): SIGHUPs are served meanwhile, others go on${isLong ? ', it is given up, and asked again' : ''}`, async () => {
    const { issuer, p } = await company();
    const dead = await faultyFor();
    dead.always('token', unprocessed(hang));
    p.write({
      top: { token_minimum: 0 },
      providers: { test: { issuer: issuer.url }, dead: { issuer: dead.url } },
    });
    const stuck = Array.from({ length: 20 }, (_, n) => `stuck${n}`);
    for (const user of stuck) p.login(dead.grant(), { user, name: 'dead' });
    const daemon = p.credmond();
    const hung = () => dead.requests.filter(({ endpoint }) => endpoint === 'token');
    await until(() => hung().length >= 3, 'the hung issuer to be asked', patience);
    await goOn(p, daemon, 1);
    // A login that is stored while all of it hangs, with the SIGHUP that condor_credd sends.
    p.login(issuer.grant());
    daemon.child.kill('SIGHUP');
    await until(() => p.use().access_token, 'the token of whoever has just come', patience);
    // While the first of them still hang: they are given up after 20 s.
    expect(Date.now() - (hung()[0]?.at ?? 0)).toBeLessThan(19_000);
    // And another configuration.
    const third = await faultyFor();
    p.write({
      top: { token_minimum: 0 },
      providers: { test: { issuer: issuer.url }, dead: { issuer: dead.url }, third: { issuer: third.url } },
    });
    p.login(third.grant(), { name: 'third' });
    daemon.child.kill('SIGHUP');
    await until(() => p.use('third').access_token, 'the token of another provider', patience);
    if (isLong) {
      await until(
        () => healthOf(p, 'stuck0', 'dead')?.state === 'retrying',
        'the hung request to be given up',
        patience,
      );
      const told = stuck.flatMap((user) => healthOf(p, user, 'dead')?.trouble?.what ?? []);
      expect(told.join()).toMatch(/did not answer in time|waits its turn/);
      dead.always('token', undefined);
      await until(
        () => stuck.every((user) => existsSync(p.at('dead.use', user))),
        `the tokens of the one that hung\n${daemon.err()}`,
        90_000,
      );
    }
    expect(dead.counts.reuse).toBe(0);
    await end(daemon);
  }, 150_000);

  const bad: readonly (readonly [what: string, top: string | Buffer, state?: string])[] = [
    ['{}', '{}'],
    ['truncated', '{"refresh_token": "refr'],
    ['binary', Buffer.from([0, 1, 2, 0xff, 0xfe, 0, 0x80])],
    ['an array', '["refresh_token"]'],
    ['null', 'null'],
    ['a number for a token', '{"refresh_token": 7}'],
    ['0 bytes', ''],
    ['1 MB', Buffer.alloc(1 << 20, 0x20)],
    ['nested deeply', `${'['.repeat(30_000)}${']'.repeat(30_000)}`],
  ];

  test(`${bad.length} damaged \`.top\` and as many \`.meta\` of one person (there: the others starve): told what to do, and others go on`, async () => {
    const { issuer, p } = await company();
    for (const [n, [, content]] of bad.entries()) {
      put(p, 'mallory', `test_top${n}.top`, content);
      put(p, 'mallory', `test_meta${n}.meta`, content);
      p.login(issuer.grant(), { user: 'mallory', name: `test_meta${n}` });
      // Beside a good one, too.
      put(p, 'mallory', `test_both${n}.top`, content);
      put(p, 'mallory', `test_both${n}.meta`, content);
      put(p, 'mallory', `test_both${n}.use`, content);
    }
    const daemon = p.credmond();
    await goOn(p, daemon);
    const all = () => (p.status().credentials as Health[]).filter(({ user }) => user === 'mallory');
    const standing = () =>
      all()
        .map(({ handle, state }) => `${handle}: ${state}`)
        .sort();
    const expected = bad.flatMap((_, n) => [`top${n}: damaged`, `both${n}: damaged`, `meta${n}: fresh`]).sort();
    await until(() => standing().join() === expected.join(), `${expected}, and not what is there`, patience);
    for (const { state, trouble } of all())
      if (state === 'damaged') expect(trouble?.hint).toMatch(/^run: credmon login test --handle (?:top|both)\d$/);
    // A `.meta` that cannot be read names no other client, and the credential is refreshed with ours.
    await goOn(p, daemon, 2);
    // Mended, they go on.
    for (const [n] of bad.entries()) p.login(issuer.grant(), { user: 'mallory', name: `test_top${n}` });
    daemon.child.kill('SIGHUP');
    await until(
      () => standing().filter((one) => /^top\d: fresh$/.test(one)).length === bad.length,
      'those that were mended to be fresh',
      patience,
    );
    await end(daemon);
  }, 90_000);
});

describe.concurrent('the Rust credmon', () => {
  test('an answer without refresh_token (there: a panic): the one that was sent is kept, and goes on', async () => {
    const { p } = await company();
    const keeps = await faultyFor({ expiresIn: 2, rotate: false });
    p.write({ top: { token_minimum: 0 }, providers: { test: { issuer: keeps.url } } });
    for (const user of others) p.login(keeps.grant(), { user });
    const before = others.map((user) => p.top('test', user));
    keeps.always('token', without('refresh_token'));
    const daemon = p.credmond();
    await goOn(p, daemon);
    expect(others.map((user) => p.top('test', user))).toEqual(before);
    expect(keeps.counts.reuse).toBe(0);
    await end(daemon);
  }, 90_000);

  test.skipIf(noShim !== '')(
    `a clock that steps back an hour, and two forward (there: a panic)${noShim}`,
    async () => {
      const { issuer, p } = await company();
      const clock = wallClock();
      clock.set(0);
      const daemon = p.credmond([], clock.env);
      await goOn(p, daemon, 1);
      for (const off of [-3600, 3600, -86_400]) {
        clock.set(off);
        const from = Date.now();
        await goOn(p, daemon, 2);
        // Neither is anybody left until the clock has caught up, nor does everybody come all the time.
        const asked = issuer.requests.filter(({ endpoint, at }) => endpoint === 'token' && at >= from).length;
        expect(asked).toBeLessThan(others.length * (4 + (Date.now() - from) / 900));
      }
      // A login, while the clock is a day behind.
      p.login(issuer.grant());
      daemon.child.kill('SIGHUP');
      await goOn(p, daemon, 1, ['alice']);
      expect(issuer.counts.reuse).toBe(0);
      await end(daemon);
    },
    120_000,
  );

  test('names that are not UTF-8 (there: a panic): passed over, told once, and others go on', async () => {
    const { issuer, p } = await company();
    const raw = (...parts: (string | number[])[]) =>
      Buffer.concat([Buffer.from(`${p.dir}/`), ...parts.map((one) => Buffer.from(one as string))]);
    const folder = [0xff, 0xfe, 0x75];
    const grant = JSON.stringify({ refresh_token: issuer.grant() });
    mkdirSync(raw(folder), { mode: 0o700 });
    writeFileSync(raw(folder, '/test.top'), grant, { mode: 0o600 });
    const strange = [raw('bob/test_', [0xc3, 0x28], '.top'), raw('bob/', [0x80], '.top'), raw([0xe2, 0x82], '.top')];
    for (const path of strange) writeFileSync(path, grant, { mode: 0o600 });
    // As a write that was cut short would be called.
    const strays = [raw('bob/.test', [0xff], '.top.12345678.tmp'), raw('bob/test', [0xff], '.use.tmp')];
    for (const path of strays) writeFileSync(path, 'x', { mode: 0o600 });
    const daemon = p.credmond();
    await goOn(p, daemon, 1);
    for (let n = 0; n < 3; n++) daemon.child.kill('SIGHUP');
    // Some more of them, while it runs.
    const late = raw([0xfe, 0xff]);
    mkdirSync(late, { mode: 0o700 });
    writeFileSync(Buffer.concat([late, Buffer.from('/test.top')]), grant, { mode: 0o600 });
    writeFileSync(raw('carol/test_', [0xff], '.top'), grant, { mode: 0o600 });
    await goOn(p, daemon, 1);
    await until(
      () => daemon.err().match(/is passed over/g)?.length === 5,
      `all of it to be told\n${daemon.err()}`,
      patience,
    );
    const told = daemon.err().match(/\S+ is passed over: only letters, digits/g) ?? [];
    expect(new Set(told).size).toBe(told.length);
    for (const path of [...strange, raw(folder, '/test.top')]) expect(statSync(path).size).toBe(grant.length);
    expect(p.status().credentials).toHaveLength(others.length);
    // Neither do the tools that people use.
    const tell = async (...args: string[]) =>
      await run('credmon', [...args, '--config', p.config], { env: { HOME: p.base } }).ended;
    const shown = await tell('status');
    expect([shown.code, shown.err]).toEqual([0, '']);
    const doctor = await tell('doctor');
    expect(doctor.err + doctor.out).not.toMatch(/at .*\.js:\d+|TypeError|ENOENT/);
    expect(doctor.signal).toBe(null);
    await end(daemon);
    // One that starts among all this, too.
    const again = p.credmond();
    await goOn(p, again, 1);
    await end(again);
    rmSync(raw(folder), { recursive: true });
    rmSync(late, { recursive: true });
  }, 90_000);
});

/** HTCondor’s configuration, by a condor_config_val that stands still as long as a test says. */
async function condor() {
  const { issuer, p } = await company();
  const at = (name: string) => join(p.base, name);
  mkdirSync(at('bin'));
  const script = `#!/bin/sh\necho "$*" >> ${at('asked')}\ntest -e ${at('still')} && exec sleep 60\nexec cat ${at('dump')}\n`;
  writeFileSync(at('bin/condor_config_val'), script);
  chmodSync(at('bin/condor_config_val'), 0o755);
  const tell = (...names: string[]) => {
    const knobs = [
      `CREDMON_STATUS_DIR = ${p.statusDir}`,
      `CREDMON_OAUTH_LOG = ${p.log}`,
      `CREDMON_BROKER_SPOOL_DIR = ${at('spool')}`,
      'CREDMON_BROKER = False',
      'CREDMON_OAUTH_TOKEN_MINIMUM = 0',
      `CREDMON_PROVIDER_NAMES = ${names.join(' ')}`,
      ...names.flatMap((name) => [`${name}_ISSUER = ${issuer.url}`, `${name}_CLIENT_ID = public-cli`]),
    ];
    writeFileSync(at('dump'), `${knobs.join('\n')}\n`);
  };
  tell('test');
  return {
    issuer,
    p,
    tell,
    still: (so: boolean) => (so ? writeFileSync(at('still'), '') : rmSync(at('still'))),
    asked: () => readFileSync(at('asked'), 'utf8').trim().split('\n'),
    /** How many of them stand still now. */
    waiting: (daemon: Run) => childrenOf(daemon.pid).filter(({ command }) => command.startsWith('sleep 60')).length,
    start: (env: Record<string, string> = {}) =>
      run('credmond', ['-c', p.dir, '--verbose'], { env: { PATH: `${at('bin')}:${process.env.PATH}`, ...env } }),
  };
}

describe.concurrent('condor_config_val that stands still, as where the host’s name does not resolve', () => {
  const more = isLong ? '; it is given up, which is said, and the last good answer kept' : '';

  test(`at a SIGHUP: one at a time is waited for, and everything else goes on${more}`, async () => {
    const { issuer, p, tell, still, asked, waiting, start } = await condor();
    const daemon = start();
    await goOn(p, daemon, 1);
    expect(asked()).toEqual(['-dump -expanded']);
    still(true);
    tell('test', 'other');
    p.login(issuer.grant());
    let most = 0;
    const watching = setInterval(() => {
      most = Math.max(most, waiting(daemon));
    }, 50);
    try {
      daemon.child.kill('SIGHUP');
      await until(() => waiting(daemon) > 0, 'it to be asked', patience);
      await until(() => p.use().access_token, 'the first token of a login', patience);
      for (let n = 0; n < 3; n++) {
        daemon.child.kill('SIGHUP');
        await goOn(p, daemon, 1);
      }
      if (isLong) {
        const told =
          'condor_config_val: gave no answer within 12 s; the configuration stays as it was (see whether this machine’s own name resolves';
        await until(() => daemon.err().includes(told), `"${told}"\n${daemon.err()}`, patience);
        await goOn(p, daemon, 1);
        // Whoever sent a SIGHUP meanwhile is heard.
        await until(() => waiting(daemon) > 0, 'it to be asked again', patience);
        still(false);
        await until(() => waiting(daemon) === 0, 'that one to be given up', patience);
        p.login(issuer.grant(), { name: 'other' });
        daemon.child.kill('SIGHUP');
        await until(() => p.use('other').access_token, 'what it answers in the end to be heard', patience);
        expect(daemon.err().split(told).length).toBe(2);
      }
    } finally {
      clearInterval(watching);
    }
    // It ends while it waits as well.
    await end(daemon);
    expect(most).toBe(1);
  }, 120_000);

  test('at a start: a fast shutdown (SIGQUIT) ends it at once, and leaves no core', async () => {
    const { still, start } = await condor();
    still(true);
    for (const [env, code] of [
      [{ CONDOR_INHERIT: '4711 <127.0.0.1:1> 0 0' }, 0],
      [{}, 131],
    ] as const) {
      const daemon = start(env);
      const asked = () => childrenOf(daemon.pid).filter(({ command }) => command.startsWith('sleep 60'));
      await until(() => asked().length > 0, 'condor_config_val to be asked', patience);
      const children = asked();
      daemon.child.kill('SIGQUIT');
      expect(await daemon.ended).toMatchObject({ code, signal: null });
      for (const { pid } of children) process.kill(pid, 'SIGKILL');
    }
  });

  test.skipIf(!isLong)(
    'at a start: asked once, it ends with a code after which condor_master tries again (long)',
    async () => {
      const { asked, still, start } = await condor();
      still(true);
      const ended = await Promise.all([start().ended, start({ CONDOR_INHERIT: '4711 <127.0.0.1:1> 0 0' }).ended]);
      for (const { code, err } of ended) {
        expect(code).toBe(75);
        expect(err).toContain('condor_config_val: gave no answer within 12 s');
        expect(err).toContain('hint: see whether this machine’s own name resolves');
      }
      expect(asked()).toHaveLength(2);
    },
    60_000,
  );
});
