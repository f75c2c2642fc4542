import { userInfo } from 'node:os';
import { describe, expect, test } from 'vitest';
import { type Account, lookUp, openNames } from '../../src/broker/accounts.js';
import { Failed } from '../../src/core/failure.js';
import { handClock } from './kit.js';

describe('lookUp', () => {
  test('by uid and by name', async () => {
    const { username: name, uid, gid } = userInfo();
    expect(await lookUp(uid)).toEqual({ name, uid, gid });
    expect(await lookUp(name)).toEqual({ name, uid, gid });
  });

  test('nobody', async () => {
    expect(await lookUp(4_000_000_123)).toBeUndefined();
    expect(await lookUp('no-such-account')).toBeUndefined();
    expect(await lookUp('--help')).toBeUndefined();
  });
});

describe('openNames', () => {
  const counting = (answer: (uid: number) => Account | undefined) => {
    const asked: unknown[] = [];
    const look = async (key: number | string) => {
      asked.push(key);
      return answer(Number(key));
    };
    return { asked, look };
  };

  test('asks once a minute', async () => {
    const clock = handClock();
    const { asked, look } = counting((uid) => ({ name: 'alice', uid, gid: uid }));
    const nameOf = openNames(clock, look);
    expect(await Promise.all([nameOf(1000), nameOf(1000)])).toEqual(['alice', 'alice']);
    clock.advance(59_000);
    await nameOf(1000);
    expect(asked).toEqual([1000]);
    clock.advance(2000);
    await nameOf(1000);
    expect(asked).toEqual([1000, 1000]);
  });

  test('does not keep more than so many', async () => {
    const { asked, look } = counting((uid) => ({ name: 'alice', uid, gid: uid }));
    const nameOf = openNames(handClock(), look);
    for (let uid = 1000; uid < 3000; uid++) await nameOf(uid);
    await nameOf(1000);
    expect(asked).toHaveLength(2001);
  });

  test('that there is no such account is good for some seconds, and so many of those', async () => {
    const clock = handClock();
    const { asked, look } = counting(() => undefined);
    const nameOf = openNames(clock, look);
    const none = (uid: number) => expect(nameOf(uid)).rejects.toThrow(`uid ${uid} is no account on this machine`);
    await none(7);
    clock.advance(4900);
    await none(7);
    expect(asked).toEqual([7]);
    clock.advance(200);
    await none(7);
    expect(asked).toEqual([7, 7]);
    for (let uid = 1000; uid < 3000; uid++) await none(uid);
    await none(7);
    expect(asked).toHaveLength(2003);
  });

  test('that the name service does not answer is not kept', async () => {
    let asked = 0;
    const nameOf = openNames(handClock(), async () => {
      asked++;
      throw new Failed({ kind: 'transient', what: 'getent does not answer' });
    });
    await expect(Promise.all([nameOf(7), nameOf(7)])).rejects.toThrow('does not answer');
    await expect(nameOf(7)).rejects.toThrow('does not answer');
    expect(asked).toBe(2);
  });

  test('root is refused without a question', async () => {
    const { asked, look } = counting(() => ({ name: 'root', uid: 0, gid: 0 }));
    await expect(openNames(handClock(), look)(0)).rejects.toThrow('root has no HTCondor jobs');
    expect(asked).toEqual([]);
  });

  test('a name that cannot be a file’s is refused', async () => {
    const { look } = counting((uid) => ({ name: '../root', uid, gid: uid }));
    await expect(openNames(handClock(), look)(5)).rejects.toThrow(Failed);
  });
});
