import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { complete } from '../../src/commands/config/ask.js';
import { type Answers, checkAnswers, dropIn } from '../../src/commands/config/drop-in.js';
import { writeNew } from '../../src/commands/config/new-file.js';
import { parseKnobs } from '../../src/config/knobs.js';
import { loadConfig } from '../../src/config/load.js';
import { failureOf } from '../../src/core/failure.js';
import { addedServices, outcome, sortService } from '../../src/core/sorting.js';
import { condor, modeOf, put, room } from './room.js';

const places = { daemon: '/usr/sbin/credmond', storer: '/usr/bin/credmon-storer' };
const alone = { ...places, others: { ours: false, vault: false } };
const least: Answers = { provider: 'cilogon', issuer: 'https://cilogon.org', clientId: 'cilogon:/client_id/01' };
const failed = (act: () => unknown) => {
  try {
    act();
    return undefined;
  } catch (thrown) {
    return failureOf(thrown);
  }
};

/** As HTCondor would read it: condor_config_val tells what stands in the file, and what `use feature : OAUTH` means. */
async function load(text: string, more: Readonly<Record<string, string>> = {}) {
  const base = room();
  const { configDir, env } = condor(base, { SEC_CREDENTIAL_DIRECTORY_OAUTH: '/creds', ...more });
  put(join(configDir, '60-credmon.conf'), text);
  return loadConfig({ env });
}

describe('the file that is made', () => {
  test('is read as it was meant', async () => {
    const answers: Answers = {
      ...least,
      clientSecretFile: '/etc/condor/.secrets/cilogon',
      scope: 'openid storage.read:/',
      audience: 'https://aud.example',
      deviceUrl: 'https://cilogon.org/device',
      tokenUrl: 'https://cilogon.org/token',
      caFile: '/etc/ca.pem',
      minimum: 600,
    };
    const config = await load(dropIn(answers, alone));
    expect(config).toMatchObject({ htcondor: true, minimum: 600, preferred: 'cilogon' });
    expect([...config.providers.values()]).toEqual([
      {
        name: 'cilogon',
        flow: 'device',
        issuer: least.issuer,
        clientId: least.clientId,
        secretFile: answers.clientSecretFile,
        scopes: ['openid', 'storage.read:/'],
        audience: answers.audience,
        deviceUrl: answers.deviceUrl,
        tokenUrl: answers.tokenUrl,
        caFile: answers.caFile,
        bare: false,
      },
    ]);
  });

  test('with the least that there is, and with a flow without a login', async () => {
    expect([...(await load(dropIn(least, alone))).providers.values()]).toMatchObject([{ name: 'cilogon', scopes: [] }]);
    const exchange: Answers = {
      ...least,
      flow: 'exchange',
      clientSecretFile: '/s',
      allowedScopes: 'storage.read:/user/{username}, openid',
    };
    expect([...(await load(dropIn(exchange, alone))).providers.values()]).toMatchObject([
      { flow: 'exchange', allowedScopes: ['openid', 'storage.read:/user/{username}'] },
    ]);
  });

  test.each(['cilogon', 'scitokens'])(
    'has HTCondor call the storer for %s, and condor_credd wait for nothing',
    (provider) => {
      const knobs = parseKnobs(dropIn({ ...least, provider }, alone));
      for (const version of [
        [23, 9, 6],
        [25, 0, 3],
        [25, 14, 1],
      ] as const) {
        const sorted = sortService(provider, knobs, version);
        expect(sorted.storer).toBeDefined();
        expect(outcome(sorted, { top: true, use: false, matches: false })).toBe('ok');
        expect(addedServices(knobs, version)).toEqual([]);
      }
      expect(knobs.get('CREDMON_OAUTH')).toBe(places.daemon);
      expect(knobs.get('SEC_CREDENTIAL_STORER')).toBe(places.storer);
      expect(knobs.get('SEC_DEFAULT_ENCRYPTION')).toBe('REQUIRED');
    },
  );

  test('adds to the lists that are there already', () => {
    const text = dropIn(least, { ...places, others: { ours: true, vault: true } });
    expect(text).toContain('\nCREDMON_PROVIDER_NAMES = $(CREDMON_PROVIDER_NAMES) cilogon\n');
    expect(text).toContain('\nVAULT_CREDMON_PROVIDER_NAMES = $(VAULT_CREDMON_PROVIDER_NAMES) cilogon\n');
  });

  test('every line that is no knob is a comment, empty or a feature', () => {
    for (const line of dropIn({ ...least, flow: 'exchange', clientSecretFile: '/s' }, alone).split('\n'))
      expect(line).toMatch(/^(?:#.*|use feature : OAUTH|[A-Za-z_]\w* = \S.*)?$/);
  });

  test.each<[string, Partial<Answers>]>([
    ['provider', { provider: 'a/b' }],
    ['provider', { provider: 'a-b' }],
    ['provider', { provider: '..' }],
    ['issuer', { issuer: 'http://cilogon.org' }],
    ['issuer', { issuer: 'https://u:p@cilogon.org' }],
    ['client-id', { clientId: 'a b' }],
    ['clientId', { clientId: '$(PASSWORD)' }],
    ['audience', { audience: 'a\nCREDMON_OAUTH = /bin/sh' }],
    ['audience', { audience: 'a\\' }],
    ['audience', { audience: '$ENV(HOME)' }],
    ['client-secret-file', { clientSecretFile: 'secret' }],
    ['scope', { scope: 'a"b' }],
    ['secret', { flow: 'exchange' }],
  ])('%s: %o is refused', (word, more) => {
    expect(failed(() => checkAnswers({ ...least, ...more }))).toMatchObject({
      kind: 'usage',
      what: expect.stringContaining(word),
    });
  });
});

describe('questions', () => {
  const asking = (lines: readonly string[]) => {
    const [input, output] = [new PassThrough(), new PassThrough()];
    // One at a time, as a person types: each after its question.
    const rest = [...lines];
    output.on('data', (text: Buffer) => {
      if (!String(text).endsWith(': ')) return;
      const line = rest.shift();
      if (line === undefined) input.end();
      else input.write(`${line}\n`);
    });
    return { input, output };
  };

  test('are asked for what is not given, again where an answer is needed', async () => {
    const streams = asking(['', 'https://cilogon.org', 'me', '', 'openid']);
    expect(await complete({ provider: 'cilogon' }, streams)).toEqual({
      provider: 'cilogon',
      issuer: 'https://cilogon.org',
      clientId: 'me',
      scope: 'openid',
    });
  });

  test('are not asked where all that is needed is given, nor without a terminal', async () => {
    expect(await complete(least, undefined)).toEqual(least);
    const thrown = await complete({ provider: 'x' }, undefined).catch(failureOf);
    expect(thrown).toMatchObject({ kind: 'usage', what: 'not given: --issuer, --client-id' });
  });

  test('may be left', async () => {
    expect(await complete({}, asking(['cilogon'])).catch(failureOf)).toMatchObject({ kind: 'cancelled' });
  });
});

test('a file that is there is not written over', () => {
  const dir = room();
  const path = join(dir, '60-credmon.conf');
  writeNew(path, 'A = 1\n');
  expect([readFileSync(path, 'utf8'), modeOf(path)]).toEqual(['A = 1\n', 0o644]);
  expect(failed(() => writeNew(path, 'B = 2\n'))).toMatchObject({ kind: 'usage' });
  expect(failed(() => writeNew(join(dir, 'no/x'), ''))).toMatchObject({ kind: 'storage' });
  expect(readFileSync(path, 'utf8')).toBe('A = 1\n');
});
