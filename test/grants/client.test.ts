import { writeFileSync } from 'node:fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Errand } from '../../src/core/ports.js';
import type { Provider, Templates } from '../../src/core/provider.js';
import { seconds } from '../../src/core/time.js';
import { client } from '../../src/grants/client.js';
import { counted, hours, minutes, station } from '../daemon/kit.js';
import { robotClient, startIssuer } from '../helpers/issuer.js';
import { type Reply, serve } from '../providers/kit.js';
import { errand, failure, file, found, issuerOf, provider, store } from './kit.js';

const secret = robotClient.client_secret as string;
const templates = { user: 'storage.read:/user/{username} storage.create:/user/{username}' };
const robot = (more: Partial<Provider> = {}): Provider =>
  provider({ name: 'robot', flow: 'client', clientId: robotClient.client_id, templates, ...more });

/** A token endpoint that says yes to everything, or what it is told. */
async function endpoint(reply?: Reply) {
  const server = await serve(() => ({
    '/token': reply ?? { body: { access_token: 'access-1', token_type: 'Bearer', expires_in: 1200 } },
  }));
  return { ...server, tokenUrl: `${server.url}/token` };
}

async function asked(more: Partial<Provider>, errands: Partial<Errand> = {}) {
  const server = await endpoint();
  const one = robot({ tokenUrl: server.tokenUrl, ...more });
  const mine = errand({ provider: one, ...errands }, issuerOf(one, secret));
  const token = await client({ kind: 'client' }, mine);
  return { token, warnings: mine.warnings, params: server.asked[0]?.params, headers: server.asked[0]?.headers };
}

describe('a token of the client’s own', () => {
  // Unlike HTCondor's: which calls it `scopes`, a parameter that no issuer knows, and fails where it adds the user.
  test('is asked for with scopes that name the user', async () => {
    const { params, headers } = await asked({});
    expect(params).toEqual({
      grant_type: 'client_credentials',
      scope: 'storage.read:/user/alice storage.create:/user/alice condor.user:alice',
    });
    expect(headers?.authorization).toMatch(/^Basic /);
  });

  test('has its secret where the configuration wants it', async () => {
    expect((await asked({ clientAuth: 'post' })).params).toMatchObject({ client_id: 'robot', client_secret: secret });
  });

  test('is for the configured audiences, separated by one blank', async () => {
    expect((await asked({ audience: ' https://a.example   https://b.example ' })).params?.audience).toBe(
      'https://a.example https://b.example',
    );
    expect((await asked({})).params).not.toHaveProperty('audience');
  });

  test('names groups by the map file, and WLCG’s own scope', async () => {
    const mapFile = file('* bob atlas\n* alice cms,uscms,\n* alice later\n');
    const { params } = await asked({
      templates: { ...templates, group: 'storage.read:/group/{groupname}', mapFile, version: 'wlcg:1.0' },
    });
    expect(params?.scope).toBe(
      'storage.read:/user/alice storage.create:/user/alice storage.read:/group/cms storage.read:/group/uscms wlcg condor.user:alice',
    );
  });

  test('has no scopes of groups whose names could lead elsewhere', async () => {
    const mapFile = file('* alice ../bob,cms,a/b,%2e%2e\n');
    const { params, warnings } = await asked({
      templates: { user: 'r:/u/{username}', group: 'r:/g/{groupname}', mapFile },
    });
    expect(params?.scope).toBe('r:/u/alice r:/g/cms condor.user:alice');
    expect(warnings).toHaveLength(3);
  });

  test('names the user percent-encoded', async () => {
    const { params } = await asked({}, { id: { user: 'a+b', service: 'robot' } });
    expect(params?.scope).toContain('condor.user:a%2Bb');
  });

  test('without templates has the provider’s scopes', async () => {
    const { templates: _, ...rest } = robot({ scopes: ['compute.read'] });
    const server = await endpoint();
    const one = { ...rest, tokenUrl: server.tokenUrl };
    await client({ kind: 'client' }, errand({ provider: one }, issuerOf(one, secret)));
    expect(server.asked[0]?.params.scope).toBe('compute.read');
  });

  test('lives as the answer says, else as configured', async () => {
    expect((await asked({ life: seconds(5000) })).token).toMatchObject({ lifeFrom: 'expires_in' });
    const server = await endpoint({ body: { access_token: 'opaque', token_type: 'Bearer' } });
    const one = robot({ tokenUrl: server.tokenUrl, life: seconds(5000) });
    const token = await client({ kind: 'client' }, errand({ provider: one }, issuerOf(one, secret)));
    expect(token.expires - token.issued).toBe(5_000_000);
  });
});

