import * as v from 'valibot';
import type { Failure, FailureKind } from '../core/failure.js';
import type { LoginState } from '../core/login.js';
import { redact } from '../core/redact.js';
import { badScope } from '../core/scopes.js';
import { mostAlso } from '../core/several.js';
import { plain } from '../core/text.js';
import type { EpochMs, Seconds } from '../core/time.js';
import { isSafeUrl } from '../core/url.js';

/**
 * LoginState and Failure as they may stand in a record: strict, bounded, and with no text that could do a terminal harm.
 * The compiler checks at the end of this file that these schemas say what the types in core/ say.
 */

/** One line that core/text.ts finds nothing to take out of. */
export const text = (longest: number) =>
  v.pipe(
    v.string(),
    v.maxLength(longest),
    v.check((s) => plain(s, longest) === s, 'must be plain text'),
  );

/** Many more than anybody asks for, few enough for a line: a request's own limits are tighter. */
export const scopeList = (most: number) =>
  v.pipe(
    v.array(v.pipe(v.string(), v.maxLength(256))),
    v.maxLength(most),
    v.check((list) => badScope(list) === undefined, 'must be scopes'),
  );

export const epochMs = v.custom<EpochMs>(isMoment, 'must be a time in milliseconds');
const span = v.custom<Seconds>((n) => typeof n === 'number' && n >= 0 && n <= 31_622_400, 'must be seconds');
const link = v.pipe(v.string(), v.maxLength(2048), v.check(isSafeUrl, 'must be an https link'), text(2048));

function isMoment(n: unknown): boolean {
  return typeof n === 'number' && n >= 0 && n <= 8.64e15;
}

const kinds = {
  usage: true,
  config: true,
  transient: true,
  protocol: true,
  refused: true,
  denied: true,
  expired: true,
  'login-needed': true,
  storage: true,
  unsupported: true,
  cancelled: true,
} satisfies Record<FailureKind, true>;

export const failureSchema = v.strictObject({
  kind: v.picklist(Object.keys(kinds) as FailureKind[]),
  what: text(500),
  hint: v.exactOptional(text(500)),
  wait: v.exactOptional(span),
  code: v.exactOptional(text(64)),
});

const ask = v.strictObject({
  provider: text(128),
  issuer: text(2048),
  handle: v.exactOptional(text(128)),
  scopes: scopeList(128),
  audience: v.exactOptional(text(1024)),
  also: v.exactOptional(
    v.pipe(
      v.array(v.strictObject({ handle: v.exactOptional(text(128)), audience: v.exactOptional(text(512)) })),
      v.maxLength(mostAlso),
    ),
  ),
  from: v.exactOptional(text(128)),
});

const place = v.variant('kind', [
  v.strictObject({ kind: v.literal('condor'), by: v.picklist(['spool', 'credd']) }),
  v.strictObject({ kind: v.literal('keyring') }),
  v.strictObject({ kind: v.literal('file'), path: text(4096), because: v.exactOptional(text(200)) }),
]);

const who = v.exactOptional(text(200));

export const stateSchema = v.variant('at', [
  v.strictObject({ at: v.literal('starting'), ask }),
  v.strictObject({
    at: v.literal('code'),
    ask,
    code: v.pipe(text(64), v.nonEmpty()),
    link,
    linkComplete: v.exactOptional(link),
    expires: epochMs,
    trouble: v.exactOptional(text(500)),
  }),
  v.strictObject({ at: v.literal('expired'), ask }),
  v.strictObject({ at: v.literal('storing'), ask, who, place }),
  v.strictObject({ at: v.literal('waiting'), ask, who, place, what: text(200) }),
  v.strictObject({
    at: v.literal('done'),
    ask,
    who,
    place,
    missing: scopeList(128),
    expires: v.exactOptional(epochMs),
    refresh: v.exactOptional(epochMs),
    keeper: v.exactOptional(text(500)),
    note: v.exactOptional(text(500)),
  }),
  v.strictObject({ at: v.literal('kept'), ask, place, expires: v.exactOptional(epochMs) }),
  v.strictObject({ at: v.literal('failed'), ask, failure: failureSchema }),
]);

/** {@link plain}, until there is nothing left to take out: shortening may cut a character in two. */
export const shorten = (text: string, longest: number): string => plain(plain(text, longest), longest);

/** A failure with texts that may stand in a record: no secret, nothing for a terminal to obey, not too long. */
export function showable({ kind, what, hint, wait, code }: Failure): Failure {
  return {
    kind,
    what: shorten(redact(what), 500),
    ...(hint !== undefined && { hint: shorten(redact(hint), 500) }),
    ...(wait !== undefined && wait <= 31_622_400 && { wait }),
    ...(code !== undefined && { code: shorten(code, 64) }),
  };
}

/** The same for a state: what an issuer said ends up in these places. Links and codes are left as they are. */
export function showableState(state: LoginState): LoginState {
  const named = 'who' in state && state.who !== undefined ? { ...state, who: shorten(state.who, 200) } : state;
  if (named.at === 'failed') return { ...named, failure: showable(named.failure) };
  if (named.at === 'code' && named.trouble !== undefined) {
    return { ...named, trouble: shorten(redact(named.trouble), 500) };
  }
  return named;
}

export type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : never) : never;
/** Without readonly, and with every key: an optional one that only one side has would make no difference. */
export type Whole<T> = T extends readonly (infer E)[]
  ? Whole<E>[]
  : T extends EpochMs | Seconds
    ? T
    : T extends object
      ? { -readonly [K in keyof T]-?: Whole<T[K]> }
      : T;
true satisfies v.InferOutput<typeof stateSchema> extends LoginState ? true : never;
true satisfies Same<Whole<v.InferOutput<typeof stateSchema>>, Whole<LoginState>>;
true satisfies Same<Whole<v.InferOutput<typeof failureSchema>>, Whole<Failure>>;
