import fc from 'fast-check';
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
  const answers = new Map<string, (() => void)[]>();
  const deferred: string[] = [];
  let twice = 0;
  let [ticks, count] = [0, 0];
  const queue = new Queue({
    places: 64,
    clock: {
      ...clock,
      after(ms, then) {
        ticks++;
        return clock.after(ms, then);
      },
    },
    random: () => 0,
    run: (name, told) => {
      begun.push({ name, at: clock.steady() });
      answers.set(name, [...(answers.get(name) ?? []), told]);
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
    answers,
    answer: (name: string) => answers.get(name)?.at(-1)?.(),
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

  test('64 at once over all lanes when they are late, and it waits for a place without a timer that spins', async () => {
    const { queue, clock, running, end, most, ticks } = open({ slow: true });
    for (let lane = 0; lane < 12; lane++) for (let n = 0; n < 9; n++) queue.set(`u${lane}-${n}/x`, n, `${lane}`);
    await clock.pass(20);
    // One each beyond the few that it takes to be on time.
    expect(running.size).toBe(12);
    await clock.pass(1100);
    expect(running.size).toBe(64);
    const before = ticks();
    await clock.pass(800);
    expect(ticks() - before).toBeLessThan(10);
    while (running.size > 0) await end([...running.keys()][0] as string);
    expect(most()).toBe(64);
  });

  test('four of one person at most: however many they have, and however slow, nobody else waits for them', async () => {
    const { queue, clock, running, end, ticks } = open({ slow: true });
    for (let n = 0; n < 499; n++) queue.set(`mallory/${n}`, 0, 'x');
    await clock.pass(1);
    expect(running.size).toBe(4);
    for (const user of ['alice', 'bob']) queue.set(`${user}/1`, 1, 'x');
    await clock.pass(10);
    expect([...running.keys()].slice(4)).toEqual(['alice/1', 'bob/1']);
    const before = ticks();
    await clock.pass(60_000);
    expect(ticks() - before).toBeLessThan(10);
    // Theirs go on as places of their own become free.
    const theirs = () => [...running.keys()].filter((name) => name.startsWith('mallory'));
    const first = theirs();
    await end(first[0] as string);
    expect(theirs()).toHaveLength(4);
    expect(theirs()).not.toEqual(first);
  });

  test('those in front of a gate that closes are told, and run when it is open again, one going ahead', async () => {
    const { queue, clock, names, deferred, end, begun } = open({ slow: true });
    for (let n = 0; n < 20; n++) queue.set(`u${n}/s`, n, 'x');
    await clock.pass(20);
    for (let n = 0; n < 8; n++) await end(`u${n}/s`, { well: false });
    expect(new Set(deferred)).toEqual(new Set(Array.from({ length: 12 }, (_, n) => `u${n + 8}/s`)));
    expect(names()).toHaveLength(8);
    // And so are those who become due while it is closed.
    queue.set('late/s', 1000, 'x');
    await clock.pass(1000);
    expect(deferred).toContain('late/s');
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

/** A queue at issuers that take their time, and answer as they are told; counts what it has in flight. */
function openAt(
  issuers: Record<string, { takes: number; well: boolean }>,
  /** `disk`: how long after the answer, which is told, what came is written: milliseconds. */
  { places, disk }: { readonly places?: number; readonly disk?: number } = {},
) {
  const clock = handClock();
  const inFlight = new Map<string, number>();
  const begun = new Map<string, number[]>();
  const most = { all: 0, each: new Map<string, number>() };
  const user = (name: string) => name.slice(0, name.indexOf('/'));
  const requests: { name: string; issuer: string; at: number }[] = [];
  const issuerOf = (name: string) => name.slice(name.indexOf('/') + 1).split('-')[0] as string;
  /** When a job is to come again. */
  let again: (name: string, well: boolean) => number | undefined = () => undefined;
  const queue: Queue = new Queue({
    clock,
    random: () => 0,
    places,
    run: (name, answered) =>
      new Promise((resolve) => {
        const issuer = issuerOf(name);
        const { takes, well } = issuers[issuer] as { takes: number; well: boolean };
        inFlight.set(name, clock.steady());
        begun.set(name, [...(begun.get(name) ?? []), clock.steady()]);
        requests.push({ name, issuer, at: clock.steady() });
        most.all = Math.max(most.all, inFlight.size);
        const mine = [...inFlight.keys()].filter((one) => user(one) === user(name)).length;
        most.each.set(user(name), Math.max(most.each.get(user(name)) ?? 0, mine));
        if (disk !== undefined) clock.after(takes, answered);
        clock.after(takes + (disk ?? 0), () => {
          inFlight.delete(name);
          const ms = again(name, well);
          if (ms !== undefined) queue.set(name, ms, issuer);
          resolve({ well });
        });
      }),
    deferred: () => {},
  });
  return {
    clock,
    queue,
    inFlight,
    begun,
    most,
    requests,
    set: (name: string, ms: number, ahead?: boolean) => queue.set(name, ms, issuerOf(name), ahead),
    repeat: (how: typeof again) => {
      again = how;
    },
    /** How late each was begun. */
    lateness: (due: ReadonlyMap<string, number>) =>
      [...due].map(([name, at]) => (begun.get(name)?.[0] ?? Number.POSITIVE_INFINITY) - at),
  };
}

describe('requests in flight', () => {
  test('140 a second at 50 ms need fewer than ten, and all are on time', async () => {
    const { set, clock, most, lateness } = openAt({ x: { takes: 50, well: true } });
    const due = new Map<string, number>();
    for (let n = 0; n < 1400; n++) due.set(`u${n}/x`, Math.round(n * 7.14));
    for (const [name, at] of due) set(name, at);
    await clock.pass(11_000);
    expect(most.all).toBeLessThan(10);
    expect(Math.max(...lateness(due))).toBeLessThan(250);
  });

  test('140 a second at 200 ms take what they need, and are less than a second late', async () => {
    const { set, clock, most, lateness } = openAt({ x: { takes: 200, well: true } });
    const due = new Map<string, number>();
    for (let n = 0; n < 1400; n++) due.set(`u${n}/x`, Math.round(n * 7.14));
    for (const [name, at] of due) set(name, at);
    await clock.pass(12_000);
    expect(most.all).toBeLessThan(40);
    expect(Math.max(...lateness(due))).toBeLessThan(1000);
  });

  test('2,000 at once at 50 ms are asked for with 64 in flight, and never more', async () => {
    const { set, clock, most, begun } = openAt({ x: { takes: 50, well: true } });
    for (let n = 0; n < 2000; n++) set(`u${n}/x`, 0);
    await clock.pass(1900);
    expect(begun.size).toBe(2000);
    expect(most.all).toBe(64);
  });

  test('2,000 at once with a disk that takes as long as the issuer: soon all places are taken, and half as many are written', async () => {
    const { set, clock, most, begun } = openAt({ x: { takes: 50, well: true } }, { disk: 50 });
    for (let n = 0; n < 2000; n++) set(`u${n}/x`, 0);
    await clock.pass(240);
    // Nobody is late by so much that all places are theirs for that.
    expect(most.all).toBeGreaterThan(40);
    await clock.pass(2400);
    expect(begun.size).toBe(2000);
    expect(most.all).toBe(96);
  });

  test('a quick issuer does not take a slow one’s places while the disk is slow', async () => {
    const issuers = { fast: { takes: 2, well: true }, slow: { takes: 1000, well: true } };
    const { set, clock, begun } = openAt(issuers, { disk: 300 });
    for (let n = 0; n < 9000; n++) set(`f${n}/fast`, 0);
    for (let n = 0; n < 2000; n++) set(`s${n}/slow`, 0);
    await clock.pass(20_000);
    const count = (issuer: string) => [...begun.keys()].filter((name) => name.endsWith(issuer)).length;
    // Half of the places for 1.3 s each would be 490 in 20 s.
    expect(count('slow')).toBeGreaterThan(440);
    expect(count('fast')).toBeGreaterThan(1500);
  });

  test('where there is room for few they are few, however late', async () => {
    const { set, clock, most, begun } = openAt({ x: { takes: 50, well: true } }, { places: 5 });
    for (let n = 0; n < 200; n++) set(`u${n}/x`, 0);
    await clock.pass(3000);
    expect([begun.size, most.all]).toEqual([200, 5]);
  });

  test('ten people at once are ten requests at the most, and who comes then waits for none of them', async () => {
    const { set, clock, begun } = openAt({ x: { takes: 50, well: true } });
    for (let n = 0; n < 10; n++) set(`u${n}/x`, 0);
    await clock.pass(10);
    // There is no token yet, and a person waits: it goes before those that are due since longer.
    for (let n = 0; n < 3000; n++) set(`late${n}/x`, 0);
    await clock.pass(10);
    set('new/x', -7_200_000);
    await clock.pass(60);
    expect(begun.get('new/x')?.[0]).toBeLessThan(80);
  });
});

describe('the backlog', () => {
  test('is what is due and has not begun, and how late the first of it is, whatever goes before it', async () => {
    const issuer = { takes: 50, well: true };
    const { queue, set, clock } = openAt({ x: issuer, y: { takes: 1e9, well: true } }, { places: 8 });
    expect(queue.backlog()).toEqual({ waiting: 0, lateMs: 0, inFlight: 0 });
    for (let n = 0; n < 100; n++) set(`u${n}/y`, n);
    set('later/x', 5000);
    await clock.pass(1000);
    // One issuer hangs, and lets eight in every two seconds.
    expect(queue.backlog()).toEqual({ waiting: 92, lateMs: 992, inFlight: 8 });
    set('login/y', 0, true);
    expect(queue.backlog()).toEqual({ waiting: 93, lateMs: 992, inFlight: 8 });
    queue.delete('u8/y');
    expect(queue.backlog()).toEqual({ waiting: 92, lateMs: 991, inFlight: 8 });
  });

  test('counts those whose issuer is being left alone', async () => {
    const issuer = { takes: 10, well: false };
    const { queue, set, clock } = openAt({ x: issuer });
    for (let n = 0; n < 20; n++) set(`u${n}/x`, 0);
    await clock.pass(500);
    const { waiting, lateMs, inFlight } = queue.backlog();
    expect(inFlight).toBe(0);
    expect(waiting).toBeGreaterThan(8);
    expect(lateMs).toBe(500);
  });
});

describe('an issuer that hangs', () => {
  test('keeps nobody else waiting, with one of three hanging and a herd at each', async () => {
    const issuers = { a: { takes: 50, well: true }, b: { takes: 20_000, well: false }, c: { takes: 50, well: true } };
    const { set, clock, requests, inFlight, lateness } = openAt(issuers);
    for (let n = 0; n < 300; n++) set(`b${n}/b`, 0);
    const due = new Map<string, number>();
    for (let n = 0; n < 400; n++) for (const issuer of ['a', 'c']) due.set(`${issuer}${n}/${issuer}`, 100 + 20 * n);
    for (const [name, at] of due) set(name, at);
    await clock.pass(1000);
    expect([...inFlight.keys()].filter((name) => name.endsWith('/b'))).toHaveLength(8);
    await clock.pass(9000);
    expect(Math.max(...lateness(due))).toBeLessThan(500);
    // It gets no more while it hangs, nor afterwards than one to see.
    await clock.pass(60_000);
    expect(requests.filter(({ issuer }) => issuer === 'b').length).toBeLessThan(12);
  });

  test('that was quick before has 64 hanging, for two seconds of which the others have a place each', async () => {
    const issuers = { a: { takes: 50, well: true }, b: { takes: 50, well: true } };
    const { set, clock, inFlight, lateness } = openAt(issuers);
    for (let n = 0; n < 3000; n++) set(`b${n}/b`, 0);
    await clock.pass(500);
    issuers.b = { takes: 20_000, well: false };
    await clock.pass(100);
    expect(inFlight.size).toBe(64);
    const due = new Map<string, number>();
    for (let n = 0; n < 20; n++) due.set(`a${n}/a`, 50 + 100 * n);
    // One place would not do for these.
    for (let n = 20; n < 1700; n++) due.set(`a${n}/a`, 2000 + 10 * n);
    for (const [name, at] of due) set(name, at);
    await clock.pass(20_000);
    expect(Math.max(...lateness(new Map([...due].map(([name, at]) => [name, at + 600]))))).toBeLessThan(100);
  });

  test.each([
    [1, 64, 256],
    [3, 192, 256],
    [50, 253, 256],
  ])('%i of them have %i in flight for ever, and leave a good one the rest of %i', async (count, theirs, all) => {
    const hanging = Array.from({ length: count }, (_, n) => [`i${n}`, { takes: 50, well: true }] as const);
    const issuers: Record<string, { takes: number; well: boolean }> = {
      ...Object.fromEntries(hanging),
      good: { takes: 50, well: true },
    };
    const { set, clock, most, inFlight, begun } = openAt(issuers);
    // They were quick before, and have 64 at once.
    for (let n = 0; n < 100 * count; n++) set(`w${n}/i${n % count}`, 0);
    await clock.pass(60_000);
    for (const [name] of hanging) issuers[name] = { takes: 1e6, well: false };
    for (let n = 0; n < 500 * count; n++) set(`u${n}/i${n % count}`, 0);
    await clock.pass(100_000);
    expect(inFlight.size).toBe(theirs);
    const before = begun.size;
    for (let n = 0; n < 3000; n++) set(`u${n}/good`, 0);
    await clock.pass(200_000);
    expect(begun.size - before).toBe(3000);
    expect(most.all).toBeLessThanOrEqual(all);
  });

  test('one of whose many hangs, while all hang at three others, goes on with the rest', async () => {
    const well = { takes: 100, well: true };
    const issuers: Record<string, { takes: number; well: boolean }> = { a: well, b: well, c: well, good: well };
    const { set, clock, begun, inFlight } = openAt(issuers);
    for (const name of ['a', 'b', 'c']) for (let n = 0; n < 2000; n++) set(`w${n}/${name}`, 0);
    await clock.pass(30_000);
    for (const name of ['a', 'b', 'c']) issuers[name] = { takes: 1e6, well: false };
    for (const name of ['a', 'b', 'c']) for (let n = 0; n < 200; n++) set(`u${n}/${name}`, 0);
    issuers.good = { takes: 1e6, well: true };
    set('straggler/good', 0);
    await clock.pass(20_000);
    expect(inFlight.has('straggler/good')).toBe(true);
    issuers.good = well;
    const before = begun.size;
    for (let n = 0; n < 1000; n++) set(`u${n}/good`, 0);
    await clock.pass(4000);
    expect(begun.size - before).toBe(1000);
  });
});

describe('one that the issuer has answered', () => {
  /** All places taken, and many more waiting at each of forty issuers. */
  const crowded = async () => {
    const q = open({ slow: true });
    for (let lane = 0; lane < 40; lane++) for (let n = 0; n < 10; n++) q.queue.set(`u${lane}-${n}/x`, n, `${lane}`);
    await q.clock.pass(1100);
    expect(q.running.size).toBe(64);
    return { ...q, first: [...q.running.keys()] };
  };

  test('leaves its place to another while what came is written; half as many as there are places at the most', async () => {
    const { answer, running, first, end, queue } = await crowded();
    for (const [n, name] of first.slice(0, 32).entries()) {
      answer(name);
      expect(running.size).toBe(65 + n);
    }
    for (const name of first.slice(32)) answer(name);
    expect([running.size, queue.running]).toEqual([96, 96]);
    // Nobody else is asked for until one of them is on disk, though 32 places are free.
    for (const name of first) await end(name);
    expect(running.size).toBe(64);
  });

  test('has one place to leave, however often it is told, and none when it has hung', async () => {
    const { answer, running, first, clock, end } = await crowded();
    for (let n = 0; n < 3; n++) answer(first[0] as string);
    expect(running.size).toBe(65);
    await end(first[0] as string);
    answer(first[0] as string);
    expect(running.size).toBe(64);
    await clock.pass(2000);
    expect(running.size).toBe(128);
    answer(first[1] as string);
    expect(running.size).toBe(128);
  });

  test('is in nobody’s way for more than two seconds when the disk hangs, and there are 256 at the most', async () => {
    const { answer, running, clock } = await crowded();
    const sizes = [];
    for (let n = 0; n < 200; n++) {
      for (const name of running.keys()) answer(name);
      sizes.push(running.size);
      await clock.pass(500);
    }
    expect(sizes.slice(0, 6)).toEqual([96, 96, 96, 96, 192, 192]);
    expect(sizes.at(-1)).toBe(252);
  });

  test('tells by the one that has hung for longest when there is a place, though nobody is asked', async () => {
    const { answer, running, first, clock } = await crowded();
    for (const name of first) answer(name);
    await clock.pass(1000);
    for (const name of [...running.keys()].slice(64)) answer(name);
    await clock.pass(999);
    expect(running.size).toBe(96);
    await clock.pass(1);
    expect(running.size).toBe(160);
  });

  test('has no place to leave when it is over, though it runs again', async () => {
    const { queue, clock, names, end, answers } = open({ slow: true });
    queue.set('u0/s', 0, 'x');
    await clock.pass(0);
    queue.set('u0/s', 0, 'x');
    await end('u0/s');
    expect(names()).toHaveLength(2);
    answers.get('u0/s')?.[0]?.();
    for (let n = 1; n < 30; n++) queue.set(`u${n}/s`, 0, 'x');
    await clock.pass(0);
    // Eight, and one more since the first was answered.
    expect(queue.running).toBe(9);
  });

  test('keeps its place where it goes ahead to see whether the issuer is back: how that fares is known at the end', async () => {
    const { queue, clock, names, end, answer, begun } = open({ slow: true });
    for (let n = 0; n < 20; n++) queue.set(`u${n}/s`, n, 'x');
    await clock.pass(20);
    for (let n = 0; n < 8; n++) await end(`u${n}/s`, { well: false });
    await clock.pass(120_000);
    expect(names()).toHaveLength(9);
    answer(begun.at(-1)?.name as string);
    await clock.pass(1000);
    expect(names()).toHaveLength(9);
    await end(begun.at(-1)?.name as string);
    expect(names().length).toBeGreaterThan(9);
  });
});

describe('people', () => {
  test('wait for nobody who has ten thousand, at the same issuer or at another', async () => {
    const { set, clock, begun, most } = openAt({ x: { takes: 50, well: true }, y: { takes: 50, well: true } });
    for (let n = 0; n < 10_000; n++) set(`mallory/${n % 2 ? 'x' : 'y'}-${n}`, 0);
    await clock.pass(1000);
    for (let n = 0; n < 200; n++) set(`u${n}/${n % 2 ? 'x' : 'y'}`, 0);
    await clock.pass(1500);
    expect([...begun.keys()].filter((name) => name.startsWith('u'))).toHaveLength(200);
    expect(most.each.get('mallory')).toBe(4);
    // Theirs go on meanwhile, and all come to their turn.
    await clock.pass(130_000);
    expect(begun.size).toBe(10_200);
  });

  test('with many each take turns, whoever came first', async () => {
    const { set, clock, requests } = openAt({ x: { takes: 50, well: true } });
    for (let user = 0; user < 20; user++) for (let n = 0; n < 30; n++) set(`u${user}/x-${n}`, user);
    await clock.pass(5000);
    expect(requests).toHaveLength(600);
    // Of the first half each has had about half of theirs.
    const counts = new Map<string, number>();
    for (const { name } of requests.slice(0, 300)) {
      const user = name.slice(0, name.indexOf('/'));
      counts.set(user, (counts.get(user) ?? 0) + 1);
    }
    expect(Math.min(...counts.values())).toBeGreaterThanOrEqual(12);
    expect(Math.max(...counts.values())).toBeLessThanOrEqual(18);
  });

  test('with many each have their share of the places beside an issuer that is slow and far behind', async () => {
    const { set, clock, requests, most } = openAt({ x: { takes: 100, well: true }, y: { takes: 1500, well: true } });
    for (let n = 0; n < 3000; n++) set(`y${n}/y`, -3_600_000);
    await clock.pass(20_000);
    // Only one at a time would take ten seconds.
    for (const user of ['m', 'n']) for (let n = 0; n < 50; n++) set(`${user}/x-${n}`, 0);
    await clock.pass(4000);
    expect(requests.filter(({ issuer }) => issuer === 'x')).toHaveLength(100);
    expect(most.all).toBeLessThanOrEqual(65);
  });

  test('with one each come before the second of those who have many, though these are due since longer', async () => {
    const { set, clock, begun } = openAt({ x: { takes: 50, well: true } });
    for (const user of ['m', 'n', 'o']) for (let n = 0; n < 300; n++) set(`${user}/x-${n}`, 0);
    for (let n = 0; n < 20; n++) set(`u${n}/x`, 1);
    await clock.pass(240);
    expect([...begun.keys()].filter((name) => name.startsWith('u'))).toHaveLength(20);
  });

  test('who wait for it go before a herd, however long that has been due', async () => {
    const { set, clock, begun } = openAt({ x: { takes: 50, well: true } });
    for (let n = 0; n < 5000; n++) set(`u${n}/x`, -3_600_000);
    await clock.pass(1000);
    const behind = begun.size;
    set('late/x', 0);
    set('login/x', 0, true);
    set('u4999/x-2', 0, true);
    await clock.pass(100);
    expect(begun.has('login/x')).toBe(true);
    expect(begun.has('u4999/x-2')).toBe(true);
    expect(begun.has('late/x')).toBe(false);
    expect(begun.size - behind).toBeLessThan(200);
  });

  test('who failed before are not those who see whether the issuer is back, where there is somebody else', async () => {
    const { set, clock, requests } = openAt({ x: { takes: 50, well: false } });
    for (const user of ['a', 'b', 'c']) for (let n = 0; n < 5; n++) set(`${user}/x-${n}`, 0);
    for (const user of ['d', 'e']) set(`${user}/x`, 100);
    await clock.pass(10_000);
    const first = requests.findIndex(({ at }) => at > 1000);
    expect(requests.slice(first, first + 2).map(({ name }) => name)).toEqual(['d/x', 'e/x']);
  });
});

describe('an issuer that comes back after an hour', () => {
  test('was hardly asked meanwhile, is not stormed, and has soon been asked for all', async () => {
    const issuers = { x: { takes: 50, well: true } };
    const { set, clock, requests, inFlight, repeat } = openAt(issuers);
    const done = new Set<string>();
    // As the keeper does: 30 s after a failure, and at the end of the token's life.
    repeat((name, well) => {
      if (well) done.add(name);
      return well ? undefined : 30_000;
    });
    issuers.x = { takes: 50, well: false };
    for (let n = 0; n < 5000; n++) set(`u${n}/x`, n * 500);
    await clock.pass(3_600_000);
    // Each minute by one, once it has been down for some.
    expect(requests.length).toBeLessThan(80);
    expect(requests.length).toBeGreaterThan(50);
    expect(inFlight.size).toBe(0);
    issuers.x = { takes: 50, well: true };
    const before = requests.length;
    while (requests.length === before) await clock.pass(1000);
    const back = (requests[before] as { at: number }).at;
    const within = (ms: number) => requests.slice(before).filter(({ at }) => at < back + ms).length;
    await clock.pass(30_000);
    // One, then two at once, then three: as core/batch.ts grows.
    expect(within(50)).toBe(1);
    expect(within(500)).toBeLessThanOrEqual(60);
    expect(within(1000)).toBeLessThanOrEqual(220);
    expect(within(2000)).toBeLessThanOrEqual(840);
    expect(done.size).toBe(5000);
    expect(within(7500)).toBeGreaterThanOrEqual(4900);
  });
});

test('whatever is set, moved and taken out while others run: each runs at its time and not before, once, and never twice at once', async () => {
  const names = Array.from({ length: 12 }, (_, n) => `u${n % 4}/${n}`);
  const act = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant('set' as const),
        name: fc.constantFrom(...names),
        ms: fc.integer({ min: -1000, max: 3000 }),
        lane: fc.constantFrom('x', 'y'),
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('delete' as const), name: fc.constantFrom(...names) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.integer({ min: 0, max: 2500 }) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('end' as const), which: fc.nat(11), well: fc.boolean() }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('answer' as const), which: fc.nat(11) }) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(act, { maxLength: 60 }), async (acts) => {
      const { queue, clock, begun, running, end, answer, twice } = open({ slow: true });
      /** When each is to run next; those that are not to run are not in it. */
      const wanted = new Map<string, number>();
      let seen = 0;
      const look = () => {
        for (const { name, at } of begun.slice(seen)) {
          expect(at).toBeGreaterThanOrEqual(wanted.get(name) ?? Number.POSITIVE_INFINITY);
          wanted.delete(name);
        }
        seen = begun.length;
        for (const name of names) expect(queue.isRunning(name)).toBe(running.has(name));
        expect(queue.running).toBe(running.size);
      };
      for (const step of acts) {
        if (step.do === 'set') {
          queue.set(step.name, step.ms, step.lane);
          wanted.set(step.name, clock.steady() + step.ms);
        } else if (step.do === 'delete') {
          queue.delete(step.name);
          wanted.delete(step.name);
        } else if (step.do === 'pass') await clock.pass(step.ms);
        else {
          const name = [...running.keys()][step.which];
          if (name !== undefined && step.do === 'answer') answer(name);
          else if (name !== undefined) await end(name, { well: 'well' in step && step.well });
        }
        look();
      }
      for (let round = 0; round < 200 && (wanted.size > 0 || running.size > 0); round++) {
        for (const name of [...running.keys()]) await end(name);
        await clock.pass(5000);
        look();
      }
      expect([wanted.size, running.size, twice()]).toEqual([0, 0, 0]);
    }),
    { numRuns: 150 },
  );
});

