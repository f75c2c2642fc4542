import { describe, expect, test } from 'vitest';
import { fromKnobs, knobFor } from '../../src/config/condor.js';
import { parseKnobs } from '../../src/config/knobs.js';

const knobs = (lines: Readonly<Record<string, string>>) =>
  parseKnobs(
    Object.entries(lines)
      .map(([name, value]) => `${name} = ${value}`)
      .join('\n'),
  );
const read = (lines: Readonly<Record<string, string>>, name = 'CREDMON_OAUTH') => fromKnobs(knobs(lines), name);
const providers = (lines: Readonly<Record<string, string>>) => Object.keys(read(lines).providers ?? {});

/** Two that are set up as ours are, one that is HTCondor's OAuth2 credmon's. */
const set = {
  cilogon_ISSUER: 'https://cilogon.org',
  cilogon_CLIENT_ID: 'a',
  OSDF_TOKEN_URL: 'https://osdf.example/token',
  OSDF_CLIENT_ID: 'b',
  BOX_CLIENT_ID: 'c',
  BOX_AUTHORIZATION_URL: 'https://box.example',
  LOCAL_CREDMON_ISSUER: 'https://ap.example',
  LOCAL_CREDMON_CLIENT_ID: 'no',
};

describe('which providers are ours', () => {
  test('those of CREDMON_PROVIDER_NAMES, complete or not, and nothing else', () => {
    expect(providers({ ...set, CREDMON_PROVIDER_NAMES: 'osdf, dune' })).toEqual(['osdf', 'dune']);
    expect(
      providers({ ...set, CREDMON_PROVIDER_NAMES: 'a b,c ,, d', VAULT_CREDMON_PROVIDER_NAMES: 'cilogon' }),
    ).toEqual([...'abcd']);
  });

  test('each once, as it was first written', () => {
    expect(providers({ ...set, CREDMON_PROVIDER_NAMES: 'Osdf OSDF osdf' })).toEqual(['Osdf']);
  });

  test('without it, those of the other credmons’ lists that have an issuer or token endpoint and a client', () => {
    expect(providers({ ...set, VAULT_CREDMON_PROVIDER_NAMES: 'cilogon dune' })).toEqual(['cilogon']);
    expect(providers({ ...set, OAUTH2_CREDMON_PROVIDER_NAMES: 'box, osdf' })).toEqual(['osdf']);
    expect(
      providers({ ...set, VAULT_CREDMON_PROVIDER_NAMES: 'CILogon', OAUTH2_CREDMON_PROVIDER_NAMES: 'osdf,cilogon' }),
    ).toEqual(['CILogon', 'osdf']);
  });

  test('lists that name none of ours leave none', () => {
    expect(providers({ ...set, VAULT_CREDMON_PROVIDER_NAMES: 'dune' })).toEqual([]);
  });

  test('an asterisk, which is HTCondor’s default there, names nobody', () => {
    expect(providers({ ...set, VAULT_CREDMON_PROVIDER_NAMES: '*', OAUTH2_CREDMON_PROVIDER_NAMES: '*' })).toEqual([
      'cilogon',
    ]);
  });

  test('without any list, all with an issuer and a client, but not HTCondor’s local issuer', () => {
    expect(providers(set)).toEqual(['cilogon']);
    expect(providers({ x_issuer: 'https://x.example', X_CLIENT_ID: 'c' })).toEqual(['x']);
    expect(providers({ _ISSUER: 'https://x.example', _CLIENT_ID: 'c' })).toEqual([]);
    expect(providers({})).toEqual([]);
  });
});

describe('a provider', () => {
  test('has its knobs, whatever their case', () => {
    const input = read({
      CREDMON_PROVIDER_NAMES: 'dune_production',
      DUNE_PRODUCTION_ISSUER: 'https://i.example',
      Dune_Production_Client_Id: 'me',
      dune_production_client_secret_file: '/etc/s',
      DUNE_PRODUCTION_SCOPES: 'a,b',
      DUNE_PRODUCTION_AUDIENCE: 'https://aud.example',
      DUNE_PRODUCTION_TOKEN_URL: 'https://i.example/t',
      DUNE_PRODUCTION_DEVICE_URL: 'https://i.example/d',
      DUNE_PRODUCTION_REVOCATION_URL: 'https://i.example/r',
      DUNE_PRODUCTION_CA_FILE: '/ca',
      DUNE_PRODUCTION_CLIENT_AUTH: 'post',
      DUNE_PRODUCTION_TOKEN_LIFETIME: '600',
      DUNE_PRODUCTION_TOKEN_USE_JSON: 'false',
    });
    expect(input.providers).toEqual({
      dune_production: {
        issuer: 'https://i.example',
        client_id: 'me',
        client_secret_file: '/etc/s',
        client_auth: 'post',
        scopes: 'a,b',
        audience: 'https://aud.example',
        token_url: 'https://i.example/t',
        device_url: 'https://i.example/d',
        revocation_url: 'https://i.example/r',
        ca_file: '/ca',
        token_lifetime: '600',
        use_json: 'false',
      },
    });
  });

  test('takes HTCondor’s own names for defaults, after ours', () => {
    const of = (lines: Readonly<Record<string, string>>) =>
      read({ CREDMON_PROVIDER_NAMES: 'x', ...lines }).providers?.x;
    expect(of({ x_DEFAULT_SCOPES: 'a', x_DEFAULT_AUDIENCE: 'b' })).toEqual({ scopes: 'a', audience: 'b' });
    expect(of({ x_DEFAULT_SCOPES: 'a', x_SCOPES: 'c' })).toEqual({ scopes: 'c' });
  });
});

