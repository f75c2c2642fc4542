import { describe, expect, test } from 'vitest';
import { Pending } from '../../../src/broker/pam/pending.js';
import { Places } from '../../../src/broker/pam/places.js';
import { handClock } from '../../helpers/clock.js';
import { approved, doorOn, phase } from './kit.js';

describe('checklist 10: one pending flow for a user and source', () => {
  test('a client that starts over on its connection finds its code again', async () => {
    const door = await doorOn();
    for (let round = 0; round < 3; round++) {
      const module = door.auth();
      expect(await module.asked()).toContain(door.codes[0]);
      module.socket.end();
      await module.closed;
      await door.clock.pass(1000);
    }
    expect(door.codes).toHaveLength(1);
    expect(await approved(door)).toMatchObject({ result: 'ok' });
    expect(door.codes).toHaveLength(1);
  });

  test('also after it failed fast, and what was approved meanwhile counts', async () => {
    const door = await doorOn({ issuer: { interval: 1 } });
    const module = door.auth();
    for (let i = 0; i < 2; i++) {
      await module.asked();
      module.answer();
    }
    expect(await module.verdict()).toMatchObject({ result: 'denied' });
    await door.issuer.approve(door.codes[0] ?? '', { login: 'alice' });
    await door.clock.pass(1200);
    expect(await door.auth().verdict()).toMatchObject({ result: 'ok' });
    expect(door.codes).toHaveLength(1);
  });

  test('several windows with the same key wait for one approval, and each is let in', async () => {
    const door = await doorOn();
    const windows = [1, 2, 3].map((n) => door.auth({ connection: `c:${n}` }));
    const texts = [];
    for (const module of windows) texts.push(await module.asked());
    for (const text of texts) expect(text).toContain(door.codes[0]);
    // Whoever has stolen the key waits there, too: the person is to know.
    expect(texts.map((text) => /^.*Do not approve\.$/m.exec(text)?.[0])).toEqual([
      undefined,
      expect.stringContaining('Another ssh login from there waits for this too.'),
      expect.stringContaining('2 more ssh logins from there wait for this too.'),
    ]);
    await door.approve();
    for (const module of windows) {
      module.answer();
      expect(await module.verdict()).toMatchObject({
        result: 'ok',
        text: 'This approval has let in 3 ssh logins to your account.',
      });
    }
    expect(door.codes).toHaveLength(1);
    for (const n of [1, 2, 3])
      expect(await phase(door, 'commit', { connection: `c:${n}` })).toMatchObject({ result: 'ok' });
    expect(door.grants()).toHaveLength(1);
    // Who comes later begins anew.
    await door.auth({ connection: 'c:4' }).asked();
    expect(door.codes).toHaveLength(2);
  });

  test('of several windows one leaves, and the others wait on', async () => {
    const door = await doorOn();
    const [gone, stays] = [door.auth({ connection: 'c:1' }), door.auth({ connection: 'c:2' })];
    await gone.asked();
    await stays.asked();
    gone.socket.destroy();
    await door.clock.pass(10_000);
    expect(door.door.now).toMatchObject({ places: 1, flows: 1 });
    await door.approve();
    stays.answer();
    expect(await stays.verdict()).toMatchObject({ result: 'ok' });
  });

  test.each([
    ['nobody knows whose', ''],
    ['another key', 'publickey other'],
  ])('a second one with %s takes the place of the first, who is told', async (_, first) => {
    const door = await doorOn({ pam: { firstFactor: 'optional' } });
    const elder = door.auth(first === '' ? { first } : {});
    await elder.asked();
    const younger = door.auth({ first, connection: 'c:2' });
    expect(await younger.asked()).toContain(door.codes[1]);
    expect(door.door.now.flows).toBe(1);
    elder.answer();
    expect(await elder.verdict()).toMatchObject({
      result: 'denied',
      text: expect.stringContaining('Use that one, or try again.'),
    });
    await approved(door, 'alice', door.auth({ first, connection: 'c:2' }));
    // What the elder's code brings is nobody's.
    await door.issuer.approve(door.codes[0] ?? '', { login: 'alice' });
    const { polls } = door.issuer.counts;
    await door.clock.pass(30_000);
    expect(door.issuer.counts.polls).toBe(polls);
  });

  test('who has passed no factor takes the place of nobody who has', async () => {
    const door = await doorOn({ pam: { firstFactor: 'optional' } });
    const elder = door.auth();
    await elder.asked();
    await door.auth({ first: '', connection: 'c:2' }).asked();
    await door.approve('alice', door.codes[0]);
    elder.answer();
    expect(await elder.verdict()).toMatchObject({ result: 'ok' });
  });

  test('other users and sources have their own', async () => {
    const door = await doorOn();
    await door.auth().asked();
    await door.auth({ user: 'bob', connection: 'c:2' }).asked();
    await door.auth({ rhost: '192.0.2.8', connection: 'c:3' }).asked();
    expect(new Set(door.codes).size).toBe(3);
    expect(door.door.now).toMatchObject({ places: 3, flows: 3 });
  });

  test('places of a source and in all are counted, and given back', async () => {
    const door = await doorOn({ places: { perSource: 2, perPerson: 9, inAll: 3, perMinute: 9 } });
    const open = [1, 2].map((n) => door.auth({ connection: `c:${n}` }));
    for (const module of open) await module.asked();
    const { audit, ...full } = await door.auth({ connection: 'c:3' }).verdict();
    expect(full).toMatchObject({ result: 'unavailable', text: expect.stringContaining('from your address') });
    await door.auth({ connection: 'c:4', rhost: '::1' }).asked();
    expect(await door.auth({ connection: 'c:5', rhost: '192.0.2.9' }).verdict()).toMatchObject({
      text: expect.stringContaining('at this machine'),
    });
    open[0]?.socket.destroy();
    await open[0]?.closed;
    await door.clock.rest();
    await door.auth({ connection: 'c:6' }).asked();
    expect(door.door.now.places).toBe(3);
  });
});

