import { Failed, type Failure, type FailureKind, failureOf } from '../../core/failure.js';
import type { Log } from '../../core/ports.js';
import { redact } from '../../core/redact.js';
import { plain } from '../../core/text.js';
import { bug } from '../session.js';
import { type AuditFacts, auditLine, cut } from './audit.js';
import type { Counters } from './counters.js';
import type { Outcome } from './dialogue.js';
import type { Harvest } from './harvest.js';
import type { LoginKey } from './pending.js';
import { longestText, type Subject, type Verdict } from './records.js';
import type { PamWords } from './words.js';

/** Where a verdict is told, counted and remembered. */
interface VerdictParts {
  readonly words: PamWords;
  readonly log: Log;
  readonly counters: Counters;
  readonly pending: { deny(key: LoginKey): void };
}

/** One login, for its records. */
export interface Case {
  readonly id: string;
  readonly subject: Subject;
  uid?: number;
  /** Whether a client that starts over on its connection is asked again. */
  again?: boolean;
}

export const notStored = 'no credential was stored for your jobs';

/** What a dialogue without an approval comes to. `trouble`: why nobody may log in to the account. */
export function ended(
  outcome: Exclude<Outcome, { kind: 'approved' }>,
  own: Case,
  trouble: string | undefined,
  parts: VerdictParts,
): Verdict {
  switch (outcome.kind) {
    case 'skipped':
      parts.counters.count('expired');
      return {
        kind: 'verdict',
        result: 'denied',
        text: parts.words.said('no credential this time; run: credmon login'),
      };
    case 'hasty':
      // scp, rsync and git have nobody to read it, and are to hear nothing.
      if (own.subject.mode === 'seed') return { kind: 'verdict', result: 'ignore' };
      return denied(own, because(trouble, 'nobody is there to answer', hastyTold), parts);
    case 'late':
      return denied(own, because(trouble, 'nobody approved in time', lateTold), parts, undefined, 'expired');
    case 'failed': {
      const { failure, shown } = outcome;
      const { kind, what, code } = failure;
      if (kind === 'expired') return denied(own, because(trouble, what, lateTold), parts, undefined, 'expired');
      if (!isAnswer[kind] || (!shown && kind !== 'denied')) return unavailable(new Failed(failure), own, parts);
      const told = code === 'access_denied' ? deniedTold : [what, adviceOn(failure, own, parts.log)];
      return denied(own, because(trouble, what, told), parts);
    }
  }
}

const hastyTold = [
  'nobody can answer here: your ssh client pressed Enter by itself',
  'log in in a terminal, and have other programs share its connection (ControlMaster in ~/.ssh/config)',
];
const deniedTold = ['this login was denied where it was to be approved'];
const lateTold = ['nobody approved this login in time', 'log in again for a new code'];

const because = (trouble: string | undefined, what: string, told: readonly (string | undefined)[]) => ({
  // Only for the log.
  what: trouble === undefined ? what : `${trouble}; ${what}`,
  told,
});

/** Whether such a failure of a flow whose code was shown is what became of the login; else nobody knows. */
const isAnswer = {
  denied: true,
  expired: true,
  cancelled: true,
  refused: true,
  protocol: true,
  'login-needed': true,
  usage: false,
  config: false,
  transient: false,
  storage: false,
  unsupported: false,
} as const satisfies Record<FailureKind, boolean>;

interface Told {
  readonly what: string;
  readonly told: string | readonly (string | undefined)[];
}

export function denied(
  own: Case,
  { what, told }: Told,
  { words, log, counters, pending }: VerdictParts,
  harvest?: Harvest,
  as: 'denied' | 'expired' = 'denied',
): Verdict {
  pending.deny(own.subject);
  counters.count(as);
  const audit = audited('denied', own, harvest, what);
  log.info(audit);
  const text = words.said(...[told].flat().map((sentence) => sentence && redact(sentence)));
  return { kind: 'verdict', result: 'denied', text: cut(text, longestText), audit };
}

/** What an issuer's failure hints at is for whoever runs this machine, and goes to the log; people are told what they can do. */
function adviceOn({ kind, hint, wait }: Failure, own: Case, log: Log): string | undefined {
  if (isPersons[kind] || (kind === 'transient' && wait !== undefined)) return hint && redact(hint);
  if (hint !== undefined) log.info(`${titleOf(own)}: ${redact(hint)}`);
  const tell = 'tell the administrator of this machine';
  return kind === 'transient' ? `try again later; if it lasts, ${tell}` : tell;
}

/** Whether a person can do something about it. */
const isPersons: Partial<Record<FailureKind, true>> = { denied: true, expired: true, cancelled: true };

/** `inside`: of somebody whom sshd has let in already, so that the record must say who it was. */
export function unavailable(
  thrown: unknown,
  own: Case,
  { words, log, counters }: VerdictParts,
  inside?: Harvest,
): Verdict {
  const failure: Failure = failureOf(thrown) ?? bug(thrown, log);
  counters.count('unavailable');
  const why = `${failure.kind}: ${redact(failure.what)}`;
  const audit = inside
    ? audited('accepted', own, inside, `${notStored}: ${why}`)
    : audited('unavailable', own, undefined, why);
  log.warn(audit);
  const text = words.said(inside && notStored, redact(failure.what), adviceOn(failure, own, log));
  return { kind: 'verdict', result: 'unavailable', text: cut(text, longestText), audit };
}

export function audited(
  result: AuditFacts['result'],
  { id, subject, uid }: Case,
  harvest?: Harvest,
  reason?: string,
): string {
  const { user, rhost, service } = subject;
  const { iss, sub, claims } = harvest?.identity ?? {};
  return auditLine({ result, user, uid, sub, iss, rhost, service, acr: claims?.acr, reason, id });
}

export const titleOf = ({ id, subject }: Case): string =>
  `ssh login of ${plain(subject.user, 100)} from ${plain(subject.rhost, 100) || 'this machine'} (${id})`;
