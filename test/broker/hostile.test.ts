import { chmodSync, existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { Failed } from '../../src/core/failure.js';
import type { Clock } from '../../src/core/ports.js';
import { epochMs } from '../../src/core/time.js';
import { asNobody, brokerOn, handClock, Raw, room, type TestBroker } from './kit.js';

asNobody();

let broker: TestBroker;
let clock: ReturnType<typeof handClock>;
beforeEach(async () => {
  clock = handClock();
  broker = await brokerOn({ clock });
});

/** It still serves others, and nothing of the attack is left. */
const unharmed = async () => {
  expect(await new Raw(broker.socket).prove()).toMatchObject({ kind: 'welcome' });
  expect(readdirSync(broker.spoolDir)).toEqual([]);
};

describe('who says', () => {
  test.each<[string, string | Uint8Array | object, string]>([
    ['another version', '{"v":9,"kind":"proved"}\n', 'version 9'],
    ['no version', '{"kind":"proved"}\n', 'no known version'],
    ['a giant line', 'x'.repeat(1_000_000), 'a line of more than 16384 bytes'],
    ['a giant record', `{"v":1,"kind":"proved","x":"${'x'.repeat(16_384)}"}\n`, 'a line of more than 16384 bytes'],
    ['binary garbage', Uint8Array.from({ length: 4096 }, (_, i) => (i * 37) & 0xff), 'not JSON'],
    ['NUL', Uint8Array.of(0, 10), 'not JSON'],
    ['bad UTF-8', Uint8Array.of(0x22, 0xff, 0x22, 10), 'not JSON in UTF-8'],
    ['HTTP', 'GET / HTTP/1.1\r\n\r\n', 'not JSON'],
    ['a login before the proof', { kind: 'login', provider: 'cilogon' }, '"login" out of turn'],
    ['"again" before the proof', { kind: 'again', yes: true }, '"again" out of turn'],
    ['who it is', { kind: 'proved', user: 'root' }, 'a fault at user'],
  ])('%s instead of the proof', async (_, said, what) => {
    const raw = new Raw(broker.socket);
    await raw.challenge();
    raw.send(said as string);
    const failure = await raw.refusal();
    expect(failure.kind).toBe('protocol');
    expect(failure.what).toContain(what);
    expect(failure.what.length).toBeLessThan(200);
    await unharmed();
  });

  test.each<[string, object, string]>([
    ['as root', { kind: 'login', provider: 'cilogon', user: 'root' }, 'a fault at user'],
    ['with a uid', { kind: 'logout', provider: 'cilogon', uid: 0 }, 'a fault at uid'],
    [
      'with __proto__',
      JSON.parse('{"kind":"login","provider":"cilogon","__proto__":{"user":"root"}}'),
      'a fault at __proto__',
    ],
    ['without a provider', { kind: 'login' }, 'a fault at provider'],
    ['with a number for a provider', { kind: 'login', provider: 1 }, 'a fault at provider'],
    ['by a path', { kind: 'login', provider: '../../../etc/shadow' }, 'knows no provider'],
    [
      'by a handle that is a path',
      { kind: 'login', provider: 'cilogon', handle: '../../root/x' },
      'cannot be a handle',
    ],
    ['by a logout with dots', { kind: 'logout', provider: 'cilogon', handle: '..' }, 'cannot be a handle'],
    ['with a NUL', { kind: 'logout', provider: 'cilogon', handle: 'a\u0000b' }, 'cannot be a handle'],
    ['with a scope that is two', { kind: 'login', provider: 'cilogon', scopes: ['a b'] }, 'is no scope'],
    ['with a second proof', { kind: 'proved' }, '"proved" out of turn'],
    [
      'with more of another',
      { kind: 'login', provider: 'cilogon', also: [{ user: 'root' }] },
      'a fault at also.0.user',
    ],
    [
      'with more by a path',
      { kind: 'login', provider: 'cilogon', also: [{ handle: '../../root/cilogon' }] },
      'cannot be a handle',
    ],
    [
      'with more than there may be',
      { kind: 'login', provider: 'cilogon', also: Array.from({ length: 17 }, (_, i) => ({ handle: `h${i}` })) },
      'a fault at also',
    ],
    [
      'with the same twice',
      { kind: 'login', provider: 'cilogon', handle: 'x', also: [{ handle: 'x', scopes: ['admin'] }] },
      'is asked for twice',
    ],
    [
      'with a scope among more that is two',
      { kind: 'login', provider: 'cilogon', also: [{ handle: 'x', scopes: ['read:/ admin'] }] },
      'is no scope',
    ],
    [
      'with a scope among more that ends the line',
      { kind: 'login', provider: 'cilogon', also: [{ handle: 'x', scopes: ['a\n{"v":1}'] }] },
      'is no scope',
    ],
    [
      'with more scopes than a line holds',
      {
        kind: 'login',
        provider: 'cilogon',
        also: Array.from({ length: 16 }, (_, i) => ({
          handle: `h${i}`,
          scopes: [`${i}`.padEnd(256, 'x'), 'y'.repeat(256)],
        })),
      },
      'the scopes of all together',
    ],
    [
      'with more audiences than a line holds',
      {
        kind: 'login',
        provider: 'cilogon',
        also: Array.from({ length: 16 }, (_, i) => ({ handle: `h${i}`, audience: '"'.repeat(256) })),
      },
      'the handles and audiences are too long',
    ],
  ])('what it wants %s', async (_, said, what) => {
    const raw = new Raw(broker.socket);
    await raw.prove();
    raw.send(said as never);
    expect((await raw.refusal()).what).toContain(what);
    expect(broker.issuer.asked).toEqual([]);
    await unharmed();
  });

  test('two requests at once', async () => {
    const raw = new Raw(broker.socket);
    await raw.prove();
    const login = '{"v":1,"kind":"login","provider":"cilogon"}\n';
    raw.send(login + login);
    const records = await raw.rest();
    expect(records.at(-1)).toMatchObject({ kind: 'bye', failure: { what: expect.stringContaining('out of turn') } });
    expect(records.filter(({ kind }) => kind === 'bye')).toHaveLength(1);
    await unharmed();
  });

  test('yes to a question that was not put', async () => {
    const raw = new Raw(broker.socket);
    await raw.prove();
    raw.send({ kind: 'login', provider: 'cilogon' });
    expect([(await raw.next())?.kind, (await raw.next())?.kind]).toEqual(['state', 'state']);
    raw.send({ kind: 'again', yes: true });
    expect((await raw.refusal()).what).toContain('"again" out of turn');
    expect(broker.log.lines.some((line) => line.includes('protocol: the client sent "again" out of turn'))).toBe(true);
    await unharmed();
  });

  test('one byte at a time is a client like any other', async () => {
    const raw = new Raw(broker.socket);
    mkdirSync(await raw.challenge(), 0o500);
    for (const byte of Buffer.from('{"v":1,"kind":"proved"}\n')) {
      raw.send(Uint8Array.of(byte));
      await new Promise(setImmediate);
    }
    expect(await raw.next()).toMatchObject({ kind: 'welcome' });
  });
});

describe('a proof', () => {
  const attempt = async (make: (path: string) => void) => {
    const raw = new Raw(broker.socket);
    const path = await raw.challenge();
    make(path);
    raw.send({ kind: 'proved' });
    const failure = await raw.refusal();
    expect(failure.kind).toBe('refused');
    return { path, what: failure.what };
  };

  test('that is nothing', async () => {
    expect((await attempt(() => undefined)).what).toContain('nothing is there');
  });

  test('by a file, which is gone then', async () => {
    const { path, what } = await attempt((at) => writeFileSync(at, '', { mode: 0o500 }));
    expect(what).toContain('is not a directory');
    expect(existsSync(path)).toBe(false);
  });

  test('by a symbolic link', async () => {
    const target = room();
    chmodSync(target, 0o500);
    const { what } = await attempt((at) => symlinkSync(target, at));
    expect(what).toContain('is a symbolic link');
    expect(existsSync(target)).toBe(true);
    expect(readdirSync(broker.challengeDir)).toEqual([]);
  });

  test('by a directory that others may enter', async () => {
    const { path, what } = await attempt((at) => mkdirSync(at, 0o755));
    expect(what).toContain('its mode is 0755');
    expect(existsSync(path)).toBe(false);
  });

  test('by a directory of mode 0700, as HTCondor’s own clients make it', async () => {
    const { path, what } = await attempt((at) => mkdirSync(at, 0o700));
    expect(what).toContain('its mode is 0700, not 0500');
    expect(existsSync(path)).toBe(false);
  });

  test('at another’s path', async () => {
    const other = new Raw(broker.socket);
    const path = await other.challenge();
    await attempt(() => mkdirSync(path, 0o500));
    expect(existsSync(path)).toBe(true);
  });

  test('by a path that was used', async () => {
    const first = new Raw(broker.socket);
    const used = await first.challenge();
    mkdirSync(used, 0o500);
    first.send({ kind: 'proved' });
    await first.next();
    expect(existsSync(used)).toBe(false);
    const { path } = await attempt(() => mkdirSync(used, 0o500));
    expect(path).not.toBe(used);
  });

  test('that is late', async () => {
    const raw = new Raw(broker.socket);
    const path = await raw.challenge();
    mkdirSync(path, 0o500);
    clock.advance(5001);
    expect((await raw.refusal()).what).toContain('within 5 s');
    // The refusal does not wait for the disk.
    await vi.waitUntil(() => !existsSync(path), { timeout: 5000 });
  });
});

describe('the log', () => {
  test('is not filled by who has shown who it is and then talks rubbish', async () => {
    const before = broker.log.aloud.length;
    for (let i = 0; i < 30; i++) {
      const raw = new Raw(broker.socket);
      const { kind } = (await raw.prove()) ?? {};
      // More than ten in a minute: that is drawn before anything is asked for.
      expect(kind).toBe(i < 10 ? 'welcome' : 'bye');
      raw.send(i % 2 ? 'rubbish\n' : '{"v":1,"kind":"again","yes":true}\n');
      await raw.closed;
    }
    expect(broker.log.aloud.slice(before)).toEqual([]);
    expect(broker.log.lines.filter((line) => line.includes('was sent away'))).toHaveLength(30);
  });

  test('has what is worth a line', async () => {
    const raw = new Raw(broker.socket);
    await raw.prove();
    raw.send({ kind: 'login', provider: 'unknown' });
    await raw.closed;
    expect(broker.log.aloud.at(-1)).toContain('was sent away: the broker knows no provider "unknown"');
  });
});

describe('time', () => {
  test('who is welcome and says nothing is sent away', async () => {
    const raw = new Raw(broker.socket);
    await raw.prove();
    clock.advance(10_001);
    expect((await raw.refusal()).what).toBe('the client said nothing more');
  });

  test('a login does not last for ever', async () => {
    broker.issuer.life = 1e9;
    const raw = new Raw(broker.socket);
    await raw.prove();
    raw.send({ kind: 'login', provider: 'cilogon' });
    await clock.asleep();
    for (let i = 0; i < 720; i++) {
      await clock.asleep();
      clock.advance(5000);
      await new Promise(setImmediate);
    }
    const records = await raw.rest();
    expect(records.at(-2)).toMatchObject({ state: { at: 'failed', failure: { kind: 'expired' } } });
  });
});

describe('who does not read', () => {
  test('cannot make the broker keep what it is sent', async () => {
    // Time runs by itself, and every poll has another trouble to tell.
    let now = Date.now();
    const hasty: Clock = {
      now: () => epochMs(now),
      steady: () => now,
      after: () => () => undefined,
      sleep: async (_, stop) => {
        now += 1;
        await new Promise(setImmediate);
        stop.throwIfAborted();
      },
    };
    const other = await brokerOn({ clock: hasty });
    let polls = 0;
    other.issuer.life = 1e9;
    other.issuer.token = async (_type, _parameters, { stop }) => {
      stop.throwIfAborted();
      throw new Failed({ kind: 'transient', what: `${polls++} ${'trouble '.repeat(50)}` });
    };
    const raw = new Raw(other.socket);
    await raw.prove();
    raw.socket.pause();
    raw.send({ kind: 'login', provider: 'cilogon' });
    while (!other.log.lines.at(-1)?.includes('the client went away')) await new Promise(setImmediate);
    expect(other.broker.counters.open).toBe(0);
    // About 350 kB lie in the kernel's and our buffers by then: some 500 states.
    expect(polls).toBeLessThan(5000);
  });

  test('and sends on and on is cut off', async () => {
    const raw = new Raw(broker.socket);
    await raw.challenge();
    const flood = () => {
      while (raw.socket.writable && raw.socket.write('x'.repeat(65_536)));
    };
    raw.socket.on('drain', flood);
    flood();
    await raw.closed;
    await unharmed();
  });
});
