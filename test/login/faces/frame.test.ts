import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { LoginState } from '../../../src/core/login.js';
import type { EpochMs } from '../../../src/core/time.js';
import { frame, heightOf } from '../../../src/login/faces/ink/frame.js';
import type { View } from '../../../src/login/faces/ink/parts.js';
import { bare } from '../../../src/login/faces/ink/screen.js';
import { tint } from '../../../src/login/faces/tint.js';
import { cells } from '../../../src/login/faces/width.js';
import { code, done, failed, hostile, linkComplete, place, start, starting } from './states.js';

const view = (state: LoginState, more: Partial<View> = {}): View => ({
  state,
  setting: { account: 'alice', host: 'ap2001.chtc.wisc.edu' },
  number: 1,
  now: start,
  tick: 0,
  look: tint(false),
  qrWanted: true,
  keys: true,
  canOpen: false,
  notice: undefined,
  offering: false,
  closing: false,
  ...more,
});

const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 120 }),
  fc.constantFrom('', hostile, '李明 かな', 'word '.repeat(40), 'x'.repeat(300), '👩‍💻 emoji'),
);
const link = fc.oneof(
  fc.constantFrom(linkComplete, 'https://x.example/'),
  fc.integer({ min: 1, max: 900 }).map((n) => `https://issuer.example/${'p'.repeat(n)}`),
  text,
);

const states: fc.Arbitrary<LoginState> = fc
  .record({
    provider: text,
    issuer: text,
    scopes: fc.array(fc.oneof(fc.constantFrom('openid', 'storage.read:/a/b/c', 'compute.create'), text), {
      maxLength: 30,
    }),
    audience: text,
    handle: text,
    link,
    linkComplete: fc.option(link, { nil: undefined }),
    userCode: fc.oneof(fc.constantFrom('ABC-DEF-GHI', 'wdjb-mjht'), text),
    what: text,
    trouble: fc.option(text, { nil: undefined }),
    left: fc.integer({ min: -10_000, max: 10_000_000 }),
    at: fc.constantFrom('starting', 'code', 'code', 'code', 'expired', 'storing', 'waiting', 'done', 'kept', 'failed'),
  })
  .map((a): LoginState => {
    const { provider, issuer, scopes, audience, handle } = a;
    const ask = { provider, issuer, scopes, audience, handle };
    const filePlace = { kind: 'file', path: a.what, because: a.issuer } as const;
    switch (a.at) {
      case 'code': {
        const { linkComplete: _, ...bare } = code;
        return {
          ...bare,
          ask,
          code: a.userCode,
          link: a.link,
          ...(a.linkComplete !== undefined && { linkComplete: a.linkComplete }),
          ...(a.trouble !== undefined && { trouble: a.trouble }),
          expires: (start + a.left) as EpochMs,
        };
      }
      case 'storing':
        return { at: 'storing', ask, who: a.what, place };
      case 'waiting':
        return { at: 'waiting', ask, who: a.what, place, what: a.what };
      case 'done':
        return { ...done, ask, missing: scopes, place: filePlace, note: a.what };
      case 'kept':
        return { at: 'kept', ask, place: filePlace };
      case 'failed':
        return { ...failed, ask, failure: { kind: 'config', what: a.what, hint: a.issuer } };
      case 'expired':
        return { at: 'expired', ask };
      default:
        return { ...starting, ask };
    }
  });

test('every frame is lower than the terminal, no wider, and holds no control character', () => {
  fc.assert(
    fc.property(
      states,
      fc.integer({ min: 1, max: 220 }),
      fc.integer({ min: 1, max: 70 }),
      fc.record({
        qrWanted: fc.boolean(),
        keys: fc.boolean(),
        offering: fc.boolean(),
        closing: fc.boolean(),
        notice: fc.option(fc.constant('Copied.'), { nil: undefined }),
      }),
      (state, columns, rows, more) => {
        const drawn = frame(view(state, more), { columns, rows });
        expect(heightOf(drawn)).toBeLessThan(rows);
        if (drawn.code.length > 0)
          expect(drawn.leftWidth + cells(bare(drawn.code[0] ?? ''))).toBeLessThanOrEqual(columns);
        for (const row of [...drawn.top, ...drawn.left, ...drawn.code, ...drawn.bottom]) {
          expect(bare(row)).not.toMatch(/\p{Cc}/u);
        }
      },
    ),
    { numRuns: 400 },
  );
});

test('what matters most is the last to go', () => {
  const shows = (rows: number) => {
    const { top, left, bottom } = frame(view({ ...code, trouble: 'no route' }, { qrWanted: true }), {
      columns: 80,
      rows,
    });
    return [...top, ...left, ...bottom].join('\n');
  };
  expect(shows(2)).toContain('ABC-DEF-GHI');
  expect(shows(3)).toContain(linkComplete);
  expect(shows(4)).toContain('Waiting');
  expect(shows(5)).toContain('no route');
  expect(shows(6)).toContain('Log in to cilogon');
  expect(shows(7)).toContain('q');
  expect(shows(16)).toContain('read files below');
});

test('of a long failure the beginning is said even where the end is cut', () => {
  const failure = { kind: 'config', what: 'word '.repeat(100), hint: 'x' } as const;
  const { top } = frame(view({ ...failed, failure }), { columns: 40, rows: 4 });
  expect(top).toHaveLength(3);
  expect(top[0]).toContain('Login to cilogon failed: word');
});

test('a long list of scopes is cut before the QR code goes, what permits something first', () => {
  const scopes = ['openid', 'email', ...Array.from({ length: 20 }, (_, i) => `storage.read:/data/${i}`)];
  const drawn = frame(view({ ...code, ask: { ...code.ask, scopes } }), { columns: 80, rows: 24 });
  expect(drawn.code).toHaveLength(17);
  expect(drawn.left.join('\n')).toMatch(/read files below \/data\/0[\s\S]*… and \d+ more/);
});
