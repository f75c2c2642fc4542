import type { Health } from '../../../src/core/health.js';
import type { Summary, Told } from '../../../src/core/snapshot.js';
import { epochMs, later } from '../../../src/core/time.js';

export const start = epochMs(1_800_000_000_000);

export const health = (user: string, more: Partial<Health> = {}): Told => ({
  user,
  provider: 'osdf',
  service: 'osdf',
  issuer: 'https://osdf.example',
  state: 'fresh',
  since: start,
  refreshes: 1,
  life: { issued: start, expires: later(start, 3600) },
  due: later(start, 1800),
  stamp: '1:1' as Told['stamp'],
  ...more,
});

/** A line of everybody's file. */
export const lineOf = (user: string, ...credentials: readonly Health[]): string =>
  JSON.stringify({ user, credentials });

export const summary = (at = start, pid = process.pid, more: Partial<Summary> = {}): string =>
  JSON.stringify({ v: 1, at, pid, swept: at, warning: 259_200, ...more });

/** Never over: all in one go. */
export const atLeisure = (): boolean => false;
/** Over as soon as it is asked: the smallest piece of work. */
export const hurried = (): boolean => true;
