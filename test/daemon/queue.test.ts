import { describe, expect, test } from 'vitest';
import { seconds } from '../../src/core/time.js';
import { Gate } from '../../src/daemon/gate.js';
import { type Ended, Queue } from '../../src/daemon/queue.js';
import { handClock } from '../helpers/clock.js';

/** A queue whose jobs end when a test says so, or at once. */
function open({ slow = false } = {}) {
  const clock = handClock();
  const begun: { name: string; at: number }[] = [];
  const running = new Map<string, (ended: Ended) => void>();
  const deferred: string[] = [];
  let twice = 0;
  let [ticks, count] = [0, 0];
  const queue = new Queue({
    clock: {
      ...clock,
      after(ms, then) {
        ticks++;
        return clock.after(ms, then);
      },
    },
    random: () => 0,
    run: (name) => {
      begun.push({ name, at: clock.steady() });
      if (running.has(name)) twice++;
      count = Math.max(count, running.size + 1);
      return new Promise((resolve) => {
        running.set(name, (ended) => {
          running.delete(name);
          resolve(ended);
        });
        if (!slow) running.get(name)?.({ well: true });
      });
    },
    deferred: (name) => void deferred.push(name),
  });
  const end = async (name: string, ended: Ended = { well: true }) => {
    running.get(name)?.(ended);
    await clock.rest();
  };
  return {
    clock,
    queue,
    begun,
    running,
    deferred,
    end,
    names: () => begun.map(({ name }) => name),
    twice: () => twice,
    most: () => count,
    ticks: () => ticks,
  };
}

describe('the queue', () => {
  test('runs each at its time, earliest first', async () => {
    const { queue, clock, begun } = open();
    queue.set('c', 3000, 'x');
    queue.set('a', 1000, 'x');
    queue.set('b', 2000, 'y');
    await clock.pass(10_000);
    expect(begun).toEqual([
      { name: 'a', at: 1000 },
      { name: 'b', at: 2000 },
      { name: 'c', at: 3000 },
    ]);
  });

  test('has a name once: setting it again moves it', async () => {
    const { queue, clock, begun } = open();
    queue.set('a', 1000, 'x');
    queue.set('a', 5000, 'x');
    queue.set('b', 5000, 'x');
    queue.set('b', 2000, 'x');
    await clock.pass(20_000);
    expect(begun).toEqual([
      { name: 'b', at: 2000 },
      { name: 'a', at: 5000 },
    ]);
  });

  test('a name that is set while it runs is run again afterwards, not meanwhile', async () => {
    const { queue, clock, names, end, twice } = open({ slow: true });
    queue.set('a', 0, 'x');
    await clock.pass(0);
    queue.set('a', 1000, 'x');
    await clock.pass(5000);
    expect(names()).toEqual(['a']);
    await end('a');
    expect(names()).toEqual(['a', 'a']);
    await end('a');
    await clock.pass(60_000);
    expect(names()).toEqual(['a', 'a']);
    expect(twice()).toBe(0);
  });

  test('a name that is taken out is not run, nor run again', async () => {
    const { queue, clock, names, end } = open({ slow: true });
    for (const name of ['a', 'b']) queue.set(name, 0, 'x');
    queue.delete('b');
    await clock.pass(0);
    queue.set('a', 0, 'x');
    queue.delete('a');
    await end('a');
    await clock.pass(60_000);
    expect(names()).toEqual(['a']);
  });

  test('one that stands in line is taken out of it too, and moved when it is set again', async () => {
    const { queue, clock, names, end } = open({ slow: true });
    for (let n = 0; n < 11; n++) queue.set(`u${n}/s`, n, 'x');
    await clock.pass(10);
    queue.delete('u8/s');
    queue.set('u9/s', 5000, 'x');
    for (let n = 0; n < 8; n++) await end(`u${n}/s`);
    await clock.pass(0);
    expect(names()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 10].map((n) => `u${n}/s`));
    await clock.pass(5000);
    expect(names().at(-1)).toBe('u9/s');
  });

  test('a name that changes its lane while it stands in line is run once', async () => {
    const { queue, clock, names, end, twice } = open({ slow: true });
    for (let n = 0; n < 9; n++) queue.set(`u${n}/s`, n, 'x');
    await clock.pass(8);
    queue.set('u8/s', 0, 'y');
    await clock.pass(0);
    expect(names().filter((name) => name === 'u8/s')).toHaveLength(1);
    for (let n = 0; n < 8; n++) await end(`u${n}/s`);
    await clock.pass(1000);
    await end('u8/s');
    await clock.pass(60_000);
    expect(names().filter((name) => name === 'u8/s')).toHaveLength(1);
    expect(twice()).toBe(0);
  });

  test('64 at once over all lanes, and it waits for a place without a timer that spins', async () => {
    const { queue, clock, running, end, most, ticks } = open({ slow: true });
    for (let n = 0; n < 20; n++) queue.set(`u0/${n}`, n, '0');
    for (let n = 0; n < 8; n++) for (let lane = 1; lane < 8; lane++) queue.set(`u${lane}/${n}`, 50 + n, `${lane}`);
    await clock.pass(60);
    expect(running.size).toBe(64);
    // The gate of lane 0 has opened wider by that, and somebody stands in front of it; but there is no place.
    for (let n = 0; n < 8; n++) await end(`u0/${n}`);
    expect(running.size).toBe(64);
    const before = ticks();
    await clock.pass(60_000);
    expect(ticks() - before).toBeLessThan(10);
    while (running.size > 0) await end([...running.keys()][0] as string);
    expect(most()).toBe(64);
  });

  test('those in front of a gate that closes are told, and run when it is open again, one going ahead', async () => {
    const { queue, clock, names, deferred, end, begun } = open({ slow: true });
    for (let n = 0; n < 20; n++) queue.set(`u${n}/s`, n, 'x');
    await clock.pass(20);
    for (let n = 0; n < 8; n++) await end(`u${n}/s`, { well: false });
    expect(new Set(deferred)).toEqual(new Set(Array.from({ length: 12 }, (_, n) => `u${n + 8}/s`)));
    expect(names()).toHaveLength(8);
    await clock.pass(120_000);
    expect(names()).toHaveLength(9);
    await end(begun.at(-1)?.name as string);
    expect(names().length).toBeGreaterThan(9);
  });

  test('after its end nothing is begun, and it waits for what runs', async () => {
    const { queue, clock, names, end } = open({ slow: true });
    queue.set('a', 0, 'x');
    await clock.pass(0);
    queue.set('b', 1000, 'x');
    let over = false;
    void queue.stop().then(() => {
      over = true;
    });
    await clock.pass(10_000);
    expect([over, names()]).toEqual([false, ['a']]);
    queue.set('a', 0, 'x');
    await end('a');
    await clock.pass(10_000);
    expect([over, names()]).toEqual([true, ['a']]);
    await queue.stop();
  });

  test('a wall clock that goes back delays nothing; one that goes forward is noticed within 15 s', async () => {
    const { queue, clock, begun } = open();
    queue.set('a', 60_000, 'x');
    clock.jump(-3_600_000);
    await clock.pass(60_000);
    expect(begun).toEqual([{ name: 'a', at: 60_000 }]);
    queue.set('b', 3_600_000, 'x');
    clock.jump(3_600_000);
    await clock.pass(15_000);
    expect(begun[1]?.name).toBe('b');
  });

  test('a job in half a year does not come at once', async () => {
    const { queue, clock, begun } = open();
    queue.set('a', 182 * 86_400_000, 'x');
    await clock.pass(60_000);
    expect(begun).toEqual([]);
  });
});

