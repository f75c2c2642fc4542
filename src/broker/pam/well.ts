import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { nameTrouble } from '../../core/names.js';
import type { Clock } from '../../core/ports.js';
import { type EpochMs, seconds } from '../../core/time.js';

/** Bytes: credmond's files are a few hundred. */
const largest = 16 * 1024;

/**
 * Whether credmond's file on how this person stands (daemon/login-files.ts) says that their login to the provider is good and
 * need not be renewed yet. Whatever is amiss with it means no: then a login is offered. The file is the person's, who can spare
 * themselves the offer by it and nothing more.
 */
export async function isWell(
  { dir, provider, now }: { readonly dir: string; readonly provider: string; readonly now: EpochMs },
  user: string,
  uid: number,
): Promise<boolean> {
  if (nameTrouble(user) !== undefined) return false;
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  try {
    const file = await open(join(dir, 'login', user), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    try {
      const stat = await file.stat();
      if (!stat.isFile() || stat.uid !== uid || stat.size > largest) return false;
      // It may grow as fast as its owner likes.
      const { buffer, bytesRead } = await file.read(Buffer.alloc(largest), 0, largest, 0);
      const [first = '', , , good = ''] = buffer.toString('utf8', 0, bytesRead).split('\n');
      const [, until] = /^1 (?:ok|warn|login) (\d{1,13}) \d{1,10}$/.exec(first) ?? [];
      if (until === undefined || (until !== '0' && Number(until) * 1000 <= now)) return false;
      return good.split(' ').includes(provider);
    } finally {
      await file.close();
    }
  } catch {
    return false;
  }
}

/** Milliseconds. The module gives a session three seconds for all of it. */
const patience = 1000;
/** Between the first two looks; then twice that, and so on: hundreds may wait at once, where no credmond runs. */
const pace = 15;

/**
 * Whether `well` comes true before people would notice that they wait: a shell that starts sooner than credmond has taken
 * what was handed over would be told by the login hook to log in, and condor_submit would find nothing.
 */
export async function becomesWell(
  well: () => Promise<boolean>,
  clock: Pick<Clock, 'steady' | 'sleep'>,
): Promise<boolean> {
  const { signal } = new AbortController();
  const end = clock.steady() + patience;
  for (let next = pace; ; next *= 2) {
    if (await well()) return true;
    const left = end - clock.steady();
    if (left <= 0) return false;
    await clock.sleep(seconds(Math.min(next, left) / 1000), signal);
  }
}
