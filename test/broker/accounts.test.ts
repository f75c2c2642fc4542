import { userInfo } from 'node:os';
import { describe, expect, test } from 'vitest';
import { type Account, lookUp, lookUpAll, openLookUps, openNames } from '../../src/broker/accounts.js';
import { Failed } from '../../src/core/failure.js';
import { handClock } from './kit.js';

describe('lookUp', () => {
  test('by uid and by name', async () => {
    const { username: name, uid, gid, homedir: home, shell } = userInfo();
    expect(await lookUp(uid)).toEqual({ name, uid, gid, home, shell });
    expect(await lookUp(name)).toEqual({ name, uid, gid, home, shell });
  });

  test('nobody', async () => {
    expect(await lookUp(4_000_000_123)).toBeUndefined();
    expect(await lookUp('no-such-account')).toBeUndefined();
    expect(await lookUp('--help')).toBeUndefined();
  });
});

describe('openLookUps', () => {
  test('many who ask at once share few processes, and each is told of the name that it asked for', async () => {
    const { username: name, uid } = userInfo();
    const asked: number[] = [];
    const look = openLookUps(handClock(), (names) => {
      asked.push(names.length);
      return lookUpAll(names);
    });
    const names = Array.from({ length: 100 }, (_, i) => (i % 3 === 0 ? name : `no-such-${i}`));
    const found = await Promise.all(names.map(look));
    expect(found.map((account) => account?.uid)).toEqual(names.map((one) => (one === name ? uid : undefined)));
    expect(asked).toEqual([1, expect.any(Number), expect.any(Number)]);
    expect(await look(name)).toMatchObject({ uid });
  });

  test('a name service that takes long is asked by several, up to four', async () => {
    const clock = handClock();
    const asked: (readonly string[])[] = [];
    const answers: (() => void)[] = [];
    const look = openLookUps(clock, (names) => {
      asked.push(names);
      return new Promise((resolve) => answers.push(() => resolve(new Map())));
    });
    const all = [...'abcdef'].map((name) => {
      const found = look(name);
      clock.advance(60);
      return found;
    });
    expect(asked).toEqual([['a'], ['b'], ['c'], ['d']]);
    answers[0]?.();
    expect(await all[0]).toBeUndefined();
    await Promise.resolve();
    expect(asked[4]).toEqual(['e', 'f']);
    for (const answer of answers) answer();
    expect(await Promise.all(all)).toEqual(Array.from({ length: 6 }));
  });

  test('what fails, fails for those who asked then', async () => {
    const failed = new Failed({ kind: 'transient', what: 'getent does not answer' });
    let down = true;
    const look = openLookUps(handClock(), async (names) => {
      if (down) throw failed;
      return lookUpAll(names);
    });
    const all = await Promise.allSettled(Array.from({ length: 50 }, (_, i) => look(`no-such-${i}`)));
    expect(all.every((one) => one.status === 'rejected' && one.reason === failed)).toBe(true);
    down = false;
    expect(await look('no-such-account')).toBeUndefined();
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
