import { renameSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Failed } from '../../src/core/failure.js';
import { seconds } from '../../src/core/time.js';
import { type DaemonParts, runOnce, startDaemon } from '../../src/daemon/run.js';
import { hours, minutes, type Options, provider, station } from './kit.js';

/** A station as a whole daemon, whose file system events a test sends. */
function open(options: Options = {}) {
  const s = station(options);
  const done = { completed: 0, rounds: 0, reloads: 0, sweeps: 0 };
  const reload = { next: async () => false, outdated: false };
  const added = new Set<string>();
  let tell: Parameters<DaemonParts['watch']>[0] = () => {};
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
    outdated: () => reload.outdated,
    reload: async () => {
      done.reloads++;
      return reload.next();
    },
    watch: (seen) => {
      tell = seen;
      return {
        room: 10,
        add: (user) => void added.add(user),
        fit: () => {},
        again: () => {
          done.sweeps++;
          return [];
        },
        close: () => {
          closed = true;
        },
      };
    },
  };
  return {
    ...s,
    parts,
    done,
    reload,
    added,
    event: (user?: string, leaving?: boolean) => tell(user, leaving),
    isClosed: () => closed,
  };
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

  test('one who has given way to another is looked at, and takes nobody’s place for it', async () => {
    const s = open();
    startDaemon(s.parts);
    await s.clock.pass(100);
    s.login(s.book().grant(), { user: 'bob' });
    s.event('bob', true);
    await s.clock.pass(1);
    expect(s.health('bob/cilogon')?.state).toBe('fresh');
    expect(s.added.has('bob')).toBe(false);
  });

  test('SIGHUP while a pass waits for an issuer that hangs: it looks now', async () => {
    const s = open({ providers: [provider('cilogon'), provider('hung')] });
    const hung = s.book('hung').hold();
    s.login(s.book('hung').grant(), { service: 'hung' });
    const daemon = startDaemon(s.parts);
    await s.clock.pass(100);
    expect(s.done.completed).toBe(0);
    s.login(s.book().grant());
    daemon.wake();
    await s.clock.pass(1);
    expect(s.health()?.state).toBe('fresh');
    expect(s.done).toMatchObject({ completed: 0, rounds: 2, sweeps: 2 });
    // That look was the next pass's as well.
    hung.release();
    await s.clock.pass(2000);
    expect(s.done).toMatchObject({ completed: 2, rounds: 2, sweeps: 2 });
    await s.clock.pass(s.parts.sweep() * 1000);
    expect(s.done).toMatchObject({ completed: 3, rounds: 3, sweeps: 3 });
  });

  test('SIGHUP during a pass, with a credential directory that is gone: said once, and it goes on', async () => {
    const s = open({ providers: [provider('cilogon'), provider('hung')] });
    const hung = s.book('hung').hold();
    s.login(s.book('hung').grant(), { service: 'hung' });
    const daemon = startDaemon(s.parts);
    await s.clock.pass(100);
    renameSync(s.dir, `${s.dir}.away`);
    daemon.wake();
    await s.clock.pass(100);
    hung.release();
    await s.clock.pass(100);
    renameSync(`${s.dir}.away`, s.dir);
    await s.clock.pass(minutes(3));
    expect(s.log.with('the pass was cut short', 'error')).toHaveLength(1);
    expect(s.log.with('a full pass went through again', 'info')).toHaveLength(1);
    expect(s.done.completed).toBeGreaterThan(2);
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

  test('a client secret that was mended is read without a SIGHUP, with the next full pass', async () => {
    const s = open();
    startDaemon(s.parts);
    await s.clock.pass(100);
    expect(s.done.reloads).toBe(0);
    s.reload.outdated = true;
    s.reload.next = async () => {
      s.reload.outdated = false;
      return true;
    };
    await s.clock.pass(s.parts.sweep() * 1000 + 5000);
    expect(s.done.reloads).toBe(1);
    await s.clock.pass(5 * 60_000);
    expect(s.done.reloads).toBe(1);
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

  test('SIGHUPs while the configuration is being read: it is read again, once, and not side by side', async () => {
    const s = open();
    const daemon = startDaemon(s.parts);
    await s.clock.pass(100);
    let reading = 0;
    let most = 0;
    s.reload.next = async () => {
      most = Math.max(most, ++reading);
      // As condor_config_val that stands still.
      await s.clock.sleep(seconds(12), new AbortController().signal);
      reading--;
      throw new Failed({ kind: 'transient', what: 'gave no answer', hint: 'see whether it has a name' });
    };
    for (let n = 0; n < 20; n++) {
      daemon.wake();
      await s.clock.pass(1000);
    }
    await s.clock.pass(minutes(1));
    expect(most).toBe(1);
    // At once, after that one, and after that.
    expect(s.done.reloads).toBe(3);
    // The other configuration may be there all the same: it is tried again each minute, without a word.
    await s.clock.pass(minutes(5));
    expect(most).toBe(1);
    expect(s.done.reloads).toBe(7);
    const told = 'gave no answer; the configuration stays as it was (see whether it has a name)';
    expect(s.log.with(told, 'error')).toHaveLength(1);
    // Not at each, but whoever tries again is told again.
    daemon.wake();
    await s.clock.pass(minutes(1));
    expect(s.log.with(told)).toHaveLength(2);
    const begun = s.done.reloads;
    s.reload.next = async () => false;
    await s.clock.pass(minutes(10));
    expect(s.done.reloads).toBe(begun + 1);
    expect(s.log.with(told)).toHaveLength(2);
    expect(s.log.with('the configuration can be read again', 'info')).toHaveLength(1);
  });

  test('SIGHUP with another configuration: everybody is told of it, also who is not refreshed for long', async () => {
    const s = open();
    for (const user of ['alice', 'bob']) s.login(s.book().grant(), { user });
    const daemon = startDaemon(s.parts);
    await s.clock.pass(minutes(1));
    const told = () => ['1001.json', '1002.json'].map((name) => s.snapshot(name).providers.length);
    expect(told()).toEqual([1, 1]);
    s.reload.next = async () => {
      s.configured.set('dune', provider('dune'));
      return true;
    };
    daemon.wake();
    await s.clock.pass(5000);
    expect(told()).toEqual([2, 2]);
  });

  test('SIGHUP with one more provider: what has lain there for it is seen at once', async () => {
    const s = open({ coarse: 0 });
    s.login(s.book().grant());
    s.login(s.book('dune').grant(), { service: 'dune' });
    const daemon = startDaemon(s.parts);
    await s.clock.pass(minutes(10));
    expect(s.health('alice/dune')).toBeUndefined();
    s.reload.next = async () => {
      s.configured.set('dune', provider('dune'));
      return true;
    };
    daemon.wake();
    await s.clock.pass(1000);
    expect(s.health('alice/dune')).toMatchObject({ state: 'fresh' });
  });

  test('SIGHUP with a provider whose name was a service and a handle: what lies there for it goes on as that one', async () => {
    const s = open({ coarse: 0 });
    s.login(s.book('dune_production').grant(), { service: 'dune_production' });
    s.configured.set('dune', provider('dune'));
    const daemon = startDaemon(s.parts);
    await s.clock.pass(minutes(10));
    expect(s.health('alice/dune_production')).toMatchObject({ provider: 'dune', handle: 'production' });
    s.reload.next = async () => {
      s.configured.set('dune_production', provider('dune_production'));
      return true;
    };
    daemon.wake();
    await s.clock.pass(1000);
    const health = s.health('alice/dune_production');
    expect(health).toMatchObject({ provider: 'dune_production', state: 'fresh' });
    expect(health).not.toHaveProperty('handle');
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
    for (let n = 0; n < 10; n++) {
      daemon.wake();
      await s.clock.pass(5000);
    }
    expect(s.done.reloads).toBeGreaterThan(8);
    expect(s.log.with('line 3 is wrong; the configuration stays as it was', 'error')).toHaveLength(1);
    s.reload.next = async () => false;
    daemon.wake();
    await s.clock.pass(minutes(1));
    expect(s.log.with('the configuration can be read again', 'info')).toHaveLength(1);
    expect(s.health()?.state).toBe('fresh');
  });

  test('a credential directory that is gone for a while is said, and it goes on', async () => {
    const s = open();
    s.login(s.book().grant());
    startDaemon(s.parts);
    await s.clock.pass(100);
    renameSync(s.dir, `${s.dir}.away`);
    await s.clock.pass(minutes(3));
    // At each pass, and there were several.
    expect(s.log.with('the pass was cut short', 'error')).toHaveLength(1);
    const completed = s.done.completed;
    renameSync(`${s.dir}.away`, s.dir);
    await s.clock.pass(hours(2));
    expect(s.done.completed).toBeGreaterThan(completed + 50);
    expect(s.log.with('a full pass went through again', 'info')).toHaveLength(1);
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
