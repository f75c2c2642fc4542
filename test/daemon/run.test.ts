import { renameSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Failed } from '../../src/core/failure.js';
import { seconds } from '../../src/core/time.js';
import { type DaemonParts, runOnce, startDaemon } from '../../src/daemon/run.js';
import { hours, minutes, type Options, provider, station } from './kit.js';

/** A station as a whole daemon, whose file system events a test sends. */
function open(options: Options = {}) {
  const s = station(options);
  const done = { completed: 0, rounds: 0, reloads: 0 };
  const reload = { next: async () => false };
  const added = new Set<string>();
  let tell: (user: string | undefined) => void = () => {};
  let closed = false;
  const intake = { round: async () => void done.rounds++, settle: async () => {} } as unknown as NonNullable<
    DaemonParts['intake']
  >;
  const parts: DaemonParts = {
    keeper: s.keeper,
    report: s.report,
    intake,
    credentials: s.credentials,
    clock: s.clock,
    log: s.log,
    sweep: () => seconds(60),
    completed: async () => void done.completed++,
    reload: async () => {
      done.reloads++;
      return reload.next();
    },
    watch: (seen) => {
      tell = seen;
      return {
        add: (user) => void added.add(user),
        close: () => {
          closed = true;
        },
      };
    },
  };
  return { ...s, parts, done, reload, added, event: (user?: string) => tell(user), isClosed: () => closed };
}

describe('the daemon', () => {
  test('looks at everything, and says so when all that was due was tried', async () => {
    const s = open();
    s.login(s.book().grant());
    startDaemon(s.parts);
    await s.clock.pass(100);
    expect(s.health()?.state).toBe('fresh');
    expect(s.done).toMatchObject({ completed: 1, rounds: 1 });
    expect([...s.added]).toEqual(['alice']);
    await s.clock.pass(2000);
    expect(s.snapshot()).toHaveProperty('swept');
    await s.clock.pass(minutes(10));
    expect(s.done.completed).toBe(11);
    expect(s.book().asked).toHaveLength(1);
  });

  test('sees at once what it is told of, and by itself what it is not', async () => {
    const s = open();
    startDaemon(s.parts);
    await s.clock.pass(100);
    s.login(s.book().grant(), { user: 'bob' });
    s.event('bob');
    await s.clock.pass(1);
    expect(s.health('bob/cilogon')?.state).toBe('fresh');
    expect(s.added.has('bob')).toBe(true);
    s.event(undefined);
    expect(s.done.rounds).toBe(2);
    s.login(s.book().grant());
    await s.clock.pass(minutes(1));
    expect(s.health()?.state).toBe('fresh');
  });

  test('SIGHUP while a pass waits for an issuer that hangs: it looks now', async () => {
    const s = open({ providers: [provider('cilogon'), provider('hung')] });
    s.book('hung').hold();
    s.login(s.book('hung').grant(), { service: 'hung' });
    const daemon = startDaemon(s.parts);
    await s.clock.pass(100);
    expect(s.done.completed).toBe(0);
    s.login(s.book().grant());
    daemon.wake();
    await s.clock.pass(1);
    expect(s.health()?.state).toBe('fresh');
    expect(s.done.rounds).toBeGreaterThan(1);
  });

  test('SIGHUP while the configuration is slow to be read: it looks now, and again afterwards', async () => {
    const s = open();
    const daemon = startDaemon(s.parts);
    await s.clock.pass(100);
    let read: (changed: boolean) => void = () => {};
    s.reload.next = () =>
      new Promise((resolve) => {
        read = resolve;
      });
    s.login(s.book().grant());
    daemon.wake();
    await s.clock.pass(1);
    expect(s.health()?.state).toBe('fresh');
    const before = s.done.completed;
    read(true);
    await s.clock.pass(1);
    expect(s.done.completed).toBe(before + 1);
  });

  test('many SIGHUPs at once, one for each credential that condor_credd stores: few readings', async () => {
    const s = open();
    const daemon = startDaemon(s.parts);
    await s.clock.pass(100);
    for (let n = 0; n < 50; n++) {
      daemon.wake();
      await s.clock.pass(20);
    }
    await s.clock.pass(5000);
    expect(s.done.reloads).toBe(2);
  });

  test('SIGHUP with a configuration that is wrong: the old one stays, which is said', async () => {
    const s = open();
    const daemon = startDaemon(s.parts);
    await s.clock.pass(100);
    s.reload.next = async () => {
      throw new Failed({ kind: 'config', what: 'line 3 is wrong' });
    };
    s.login(s.book().grant());
    daemon.wake();
    await s.clock.pass(1);
    expect(s.log.with('line 3 is wrong; the configuration stays as it was', 'error')).toHaveLength(1);
    expect(s.health()?.state).toBe('fresh');
  });

  test('a credential directory that is gone for a while is said, and it goes on', async () => {
    const s = open();
    s.login(s.book().grant());
    startDaemon(s.parts);
    await s.clock.pass(100);
    renameSync(s.dir, `${s.dir}.away`);
    await s.clock.pass(minutes(3));
    expect(s.log.with('the pass was cut short', 'error').length).toBeGreaterThan(1);
    const completed = s.done.completed;
    renameSync(`${s.dir}.away`, s.dir);
    await s.clock.pass(hours(2));
    expect(s.done.completed).toBeGreaterThan(completed + 50);
    expect(s.health()?.state).toBe('fresh');
  });

  test('its end closes what it watches, and nothing is begun after it', async () => {
    const s = open();
    s.login(s.book().grant());
    const daemon = startDaemon(s.parts);
    await s.clock.pass(100);
    await Promise.all([daemon.stop(false), s.clock.pass(2000)]);
    expect(s.isClosed()).toBe(true);
    const { completed } = s.done;
    s.login(s.book().grant(), { user: 'bob' });
    s.event('bob');
    daemon.wake();
    await s.clock.pass(hours(2));
    expect([s.done.completed, s.book().asked.length]).toEqual([completed, 1]);
  });

  test('a fast end does not wait for what is in flight', async () => {
    const s = open();
    s.book().hold();
    s.login(s.book().grant());
    const daemon = startDaemon(s.parts);
    await s.clock.pass(100);
    const before = s.clock.steady();
    await Promise.all([daemon.stop(true), s.clock.pass(50)]);
    expect(s.clock.steady() - before).toBe(50);
  });
});

describe('one pass', () => {
  test.each([0, 1])('tells how many stand badly: %i', async (bad) => {
    const s = open();
    s.login(s.book().grant());
    if (bad) s.login('dead', { user: 'bob' });
    const [count] = await Promise.all([runOnce(s.parts), s.clock.pass(5000)]);
    expect(count).toBe(bad);
    expect(s.done).toMatchObject({ completed: 1, rounds: 1 });
    expect(s.snapshot().credentials).toHaveLength(1 + bad);
  });
});
