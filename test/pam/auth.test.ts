import { closeSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { BrokerRecord, ModuleRecord } from '../../src/broker/pam/records.js';
import { make } from './build.js';
import {
  type Attempt,
  agrees,
  attempt,
  brokerAt,
  cleanup,
  lacking,
  login,
  nobody,
  room,
  type Script,
  says,
  start,
  tcpClient,
} from './kit.js';

const ok: BrokerRecord = { kind: 'verdict', result: 'ok', user: nobody };
const verdict = (result: 'denied' | 'unavailable' | 'ignore'): BrokerRecord => ({ kind: 'verdict', result });
const key = 'publickey ssh-ed25519 SHA256:AAAA\n';
const authOf = (records: readonly ModuleRecord[]) => {
  const [first] = records;
  if (first?.kind !== 'auth') throw new Error(`no auth first: ${first?.kind}`);
  return first;
};

describe.skipIf(lacking)(`the auth phase${lacking ? ` (skipped ${lacking})` : ''}`, () => {
  describe('in login mode', () => {
    test.each([
      ['ok', ok, 'success'],
      ['denied', verdict('denied'), 'auth_err'],
      ['unavailable', verdict('unavailable'), 'authinfo_unavail'],
      ['ignore', verdict('ignore'), 'ignore'],
    ] as const)('the verdict %s is what PAM gets', async (_, said, result) => {
      const { broker, ...ended } = await login(says(said));
      expect(ended).toMatchObject({ result, info: '', errors: '', log: [] });
      expect(broker.lines).toHaveLength(1);
      await broker.lines[0]?.closed;
    });

    test('checklist 7: the broker is told what sshd has verified before; and whom, from where and how long', async () => {
      const { broker } = await login(says(verdict('denied')), {
        rhost: '192.0.2.7',
        first: `password\n${key}`,
        service: 'sshd-test',
        words: 'timeout=90',
      });
      expect(broker.records()).toEqual([
        {
          kind: 'auth',
          user: nobody,
          connection: expect.stringMatching(/^p:\d+:\d+$/),
          service: 'sshd-test',
          rhost: '192.0.2.7',
          mode: 'login',
          first: `password\n${key}`,
          face: 'prompt',
          seconds: 90,
          locked: false,
        },
      ]);
    });

    test('a first factor that is too long for a record is cut between two characters', async () => {
      const { broker } = await login(says(verdict('denied')), { first: `${key}${'é'.repeat(4096)}` });
      const { first } = authOf(broker.records());
      expect(first).toMatch(/^publickey ssh-ed25519 SHA256:AAAA\né+$/);
      expect(Buffer.byteLength(first)).toBe(4096);
    });

    test('checklist 8: a person who is asked reads all of the dialogue in one prompt, and what follows', async () => {
      const text = 'ssh login of alice at ap1\n\n  https://issuer.example/device\n\n  ABCD-EFGH\n▄▀█\nPress Enter: ';
      const again = 'Not approved yet. Press Enter: ';
      const { errors, info, result, broker } = await login(
        says({ kind: 'ask', text }, { kind: 'ask', text: again }, { ...ok, text: 'A credential is stored.' }),
        { typed: '\nyes\n' },
      );
      expect({ errors, info, result }).toEqual({
        errors: text + again,
        info: 'A credential is stored.\n',
        result: 'success',
      });
      expect(broker.records().slice(1)).toEqual([
        { kind: 'answer', empty: true },
        { kind: 'answer', empty: false },
      ]);
    });

    test('a denial is said as an error, and the log has its line', async () => {
      const audit = 'credmon: result=denied user="nobody" rhost="192.0.2.7"';
      const ended = await login(says({ kind: 'verdict', result: 'denied', text: 'It was denied.', audit }));
      expect(ended).toMatchObject({ result: 'auth_err', info: '', errors: 'It was denied.\n' });
      // 85: LOG_AUTHPRIV and LOG_NOTICE.
      expect(ended.log).toEqual([`<85> pam_credmon(sshd:auth): ${audit}`]);
    });

    test('checklist 19: one LOG_AUTHPRIV record a login, as the broker has it, and nothing in it is a format', async () => {
      const audit = `credmon: result=accepted user="${nobody}" sub="%s%n%d" iss="https://issuer.example" ${'x'.repeat(900)}`;
      const { log } = await login(says({ ...ok, audit }));
      expect(log).toEqual([`<85> pam_credmon(sshd:auth): ${audit}`]);
    });

    test('quiet keeps back the text of success, and no other', async () => {
      const good = await login(says({ ...ok, text: 'Welcome.', audit: 'x' }), { words: 'quiet' });
      expect(good).toMatchObject({ result: 'success', info: '', errors: '' });
      expect(good.log).toHaveLength(1);
      const bad = await login(says({ kind: 'verdict', result: 'denied', text: 'No.' }), { words: 'quiet' });
      expect(bad).toMatchObject({ result: 'auth_err', errors: 'No.\n' });
    });

    test.each([
      ['root, who exists everywhere', 'root'],
      ['nobody at all', 'no-such-user'],
    ])('a broker that was broken into does not let in %s', async (_, user) => {
      const ended = await login(agrees, { user });
      expect(ended).toMatchObject({ result: 'authinfo_unavail', succeeded: 0 });
      expect(ended.log).toEqual([expect.stringContaining('the broker lets root in, or nobody')]);
    });

    test('PAM_SILENT keeps back every text of a verdict', async () => {
      const ended = await login(says({ kind: 'verdict', result: 'denied', text: 'No.' }), {
        operations: ['authenticate(PAM_SILENT)'],
      });
      expect(ended).toMatchObject({ result: 'auth_err', info: '', errors: '' });
    });
  });

  describe('in seed mode, which lets nobody in and locks nobody out', () => {
    const answers: [string, Script][] = [
      ['ok', says(ok)],
      ['denied', says(verdict('denied'))],
      ['unavailable', says(verdict('unavailable'))],
      ['ignore', says(verdict('ignore'))],
      ['another user', says({ kind: 'verdict', result: 'ok', user: 'root' })],
      ['what is malformed', says(Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'))],
      ['nothing, and hangs up', (line) => line.hangUp()],
      ['half a record, and hangs up', (line) => [line.say(Buffer.of(1, 66, 0)), line.hangUp()]],
    ];

    test.each(answers)('after a key, a broker that says %s: success', async (_, script) => {
      expect(await login(script, { words: 'mode=seed', first: key })).toMatchObject({
        result: 'success',
        succeeded: 1,
      });
    });

    test.each(answers)('without a key, a broker that says %s: ignored', async (_, script) => {
      expect(await login(script, { words: 'mode=seed', first: 'password\n' })).toMatchObject({ result: 'ignore' });
    });

    test('no broker at all: the same, and nothing is said to the person', async () => {
      expect(await attempt({ words: 'mode=seed', first: key })).toMatchObject({
        result: 'success',
        errors: '',
        info: '',
      });
      expect(await attempt({ words: 'mode=seed' })).toMatchObject({ result: 'ignore', errors: '', info: '' });
    });

    test('a broker that never says a word is given up before LoginGraceTime, whatever timeout= says', async () => {
      const what = { words: 'mode=seed timeout=3600', preload: { PRELOAD_HURRY: '300' } };
      const ended = await login(() => {}, { ...what, first: key });
      expect(ended).toMatchObject({ result: 'success' });
      expect(ended.log).toEqual([expect.stringContaining('no verdict within 30 s')]);
      expect(await login(() => {}, what)).toMatchObject({ result: 'ignore' });
    });

    test('the broker is told the mode, and the dialogue is led as in the other', async () => {
      const { broker, ...ended } = await login(says({ kind: 'ask', text: 'Enter: ' }, { ...ok, text: 'Stored.' }), {
        words: 'mode=seed',
        first: key,
        typed: '\n',
      });
      expect(authOf(broker.records())).toMatchObject({ mode: 'seed', first: key });
      expect(ended).toMatchObject({ result: 'success', errors: 'Enter: ', info: 'Stored.\n' });
    });

    test('below the password modules the password is the first factor; with a key, the key is', async () => {
      const told = async (what: Attempt) =>
        authOf((await login(says(verdict('ignore')), { password: 'the password', ...what })).broker.records()).first;
      expect(await told({ words: 'mode=seed' })).toBe('password');
      expect(await told({ words: 'mode=seed', first: key })).toBe(key);
      expect(await told({ words: 'mode=seed', password: '' })).toBe('');
      expect(await told({ words: 'mode=login' })).toBe('');
      // It lets nobody in, all the same.
      expect(await login(says(ok), { words: 'mode=seed', password: 'the password' })).toMatchObject({
        result: 'ignore',
      });
    });

    test('a client that leaves is not let in, though it had a key', async () => {
      const { own, client } = await tcpClient();
      const ended = await login(() => own.destroy(), { words: 'mode=seed', first: key, client });
      expect(ended).toMatchObject({ result: 'ignore' });
    });
  });

  describe('options', () => {
    test.each(['debug', 'timeout=5', 'mode=other', 'prompt=sometimes', 'use_first_pass'])(
      '%s: login mode fails closed, without asking anybody',
      async (word) => {
        const { broker, ...ended } = await login(agrees, { words: word, first: key });
        expect(ended).toMatchObject({ result: 'service_err' });
        expect(ended.log).toEqual([expect.stringMatching(`^<83> .*no such option.*: ${word}$`)]);
        expect(broker.lines).toEqual([]);
      },
    );

    test('an unknown one in seed mode: nobody is asked, let in or locked out', async () => {
      for (const [first, result] of [
        [key, 'success'],
        ['', 'ignore'],
      ] as const) {
        const { broker, ...ended } = await login(agrees, { words: 'mode=seed debug', first });
        expect(ended).toMatchObject({ result });
        expect(ended.log).toEqual([expect.stringContaining('no such option')]);
        expect(broker.lines).toEqual([]);
      }
    });

    test('account= that does not exist means root alone', async () => {
      const broker = await brokerAt(join(room(), 'socket'), agrees);
      const { result } = await attempt({ socket: broker.socket, account: 'no-such-account' });
      expect(result).toBe(process.getuid?.() === 0 ? 'success' : 'authinfo_unavail');
    });
  });

  describe('how text is shown', () => {
    const show: BrokerRecord = { kind: 'show', text: 'https://issuer.example/device\nABCD-EFGH' };

    test('prompt=never: at once, and nothing is asked', async () => {
      const { broker, ...ended } = await login(says(show, show, ok), { words: 'prompt=never' });
      expect(authOf(broker.records()).face).toBe('live');
      expect(ended).toMatchObject({ result: 'success', errors: '', info: `${show.text}\n${show.text}\n` });
    });

    test('prompt=never: a broker that asks all the same is answered', async () => {
      const { broker, result } = await login(says({ kind: 'ask', text: 'Enter: ' }, ok), {
        words: 'prompt=never',
        typed: '\n',
      });
      expect(result).toBe('success');
      expect(broker.records()[1]).toEqual({ kind: 'answer', empty: true });
    });

    test('prompt=always: text that would only be seen after the login is out of turn', async () => {
      const { broker, ...ended } = await login(says(show, ok), { words: 'prompt=always' });
      expect(authOf(broker.records()).face).toBe('prompt');
      expect(ended).toMatchObject({ result: 'authinfo_unavail', info: '' });
      expect(ended.log).toEqual([expect.stringContaining('out of turn')]);
    });

    test('prompt=auto: what the file says that was written at install; without it, a prompt', async () => {
      const file = join(room(), 'pam-prompt');
      const dir = make(['all'], [`CPPFLAGS=-DPROMPT_FILE='"${file}"'`]);
      cleanup(() => rmSync(dir, { recursive: true, force: true }));
      const module = join(dir, 'pam_credmon.so');
      const face = async (words: string) => authOf((await login(says(ok), { words, module })).broker.records()).face;
      expect(await face('prompt=auto')).toBe('prompt');
      for (const [text, expected] of [
        ['never\n', 'live'],
        ['always\n', 'prompt'],
        ['what is this\n', 'prompt'],
        ['', 'prompt'],
      ] as const) {
        writeFileSync(file, text);
        expect(await face('')).toBe(expected);
      }
      writeFileSync(file, 'never\n');
      expect(await face('prompt=always')).toBe('prompt');
      writeFileSync(file, 'always\n');
      expect(await face('prompt=never')).toBe('live');
    });
  });

  describe('accounts', () => {
    const day = Math.floor(Date.now() / 86_400_000);
    test.each([
      ['one with a password', `${nobody}:$6$salt$hash:1:0:99999:7:::`, false],
      ['one without a password', `${nobody}:!:1:0:99999:7:::`, false],
      ['one with a star', `${nobody}:*:1:0:99999:7:::`, false],
      ['none in the shadow file', '', false],
      ['one that expires tomorrow', `${nobody}:*:1:0:99999:7::${day + 1}:`, false],
      ['one locked by passwd -l', `${nobody}:!$6$salt$hash:1:0:99999:7:::`, true],
      ['one locked by passwd -l of Red Hat', `${nobody}:!!$6$salt$hash:1:0:99999:7:::`, true],
      ['one that expires today', `${nobody}:*:1:0:99999:7::${day}:`, true],
      ['one that expired long ago', `${nobody}:$6$salt$hash:1:0:99999:7::1:`, true],
    ])('checklist 5: of %s, the broker is told whether it is locked or expired', async (_, line, locked) => {
      const { broker } = await login(says(verdict('denied')), { preload: { PRELOAD_SHADOW: line } });
      expect(authOf(broker.records()).locked).toBe(locked);
    });

    test('a user who does not exist is asked for like any other', async () => {
      const { broker, result } = await login(says(verdict('denied')), { user: 'no-such-user' });
      expect(result).toBe('auth_err');
      expect(authOf(broker.records())).toMatchObject({ user: 'no-such-user', locked: false });
    });

    test.each([
      ['in UTF-8', 'jürgen', true],
      ['with an @', 'alice@example.org', true],
      ['with a newline', 'alice\nroot', false],
      ['with an escape', 'alice\x1b[2J', false],
      ['longer than 255 bytes', 'a'.repeat(256), false],
    ])('a name %s is sent whole or not at all', async (_, user, sent) => {
      const { broker, result } = await login(says(verdict('denied')), { user });
      expect(result).toBe(sent ? 'auth_err' : 'authinfo_unavail');
      expect(broker.records().map((record) => record.kind !== 'answer' && record.user)).toEqual(sent ? [user] : []);
    });
  });

  describe('what was typed', () => {
    test.each([
      ['nothing', '\n', true],
      ['nothing at all', '', true],
      ['the password that is known already, as sshd does for its password method', 'the password\n', true],
      ['another word', 'yes\n', false],
      ['a blank', ' \n', false],
    ])('%s: the broker hears whether a person has typed', async (_, typed, empty) => {
      const { broker, result } = await login(says({ kind: 'ask', text: 'Enter: ' }, ok), {
        typed,
        password: 'the password',
      });
      expect(result).toBe('success');
      expect(broker.records()[1]).toEqual({ kind: 'answer', empty });
    });

    // Long: the allocator writes over the beginning of what is freed.
    const [typed, secret] = [`${'-'.repeat(64)}my-real-password-5b1e`, 'my-real-password-5b1e'];

    test('checklist 14: never leaves the module: not to the broker, not to a log, and it is wiped before the broker is told', async () => {
      let memory: Buffer = Buffer.alloc(0);
      let pid: number | undefined;
      const broker = await brokerAt(join(room(), 'socket'), async (line) => {
        line.say({ kind: 'ask', text: 'Press Enter: ' });
        await line.next();
        memory = readMemory(pid ?? 0);
        line.say({ kind: 'verdict', result: 'denied', text: 'No.', audit: 'credmon: result=denied' });
      });
      const tried = start({ socket: broker.socket, typed: `${typed}\n` });
      pid = tried.child.pid;
      const ended = await tried.ended;
      expect(ended).toMatchObject({ result: 'auth_err', errors: 'Press Enter: No.\n' });
      expect(broker.records()[1]).toEqual({ kind: 'answer', empty: false });
      expect(broker.bytes().includes(secret)).toBe(false);
      expect(JSON.stringify(ended)).not.toContain(secret);
      expect(memory.includes(broker.socket)).toBe(true);
      expect(memory.includes(secret)).toBe(false);
    });
  });
});

/** All that a process of ours could write to, but for what sanitizers reserve. */
function readMemory(pid: number): Buffer {
  const maps = readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n');
  const fd = openSync(`/proc/${pid}/mem`, 'r');
  const parts: Buffer[] = [];
  for (const line of maps) {
    const found = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line);
    if (!found) continue;
    const [from, to] = [BigInt(`0x${found[1]}`), BigInt(`0x${found[2]}`)];
    if (to - from > 2n ** 26n) continue;
    const part = Buffer.alloc(Number(to - from));
    readSync(fd, part, 0, part.length, from);
    parts.push(part);
  }
  closeSync(fd);
  return Buffer.concat(parts);
}