describe('none is asked for', () => {
  const refused = async (more: Partial<Templates>, user = 'alice') => {
    const server = await endpoint();
    const one = robot({ tokenUrl: server.tokenUrl, templates: { ...templates, ...more } });
    const mine = errand({ provider: one, id: { user, service: 'robot' } }, issuerOf(one, secret));
    const why = await failure(client({ kind: 'client' }, mine), secret);
    expect(server.asked).toEqual([]);
    return why;
  };

  // Unlike HTCondor's: which hands the job an empty token then.
  test('by who is not in the group that it takes', async () => {
    const mapFile = file('* alice cms\n* bob atlas,\n');
    const no = { kind: 'refused', code: 'not_a_member', hint: expect.stringContaining(mapFile) };
    expect(await refused({ mapFile, requirement: 'atlas' })).toMatchObject(no);
    expect(await refused({ mapFile, requirement: 'cms' }, 'carol')).toMatchObject(no);
    expect(await refused({ mapFile, requirement: '' }, 'bob')).toMatchObject(no);
  });

  // Unlike HTCondor's: which goes on without the groups' scopes.
  test('where the groups cannot be known', async () => {
    expect(await refused({ group: 'r:/{groupname}' })).toMatchObject({
      kind: 'config',
      hint: 'set CLIENT_CREDMON_robot_AUTHZ_GROUP_MAPFILE',
    });
    expect(await refused({ requirement: 'cms' })).toMatchObject({ kind: 'config' });
    expect(await refused({ group: 'r:/{groupname}', mapFile: '/nowhere/map' })).toMatchObject({
      kind: 'config',
      what: '/nowhere/map cannot be read (ENOENT)',
    });
    expect(await refused({ requirement: 'cms', mapFile: '/' })).toMatchObject({ kind: 'config' });
  });

  test('for what is no scope, or a user whose name could lead elsewhere', async () => {
    expect(await refused({ user: 'read:/{user}' })).toMatchObject({ kind: 'config' });
    for (const user of ['..', 'a/../b', '%2e%2e']) expect(await refused({}, user)).toMatchObject({ kind: 'config' });
  });
});

describe('an issuer that says no', () => {
  test.each(['unauthorized_client', 'invalid_scope', 'invalid_grant', 'access_denied'])(
    '%s: no login helps',
    async (error) => {
      const server = await endpoint({ status: 400, body: { error, error_description: `no, ${secret}` } });
      const one = robot({ tokenUrl: server.tokenUrl });
      const why = await failure(client({ kind: 'client' }, errand({ provider: one }, issuerOf(one, secret))), secret);
      expect(why).toMatchObject({ kind: 'refused', code: error, hint: expect.stringContaining('client_credentials') });
    },
  );

  test.each([
    [401, { error: 'invalid_client' }, 'refused', 'robot_CLIENT_ID'],
    [503, {}, 'transient', 'again'],
    [429, {}, 'transient', 'again'],
  ])('%d %o is %s', async (status, body, kind, hint) => {
    const server = await endpoint({ status, body });
    const one = robot({ tokenUrl: server.tokenUrl });
    const why = await failure(client({ kind: 'client' }, errand({ provider: one }, issuerOf(one, secret))), secret);
    expect(why).toMatchObject({ kind, hint: expect.stringContaining(hint) });
  });
});

describe('kept by the daemon', () => {
  async function kept(more: Partial<Templates> = {}) {
    const issuer = await startIssuer({ clients: [robotClient], accessTokenTtl: 1200 });
    onTestFinished(() => issuer.stop());
    const user = 'storage.read:/user/{username}';
    const s = station({
      providers: [robot({ issuer: issuer.url, clientAuth: 'post', templates: { user, ...more } })],
      issuer: (one, clock) => counted(issuerOf(one, secret, clock), s.work),
    });
    return { s, issuer };
  }

  test('whatever the `.top` says, a token lies there; another before it ends', async () => {
    const { s, issuer } = await kept();
    store(s, 'robot', 'alice@foo');
    await s.keeper.sweep();
    await s.clock.pass(minutes(1));
    expect(s.log.with('warn')).toEqual([]);
    const first = s.use('robot');
    expect(first).toMatchObject({ token_type: 'bearer', expires_in: 1200 });
    const scope = JSON.parse(Buffer.from(first.access_token.split('.')[1] ?? '', 'base64url').toString()).scope;
    // It gives what it knows.
    expect(scope).toBe('storage.read:/user/alice');
    expect(found(s, 'robot.top')).toBe('alice@foo');
    expect(s.health('alice/robot')).toMatchObject({ state: 'fresh', grant: 'client' });
    await s.clock.pass(hours(1));
    expect(s.use('robot').access_token).not.toBe(first.access_token);
    expect(issuer.counts.clientCredentials).toBeGreaterThan(4);
  });

  test('what is amiss each time is said once, for each of whom it is so', async () => {
    const mapFile = file('* alice cms,a/b\n* bob a/b\n');
    const { s } = await kept({ mapFile, group: 'storage.read:/group/{groupname}' });
    for (const user of ['alice', 'bob']) store(s, 'robot', 'x', user);
    await s.keeper.sweep();
    await s.clock.pass(hours(3));
    expect(s.health('alice/robot')?.refreshes).toBeGreaterThan(3);
    expect(s.log.with('no scopes for the group').sort()).toEqual([
      'warn: alice/robot: no scopes for the group "a/b": no scope can hold its name',
      'warn: bob/robot: no scopes for the group "a/b": no scope can hold its name',
    ]);
  });

  test('who is not in the group has no token, not even an empty one; who joins gets one', async () => {
    const mapFile = file('* bob cms\n');
    const { s, issuer } = await kept({ mapFile, requirement: 'cms' });
    store(s, 'robot', 'alice@foo');
    await s.keeper.sweep();
    await s.clock.pass(minutes(1));
    expect([found(s, 'robot.use'), issuer.counts.clientCredentials]).toEqual([undefined, 0]);
    expect(s.health('alice/robot')).toMatchObject({ state: 'retrying', trouble: { kind: 'refused' } });
    writeFileSync(mapFile, '* alice cms\n');
    await s.clock.pass(minutes(15));
    expect(s.use('robot').access_token).toMatch(/^eyJ/);
  });
});
