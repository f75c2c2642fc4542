import { expect, test } from 'vitest';
import type { Verdict } from '../../../src/broker/pam/records.js';
import { authOf, doorOn, type Module, phase } from './kit.js';

/** Numbers that are the same in every run: mulberry32. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** A dialogue under way. */
interface Open {
  readonly user: string;
  readonly connection: string;
  readonly module: Module;
  code: string | undefined;
  verdict: Verdict | undefined;
}

/** Among them are logins that are let in, denied, handed over, and taken up by another window. */
const seeds = [152, 162, 165, 175, 177, 179];

test.each(seeds)(
  'in whatever order phases, users and connections come, an approval lets in nobody else (%i)',
  async (seed) => {
    const pick = numbers(seed);
    const one = <T>(list: readonly T[]): T => list[pick(list.length)] as T;
    const door = await doorOn({ pam: { firstFactor: 'optional', pin: false }, issuer: { interval: 1 } });
    const users = ['alice', 'alice', 'bob', 'carol', 'root'];
    const connections = ['c:1', 'c:2', 'c:3'];
    const firsts = ['', authOf().first, 'publickey another'];
    const open: Open[] = [];
    /** Who approved a code. */
    const approvedBy = new Map<string, string>();
    /** Connections that were told `ok`, and have not been told anything else since. */
    const passed = new Set<string>();
    const read = (each: Open) => {
      for (const record of each.module.told) {
        if (record.kind === 'ask')
          each.code =
            /code {2}(\S+)|enter (\S+),/
              .exec(record.text)
              ?.slice(1)
              .find((x) => x) ?? each.code;
        if (record.kind === 'verdict' && each.verdict === undefined) {
          each.verdict = record;
          const key = `${each.connection} ${each.user}`;
          if (record.result === 'ok') {
            expect(record.user).toBe(each.user);
            passed.add(key);
          } else passed.delete(key);
        }
      }
    };
    for (let step = 0; step < 80; step++) {
      const some = one(open);
      const [user, connection] = pick(3) > 0 && some ? [some.user, some.connection] : [one(users), one(connections)];
      const key = `${connection} ${user}`;
      switch (pick(9)) {
        case 0:
        case 1:
        case 2: {
          // sshd ends one dialogue of a connection before it begins another.
          for (const each of open) if (each.connection === connection) each.module.socket.destroy();
          await Promise.all(open.filter((each) => each.connection === connection).map(({ module }) => module.closed));
          await door.clock.rest();
          for (const each of open) read(each);
          passed.delete(key);
          const module = door.auth({
            user,
            connection,
            first: one(firsts),
            rhost: one(['192.0.2.7', '192.0.2.8']),
            mode: one(['login', 'login', 'seed'] as const),
          });
          open.push({ user, connection, module, code: undefined, verdict: undefined });
          break;
        }
        case 3: {
          const code = door.codes[Math.max(0, door.codes.length - 1 - pick(3))];
          const login = one(['alice', 'alice', 'bob']);
          if (code === undefined || approvedBy.has(code)) break;
          try {
            await door.issuer.approve(code, { login });
            approvedBy.set(code, login);
          } catch {
            approvedBy.set(code, 'nobody');
          }
          break;
        }
        case 4:
          await door.clock.pass(1000 * (1 + pick(5)));
          break;
        case 8:
        case 5: {
          const each = one(open);
          if (each?.module.told.at(-1)?.kind === 'ask') each.module.answer();
          break;
        }
        case 6: {
          const verdict = await phase(door, 'account', { user, connection });
          for (const each of open) read(each);
          if (verdict.result === 'ok') expect([key, passed.has(key)]).toEqual([key, true]);
          break;
        }
        case 7: {
          if (pick(3) > 0) break;
          const verdict = await phase(door, 'commit', { user, connection });
          for (const each of open) read(each);
          if (verdict.result === 'ok') expect([key, passed.has(key)]).toEqual([key, true]);
          passed.delete(key);
          break;
        }
      }
      await door.clock.rest();
      for (const each of open) {
        const before = each.verdict;
        read(each);
        if (before === undefined && each.verdict?.result === 'ok')
          // Without a code it is one that this connection has seen before.
          expect(each.code === undefined ? [...approvedBy.values()] : [approvedBy.get(each.code)]).toContain(each.user);
      }
    }
    for (const grant of door.grants()) expect(grant.sub).toBe(grant.user);
    expect(door.door.now.places).toBeLessThanOrEqual(open.length);
    for (const { module } of open) module.socket.destroy();
    await Promise.all(open.map(({ module }) => module.closed));
    await door.clock.pass(61_000);
    expect(door.door.now).toEqual({ places: 0, flows: 0, pending: 0 });
  },
);
