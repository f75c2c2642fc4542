import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { ModuleRecord } from '../../src/broker/pam/records.js';
import { agrees, attempt, brokerAt, lacking, login, nobody, room, type Script, says, tcpClient } from './kit.js';

const verdict = (result: 'denied' | 'unavailable' | 'ignore', text?: string) =>
  ({ kind: 'verdict', result, ...(text !== undefined && { text }) }) as const;
const ok = { kind: 'verdict', result: 'ok', user: nobody } as const;
const what = (records: readonly ModuleRecord[]) =>
  records.map((record) => (record.kind === 'answer' ? 'answer' : `${record.kind} of ${record.user}`));

const broken: [string, Script][] = [
  ['hangs up', (line) => line.hangUp()],
  ['says what is malformed', says(Buffer.from('no!\n'))],
  ['means another user', says({ ...ok, user: 'root' })],
  ['wants to ask', says({ kind: 'ask', text: 'Password: ' })],
  ['wants to show', says({ kind: 'show', text: 'Look: ' })],
];

describe.skipIf(lacking)(`from phase to phase${lacking ? ` (skipped ${lacking})` : ''}`, () => {
  test('checklist 1: only open_session tells the broker to keep the credential, and all phases mean the same connection', async () => {
    const { own, client } = await tcpClient();
    const whole = [
      'authenticate',
      'setcred(PAM_ESTABLISH_CRED)',
      'acct_mgmt',
      'open_session',
      'setcred(PAM_REINITIALIZE_CRED)',
      'close_session',
    ];
    const before: Promise<void>[] = [];
    const script: Script = async (line, first) => {
      // No phase leaves a descriptor behind.
      await Promise.all(before);
      before.push(line.closed);
      agrees(line, first);
    };
    const { broker, ...ended } = await login(script, { client, rhost: '192.0.2.7', operations: whole });
    expect(ended).toMatchObject({ result: 'success', succeeded: whole.length, log: [] });
    expect(what(broker.records())).toEqual([`auth of ${nobody}`, `account of ${nobody}`, `commit of ${nobody}`]);
    const connections = broker.records().map((record) => record.kind !== 'answer' && record.connection);
    expect(connections[0]).toMatch(/^c:[0-9a-f]+$/);
    expect(new Set(connections).size).toBe(1);
    expect(broker.records()[2]).toEqual({
      kind: 'commit',
      user: nobody,
      connection: connections[0],
      service: 'sshd',
      rhost: '192.0.2.7',
      mode: 'login',
    });
    own.destroy();
  });

  test('another connection has another name; without one the process has one, the same in all phases', async () => {
    const operations = ['authenticate', 'acct_mgmt', 'open_session'];
    const names = async (more: object) => {
      const { broker } = await login(agrees, { operations, ...more });
      return new Set(broker.records().map((record) => record.kind !== 'answer' && record.connection));
    };
    const [a, b] = [await tcpClient(), await tcpClient()];
    const [first, second] = [await names({ client: a.client }), await names({ client: b.client })];
    expect([first.size, second.size, new Set([...first, ...second]).size]).toEqual([1, 1, 2]);
    const bare = await names({});
    expect([...bare]).toEqual([expect.stringMatching(/^p:\d+:\d+$/)]);
  });

  test.each(['PAM_ESTABLISH_CRED', 'PAM_REINITIALIZE_CRED', 'PAM_REFRESH_CRED'])(
    'setcred(%s) is success and asks nobody, in both modes',
    async (flag) => {
      for (const words of ['', 'mode=seed', 'no-such-option']) {
        const { broker, ...ended } = await login(agrees, { words, operations: [`setcred(${flag})`, 'close_session'] });
        expect(ended).toMatchObject({ result: 'success', succeeded: 2 });
        expect(broker.lines).toEqual([]);
      }
    },
  );

  describe('the account phase', () => {
    const operations = ['acct_mgmt'];

    test.each([
      ['ok', ok, 'success'],
      ['denied', verdict('denied'), 'perm_denied'],
      ['unavailable', verdict('unavailable'), 'authinfo_unavail'],
      ['ignore', verdict('ignore'), 'ignore'],
    ] as const)('checklist 17: %s is what PAM gets', async (_, said, result) => {
      const { broker, ...ended } = await login(says(said), { operations });
      expect(ended.result).toBe(result);
      expect(what(broker.records())).toEqual([`account of ${nobody}`]);
    });

    test('checklist 17: a denial after a good authentication is the end, and nothing is committed', async () => {
      const script: Script = (line, first) =>
        first.kind === 'account' ? line.say(verdict('denied', 'Not any more.')) : agrees(line, first);
      const { broker, ...ended } = await login(script, { operations: ['authenticate', 'acct_mgmt', 'open_session'] });
      expect(ended).toMatchObject({ result: 'perm_denied', succeeded: 1, errors: 'Not any more.\n' });
      expect(what(broker.records())).toEqual([`auth of ${nobody}`, `account of ${nobody}`]);
    });

    test.each(broken)('a broker that %s: fails closed', async (_, script) => {
      const ended = await login(script, { operations, typed: 'x\n' });
      expect(ended).toMatchObject({ result: 'authinfo_unavail', info: '' });
      expect(ended.broker.bytes()).toEqual(ended.broker.lines[0]?.bytes[0]);
    });

    test('no broker, a silent one, an unknown option: fails closed', async () => {
      expect(await attempt({ operations })).toMatchObject({ result: 'authinfo_unavail' });
      const silent = await login(() => {}, { operations, preload: { PRELOAD_HURRY: '200' } });
      expect(silent).toMatchObject({ result: 'authinfo_unavail' });
      expect(silent.log).toEqual([expect.stringContaining('no verdict within 10 s')]);
      expect(await login(agrees, { operations, words: 'debug' })).toMatchObject({ result: 'service_err' });
    });

    test.each([
      ['root', 'root'],
      ['a user who does not exist', 'no-such-user'],
    ])('%s is left to other modules, and nobody is asked', async (_, user) => {
      for (const words of ['', 'mode=seed', 'no-such-option']) {
        const { broker, ...ended } = await login(agrees, { user, words, operations });
        expect(ended).toMatchObject({ result: 'ignore', info: '', errors: '' });
        expect(broker.lines).toEqual([]);
      }
    });

    test('not to know whether a user exists is no reason to let anybody in', async () => {
      const eio = '5';
      const ended = await login(agrees, { operations, preload: { PRELOAD_PASSWD: eio } });
      expect(ended).toMatchObject({ result: 'authinfo_unavail' });
      expect(ended.broker.lines).toEqual([]);
    });

    test('seed mode has no say, and asks nobody', async () => {
      const { broker, ...ended } = await login(says(verdict('denied')), { operations, words: 'mode=seed' });
      expect(ended).toMatchObject({ result: 'ignore' });
      expect(broker.lines).toEqual([]);
    });
  });

  describe('the session', () => {
    const operations = ['open_session'];
    const modes = ['mode=login', 'mode=seed'];

    test.each<[string, Script]>([
      ['says ok', says(ok)],
      ['says denied', says(verdict('denied'))],
      ['says unavailable', says(verdict('unavailable'))],
      ['says ignore', says(verdict('ignore'))],
      ...broken,
    ])('opens, when the broker %s', async (_, script) => {
      for (const words of modes) {
        const { broker, ...ended } = await login(script, { words, operations, typed: 'x\n' });
        expect(ended).toMatchObject({ result: 'success', succeeded: 1, info: '', errors: '' });
        expect(what(broker.records())).toEqual([`commit of ${nobody}`]);
      }
    });

    test('opens without a broker, with an unknown option, and after 3 s with a silent broker', async () => {
      for (const mode of modes) {
        expect(await attempt({ words: mode, operations })).toMatchObject({ result: 'success', info: '', errors: '' });
        const { broker, ...odd } = await login(agrees, { words: `${mode} debug`, operations });
        expect(odd).toMatchObject({ result: 'success' });
        expect(broker.lines).toEqual([]);
        const silent = await login(() => {}, { words: mode, operations, preload: { PRELOAD_HURRY: '60' } });
        expect(silent).toMatchObject({ result: 'success', errors: '' });
        expect(silent.log).toEqual([expect.stringContaining('no verdict within 3 s')]);
      }
    });

    test('checklist 8: the person is told of each seeding, unless quiet; and always of a refusal', async () => {
      const stored = { ...ok, text: 'credmon: a credential for cilogon is stored' };
      expect(await login(says(stored), { operations })).toMatchObject({ info: `${stored.text}\n`, errors: '' });
      expect(await login(says(stored), { operations, words: 'quiet' })).toMatchObject({ info: '', errors: '' });
      const no = verdict('denied', 'It belongs to another identity.');
      expect(await login(says(no), { operations, words: 'quiet' })).toMatchObject({
        info: `${no.text}\n`,
        result: 'success',
      });
    });

    test('checklist 19: the record of the login is written at the commit, too', async () => {
      const { log } = await login(says({ ...ok, audit: 'credmon: result=accepted' }), { operations });
      expect(log).toEqual(['<85> pam_credmon(sshd:session): credmon: result=accepted']);
    });

    test('keeps the login hook quiet where a credential was just stored, and puts nothing else into the environment', async () => {
      const dir = room();
      const put = async (name: string, script: Script, ...operations: string[]) => {
        const file = join(dir, name);
        await login(script, { operations, preload: { PRELOAD_ENVIRON: file } });
        return existsSync(file) ? readFileSync(file, 'utf8') : '';
      };
      const stores: Script = (line, said) =>
        said.kind === 'commit'
          ? line.say({ kind: 'verdict', result: 'ok', user: said.user, text: 'stored' })
          : agrees(line, said);
      expect(await put('stored', stores, 'authenticate', 'acct_mgmt', 'open_session')).toBe('CREDMON_HOOK_DONE=1\n');
      expect(await put('kept', agrees, 'open_session')).toBe('');
      expect(await put('not', says(verdict('ignore')), 'open_session')).toBe('');
      expect(await put('denied', says(verdict('denied')), 'open_session')).toBe('');
      expect(await put('before', stores, 'authenticate', 'acct_mgmt')).toBe('');
    });

    test('closing it asks nobody', async () => {
      const broker = await brokerAt(join(room(), 'socket'), agrees);
      expect(await attempt({ socket: broker.socket, operations: ['close_session'] })).toMatchObject({
        result: 'success',
      });
      expect(broker.lines).toEqual([]);
    });
  });
});
