import { Failed, type Failure, failureOf } from '../core/failure.js';
import type { Log } from '../core/ports.js';
import { redact } from '../core/redact.js';
import { plain } from '../core/text.js';
import type { NameOf } from './accounts.js';
import type { Connection } from './connection.js';
import { type Desk, type Person, runLogin, runLogout } from './desk.js';
import type { Challenges } from './identity.js';
import { orderOf } from './request.js';

/** What every session works with. */
export interface SessionParts extends Desk {
  readonly challenges: Challenges;
  readonly nameOf: NameOf;
}

/** How long a client has: milliseconds. */
const proofMs = 5000;
const requestMs = 10_000;

const lateProof: Failure = {
  kind: 'refused',
  what: `you did not show the broker who you are within ${proofMs / 1000} s`,
  hint: 'try again; the machine may be very busy',
};
const lateRequest: Failure = { kind: 'protocol', what: 'the client said nothing more', hint: 'try again' };

/**
 * One connection from beginning to end: who is it, what does it want, and the flow. Resolves when its last record is
 * sent; never rejects. `admitted` is called when it is known who the client is and it has got a place.
 */
export async function serve(connection: Connection, parts: SessionParts, admitted: () => void): Promise<void> {
  const { log } = parts;
  let person: Person | undefined;
  try {
    const uid = await proof(connection, parts);
    person = await admit(uid, connection, parts);
    admitted();
    // Before it may say anything: all that is logged of a person's doings is paid for.
    parts.quota.draw(uid, parts.clock.steady());
    const welcome = { kind: 'welcome', user: person.user } as const;
    const request = await connection.ask(welcome, ['login', 'logout'], requestMs, lateRequest);
    const offers = parts.offers();
    const order = orderOf(request, offers.providers);
    if (request.kind === 'logout') connection.end(undefined, await runLogout(order, person, parts));
    else {
      await runLogin({ order, person, offers, connection, desk: parts });
      connection.end();
    }
  } catch (thrown) {
    const failure = thrown instanceof Failed ? thrown.failure : bug(thrown, log);
    // Whoever is not known, asks too often, talks rubbish or leaves is not worth a line each time: that would fill the log.
    const theirs = failure === failureOf(connection.stop.reason);
    const level = person === undefined || theirs || failure.kind === 'transient' ? 'debug' : 'info';
    log[level](`${person ? person.user : 'somebody'} was sent away: ${plain(redact(failure.what), 300)}`);
    connection.end(failure);
  }
}

/** The uid at the other end. The directory is gone afterwards, whatever happened. */
async function proof(connection: Connection, { challenges }: SessionParts): Promise<number> {
  const challenge = challenges.fresh();
  try {
    await connection.ask({ kind: 'challenge', path: challenge.path }, ['proved'], proofMs, lateProof);
    return await challenge.look();
  } finally {
    await challenge.drop();
  }
}

/** A place, and a name for the uid. Throws Failed. */
async function admit(uid: number, connection: Connection, { quota, nameOf }: SessionParts): Promise<Person> {
  connection.stop.throwIfAborted();
  const leave = quota.enter(uid);
  // Not when the flow ends, but when the socket does: sockets are what runs out.
  void connection.closed.then(leave);
  try {
    const user = await nameOf(uid);
    connection.stop.throwIfAborted();
    return { user, uid };
  } catch (thrown) {
    // Of uids without a name there are thousands for everybody: they are counted among those who are not known.
    leave();
    throw thrown;
  }
}

export function bug(thrown: unknown, log: Log): Failure {
  const text = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
  log.error(`a bug: ${plain(redact(text), 1000)}`);
  return { kind: 'unsupported', what: 'the broker failed at this login', hint: 'see the broker’s log on this machine' };
}
