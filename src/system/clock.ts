import { setTimeout as pause } from 'node:timers/promises';
import type { Clock } from '../core/ports.js';
import { epochMs, timerDelay } from '../core/time.js';

export const systemClock: Clock = {
  now: () => epochMs(Date.now()),
  steady: () => performance.now(),
  async sleep(span, stop) {
    try {
      await pause(timerDelay(span * 1000), undefined, { signal: stop });
    } catch (thrown) {
      stop.throwIfAborted();
      throw thrown;
    }
  },
  after(ms, then) {
    const timer = setTimeout(then, timerDelay(ms)).unref();
    return () => clearTimeout(timer);
  },
};
