import { type EpochMs, epochMs, utc } from './time.js';

/** What may come of an ssh login, in the order in which it is told. */
export const outcomes = [
  'asked',
  'approved',
  'denied',
  'expired',
  'gone',
  'decoys',
  'unavailable',
  'committed',
] as const;

/** Those of which each login has one at its end; of the approved, `committed` are told apart. */
export const ended = ['approved', 'denied', 'expired', 'gone', 'decoys', 'unavailable'] as const;

export type SshLogins = Readonly<Record<(typeof outcomes)[number], number>> & {
  /** When the broker began to count. */
  readonly since: EpochMs;
};

/** The name of the file with them, beside the broker's socket: JSON. */
export const sshLoginsFile = 'counters.json';

/** Undefined for what is no such file. */
export function parseSshLogins(text: string): SshLogins | undefined {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return undefined;
  }
  const found = (body ?? {}) as Record<string, unknown>;
  const entries = [...outcomes, 'since'].map((name) => [name, found[name]] as const);
  const good = entries.every(([, value]) => Number.isSafeInteger(value) && Number(value) >= 0);
  // What a Date can be at most.
  if (!good || Number(found.since) > 8.64e15) return undefined;
  return { ...Object.fromEntries(entries), since: epochMs(Number(found.since)) } as SshLogins;
}

/** One sentence, without its full stop. */
export function sshLoginsInWords(logins: SshLogins): string {
  const { asked, approved, denied, expired, gone, decoys, unavailable, committed, since } = logins;
  const parts = [
    `${approved} approved`,
    `${committed} with a credential for jobs`,
    ...[
      [denied, 'denied'],
      [expired, 'not approved in time'],
      [gone, 'broken off'],
      [unavailable, 'failed for other reasons'],
      [decoys, 'to accounts that nobody may log in to'],
    ].flatMap(([count, words]) => (count === 0 ? [] : `${count} ${words}`)),
  ];
  return `ssh logins since ${utc(since)}: ${asked}${asked === 0 ? '' : ` (${parts.join(', ')})`}`;
}
