import { randomBytes } from 'node:crypto';
import type { PamSettings } from '../../core/config.js';
import type { TokenSet } from '../../core/credential.js';
import { Failed } from '../../core/failure.js';
import type { Refusal } from '../../core/identity.js';
import type { Clock, Log } from '../../core/ports.js';
import type { Provider } from '../../core/provider.js';
import { plain } from '../../core/text.js';
import type { Account } from '../accounts.js';
import { type DeviceGrant, grantOf, type Offers } from '../desk.js';
import { bug } from '../session.js';
import type { Spool } from '../spool.js';
import { type AttemptParts, attempt, decoy } from './attempt.js';
import type { Counters } from './counters.js';
import type { Decoys } from './decoys.js';
import { converse } from './dialogue.js';
import { accountTrouble } from './eligible.js';
import { Flow, type Flows } from './flows.js';
import type { Harvest } from './harvest.js';
import { judge, type ReadTables, taken } from './judge.js';
import type { Pending } from './pending.js';
import { writePin } from './pins.js';
import type { Places } from './places.js';
import type { Auth, Subject, Verdict } from './records.js';
import type { Talk } from './talk.js';
import { audited, type Case, denied, ended, notStored, titleOf, unavailable } from './verdicts.js';
import type { Manner, PamWords } from './words.js';

/** The configuration as it is now. */
export interface PamOffers extends Offers {
  /** Undefined: ssh logins were switched off meanwhile. */
  readonly pam: PamSettings | undefined;
  readonly tables: ReadTables;
  /** Whether credmond says that this person's login to the provider is good. Never rejects. */
  isWell(provider: string, user: string, uid: number): Promise<boolean>;
  /** Whether it is soon, now that there is a new one. Never rejects, and never takes long. */
  becomesWell(provider: string, user: string, uid: number): Promise<boolean>;
}

/** An approval that waits for sshd. */
export interface Approved {
  readonly id: string;
  readonly subject: Subject;
  readonly uid: number;
  readonly harvest: Harvest;
  /** Lets go of it; what nobody stored is forgotten. */
  readonly release: () => void;
}

export interface PhaseParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly device: DeviceGrant;
  readonly words: PamWords;
  readonly spool: Spool;
  /** An account by its name. Throws Failed('transient'). */
  look(name: string): Promise<Account | undefined>;
  /** This machine, for people. */
  readonly host: string;
  offers(): PamOffers;
  readonly flows: Flows;
  readonly places: Places;
  readonly pending: Pending<Approved>;
  readonly counters: Counters;
  decoysOf(provider: Provider): Decoys;
}

/** Nobody waits for longer, and the module is to hear of it before its own time is over: milliseconds. */
const longestMs = 60 * 60_000;
const marginMs = 2000;

const noAccount = (why: string): Refusal => ({ what: why, told: 'nobody may log in here so' });

/** The dialogue, and who approved, once a connection. Rejects with a Failed when the client goes away. */
export async function authenticate(auth: Auth, talk: Talk, parts: PhaseParts): Promise<Verdict> {
  const settled = parts.pending.settled(auth);
  // It has been said why, and recorded.
  if (settled) return { kind: 'verdict', result: settled };
  const own: Case = { id: randomBytes(8).toString('hex'), subject: auth };
  const verdict = await attend(own, auth, talk, parts);
  const { result } = verdict;
  if ((result === 'denied' || result === 'unavailable') && !own.again) parts.pending.settle(auth, result);
  return verdict;
}

