import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, test } from 'vitest';
import { Intents } from '../../src/daemon/intents.js';
import { type DirHandle, openDir } from '../../src/stores/atomic.js';
import { diskDirectory } from './disk.js';
import { crashes, type History, histories, play } from './history.js';
import { memoryDirectory } from './memory.js';
import { users, type WorldOptions } from './world.js';

/** CI runs the long mode of these in a step of its own; `npm test` has to stay quick. */
const count = (short: number, long: number): number => (process.env.CREDMON_TEST_LONG === 'yes' ? long : short);
const services = ['cilogon', 'igwn'];

const inMemory = (history: History) =>
  play(history, { directory: (now) => memoryDirectory({ services: () => services, now }) });

/** With a folder of its own, and what each process keeps of the refresh tokens that are out in it. */
async function inFolder(
  history: History,
  options: (dir: string) => Pick<WorldOptions, 'directory' | 'settled'>,
): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'credmon-model-'));
  let held: DirHandle | undefined;
  const intents: WorldOptions['intents'] = (parts) => {
    held?.close();
    held = openDir(dir);
    return new Intents(held, parts);
  };
  try {
    chmodSync(dir, 0o2770);
    await play(history, { ...options(dir), intents });
  } finally {
    held?.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

const onDisk = (history: History) =>
  inFolder(history, (dir) => {
    let settled = async () => {};
    return {
      directory: (now) => {
        const disk = diskDirectory(dir, now, services);
        settled = disk.settled;
        return disk.directory;
      },
      settled: () => settled(),
    };
  });

const withIntents = (history: History) =>
  inFolder(history, () => ({ directory: (now) => memoryDirectory({ services: () => services, now }) }));

/**
 * Of the scheduler, the refresh and the store: never two refreshes of one credential, or two requests with one grant, at
 * once; no refresh token presented again of which it was known that it had been replaced; no `.use` newer than its `.top`;
 * no healthy credential with less left than is guaranteed, whatever befalls the others; nothing that was deleted comes back;
 * nobody asked sooner than pauses and lives say; no secret in the log; and when all is well again each stands as it should.
 * With the intent record also: whose refresh token was replaced without the new one being on disk is named at the next start.
 */
describe('whatever happens, the rules are kept', () => {
  const runs = { memory: count(2000, 100_000), crashes: count(150, 3000), disk: count(30, 200) };

  test(`in ${runs.memory} random histories, with the credentials in memory`, { timeout: 900_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(histories, async (history) => void (await inMemory(history))),
      { numRuns: runs.memory },
    );
  });

  test(`in ${runs.crashes} of many crashes, with the intent record on disk`, { timeout: 900_000 }, async () => {
    await fc.assert(fc.asyncProperty(crashes, withIntents), { numRuns: runs.crashes });
  });

  test(`in ${runs.disk} random histories, with the credentials on disk`, { timeout: 900_000 }, async () => {
    await fc.assert(fc.asyncProperty(histories, onDisk), { numRuns: runs.disk });
  });
});

/** What random histories have found, as short as fast-check could make them. */
describe('what was found by such histories stays mended', () => {
  const usual = { rotations: ['strict', 'lenient'], chance: 0 } as const;
  test.each<[string, History]>([
    [
      'a login after the clock was set back is fetched for, although the token on disk seems newer',
      {
        ...usual,
        commands: [
          { act: 'login', who: 4, seen: false },
          { act: 'forward', ms: 15_000 },
          { act: 'leap', ms: -86_400_000 },
          { act: 'login', who: 4, seen: false },
          { act: 'sweep' },
        ],
      },
    ],
    [
      'the machine slept while an answer was on its way: its token is a day old',
      {
        ...usual,
        commands: [
          { act: 'login', who: 0, seen: false },
          { act: 'forward', ms: 0 },
          { act: 'suspend', ms: 86_400_000, still: true },
        ],
      },
    ],
    [
      'the clock was set back while an answer was on its way: its token is not of tomorrow',
      {
        ...usual,
        commands: [
          { act: 'login', who: 0, seen: false },
          { act: 'forward', ms: 0 },
          { act: 'leap', ms: -86_400_000 },
        ],
      },
    ],
    [
      'a folder that is moved away while an answer is on its way, and comes back, gets the new refresh token',
      {
        ...usual,
        commands: [
          { act: 'login', who: 0, seen: false },
          { act: 'part', timers: 1, n: 3 },
          { act: 'folder', user: users[0], away: true, seen: true },
          { act: 'forward', ms: 15_000 },
          { act: 'folder', user: users[0], away: false, seen: true },
        ],
      },
    ],
    [
      'the clock was set back by a day while a token was written, and then the machine slept for one',
      {
        ...usual,
        commands: [
          { act: 'login', who: 0, seen: false },
          { act: 'part', timers: 2, n: 2 },
          { act: 'leap', ms: -86_400_000 },
          { act: 'suspend', ms: 86_400_000, still: false },
        ],
      },
    ],
    [
      'the clock was set back while a token was written: it is not refreshed a day late',
      {
        rotations: ['strict', 'keeps'],
        chance: 0,
        commands: [
          { act: 'login', who: 2, seen: false },
          { act: 'part', timers: 2, n: 1 },
          { act: 'leap', ms: -86_400_000 },
        ],
      },
    ],
    [
      'a provider that is configured again is asked at once',
      {
        ...usual,
        commands: [
          { act: 'config', at: 0, there: false },
          { act: 'login', who: 0, seen: false },
          { act: 'forward', ms: 3_600_000 },
        ],
      },
    ],
    [
      'a folder that cannot be fsynced is not taken for a login after each try',
      {
        ...usual,
        commands: [
          { act: 'disk', user: users[0], work: 'rotate-late', bad: true },
          { act: 'login', who: 0, seen: false },
          { act: 'forward', ms: 1_200_000 },
        ],
      },
    ],
    [
      'a login that is replaced while it is refreshed, with one that is made from it in the queue, is fetched for',
      {
        ...usual,
        commands: [
          { act: 'login', who: 0, seen: false },
          { act: 'login', who: 1, seen: false },
          { act: 'forward', ms: 0 },
          { act: 'login', who: 0, seen: false },
        ],
      },
    ],
    [
      'one whose files could not be read at first is woken by the login that it is made from all the same',
      {
        ...usual,
        commands: [
          { act: 'login', who: 1, seen: false },
          { act: 'disk', user: users[0], work: 'life', bad: true },
          { act: 'forward', ms: 600_000 },
          { act: 'login', who: 0, seen: false },
        ],
      },
    ],
    [
      'a login that is removed: what is made from it is told so, although its own token has hours left',
      {
        ...usual,
        commands: [
          { act: 'login', who: 0, seen: false },
          { act: 'login', who: 1, seen: false },
          { act: 'life', at: 0, life: 43_200 },
          { act: 'forward', ms: 15_000 },
          { act: 'logout', who: 0, seen: false },
        ],
      },
    ],
  ])('%s', async (_, history) => {
    await inMemory(history);
    await onDisk(history);
  });
});
