import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { outcomes, parseSshLogins, sshLoginsInWords } from '../../src/core/ssh-logins.js';
import { epochMs } from '../../src/core/time.js';

const none = { asked: 0, approved: 0, denied: 0, expired: 0, gone: 0, decoys: 0, unavailable: 0, committed: 0 };
const since = epochMs(Date.UTC(2026, 10, 23, 6, 10));

describe('what became of ssh logins', () => {
  test('in words, with what there is', () => {
    expect(sshLoginsInWords({ ...none, since })).toBe('ssh logins since 2026-11-23 06:10 UTC: 0');
    expect(sshLoginsInWords({ ...none, since, asked: 9, approved: 5, committed: 4, expired: 3, decoys: 1 })).toBe(
      'ssh logins since 2026-11-23 06:10 UTC: 9 (5 approved, 4 with a credential for jobs, 3 not approved in time, 1 to accounts that nobody may log in to)',
    );
  });

  test('is read as it was written, and whatever else is in the file is nothing', () => {
    expect(parseSshLogins(`${JSON.stringify({ ...none, since, more: 1 })}\n`)).toEqual({ ...none, since });
    for (const name of [...outcomes, 'since'])
      for (const value of [undefined, -1, 0.5, '1', null, 1e300])
        expect(parseSshLogins(JSON.stringify({ ...none, since, [name]: value }))).toBeUndefined();
    fc.assert(fc.property(fc.string(), (text) => parseSshLogins(text) === undefined));
    fc.assert(fc.property(fc.jsonValue(), (value) => parseSshLogins(JSON.stringify(value)) === undefined));
  });
});
