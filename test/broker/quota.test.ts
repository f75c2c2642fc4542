import { describe, expect, test } from 'vitest';
import { Quota, usualLimits, WaitingRoom } from '../../src/broker/quota.js';

describe('Quota', () => {
  test('three for one person, and a place given back is given back once', () => {
    const quota = new Quota();
    const leave = [quota.enter(1), quota.enter(1), quota.enter(1)];
    expect(() => quota.enter(1)).toThrow('you have 3 logins under way already');
    quota.enter(2);
    leave[0]?.();
    leave[0]?.();
    quota.enter(1);
    expect(() => quota.enter(1)).toThrow('you have 3 logins');
    expect(quota.flows).toBe(4);
  });

  test('so many in all', () => {
    const quota = new Quota();
    for (let uid = 0; uid < 200; uid++) quota.enter(uid);
    expect(() => quota.enter(1000)).toThrow('200 logins are under way on this machine');
  });

  test('ten a minute and person, refilled as time goes by', () => {
    const quota = new Quota();
    for (let i = 0; i < 10; i++) quota.draw(1, 0);
    expect(() => quota.draw(1, 0)).toThrow('more than 10 logins or logouts in a minute');
    quota.draw(2, 0);
    expect(() => quota.draw(1, 5999)).toThrow();
    quota.draw(1, 6000);
    expect(() => quota.draw(1, 6000)).toThrow();
    for (let i = 0; i < 10; i++) quota.draw(1, 1_000_000);
    expect(() => quota.draw(1, 1_000_000)).toThrow();
  });

  test('says how long to wait', () => {
    const quota = new Quota({ ...usualLimits, perMinute: 1 });
    quota.draw(1, 0);
    expect(() => quota.draw(1, 15_000)).toThrow(
      expect.objectContaining({ failure: expect.objectContaining({ wait: 45 }) }),
    );
  });

  test('whoever is limited stays so, however many others come', () => {
    const quota = new Quota();
    for (let i = 0; i < 10; i++) quota.draw(1, 0);
    for (let uid = 2; uid < 3000; uid++) quota.draw(uid, 0);
    expect(() => quota.draw(1, 0)).toThrow();
    for (let uid = 3000; uid < 6000; uid++) quota.draw(uid, 600_000);
    for (let i = 0; i < 10; i++) quota.draw(1, 600_000);
    expect(() => quota.draw(1, 600_000)).toThrow();
  });
});

describe('WaitingRoom', () => {
  test('somebody gives way, and who is left to chance', () => {
    const draws = [0, 0.999, 0.5];
    const room = new WaitingRoom<string>(2, () => draws.shift() ?? 0);
    expect([room.enter('a'), room.enter('b'), room.enter('c')]).toEqual([undefined, undefined, 'a']);
    room.leave('b');
    expect(room.enter('d')).toBeUndefined();
    expect(room.enter('e')).toBe('d');
    expect(room.enter('f')).toBe('e');
    expect(room.size).toBe(2);
  });

  test('of those who stay through three rooms of newcomers there are some', () => {
    let stayed = 0;
    for (let round = 0; round < 200; round++) {
      const room = new WaitingRoom<number>(64, Math.random);
      const gone = Array.from({ length: 256 }, (_, i) => room.enter(i));
      // In a room where the oldest goes, nobody of the first 64 is left; here it is one in twenty.
      stayed += gone.includes(0) ? 0 : 1;
    }
    expect(stayed).toBeGreaterThan(0);
  });
});
