import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { brokerAnswers, brokerLogin, brokerLogout } from '../../src/broker/client.js';
import { gaveWay } from '../../src/broker/quota.js';
import { toClient } from '../../src/broker/records.js';
import { readSpoolFile } from '../../src/broker/spool.js';
import { Failed } from '../../src/core/failure.js';
import type { LoginState } from '../../src/core/login.js';
import { epochMs } from '../../src/core/time.js';
import { systemClock } from '../../src/system/clock.js';
import {
  asNobody,
  brokerOn,
  cleanup,
  handClock,
  never,
  type Place,
  pending,
  placeIn,
  provider,
  Raw,
  room,
  secrets,
  type TestBroker,
  token,
} from './kit.js';

asNobody();
const me = userInfo();
const own = { uid: process.geteuid?.() ?? -1 };

const options = (place: Place, more: object = {}) => ({
  ...place,
  clock: systemClock,
  stop: never,
  request: { provider: 'cilogon' },
  again: async () => false,
  ...more,
});

/** All states, and what the generator returned. */
async function drain(states: AsyncGenerator<LoginState, string | undefined>, seen?: (state: LoginState) => void) {
  const all: LoginState[] = [];
  for (;;) {
    const { done, value } = await states.next();
    if (done) return { all, grant: value as string | undefined, last: all.at(-1) };
    all.push(value as LoginState);
    seen?.(value as LoginState);
  }
}

/** Moves the broker's clock whenever a flow sleeps. */
function pace(clock: ReturnType<typeof handClock>, stop = { now: false }): void {
  const step = async () => {
    while (!stop.now) {
      await clock.asleep();
      clock.advance(5000);
      await new Promise(setImmediate);
    }
  };
  cleanup(() => {
    stop.now = true;
  });
  void step();
}

const spooled = async ({ spoolDir }: Place) => {
  const records = [];
  for (const name of readdirSync(spoolDir)) records.push((await readSpoolFile(join(spoolDir, name), own)).record);
  return records;
};

