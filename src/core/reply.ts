import type { Failure } from './failure.js';
import type { Answer } from './ports.js';
import { plain } from './text.js';
import { type EpochMs, type Seconds, seconds } from './time.js';

/**
 * What is wrong with an answer of a server that speaks JSON, as far as that shows before its own words are read: it has
 * trouble of its own, sends us elsewhere, or something else speaks in its place. Undefined: its words must be read.
 * `origin` is who was asked, and `said` what it has to say of itself, if that is known.
 */
export function brokenReply(origin: string, answer: Answer, now: EpochMs, said = ''): Failure | undefined {
  const { status, body } = answer;
  if (status >= 500 || status === 429 || status === 408) {
    return {
      kind: 'transient',
      what: `${origin} has trouble of its own (HTTP ${status}${said === '' ? '' : `: ${said}`})`,
      hint: 'try again later; ask whoever runs it if it lasts',
      ...retryAfter(answer.headers, now),
    };
  }
  if (status >= 300 && status < 400) {
    return {
      kind: 'protocol',
      what: `${origin} sent us elsewhere (HTTP ${status}), which is not followed`,
      hint: 'have the URL it redirects to configured, if that is the server',
    };
  }
  if (typeof body === 'object' && body !== null) return undefined;
  return {
    kind: 'protocol',
    what: `${origin} did not answer in JSON (HTTP ${status}): something else speaks in its place`,
    hint: 'check its URL, and what stands between (a proxy, a portal)',
  };
}

/** Retry-After (RFC 9110 §10.2.3): seconds or a date. */
export function retryAfter(headers: Answer['headers'], now: EpochMs): { readonly wait?: Seconds } {
  const value = headers['retry-after'];
  if (value === undefined) return {};
  const span = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - now) / 1000;
  return Number.isFinite(span) && span > 0 ? { wait: seconds(span) } : {};
}

/** Another's words, for a message: in one line, and without the secrets that were sent there. */
export function quoted(text: unknown, longest: number, ...secrets: readonly string[]): string {
  let rest = typeof text === 'string' ? text : '';
  for (const secret of secrets) if (secret !== '') rest = rest.replaceAll(secret, '…');
  return plain(rest, longest);
}
