import { describe, expect, test } from 'vitest';
import { brokenReply, quoted, retryAfter } from '../../src/core/reply.js';
import { epochMs } from '../../src/core/time.js';

const now = epochMs(1_800_000_000_000);
const broken = (status: number, body: unknown, headers: Record<string, string> = {}, said?: string) =>
  brokenReply('https://x.example', { status, body, headers }, now, said);

describe('an answer', () => {
  test.each([
    [200, {}, undefined],
    [200, [], undefined],
    [400, {}, undefined],
    [200, undefined, 'protocol'],
    [200, 'text', 'protocol'],
    [200, null, 'protocol'],
    [403, undefined, 'protocol'],
    [301, {}, 'protocol'],
    [307, undefined, 'protocol'],
    [408, undefined, 'transient'],
    [429, {}, 'transient'],
    [500, {}, 'transient'],
    [503, undefined, 'transient'],
  ])('%d with %o: %s', (status, body, kind) => {
    expect(broken(status, body)?.kind).toBe(kind);
  });

  test('that is trouble says which, and how long to wait', () => {
    expect(broken(503, {}, { 'retry-after': '7' }, 'sealed')).toMatchObject({
      what: 'https://x.example has trouble of its own (HTTP 503: sealed)',
      wait: 7,
    });
  });
});

test.each([
  ['7', { wait: 7 }],
  [new Date(now + 30_000).toUTCString(), { wait: 30 }],
  [new Date(now - 30_000).toUTCString(), {}],
  ['0', {}],
  ['soon', {}],
])('Retry-After: %s', (value, expected) => {
  expect(retryAfter({ 'retry-after': value }, now)).toEqual(expected);
});

test('another’s words are quoted in one line, without secrets', () => {
  expect(quoted('your\n\u001b[31mtoken s3cret is bad', 200, 's3cret', '')).toBe('your token … is bad');
  expect(quoted({ a: 1 }, 200)).toBe('');
});