describe('a login through the broker', () => {
  test('from the challenge to the grant in the spool', async () => {
    const clock = handClock();
    const broker = await brokerOn({ clock });
    const good = token(clock, { scopes: ['openid'] });
    broker.issuer.answers.splice(0, 1, pending, pending, good);
    pace(clock);
    const request = { provider: 'CILogon', handle: 'prod', scopes: ['openid', 'read:/x'], audience: 'https://se' };
    const { all, grant } = await drain(brokerLogin(options(broker, { request })));
    const ask = {
      provider: 'cilogon',
      issuer: 'https://issuer.test',
      handle: 'prod',
      scopes: ['openid', 'read:/x'],
      audience: 'https://se',
    };
    const place = { kind: 'condor', by: 'spool' };
    expect(all).toEqual([
      { at: 'starting', ask },
      {
        at: 'code',
        ask,
        code: 'ABCD-EFGH',
        link: 'https://issuer.test/device',
        linkComplete: 'https://issuer.test/device?user_code=ABCD-EFGH',
        expires: expect.any(Number),
      },
      { at: 'storing', ask, who: 'Alice Example', place },
      { at: 'done', ask, who: 'Alice Example', place, missing: ['read:/x'], expires: good.expires },
    ]);
    expect(broker.issuer.asked[0]).toEqual({ scope: 'openid read:/x offline_access', audience: 'https://se' });
    expect(await spooled(broker)).toEqual([
      {
        v: 1,
        id: grant,
        kind: 'grant',
        user: me.username,
        uid: me.uid,
        provider: 'cilogon',
        handle: 'prod',
        scopes: ['openid', 'read:/x'],
        audience: 'https://se',
        refresh_token: secrets.refresh,
        access_token: secrets.access,
        token_type: 'bearer',
        expires_at: good.expires,
        granted_scopes: ['openid'],
        iss: 'https://issuer.test',
        sub: 'http://cilogon.org/serverA/users/1',
        who: 'Alice Example',
        at: expect.any(Number),
      },
    ]);
    expect(readdirSync(broker.challengeDir)).toEqual([]);
  });

  test('without wishes: the provider’s scopes, and none in the record', async () => {
    const clock = handClock();
    const broker = await brokerOn({ clock });
    broker.issuer.answers.splice(0, 1, token(clock));
    pace(clock);
    const { last } = await drain(brokerLogin(options(broker)));
    expect(last).toMatchObject({ at: 'done', missing: [], ask: { scopes: ['openid', 'storage.read:/'] } });
    const [record] = await spooled(broker);
    expect(record).not.toHaveProperty('scopes');
    expect(record).not.toHaveProperty('handle');
  });

  test('for several: one approval for all their scopes, and each keeps its own', async () => {
    const clock = handClock();
    const broker = await brokerOn({ clock });
    const all = ['openid', 'storage.read:/', 'write:/x'];
    broker.issuer.answers.splice(0, 1, token(clock, { scopes: all, grantEnds: epochMs(1e12) }));
    pace(clock);
    const also = [
      { handle: 'w', scopes: ['write:/x'] },
      { handle: 'x', audience: 'https://se' },
    ];
    const { last, grant } = await drain(brokerLogin(options(broker, { request: { provider: 'cilogon', also } })));
    const ask = { scopes: all, also: [{ handle: 'w' }, { handle: 'x', audience: 'https://se' }] };
    expect(last).toMatchObject({ at: 'done', ask, missing: [] });
    expect(broker.issuer.asked[0]).toEqual({ scope: `${all.join(' ')} offline_access` });
    expect(broker.issuer.asked.filter((one) => 'scope' in one)).toHaveLength(1);
    const [record] = await spooled(broker);
    expect(record).toMatchObject({ id: grant, scopes: ['openid', 'storage.read:/'], also, ends: 1e12 });
    // It has the scopes of all, and so is nobody's.
    expect(JSON.stringify(record)).not.toContain(secrets.access);
    expect(broker.log.lines.join('\n')).toContain('login to cilogon, and for the handles w x: asking for a code');
  });

  test('for several that want no more than the provider’s own: the record names none', async () => {
    const clock = handClock();
    const broker = await brokerOn({ clock });
    broker.issuer.answers.splice(0, 1, token(clock, { grantEnds: epochMs(1e300) }));
    pace(clock);
    const also = [{ handle: 'r', scopes: ['storage.read:/'] }];
    await drain(brokerLogin(options(broker, { request: { provider: 'cilogon', also } })));
    const [record] = await spooled(broker);
    expect(record).toMatchObject({ also });
    expect(record).not.toHaveProperty('scopes');
    expect(record).not.toHaveProperty('ends');
  });

  test('a new code for whom it expired, who is asked', async () => {
    const clock = handClock();
    const broker = await brokerOn({ clock });
    broker.issuer.life = 20_000;
    pace(clock);
    let asked = 0;
    const again = async () => {
      if (++asked === 2) broker.issuer.answers.splice(0, 1, token(clock));
      return true;
    };
    const { all } = await drain(brokerLogin(options(broker, { again })));
    expect(all.map(({ at }) => at)).toEqual([
      'starting',
      'code',
      'expired',
      'code',
      'expired',
      'code',
      'storing',
      'done',
    ]);
  });

  test('and who says no', async () => {
    const clock = handClock();
    const broker = await brokerOn({ clock });
    pace(clock);
    const { last, grant } = await drain(brokerLogin(options(broker)));
    expect(last).toMatchObject({ at: 'failed', failure: { kind: 'expired' } });
    expect(grant).toBeUndefined();
  });

  test('or never answers: the question is taken back', async () => {
    const clock = handClock();
    const broker = await brokerOn({ clock });
    const stop = { now: false };
    pace(clock, stop);
    let taken: AbortSignal | undefined;
    const again = (signal: AbortSignal) => {
      stop.now = true;
      taken = signal;
      setImmediate(() => clock.advance(5 * 60_000));
      return new Promise<boolean>(() => undefined);
    };
    const { last } = await drain(brokerLogin(options(broker, { again })));
    expect(last).toMatchObject({ at: 'failed', failure: { kind: 'expired', what: 'nobody asked for a new code' } });
    expect(taken?.aborted).toBe(true);
  });

  test('what the issuer refuses', async () => {
    const clock = handClock();
    const broker = await brokerOn({ clock });
    broker.issuer.answers.splice(
      0,
      1,
      new Failed({ kind: 'denied', what: 'the person said no', code: 'access_denied' }),
    );
    pace(clock);
    const { last } = await drain(brokerLogin(options(broker)));
    expect(last).toMatchObject({ at: 'failed', failure: { kind: 'denied', what: 'the person said no' } });
    expect(await spooled(broker)).toEqual([]);
  });

  test('an issuer that does not answer is not waited for without end', async () => {
    const clock = handClock();
    const broker = await brokerOn({ clock });
    const { issuer } = broker;
    issuer.device = (_, stop) =>
      new Promise((_resolve, reject) => {
        (stop as AbortSignal).addEventListener('abort', () => reject(stop.reason));
        setImmediate(() => clock.advance(60_000));
      });
    const { last } = await drain(brokerLogin(options(broker)));
    expect(last).toMatchObject({ at: 'failed', failure: { kind: 'transient' } });
  });

  test('a grant that cannot be handed over is given back to the issuer', async () => {
    const clock = handClock();
    const broker = await brokerOn({ clock });
    broker.issuer.answers.splice(0, 1, token(clock));
    pace(clock);
    rmSync(broker.spoolDir, { recursive: true });
    const { last } = await drain(brokerLogin(options(broker)));
    expect(last).toMatchObject({ at: 'failed', failure: { kind: 'storage' } });
    expect(broker.issuer.revoked).toEqual([secrets.refresh]);
  });

  test('a logout', async () => {
    const broker = await brokerOn();
    const id = await brokerLogout(options(broker, { request: { provider: 'cilogon', handle: 'x' } }));
    expect(await spooled(broker)).toEqual([
      expect.objectContaining({ kind: 'logout', id, user: me.username, provider: 'cilogon', handle: 'x' }),
    ]);
    await expect(brokerLogout(options(broker, { request: { provider: 'cilogno' } }))).rejects.toThrow(
      'knows no provider',
    );
  });
});

