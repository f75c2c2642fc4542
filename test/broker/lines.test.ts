import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LineSplitter } from '../../src/broker/lines.js';

/** The bytes cut at these places. */
function chunks(bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  return at.slice(1).map((end, i) => bytes.subarray(at[i], end));
}

function split(parts: readonly Uint8Array[], limit: number): string[] {
  const splitter = new LineSplitter(limit);
  return parts.flatMap((part) => {
    const found = [...splitter.push(part)].map(({ line }) => (line ? Buffer.from(line).toString('hex') : 'too long'));
    expect(splitter.pending).toBeLessThan(limit);
    return found;
  });
}

describe('LineSplitter', () => {
  test('any chunking gives the same lines', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc
        .array(fc.string({ unit: 'binary' }), { maxLength: 10 })
        .map((lines) => new TextEncoder().encode(lines.join('\n'))),
    );
    fc.assert(
      fc.property(bytes, fc.array(fc.nat(), { maxLength: 20 }), fc.integer({ min: 1, max: 64 }), (all, cuts, limit) => {
        expect(split(chunks(all, cuts), limit)).toEqual(split([all], limit));
      }),
    );
  });

  test('a character may be cut in two', () => {
    const all = new TextEncoder().encode('grüße 🔑\n');
    const splitter = new LineSplitter(100);
    const found = [...all].flatMap((byte) => [...splitter.push(Uint8Array.of(byte))]);
    expect(found.map(({ line }) => new TextDecoder().decode(line))).toEqual(['grüße 🔑']);
  });

  test('the newline counts, and nothing comes after a line that is too long', () => {
    expect(split([Buffer.from('1234567\n')], 8)).toEqual([Buffer.from('1234567').toString('hex')]);
    expect(split([Buffer.from('12345678\nab\n'), Buffer.from('cd\n')], 8)).toEqual(['too long']);
  });

  test('does not hold on to the chunk', () => {
    const splitter = new LineSplitter(100);
    const chunk = Buffer.from('abc');
    expect([...splitter.push(chunk)]).toEqual([]);
    chunk.fill(0x78);
    const [piece] = splitter.push(Buffer.from('\n'));
    expect(Buffer.from(piece?.line ?? []).toString()).toBe('abc');
  });
});
