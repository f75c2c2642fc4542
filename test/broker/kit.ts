import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach } from 'vitest';
import { type NameOf, openNames } from '../../src/broker/accounts.js';
import type { Offers } from '../../src/broker/desk.js';
import type { Limits } from '../../src/broker/quota.js';
import { type Broker, startBroker } from '../../src/broker/server.js';
import type { TokenSet } from '../../src/core/credential.js';
import { Failed } from '../../src/core/failure.js';
import type { Clock, DeviceCode, Issuer, Log } from '../../src/core/ports.js';
import type { Provider } from '../../src/core/provider.js';
import { epochMs } from '../../src/core/time.js';
import * as device from '../../src/grants/device.js';
import { systemClock } from '../../src/system/clock.js';
import { hear } from '../helpers/overheard.js';

/** Root may not log in, so where the tests run as root they become somebody else. The pool of vitest is of processes. */
export function asNobody(): void {
  if (process.getuid?.() !== 0) return;
  process.setgroups?.([65534]);
  process.setegid?.(65534);
  process.seteuid?.(65534);
  afterAll(() => {
    process.seteuid?.(0);
    process.setegid?.(0);
  });
}

const cleanups: (() => unknown)[] = [];
export const cleanup = (then: () => unknown): void => void cleanups.push(then);
afterEach(async () => {
  for (const then of cleanups.splice(0).reverse()) await then();
});

