import { Failed } from '../../core/failure.js';

/**
 * The protocol between the PAM module and the broker, version 1. A record: `u8 version | u8 type | u16be length | payload`,
 * the payload fields `u8 tag | u16be length | bytes`, tags ascending. Whatever is not exactly so is malformed, and whoever
 * receives it hangs up. pam/test/vectors.txt is the table that both sides are tested by.
 */
const version = 1;
const headerLength = 4;
const longestPayload = 16_384;

type Kind = 'text' | 'lines' | 'connection' | 'digits' | readonly string[];

interface Field {
  readonly tag: number;
  /** Bytes. */
  readonly least: number;
  readonly most: number;
  readonly kind: Kind;
}

const fields = {
  /** PAM_USER. */
  user: { tag: 1, least: 1, most: 255, kind: 'text' },
  /** Which TCP connection of a client, or which process where there is none; the same in every phase of a login. */
  connection: { tag: 2, least: 1, most: 64, kind: 'connection' },
  service: { tag: 3, least: 1, most: 64, kind: 'text' },
  /** PAM_RHOST; '': none. */
  rhost: { tag: 4, least: 0, most: 255, kind: 'text' },
  /** SSH_AUTH_INFO_0; '': nothing was passed before. */
  first: { tag: 5, least: 0, most: 4096, kind: 'lines' },
  mode: { tag: 6, least: 4, most: 5, kind: ['login', 'seed'] },
  face: { tag: 7, least: 4, most: 6, kind: ['live', 'prompt'] },
  seconds: { tag: 8, least: 1, most: 4, kind: 'digits' },
  locked: { tag: 9, least: 1, most: 1, kind: ['0', '1'] },
  empty: { tag: 16, least: 1, most: 1, kind: ['0', '1'] },
  text: { tag: 32, least: 0, most: 8192, kind: 'lines' },
  result: { tag: 33, least: 2, most: 11, kind: ['ok', 'denied', 'unavailable', 'ignore'] },
  audit: { tag: 34, least: 0, most: 1024, kind: 'text' },
} as const satisfies Record<string, Field>;

type FieldName = keyof typeof fields;

interface Form {
  readonly type: number;
  readonly from: 'module' | 'broker';
  readonly needs: readonly FieldName[];
  readonly may: readonly FieldName[];
}

const whose = ['user', 'connection', 'service', 'rhost'] as const;

const forms = {
  auth: { type: 1, from: 'module', needs: [...whose, 'first', 'mode', 'face', 'seconds', 'locked'], may: [] },
  answer: { type: 2, from: 'module', needs: ['empty'], may: [] },
  account: { type: 3, from: 'module', needs: [...whose, 'mode'], may: [] },
  commit: { type: 4, from: 'module', needs: [...whose, 'mode'], may: [] },
  show: { type: 64, from: 'broker', needs: ['text'], may: [] },
  ask: { type: 65, from: 'broker', needs: ['text'], may: [] },
  verdict: { type: 66, from: 'broker', needs: ['result'], may: ['user', 'text', 'audit'] },
} as const satisfies Record<string, Form>;

type FormName = keyof typeof forms;

/** Fields as they are on the wire: text. */
type Values = Partial<Record<FieldName, string>>;

/** Who logs in, and by what. */
export interface Subject {
  readonly user: string;
  readonly connection: string;
  readonly service: string;
  readonly rhost: string;
  readonly mode: 'login' | 'seed';
}

export interface Auth extends Subject {
  readonly kind: 'auth';
  readonly first: string;
  readonly face: 'live' | 'prompt';
  /** The module's own deadline, from now. */
  readonly seconds: number;
  readonly locked: boolean;
}

export interface Answer {
  readonly kind: 'answer';
  readonly empty: boolean;
}

export type ModuleRecord = Auth | Answer | ({ readonly kind: 'account' | 'commit' } & Subject);

export type Verdict = {
  readonly kind: 'verdict';
  readonly text?: string;
  /** A line for the system's log of logins. */
  readonly audit?: string;
} & ({ readonly result: 'ok'; readonly user: string } | { readonly result: 'denied' | 'unavailable' | 'ignore' });

export type BrokerRecord = { readonly kind: 'show' | 'ask'; readonly text: string } | Verdict;

/** Longest texts that fit into a record: bytes of UTF-8. */
export const longestText = fields.text.most;
export const longestAudit = fields.audit.most;

export type Read<R> =
  | { readonly record: R; readonly malformed?: never }
  | { readonly malformed: string; readonly record?: never };

/**
 * Cuts a stream into records, whatever the chunks. It never holds more than one record; after a malformed one it finds
 * nothing any more. `malformed` says why and has nothing of what came in it.
 */
class Reader<R> {
  readonly #room = new Uint8Array(headerLength + longestPayload);
  #length = 0;
  #broken = false;

  constructor(
    private readonly from: Form['from'],
    private readonly shape: (name: FormName, values: Values) => R,
  ) {}

  /** Bytes of a record whose end has not come yet. */
  get pending(): number {
    return this.#length;
  }

