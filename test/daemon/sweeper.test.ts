import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { Sweeper } from '../../src/daemon/sweeper.js';
import { minutes, type Options, type Station, station } from './kit.js';

/** A station whose folders are looked into by a sweeper; which of them it looks into is counted. */
function sweeping(options: Options = {}) {
  const s = station({ coarse: 300, ...options });
  const looked: string[] = [];
  const listed = { count: 0 };
  const watched: string[] = [];
  const sight = { lost: false, room: 10 };
  /** What happens in a folder after it was looked into, and before that is over. */
  const meanwhile: { happens?: (user: string) => Promise<void> } = {};
  const unwatched: string[] = [];
  const keeper = {
    look: async (user: string) => {
      looked.push(user);
      const seen = sight.lost ? false : await s.keeper.look(user);
      await meanwhile.happens?.(user);
      return seen;
    },
    urgent: () => s.keeper.urgent(),
    users: () => s.keeper.users(),
    waiting: () => s.keeper.waiting(),
  };
  const credentials = {
    mark: (user: string | undefined) => s.credentials.mark?.(user) ?? 0,
    users: () => {
      listed.count++;
      return s.credentials.users();
    },
  };
  const sweeper = new Sweeper({
    keeper,
    credentials,
    clock: s.clock,
    watch: {
      get room() {
        return sight.room;
      },
      add: (user, first) => void watched.push(`${user}${first ? ' first' : ''}`),
      fit: () => {},
      again: () => unwatched,
    },
  });
  return { ...s, sweeper, looked, listed, watched, unwatched, sight, meanwhile };
}

/** Until the time stamps of all folders are old enough to be believed. */
async function settle(s: Station, users: readonly string[]): Promise<void> {
  const known = () => [undefined, ...users].every((user) => s.credentials.mark?.(user) !== 0);
  await vi.waitUntil(known, { timeout: 15_000, interval: 20 });
}

/** Three users with tokens that are good for long, looked into when nothing was fresh any more. */
async function atRest() {
  const s = sweeping();
  const users = ['alice', 'bob', 'carol'];
  for (const user of users) s.login(s.book().grant(), { user });
  await s.sweeper.sweep();
  await s.clock.pass(100);
  expect(s.looked).toEqual(expect.arrayContaining(users));
  await settle(s, users);
  await s.sweeper.sweep();
  s.looked.length = 0;
  s.listed.count = 0;
  await s.sweeper.sweep();
  expect([s.looked, s.listed.count]).toEqual([[], 0]);
  return s;
}