describe('going away', () => {
  const begun = async (broker: TestBroker) => {
    const raw = new Raw(broker.socket);
    await raw.prove();
    raw.send({ kind: 'login', provider: 'cilogon' });
    await raw.next();
    await raw.next();
    return raw;
  };

  test('of the client ends its flow at once, and gives its place back', async () => {
    const broker = await brokerOn();
    let ended = () => {};
    const aborted = new Promise<void>((resolve) => {
      ended = resolve;
    });
    const { issuer } = broker;
    const polling = new Promise<void>((resolve) => {
      issuer.token = (_type, _parameters, { stop }) => {
        resolve();
        return new Promise((_, reject) => {
          (stop as AbortSignal).addEventListener('abort', () => {
            ended();
            reject(stop.reason);
          });
        });
      };
    });
    issuer.device = async () => ({
      deviceCode: secrets.device,
      userCode: 'A',
      link: 'https://issuer.test/',
      expires: (Date.now() + 60_000) as never,
      interval: 1,
    });
    const raw = await begun(broker);
    await polling;
    const before = performance.now();
    raw.socket.destroy();
    await aborted;
    expect(performance.now() - before).toBeLessThan(100);
    while (broker.broker.counters.flows > 0) await new Promise(setImmediate);
    expect(broker.broker.counters.open).toBe(0);
  });

  test('while it sleeps between two polls', async () => {
    const broker = await brokerOn({ clock: handClock() });
    const raw = await begun(broker);
    raw.socket.end();
    const before = performance.now();
    while (!broker.log.lines.some((line) => line.includes('the client went away'))) await new Promise(setImmediate);
    expect(performance.now() - before).toBeLessThan(100);
    await raw.closed;
  });

  test('the person’s Ctrl-C', async () => {
    const broker = await brokerOn({ clock: handClock() });
    const stop = new AbortController();
    const { last } = await drain(brokerLogin(options(broker, { stop: stop.signal })), ({ at }) => {
      if (at === 'code') stop.abort();
    });
    expect(last).toMatchObject({ at: 'failed', failure: { kind: 'cancelled' } });
    while (broker.broker.counters.flows > 0) await new Promise(setImmediate);
  });

  test('of the broker ends all flows within two seconds, and takes the socket along', async () => {
    const broker = await brokerOn({ clock: handClock() });
    const raw = await begun(broker);
    const deaf = await begun(broker);
    deaf.socket.pause();
    const before = performance.now();
    await broker.broker.close();
    expect(performance.now() - before).toBeLessThan(2000);
    expect(await raw.next()).toMatchObject({ kind: 'bye', failure: { kind: 'transient' } });
    expect(readdirSync(broker.dir)).not.toContain('broker.sock');
    expect(await brokerAnswers(broker.socket)).toBe(false);
  });
});

