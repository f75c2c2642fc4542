import { Failed, type Failure } from '../core/failure.js';
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
 * sent; never rejects. `admitted` is called when the client has shown who it is and has got a place.
 */
export async function serve(connection: Connection, parts: SessionParts, admitted: () => void): Promise<void> {
  const { log } = parts;
  let person: Person | undefined;
  try {
    const uid = await proof(connection, parts);
    person = await admit(uid, connection, parts, admitted);
    const welcome = { kind: 'welcome', user: person.user } as const;
    const request = await connection.ask(welcome, ['login', 'logout'], requestMs, lateRequest);
    parts.quota.draw(uid, parts.clock.steady());
    const offers = parts.offers();
    const order = orderOf(request, offers.providers);
    if (request.kind === 'logout') connection.end(undefined, await runLogout(order, person, parts));
    else {
      await runLogin({ order, person, offers, connection, desk: parts });
      connection.end();
    }
  } catch (thrown) {
    const failure = thrown instanceof Failed ? thrown.failure : bug(thrown, log);
    // Whoever is not known, or asks too often, is not worth a line in the log each time: that would fill it.
    const level =
      person === undefined || failure.kind === 'transient' || failure.kind === 'cancelled' ? 'debug' : 'info';
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

async function admit(
  uid: number,
  connection: Connection,
  { quota, nameOf }: SessionParts,
  admitted: () => void,
): Promise<Person> {
  connection.stop.throwIfAborted();
  const leave = quota.enter(uid);
  // Not when the flow ends, but when the socket does: sockets are what runs out.
  void connection.closed.then(leave);
  admitted();
  return { user: await nameOf(uid), uid };
}

function bug(thrown: unknown, log: Log): Failure {
  const text = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
  log.error(`a bug: ${plain(redact(text), 1000)}`);
  return { kind: 'unsupported', what: 'the broker failed at this login', hint: 'see the broker’s log on this machine' };
}