describe('a sweep over folders that nobody told of', () => {
  test('looks into none that is as it was, and into each in which something was replaced', async () => {
    const s = await atRest();
    s.login(s.book().grant(), { user: 'bob' });
    await s.sweeper.sweep();
    expect(s.looked).toEqual(['bob']);
    expect(s.health('bob/cilogon')?.state).toBe('new');
    // And again, as long as its time stamp could be that of something that came after the look.
    await s.sweeper.sweep();
    expect(s.looked).toEqual(['bob', 'bob']);
  });

  test('what comes during a look that takes long is found by the next', async () => {
    const s = await atRest();
    s.login(s.book().grant(), { user: 'bob' });
    await settle(s, ['bob']);
    s.meanwhile.happens = async () => {
      s.login(s.book().grant(), { user: 'bob' });
      await settle(s, ['bob']);
    };
    await s.sweeper.sweep();
    delete s.meanwhile.happens;
    await s.sweeper.sweep();
    expect(s.looked).toEqual(['bob', 'bob']);
    await s.sweeper.sweep();
    expect(s.looked).toHaveLength(2);
  });

  test('finds who is new and who is gone', async () => {
    const s = await atRest();
    s.login(s.book().grant(), { user: 'dave' });
    rmSync(join(s.dir, 'alice'), { recursive: true });
    await s.sweeper.sweep();
    expect(s.looked.sort()).toEqual(['alice', 'dave']);
    expect(s.health('dave/cilogon')).toBeDefined();
    expect(s.health('alice/cilogon')).toBeUndefined();
    await settle(s, ['bob', 'carol', 'dave']);
    await s.sweeper.sweep();
    s.looked.length = 0;
    await s.sweeper.sweep();
    expect(s.looked).toEqual([]);
  });

  test('sees what was put in place of a folder, and drops what a link leads to', async () => {
    const s = await atRest();
    renameSync(join(s.dir, 'alice'), join(s.base, 'alice'));
    symlinkSync(join(s.base, 'alice'), join(s.dir, 'alice'));
    await s.sweeper.sweep();
    expect(s.health()).toBeUndefined();
  });

  test('has those watched whom the system did not let us watch, though nothing is new there', async () => {
    const s = await atRest();
    s.watched.length = 0;
    s.unwatched.push('carol');
    await s.sweeper.sweep();
    expect([s.looked, s.watched]).toEqual([[], ['carol']]);
  });

  test('of a user who waits for a login: sees also what is written in place, and has the folder watched first', async () => {
    const s = await atRest();
    s.login('dead', { user: 'bob' });
    await s.sweeper.sweep();
    await s.clock.pass(100);
    expect(s.health('bob/cilogon')?.state).toBe('login-needed');
    await settle(s, ['bob']);
    await s.sweeper.sweep();
    const mark = s.credentials.mark?.('bob');
    writeFileSync(s.at('cilogon.top', 'bob'), JSON.stringify({ refresh_token: s.book().grant() }));
    expect(s.credentials.mark?.('bob')).toBe(mark);
    await s.sweeper.sweep();
    await s.clock.pass(100);
    expect(s.health('bob/cilogon')?.state).toBe('fresh');
    expect(s.watched).toContain('bob first');
  });

  test('of those who wait for a login, no more are watched first than there is room for', async () => {
    const s = await atRest();
    for (const user of ['alice', 'bob', 'carol']) s.login('dead', { user });
    await s.sweeper.sweep();
    await s.clock.pass(100);
    for (const room of [2, 0]) {
      Object.assign(s.sight, { room });
      s.watched.length = 0;
      await s.sweeper.sweep();
      expect(s.watched.filter((name) => name.endsWith(' first'))).toHaveLength(room);
    }
  });

  test('what is written in place for another is the next refresh’s, and seen within the hour', async () => {
    const s = await atRest();
    const grant = s.book().grant();
    writeFileSync(s.at('cilogon.top'), JSON.stringify({ refresh_token: grant }));
    await s.sweeper.sweep();
    expect(s.looked).toEqual([]);
    for (let n = 0; n < 60; n++) {
      await s.clock.pass(minutes(1));
      await s.sweeper.sweep();
    }
    expect(s.looked).toEqual(expect.arrayContaining(['alice', 'bob', 'carol']));
    expect(s.book().accepts(grant)).toBe(false);
    expect(s.book().counts.reuse).toBe(0);
  });

  test('whose grants may be lost are looked at, and tried, before all others, also those who have just logged in', async () => {
    const s = sweeping({ noted: true });
    const users = Array.from({ length: 100 }, (_, n) => `u${n}`);
    for (const user of users) s.login(s.book().grant(), { user });
    // Whoever else would come last.
    const suspects = [...(await s.credentials.users())].slice(-3);
    for (const user of suspects) {
      const [[key, { stamp }] = ['', { stamp: '' }]] = await s.credentials.scan(user);
      s.intents?.sending(key, stamp);
      s.intents?.ended(key);
    }
    const theirs = suspects.map((user) => s.top('cilogon', user));
    await s.sweeper.sweep();
    await s.clock.pass(1000);
    expect(s.looked.slice(0, 3)).toEqual(suspects);
    const asked = s.book().asked.map(({ parameters }) => parameters.refresh_token);
    expect(asked).toHaveLength(users.length);
    expect(asked.slice(0, 3).sort()).toEqual(theirs.sort());
  });

  test('a folder that cannot be looked into is looked into again by each', async () => {
    const s = await atRest();
    s.sight.lost = true;
    s.login(s.book().grant(), { user: 'bob' });
    await s.sweeper.sweep();
    await settle(s, ['bob']);
    await s.sweeper.sweep();
    await s.sweeper.sweep();
    expect(s.looked).toEqual(['bob', 'bob', 'bob']);
    s.sight.lost = false;
    await s.sweeper.sweep();
    await s.sweeper.sweep();
    expect(s.looked).toEqual(['bob', 'bob', 'bob', 'bob']);
  });

  test('those who ask while one is under way share the next: a SIGHUP for each of 500 stored credentials is two', async () => {
    const s = await atRest();
    mkdirSync(join(s.dir, 'dave'));
    const all = Array.from({ length: 500 }, () => s.sweeper.sweep());
    s.login(s.book().grant(), { user: 'erin' });
    await Promise.all([...all, s.sweeper.sweep()]);
    expect(s.listed.count).toBeLessThanOrEqual(2);
    expect(s.health('erin/cilogon')).toBeDefined();
  });

  test('the credential directory in another’s place: said, and nothing is dropped', async () => {
    const s = await atRest();
    renameSync(s.dir, `${s.dir}.away`);
    mkdirSync(s.dir);
    await expect(s.sweeper.sweep()).rejects.toMatchObject({ failure: { kind: 'storage' } });
    expect(s.health()).toBeDefined();
    rmSync(s.dir, { recursive: true });
    renameSync(`${s.dir}.away`, s.dir);
    await s.sweeper.sweep();
    expect(s.health()).toBeDefined();
  });
});

test.each([
  [10_000, 0],
  [10_001, 1],
])('of %i folders it is told %i times that they are very many, before any is looked into', async (count, times) => {
  const { clock } = sweeping();
  const [looked, many, fitted]: [string[], number[], string[]] = [[], [], []];
  const users = Array.from({ length: count }, (_, n) => `user${n}`);
  const sweeper = new Sweeper({
    keeper: {
      look: async (user) => looked.push(user) > 0,
      urgent: () => [],
      users: () => [],
      waiting: () => [],
    },
    credentials: { users: async () => users, mark: () => 1 },
    clock,
    watch: {
      room: 0,
      add: () => {},
      fit: (users) => void fitted.push(`${users} of ${looked.length}`),
      again: () => [],
    },
    many: () => void many.push(looked.length),
  });
  await sweeper.sweep();
  expect(many).toEqual(Array.from({ length: times }, () => 0));
  expect(looked).toHaveLength(count);
  // Once they are known, before any of them is to be watched; and when it is known who is gone.
  expect(fitted).toEqual([`${count} of 0`, `${count} of ${count}`]);
});