describe('the gate', () => {
  const gate = () => new Gate(() => 0);
  const go = (g: Gate, user: string, well: boolean, now = 0) => {
    g.enter();
    g.leave(user, well, now);
  };
  /** How many it lets in now. */
  const fill = (g: Gate) => {
    let inside = 0;
    for (; g.wait(0) === 0; inside++) g.enter();
    return inside;
  };

  test('lets a few in, more when it goes well, fewer when it does not', () => {
    const g = gate();
    expect(fill(g)).toBe(8);
    expect(g.wait(0)).toBeUndefined();
    for (let n = 0; n < 8; n++) g.leave('a', true, 0);
    expect(fill(g)).toBe(9);
    for (let n = 0; n < 9; n++) g.leave('a', n !== 8, 0);
    expect(fill(g)).toBeLessThan(9);
  });

  test('closes when three people fail and nobody fares well, for longer each time, and then lets one through to see', () => {
    const g = gate();
    go(g, 'a', false);
    go(g, 'b', false);
    go(g, 'c', true);
    go(g, 'a', false);
    go(g, 'b', false);
    expect(g.wait(0)).toBe(0);
    go(g, 'c', false);
    expect(g.wait(0)).toBe(2000);
    expect(g.wait(1999)).toBe(1);
    expect(g.wait(2000)).toBe(0);
    g.enter();
    expect(g.wait(2000)).toBeUndefined();
    g.leave('c', false, 2000);
    expect(g.wait(2000)).toBe(5000);
    expect([g.prefers('c'), g.prefers('d')]).toEqual([false, true]);
    go(g, 'd', true, 7000);
    expect(g.wait(7000)).toBe(0);
    expect(g.prefers('c')).toBe(true);
  });

  test('one person whose credentials fail again and again closes it for nobody', () => {
    const g = gate();
    for (let n = 0; n < 50; n++) go(g, 'mallory', false);
    expect(g.wait(0)).toBe(0);
    expect(fill(g)).toBeGreaterThan(1);
  });

  test('closes for as long as the issuer asks for, within reason', () => {
    for (const [asked, pause] of [
      [90, 90_000],
      [1e9, 3_600_000],
    ] as const) {
      const g = gate();
      for (const user of ['a', 'b', 'c']) {
        g.enter();
        g.leave(user, false, 0, seconds(asked));
      }
      expect(g.wait(0)).toBe(pause);
    }
  });
});
