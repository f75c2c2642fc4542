import { fork } from 'node:child_process';
import { once } from 'node:events';
import { bundled } from './bundled.js';

export interface Behaviour {
  /** Milliseconds from the request to the answer. */
  latency: number;
  /** Of access tokens: seconds. */
  life: number;
  rotates: boolean;
  /** Whether the refresh token before the newest is taken as well, as some issuers do for those whose answer was lost. */
  grace: boolean;
  /** Other than 200: nothing is refreshed, and this is answered to everything. */
  status: number;
}

export interface Counts {
  /** At the token endpoint. */
  requests: number;
  refreshed: number;
  /** Requests with a refresh token that had been rotated before. */
  reused: number;
  refused: number;
  /** The most requests that were there at once. */
  atOnce: number;
  connections: number;
  /** Of the first request and of the last answer: milliseconds since 1970, 0 for none. */
  first: number;
  last: number;
  /** Requests in each second since the start or the last reset; empty where there were none. */
  seconds: number[];
}

export type Order =
  | { readonly what: 'behave'; readonly change: Partial<Behaviour> }
  | { readonly what: 'counts' | 'reset' | 'grants' };

export interface BenchIssuer {
  readonly url: string;
  readonly pid: number;
  behave(change: Partial<Behaviour>): Promise<void>;
  counts(): Promise<Counts>;
  /** Counts from zero again. */
  reset(): Promise<void>;
  /** How often each grant was rotated, by its name; none for those that never were. */
  grants(): Promise<ReadonlyMap<string, number>>;
  stop(): Promise<void>;
}

/** The refresh token of a grant after so many rotations: the issuer knows every grant that is asked for. */
export const tokenOf = (name: string, generation = 0): string => `bench.${name}.${generation}.${'p'.repeat(48)}`;

/** Starts the issuer of issuer-main.ts; it ends with us. */
export async function startBenchIssuer(change: Partial<Behaviour> = {}): Promise<BenchIssuer> {
  const child = fork(await bundled('test/bench/kit/issuer-main.ts'));
  const [{ url }] = (await once(child, 'message')) as [{ url: string }];
  // One order at a time: answers come in the order of the questions.
  let last: Promise<unknown> = Promise.resolve();
  const order = <T>(what: Order): Promise<T> => {
    const answer = last.then(async () => {
      child.send(what);
      const [reply] = await once(child, 'message');
      return reply as T;
    });
    last = answer.catch(() => {});
    return answer;
  };
  const issuer: BenchIssuer = {
    url,
    pid: child.pid as number,
    behave: async (more) => void (await order({ what: 'behave', change: more })),
    counts: () => order<Counts>({ what: 'counts' }),
    reset: async () => void (await order({ what: 'reset' })),
    grants: async () => new Map(await order<[string, number][]>({ what: 'grants' })),
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      await ended;
    },
  };
  await issuer.behave(change);
  return issuer;
}