describe('the gate', () => {
  const gate = () => new Gate(() => 0);
  const leave = (g: Gate, ...how: Parameters<Gate['fared']>) => {
    g.leave();
    g.fared(...how);
  };
  const go = (g: Gate, who: number, well: boolean, now = 0) => {
    g.enter();
    leave(g, who, well, now);
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
    for (let n = 0; n < 8; n++) leave(g, 1, true, 0);
    expect(fill(g)).toBe(16);
    for (let n = 0; n < 16; n++) leave(g, 1, n !== 15, 0);
    expect(fill(g)).toBe(15);
  });

  test('closes when three people fail and nobody fares well, for longer each time, and then lets one through to see', () => {
    const g = gate();
    go(g, 1, false);
    go(g, 2, false);
    go(g, 3, true);
    go(g, 1, false);
    go(g, 2, false);
    expect(g.wait(0)).toBe(0);
    go(g, 3, false);
    expect(g.wait(0)).toBe(2000);
    expect(g.wait(1999)).toBe(1);
    expect(g.wait(2000)).toBe(0);
    g.enter();
    expect(g.wait(2000)).toBeUndefined();
    leave(g, 3, false, 2000);
    expect(g.wait(2000)).toBe(5000);
    expect([g.hasFailed(3), g.hasFailed(4)]).toEqual([true, false]);
    go(g, 4, true, 7000);
    expect(g.wait(7000)).toBe(0);
    // It may be a trouble of their own, until they fare well themselves.
    expect(g.hasFailed(3)).toBe(true);
    go(g, 3, true, 7000);
    expect(g.hasFailed(3)).toBe(false);
  });

  test('is closed for a minute at most of our own accord, so that it is soon noticed that the issuer is back', () => {
    const g = gate();
    let now = 0;
    for (const who of [1, 2, 3]) go(g, who, false);
    for (let n = 0; n < 20; n++) {
      const wait = g.wait(now) ?? 0;
      expect(wait).toBeLessThanOrEqual(60_000);
      now += wait;
      go(g, n, false, now);
    }
    expect(g.wait(now)).toBe(60_000);
  });

  test('opens for one when issuers are asked in another way, and has forgotten its pauses, but not what the issuer asked for', () => {
    const g = gate();
    let now = 0;
    for (let n = 0; n < 9; n++) {
      go(g, n, false, now);
      now += g.wait(now) ?? 0;
    }
    go(g, 9, false, now);
    expect(g.wait(now)).toBe(60_000);
    g.reopen();
    expect(g.wait(now)).toBe(0);
    g.enter();
    expect(g.wait(now)).toBeUndefined();
    leave(g, 9, false, now);
    expect(g.wait(now)).toBe(2000);
    g.enter();
    leave(g, 9, false, now, seconds(500));
    g.reopen();
    expect(g.wait(now)).toBe(500_000);
  });

  test('is closed for no longer because many were in flight when the issuer failed', () => {
    const g = gate();
    const inside = fill(g);
    for (let n = 0; n < inside; n++) leave(g, n, false, 0);
    expect(g.wait(0)).toBe(2000);
    go(g, 100, false, 2000);
    expect(g.wait(2000)).toBe(5000);
  });

  test('one person whose credentials fail again and again closes it for nobody', () => {
    const g = gate();
    for (let n = 0; n < 50; n++) go(g, 9, false);
    expect(g.wait(0)).toBe(0);
    expect(fill(g)).toBeGreaterThan(1);
  });

  test('closes for as long as the issuer asks for, within reason', () => {
    for (const [asked, pause] of [
      [90, 90_000],
      [1e9, 3_600_000],
    ] as const) {
      const g = gate();
      for (const who of [1, 2, 3]) {
        g.enter();
        leave(g, who, false, 0, seconds(asked));
      }
      expect(g.wait(0)).toBe(pause);
    }
  });
});
