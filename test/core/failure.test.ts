import { expect, test } from 'vitest';
import { exitCode, Failed, type FailureKind, fail, failureOf } from '../../src/core/failure.js';

/** The whole list: the compiler says so when one is added. */
const codes = {
  usage: 64,
  unsupported: 69,
  storage: 74,
  transient: 75,
  protocol: 76,
  denied: 77,
  refused: 77,
  config: 78,
  'login-needed': 79,
  expired: 124,
  cancelled: 130,
} as const satisfies Record<FailureKind, number>;

test.each(Object.entries(codes))('%s ends with %d', (kind, code) => {
  expect(exitCode({ kind: kind as FailureKind })).toBe(code);
});

test('a failure travels through code that throws; anything else is a bug', () => {
  const cause = new Error('inner');
  let thrown: unknown;
  try {
    fail('storage', 'the disk is full', 'make room', cause);
  } catch (caught) {
    thrown = caught;
  }
  expect(thrown).toBeInstanceOf(Failed);
  expect((thrown as Failed).message).toBe('the disk is full');
  expect((thrown as Failed).cause).toBe(cause);
  expect(failureOf(thrown)).toEqual({ kind: 'storage', what: 'the disk is full', hint: 'make room' });
  expect(failureOf(new TypeError('x'))).toBeUndefined();
  expect(failureOf(undefined)).toBeUndefined();
});

test('no hint and no cause are absent, not undefined', () => {
  expect(() => fail('usage', 'what?')).toThrow(
    expect.toSatisfy((e: Failed) => !('hint' in e.failure) && !('cause' in e)),
  );
});
