import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { auditLine } from '../../../src/broker/pam/audit.js';

const facts = {
  result: 'accepted',
  user: 'alice',
  rhost: '192.0.2.7',
  service: 'sshd',
  id: '00112233aabbccdd',
} as const;

describe('checklist 19: a line of audit', () => {
  test('has what there is, in one order', () => {
    expect(auditLine({ ...facts, acr: 'mfa', iss: 'https://i.test', sub: 's', uid: 4242 })).toBe(
      'credmon: result=accepted user="alice" uid="4242" sub="s" iss="https://i.test" rhost="192.0.2.7" service="sshd" acr="mfa" id="00112233aabbccdd"',
    );
  });

  test('a sub is whole, and what is too long is made shorter but never its end', () => {
    const sub = 's'.repeat(255);
    expect(auditLine({ ...facts, sub })).toContain(`sub="${sub}"`);
    const long = auditLine({
      ...facts,
      sub,
      user: 'u'.repeat(255),
      rhost: 'h'.repeat(255),
      reason: 'r'.repeat(999),
      acr: 'a'.repeat(999),
    });
    expect(long).toMatch(/ id="00112233aabbccdd"$/);
    expect(Buffer.byteLength(long)).toBeLessThanOrEqual(1024);
  });

  test('a claim that is no text breaks nothing', () => {
    const acr: unknown = JSON.parse('{"toString":1,"valueOf":1}');
    expect(auditLine({ ...facts, acr })).toContain(' acr="not text" id=');
  });

  test('whatever is in it, each value ends where it ends', () => {
    const text = fc.string({ unit: 'binary', maxLength: 400 });
    const any = fc.record({
      user: text,
      sub: text,
      iss: text,
      rhost: text,
      service: text,
      acr: fc.anything(),
      reason: text,
    });
    fc.assert(
      fc.property(any, (values) => {
        const line = auditLine({ ...facts, ...values });
        expect(Buffer.byteLength(line)).toBeLessThanOrEqual(1024);
        expect(line).not.toMatch(/[\p{Cc}\p{Cs}]/u);
        expect(line).toMatch(/^credmon: result=accepted(?: [a-z]+="(?:[^"\\]|\\["\\])*")+$/);
        expect(line).toMatch(/ id="00112233aabbccdd"$/);
        expect(line.match(/ user="/g)?.length).toBeGreaterThan(0);
      }),
    );
  });
});
