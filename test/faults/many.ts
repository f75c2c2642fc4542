import { afterAnswer, type Batch } from '../../src/core/batch.js';
import { Failed, type Failure, Unsent } from '../../src/core/failure.js';
import { keyOf } from '../../src/core/names.js';
import type { Credentials, Log } from '../../src/core/ports.js';
import { later, type Seconds, seconds } from '../../src/core/time.js';
import { Keeper } from '../../src/daemon/keeper.js';
import { handClock } from '../helpers/clock.js';
import { provider } from '../helpers/provider.js';
import { memoryDirectory } from '../model/memory.js';

/** What an issuer does from one moment on: 'down' has nobody listening, 'hang' answers when the client has long given up. */
export type Conduct = 'well' | 'error' | 'reset' | 'down' | 'hang';

/** What the client's HTTP waits for an answer: milliseconds. */
const patience = 20_000;

export interface ManyIssuer {
  readonly name: string;
  conduct: Conduct;
  /** What some of its users are answered, whoever else fares well. */
  refuse(user: string): Failure | undefined;
  /** Every request, by the steady clock. */
  readonly requests: { readonly at: number; readonly user: string; readonly well: boolean }[];
  /** Refresh tokens that were presented again after they had been replaced. */
  reuse: number;
}

export interface ManyOptions {
  readonly issuers?: readonly string[];
  /** Of an access token. */
  readonly life?: Seconds;
  /** What is promised of one. */
  readonly minimum?: Seconds;
  /** Of a request: milliseconds. */
  readonly latency?: number;
}

/** The daemon's scheduler with very many credentials in memory, rotating issuers that take their time, and a clock in the test's hands. */
export function many({
  issuers: names = ['test'],
  life = seconds(3600),
  minimum = seconds(360),
  latency = 50,
}: ManyOptions = {}) {
  let chance = 0;
  const clock = handClock();
  const directory = memoryDirectory({ services: () => names, now: () => clock.now() });
  const configured = new Map(names.map((name) => [name, provider(name)]));
  const current = new Map<string, string>();
  let count = 0;
  const issuers = new Map(
    names.map((name): [string, ManyIssuer] => [
      name,
      { name, conduct: 'well', refuse: () => undefined, requests: [], reuse: 0 },
    ]),
  );
  /** When the token on disk of each ends, by the steady clock. */
  const ends = new Map<string, number>();
  /** The least that was ever left of one when the next was there: milliseconds. */
  const least = new Map<string, number>();

  const publish: Credentials['publish'] = async (id, stamp, token) => {
    await directory.credentials.publish(id, stamp, token);
    const key = keyOf(id);
    const before = ends.get(key);
    if (before !== undefined) least.set(key, Math.min(least.get(key) ?? before, before - clock.steady()));
    ends.set(key, clock.steady() + life * 1000);
  };
  const lines: string[] = [];
  const say = (text: string) => void (lines.length < 1000 && lines.push(text));
  const log: Log = { error: say, warn: say, info: () => {}, debug: () => {} };

  const keeper = new Keeper({
    credentials: { ...directory.credentials, publish },
    clock,
    // Another one each time, and the same in each run.
    random: () => {
      chance = (chance * 48_271 + 11) % 2_147_483_647;
      return chance / 2_147_483_647;
    },
    log,
    provider: (name) => configured.get(name),
    fetch: async (provider, grant, { id, rotation, stop }) => {
      const issuer = issuers.get(provider.name) as ManyIssuer;
      const { conduct } = issuer;
      const refusal = issuer.refuse(id.user);
      issuer.requests.push({ at: clock.steady(), user: id.user, well: conduct === 'well' && refusal === undefined });
      if (conduct === 'down') throw new Unsent(broken('the connection was refused'));
      const issued = clock.now();
      rotation.sending();
      await clock.sleep(seconds((conduct === 'hang' ? patience : latency) / 1000), stop);
      if (refusal) throw new Failed(refusal);
      if (conduct !== 'well') throw new Failed(broken(conduct));
      const key = keyOf(id);
      const given = 'refreshToken' in grant ? grant.refreshToken : undefined;
      if (given !== current.get(key)) issuer.reuse++;
      const refreshToken = `refresh-${++count}`;
      current.set(key, refreshToken);
      await rotation.keep(refreshToken);
      return {
        accessToken: `access-${count}`,
        tokenType: 'bearer',
        issued,
        expires: later(issued, life),
        lifeFrom: 'expires_in',
      };
    },
    minimum: () => minimum,
    changed: () => {},
  });

  return {
    clock,
    keeper,
    lines,
    least,
    issuer: (name = 'test') => issuers.get(name) as ManyIssuer,
    login(user: string, service = 'test', handle?: string) {
      const id = { user, service, ...(handle !== undefined && { handle }) };
      const refreshToken = `refresh-${++count}`;
      current.set(keyOf(id), refreshToken);
      directory.store(id, { refreshToken });
    },
    /** Of its token on disk: milliseconds. */
    left: (key: string): number => (ends.get(key) ?? Number.NEGATIVE_INFINITY) - clock.steady(),
    states(): Record<string, number> {
      const all: Record<string, number> = {};
      for (const { state } of keeper.healths()) all[state] = (all[state] ?? 0) + 1;
      return all;
    },
    /** How many tokens on disk live less than is promised of them. */
    short: (): number => [...ends.values()].filter((at) => at - clock.steady() < minimum * 1000).length,
  };
}

const broken = (why: string): Failure => ({ kind: 'transient', what: `cannot reach it: ${why}` });

/**
 * When each of `count` requests may begin at the soonest, by core/batch.ts, when one goes ahead after an outage and all go
 * well: milliseconds since the first.
 */
export function rate(count: number, latency: number): number[] {
  let batch: Batch = { limit: 1, wins: 0, careful: true };
  const begun: number[] = [0];
  /** When those that are under way end, the soonest first. */
  const ends: number[] = [latency];
  while (begun.length < count) {
    const now = ends.shift() as number;
    batch = afterAnswer(batch, true);
    while (ends.length < batch.limit && begun.length < count) {
      begun.push(now);
      ends.push(now + latency);
    }
  }
  return begun;
}
