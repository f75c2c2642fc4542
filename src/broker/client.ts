import { lstat, stat } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { userInfo } from 'node:os';
import { dirname } from 'node:path';
import type { BrokerSettings } from '../core/config.js';
import { Failed, type Failure, failureOf } from '../core/failure.js';
import { type Ask, hasEnded, type LoginState } from '../core/login.js';
import type { Clock, Random } from '../core/ports.js';
import { companionsOf, inAll, type Wish } from '../core/several.js';
import { plain } from '../core/text.js';
import { seconds } from '../core/time.js';
import { lookUp } from './accounts.js';
import { LineSplitter } from './lines.js';
import { prove } from './prove.js';
import { gaveWay } from './quota.js';
import { type ClientRecord, fromServer, longestLine, type ServerRecord, tooLong, toServer } from './records.js';
import { codeOf } from './trouble.js';

export interface ClientOptions extends Pick<BrokerSettings, 'socket' | 'challengeDir' | 'account'> {
  /** Ends it at once; a Failed as its reason says why. */
  readonly stop: AbortSignal;
  readonly clock: Clock;
  /** Spreads the tries of those who are turned away together; default Math.random. */
  readonly random?: Random;
}

export interface LoginRequest extends Wish {
  readonly provider: string;
  /** What is to be made from the same login. */
  readonly also?: readonly Wish[];
}

export interface BrokerLogin extends ClientOptions {
  readonly request: LoginRequest;
  /** As in Face: does the person want a new code? Its signal is aborted when the broker no longer waits for an answer. */
  again(stop: AbortSignal): Promise<boolean>;
}

/** Milliseconds: the broker's own limits and then some. */
const shortMs = 20_000;
const slowMs = 90_000;
const graceMs = 90_000;
/** Between two tries at a broker with too many at its door, each made half as long up to half as long again: 3 s in all. */
const pausesMs = [200, 400, 800, 1600];

/**
 * A login through the broker: the states as it sends them. It always ends with done, kept or failed, and then returns the
 * id under which the grant lies in the spool (undefined unless done): credmond's status names it when it has taken it over.
 * Throws nothing but bugs.
 */
export async function* brokerLogin(options: BrokerLogin): AsyncGenerator<LoginState, string | undefined, undefined> {
  const { request, clock } = options;
  let ask = askOf(request);
  let talk: Talk | undefined;
  try {
    talk = await open(options);
    talk.send(recordOf(request));
    for (let patience = slowMs; ; ) {
      const { state, grant } = await talk.hear('state', patience);
      ask = state.ask;
      // Exactly these leave the broker waiting for something else than an issuer or its disk.
      patience = state.at === 'code' ? Math.max(0, state.expires - clock.now()) + graceMs : slowMs;
      yield state;
      if (hasEnded(state)) return grant;
      if (state.at === 'expired') talk.send({ kind: 'again', yes: await talk.orGone(options.again(talk.over)) });
    }
  } catch (thrown) {
    yield { at: 'failed', ask, failure: ending(thrown, options.stop) };
    return undefined;
  } finally {
    talk?.close();
  }
}

/** Asks the broker to have a credential given up; the id of that in the spool. Throws Failed. */
export async function brokerLogout(
  options: ClientOptions & { readonly request: Pick<LoginRequest, 'provider' | 'handle'> },
): Promise<string> {
  let talk: Talk | undefined;
  try {
    talk = await open(options);
    const { provider, handle } = options.request;
    talk.send({ kind: 'logout', provider, ...(handle !== undefined && { handle }) });
    const { grant } = await talk.hear('bye', shortMs);
    if (grant === undefined) throw strange('the broker did not say that the logout was taken down');
    return grant;
  } catch (thrown) {
    throw new Failed(ending(thrown, options.stop), { cause: thrown });
  } finally {
    talk?.close();
  }
}

/** Whether somebody listens at the socket. Nothing is said; it is not looked at who it is. */
export function brokerAnswers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const peer = connect(socket);
    peer.once('connect', () => resolve(true)).once('error', (error) => resolve(codeOf(error) === 'EAGAIN'));
    peer.setTimeout(2000, () => resolve(false));
    peer.once('connect', () => peer.destroy()).once('timeout', () => peer.destroy());
  });
}

/** Connects and shows who we are, up to the broker's welcome; again where too many others are at its door. Throws Failed. */
async function open(options: ClientOptions): Promise<Talk> {
  const { stop, clock, random = Math.random } = options;
  for (const pause of pausesMs) {
    try {
      return await enter(options);
    } catch (thrown) {
      if (!isCrowd(thrown)) throw thrown;
    }
    await clock.sleep(seconds((pause * (0.5 + random())) / 1000), stop);
  }
  return enter(options);
}

