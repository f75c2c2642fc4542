import type { Clock } from '../../src/core/ports.js';
import { epochMs } from '../../src/core/time.js';

export interface HandClock extends Clock {
  /** Lets `ms` go by. What falls due meanwhile fires in order, each when all before it has come to rest. */
  pass(ms: number): Promise<void>;
  /** The wall clock is set to another time, and no time goes by. */
  jump(ms: number): void;
  /** Waits until what is going on has come to rest, time standing still. */
  rest(): Promise<void>;
  /** How many timers wait. */
  readonly timers: number;
}

/** Turns of the event loop without any work in flight, after which all is taken to be at rest. */
const quiet = 4;
const patienceMs = 15_000;

/**
 * Time that a test moves by hand. It begins now, since files are stamped by the kernel. `busy` tells how much real work is
 * in flight: time waits for it.
 */
export function handClock(busy: () => number = () => 0): HandClock {
  let [steady, wall, count] = [0, Date.now(), 0];
  const timers = new Set<{ readonly at: number; readonly number: number; readonly fire: () => void }>();

  const rest = async (): Promise<void> => {
    const end = performance.now() + patienceMs;
    for (let turns = 0; turns < quiet; turns++) {
      await new Promise((resolve) => setImmediate(resolve));
      if (busy() > 0) turns = -1;
      if (performance.now() > end) throw new Error(`${busy()} pieces of work do not come to an end`);
    }
  };
  const next = (end: number) =>
    [...timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at || a.number - b.number)[0];
  const go = (to: number) => {
    wall += Math.max(0, to - steady);
    steady = Math.max(to, steady);
  };

  const clock: HandClock = {
    now: () => epochMs(wall),
    steady: () => steady,
    after(ms, then) {
      const timer = { at: steady + Math.max(0, ms), number: count++, fire: then };
      timers.add(timer);
      return () => void timers.delete(timer);
    },
    sleep: (span, stop) =>
      new Promise((resolve, reject) => {
        if (stop.aborted) return reject(stop.reason);
        const abort = () => {
          cancel();
          reject(stop.reason);
        };
        const cancel = clock.after(span * 1000, () => {
          (stop as AbortSignal).removeEventListener('abort', abort);
          resolve();
        });
        (stop as AbortSignal).addEventListener('abort', abort, { once: true });
      }),
    rest,
    async pass(ms) {
      const end = steady + ms;
      await rest();
      for (let timer = next(end); timer; timer = next(end)) {
        timers.delete(timer);
        go(timer.at);
        timer.fire();
        await rest();
      }
      go(end);
    },
    jump(ms) {
      wall += ms;
    },
    get timers() {
      return timers.size;
    },
  };
  return clock;
}
