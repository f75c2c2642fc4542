import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { doorOn, type SettingOptions } from '../broker/pam/kit.js';
import { lacking, nobody, room, start, tcpClient } from './kit.js';

const phases = ['authenticate', 'setcred(PAM_ESTABLISH_CRED)', 'acct_mgmt', 'open_session', 'close_session'];
const key = 'publickey ssh-ed25519 AAAA\n';

/** The broker's real door and an issuer, at a place that the module takes, for one who exists on this machine. */
async function broker(options: SettingOptions = {}) {
  const socket = join(room(), 'pam', 'socket');
  const setting = await doorOn({
    ...options,
    pam: { socket, map: [{ claim: 'sub', match: 'alice', user: nobody }], ...options.pam },
  });
  const account = { name: nobody, uid: 4242, gid: 4242, shell: '/bin/bash' };
  setting.accounts.splice(0, setting.accounts.length, account);
  return setting;
}

describe.skipIf(lacking)(`the module and the broker${lacking ? ` (skipped ${lacking})` : ''}`, () => {
  test.each(['login', 'seed'])('in %s mode: from the dialogue to the credential', async (mode) => {
    const door = await broker();
    const { client } = await tcpClient();
    const operations = mode === 'login' ? phases : ['authenticate', 'open_session'];
    const tried = start({
      socket: door.socket,
      words: `mode=${mode}`,
      client,
      first: key,
      rhost: '192.0.2.7',
      operations,
      typed: { later: true },
    });
    expect(await tried.asked).toContain('192.0.2.7');
    await door.approve('alice');
    tried.child.stdin?.end('\n');
    const ended = await tried.ended;
    expect(ended).toMatchObject({ result: 'success', succeeded: operations.length });
    expect(ended.info).toBe('credmon: a credential for cilogon is stored; your jobs have fresh tokens\n');
    expect(ended.errors).toContain(door.codes[0]?.slice(0, 4));
    expect(ended.log).toEqual([
      expect.stringMatching(
        `^<85> pam_credmon\\(sshd:session\\): credmon: result=accepted user="${nobody}" uid="4242" sub="alice"`,
      ),
    ]);
    expect(door.grants()).toMatchObject([{ kind: 'grant', user: nobody, uid: 4242 }]);
    expect(door.door.now).toEqual({ places: 0, flows: 0, pending: 0 });
  });

  test('approved by another: denied, with the reason, and nothing is kept', async () => {
    const door = await broker();
    const tried = start({ socket: door.socket, first: key, operations: phases, typed: { later: true } });
    await tried.asked;
    await door.approve('bob');
    tried.child.stdin?.end('\n');
    const ended = await tried.ended;
    expect(ended).toMatchObject({ result: 'auth_err', succeeded: 0, info: '' });
    expect(ended.errors).toContain('You approved as bob');
    expect(ended.log).toEqual([expect.stringContaining('credmon: result=denied')]);
    expect(door.grants()).toEqual([]);
  });

  test('in seed mode, below the password modules: from the dialogue to the credential, for whoever has a prompt', async () => {
    const door = await broker();
    const { client } = await tcpClient();
    const tried = start({
      socket: door.socket,
      words: 'mode=seed',
      client,
      password: 'the password',
      permitted: true,
      operations: phases,
      typed: { later: true },
    });
    expect(await tried.asked).toContain('press Enter');
    await door.approve('alice');
    tried.child.stdin?.end('\n');
    expect(await tried.ended).toMatchObject({
      result: 'success',
      info: 'credmon: a credential for cilogon is stored; your jobs have fresh tokens\n',
    });
    expect(door.grants()).toMatchObject([{ user: nobody, uid: 4242 }]);
  });

  test('in seed mode, sshd’s password method: nobody sees the prompt, and nobody is held up', async () => {
    const door = await broker();
    const ended = await start({
      socket: door.socket,
      words: 'mode=seed',
      password: 'the password',
      permitted: true,
      typed: 'the password\n',
    }).ended;
    expect(ended).toMatchObject({ result: 'success', info: '', log: [] });
    await expect.poll(() => door.door.now.places, { interval: 5 }).toBe(0);
    expect(door.door.now.pending).toBe(0);
  });

  test('no key before: denied at once, and no code is asked for', async () => {
    const door = await broker();
    const ended = await start({ socket: door.socket, operations: phases }).ended;
    expect(ended).toMatchObject({ result: 'auth_err', succeeded: 0 });
    expect(door.codes).toEqual([]);
  });

  test('checklist 11: a client who leaves in the dialogue: the broker is done within 2 s, too', async () => {
    const door = await broker();
    const { own, client } = await tcpClient();
    const tried = start({ socket: door.socket, words: 'prompt=never', client, first: key, operations: phases });
    await expect.poll(() => door.codes.length, { interval: 5 }).toBe(1);
    const left = performance.now();
    own.destroy();
    expect(await tried.ended).toMatchObject({ result: 'auth_err', succeeded: 0 });
    await expect.poll(() => door.door.now.places, { interval: 5 }).toBe(0);
    expect(performance.now() - left).toBeLessThan(2000);
    await door.clock.pass(2000);
    expect(door.door.now).toEqual({ places: 0, flows: 0, pending: 0 });
    expect(door.grants()).toEqual([]);
  });

  test('a broker that is stopped in the dialogue says so', async () => {
    const door = await broker();
    const tried = start({ socket: door.socket, words: 'prompt=never', first: key, operations: phases });
    await expect.poll(() => door.codes.length, { interval: 5 }).toBe(1);
    await door.door.close();
    const ended = await tried.ended;
    expect(ended).toMatchObject({ result: 'authinfo_unavail', succeeded: 0 });
    expect(ended.errors).toContain('stopped or restarted');
  });
});