/** The broker's queue is full, or it has sent us away for a newcomer; its words are lost when we were just writing to it. */
function isCrowd(thrown: unknown): boolean {
  if (!(thrown instanceof Failed)) return false;
  return [gaveWay.what, hangUp.what].includes(thrown.failure.what) || codeOf(thrown.cause) === 'EAGAIN';
}

async function enter(options: ClientOptions): Promise<Talk> {
  const { stop, challengeDir } = options;
  stop.throwIfAborted();
  const owners = await trustworthy(options);
  const talk = new Talk(await reach(options), options);
  try {
    const { path } = await talk.hear('challenge', shortMs);
    const undo = await prove(path, { dir: challengeDir, owners });
    try {
      talk.send({ kind: 'proved' });
      const { user } = await talk.hear('welcome', shortMs);
      const own = ownName();
      // A login that lands with somebody else is worse than none.
      if (user !== own) throw strange(`the broker took you, ${plain(own, 60)}, for ${user}`);
    } finally {
      await undo();
    }
    return talk;
  } catch (thrown) {
    talk.close();
    throw thrown;
  }
}

function ownName(): string {
  try {
    return userInfo().username;
  } catch {
    return 'an account without a name';
  }
}

/**
 * A stranger's socket must get neither our request nor our proof, which it could show to the real broker as its own. So
 * the socket and its folder must be of root or of the broker's account. Returns these two uids. Throws Failed.
 */
async function trustworthy({ socket, account }: ClientOptions): Promise<readonly number[]> {
  const found = await lstat(socket).catch((thrown) => {
    throw nobodyThere(socket, codeOf(thrown), thrown);
  });
  const folder = await stat(dirname(socket));
  const owners = [0];
  const owned = () => [found.uid, folder.uid].every((uid) => owners.includes(uid));
  const broker = await lookUp(account).catch((thrown) => {
    if (owned()) return undefined;
    throw thrown;
  });
  if (broker) owners.push(broker.uid);
  if (!found.isSocket()) throw distrust(socket, 'is not a socket');
  if (!owned()) throw distrust(socket, `or its folder belongs to neither root nor the broker’s account "${account}"`);
  if ((folder.mode & 0o022) !== 0 && (folder.mode & 0o1000) === 0) {
    throw distrust(socket, 'is in a folder that others may write to');
  }
  return owners;
}

function reach({ socket, stop, clock }: ClientOptions): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const peer = connect(socket);
    const settle = (then: () => void) => {
      cancel();
      stop.removeEventListener('abort', abort);
      peer.removeAllListeners();
      then();
    };
    const give = (reason: unknown) =>
      settle(() => {
        peer.on('error', () => undefined).destroy();
        reject(reason);
      });
    const abort = () => give(stop.reason);
    const cancel = clock.after(shortMs, () => give(nobodyThere(socket, 'ETIMEDOUT')));
    stop.addEventListener('abort', abort, { once: true });
    peer.once('connect', () => settle(() => resolve(peer)));
    peer.once('error', (error) => give(nobodyThere(socket, codeOf(error), error)));
  });
}

/** The client's end of a connection: one record after the other, each waited for so long and no longer. */
class Talk {
  /** Aborted when nothing more will come. */
  readonly over: AbortSignal;
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #over = new AbortController();
  readonly #lines = new LineSplitter(longestLine);
  readonly #heard: ServerRecord[] = [];
  #wake: () => void = () => undefined;