async function attend(own: Case, auth: Auth, talk: Talk, parts: PhaseParts): Promise<Verdict> {
  const { clock, log, words, flows, places, counters, pending } = parts;
  const { user, rhost, first } = auth;
  const begun = clock.steady();
  counters.count('asked');
  pending.clear(auth);
  try {
    const leave = places.enter(rhost, first === '' ? undefined : user);
    void talk.closed.then(leave);
    const offers = parts.offers();
    const { settings, provider } = inForce(offers);
    if (settings.firstFactor === 'required' && first === '') {
      // The same client may come with one.
      own.again = true;
      const told = 'this machine wants your public key (or another login) first';
      return denied(own, { what: 'no first factor', told }, parts);
    }
    const account = await parts.look(user);
    const trouble = accountTrouble(user, account, { minUid: settings.minUid, locked: auth.locked });
    if (account) own.uid = account.uid;
    // What lets nobody in is not to keep anybody out, root and the system's accounts among them.
    if (
      auth.mode === 'seed' &&
      (trouble !== undefined || (await offers.isWell(provider.name, user, account?.uid ?? -1)))
    ) {
      return { kind: 'verdict', result: 'ignore' };
    }
    if (trouble !== undefined) counters.count('decoys');
    const attempted: AttemptParts = {
      ...parts,
      provider,
      issuer: offers.issuer(provider),
      decoys: parts.decoysOf(provider),
      begun,
    };
    const begin = trouble === undefined ? attempt : decoy;
    const who = { user, source: rhost, first, connection: auth.connection, decoy: trouble !== undefined };
    const seat = flows.join(who, () => {
      places.draw(rhost, clock.steady());
      return new Flow(
        (stop) => begin(attempted, stop),
        (thrown) => bug(thrown, log),
      );
    });
    const late = new AbortController();
    const cancel = clock.after(Math.min(longestMs, auth.seconds * 1000 - marginMs), () => {
      late.abort();
      // Somebody may sit before the prompt for long; nobody polls for them meanwhile.
      seat.leave(false);
    });
    let linger = true;
    try {
      const outcome = await converse({
        talk,
        flow: seat.flow,
        clock,
        words,
        whom: { user, host: parts.host, source: rhost, others: seat.others },
        manner: mannerOf(settings, first),
        // Who need not approve must have a key to press, and scp without a terminal must not wait.
        live: auth.face === 'live' && auth.mode === 'login',
        optional: auth.mode === 'seed',
        late: late.signal,
      });
      linger = outcome.kind === 'hasty';
      own.again = linger;
      if (outcome.kind === 'approved') return await admit(outcome.harvest, seat.together(), own, talk, parts);
      return ended(outcome, own, trouble, parts);
    } finally {
      cancel();
      seat.leave(linger);
    }
  } catch (thrown) {
    if (talk.stop.aborted) throw thrown;
    return unavailable(thrown, own, parts);
  }
}

/** Somebody approved: it was the right person? */
async function admit(harvest: Harvest, together: number, own: Case, talk: Talk, parts: PhaseParts): Promise<Verdict> {
  const { clock, words, counters, pending, log } = parts;
  const { subject, uid = -1 } = own;
  const release = harvest.hold();
  let kept = false;
  try {
    const offers = parts.offers();
    const { settings } = inForce(offers);
    const refusal = await judge(harvest.identity, subject.user, settings, offers.tables, clock.now());
    if (refusal) return denied(own, refusal, parts, harvest);
    counters.count('approved');
    talk.stop.throwIfAborted();
    pending.approve(subject, { id: own.id, subject, uid, harvest, release });
    kept = true;
    log.info(`${titleOf(own)}: approved by ${plain(harvest.identity.sub, 100)}`);
    const text = words.said(
      harvest.lasts ? undefined : 'the issuer gave nothing to keep, so your jobs get no credential',
      // Whoever has stolen the key may have waited for this.
      together > 1 ? `this approval has let in ${together} ssh logins to your account` : undefined,
    );
    return { kind: 'verdict', result: 'ok', user: subject.user, ...(text !== '' && { text }) };
  } finally {
    if (!kept) release();
  }
}

