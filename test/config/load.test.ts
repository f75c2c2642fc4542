import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadConfig, requireProviders, unknownProvider } from '../../src/config/load.js';
import type { Failed, Failure } from '../../src/core/failure.js';

let room: string;
let env: Record<string, string>;
beforeEach(() => {
  room = mkdtempSync(join(tmpdir(), 'config-'));
  mkdirSync(join(room, 'bin'));
  env = { PATH: join(room, 'bin'), HOME: join(room, 'home') };
});
afterEach(() => rmSync(room, { recursive: true, force: true }));

function write(name: string, text: string): string {
  const path = join(room, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return path;
}
const personal = (text: string) => write('home/.config/credmon/credmon.toml', text);
const toml = (text: string) => loadConfig({ file: write('file.toml', text), env });

function condor(lines: Readonly<Record<string, string>>): void {
  const dump = Object.entries(lines).map(([name, value]) => `${name} = ${value}`);
  write('dump', `# Configuration from machine: test\n${dump.join('\n')}\n`);
  chmodSync(write('bin/condor_config_val', `#!/bin/sh\nexec /bin/cat ${join(room, 'dump')}\n`), 0o755);
}

async function failure(loading: Promise<unknown>): Promise<Failure> {
  const thrown = await loading.then(
    () => undefined,
    (error: Failed) => error,
  );
  expect(thrown?.failure).toMatchObject({ kind: 'config', hint: expect.any(String) });
  return thrown?.failure as Failure;
}
const complaint = async (text: string) => (await failure(toml(text))).what.replace(`${room}/`, '');

const one = '[providers.cilogon]\nissuer = "https://cilogon.org"\nclient_id = "me"\n';
const two = `${one}[providers.osdf]\nissuer = "https://osdf.example"\nclient_id = "you"\n`;
const knobs = { cilogon_ISSUER: 'https://knobs.example', cilogon_CLIENT_ID: 'knob' };

describe('where it is read', () => {
  const from = async (file?: string) => {
    const config = await loadConfig(file === undefined ? { env } : { file, env });
    return config.providers.get('cilogon')?.issuer;
  };
  const text = (name: string) => one.replace('cilogon.org', `${name}.example`);

  test('--config, then CREDMON_CONFIG, then HTCondor, then the person’s own file', async () => {
    personal(text('own'));
    expect(await from()).toBe('https://own.example');
    condor(knobs);
    expect(await from()).toBe('https://knobs.example');
    env.CREDMON_CONFIG = write('env.toml', text('env'));
    expect(await from()).toBe('https://env.example');
    expect(await from(write('flag.toml', text('flag')))).toBe('https://flag.example');
  });

  test('an HTCondor that names no provider for us leaves the place to the person’s own file', async () => {
    condor({ SEC_CREDENTIAL_DIRECTORY_OAUTH: '/creds' });
    const alone = await loadConfig({ env });
    expect(alone).toMatchObject({ htcondor: true, credDir: '/creds' });
    expect(alone.providers.size).toBe(0);
    personal(text('own'));
    expect(await from()).toBe('https://own.example');
  });

  test('XDG_CONFIG_HOME, where it is an absolute path', async () => {
    personal(text('own'));
    write('xdg/credmon/credmon.toml', text('xdg'));
    env.XDG_CONFIG_HOME = join(room, 'xdg');
    expect(await from()).toBe('https://xdg.example');
    env.XDG_CONFIG_HOME = 'xdg';
    expect(await from()).toBe('https://own.example');
  });

  test('no HOME is no trouble', async () => {
    expect((await loadConfig({ env: { PATH: env.PATH } })).providers.size).toBe(0);
  });

  test('a file that was named must be there and be readable', async () => {
    expect((await failure(loadConfig({ file: join(room, 'no'), env }))).what).toMatch(/no does not exist$/);
    env.CREDMON_CONFIG = join(room, 'neither');
    expect((await failure(loadConfig({ env }))).what).toMatch(/neither does not exist$/);
    expect((await failure(loadConfig({ file: room, env }))).what).toMatch(/cannot be read \(EISDIR\)$/);
  });

  test('a HTCondor that is broken is said to be, even where there is a file', async () => {
    personal(one);
    chmodSync(write('bin/condor_config_val', '#!/bin/sh\necho "Error: bad line 7" >&2\nexit 1\n'), 0o755);
    expect((await failure(loadConfig({ env }))).what).toBe('condor_config_val: Error: bad line 7');
  });

  // On a machine with HTCondor, or with a system-wide file, there is something after all.
  test.skipIf(existsSync('/usr/bin/condor_config_val') || existsSync('/etc/credmon/credmon.toml'))(
    'nothing anywhere is no failure until a provider is needed',
    async () => {
      const config = await loadConfig({ env });
      expect(config).toMatchObject({ source: 'no configuration', htcondor: false });
      const { what, hint } = await failure((async () => requireProviders(config, env))());
      expect(what).toContain('no provider is configured');
      expect(what).toContain(join(room, 'home/.config/credmon/credmon.toml'));
      expect(hint).toContain('CREDMON_PROVIDER_NAMES');
      const full = await toml(one);
      expect(requireProviders(full, env)).toBe(full);
    },
  );
});

describe('a TOML file', () => {
  test('with everything in it', async () => {
    const config = await toml(`
default_provider = "b"
token_minimum = 120
[credmond]
cred_dir = "/creds"
status_dir = "/status"
log = "/log/credmond"
max_log = 1000
max_num_log = 4
debug = true
sweep_interval = 30
[broker]
socket = "/b/socket"
challenge_dir = "/b/challenge"
spool_dir = "/b/spool"
account = "nobody"
[providers.a]
token_url = "https://a.example/token"
device_url = "http://127.0.0.1:99/device"
revocation_url = "https://a.example/revoke"
client_id = "me"
client_secret_file = "/etc/secret"
client_auth = "post"
scopes = ["storage.read:/b", "openid"]
audience = "https://aud.example"
ca_file = "/ca.pem"
token_lifetime = 600
use_json = false
[providers.b]
issuer = "https://b.example"
client_id = "you"
scopes = "z, a a"
`);
    expect(config).toMatchObject({
      preferred: 'b',
      credDir: '/creds',
      htcondor: false,
      minimum: 120,
      sweep: 30,
      statusDir: '/status',
      log: { file: '/log/credmond', debug: true, max: 1000, keep: 4 },
      broker: { socket: '/b/socket', challengeDir: '/b/challenge', spoolDir: '/b/spool', account: 'nobody' },
    });
    expect([...config.providers]).toEqual([
      [
        'a',
        {
          name: 'a',
          flow: 'device',
          tokenUrl: 'https://a.example/token',
          deviceUrl: 'http://127.0.0.1:99/device',
          revocationUrl: 'https://a.example/revoke',
          clientId: 'me',
          secretFile: '/etc/secret',
          clientAuth: 'post',
          scopes: ['openid', 'storage.read:/b'],
          audience: 'https://aud.example',
          caFile: '/ca.pem',
          life: 600,
          bare: true,
        },
      ],
      [
        'b',
        { name: 'b', flow: 'device', issuer: 'https://b.example', clientId: 'you', scopes: ['a', 'z'], bare: false },
      ],
    ]);
    expect(Object.isFrozen(config)).toBe(true);
    expect(Object.isFrozen(config.providers.get('a'))).toBe(true);
  });

  test('with next to nothing in it has defaults', async () => {
    const config = await toml(one);
    expect(config).toMatchObject({ preferred: 'cilogon', minimum: 360, sweep: 60, log: { debug: false, keep: 1 } });
    expect(config.credDir).toBeUndefined();
    expect(config.log.file).toBeUndefined();
    expect(config.log.max).toBe(10 * 1024 * 1024);
  });

  test('nobody is preferred of two', async () => {
    expect((await toml(two)).preferred).toBeUndefined();
  });

  test.each([
    ['a = = 1', /^file.toml, line 1, column \d+: /],
    ['\n\n[providers', /^file.toml, line 3, column \d+: /],
    [`${one}client_id = "again"`, /^file.toml, line 4, column \d+: /],
    ['x = "\u0000"', /^file.toml, line 1, column \d+: /],
  ])('that is none is refused with its line: %o', async (text, what) => {
    expect(await complaint(text)).toMatch(what);
  });

  test.each([
    ['colour = 1', 'colour is not a known setting'],
    ['[credmond]\ncreddir = "/x"', 'credmond.creddir is not a known setting'],
    [`${one}isuer = "x"`, 'providers.cilogon.isuer is not a known setting'],
    ['providers = 5', 'providers must be a table'],
    ['credmond = "x"', 'credmond must be a table'],
    ['broker = 5', 'broker must be a table'],
    ['providers.x = "y"', 'providers.x must be a table'],
    ['token_minimum = "soon"', 'token_minimum must be a whole number of seconds'],
    ['token_minimum = 1.5', 'token_minimum must be a whole number of seconds'],
    ['token_minimum = true', 'token_minimum must be a whole number of seconds'],
    ['token_minimum = 1979-05-27', 'token_minimum must be a whole number of seconds'],
    ['token_minimum = inf', 'token_minimum must be a whole number of seconds'],
    ['token_minimum = -1', 'token_minimum must be at least 0 seconds'],
    ['token_minimum = 90000', 'token_minimum must be at most 86400 seconds'],
    ['credmond.sweep_interval = 0', 'credmond.sweep_interval must be at least 1 seconds'],
    ['credmond.metrics_file = "node/credmon.prom"', 'credmond.metrics_file must be an absolute path'],
    ['credmond.metrics_file = "/node/../etc/credmon.prom"', 'credmond.metrics_file must not have ".." in it'],
    [
      'credmond.metrics_file = "/node/credmon"',
      'credmond.metrics_file must end with .prom: other files are not read by node_exporter',
    ],
    ['credmond.metrics_file = "/node/.prom"', /^file\.toml: credmond\.metrics_file must end with \.prom/],
    ['credmond.metrics_listen = 9815', 'credmond.metrics_listen must be text'],
    [
      'credmond.metrics_listen = "0.0.0.0:9815"',
      /^file\.toml: credmond\.metrics_listen must be a loopback address and a port, such as 127\.0\.0\.1:9815/,
    ],
    ['credmond.max_log = "1 Mb"', 'credmond.max_log must be a number of bytes'],
    ['credmond.max_log = 1.5', 'credmond.max_log must be a number of bytes'],
    ['credmond.max_log = -1', 'credmond.max_log must be a number of bytes'],
    ['credmond.max_num_log = 0', 'credmond.max_num_log must be a whole number of at least 1'],
    ['credmond.max_num_log = 1.5', 'credmond.max_num_log must be a whole number of at least 1'],
    ['credmond.debug = "maybe"', 'credmond.debug must be true or false'],
    ['credmond.debug = 1', 'credmond.debug must be true or false'],
    ['credmond.cred_dir = "creds"', 'credmond.cred_dir must be an absolute path'],
    ['credmond.cred_dir = 5', 'credmond.cred_dir must be text'],
    ['credmond.cred_dir = " "', 'credmond.cred_dir must not be empty'],
    [`broker.socket = "/${'x'.repeat(100)}"`, 'broker.socket is too long for a Unix socket'],
    ['default_provider = "x"', 'default_provider names "x", which is not a provider'],
    [one.replace('https', 'http'), 'providers.cilogon.issuer must be an https URL (http only for this machine itself)'],
    [one.replace('client_id = "me"', ''), 'providers.cilogon.client_id is missing'],
    [one.replace('"me"', '""'), 'providers.cilogon.client_id must not be empty'],
    [one.replace('"me"', '"a b"'), 'providers.cilogon.client_id must be printable ASCII without spaces'],
    [one.replace('issuer = "https://cilogon.org"', ''), 'providers.cilogon.issuer is missing'],
    [one.replace('issuer', 'token_url'), 'providers.cilogon.device_url is missing'],
    [`${one}scopes = 5`, 'providers.cilogon.scopes must be a list of scopes'],
    [`${one}scopes = [5]`, 'providers.cilogon.scopes must be a list of scopes'],
    [`${one}scopes = "a\\"b"`, 'providers.cilogon.scopes holds a scope with characters that RFC 6749 does not admit'],
    [`${one}client_auth = "none"`, 'providers.cilogon.client_auth must be "basic" or "post"'],
    [`${one}token_lifetime = 0`, 'providers.cilogon.token_lifetime must be at least 1 seconds'],
    [`${one}use_json = "perhaps"`, 'providers.cilogon.use_json must be true or false'],
    [`${one}ca_file = "ca.pem"`, 'providers.cilogon.ca_file must be an absolute path'],
    [
      '[providers."a b"]\nissuer = "https://x.example"\nclient_id = "c"',
      /providers\.a b is no provider name: only letters/,
    ],
    ['[providers."../x"]\nissuer = "https://x.example"\nclient_id = "c"', /is no provider name: only letters/],
    ['[providers."..x"]\nissuer = "https://x.example"\nclient_id = "c"', /is no provider name: it starts with a dot/],
    [
      '[providers."x_"]\nissuer = "https://x.example"\nclient_id = "c"',
      /is no provider name: it ends with an underscore/,
    ],
    [
      `[providers.${'x'.repeat(300)}]\nissuer = "https://x.example"\nclient_id = "c"`,
      /is no provider name: it has more/,
    ],
  ])('that says something wrong is refused with the key: %o', async (text, what) => {
    const said = await complaint(text);
    if (typeof what === 'string') expect(said).toBe(`file.toml: ${what}`);
    else expect(said).toMatch(what);
  });
});

describe('HTCondor’s configuration', () => {
  test('with a provider, whatever the case of its knobs', async () => {
    condor({
      CREDMON_PROVIDER_NAMES: 'CILogon',
      CREDMON_DEFAULT_PROVIDER: 'CILogon',
      cilogon_issuer: 'https://cilogon.org/oauth2',
      CILOGON_Client_ID: 'cilogon:/client_id/1',
      cilogon_SCOPES: 'org.cilogon.userinfo,openid',
      CILOGON_TOKEN_USE_JSON: 'False',
      CILOGON_TOKEN_LIFETIME: '900',
      CREDMON_SWEEP_INTERVAL: '10',
      CREDMON_METRICS_FILE: '/var/lib/prometheus/node-exporter/credmon.prom',
      CREDMON_METRICS_LISTEN: 'localhost:9815',
      SEC_CREDENTIAL_REFRESH: '60',
    });
    const config = await loadConfig({ env });
    expect(config).toMatchObject({ htcondor: true, minimum: 120, sweep: 10, preferred: 'CILogon' });
    expect(config.statusDir).toBe('/var/lib/credmon/status');
    expect(config.metrics).toEqual({
      file: '/var/lib/prometheus/node-exporter/credmon.prom',
      listen: { host: '127.0.0.1', port: 9815 },
    });
    expect(config.providers.get('CILogon')).toEqual({
      name: 'CILogon',
      flow: 'device',
      issuer: 'https://cilogon.org/oauth2',
      clientId: 'cilogon:/client_id/1',
      scopes: ['openid', 'org.cilogon.userinfo'],
      bare: true,
      life: 900,
    });
  });

  test.each([
    [{ ...knobs, CREDMON_PROVIDER_NAMES: 'osdf' }, 'osdf_CLIENT_ID is missing'],
    [{ CREDMON_PROVIDER_NAMES: 'osdf', OSDF_CLIENT_ID: 'x' }, 'osdf_ISSUER is missing'],
    [{ ...knobs, CREDMON_METRICS_LISTEN: '*:9815' }, 'CREDMON_METRICS_LISTEN must be a loopback address and a port'],
    [{ ...knobs, cilogon_ISSUER: 'http://cilogon.org' }, 'cilogon_ISSUER must be an https URL'],
    [{ ...knobs, cilogon_FLOW: 'exchnage' }, 'cilogon_FLOW must be one of device, exchange, client'],
    [{ ...knobs, CILOGON_CLIENT_SECRET_FILE: 'secret' }, 'cilogon_CLIENT_SECRET_FILE must be an absolute path'],
    [
      { ...knobs, CREDMON_OAUTH_TOKEN_MINIMUM: '5 min' },
      'CREDMON_OAUTH_TOKEN_MINIMUM must be a whole number of seconds',
    ],
    [{ ...knobs, CREDMON_DEFAULT_PROVIDER: 'x' }, 'CREDMON_DEFAULT_PROVIDER names "x", which is not a provider'],
    [{ ...knobs, CILOGON_TOKEN_USE_JSON: 'perhaps' }, 'cilogon_TOKEN_USE_JSON must be true or false'],
    [{ ...knobs, CREDMON_PROVIDER_NAMES: '../x' }, 'is no provider name: only letters'],
  ])('that says something wrong is refused with the knob: %o', async (lines, what) => {
    condor(lines as unknown as Record<string, string>);
    expect((await failure(loadConfig({ env }))).what).toContain(`HTCondor’s configuration: `);
    expect((await failure(loadConfig({ env }))).what).toContain(what);
  });

  test('an issuer without device flow is enough where grants come from elsewhere', async () => {
    condor({ CREDMON_PROVIDER_NAMES: 'x', X_TOKEN_URL: 'https://x.example/token', X_CLIENT_ID: 'me' });
    expect((await loadConfig({ env })).providers.get('x')).toMatchObject({ tokenUrl: 'https://x.example/token' });
  });

  test('all names of services are told once, whatever their case, the providers’ first', async () => {
    condor({
      ...knobs,
      CREDMON_PROVIDER_NAMES: 'cilogon',
      OAUTH2_CREDMON_PROVIDER_NAMES: 'CILogon, Other',
      VAULT_CREDMON_PROVIDER_NAMES: 'other, vaulted',
    });
    const { names } = await loadConfig({ env });
    expect(names[0]).toBe('cilogon');
    // The last is of HTCondor's local credmon, whatever is configured.
    expect(names.map((name) => name.toLowerCase()).sort()).toEqual(['cilogon', 'other', 'scitokens', 'vaulted']);
    expect(Object.isFrozen(names)).toBe(true);
  });

  test('the log’s knobs go by the daemon’s name', async () => {
    condor({ ...knobs, MINE_LOG: '/log/mine', CREDMON_OAUTH_LOG: '/log/other' });
    expect((await loadConfig({ env, name: 'MINE' })).log.file).toBe('/log/mine');
    expect((await loadConfig({ env })).log.file).toBe('/log/other');
  });
});

describe('a provider that is not there', () => {
  const ask = async (name: string) => {
    const config = await toml(two);
    return failure((async () => unknownProvider(config, name))());
  };
  test('the nearest is suggested', async () => {
    const { what, hint } = await ask('cilogn');
    expect(what).toBe(`no provider "cilogn" in ${join(room, 'file.toml')}`);
    expect(hint).toBe('did you mean cilogon? There is: cilogon, osdf');
  });
  test('or all that there are', async () => {
    expect((await ask('something')).hint).toBe('there is: cilogon, osdf');
  });
});

test('a person without HTCondor has places of their own, root and HTCondor the system’s', async () => {
  env.XDG_RUNTIME_DIR = '/run/user/1000';
  const base = process.getuid?.() === 0 ? '/run/credmon' : '/run/user/1000/credmon';
  expect((await toml(one)).broker.socket).toBe(`${base}/broker/socket`);
  condor(knobs);
  expect((await loadConfig({ env })).broker.socket).toBe('/run/credmon/broker/socket');
});
