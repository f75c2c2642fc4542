import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { encode } from '../../src/broker/pam/records.js';
import {
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
  weAreRoot,
} from './kit.js';

const trouble = 'The login service of this machine does not answer. Tell its administrator.\n';
const ok = encode({ kind: 'verdict', result: 'ok', user: nobody });
/** A record of the broker with this text, whatever it is. */
const withText = (type: number, text: Uint8Array, after: Uint8Array = Buffer.alloc(0)): Buffer => {
  const length = 3 + text.length + after.length;
  const head = Buffer.of(1, type, length >> 8, length & 0xff, 32, text.length >> 8, text.length & 0xff);
  return Buffer.concat([head, text, after]);
};
const [show, ask, verdict] = [64, 65, 66];
const denied = Buffer.from([33, 0, 6, ...Buffer.from('denied')]);

describe.skipIf(lacking)(`a broker that is wrong${lacking ? ` (skipped ${lacking})` : ''}`, () => {
  describe('in what it says', () => {
    const wrong: [string, Uint8Array, string][] = [
      ['JSON', Buffer.from('{"v":1,"kind":"ok"}\n'), 'another version'],
      ['another version', Buffer.concat([Buffer.of(2), ok.subarray(1)]), 'another version'],
      ['version 0', Buffer.concat([Buffer.of(0), ok.subarray(1)]), 'another version'],
      ['a type of no one', Buffer.concat([Buffer.of(1, 67), ok.subarray(2)]), 'no such type'],
      ['a record of the module', encode({ kind: 'answer', empty: true }), 'no such type'],
      ['a record of 16385 bytes', Buffer.of(1, verdict, 0x40, 0x01), 'too long'],
      ['a record of 65535 bytes', Buffer.concat([Buffer.of(1, show, 255, 255), Buffer.alloc(65535, 'x')]), 'too long'],
      ['an empty verdict', Buffer.of(1, verdict, 0, 0), 'missing'],
      ['ok that names nobody', Buffer.from([1, verdict, 0, 5, 33, 0, 2, ...Buffer.from('ok')]), 'named by ok'],
      ['ok with a byte too many inside', Buffer.from([1, verdict, 0, 6, 33, 0, 3, ...Buffer.from('ok\0')]), 'value'],
      ['a field past the end', Buffer.from([1, verdict, 0, 5, 33, 0, 9, ...Buffer.from('ok')]), 'cut short'],
      ['a text of 8193 bytes', withText(show, Buffer.alloc(8193, 'x')), 'value'],
    ];
    test.each(wrong)('%s: refused', async (_, bytes, why) => {
      const ended = await login(says(bytes));
      expect(ended).toMatchObject({ result: 'authinfo_unavail', info: '', errors: trouble });
      expect(ended.log).toEqual([expect.stringMatching(`^<83> pam_credmon\\(sshd:auth\\): .*${why}`)]);
      await ended.broker.lines[0]?.closed;
    });

    test.each(wrong)('%s after a good beginning: refused', async (_, bytes) => {
      const ended = await login(says({ kind: 'ask', text: 'Enter: ' }, bytes), { typed: '\n' });
      expect(ended).toMatchObject({ result: 'authinfo_unavail', errors: `Enter: ${trouble}` });
    });

    test.each([
      ['another', 'root'],
      ['one who is like ours but for a letter', `${nobody}2`],
      ['the beginning of ours', nobody.slice(0, -1)],
      ['ours with a space', `${nobody} `],
      ['ours in capitals', nobody.toUpperCase()],
    ])('checklist 2: ok that names %s lets nobody in, and PAM_USER stays', async (_, user) => {
      const ended = await login(says({ kind: 'verdict', result: 'ok', user, text: `Welcome, ${user}.`, audit: 'x' }));
      expect(ended).toMatchObject({ result: 'authinfo_unavail', info: '', errors: trouble });
      expect(ended.log).toEqual([expect.stringContaining('the broker means another user')]);
    });

    test('the first verdict is the last word: what comes after it is not read', async () => {
      const no = encode({ kind: 'verdict', result: 'denied' });
      expect(await login(says(Buffer.concat([no, ok])))).toMatchObject({ result: 'auth_err' });
      expect(await login(says(Buffer.concat([ok, Buffer.from('garbage')])))).toMatchObject({ result: 'success' });
    });

    test.each<[string, Uint8Array]>([
      ['an escape sequence', Buffer.from('a\x1b[2Jb')],
      ['a carriage return', Buffer.from('Approved.\rab')],
      ['a bell', Buffer.from('a\x07b')],
      ['a backspace', Buffer.from('a\bb')],
      ['DEL', Buffer.of(0x61, 0x7f, 0x62)],
      ['NUL', Buffer.of(0x61, 0, 0x62)],
      ['CSI of C1', Buffer.from('a\u009b2Jb')],
      ['CSI of C1, bare', Buffer.of(0x61, 0x9b, 0x32, 0x4a, 0x62)],
      ['Latin-1', Buffer.of(0x61, 0xfc, 0x62)],
      ['an overlong escape', Buffer.of(0x61, 0xc0, 0x9b, 0x62)],
      ['a surrogate', Buffer.of(0x61, 0xed, 0xa0, 0x80, 0x62)],
      ['UTF-8 cut in the middle', Buffer.of(0x61, 0x62, 0xe2, 0x82)],
    ])('checklist 13: a text with %s never reaches the person, in no record', async (_, text) => {
      for (const bytes of [withText(show, text), withText(ask, text), withText(verdict, text, denied)]) {
        const ended = await login(says(bytes), { words: 'prompt=never', typed: '\n' });
        expect(ended).toMatchObject({ result: 'authinfo_unavail', info: '', errors: trouble });
        expect(ended.broker.records()).toHaveLength(1);
        expect(ended.log.join()).not.toMatch(/[^ -~]/);
      }
    });
  });

  describe('in when it says it', () => {
    const halves: [string, Uint8Array][] = [
      ['nothing', Buffer.alloc(0)],
      ['a byte', ok.subarray(0, 1)],
      ['a header', ok.subarray(0, 4)],
      ['all but a byte', ok.subarray(0, -1)],
    ];
    test.each(halves)('hung up after %s: refused at once', async (_, bytes) => {
      const ended = await login((line) => [line.say(bytes), line.hangUp()]);
      expect(ended).toMatchObject({ result: 'authinfo_unavail', errors: trouble });
      expect(ended.log).toEqual([expect.stringContaining('the broker has hung up')]);
    });

    test.each(halves)('silence after %s: refused when the time is over', async (_, bytes) => {
      const ended = await login(says(bytes), { words: 'timeout=10', preload: { PRELOAD_HURRY: '200' } });
      expect(ended).toMatchObject({ result: 'auth_err', errors: 'The time for this login is over. Log in again.\n' });
      expect(ended.log).toEqual([expect.stringContaining('no verdict within 10 s')]);
      await ended.broker.lines[0]?.closed;
    });

    test('a dialogue that began may last as long as timeout= says, and no longer', async () => {
      const shown = { kind: 'show', text: 'https://issuer.example' } as const;
      const ended = await login(says(shown), {
        words: 'timeout=45 prompt=never',
        preload: { PRELOAD_HURRY: '50' },
      });
      expect(ended).toMatchObject({ result: 'auth_err', info: `${shown.text}\n` });
      expect(ended.log).toEqual([expect.stringContaining('no verdict within 45 s')]);
      // Longer than it waits for the first word.
      expect(ended.ms).toBeGreaterThan(30_000 / 50);
    });

    test('hung up in the middle of the dialogue: refused', async () => {
      const script: Script = async (line) => {
        line.say({ kind: 'ask', text: 'Enter: ' });
        await line.next();
        line.hangUp();
      };
      expect(await login(script, { typed: '\n' })).toMatchObject({
        result: 'authinfo_unavail',
        errors: `Enter: ${trouble}`,
      });
      const early: Script = (line) => [line.say({ kind: 'ask', text: 'Enter: ' }), line.hangUp()];
      expect(await login(early, { typed: '\n' })).toMatchObject({ result: 'authinfo_unavail' });
    });

    test('a verdict that came while the person sat before the prompt is heard, though the broker has left', async () => {
      const said = { kind: 'verdict', result: 'denied', text: 'The code has expired.' } as const;
      let left: Promise<void> | undefined;
      const broker = await brokerAt(join(room(), 'socket'), (line) => {
        line.say({ kind: 'ask', text: 'Enter: ' });
        line.say(said);
        line.hangUp(true);
        left = line.closed;
      });
      const tried = start({ socket: broker.socket, typed: { later: true } });
      await tried.asked;
      await left;
      tried.child.stdin?.end('\n');
      expect(await tried.ended).toMatchObject({ result: 'auth_err', errors: `Enter: ${said.text}\n` });
    });

    test('a byte at a time is as good as all at once', async () => {
      const script: Script = async (line) => {
        for (const byte of ok) {
          line.say(Buffer.of(byte));
          await new Promise(setImmediate);
        }
      };
      expect(await login(script)).toMatchObject({ result: 'success' });
    });

    test('checklist 11: the client leaves while all wait for an approval: done within 2 s, and the broker sees it', async () => {
      for (const words of ['prompt=always', 'prompt=never']) {
        const { own, client } = await tcpClient();
        let left = 0;
        const ended = await login(
          async (line) => {
            if (words === 'prompt=never') line.say({ kind: 'show', text: 'https://issuer.example' });
            left = performance.now();
            own.destroy();
            await line.closed;
            left = performance.now() - left;
          },
          { client, words, operations: ['authenticate', 'acct_mgmt', 'open_session'] },
        );
        expect(ended).toMatchObject({ result: 'auth_err', succeeded: 0, errors: '' });
        expect(ended.log).toEqual([expect.stringContaining('the client has left')]);
        await ended.broker.lines[0]?.closed;
        expect(left).toBeLessThan(2000);
        expect(ended.broker.lines).toHaveLength(1);
      }
    });

    test('checklist 11: an approval of a client who has left is none', async () => {
      const { own, client } = await tcpClient();
      const ended = await login(
        async (line) => {
          own.resetAndDestroy();
          await once(own, 'close');
          line.say(ok);
        },
        { client },
      );
      expect(ended).toMatchObject({ result: 'auth_err', succeeded: 0 });
    });

    test('a client who stays is not thought to have left, whatever it sends', async () => {
      const { own, client } = await tcpClient();
      const ended = await login(
        async (line) => {
          own.write('SSH-2.0-typing ahead\r\n');
          line.say({ kind: 'ask', text: 'Enter: ' });
          await line.next();
          line.say(ok);
        },
        { client, typed: '\n' },
      );
      expect(ended.result).toBe('success');
    });
  });

  describe('in where it is', () => {
    const refused = async (socket: string, why: string, more = {}) => {
      const ended = await attempt({ socket, ...more });
      expect(ended).toMatchObject({ result: 'authinfo_unavail', errors: trouble });
      expect(ended.log).toEqual([expect.stringMatching(`^<83> .*${why}`)]);
    };

    test('no socket, a socket that nobody listens on, a file, a folder', async () => {
      const dir = room();
      const [socket, left] = [join(dir, 'socket'), join(dir, 'left')];
      await refused(socket, 'is the broker running');
      await brokerAt(socket, agrees);
      expect(await attempt({ socket })).toMatchObject({ result: 'success' });
      // Node unlinks the name it knows, so under another the socket stays behind.
      const other = await brokerAt(join(dir, 'gone'), agrees);
      renameSync(join(dir, 'gone'), left);
      await new Promise((resolve) => other.server.close(resolve));
      await refused(left, 'does not accept connections');
      writeFileSync(join(dir, 'file'), '');
      await refused(join(dir, 'file'), 'no socket');
      await refused(dir, 'no socket');
    });

    test.each([
      ['everybody', 0o777],
      ['everybody, sticky', 0o1777],
      ['a group', 0o775],
      ['others but not the group', 0o702],
    ])('a folder that %s can write to is no place for a broker, nor is any above it', async (_, mode) => {
      const dir = room();
      const inner = join(dir, 'a', 'b');
      mkdirSync(inner, { recursive: true, mode: 0o755 });
      await brokerAt(join(inner, 'socket'), agrees);
      for (const folder of [inner, join(dir, 'a'), dir]) {
        chmodSync(folder, mode);
        await refused(join(inner, 'socket'), 'can be written by others');
        chmodSync(folder, 0o755);
      }
      expect(await attempt({ socket: join(inner, 'socket') })).toMatchObject({ result: 'success' });
    });

    test('a symbolic link is not followed, neither to the socket nor to its folders', async () => {
      const dir = room();
      mkdirSync(join(dir, 'real', 'inner'), { recursive: true, mode: 0o755 });
      await brokerAt(join(dir, 'real', 'inner', 'socket'), agrees);
      symlinkSync('real', join(dir, 'link'));
      symlinkSync('inner', join(dir, 'real', 'link'));
      symlinkSync('socket', join(dir, 'real', 'inner', 'link'));
      await refused(join(dir, 'link', 'inner', 'socket'), 'symbolic link');
      await refused(join(dir, 'real', 'link', 'socket'), 'symbolic link');
      await refused(join(dir, 'real', 'inner', 'link'), 'no socket');
    });

    test.skipIf(!weAreRoot)('(as root) a socket or a folder of a stranger', async () => {
      const dir = room();
      const socket = join(dir, 'socket');
      await brokerAt(socket, agrees);
      chownSync(socket, 12345, 0);
      await refused(socket, 'belongs to another account');
      chownSync(socket, 0, 0);
      chownSync(dir, 12345, 0);
      await refused(socket, 'belongs to another account');
    });

    test.skipIf(!weAreRoot)('(as root) an impostor who listens on the right socket', async () => {
      const dir = room();
      const socket = join(dir, 'socket');
      chmodSync(dir, 0o777);
      process.seteuid?.(65534);
      const broker = await brokerAt(socket, agrees).finally(() => process.seteuid?.(0));
      chmodSync(dir, 0o755);
      chownSync(socket, 0, 0);
      await refused(socket, 'neither root nor the broker');
      expect(broker.bytes()).toHaveLength(0);
      // Who is named by account= may be it, and root always.
      expect(await attempt({ socket, account: nobody })).toMatchObject({ result: 'success' });
      const roots = await brokerAt(join(dir, 'roots'), agrees);
      expect(await attempt({ socket: roots.socket, account: nobody })).toMatchObject({ result: 'success' });
    });

    test('a broker that is stopped: refused when the time is over; when it is also full, after 2 s', async () => {
      const socket = join(room(), 'socket');
      const listen = `require('net').createServer().listen({ path: ${JSON.stringify(socket)}, backlog: 1 }, () => console.log('up'))`;
      const child = spawn(process.execPath, ['-e', listen], { stdio: ['ignore', 'pipe', 'inherit'] });
      cleanup(() => child.kill('SIGKILL'));
      await once(child.stdout, 'data');
      child.kill('SIGSTOP');
      const hurried = { words: 'timeout=10', preload: { PRELOAD_HURRY: '50' } };
      expect(await attempt({ socket, ...hurried })).toMatchObject({ result: 'auth_err' });
      for (let i = 0; i < 4; i++) {
        const filler = connect(socket).on('error', () => {});
        cleanup(() => filler.destroy());
        await new Promise(setImmediate);
      }
      await refused(socket, 'too busy', hurried);
    });
  });
});
