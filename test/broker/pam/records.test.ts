import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type BrokerRecord,
  brokerReader,
  encode,
  type ModuleRecord,
  moduleReader,
  type Read,
} from '../../../src/broker/pam/records.js';

interface Vector {
  readonly name: string;
  readonly from: 'module' | 'broker';
  readonly bytes: Buffer;
  /** Undefined: it is malformed. */
  readonly decoded: readonly string[] | undefined;
}

const table = new URL('../../../pam/test/vectors.txt', import.meta.url);

/** It says itself how it is to be read. */
function readVectors(): readonly Vector[] {
  const text = readFileSync(table, 'utf8');
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return lines.map((line) => {
    const [name = '', from = '', bytes = '', answer = ''] = line.split(' | ');
    return {
      name,
      from: from === 'module' ? 'module' : 'broker',
      bytes: Buffer.concat(bytes.split(' ').map(bytesOf)),
      decoded: answer.startsWith('ok ') ? answer.slice(3).split(' ').map(valueIn) : undefined,
    };
  });
}

function bytesOf(word: string): Buffer {
  const [hex = '', times = '1'] = word === '-' ? [''] : word.split('*');
  return Buffer.from(hex.repeat(Number(times)), 'hex');
}

function valueIn(word: string): string {
  const [, name = '', value = '', , times = '1'] = /^(\w+=)(.*?)(\*(\d+))?$/s.exec(word) ?? ['', '', word];
  return name + decodeURIComponent(value).repeat(Number(times));
}

/** In the order of the tags. */
const order = 'user connection service rhost first mode face seconds locked empty text result audit'.split(' ');

function fieldsOf(record: ModuleRecord | BrokerRecord): readonly string[] {
  const { kind, ...fields } = record;
  const bare = (value: unknown) => (typeof value === 'boolean' ? Number(value) : value);
  const named = Object.entries(fields).sort(([a], [b]) => order.indexOf(a) - order.indexOf(b));
  return [kind, ...named.map(([name, value]) => `${name}=${bare(value)}`)];
}

function readAll(from: 'module' | 'broker', chunks: readonly Uint8Array[]) {
  const reader = from === 'module' ? moduleReader() : brokerReader();
  const found: Read<ModuleRecord | BrokerRecord>[] = chunks.flatMap((chunk) => [...reader.push(chunk)]);
  return { found, pending: reader.pending };
}

const vectors = readVectors();

describe('the table that the PAM module is tested by, too', () => {
  test('has what it should', () => {
    expect(vectors.length).toBeGreaterThan(150);
    expect(new Set(vectors.map(({ name }) => name)).size).toBe(vectors.length);
  });

  test.each(vectors.map((vector) => [vector.name, vector] as const))('%s', (_, { from, bytes, decoded }) => {
    for (const chunks of [[bytes], [...bytes].map((byte) => Uint8Array.of(byte))]) {
      const { found, pending } = readAll(from, chunks);
      const [first] = found;
      const whole = found.length === 1 && pending === 0 ? first?.record : undefined;
      expect(whole && fieldsOf(whole)).toEqual(decoded);
    }
    const { record } = readAll(from, [bytes]).found[0] ?? {};
    if (decoded && record) expect(Buffer.from(encode(record)).equals(bytes)).toBe(true);
  });
});

const line = (most: number, least = 0) =>
  fc
    .string({ unit: 'grapheme', minLength: least, maxLength: most })
    .filter((s) => !/[\p{Cc}\p{Cs}]/u.test(s))
    .filter((s) => Buffer.byteLength(s) <= most && s.length >= least);
const lines = (most: number) =>
  fc
    .array(line(most / 4), { maxLength: 3 })
    .map((all) => all.join('\n'))
    .filter((s) => Buffer.byteLength(s) <= most);
const whose = {
  user: line(255, 1),
  connection: fc.stringMatching(/^[0-9a-z:.]{1,64}$/),
  service: line(64, 1),
  rhost: line(255),
  mode: fc.constantFrom('login' as const, 'seed' as const),
};
const moduleRecords: fc.Arbitrary<ModuleRecord> = fc.oneof(
  fc.record({
    kind: fc.constant('auth' as const),
    ...whose,
    first: lines(4096),
    face: fc.constantFrom('live' as const, 'prompt' as const),
    seconds: fc.integer({ min: 0, max: 9999 }),
    locked: fc.boolean(),
  }),
  fc.record({ kind: fc.constant('answer' as const), empty: fc.boolean() }),
  fc.record({ kind: fc.constantFrom('account' as const, 'commit' as const), ...whose }),
);
const said = { text: lines(8192), audit: line(1024) };
const brokerRecords: fc.Arbitrary<BrokerRecord> = fc.oneof(
  fc.record({ kind: fc.constantFrom('show' as const, 'ask' as const), text: said.text }),
  fc.record(
    { kind: fc.constant('verdict' as const), result: fc.constant('ok' as const), user: line(255, 1), ...said },
    { requiredKeys: ['kind', 'result', 'user'] },
  ),
  fc.record(
    {
      kind: fc.constant('verdict' as const),
      result: fc.constantFrom('denied' as const, 'unavailable' as const, 'ignore' as const),
      ...said,
    },
    { requiredKeys: ['kind', 'result'] },
  ),
);

/** The same bytes, cut anywhere. */
const cut = (bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] => {
  const at = [0, ...cuts.map((n) => n % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return at.slice(1).map((end, i) => bytes.subarray(at[i], end));
};

describe('records', () => {
  test.each([
    ['module', moduleRecords],
    ['broker', brokerRecords],
  ] as const)('of the %s come back as they were sent, however the stream is cut', (from, records) => {
    fc.assert(
      fc.property(
        fc.array(records as fc.Arbitrary<ModuleRecord | BrokerRecord>, { maxLength: 4 }),
        fc.array(fc.nat(), { maxLength: 8 }),
        (sent, cuts) => {
          const { found, pending } = readAll(from, cut(Buffer.concat(sent.map(encode)), cuts));
          expect(found.map(({ record }) => record)).toEqual(sent);
          expect(pending).toBe(0);
        },
      ),
    );
  });

  test('arbitrary bytes are records or malformed, once, and nothing is held after that', () => {
    const header = fc
      .tuple(fc.constantFrom(1, 2, 3, 4, 64, 65, 66, 7), fc.nat(40))
      .map(([type, length]) => Uint8Array.of(1, type, 0, length));
    const piece = fc.oneof(fc.uint8Array({ maxLength: 60 }), header, moduleRecords.map(encode));
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 10 }), fc.constantFrom('module', 'broker'), (pieces, from) => {
        const { found, pending } = readAll(from as 'module', pieces);
        const bad = found.findIndex(({ malformed }) => malformed !== undefined);
        expect(bad === -1 || bad === found.length - 1).toBe(true);
        expect(pending).toBeLessThanOrEqual(4 + 16_384);
        if (bad !== -1) expect(pending).toBe(0);
      }),
    );
  });

  test('what the other side would not take is not sent', () => {
    expect(() => encode({ kind: 'ask', text: 'x'.repeat(8193) })).toThrow('"ask" cannot be sent: bad text');
    expect(() => encode({ kind: 'show', text: '\u001B[2J' })).toThrow('bad text');
    expect(() => encode({ kind: 'verdict', result: 'ok', user: '' })).toThrow('bad user');
    expect(() => encode({ kind: 'verdict', result: 'denied', audit: 'a\nb' })).toThrow('bad audit');
  });
});
