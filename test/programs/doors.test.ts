import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { error, hang, status } from '../helpers/faults.js';
import { confidentialClient } from '../helpers/issuer.js';
import {
  accessPoint,
  cleanup,
  faultyFor,
  home,
  issuerFor,
  nobody,
  type Run,
  run,
  tree,
  until,
  weAreRoot,
} from './kit.js';

/** Everything that a bystander could see of processes: command lines and environments, looked at again and again. */
function bystander() {
  const seen = new Map<string, { readonly command: string; readonly environ: string }>();
  const look = () => {
    for (const pid of readdirSync('/proc')) {
      if (!/^\d+$/.test(pid)) continue;
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
        if (!/credmon|flock|getent|keyring|condor/.test(command)) continue;
        seen.set(`${pid} ${command}`, { command, environ: readFileSync(`/proc/${pid}/environ`, 'utf8') });
      } catch {
        // It has ended, or is not ours.
      }
    }
  };
  const timer = setInterval(look, 5);
  cleanup(() => clearInterval(timer));
  return {
    stop() {
      look();
      clearInterval(timer);
      return [...seen.values()];
    },
    saw: (command: RegExp) => [...seen.values()].some((one) => command.test(one.command)),
  };
}

/** Every secret that has gone over the wire of an issuer. */
function wire() {
  const secrets = new Set<string>();
  const add = (text: string) => {
    for (const [, value] of text.matchAll(/"(?:access_token|refresh_token|id_token|device_code)":\s*"([^"]{8,})"/g))
      if (value) secrets.add(value);
    for (const name of ['refresh_token', 'device_code', 'client_secret']) {
      const value = new URLSearchParams(text).get(name);
      if (value) secrets.add(value);
    }
  };
  return { secrets, add };
}

/** Tells of all that is answered. */
function overhear(response: ServerResponse, add: (text: string) => void): false {
  for (const name of ['write', 'end'] as const) {
    const real = response[name].bind(response) as (...given: unknown[]) => boolean;
    const listening = (...given: unknown[]): boolean => {
      if (typeof given[0] === 'string' || Buffer.isBuffer(given[0])) add(String(given[0]));
      return real(...given);
    };
    Object.assign(response, { [name]: listening });
  }
  return false;
}

const holds = (text: string, secrets: Iterable<string>) =>
  [...secrets].filter((secret) => text.includes(secret)).map((secret) => `${secret.slice(0, 12)}…`);

/** Files that anybody may read, in folders that anybody may enter. */
function openFiles(base: string): string[] {
  if ((lstatSync(base).mode & 0o001) === 0) return [];
  return readdirSync(base, { withFileTypes: true }).flatMap((entry) => {
    const path = join(base, entry.name);
    if (entry.isDirectory()) return openFiles(path);
    return entry.isFile() && (lstatSync(path).mode & 0o004) !== 0 ? [path] : [];
  });
}

