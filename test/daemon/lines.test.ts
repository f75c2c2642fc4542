import { rmSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Failed } from '../../src/core/failure.js';
import { Ration } from '../../src/daemon/ration.js';
import { handClock } from '../helpers/clock.js';
import { hours, minutes, type Station, station } from './kit.js';

/** What an administrator sees: without the lines of D_FULLDEBUG. */
const seen = (s: Pick<Station, 'log'>) => s.log.lines.filter((line) => !line.startsWith('debug'));

/** Sweeps each minute, for so many milliseconds. */
async function go(s: Station, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= minutes(1)) {
    const passed = s.keeper.sweep();
    await s.clock.pass(minutes(1));
    await passed;
  }
}

describe('the log has one line a decision', () => {
  test('and none for a refresh that goes as it should, however often', async () => {
    const s = station();
    s.login(s.book().grant());
    await go(s, minutes(1));
    const before = seen(s);
    expect(before.filter((line) => line.includes('refreshed ('))).toHaveLength(1);
    await go(s, hours(20));
    expect(s.book().counts.refreshes).toBeGreaterThan(20);
    expect(seen(s)).toEqual(before);
    // Whoever looks for a fault has them.
    expect(s.log.with('alice/cilogon: refreshed (', 'debug').length).toBe(s.book().counts.refreshes - 1);
  });

  test('for a trouble, and for its end; not for each try', async () => {
    const s = station();
    s.login(s.book().grant());
    await go(s, minutes(1));
    const before = seen(s).length;
    s.book().refusal = { kind: 'transient', what: 'it is down' };
    await go(s, hours(6));
    expect(s.book().asked.length).toBeGreaterThan(20);
    expect(seen(s).slice(before)).toEqual([expect.stringMatching(/^warn: alice\/cilogon: it is down; again in 2 s/)]);
    s.book().refusal = { kind: 'transient', what: 'it is up, and unwell' };
    await go(s, hours(1));
    s.book().refusal = undefined;
    await go(s, hours(6));
    expect(seen(s).slice(before + 1)).toEqual([
      expect.stringMatching(/^warn: alice\/cilogon: it is up, and unwell; again in/),
      expect.stringMatching(/^info: alice\/cilogon: refreshed \(/),
    ]);
  });

  test('for an issuer that is down: of itself, of those who find it so, and of its return', async () => {
    const s = station();
    for (let n = 0; n < 80; n++) s.login(s.book().grant(), { user: `user${n}` });
    await go(s, minutes(1));
    const before = seen(s).length;
    s.book().refusal = { kind: 'transient', what: 'it is down' };
    await go(s, hours(1));
    const down = seen(s).slice(before);
    const alone = down.filter((line) => line.includes('https://cilogon.example fails one after the other'));
    expect(alone).toHaveLength(1);
    // Each of them found out at most once.
    expect(down.length - alone.length).toBeLessThanOrEqual(80);
    expect([...s.keeper.healths()].filter(({ state }) => state === 'retrying')).toHaveLength(80);
    s.book().refusal = undefined;
    await go(s, hours(1));
    const up = seen(s).slice(before + down.length);
    expect(up.filter((line) => line.includes('https://cilogon.example answers again'))).toHaveLength(1);
    // Those who had nothing to say of it have nothing to say of its end.
    const told = new Set(down.flatMap((line) => /user\d+/.exec(line) ?? []));
    expect(up.filter((line) => line.includes('refreshed (')).length).toBe(told.size);
    expect(told.size).toBeLessThan(80);
  });

  test('for what cannot be looked at, and for its end; not for each sweep', async () => {
    const s = station();
    s.login(s.book().grant());
    await go(s, minutes(1));
    const { scan } = s.credentials;
    let broken = true;
    Object.assign(s.credentials, {
      scan: (user: string) => {
        if (broken) throw new Failed({ kind: 'storage', what: 'cannot list alice: the device reports an error' });
        return scan.call(s.credentials, user);
      },
    });
    await go(s, minutes(30));
    broken = false;
    await go(s, minutes(30));
    expect(s.log.with("cannot look at alice's credentials", 'warn')).toHaveLength(1);
    expect(s.log.with("alice's credentials can be looked at again", 'info')).toHaveLength(1);
    broken = true;
    await go(s, minutes(5));
    expect(s.log.with("cannot look at alice's credentials", 'warn')).toHaveLength(2);
  });

  test('for a first token, a login, a removal', async () => {
    const s = station();
    s.login(s.book().grant());
    await go(s, minutes(2));
    s.login(s.book().grant());
    await go(s, minutes(2));
    rmSync(s.at('cilogon.top'));
    await go(s, minutes(2));
    const words = seen(s).map((line) => /fetching one|refreshed|removed/.exec(line)?.[0]);
    expect(words).toEqual(['fetching one', 'refreshed', 'fetching one', 'refreshed', 'removed']);
  });
});

test('what befalls very many within a minute is told of some, and then how many there were', async () => {
  const clock = handClock();
  const [warned, debugged]: [string[], string[]] = [[], []];
  const never = () => {};
  const ration = new Ration({
    clock,
    log: { error: never, info: never, warn: (text) => warned.push(text), debug: (text) => debugged.push(text) },
  });
  for (let n = 0; n < 1000; n++) {
    ration.warn(`line ${n}`);
    if (n % 100 === 0) await clock.pass(1);
  }
  expect([warned.length, debugged.length]).toEqual([60, 940]);
  await clock.pass(minutes(1));
  expect(warned.slice(60)).toEqual(['940 more such lines within a minute: credmon status tells of each credential']);
  ration.warn('another day');
  await clock.pass(minutes(2));
  expect(warned.slice(61)).toEqual(['another day']);
});