/** May this connection go on? Only the one that was approved, and still would be. */
export async function mayEnter(subject: Subject, parts: PhaseParts): Promise<Verdict> {
  const own: Case = { id: randomBytes(8).toString('hex'), subject };
  try {
    const offers = parts.offers();
    const { settings } = inForce(offers);
    const approved = parts.pending.approvedFor(subject);
    if (approved) {
      // Meanwhile somebody else may have become the one whose account it is.
      const { harvest, id, uid } = approved;
      const refusal = await judge(harvest.identity, subject.user, settings, offers.tables, parts.clock.now());
      if (!refusal) return { kind: 'verdict', result: 'ok', user: subject.user };
      parts.pending.take(subject)?.release();
      return denied({ id, subject, uid }, refusal, parts, harvest);
    }
    const account = parts.pending.isDenied(subject) ? undefined : await parts.look(subject.user);
    // Those come by other ways, which are no business of ours.
    if (account && account.uid < settings.minUid) return { kind: 'verdict', result: 'ignore' };
    if (account) own.uid = account.uid;
    return denied(own, { what: 'account phase without an approval', told: 'this login was not approved' }, parts);
  } catch (thrown) {
    return unavailable(thrown, own, parts);
  }
}

/** sshd has let the person in: only now the grant is handed over. What was true when it was approved is looked at again. */
export async function commit(subject: Subject, parts: PhaseParts): Promise<Verdict> {
  const approved = parts.pending.take(subject);
  if (approved === undefined) return { kind: 'verdict', result: 'ignore' };
  const { clock, counters, log, spool } = parts;
  const { id, harvest, release, subject: before } = approved;
  const own: Case = { id, subject: before, uid: approved.uid };
  const { identity, provider } = harvest;
  try {
    const offers = parts.offers();
    const { settings } = inForce(offers);
    const account = await parts.look(subject.user);
    const refusal =
      gone(subject.user, account, approved.uid, settings) ??
      (await judge(identity, subject.user, settings, offers.tables, clock.now())) ??
      (settings.pin ? await pinned(subject.user, harvest, settings, clock) : undefined);
    if (refusal) return denied(own, { ...refusal, told: [notStored, refusal.told] }, parts, harvest);
    if (harvest.lasts) {
      const person = { user: subject.user, uid: approved.uid };
      const draft = (token: TokenSet) => ({ ...grantOf(token, { provider }, person), seed: true as const });
      const grant = await harvest.store((token) => spool.put(draft(token)));
      counters.count('committed');
      log.info(`${titleOf(own)}: handed over as ${grant}`);
    }
    const audit = audited('accepted', own, harvest);
    log.info(audit);
    const isTaken = harvest.lasts && (await offers.becomesWell(provider.name, subject.user, approved.uid));
    const jobs = isTaken ? 'your jobs have fresh tokens' : 'your jobs have fresh tokens once credmond has taken it';
    const text = `credmon: a credential for ${provider.name} is stored; ${jobs}`;
    return { kind: 'verdict', result: 'ok', user: subject.user, ...(harvest.lasts && { text }), audit };
  } catch (thrown) {
    return unavailable(thrown, own, parts, harvest);
  } finally {
    release();
  }
}

/** An approval that nobody committed. */
export function abandoned({ id, subject, uid, harvest, release }: Approved, { log, counters }: PhaseParts): void {
  counters.count('gone');
  log.info(audited('abandoned', { id, subject, uid }, harvest));
  release();
}

function gone(user: string, account: Account | undefined, uid: number, { minUid }: PamSettings): Refusal | undefined {
  const trouble = accountTrouble(user, account, { minUid, locked: false });
  if (trouble !== undefined) return noAccount(trouble);
  return account?.uid === uid ? undefined : noAccount('the account has got another uid');
}

async function pinned(user: string, { identity }: Harvest, settings: PamSettings, clock: Clock) {
  const { iss, sub } = await writePin(settings.identitiesDir, user, identity, clock.now());
  const same = iss === identity.iss && sub === identity.sub;
  return same ? undefined : taken(user, identity.claims, settings.identitiesDir);
}

/** Throws Failed('config') when there are no ssh logins any more. */
function inForce({ pam: settings, providers }: PamOffers): {
  readonly settings: PamSettings;
  readonly provider: Provider;
} {
  const provider = settings && providers.get(settings.provider);
  if (settings && provider) return { settings, provider };
  throw new Failed({
    kind: 'config',
    what: 'ssh logins by the broker are switched off',
    hint: 'ask the administrator',
  });
}

function mannerOf({ qr }: PamSettings, first: string): Manner {
  const picture = qr === 'auto' ? 'prompt' : qr;
  return { quick: first !== '' || qr === 'always', picture };
}