describe('quotas', () => {
  test('three of one person, and a place is free again when one goes', async () => {
    const broker = await brokerOn({ clock: handClock() });
    const raws = [1, 2, 3].map(() => new Raw(broker.socket));
    for (const raw of raws) expect(await raw.prove()).toMatchObject({ kind: 'welcome' });
    const { last } = await drain(brokerLogin(options(broker)));
    expect(last).toMatchObject({
      at: 'failed',
      failure: { kind: 'transient', what: expect.stringContaining('3 logins') },
    });
    raws[0]?.socket.destroy();
    while (broker.broker.counters.flows > 2) await new Promise(setImmediate);
    expect(await new Raw(broker.socket).prove()).toMatchObject({ kind: 'welcome', user: me.username });
  });

  test('ten a minute', async () => {
    const broker = await brokerOn({ clock: handClock() });
    for (let i = 0; i < 10; i++) await brokerLogout(options(broker));
    await expect(brokerLogout(options(broker))).rejects.toThrow('more than 10 logins or logouts in a minute');
  });

  test('new codes count, too', async () => {
    const clock = handClock();
    const broker = await brokerOn({ clock, limits: { perUser: 3, inAll: 200, waiting: 64, perMinute: 2 } });
    broker.issuer.life = 5000;
    pace(clock);
    const { all, last } = await drain(brokerLogin(options(broker, { again: async () => true })));
    expect(all.filter(({ at }) => at === 'code')).toHaveLength(2);
    expect(last).toMatchObject({ at: 'failed', failure: { kind: 'transient' } });
  });

  test('whoever squats gives way', async () => {
    const broker = await brokerOn({ limits: { perUser: 3, inAll: 200, waiting: 4, perMinute: 10 } });
    const squatters: Raw[] = [];
    for (let i = 0; i < 20; i++) {
      const raw = new Raw(broker.socket);
      await raw.next();
      squatters.push(raw);
    }
    expect(broker.broker.counters.open).toBeLessThanOrEqual(5);
    const evicted = squatters.filter(({ received }) => received.includes('too many others'));
    expect(await evicted[0]?.rest()).toMatchObject([
      { kind: 'bye', failure: { kind: 'transient', hint: 'try again' } },
    ]);
    const welcome = await new Raw(broker.socket).prove();
    expect(welcome).toMatchObject({ kind: 'welcome' });
    expect(broker.broker.counters.evicted).toBeGreaterThanOrEqual(16);
  });
});

