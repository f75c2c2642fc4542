import { describe, expect, test } from 'vitest';
import type { LoginState } from '../../../src/core/login.js';
import { jsonFace } from '../../../src/login/faces/json.js';
import { type PlainOptions, plainFace } from '../../../src/login/faces/plain.js';
import { code, done, failed, hostile, manualClock, place, starting } from './states.js';

const never = new AbortController().signal;

const story: readonly LoginState[] = [
  starting,
  code,
  code,
  { ...code, trouble: 'cannot reach https://cilogon.org' },
  { ...code, trouble: 'cannot reach https://cilogon.org' },
  code,
  { at: 'expired', ask: code.ask },
  { ...code, code: 'NEW-ONE' },
  { at: 'storing', ask: code.ask, who: 'Jane Doe', place },
  { at: 'waiting', ask: code.ask, who: 'Jane Doe', place, what: 'credmond to fetch the first token' },
  { at: 'waiting', ask: code.ask, who: 'Jane Doe', place, what: 'credmond to fetch the first token' },
  done,
  done,
];

const ask = { provider: hostile, issuer: hostile, handle: hostile, audience: hostile, scopes: [hostile] };
const hostileStory: readonly LoginState[] = [
  { at: 'starting', ask },
  { ...code, ask, code: hostile, link: hostile, linkComplete: hostile, trouble: hostile },
  { at: 'expired', ask },
  { at: 'storing', ask, who: hostile, place: { kind: 'file', path: hostile, because: hostile } },
  { at: 'waiting', ask, who: hostile, place, what: hostile },
  { ...done, ask, who: hostile, missing: [hostile], keeper: hostile, note: hostile },
  { ...failed, ask, failure: { kind: 'refused', what: hostile, hint: hostile, code: hostile } },
];

function plainly(states: readonly LoginState[], options: Partial<PlainOptions> = {}): string {
  let text = '';
  const face = plainFace({
    clock: manualClock(),
    account: 'alice',
    host: 'ap2001',
    write: (more) => {
      text += more;
    },
    ...options,
  });
  for (const state of states) face.show(state);
  return text;
}

