import { plain } from '../../core/text.js';
import { longestAudit } from './records.js';

/** What a record of one login may tell, in this order. Never a code or a token. */
export interface AuditFacts {
  readonly result: 'accepted' | 'denied' | 'unavailable' | 'abandoned';
  readonly user: string;
  readonly uid?: number | undefined;
  readonly sub?: string | undefined;
  readonly iss?: string | undefined;
  readonly rhost: string;
  readonly service: string;
  /** As the issuer has it: of any type. */
  readonly acr?: unknown;
  readonly reason?: string | undefined;
  /** Of the login: the same in all that is written of it. */
  readonly id: string;
}

const order = ['user', 'uid', 'sub', 'iss', 'rhost', 'service', 'acr', 'reason', 'id'] as const;

/** Characters of a value, tried in turn: what is long is made shorter only where the line would be too long. */
const lengths = [256, 128, 64, 32];

/** One line for the system's log of logins: every value in quotes, so that none can pass for another. */
export function auditLine(facts: AuditFacts): string {
  const line = (longest: number): string => {
    const values = order.flatMap((name) => {
      const value = facts[name];
      return value === undefined ? [] : `${name}="${plain(textOf(value), longest).replace(/["\\]/g, '\\$&')}"`;
    });
    return `credmon: result=${facts.result} ${values.join(' ')}`;
  };
  const lines = lengths.map(line);
  return lines.find((one) => Buffer.byteLength(one) <= longestAudit) ?? cut(lines.at(-1) ?? '', longestAudit);
}

/** String() throws for an object whose `toString` is no function, and an issuer may send one. */
const textOf = (value: unknown): string => (typeof value === 'object' ? 'not text' : String(value));

/** At most so many bytes of UTF-8, no character cut in two. */
export function cut(text: string, most: number): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= most) return text;
  let end = most;
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return bytes.subarray(0, end).toString();
}