describe('a crowd at the door', () => {
  /** Connects and says nothing, as fast as one process can, for as long as the test lasts. */
  const flood = (socket: string) => {
    const script = `
      let open = 0;
      const more = () => {
        for (; open < 200; open++) {
          require('net').connect(process.argv[1]).on('error', () => {}).resume().on('close', () => { open--; setImmediate(more); });
        }
      };
      more();
      setTimeout(() => process.exit(), 15_000);`;
    const child = spawn(process.execPath, ['-e', script, socket], { stdio: 'ignore' });
    cleanup(() => child.kill());
  };

  test('keeps an honest client out for no longer than some tries', async () => {
    const broker = await brokerOn();
    flood(broker.socket);
    while (broker.broker.counters.evicted === 0) await new Promise(setImmediate);
    expect(await brokerLogout(options(broker))).toMatch(/^[0-9a-f]{32}$/);
  });

  test('does not keep out even whom a room full of newcomers overtakes each time', async () => {
    const broker = await brokerOn();
    // A little more than a third of all tries succeed, and none would if the oldest had to go: bounded by some 2,000 connections.
    let kind: unknown;
    for (let tries = 0; kind !== 'welcome' && tries < 30; tries++) {
      const raw = new Raw(broker.socket);
      const path = await raw.challenge();
      const crowd = Array.from({ length: 64 }, () => new Raw(broker.socket));
      for (const one of crowd) await one.next();
      mkdirSync(path, 0o500);
      raw.send({ kind: 'proved' });
      kind = (await raw.next())?.kind;
      raw.socket.destroy();
    }
    expect(kind).toBe('welcome');
    expect(broker.broker.counters.accepted).toBeLessThan(2000);
  });

  /** Tells the first `times` to go away by `turn`, and counts them. */
  const crowded = async (turn: (socket: Socket) => void, times: number) => {
    const broker = await brokerOn();
    const door = { ...broker, socket: join(broker.dir, 'door.sock'), came: 0 };
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      if (++door.came <= times) return turn(socket);
      const through = connect(broker.socket).on('error', () => undefined);
      socket.pipe(through).pipe(socket);
    }).listen(door.socket);
    cleanup(() => server.close());
    await new Promise((resolve) => server.once('listening', resolve));
    return door;
  };
  const bye = (socket: Socket) => socket.end(toClient({ kind: 'bye', failure: gaveWay }));

  test.each([
    ['who is told that it gave way', bye],
    ['who is hung up on', (socket: Socket) => socket.destroy()],
  ])('%s tries again, five times in all', async (_, turn) => {
    const quick = { ...systemClock, sleep: async () => undefined };
    const door = await crowded(turn, 4);
    expect(await brokerLogout(options(door, { clock: quick }))).toMatch(/^[0-9a-f]{32}$/);
    expect(door.came).toBe(5);
    const full = await crowded(turn, 5);
    await expect(brokerLogout(options(full, { clock: quick }))).rejects.toThrow(Failed);
    expect(full.came).toBe(5);
  });

  test('waits longer each time, no two clients alike, and can be stopped', async () => {
    const slept: number[] = [];
    const stop = new AbortController();
    const clock = {
      ...systemClock,
      sleep: (span: number, signal: AbortSignal) => {
        slept.push(Math.round(span * 1000));
        if (slept.length === 8) stop.abort();
        return signal.aborted ? Promise.reject(signal.reason) : Promise.resolve();
      },
    };
    const door = await crowded(bye, 100);
    const attempt = (random: number) =>
      drain(brokerLogin(options(door, { clock, random: () => random, stop: stop.signal })));
    expect((await attempt(0.5)).last).toMatchObject({ at: 'failed', failure: gaveWay });
    expect((await attempt(0)).last).toMatchObject({ at: 'failed', failure: { kind: 'cancelled' } });
    expect(slept).toEqual([200, 400, 800, 1600, 100, 200, 400, 800]);
    expect(door.came).toBe(9);
  });

  test('what else is wrong is said at once', async () => {
    const failure = { kind: 'transient', what: 'you have 3 logins under way already' } as const;
    const door = await crowded((socket) => socket.end(toClient({ kind: 'bye', failure })), 100);
    await expect(brokerLogout(options(door))).rejects.toThrow('3 logins under way');
    expect(door.came).toBe(1);
  });

  test('a full queue is a crowd, too', async () => {
    const place = placeIn(room());
    await stuffedSocket(place.socket);
    let slept = 0;
    const clock = { ...systemClock, sleep: async () => void slept++ };
    const { last } = await drain(brokerLogin(options(place, { clock })));
    expect(last).toMatchObject({
      at: 'failed',
      failure: { kind: 'transient', what: expect.stringContaining('EAGAIN') },
    });
    expect(slept).toBe(4);
  });

  test('whose uid has no name takes nobody’s place', async () => {
    let answer = () => {};
    const nameOf = () =>
      new Promise<string>((_, reject) => {
        answer = () => reject(new Failed({ kind: 'refused', what: 'no account' }));
      });
    const broker = await brokerOn({ clock: handClock(), nameOf });
    const raw = new Raw(broker.socket);
    const proof = raw.prove();
    while (broker.broker.counters.flows === 0) await new Promise(setImmediate);
    answer();
    expect(await proof).toMatchObject({ kind: 'bye', failure: { what: 'no account' } });
    // It does not hang up, and is one of those who are not known.
    expect(broker.broker.counters).toMatchObject({ flows: 0, admitted: 0, open: 1 });
  });
});

