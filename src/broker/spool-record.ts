import * as v from 'valibot';
import { nameTrouble } from '../core/names.js';
import { mostAlso } from '../core/several.js';
import { epochMs, scopeList, text } from './state-record.js';

/**
 * What the broker hands to credmond: one JSON object a file. Secrets are in it, so it is never in a message.
 * Times in epoch milliseconds.
 */
export const longestSpoolFile = 64 * 1024;

const name = v.pipe(
  v.string(),
  v.check((s) => nameTrouble(s) === undefined),
);
const id = v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/));
// uid_t without -1. That only a broker that is root speaks for root is seen to where a record is written and read.
const uid = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(2 ** 32 - 2));
/** RFC 6749 appendix A: VSCHAR. */
const token = (longest: number) => v.pipe(v.string(), v.nonEmpty(), v.maxLength(longest), v.regex(/^[\x20-\x7E]+$/));
const optional = v.exactOptional;

const whose = { v: v.literal(1), id, user: name, uid, provider: name, handle: optional(name), at: epochMs };

const wish = {
  handle: optional(name),
  scopes: optional(v.pipe(scopeList(128), v.nonEmpty())),
  audience: optional(token(512)),
};

const grantSchema = v.strictObject({
  ...whose,
  kind: v.literal('grant'),
  /** Only if the person asked for some, or for something besides that wants more. */
  scopes: wish.scopes,
  audience: wish.audience,
  /** Secret. */
  refresh_token: token(16 * 1024),
  /** Secret. */
  access_token: optional(token(32 * 1024)),
  token_type: optional(token(32)),
  expires_at: optional(epochMs),
  granted_scopes: optional(scopeList(256)),
  /** When the grant itself ends, where the issuer tells. */
  ends: optional(epochMs),
  /** What else is to be made from it; then there is no access token here, since it would have the scopes of all. */
  also: optional(v.pipe(v.array(v.strictObject(wish)), v.nonEmpty(), v.maxLength(mostAlso))),
  /** Nobody asked for just this: it takes the place of no credential that somebody asked for. */
  seed: optional(v.literal(true)),
  iss: optional(text(2048)),
  sub: optional(text(512)),
  who: optional(text(200)),
});

const logoutSchema = v.strictObject({ ...whose, kind: v.literal('logout') });

export const spoolSchema = v.variant('kind', [grantSchema, logoutSchema]);

export type GrantRecord = v.InferOutput<typeof grantSchema>;
type LogoutRecord = v.InferOutput<typeof logoutSchema>;
export type SpoolRecord = GrantRecord | LogoutRecord;

/** A record without what the spool itself adds. */
export type SpoolDraft = Omit<GrantRecord, 'v' | 'id' | 'at'> | Omit<LogoutRecord, 'v' | 'id' | 'at'>;
