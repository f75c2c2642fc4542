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

const flows = (lines: Readonly<Record<string, string>>) =>
  Object.fromEntries(Object.entries(read(lines).providers ?? {}).map(([name, { flow }]) => [name, flow]));

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

  test('without it, those of the lists of HTCondor’s own credmons, each as its list has it', () => {
    expect(flows({ ...set, VAULT_CREDMON_PROVIDER_NAMES: 'cilogon dune' })).toEqual({
      cilogon: 'device',
      dune: 'vault',
    });
    expect(flows({ ...set, OAUTH2_CREDMON_PROVIDER_NAMES: 'box, osdf' })).toEqual({ osdf: 'device' });
    expect(
      flows({ ...set, VAULT_CREDMON_PROVIDER_NAMES: 'CILogon', OAUTH2_CREDMON_PROVIDER_NAMES: 'osdf,cilogon' }),
    ).toEqual({ CILogon: 'device', osdf: 'device' });
    expect(
      flows({ ...set, PELICAN_CREDMON_PROVIDER_NAMES: 'physics', CLIENT_CREDMON_PROVIDER_NAMES: 'robot' }),
    ).toEqual({ physics: 'pelican', robot: 'client', cilogon: 'device', OSDF: 'device' });
  });

  test('a set-up for the IceCube credmon needs no login', () => {
    const iceCube = {
      VAULT_CREDMON_PROVIDER_NAMES: 'icecube',
      icecube_ISSUER: 'https://keycloak.example/realms/icecube',
      icecube_CLIENT_ID: 'credmon',
      icecube_CLIENT_SECRET_FILE: '/etc/condor/.secrets/icecube',
      icecube_DEFAULT_OPTIONS: 'icecube',
    };
    expect(flows(iceCube)).toEqual({ icecube: 'exchange' });
    expect(flows({ ...iceCube, icecube_FLOW: 'Device' })).toEqual({ icecube: 'device' });
    const { icecube_DEFAULT_OPTIONS: _, ...without } = iceCube;
    expect(flows(without)).toEqual({ icecube: 'device' });
    expect(flows({ ...without, icecube_FLOW: 'exchange' })).toEqual({ icecube: 'exchange' });
  });

  test('a flow that is none is not taken for another', () => {
    const misspelt = { CREDMON_PROVIDER_NAMES: 'cilogon', ...set, cilogon_FLOW: 'exchnage' };
    expect(flows(misspelt)).toEqual({ cilogon: 'exchnage' });
  });

  test('one of ours that lacks something is not Vault’s for it', () => {
    const both = { CREDMON_PROVIDER_NAMES: 'cilogon dune', VAULT_CREDMON_PROVIDER_NAMES: 'cilogon dune' };
    expect(flows({ ...both, cilogon_CLIENT_ID: 'a', cilogon_ISUER: 'https://cilogon.org' })).toEqual({
      cilogon: 'device',
      dune: 'vault',
    });
  });

  test('without a list of Vault’s names every other name is Vault’s, where htgettoken is set up', () => {
    const vault = { SEC_CREDENTIAL_GETTOKEN_OPTS: '-a vault.example --vaulttokenttl=1d' };
    expect(flows(vault)).toEqual({ '*': 'vault' });
    expect(flows({ ...vault, VAULT_CREDMON_PROVIDER_NAMES: '*' })).toEqual({ '*': 'vault' });
    expect(flows({ ...vault, VAULT_CREDMON_PROVIDER_NAMES: 'dune' })).toEqual({ dune: 'vault' });
    expect(flows({ ...vault, ...set })).toEqual({ cilogon: 'device', OSDF: 'device', '*': 'vault' });
    expect(flows({ ...vault, CREDMON_PROVIDER_NAMES: 'cilogon' })).toEqual({ cilogon: 'device' });
  });

  test('an asterisk, which is HTCondor’s default there, names nobody', () => {
    const stars = { VAULT_CREDMON_PROVIDER_NAMES: '*', OAUTH2_CREDMON_PROVIDER_NAMES: '*' };
    expect(providers({ ...set, ...stars })).toEqual(['cilogon', 'OSDF']);
  });

  test('without any list, all with an issuer or token endpoint and a client, but not those of other credmons', () => {
    expect(providers(set)).toEqual(['cilogon', 'OSDF']);
    expect(providers({ x_issuer: 'https://x.example', X_CLIENT_ID: 'c' })).toEqual(['x']);
    expect(providers({ x_PELICAN_TOKEN_URL: 'https://x.example', x_PELICAN_CLIENT_ID: 'c' })).toEqual([]);
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
      DUNE_PRODUCTION_GRANT_LIFETIME: '86400',
      DUNE_PRODUCTION_ALLOWED_SCOPES: 'read:/{username}',
      DUNE_PRODUCTION_ALLOWED_AUDIENCES: 'a b',
    });
    expect(input.providers).toEqual({
      dune_production: {
        flow: 'device',
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
        grant_lifetime: '86400',
        allowed_scopes: 'read:/{username}',
        allowed_audiences: 'a b',
      },
    });
  });

  test('takes HTCondor’s own names for defaults, after ours', () => {
    const of = (lines: Readonly<Record<string, string>>) =>
      read({ CREDMON_PROVIDER_NAMES: 'x', ...lines }).providers?.x;
    expect(of({ x_DEFAULT_SCOPES: 'a', x_DEFAULT_AUDIENCE: 'b' })).toEqual({
      flow: 'device',
      scopes: 'a',
      audience: 'b',
    });
    expect(of({ x_DEFAULT_SCOPES: 'a', x_SCOPES: 'c' })).toEqual({ flow: 'device', scopes: 'c' });
  });

  test('of Vault’s credmon: the hosts that are trusted, and the authorities', () => {
    const of = (lines: Readonly<Record<string, string>>) =>
      read({ VAULT_CREDMON_PROVIDER_NAMES: 'dune', ...lines }).providers?.dune;
    expect(of({})).toEqual({ flow: 'vault', vault_hosts: '' });
    expect(
      of({
        TRUSTED_VAULT_HOSTS: 'a.example, b.example',
        SEC_CREDENTIAL_GETTOKEN_OPTS: '--verbose -a https://C.example:8200 -i dune',
        AUTH_SSL_CLIENT_CAFILE: '/ca.pem',
        AUTH_SSL_CLIENT_CADIR: '/ca',
      }),
    ).toEqual({ flow: 'vault', vault_hosts: 'a.example b.example C.example', ca_file: '/ca.pem' });
    expect(of({ SEC_CREDENTIAL_GETTOKEN_OPTS: '--vaultserver=v.example' })).toMatchObject({ vault_hosts: 'v.example' });
  });

  test('of Pelican’s', () => {
    const of = (lines: Readonly<Record<string, string>>) =>
      read({ PELICAN_CREDMON_PROVIDER_NAMES: 'x', ...lines }).providers?.x;
    expect(
      of({
        x_PELICAN_URL: 'pelican://fed.example',
        x_PELICAN_PREFIX: '/physics/data',
        x_PELICAN_CLIENT_ID: 'me',
        x_PELICAN_CLIENT_SECRET_FILE: '/etc/s',
        x_PELICAN_TOKEN_URL: 'https://o.example/token',
        PELICAN_CREDMON_CA_FILE: '/ca.pem',
      }),
    ).toEqual({
      flow: 'pelican',
      namespace: 'pelican://fed.example/physics/data',
      client_id: 'me',
      client_secret_file: '/etc/s',
      token_url: 'https://o.example/token',
      ca_file: '/ca.pem',
    });
    expect(of({ x_PELICAN_URL: 'osdf:///ns' })?.namespace).toBe('pelican://osg-htc.org/ns/');
    expect(of({ x_PELICAN_URL: 'https://fed.example/', x_PELICAN_PREFIX: 'ns' })?.namespace).toBe(
      'pelican://fed.example/ns',
    );
  });

  test('of the client credmon: a knob of the provider’s own, else the one for all', () => {
    const of = (lines: Readonly<Record<string, string>>) =>
      read({ CLIENT_CREDMON_PROVIDER_NAMES: 'robot', ...lines }).providers?.robot;
    expect(of({})).toEqual({ flow: 'client', authz_template: 'read:/user/{username} write:/user/{username}' });
    expect(
      of({
        CLIENT_CREDMON_ISSUER: 'https://all.example',
        CLIENT_CREDMON_robot_ISSUER: 'https://robot.example',
        CLIENT_CREDMON_CLIENT_ID: 'me',
        CLIENT_CREDMON_CLIENT_SECRET_FILE: '/etc/s',
        CLIENT_CREDMON_AUTHZ_TEMPLATE: 'read:/{username}',
        CLIENT_CREDMON_AUTHZ_GROUP_TEMPLATE: 'read:/g/{groupname}',
        CLIENT_CREDMON_AUTHZ_GROUP_MAPFILE: '/etc/groups.map',
        CLIENT_CREDMON_AUTHZ_GROUP_REQUIREMENT: 'vo',
        CLIENT_CREDMON_TOKEN_AUDIENCE: 'ANY',
        CLIENT_CREDMON_TOKEN_VERSION: 'wlcg',
        CLIENT_CREDMON_TOKEN_USE_JSON: 'false',
      }),
    ).toEqual({
      flow: 'client',
      issuer: 'https://robot.example',
      client_id: 'me',
      client_secret_file: '/etc/s',
      audience: 'ANY',
      authz_template: 'read:/{username}',
      authz_group_template: 'read:/g/{groupname}',
      authz_group_mapfile: '/etc/groups.map',
      authz_group_requirement: 'vo',
      token_version: 'wlcg',
      use_json: 'false',
    });
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
  [['providers', 'p', 'client_id'], 'p_PELICAN_CLIENT_ID'],
  [['providers', 'p', 'namespace'], 'p_PELICAN_URL'],
  [['providers', 'c', 'client_id'], 'CLIENT_CREDMON_c_CLIENT_ID'],
])('%o is called %s in messages', (path, knob) => {
  const lists = knobs({ PELICAN_CREDMON_PROVIDER_NAMES: 'p', CLIENT_CREDMON_PROVIDER_NAMES: 'c' });
  expect(knobFor(path, 'CREDMON_OAUTH', lists)).toBe(knob);
});
