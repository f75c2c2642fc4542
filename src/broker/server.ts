import { createServer, type Socket } from 'node:net';
import type { BrokerSettings } from '../core/config.js';
import type { Failure } from '../core/failure.js';
import type { Clock, Log, Random } from '../core/ports.js';
import { lookUp, type NameOf, openNames } from './accounts.js';
import { Connection } from './connection.js';
import type { DeviceGrant, Offers } from './desk.js';
import { openChallenges } from './identity.js';
import { type Listening, listen } from './listen.js';
import { gaveWay, type Limits, Quota, usualLimits, WaitingRoom } from './quota.js';
import { type SessionParts, serve } from './session.js';
import { openSpool, type Spool } from './spool.js';

export interface BrokerOptions {
  readonly settings: Omit<BrokerSettings, 'account' | 'start'> & Partial<BrokerSettings>;
  readonly clock: Clock;
  readonly log: Log;
  readonly random: Random;
  readonly device: DeviceGrant;
  /** Asked at the beginning of each flow. */
  readonly offers: () => Offers;
  readonly limits?: Limits;
  /** Default: at the socket of the settings. */
  readonly listening?: Listening;
  /** Default: the system's accounts. */
  readonly nameOf?: NameOf;
}

/** Since the broker started, except `open` and `flows`: now. */
interface Counters {
  accepted: number;
  /** Gave way to others before they had shown who they are. */
  evicted: number;
  admitted: number;
  readonly open: number;
  readonly flows: number;
}

export interface Broker {
  readonly counters: Readonly<Counters>;
  readonly spool: Spool;
  /** Ends all flows and takes the socket away, within two seconds. */
  close(): Promise<void>;
}

/** How long clients have to hear that it is over, how long all of it may take, and how often the folder is swept: ms. */
const farewellMs = 1000;
const closeMs = 1900;
const sweepMs = 10 * 60_000;

const stopping: Failure = {
  kind: 'transient',
  what: 'the broker is being stopped or restarted',
  hint: 'run the command again in a moment',
};

/** Verifies its folders, then listens. Throws Failed: `config` for folders and sockets of others, else `storage`. */
export async function startBroker(options: BrokerOptions): Promise<Broker> {
  const { settings, clock, log, random, limits = usualLimits } = options;
  const challenges = await openChallenges(settings.challengeDir, clock, log);
  const quota = new Quota(limits);
  const spool = await openSpool({ dir: settings.spoolDir, clock });
  const parts: SessionParts = {
    ...options,
    quota,
    challenges,
    spool,
    nameOf: options.nameOf ?? openNames(clock, lookUp, settings.account === 'root'),
  };
  const open = new Set<Connection>();
  const sessions = new Set<Promise<void>>();
  const waiting = new WaitingRoom<Connection>(limits.waiting, random);
  const counters: Counters = {
    accepted: 0,
    evicted: 0,
    admitted: 0,
    get open() {
      return open.size;
    },
    get flows() {
      return quota.flows;
    },
  };

  const welcome = (socket: Socket): void => {
    const connection = new Connection(socket, clock);
    counters.accepted++;
    open.add(connection);
    const unlucky = waiting.enter(connection);
    if (unlucky) {
      counters.evicted++;
      unlucky.evict(gaveWay);
    }
    void connection.closed.then(() => {
      open.delete(connection);
      waiting.leave(connection);
    });
    const session = serve(connection, parts, () => {
      counters.admitted++;
      waiting.leave(connection);
    });
    sessions.add(session);
    void session.then(() => sessions.delete(session));
  };

  const server = createServer(welcome);
  // A last guard: the two kinds of places are fewer, and what is being hung up on needs a few.
  server.maxConnections = limits.inAll + 2 * limits.waiting;
  // Everybody may connect: who they are is found out after that.
  await listen(server, options.listening ?? { path: settings.socket, mode: 0o666, folderMode: 0o755 }, log);

  let cancelSweep = () => {};
  const sweep = (): void => {
    void challenges.sweep();
    cancelSweep = clock.after(sweepMs, sweep);
  };
  sweep();

  let closing: Promise<void> | undefined;
  return {
    counters,
    spool,
    close: () => {
      closing ??= new Promise((resolve) => {
        cancelSweep();
        // Not the given clock: this must happen.
        const hurry = setTimeout(() => {
          for (const connection of open) connection.destroy();
        }, farewellMs);
        const enough = setTimeout(resolve, closeMs);
        server.close(async () => {
          clearTimeout(hurry);
          // A grant may be on its way to the disk.
          await Promise.allSettled(sessions);
          clearTimeout(enough);
          resolve();
        });
        for (const connection of open) connection.end(stopping);
      });
      return closing;
    },
  };
}