describe('places', () => {
  const limits = { perSource: 2, perPerson: 9, inAll: 6, perMinute: 100 };
  const tries = (places: Places, addresses: readonly string[], person?: string) =>
    addresses.map((address) => {
      try {
        places.enter(address, person);
        return true;
      } catch {
        return false;
      }
    });

  test.each([
    [
      ['192.0.2.1', '192.0.2.1', '192.0.2.1', '192.0.2.2'],
      [true, true, false, true],
    ],
    [
      ['2001:db8::1', '2001:db8:0:0:ffff::2', '2001:db8::3', '2001:db8:0:1::1'],
      [true, true, false, true],
    ],
    [
      ['2001:DB8:0:00::1', '2001:db8::ffff:1:2:3', '2001:db8:0:0::', '2001:db9::'],
      [true, true, false, true],
    ],
    [
      ['::ffff:192.0.2.1', '::ffff:192.0.2.2', '::ffff:192.0.2.3'],
      [true, true, true],
    ],
    [
      ['fe80::1%eth0', 'fe80::2%eth0', 'fe80::3%eth0'],
      [true, true, false],
    ],
    [
      ['', '', '', 'a.example'],
      [true, true, false, true],
    ],
  ])('are counted by network: %j', (addresses, expected) => {
    expect(tries(new Places(limits), addresses)).toEqual(expected);
  });

  test('those who have passed no factor have half of them', () => {
    const places = new Places(limits);
    expect(tries(places, ['a', 'b', 'c', 'd'])).toEqual([true, true, true, false]);
    expect(tries(places, ['d', 'e', 'f', 'g'], 'alice')).toEqual([true, true, true, false]);
    expect(places.taken).toBe(6);
  });

  test('one person with a key does not keep the others out, from however many addresses', () => {
    const places = new Places({ ...limits, perPerson: 2 });
    expect(tries(places, ['a', 'b', 'c'], 'mallory')).toEqual([true, true, false]);
    expect(tries(places, ['c', 'd'], 'alice')).toEqual([true, true]);
    // Who has not shown a key is nobody, whatever the name: else strangers could keep a person out.
    expect(tries(places, ['e', 'f'])).toEqual([true, true]);
  });
});