describe('the plain face', () => {
  test('tells the story once, each thing on a line', () => {
    expect(plainly(story).replace(/at \d\d:\d\d/, 'at hh:mm')).toMatchInlineSnapshot(`
      "Log in to cilogon (https://cilogon.org) for alice@ap2001
        Your jobs can then read files below /ospool/ap20; see your e-mail address; know who you are; see your identity provider’s details.

      Open this link in a browser on any device:
      https://cilogon.org/device/?user_code=ABC-DEF-GHI
      and check that it shows the code  ABC-DEF-GHI

      Waiting for your approval; the code is valid for 4 min.
      Still trying: cannot reach https://cilogon.org
      The issuer answers again.
      The code ran out before it was approved.

      Open this link in a browser on any device:
      https://cilogon.org/device/?user_code=ABC-DEF-GHI
      and check that it shows the code  NEW-ONE

      Waiting for your approval; the code is valid for 4 min.
      Approved by Jane Doe; storing the grant.
      Waiting for credmond to fetch the first token.
      Logged in to cilogon as Jane Doe
        Stored: in HTCondor’s credential directory, handed over by the broker
        Token good: for 3 h
        First refresh: in 41 min, at hh:mm
        Kept fresh by: credmon agent
        Not granted: storage.modify:/ospool
        Note: the issuer said nothing about tape
      "
    `);
  });

  test('tells a failure with its hint, and a grant that stays', () => {
    expect(plainly([failed])).toBe('Login to cilogon failed: the login was refused\n  Hint: run it again\n');
    expect(plainly([{ at: 'kept', ask: code.ask, place: { kind: 'keyring' } }])).toBe(
      'Already logged in to cilogon: the grant that is there stays\n  Stored: in your desktop keyring\n',
    );
  });

  test('asks for the code where the link does not have it', () => {
    const { linkComplete: _, ...bare } = code;
    expect(plainly([bare])).toContain('https://cilogon.org/device/\nand enter the code  ABC-DEF-GHI');
  });

  test('numbers several logins', () => {
    const text = plainly([starting, done, { at: 'starting', ask: { ...code.ask, provider: 'osdf' } }], { total: 2 });
    expect(text).toContain('Log in to cilogon (https://cilogon.org) for alice@ap2001, 1 of 2');
    expect(text).toContain('Log in to osdf (https://cilogon.org) for alice@ap2001, 2 of 2');
  });

  test('draws the QR code only for a terminal that it fits on', () => {
    expect(plainly(story)).not.toContain('█');
    expect(plainly(story, { qr: () => ({ columns: 80, rows: 24 }) })).toContain('█');
    expect(plainly(story, { qr: () => ({ columns: 20, rows: 24 }) })).not.toContain('█');
  });

  test('writes no control character but the line feed, whatever the issuer sends', () => {
    for (const states of [story, hostileStory]) {
      expect(plainly(states).replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    }
  });

  test('asks for another code where it can, and nothing after the end', async () => {
    const question: string[] = [];
    const asking = plainFace({
      clock: manualClock(),
      write: () => {},
      ask: async (q) => {
        question.push(q);
        return true;
      },
    });
    expect(await asking.again(never)).toBe(true);
    expect(question).toEqual(['Get a new code?']);
    expect(await asking.again(AbortSignal.abort())).toBe(false);
    await asking.close();
    expect(await asking.again(never)).toBe(false);
    expect(await plainFace({ clock: manualClock(), write: () => {} }).again(never)).toBe(false);
  });
});

describe('the JSON face', () => {
  function lines(states: readonly LoginState[]): string {
    let text = '';
    const face = jsonFace({
      write: (line) => {
        text += line;
      },
    });
    for (const state of states) face.show(state);
    return text;
  }

  test('writes an object a line, a changed state a line', () => {
    const objects = lines([...story, failed])
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(objects).toMatchInlineSnapshot(`
      [
        {
          "event": "starting",
          "issuer": "https://cilogon.org",
          "provider": "cilogon",
          "scopes": [
            "email",
            "openid",
            "org.cilogon.userinfo",
            "storage.read:/ospool/ap20",
          ],
        },
        {
          "event": "code",
          "expires_at": "2026-11-22T12:04:12.000Z",
          "issuer": "https://cilogon.org",
          "provider": "cilogon",
          "scopes": [
            "email",
            "openid",
            "org.cilogon.userinfo",
            "storage.read:/ospool/ap20",
          ],
          "user_code": "ABC-DEF-GHI",
          "verification_uri": "https://cilogon.org/device/",
          "verification_uri_complete": "https://cilogon.org/device/?user_code=ABC-DEF-GHI",
        },
        {
          "event": "code",
          "expires_at": "2026-11-22T12:04:12.000Z",
          "issuer": "https://cilogon.org",
          "provider": "cilogon",
          "scopes": [
            "email",
            "openid",
            "org.cilogon.userinfo",
            "storage.read:/ospool/ap20",
          ],
          "trouble": "cannot reach https://cilogon.org",
          "user_code": "ABC-DEF-GHI",
          "verification_uri": "https://cilogon.org/device/",
          "verification_uri_complete": "https://cilogon.org/device/?user_code=ABC-DEF-GHI",
        },
        {
          "event": "code",
          "expires_at": "2026-11-22T12:04:12.000Z",
          "issuer": "https://cilogon.org",
          "provider": "cilogon",
          "scopes": [
            "email",
            "openid",
            "org.cilogon.userinfo",
            "storage.read:/ospool/ap20",
          ],
          "user_code": "ABC-DEF-GHI",
          "verification_uri": "https://cilogon.org/device/",
          "verification_uri_complete": "https://cilogon.org/device/?user_code=ABC-DEF-GHI",
        },
        {
          "event": "expired",
          "provider": "cilogon",
        },
        {
          "event": "code",
          "expires_at": "2026-11-22T12:04:12.000Z",
          "issuer": "https://cilogon.org",
          "provider": "cilogon",
          "scopes": [
            "email",
            "openid",
            "org.cilogon.userinfo",
            "storage.read:/ospool/ap20",
          ],
          "user_code": "NEW-ONE",
          "verification_uri": "https://cilogon.org/device/",
          "verification_uri_complete": "https://cilogon.org/device/?user_code=ABC-DEF-GHI",
        },
        {
          "event": "storing",
          "place": {
            "by": "spool",
            "kind": "condor",
          },
          "provider": "cilogon",
          "who": "Jane Doe",
        },
        {
          "event": "waiting",
          "place": {
            "by": "spool",
            "kind": "condor",
          },
          "provider": "cilogon",
          "what": "credmond to fetch the first token",
          "who": "Jane Doe",
        },
        {
          "event": "done",
          "expires_at": "2026-11-22T15:00:00.000Z",
          "keeper": "credmon agent",
          "missing_scopes": [
            "storage.modify:/ospool",
          ],
          "note": "the issuer said nothing about tape",
          "place": {
            "by": "spool",
            "kind": "condor",
          },
          "provider": "cilogon",
          "refresh_at": "2026-11-22T12:41:00.000Z",
          "who": "Jane Doe",
        },
        {
          "event": "failed",
          "exit_code": 77,
          "hint": "run it again",
          "kind": "denied",
          "provider": "cilogon",
          "what": "the login was refused",
        },
      ]
    `);
  });

  test('names file, reason and moment, and no moment that cannot be named', () => {
    const [kept] = lines([
      {
        at: 'kept',
        ask: code.ask,
        place: { kind: 'file', path: '/home/alice/x', because: 'no keyring' },
        expires: Infinity as typeof code.expires,
      },
    ]).split('\n');
    expect(JSON.parse(kept ?? '')).toEqual({
      event: 'kept',
      provider: 'cilogon',
      place: { kind: 'file', path: '/home/alice/x', because: 'no keyring' },
    });
  });

  test('has nothing of a hostile issuer’s but text', () => {
    for (const line of lines(hostileStory).trimEnd().split('\n')) {
      expect(JSON.stringify(JSON.parse(line))).toBe(line);
      expect(line).not.toMatch(/\\u|\\r|\\n|[\p{Cc}\p{Cf}]/u);
    }
  });

  test('asks nobody, and says nothing after the end', async () => {
    let text = '';
    const face = jsonFace({
      write: (line) => {
        text += line;
      },
    });
    expect(await face.again(never)).toBe(false);
    await face.close();
    face.show(code);
    expect(text).toBe('');
  });
});