  constructor(socket: Socket, { clock, stop }: ClientOptions) {
    this.#socket = socket;
    this.#clock = clock;
    this.over = this.#over.signal;
    const abort = () => this.#end(stop.reason);
    stop.addEventListener('abort', abort, { once: true });
    this.over.addEventListener('abort', () => stop.removeEventListener('abort', abort), { once: true });
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('close', () => this.#end(hungUp()));
    socket.on('end', () => this.#end(hungUp()));
    socket.on('error', () => this.#end(hungUp()));
  }

  send(record: ClientRecord): void {
    this.#socket.write(toServer(record));
  }

  /** The next record, which must be of this kind. A `bye` that carries a failure is that failure. Throws Failed. */
  async hear<K extends ServerRecord['kind']>(kind: K, ms: number): Promise<Extract<ServerRecord, { kind: K }>> {
    const cancel = this.#clock.after(ms, () => this.#end(silent(ms)));
    try {
      while (this.#heard.length === 0) {
        this.over.throwIfAborted();
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      cancel();
    }
    const record = this.#heard.shift() as ServerRecord;
    this.#socket.resume();
    if (record.kind === 'bye' && record.failure) throw new Failed(record.failure);
    if (record.kind !== kind) throw strange(`the broker sent "${record.kind}" where "${kind}" was due`);
    return record as Extract<ServerRecord, { kind: K }>;
  }

  /** What `work` comes to, unless the broker says goodbye or hangs up first. */
  orGone<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const settle = () => {
        this.#wake = () => undefined;
      };
      this.#wake = () => {
        settle();
        const [next] = this.#heard;
        const failure = next?.kind === 'bye' ? next.failure : undefined;
        reject(failure ? new Failed(failure) : (this.over.reason ?? hungUp()));
        this.#end(hungUp());
      };
      work.finally(settle).then(resolve, reject);
      if (this.#heard.length > 0 || this.over.aborted) this.#wake();
    });
  }

  close(): void {
    this.#end(hungUp());
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    for (const { line } of this.#lines.push(chunk)) {
      const { record, failure } = line ? fromServer(line) : { failure: tooLong('the broker') };
      if (failure) {
        this.#end(new Failed(failure));
        return;
      }
      this.#heard.push(record);
    }
    // The face may be slower than the broker: then the broker has to wait.
    if (this.#heard.length > 4) this.#socket.pause();
    this.#wake();
  }

  #end(reason: unknown): void {
    if (!this.over.aborted) this.#over.abort(reason);
    this.#wake();
  }
}

const recordOf = ({ provider, also = [], ...first }: LoginRequest): ClientRecord => ({
  kind: 'login',
  provider,
  ...wishOf(first),
  ...(also.length > 0 && { also: also.map(wishOf) }),
});

const wishOf = ({ handle, scopes = [], audience }: Wish) => ({
  ...(handle !== undefined && { handle }),
  ...(scopes.length > 0 && { scopes: [...scopes] }),
  ...(audience !== undefined && { audience }),
});

/** Until the broker says what it makes of the request. */
const askOf = ({ provider, handle, audience, also = [], ...first }: LoginRequest): Ask => ({
  provider,
  issuer: provider,
  ...(handle !== undefined && { handle }),
  scopes: inAll([first, ...also], { scopes: [] }),
  ...(audience !== undefined && { audience }),
  ...(also.length > 0 && { also: companionsOf(also) }),
});

function ending(thrown: unknown, stop: AbortSignal): Failure {
  const failure = failureOf(stop.aborted ? stop.reason : thrown);
  if (failure) return failure;
  if (stop.aborted) return { kind: 'cancelled', what: 'the login was given up' };
  throw thrown;
}

const start =
  'start it (systemctl start credmon-broker, or credmond under condor_master), or tell whoever runs this machine';

/** `code`: what lstat(2) or connect(2) said. */
function nobodyThere(socket: string, code: string, cause?: unknown): Failed {
  const where = plain(socket, 300);
  const [what, hint] =
    code === 'ENOENT' || code === 'ENOTDIR'
      ? [`no login broker runs on this machine: there is no socket ${where}`, start]
      : code === 'ECONNREFUSED'
        ? [`the login broker does not run: nobody listens at ${where}`, start]
        : code === 'EACCES'
          ? [
              `the login broker’s socket ${where} cannot be reached: permission denied`,
              'tell whoever runs this machine',
            ]
          : [`the login broker at ${where} cannot be reached (${code})`, 'try again in a moment'];
  return new Failed(
    { kind: code === 'EAGAIN' || code === 'ETIMEDOUT' ? 'transient' : 'unsupported', what, hint },
    { cause },
  );
}

const distrust = (socket: string, what: string): Failed =>
  new Failed({
    kind: 'config',
    what: `the login broker’s socket ${plain(socket, 300)} ${what}`,
    hint: 'nothing was sent there; check the configured socket and account, or tell whoever runs this machine',
  });

const strange = (what: string): Failed =>
  new Failed({ kind: 'protocol', what, hint: 'update credmon and its broker to the same version; then try again' });

const hangUp: Failure = {
  kind: 'transient',
  what: 'the login broker hung up',
  hint: 'try again; it may have been restarted',
};
const hungUp = (): Failed => new Failed(hangUp);

const silent = (ms: number): Failed =>
  new Failed({
    kind: 'transient',
    what: `the login broker said nothing for ${Math.round(ms / 1000)} s`,
    hint: 'try again; if it stays so, tell whoever runs this machine',
  });
