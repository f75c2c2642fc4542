import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { parseMap } from '../../src/config/mapfile.js';
import type { PamSettings } from '../../src/core/config.js';
import { failureOf } from '../../src/core/failure.js';

function room(): string {
  const path = mkdtempSync(join(tmpdir(), 'config-pam-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

const provider = '[providers.cilogon]\nissuer = "https://cilogon.example"\nclient_id = "me"\n';

async function toml(pam: string, providers = provider): Promise<PamSettings | undefined> {
  const file = join(room(), 'credmon.toml');
  writeFileSync(file, `${providers}\n[pam]\nenabled = true\n${pam}`);
  return (await loadConfig({ file, env: {} })).pam;
}

async function knobs(more: Readonly<Record<string, string>>): Promise<PamSettings | undefined> {
  const base = room();
  const all = { cilogon_ISSUER: 'https://cilogon.example', cilogon_CLIENT_ID: 'me', CREDMON_PAM: 'True', ...more };
  writeFileSync(
    join(base, 'dump'),
    Object.entries(all)
      .map(([name, value]) => `${name} = ${value}\n`)
      .join(''),
  );
  mkdirSync(join(base, 'bin'));
  writeFileSync(join(base, 'bin/condor_config_val'), `#!/bin/sh\nexec /bin/cat ${base}/dump\n`);
  chmodSync(join(base, 'bin/condor_config_val'), 0o755);
  return (await loadConfig({ env: { PATH: join(base, 'bin') } })).pam;
}

const complaint = async (loading: Promise<unknown>): Promise<string> => {
  const failure = failureOf(
    await loading.then(
      () => undefined,
      (thrown: unknown) => thrown,
    ),
  );
  expect(failure).toMatchObject({ kind: 'config', hint: expect.any(String) });
  return failure?.what.replace(/^.*?: /, '') ?? '';
};

const rule = '[[pam.map]]\nclaim = "sub"\n';

describe('the settings of ssh logins', () => {
  test('are not there unless they are switched on, and then nothing in them counts', async () => {
    for (const CREDMON_PAM of ['', 'False']) expect(await knobs({ CREDMON_PAM })).toBeUndefined();
    expect(await knobs({ CREDMON_PAM: 'no', CREDMON_PAM_MAP_1: 'sub' })).toBeUndefined();
  });

  test('have safe defaults', async () => {
    expect(await toml(rule)).toEqual({
      provider: 'cilogon',
      socket: expect.stringMatching(/\/pam\/socket$/),
      identitiesDir: expect.stringMatching(/\/identities$/),
      map: [{ claim: 'sub' }],
      policy: {},
      firstFactor: 'required',
      qr: 'auto',
      minUid: 1000,
      pin: true,
    });
  });

  test('are the same from TOML and from knobs', async () => {
    const written = await toml(`socket = "/run/x/socket"
identities_dir = "/var/x"
groups = ["a", "b"]
entitlements = ["urn:geant:example:group:x#a"]
acr = ["https://refeds.org/profile/mfa"]
amr = ["otp", "hwk"]
idp = ["https://idp.example/shibboleth"]
email_domains = ["uni.example"]
max_auth_age = 3600
first_factor = "optional"
qr = "never"
min_uid = 500
pin = false
[[pam.map]]
claim = "eppn"
match = '([a-z]+)@uni\\.example'
[[pam.map]]
claim = "wlcg.groups"
match = '/(?<vo>[a-z]+)(?:/.*)?'
user = 'pool-\${vo}'
[[pam.map]]
claim = "sub"
file = "/etc/credmon/map"
`);
    expect(written?.map).toHaveLength(3);
    expect(
      await knobs({
        CREDMON_PAM_PROVIDER: 'cilogon',
        CREDMON_PAM_SOCKET: '/run/x/socket',
        CREDMON_PAM_IDENTITIES_DIR: '/var/x',
        CREDMON_PAM_GROUPS: 'a, b',
        CREDMON_PAM_ENTITLEMENTS: 'urn:geant:example:group:x#a',
        CREDMON_PAM_ACR: 'https://refeds.org/profile/mfa',
        CREDMON_PAM_AMR: 'otp hwk',
        CREDMON_PAM_IDP: 'https://idp.example/shibboleth',
        CREDMON_PAM_EMAIL_DOMAINS: 'uni.example',
        CREDMON_PAM_MAX_AUTH_AGE: '3600',
        CREDMON_PAM_FIRST_FACTOR: 'optional',
        CREDMON_PAM_QR: 'never',
        CREDMON_PAM_MIN_UID: '500',
        CREDMON_PAM_PIN: 'False',
        // In the order of the numbers, not of the lines.
        CREDMON_PAM_MAP_20: 'sub file:/etc/credmon/map',
        CREDMON_PAM_MAP_1: 'eppn ([a-z]+)@uni\\.example',
        CREDMON_PAM_MAP_3: `wlcg.groups /(?<vo>[a-z]+)(?:/.*)? pool-\${vo}`,
      }),
    ).toEqual(written);
  });
});

describe('what is wrong with them is told with its key', () => {
  test.each([
    ['', 'pam.map is missing: no rule says who is which user'],
    ['map = []', 'pam.map is missing: no rule says who is which user'],
    ['[[pam.map]]\nmatch = "x"', 'pam.map.0.claim is missing'],
    [`${rule}match = "("`, 'pam.map.0 has a match that is no regular expression: Unterminated group'],
    [`${rule}match = "a)|(?:b"`, "pam.map.0 has a match that is no regular expression: Unmatched ')'"],
    [`${rule}match = '(a)\\1'`, 'pam.map.0 has a match that has something that is not understood here: \\1'],
    [`${rule}match = "(a*)*"`, 'pam.map.0 has a match that repeats something that may be empty (before "*")'],
    [`${rule}match = "(a)"\nuser = "$2"`, 'pam.map.0 has a user with $2, which match does not catch'],
    [`${rule}user = "a b"`, "pam.map.0 has a user that can be no account's name"],
    [`${rule}file = "map"`, 'pam.map.0.file must be an absolute path'],
    [`${rule}file = "/m"\nmatch = "x"`, 'pam.map.0 has a file, and a match or user besides: it is one or the other'],
    [`${rule}users = "x"`, 'pam.map.0.users is not a known setting'],
    [
      `${rule}[[pam.map]]\nclaim = "mail"`,
      'pam.map.1 goes by mail, of which nobody says that it is verified: it must be email',
    ],
    [`group = ["x"]\n${rule}`, 'pam.group is not a known setting'],
    [`groups = []\n${rule}`, 'pam.groups must not be empty: leave it out where it is not asked for'],
    [`groups = ""\n${rule}`, 'pam.groups must not be empty: leave it out where it is not asked for'],
    [`groups = ["urn:geant:x:group:y"]\n${rule}`, 'pam.groups holds an entitlement (urn:…): that is for entitlements'],
    [`acr = 1\n${rule}`, 'pam.acr must be a list of names'],
    [`email_domains = ["@uni.example"]\n${rule}`, 'pam.email_domains must be domains, such as example.org'],
    [`max_auth_age = 0\n${rule}`, 'pam.max_auth_age must be at least 1 seconds'],
    [`min_uid = 0\n${rule}`, 'pam.min_uid must be a uid of at least 1'],
    [`first_factor = "none"\n${rule}`, 'pam.first_factor must be "required" or "optional"'],
    [`qr = "yes"\n${rule}`, 'pam.qr must be "auto", "always" or "never"'],
    [`socket = "/${'x'.repeat(100)}"\n${rule}`, 'pam.socket is too long for a Unix socket'],
    [`provider = "other"\n${rule}`, 'pam.provider names "other", which is not a provider'],
    [
      'pin = false\n[[pam.map]]\nclaim = "email"',
      'pam.pin is false, and a rule goes by email, which by itself says nothing for certain',
    ],
  ])('in TOML: %j', async (text, what) => {
    expect(await complaint(toml(text))).toBe(what);
  });

  test.each<[Record<string, string>, string]>([
    [{}, 'CREDMON_PAM_MAP_1 is missing: no rule says who is which user'],
    [{ CREDMON_PAM_MAP_1: '' }, 'CREDMON_PAM_MAP_1 must not be empty'],
    [
      { CREDMON_PAM_MAP_1: 'sub', CREDMON_PAM_MAP_7: 'sub (' },
      'CREDMON_PAM_MAP_7 has a match that is no regular expression: Unterminated group',
    ],
    [{ CREDMON_PAM_MAP_1: 'sub file:map' }, 'CREDMON_PAM_MAP_1 must be an absolute path'],
    [
      { CREDMON_PAM_MAP_1: 'sub file:/m x' },
      'CREDMON_PAM_MAP_1 has a file, and a match or user besides: it is one or the other',
    ],
    [{ CREDMON_PAM_MAP_1: 'sub a b c' }, '"c" in CREDMON_PAM_MAP_1 is not a known setting'],
    [{ CREDMON_PAM_MAP_0: 'sub' }, 'CREDMON_PAM_MAP_0 is not a known setting'],
    [{ CREDMON_PAM_MAP: 'sub' }, 'CREDMON_PAM_MAP is not a known setting'],
    [{ CREDMON_PAM_MAP_1: 'sub', CREDMON_PAM_GROUP: 'staff' }, 'CREDMON_PAM_GROUP is not a known setting'],
    [
      { CREDMON_PAM_MAP_1: 'sub', CREDMON_PAM_GROUPS: '' },
      'CREDMON_PAM_GROUPS must not be empty: leave it out where it is not asked for',
    ],
    [
      { CREDMON_PAM_MAP_1: 'sub', CREDMON_PAM_ACR: ' , ' },
      'CREDMON_PAM_ACR must not be empty: leave it out where it is not asked for',
    ],
    [
      { CREDMON_PAM_MAP_1: 'sub', CREDMON_PAM_MAX_AUTH_AGE: 'an hour' },
      'CREDMON_PAM_MAX_AUTH_AGE must be a whole number of seconds',
    ],
    [{ CREDMON_PAM: 'maybe', CREDMON_PAM_MAP_1: 'sub' }, 'CREDMON_PAM must be true or false'],
    [
      { CREDMON_PAM_MAP_1: 'sub', cilogon_SCOPES: 'storage.read:/' },
      'CREDMON_PAM_PROVIDER names "cilogon", whose scopes lack openid: it would not say who logs in',
    ],
  ])('in knobs: %j', async (more, what) => {
    expect(await complaint(knobs(more))).toBe(what);
  });
});

test('checklist 3: e-mail alone never decides: without pins no rule goes by it, and no rule by what is never verified', async () => {
  const pinned = (pin: boolean) =>
    toml(`pin = ${pin}\n[[pam.map]]\nclaim = "sub"\n[[pam.map]]\nclaim = "email"\nfile = "/m"`);
  expect((await pinned(true))?.pin).toBe(true);
  expect(await complaint(pinned(false))).toMatch(/^pam\.pin is false, and a rule goes by email/);
  expect(await complaint(toml('[[pam.map]]\nclaim = "mail"\nfile = "/m"'))).toMatch(
    /goes by mail, of which nobody says/,
  );
});

test('hosts that an issuer may send us to are names, in TOML and in knobs', async () => {
  const hosts = (value: string) => toml(rule, `${provider}endpoint_hosts = ${value}\n`);
  expect(await hosts('["a.example", "b.example:8443"]')).toBeDefined();
  for (const value of ['["https://a.example"]', '["a.example/x"]', '"a.example:x"', '["*"]'])
    expect(await complaint(hosts(value))).toBe('providers.cilogon.endpoint_hosts must be host names');
  const wrong = knobs({ CREDMON_PAM_MAP_1: 'sub', cilogon_ENDPOINT_HOSTS: 'https://a.example' });
  expect(await complaint(wrong)).toBe('cilogon_ENDPOINT_HOSTS must be host names');
});

describe('the page about ssh logins', () => {
  const page = readFileSync(new URL('../../docs/ssh.md', import.meta.url), 'utf8');
  const fenced = [...page.matchAll(/^```(\w*)\n(.*?)^```$/gms)];
  const blocks = (wanted: string) => fenced.flatMap(([, kind, text = '']) => (kind === wanted ? [text] : []));

  test('has examples that are good', async () => {
    const examples = blocks('toml').filter((text) => text.includes('[pam]'));
    expect(examples.length).toBeGreaterThan(4);
    for (const text of examples) {
      const file = join(room(), 'credmon.toml');
      writeFileSync(file, text.includes('[providers.') ? text : `${text}\n${provider}`);
      expect((await loadConfig({ file, env: {} })).pam?.map.length).toBeGreaterThan(0);
    }
  });

  test('has a map file that is good, and rules in knobs that are those in TOML', async () => {
    const map = blocks('').find((text) => text.startsWith('# /etc/credmon/people')) ?? '';
    expect([...parseMap(Buffer.from(map), 'people').values()]).toEqual(['alice', 'bob']);
    const lines = blocks('').find((text) => text.startsWith('CREDMON_PAM = ')) ?? '';
    const set = Object.fromEntries(
      lines
        .trim()
        .split('\n')
        .map((line) => line.split(' = ') as [string, string]),
    );
    const [first = ''] = blocks('toml');
    expect((await knobs(set))?.map).toEqual((await toml(first.split('enabled = true')[1] ?? ''))?.map);
  });
});