describe('the client', () => {
  const failed = async (place: Place) => {
    const { all } = await drain(brokerLogin(options(place)));
    expect(all).toHaveLength(1);
    return (all[0] as Extract<LoginState, { at: 'failed' }>).failure;
  };

  test('where there is no socket', async () => {
    const place = placeIn(room());
    expect(await failed(place)).toMatchObject({
      kind: 'unsupported',
      what: `no login broker runs on this machine: there is no socket ${place.socket}`,
      hint: expect.stringContaining('start it'),
    });
    await expect(brokerLogout(options(place))).rejects.toThrow('no login broker runs');
    expect(await brokerAnswers(place.socket)).toBe(false);
  });

  test('where the socket is a file, or nobody listens', async () => {
    const place = placeIn(room());
    writeFileSync(place.socket, '');
    expect((await failed(place)).what).toContain('is not a socket');
    rmSync(place.socket);
    await abandonedSocket(place.socket);
    expect(await failed(place)).toMatchObject({ kind: 'unsupported', what: expect.stringContaining('nobody listens') });
  });

  test('where the socket belongs to somebody else', async () => {
    const broker = await brokerOn();
    const { kind, what } = await failed({ ...broker, account: 'daemon' });
    expect({ kind, what }).toEqual({
      kind: 'config',
      what: expect.stringContaining('belongs to neither root nor the broker’s account "daemon"'),
    });
    expect(broker.broker.counters.accepted).toBe(0);
    expect(await brokerAnswers(broker.socket)).toBe(true);
  });

  const impostor = async (place: Place, say: (line: string, answer: (text: string) => void) => void) => {
    const server = createServer((socket) => {
      socket.setEncoding('utf8').on('data', (text: string) => say(text, (answer) => socket.write(answer)));
      socket.on('error', () => undefined);
      say('', (answer) => socket.write(answer));
    }).listen(place.socket);
    cleanup(() => server.close());
    await new Promise((resolve) => server.once('listening', resolve));
  };

  test.each([
    ['says nothing that is a record', 'hello\n', 'a line that is not JSON'],
    ['speaks another version', '{"v":7,"kind":"challenge","path":"/x"}\n', 'version 7'],
    ['never ends its line', 'x'.repeat(20_000), 'a line of more than 16384 bytes'],
    ['sends us elsewhere', '{"v":1,"kind":"challenge","path":"/tmp/evil"}\n', 'not a fresh one in'],
    ['welcomes us unseen', '{"v":1,"kind":"welcome","user":"root"}\n', '"welcome" where "challenge" was due'],
  ])('where the broker %s', async (_, said, what) => {
    const place = placeIn(room());
    await impostor(place, (line, answer) => line === '' && answer(said));
    expect((await failed(place)).what).toContain(what);
  });

  test('where the broker takes us for somebody else', async () => {
    const broker = await brokerOn();
    const place = { ...broker, socket: join(broker.dir, 'other.sock') };
    await impostor(place, (line, answer) => {
      const path = join(broker.challengeDir, 'ab'.repeat(24));
      answer(JSON.stringify(line === '' ? { v: 1, kind: 'challenge', path } : { v: 1, kind: 'welcome', user: 'root' }));
      answer('\n');
    });
    expect((await failed(place)).what).toBe(`the broker took you, ${me.username}, for root`);
    expect(readdirSync(broker.challengeDir)).toEqual([]);
  });
});

describe('the socket', () => {
  test('of a broker that died is replaced, of a living one is not, and a file is no socket', async () => {
    const dir = room();
    await abandonedSocket(join(dir, 'broker.sock'));
    await brokerOn({ dir });
    await expect(brokerOn({ dir })).rejects.toThrow('is the socket of another broker that is running');
    const other = room();
    writeFileSync(join(other, 'broker.sock'), 'precious');
    await expect(brokerOn({ dir: other })).rejects.toThrow('is not a socket');
  });

  test('an unknown provider’s name does not reach a log as it is', async () => {
    const broker = await brokerOn();
    const raw = new Raw(broker.socket);
    await raw.prove();
    raw.send({ kind: 'login', provider: 'x\u001b]0;owned\u0007\ncredmon-broker: forged' });
    const [bye] = await raw.rest();
    expect(bye).toMatchObject({ kind: 'bye', failure: { kind: 'config', hint: `there is: ${provider.name}` } });
    const logged = broker.log.lines.join('|');
    for (const evil of ['\u001b', '\u0007', '\n']) expect(logged).not.toContain(evil);
  });
});

/** A socket whose owner takes nobody in, with as many at the door as there may be. */
async function stuffedSocket(path: string): Promise<void> {
  const script = `require('net').createServer().listen({ path: process.argv[1], backlog: 1 }, () => {
    process.stdout.write('listening');
    for (;;);
  });`;
  const child = spawn(process.execPath, ['-e', script, path], { stdio: ['ignore', 'pipe', 'ignore'] });
  cleanup(() => child.kill('SIGKILL'));
  await new Promise((resolve) => child.stdout.once('data', resolve));
  for (let full = false; !full; ) {
    full = await new Promise((resolve) => {
      const socket = connect(path).on('error', () => resolve(true));
      socket.on('connect', () => resolve(false));
      cleanup(() => socket.destroy());
    });
  }
}

/** A socket whose owner is dead. */
async function abandonedSocket(path: string): Promise<void> {
  const { execFileSync } = await import('node:child_process');
  const script = 'require("net").createServer().listen(process.argv[1], () => process.kill(process.pid, "SIGKILL"))';
  try {
    execFileSync(process.execPath, ['-e', script, path], { stdio: 'ignore' });
  } catch {
    // It was killed, as it should be.
  }
}