describe('what must be left of a token', () => {
  test.each([
    [{}, 360],
    [{ SEC_CREDENTIAL_REFRESH: '120' }, 180],
    [{ SEC_CREDENTIAL_REFRESH: '0' }, 360],
    [{ SEC_CREDENTIAL_REFRESH: 'nonsense' }, 360],
    [{ SEC_CREDENTIAL_REFRESH: '86400' }, 86_400],
    [{ SEC_CREDENTIAL_REFRESH: '0.5' }, 61],
    [{ SEC_CREDENTIAL_REFRESH: '120', CREDMON_OAUTH_TOKEN_MINIMUM: '40' }, '40'],
  ])('%o: %s s', (lines, minimum) => {
    expect(read(lines as Record<string, string>).token_minimum).toBe(minimum);
  });
});

describe('the daemon’s own knobs', () => {
  test('the log, by the daemon’s name', () => {
    const lines = {
      CREDMON_OAUTH_LOG: '/log/a',
      MAX_CREDMON_OAUTH_LOG: '1 Mb',
      MAX_NUM_CREDMON_OAUTH_LOG: '3',
      CREDMON_OAUTH_DEBUG: 'D_FULLDEBUG',
      OTHER_LOG: '/log/b',
    };
    expect(read(lines).credmond).toEqual({ log: '/log/a', max_log: 1024 ** 2, max_num_log: 3, debug: true });
    expect(read(lines, 'OTHER').credmond).toEqual({ log: '/log/b', debug: false });
  });

  test.each([
    ['0', 0],
    ['1000000', 1_000_000],
    ['10 Mb', 10 * 1024 ** 2],
    ['10MB', 10 * 1024 ** 2],
    ['1.5k', 1536],
    ['2 Gb', 2 * 1024 ** 3],
    ['1 Day', undefined],
    ['', undefined],
  ])('a log of at most %o', (text, size) => {
    expect(read({ MAX_DEFAULT_LOG: text }).credmond?.max_log).toBe(size);
  });

  test.each([
    ['D_FULLDEBUG', true],
    ['D_ALL', true],
    ['D_SECURITY:2', true],
    ['D_PID D_CATEGORY', false],
    ['', false],
  ])('debug %o: %s', (text, debug) => {
    expect(read({ CREDMON_OAUTH_DEBUG: text }).credmond?.debug).toBe(debug);
    expect(read({ ALL_DEBUG: text }).credmond?.debug).toBe(debug);
  });

  test('the credential directory, HTCondor’s older name too', () => {
    expect(read({ SEC_CREDENTIAL_DIRECTORY: '/old' }).credmond?.cred_dir).toBe('/old');
    const both = { SEC_CREDENTIAL_DIRECTORY: '/old', SEC_CREDENTIAL_DIRECTORY_OAUTH: '/new' };
    expect(read(both).credmond?.cred_dir).toBe('/new');
  });
});

test.each([
  [['providers', 'x', 'client_id'], 'x_CLIENT_ID'],
  [['providers', 'x', 'scopes'], 'x_SCOPES'],
  [['providers', 'x'], 'x_ISSUER'],
  [['token_minimum'], 'CREDMON_OAUTH_TOKEN_MINIMUM'],
  [['credmond', 'cred_dir'], 'SEC_CREDENTIAL_DIRECTORY_OAUTH'],
  [['credmond', 'log'], 'CREDMON_OAUTH_LOG'],
  [['broker', 'socket'], 'CREDMON_BROKER_SOCKET'],
])('%o is called %s in messages', (path, knob) => {
  expect(knobFor(path, 'CREDMON_OAUTH')).toBe(knob);
});