  *push(chunk: Uint8Array): Generator<Read<R>, void, undefined> {
    for (let from = 0; from < chunk.length && !this.#broken; ) {
      const wanted = this.#length < headerLength ? headerLength : headerLength + this.#payload();
      const piece = chunk.subarray(from, from + wanted - this.#length);
      this.#room.set(piece, this.#length);
      this.#length += piece.length;
      from += piece.length;
      if (this.#length < headerLength) return;
      const trouble = this.#headerTrouble();
      if (trouble !== undefined) {
        this.#broken = true;
        this.#length = 0;
        yield { malformed: trouble };
      } else if (this.#length === headerLength + this.#payload()) {
        const read = this.#take();
        this.#length = 0;
        this.#broken = read.malformed !== undefined;
        yield read;
      }
    }
  }

  #payload(): number {
    return ((this.#room[2] ?? 0) << 8) | (this.#room[3] ?? 0);
  }

  #form(): readonly [FormName, Form] | undefined {
    return formOf(this.#room[1] ?? 0, this.from);
  }

  #headerTrouble(): string | undefined {
    if (this.#room[0] !== version) return 'version';
    if (this.#form() === undefined) return 'type';
    return this.#payload() > longestPayload ? 'length' : undefined;
  }

  #take(): Read<R> {
    const [name, form] = this.#form() ?? [];
    if (name === undefined || form === undefined) return { malformed: 'type' };
    const values = fieldsIn(this.#room.subarray(headerLength, this.#length), form);
    if (typeof values === 'string') return { malformed: values };
    return { record: this.shape(name, values) };
  }
}

export const moduleReader = (): Reader<ModuleRecord> => new Reader('module', moduleRecord);
export const brokerReader = (): Reader<BrokerRecord> => new Reader('broker', brokerRecord);
export type ModuleReader = ReturnType<typeof moduleReader>;

const names = Object.keys(forms) as FormName[];

function formOf(type: number, from: Form['from']): readonly [FormName, Form] | undefined {
  const name = names.find((one) => forms[one].type === type && forms[one].from === from);
  return name && [name, forms[name]];
}

/** The fields of a payload; a string: why it is malformed. */
function fieldsIn(payload: Uint8Array, form: Form): Values | string {
  const admitted = [...form.needs, ...form.may];
  const values: Values = {};
  let before = -1;
  for (let at = 0; at < payload.length; ) {
    if (payload.length - at < 3) return 'truncated field';
    const [tag = 0, high = 0, low = 0] = payload.subarray(at, at + 3);
    const length = (high << 8) | low;
    at += 3;
    if (length > payload.length - at) return 'truncated field';
    const bytes = payload.subarray(at, at + length);
    at += length;
    const name = admitted.find((one) => fields[one].tag === tag);
    if (name === undefined) return 'tag not of this type';
    if (tag <= before) return 'tags not ascending';
    before = tag;
    const value = readValue(bytes, fields[name]);
    if (value === undefined) return `bad ${name}`;
    values[name] = value;
  }
  const lacking = form.needs.find((name) => values[name] === undefined);
  if (lacking !== undefined) return `no ${lacking}`;
  // Success names the user whom it is for; what is no success names nobody.
  if (values.result !== undefined && (values.result === 'ok') !== (values.user !== undefined)) {
    return values.result === 'ok' ? 'no user' : 'user without ok';
  }
  return values;
}

// ignoreBOM: a byte order mark is a character like another.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function readValue(bytes: Uint8Array, { least, most, kind }: Field): string | undefined {
  if (bytes.length < least || bytes.length > most) return undefined;
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    return undefined;
  }
  return admits(kind, text) ? text : undefined;
}

function admits(kind: Kind, text: string): boolean {
  if (typeof kind !== 'string') return kind.includes(text);
  switch (kind) {
    case 'text':
      return !/\p{Cc}/u.test(text);
    case 'lines':
      return !/(?!\n)\p{Cc}/u.test(text);
    case 'connection':
      return /^[0-9a-z:.]+$/.test(text);
    case 'digits':
      return /^[0-9]+$/.test(text);
  }
}

function moduleRecord(name: FormName, values: Values): ModuleRecord {
  if (name === 'answer') return { kind: 'answer', empty: values.empty === '1' };
  const { user = '', connection = '', service = '', rhost = '', first = '' } = values;
  const subject = { user, connection, service, rhost, mode: values.mode === 'login' ? 'login' : 'seed' } as const;
  if (name === 'account' || name === 'commit') return { kind: name, ...subject };
  const face = values.face === 'live' ? 'live' : 'prompt';
  return { kind: 'auth', ...subject, first, face, seconds: Number(values.seconds), locked: values.locked === '1' };
}

function brokerRecord(name: FormName, { user = '', text, result, audit }: Values): BrokerRecord {
  if (name === 'show' || name === 'ask') return { kind: name, text: text ?? '' };
  const said = { kind: 'verdict', ...(text !== undefined && { text }), ...(audit !== undefined && { audit }) } as const;
  return result === 'ok' ? { ...said, result, user } : { ...said, result: result as 'denied' };
}

/** Throws Failed('protocol') for what the other side would not take. */
export function encode(record: ModuleRecord | BrokerRecord): Uint8Array {
  const form: Form = forms[record.kind];
  const values = new Map<string, unknown>(Object.entries(record));
  const parts: Uint8Array[] = [];
  for (const name of [...form.needs, ...form.may].sort((a, b) => fields[a].tag - fields[b].tag)) {
    const value = values.get(name);
    if (value === undefined) continue;
    const bytes = new TextEncoder().encode(typeof value === 'boolean' ? (value ? '1' : '0') : String(value));
    parts.push(Uint8Array.of(fields[name].tag, bytes.length >> 8, bytes.length & 0xff), bytes);
  }
  const payload = Buffer.concat(parts);
  const trouble = payload.length > longestPayload ? 'length' : fieldsIn(payload, form);
  if (typeof trouble === 'string') {
    throw new Failed({ kind: 'protocol', what: `"${record.kind}" cannot be sent: ${trouble}` });
  }
  return Buffer.concat([Uint8Array.of(version, form.type, payload.length >> 8, payload.length & 0xff), payload]);
}