describe.concurrent('no secret goes through a door that it should not', () => {
  test('a person’s own: login, token, status, daemon, failures, logout', async () => {
    const { secrets, add } = wire();
    const watching = bystander();
    const issuer = await issuerFor({
      accessTokenTtl: 2,
      intercept: (_, response) => overhear(response, add),
    });
    const h = home({
      top: { token_minimum: 0 },
      providers: { test: { issuer: issuer.url, scopes: ['openid', 'offline_access'] } },
    });
    const runs: Run[] = [];
    const go = async (args: readonly string[]) => {
      const one = h.credmon(args);
      runs.push(one);
      return (await one.ended).code;
    };
    expect(await go(['login', '--json'])).toBe(0);
    expect(await go(['login', '--plain', '--force'])).toBe(0);
    expect(await go(['login', '--plain', '--handle', 'h', '--timeout', '1'])).toBe(124);
    const daemon = h.credmond(['-d']);
    runs.push(daemon);
    const first = h.stored().token.accessToken;
    await until(() => h.stored().token.accessToken !== first, 'a refresh');
    expect(await go(['status'])).toBe(0);
    expect(await go(['status', '--json'])).toBe(0);
    expect((await h.credmon(['token']).ended).code).toBe(0);
    issuer.revokeGrants();
    await daemon.says('login needed');
    // The status file follows the log.
    await until(async () => (await go(['status'])) === 79, 'the status to say so');
    expect(await go(['logout'])).toBe(0);
    daemon.child.kill('SIGTERM');
    await daemon.ended;
    const seen = watching.stop();

    expect(secrets.size).toBeGreaterThan(8);
    expect(watching.saw(/credmond\.js --user/)).toBe(true);
    expect(holds(JSON.stringify(seen), secrets)).toEqual([]);
    expect(holds(runs.map((one) => one.out() + one.err()).join('\n'), secrets)).toEqual([]);
    const status = tree(join(h.state, 'status'))
      .map((file) => readFileSync(file, 'utf8'))
      .join('\n');
    expect(status).toContain('"credentials"');
    expect(holds(status, secrets)).toEqual([]);
    for (const file of openFiles(h.base))
      expect([file, holds(readFileSync(file, 'utf8'), secrets)]).toEqual([file, []]);
  });

  test('an access point: broker, daemon, spool, status, log, and an issuer that quotes what it is sent', async () => {
    const { secrets, add } = wire();
    const watching = bystander();
    const secret = confidentialClient.client_secret ?? '';
    secrets.add(secret);
    const issuer = await issuerFor({
      accessTokenTtl: 4,
      intercept: (_, response) => overhear(response, add),
    });
    const faulty = await faultyFor();
    const p = accessPoint({});
    const secretFile = join(p.base, 'secret');
    writeFileSync(secretFile, secret, { mode: 0o400 });
    p.write({
      top: { token_minimum: 0 },
      credmond: { debug: true },
      providers: {
        test: {
          issuer: issuer.url,
          client_id: confidentialClient.client_id,
          client_secret_file: secretFile,
          scopes: ['openid', 'offline_access'],
        },
        odd: { issuer: faulty.url },
      },
    });
    const inherit = {
      CONDOR_INHERIT: '1 <x>',
      CONDOR_PRIVATE_INHERIT: 'FamilySessionKey:family:0123456789abcdefdoors',
    };
    const daemon = p.credmond(['-l', p.log, '-d', '-v'], inherit);
    await until(() => existsSync(join(p.base, 'broker', 'socket')), 'the broker');

    const bases = [p.base];
    const runs: Run[] = [daemon];
    const uid = weAreRoot ? nobody : (process.getuid?.() ?? -1);
    const homeDir = join(p.base, 'home');
    mkdirSync(homeDir, { mode: 0o700 });
    if (weAreRoot) chownSync(homeDir, uid, uid);
    chmodSync(p.config, 0o644);
    const go = async (args: readonly string[]) => {
      const one = run('credmon', args, { env: { HOME: homeDir, CREDMON_CONFIG: p.config }, as: 'nobody' });
      runs.push(one);
      const { code, out, err } = await one.ended;
      return { code, text: out + err };
    };
    const login = await go(['login', 'test', '--plain']);
    expect([login.code, login.text]).toEqual([0, expect.stringContaining('alice')]);
    const user = login.text.match(/for (\S+)@/)?.[1] ?? 'nobody';
    await until(() => existsSync(p.at('test.use', user)), 'the first token');
    const first = p.use('test', user).access_token;
    await until(() => p.use('test', user).access_token !== first, 'a refresh');
    expect((await go(['status'])).text).toContain('fresh');
    expect((await go(['token', 'test'])).code).toBe(69);

    const grants = [faulty.grant(), faulty.grant(), faulty.grant()];
    for (const grant of grants) secrets.add(grant);
    faulty.next(
      'token',
      error('invalid_request', `your refresh token ${grants[0]} and refresh_token=${grants[0]} are bad`),
      status(502),
      error('invalid_grant', `${grants[2]}`),
    );
    for (const [n, grant] of grants.entries()) {
      p.login(grant, { user, name: `odd_${n}` });
      await daemon.says(new RegExp(`${user}/odd_${n}: (?!a grant)`));
    }
    faulty.always('token', hang);
    issuer.revokeGrants();
    await daemon.says(`${user}/test: login needed`);
    await until(() => readFileSync(join(p.statusDir, `${uid}.json`), 'utf8').includes('login-needed'), 'it to be told');
    expect((await go(['logout', 'test'])).code).toBe(0);
    daemon.child.kill('SIGQUIT');
    await daemon.ended;
    const seen = watching.stop();
    for (const { params } of faulty.requests) add(`refresh_token=${params.refresh_token ?? ''}`);

    expect(secrets.size).toBeGreaterThan(8);
    expect(watching.saw(/broker/)).toBe(true);
    expect(holds(JSON.stringify(seen), secrets)).toEqual([]);
    // Our own was given the session key by condor_master, as the kernel remembers; no program that it starts is.
    const knowing = seen.filter(({ environ }) => environ.includes('abcdefdoors'));
    expect(knowing.length).toBeGreaterThan(0);
    for (const { command } of knowing) expect(command).toContain('bin/credmond.js -c');
    expect(holds(runs.map((one) => one.out() + one.err()).join('\n'), secrets)).toEqual([]);
    const told = [p.log, ...tree(p.statusDir)];
    expect(told.length).toBeGreaterThanOrEqual(3);
    for (const file of told) expect([file, holds(readFileSync(file, 'utf8'), secrets)]).toEqual([file, []]);
    for (const base of bases)
      for (const file of openFiles(base))
        expect([file, holds(readFileSync(file, 'utf8'), secrets)]).toEqual([file, []]);
  });
});
