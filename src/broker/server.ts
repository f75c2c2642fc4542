import { chmodSync } from 'node:fs';
import { chmod, lstat, mkdir, stat, unlink } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { dirname } from 'node:path';
import type { BrokerSettings } from '../core/config.js';
import { Failed, type Failure } from '../core/failure.js';
import type { Clock, Log, Random } from '../core/ports.js';
import { lookUp, type NameOf, openNames } from './accounts.js';
import { Connection } from './connection.js';
import type { DeviceGrant, Offers } from './desk.js';
import { openChallenges } from './identity.js';
import { gaveWay, type Limits, Quota, usualLimits, WaitingRoom } from './quota.js';
import { type SessionParts, serve } from './session.js';
import { openSpool } from './spool.js';
import { codeOf, modeInWords, storageFailed } from './trouble.js';

export interface BrokerOptions {
  readonly settings: Omit<BrokerSettings, 'account' | 'start'> & Partial<BrokerSettings>;
  readonly clock: Clock;
  readonly log: Log;
  readonly random: Random;
  readonly device: DeviceGrant;
  /** Asked at the beginning of each flow. */
  readonly offers: () => Offers;
  readonly limits?: Limits;
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
  const parts: SessionParts = {
    ...options,
    quota,
    challenges,
    spool: await openSpool({ dir: settings.spoolDir, clock }),
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
  await listen(server, settings.socket, log);
  server.on('error', (error) => log.error(`the socket ${settings.socket}: ${codeOf(error)}`));
  log.info(`listening at ${settings.socket}`);

  let cancelSweep = () => {};
  const sweep = (): void => {
    void challenges.sweep();
    cancelSweep = clock.after(sweepMs, sweep);
  };
  sweep();

  let closing: Promise<void> | undefined;
  return {
    counters,
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

/** Everybody may connect: who they are is found out after that. */
async function listen(server: ReturnType<typeof createServer>, path: string, log: Log): Promise<void> {
  const folder = dirname(path);
  try {
    // The umask may have taken something away from what was made; a folder that was there is left as it is.
    if ((await mkdir(folder, { recursive: true, mode: 0o755 })) !== undefined) await chmod(folder, 0o755);
    const { mode } = await stat(folder);
    if ((mode & 0o022) !== 0 && (mode & 0o1000) === 0) throw taken(folder, 'is a folder that others may write to');
    if ((mode & 0o001) === 0) log.warn(`nobody else can reach ${path}: ${folder} has mode ${modeInWords(mode)}`);
    await removeStale(path);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, () => {
        server.off('error', reject);
        resolve();
      });
    });
    chmodSync(path, 0o666);
  } catch (thrown) {
    throw storageFailed('listen at', path, thrown);
  }
}

/** A broker that died leaves its socket: it is taken away only if it is a socket and nobody answers there. */
async function removeStale(path: string): Promise<void> {
  const found = await lstat(path).catch((thrown) => {
    if (codeOf(thrown) === 'ENOENT') return undefined;
    throw thrown;
  });
  if (found === undefined) return;
  if (!found.isSocket()) throw taken(path, 'is not a socket');
  if (await answers(path)) throw taken(path, 'is the socket of another broker that is running');
  await unlink(path);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error) => {
      const code = codeOf(error);
      if (code === 'ECONNREFUSED' || code === 'ENOENT') resolve(false);
      // EAGAIN: somebody listens, and has no time.
      else if (code === 'EAGAIN') resolve(true);
      else reject(error);
    });
  });
}

const taken = (path: string, what: string): Failed =>
  new Failed({ kind: 'config', what: `${path} ${what}`, hint: 'stop or remove it, or configure another socket' });
