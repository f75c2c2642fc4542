import * as v from 'valibot';
import { Failed, type Failure } from '../core/failure.js';
import { mostAlso } from '../core/several.js';
import { plain } from '../core/text.js';
import { failureSchema, stateSchema, text } from './state-record.js';

/**
 * The protocol between a client (`credmon login`) and the broker: one JSON object a line.
 *
 *   broker  challenge {path}             make this directory, to show whose you are
 *   client  proved
 *   broker  welcome {user}               the local account that the proof names
 *   client  login {provider, handle?, scopes?, audience?, also?}   or   logout {provider, handle?}
 *           also: [{handle?, scopes?, audience?}], made from the same login; the approval is for all scopes together
 *   broker  state {state, grant?}        as often as needed; `grant` names what lies in the spool, along with `done`
 *   client  again {yes}                  only in answer to the state `expired`
 *   broker  bye {failure?, grant?}       always the last; `grant`: of a logout
 *
 * Nobody speaks out of turn. Every record has `v`, the protocol's version.
 */
const version = 1;
/** In bytes, the newline counted. */
export const longestLine = 16 * 1024;

const v1 = v.literal(version);
const grant = v.exactOptional(v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/)));
// What is a name is decided in request.ts, in words that help; here it is only bounded.
const given = (longest: number) => v.pipe(v.string(), v.nonEmpty(), v.maxLength(longest));

const serverSchema = v.variant('kind', [
  v.strictObject({ v: v1, kind: v.literal('challenge'), path: text(1024) }),
  v.strictObject({ v: v1, kind: v.literal('welcome'), user: text(128) }),
  v.strictObject({ v: v1, kind: v.literal('state'), state: stateSchema, grant }),
  v.strictObject({ v: v1, kind: v.literal('bye'), failure: v.exactOptional(failureSchema), grant }),
]);

const wish = {
  handle: v.exactOptional(given(256)),
  scopes: v.exactOptional(v.pipe(v.array(given(256)), v.maxLength(64))),
  audience: v.exactOptional(given(512)),
};

const clientSchema = v.variant('kind', [
  v.strictObject({ v: v1, kind: v.literal('proved') }),
  v.strictObject({
    v: v1,
    kind: v.literal('login'),
    provider: given(256),
    ...wish,
    also: v.exactOptional(v.pipe(v.array(v.strictObject(wish)), v.maxLength(mostAlso))),
  }),
  v.strictObject({
    v: v1,
    kind: v.literal('logout'),
    provider: given(256),
    handle: v.exactOptional(given(256)),
  }),
  v.strictObject({ v: v1, kind: v.literal('again'), yes: v.boolean() }),
]);

type Bare<T> = T extends { v: unknown } ? Omit<T, 'v'> : never;
/** Records without `v`, which encoding adds and decoding takes away. */
export type ServerRecord = Bare<v.InferOutput<typeof serverSchema>>;
export type ClientRecord = Bare<v.InferOutput<typeof clientSchema>>;

export type Decoded<R> =
  | { readonly record: R; readonly failure?: never }
  | { readonly failure: Failure; readonly record?: never };

/** Never throws: whatever the bytes are, it is a record or a failure of kind `protocol`. */
export const fromClient = (line: Uint8Array): Decoded<ClientRecord> => decode(clientSchema, line, 'the client');
export const fromServer = (line: Uint8Array): Decoded<ServerRecord> => decode(serverSchema, line, 'the broker');

/** A line with its newline. Throws Failed('protocol') for what the other side would not take. */
export const toClient = (record: ServerRecord): string => encode(serverSchema, record);
export const toServer = (record: ClientRecord): string => encode(clientSchema, record);

export const tooLong = (who: string): Failure => malformed(who, `a line of more than ${longestLine} bytes`);

export const outOfTurn = (kind: ClientRecord['kind']): Failure => malformed('the client', `"${kind}" out of turn`);

// ignoreBOM: a byte order mark is not skipped, so it is an error like anything else that is not JSON.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decode<S extends typeof serverSchema | typeof clientSchema>(
  schema: S,
  line: Uint8Array,
  who: string,
): Decoded<Bare<v.InferOutput<S>>> {
  let input: unknown;
  try {
    input = JSON.parse(utf8.decode(line));
  } catch {
    return { failure: malformed(who, 'a line that is not JSON in UTF-8') };
  }
  const theirs = typeof input === 'object' && input !== null && 'v' in input ? input.v : undefined;
  if (theirs !== version) return { failure: otherVersion(who, theirs) };
  const result = v.safeParse(schema, input, { abortEarly: true });
  if (!result.success) return { failure: malformed(who, `a record with a fault at ${placeOf(result.issues[0])}`) };
  const { v: _, ...record } = result.output;
  return { record: record as Bare<v.InferOutput<S>> };
}

function encode(schema: typeof serverSchema | typeof clientSchema, record: ServerRecord | ClientRecord): string {
  const result = v.safeParse(schema, { v: version, ...record }, { abortEarly: true });
  if (!result.success) {
    throw new Failed({
      kind: 'protocol',
      what: `a "${record.kind}" cannot be sent: ${placeOf(result.issues[0])} is wrong`,
    });
  }
  const line = `${JSON.stringify(result.output)}\n`;
  if (Buffer.byteLength(line) <= longestLine) return line;
  throw new Failed({
    kind: 'protocol',
    what: `a "${record.kind}" cannot be sent: it is longer than ${longestLine} bytes`,
  });
}

/** The key only: valibot's own messages quote what was received. */
const placeOf = (issue: v.BaseIssue<unknown>): string => plain(v.getDotPath(issue) ?? '', 60) || 'the top';

function malformed(who: string, what: string): Failure {
  return {
    kind: 'protocol',
    what: `${who} sent ${what}`,
    hint: 'credmon and its broker may be of different versions: update both, then restart the broker',
  };
}

function otherVersion(who: string, theirs: unknown): Failure {
  const number = typeof theirs === 'number' ? `version ${theirs}` : 'no known version';
  return {
    kind: 'protocol',
    what: `${who} speaks ${number} of the protocol, and here it is version ${version}`,
    hint: 'update credmon and its broker to the same version, then restart the broker',
  };
}