describe('what is remembered of refusals', () => {
  test('does not grow with those whom strangers bring about', async () => {
    const clock = handClock(() => 0);
    const pending = new Pending<string>(clock, () => undefined);
    const key = (n: number) => ({ user: 'alice', connection: `c:${n}` });
    for (let n = 0; n < 10_001; n++) {
      pending.deny(key(n));
      pending.settle(key(n), 'denied');
    }
    expect([0, 1, 10_000].map((n) => pending.isDenied(key(n)))).toEqual([false, true, true]);
    expect([0, 1, 10_000].map((n) => pending.settled(key(n)))).toEqual([undefined, 'denied', 'denied']);
    pending.close();
  });
});

describe('codes', () => {
  test('are asked for so many times a minute and source, and no more', async () => {
    const door = await doorOn({ places: { perSource: 9, perPerson: 9, inAll: 9, perMinute: 2 } });
    const begin = async (connection: string, user = 'alice') => {
      const module = door.auth({ connection, user, first: `publickey ${connection}` });
      const record = await module.next();
      module.socket.destroy();
      return record;
    };
    for (const connection of ['c:1', 'c:2']) expect(await begin(connection)).toMatchObject({ kind: 'ask' });
    for (const user of ['alice', 'mallory'])
      expect(await begin('c:3', user)).toMatchObject({
        result: 'unavailable',
        text: expect.stringContaining('in 30 s'),
      });
    expect(door.codes).toHaveLength(2);
    await door.clock.pass(30_000);
    expect(await begin('c:4')).toMatchObject({ kind: 'ask' });
  });
});

describe('checklist 11: a client that goes away', () => {
  test.each(['prompt', 'live'] as const)(
    'while it is polled (%s): all is done within 2 s and nothing is kept',
    async (face) => {
      const door = await doorOn();
      const module = door.auth({ face });
      await module.next();
      await door.clock.pass(7000);
      const { polls } = door.issuer.counts;
      module.socket.destroy();
      await door.clock.pass(2000);
      expect(door.door.now).toEqual({ places: 0, flows: 0, pending: 0 });
      await door.issuer.approve(door.codes[0] ?? '', { login: 'alice' });
      await door.clock.pass(60_000);
      expect(door.issuer.counts.polls).toBe(polls);
      expect(door.grants()).toEqual([]);
      expect(door.door.counters.get('gone')).toBe(1);
    },
  );

  test('before it was shown a code', async () => {
    const door = await doorOn({
      between: (issuer, clock) => ({
        ...issuer,
        scopes: (stop) => clock.sleep(10 as never, stop).then(() => issuer.scopes(stop)),
      }),
    });
    const module = door.auth();
    await door.clock.rest();
    await door.clock.pass(1000);
    module.socket.destroy();
    await door.clock.pass(2000);
    expect(door.door.now).toEqual({ places: 0, flows: 0, pending: 0 });
    await door.clock.pass(20_000);
    expect(door.issuer.counts.deviceAuthorizations).toBe(0);
  });

  test('after it was approved, before it was told: nothing is kept, and nothing of theirs is revoked', async () => {
    const door = await doorOn();
    const module = door.auth();
    await module.asked();
    await door.approve();
    module.socket.destroy();
    await door.clock.pass(2000);
    expect(door.door.now).toEqual({ places: 0, flows: 0, pending: 0 });
    expect(door.grants()).toEqual([]);
    expect(door.issuer.counts.revocations).toBe(0);
  });
});