/** A folder of its own for a test, open to everybody like /run/credmon. */
export function room(): string {
  const dir = mkdtempSync(join(tmpdir(), 'credmon-broker-'));
  chmodSync(dir, 0o755);
  cleanup(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

export interface HandClock extends Clock {
  /** Moves the time and fires what is due, in order. */
  advance(ms: number): void;
  /** Resolves when somebody sleeps. */
  asleep(): Promise<void>;
}

/** Time that a test moves by hand; it begins now, since files are stamped by the kernel. */
export function handClock(): HandClock {
  let now = Date.now();
  const begin = now;
  const timers = new Set<{ at: number; fire: () => void }>();
  let sleepers = 0;
  const watchers = new Set<() => void>();
  const at = (ms: number, fire: () => void) => {
    const timer = { at: now + ms, fire };
    timers.add(timer);
    return timer;
  };
  return {
    now: () => epochMs(now),
    steady: () => now - begin,
    after(ms, then) {
      const timer = at(ms, then);
      return () => timers.delete(timer);
    },
    sleep: (span, stop) =>
      new Promise((resolve, reject) => {
        if (stop.aborted) return reject(stop.reason);
        sleepers++;
        const leave = () => {
          sleepers--;
          timers.delete(timer);
          (stop as AbortSignal).removeEventListener('abort', abort);
        };
        const abort = () => {
          leave();
          reject(stop.reason);
        };
        const timer = at(span * 1000, () => {
          leave();
          resolve();
        });
        (stop as AbortSignal).addEventListener('abort', abort, { once: true });
        for (const watcher of watchers) watcher();
        watchers.clear();
      }),
    advance(ms) {
      const end = now + ms;
      for (;;) {
        const [next] = [...timers].filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at);
        if (next === undefined) break;
        timers.delete(next);
        now = Math.max(now, next.at);
        next.fire();
      }
      now = end;
    },
    asleep: () => (sleepers > 0 ? Promise.resolve() : new Promise((resolve) => watchers.add(resolve))),
  };
}

/** Everything that was logged, and what of it an administrator sees who asked for nothing more. */
export function listLog(): Log & { readonly lines: string[]; readonly aloud: string[] } {
  const [lines, aloud]: [string[], string[]] = [[], []];
  const debug = (text: string) => {
    lines.push(text);
    hear('log', 'the log of a broker’s test', text);
  };
  const push = (text: string) => {
    debug(text);
    aloud.push(text);
  };
  return { lines, aloud, error: push, warn: push, info: push, debug };
}

export const secrets = {
  client: 'client-secret-7f3a',
  device: 'device-code-91bd',
  access: 'access-token-52cc',
  refresh: 'refresh-token-e04f',
};

export const provider: Provider = {
  name: 'cilogon',
  issuer: 'https://issuer.test',
  clientId: 'client',
  secretFile: '/etc/credmon/secret',
  scopes: ['openid', 'storage.read:/'],
  flow: 'device',
  bare: false,
};

export const token = (clock: Clock, more: Partial<TokenSet> = {}): TokenSet => ({
  accessToken: secrets.access,
  tokenType: 'bearer',
  refreshToken: secrets.refresh,
  issued: clock.now(),
  expires: epochMs(clock.now() + 1_200_000),
  lifeFrom: 'expires_in',
  scopes: ['openid', 'storage.read:/'],
  subject: { iss: 'https://issuer.test', sub: 'http://cilogon.org/serverA/users/1', name: 'Alice Example' },
  ...more,
});

interface ScriptedIssuer extends Issuer {
  /** Answers to polls, in order; the last one is repeated. */
  readonly answers: (TokenSet | Failed)[];
  readonly asked: Record<string, string>[];
  readonly revoked: string[];
  /** Life of the next code: ms. */
  life: number;
}

/** What an issuer says until the person has approved (RFC 8628 §3.5). */
export const pending = new Failed({ kind: 'refused', what: 'not yet', code: 'authorization_pending' });

function scriptedIssuer(clock: Clock): ScriptedIssuer {
  const issuer: ScriptedIssuer = {
    answers: [pending],
    asked: [],
    revoked: [],
    life: 600_000,
    async token(_grantType, parameters, { stop }) {
      stop.throwIfAborted();
      issuer.asked.push({ ...parameters });
      const answer = issuer.answers.length > 1 ? issuer.answers.shift() : issuer.answers[0];
      if (answer instanceof Failed) throw answer;
      return answer as TokenSet;
    },
    async device(parameters): Promise<DeviceCode> {
      issuer.asked.push({ ...parameters });
      return {
        deviceCode: secrets.device,
        userCode: 'ABCD-EFGH',
        link: 'https://issuer.test/device',
        linkComplete: 'https://issuer.test/device?user_code=ABCD-EFGH',
        expires: epochMs(clock.now() + issuer.life),
        interval: 5,
      };
    },
    identity: () => Promise.reject(new Error('nobody asks who approved')),
    async revoke(revoked) {
      issuer.revoked.push(revoked);
      return true;
    },
    scopes: async () => ['openid', 'offline_access'],
  };
  return issuer;
}

export interface Place {
  readonly dir: string;
  readonly socket: string;
  readonly challengeDir: string;
  readonly spoolDir: string;
  readonly account: string;
  readonly start: boolean;
}

export function placeIn(dir: string): Place {
  return {
    dir,
    socket: join(dir, 'broker.sock'),
    challengeDir: join(dir, 'challenge'),
    spoolDir: join(dir, 'spool'),
    account: userInfo().username,
    start: true,
  };
}

export interface TestBroker extends Place {
  readonly broker: Broker;
  readonly issuer: ScriptedIssuer;
  readonly log: ReturnType<typeof listLog>;
}

export async function brokerOn(
  options: { clock?: Clock; limits?: Limits; providers?: readonly Provider[]; dir?: string; nameOf?: NameOf } = {},
): Promise<TestBroker> {
  const {
    clock = systemClock,
    limits,
    providers = [provider],
    dir = room(),
    nameOf = openNames(systemClock),
  } = options;
  const place = placeIn(dir);
  const log = listLog();
  const issuer = scriptedIssuer(clock);
  const offers: Offers = { providers: new Map(providers.map((one) => [one.name, one])), issuer: () => issuer };
  const broker = await startBroker({
    settings: place,
    clock,
    log,
    device,
    offers: () => offers,
    random: Math.random,
    nameOf,
    ...(limits && { limits }),
  });
  cleanup(() => broker.close());
  return { ...place, broker, issuer, log };
}

type Json = Record<string, unknown>;

/** A client that says whatever a test wants it to say, and remembers all that it was told. */
export class Raw {
  readonly socket: Socket;
  readonly closed: Promise<void>;
  received = '';
  #told = 0;
  #wake: () => void = () => undefined;
  #over = false;

  constructor(path: string) {
    this.socket = connect(path);
    this.socket.setEncoding('utf8');
    this.socket.on('data', (text: string) => {
      this.received += text;
      this.#wake();
    });
    this.socket.on('error', () => undefined);
    this.closed = new Promise((resolve) => {
      this.socket.once('close', () => {
        this.#over = true;
        this.#wake();
        resolve();
      });
    });
    cleanup(() => this.socket.destroy());
  }

  send(record: Json | string | Uint8Array): void {
    const plain = typeof record === 'string' || record instanceof Uint8Array;
    this.socket.write(plain ? record : `${JSON.stringify({ v: 1, ...record })}\n`);
  }

  /** The next record; undefined when the broker has hung up. */
  async next(): Promise<Json | undefined> {
    for (;;) {
      const lines = this.received.split('\n').slice(0, -1);
      const line = lines[this.#told];
      if (line !== undefined) {
        this.#told++;
        return JSON.parse(line) as Json;
      }
      if (this.#over) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** All that comes until the broker hangs up. */
  async rest(): Promise<Json[]> {
    const records: Json[] = [];
    for (let record = await this.next(); record; record = await this.next()) records.push(record);
    return records;
  }

  async challenge(): Promise<string> {
    return String((await this.next())?.path);
  }

  /** Up to the welcome, honestly. */
  async prove(): Promise<Json | undefined> {
    mkdirSync(await this.challenge(), 0o500);
    this.send({ kind: 'proved' });
    return this.next();
  }

  /** The failure of the one and only record that comes. */
  async refusal(): Promise<{ kind: string; what: string; hint?: string }> {
    const records = await this.rest();
    if (records.length !== 1 || records[0]?.kind !== 'bye') throw new Error(`not one bye: ${JSON.stringify(records)}`);
    return records[0].failure as { kind: string; what: string };
  }
}

export const never = new AbortController().signal;
