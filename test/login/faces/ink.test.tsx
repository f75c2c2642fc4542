import { afterEach, describe, expect, test } from 'vitest';
import type { LoginState } from '../../../src/core/login.js';
import type { Face } from '../../../src/core/ports.js';
import { type InkOptions, inkFace } from '../../../src/login/faces/ink/index.js';
import { code, done, failed, hostile, linkComplete, manualClock, place, start, starting } from './states.js';
import { FakeStdin, FakeTerminal } from './terminal.js';

const never = new AbortController().signal;

let open: Face | undefined;
afterEach(() => open?.close());

function setUp(columns: number, rows: number, more: Partial<InkOptions> & { readonly keyboard?: boolean } = {}) {
  const { keyboard = true, ...options } = more;
  const terminal = new FakeTerminal(columns, rows);
  const stdin = new FakeStdin(keyboard);
  const clock = manualClock();
  const calls = { quit: 0, opened: [] as string[] };
  const face = inkFace({
    stdin: stdin as unknown as NodeJS.ReadStream,
    stdout: terminal,
    clock,
    account: 'alice',
    host: 'ap2001',
    canOpen: false,
    colour: true,
    screenReader: false,
    onQuit: () => {
      calls.quit += 1;
    },
    open: (url) => calls.opened.push(url),
    ...options,
  });
  open = face;
  return { face, terminal, stdin, clock, calls };
}

describe('what a person sees', () => {
  test('at 80x24: all of it, with the QR code beside the steps', () => {
    const { face, terminal } = setUp(80, 24);
    face.show(starting);
    expect(terminal.text()).toContain('Asking https://cilogon.org for a code');
    face.show(code);
    expect(terminal.text()).toMatchInlineSnapshot(`
      "
       Log in to cilogon                            █████████████████████████████████
       https://cilogon.org for alice@ap2001         ██ ▄▄▄▄▄ █▄▄██████▄█▀▄▄█ ▄▄▄▄▄ ██
                                                    ██ █   █ █ ▀█   ▄▀█▀█▄▄█ █   █ ██
       1  Scan the QR code with your phone, or      ██ █▄▄▄█ █▄ ▄▄▀ ▀▄▄██ ██ █▄▄▄█ ██
          open the link below in a browser.         ██▄▄▄▄▄▄▄█▄▀▄▀▄█▄▀ ▀ █▄█▄▄▄▄▄▄▄██
                                                    ██▄▄  ▀▀▄█ ▀█▄█▄▄▄ ▄  ▀ ▀▀ ▄▄█ ██
       2  Check that you see this code there:       ██▀▄▄▄▀▄▄▄ ██▄█▀ ▀ █▀█▀ █▀ █▄▄▀██
          ╭─────────────────────────╮               ██ ▀▄▀▄█▄ ▄ ▀  █  ▀ █ ▀█▀██▄ ▀▀██
          │  A B C - D E F - G H I  │               ███▄█ █ ▄ ▀█▀▀▄███▀█▄  ▄▀▀██▄ ▄██
          ╰─────────────────────────╯               ███▄▀█▀ ▄   ▄▄▀▀█▄▄▀██ ▄█ ▄ ▀ ███
                                                    ██▄█▀ █▀▄█ ▀▄▀▀▄█ █ ▀▀▀█   █ ████
       3  Log in and approve, so your jobs can      ███▄▄▄█▄▄▄ ██ ▀▀██▀ █  ▄▄▄   ▀▀██
          • read files below /ospool/ap20           ██ ▄▄▄▄▄ ██▄  ▀▀▀█▄█ ▄ █▄█  █ ▀██
          • see your e-mail address                 ██ █   █ █▀▀█▀ █  ▀ ▀▀▄▄▄  ▀▄ ▀██
          • know who you are                        ██ █▄▄▄█ █ █▀█▄▄▄███▄█ █▀ █▀▄▀▄██
          • see your identity provider’s details    ██▄▄▄▄▄▄▄█▄█▄▄████▄█▄▄▄█▄▄███▄███
                                                    █████████████████████████████████

          https://cilogon.org/device/?user_code=ABC-DEF-GHI

       ⠋ Waiting for your approval; code valid for 4 min 12 s
       c copy code   r hide QR   q quit"
    `);
  });

  test('at 40x24: all of it but the QR code, and the link that fits', () => {
    const { face, terminal } = setUp(40, 24);
    face.show(code);
    expect(terminal.text()).toMatchInlineSnapshot(`
      "
       Log in to cilogon
       https://cilogon.org for alice@ap2001

       1  Open this link in a browser on any
          device:
          https://cilogon.org/device/

       2  Enter the code ABC-DEF-GHI there:
          ╭─────────────────────────╮
          │  A B C - D E F - G H I  │
          ╰─────────────────────────╯

       3  Log in and approve, so your jobs can
          • read files below /ospool/ap20
          • see your e-mail address
          • know who you are
          • see your identity provider’s
            details

       ⠋ Waiting for your approval
         code valid for 4 min 12 s
       c copy code   q quit"
    `);
  });

  test('at 40x80: the QR code between the steps', () => {
    const { face, terminal } = setUp(40, 80);
    face.show(code);
    expect(terminal.text()).toMatch(/phone[\s\S]*████[\s\S]*device\/[\s\S]*A B C - D E F/);
  });

  test('at 80x16: no QR code, and no key for it', () => {
    const { face, terminal } = setUp(80, 16);
    face.show(code);
    expect(terminal.text()).not.toContain('████');
    expect(terminal.text()).not.toContain('QR');
    for (const words of ['cilogon', 'alice@ap2001', linkComplete, 'ABC-DEF-GHI', 'read files', '4 min 12 s', 'q quit'])
      expect(terminal.text()).toContain(words);
  });

  test('at 200x50: the code in large letters', () => {
    const { face, terminal } = setUp(200, 50);
    face.show(code);
    expect(terminal.text()).toContain('█▀▀█  █▀▀▄  █     ▀▀▀');
  });

  test('how it ended, in place of everything else', async () => {
    const { face, terminal } = setUp(80, 24);
    face.show(starting);
    face.show(code);
    face.show({ at: 'storing', ask: code.ask, who: 'Jane Doe', place });
    expect(terminal.text()).toContain('✓ Approved by Jane Doe');
    face.show({ at: 'waiting', ask: code.ask, who: 'Jane Doe', place, what: 'credmond to fetch the first token' });
    expect(terminal.text()).toContain('Waiting for credmond to fetch the first token');
    face.show(done);
    await face.close();
    expect(terminal.history().replace(/at \d\d:\d\d/, 'at hh:mm')).toMatchInlineSnapshot(`
      " ✓ Logged in to cilogon as Jane Doe
         Stored         in HTCondor’s credential directory, handed over by the
                        broker
         Token good     for 3 h
         First refresh  in 41 min, at hh:mm
         Kept fresh by  credmon agent
         Not granted    storage.modify:/ospool
         Note           the issuer said nothing about tape"
    `);
  });

  test('a failure with what to do about it', async () => {
    const { face, terminal } = setUp(80, 24);
    face.show(code);
    face.show(failed);
    await face.close();
    expect(terminal.history()).toMatchInlineSnapshot(`
      " ✗ Login to cilogon failed: the login was refused
         Hint  run it again"
    `);
  });

  test('that somebody gave up', () => {
    const { face, terminal } = setUp(80, 24);
    face.show(code);
    face.show({ ...failed, failure: { kind: 'cancelled', what: 'the login was given up' } });
    expect(terminal.text()).toBe(' ✗ Login to cilogon cancelled');
  });

  test('a grant that was there already', () => {
    const { face, terminal } = setUp(80, 24);
    face.show({ at: 'kept', ask: code.ask, place: { kind: 'file', path: '/home/alice/x', because: 'no keyring' } });
    expect(terminal.text()).toContain('Already logged in to cilogon');
    expect(terminal.text()).toContain('in /home/alice/x (no keyring)');
  });

  test('what ails just now, and that it is over', () => {
    const { face, terminal } = setUp(80, 24);
    face.show({ ...code, trouble: 'cannot reach https://cilogon.org: connection refused' });
    expect(terminal.text()).toContain('! cannot reach https://cilogon.org: connection refused');
    face.show(code);
    expect(terminal.text()).not.toContain('cannot reach');
  });

  test('several logins, one below the other', () => {
    const { face, terminal } = setUp(80, 24, { total: 2 });
    face.show(starting);
    expect(terminal.text()).toContain('Log in to cilogon (1 of 2)');
    face.show(done);
    face.show({ at: 'starting', ask: { ...code.ask, provider: 'osdf' } });
    expect(terminal.text()).toMatch(/✓ Logged in to cilogon[\s\S]*Log in to osdf \(2 of 2\)/);
  });
});

describe('links', () => {
  test('are hyperlinks, with the code in them even where only the short one fits', () => {
    for (const columns of [80, 40]) {
      const { face, terminal } = setUp(columns, 24);
      face.show(code);
      const links = new Set(terminal.cellRows().flatMap((row) => row.map((cell) => cell?.link)));
      expect([...links].filter((link) => link !== undefined)).toEqual([linkComplete]);
    }
  });

  test('that are wider than the terminal stand above the frame, whole, once, for the terminal to wrap', () => {
    const link = `https://issuer.example/${'x'.repeat(70)}`;
    const { face, terminal, clock } = setUp(60, 24);
    const { linkComplete: _, ...short } = code;
    face.show({ ...short, link });
    clock.pass(3000);
    expect(terminal.written.split(`\u0007${link}`).length).toBe(1);
    expect(terminal.written.split(link).length - 1).toBe(2);
    expect(terminal.history().replaceAll('\n', '')).toContain(link);
    expect(terminal.text()).toContain('Open the link above');
  });

  test('that must not be opened are text', () => {
    const { face, terminal } = setUp(80, 24, { canOpen: true });
    face.show({ ...code, linkComplete: 'javascript:alert(1)' });
    expect(terminal.written).not.toContain('\u001B]8;');
  });
});

describe('time', () => {
  test('runs down, and a tick writes a line and not a frame', () => {
    const { face, terminal, clock } = setUp(80, 24);
    face.show(code);
    const before = terminal.written.length;
    clock.pass(250);
    const tick = terminal.written.length - before;
    expect(tick).toBeGreaterThan(0);
    expect(tick).toBeLessThan(250);
    clock.pass(11_750);
    expect(terminal.text()).toContain('code valid for 4 min 0 s');
  });

  test('stands still when nothing is being waited for', () => {
    const { face, clock } = setUp(80, 24);
    face.show(code);
    expect(clock.timers()).toBe(1);
    face.show({ at: 'expired', ask: code.ask });
    expect(clock.timers()).toBe(0);
    face.show(done);
    expect(clock.timers()).toBe(0);
  });
});

describe('keys', () => {
  test.each(['q', 'Q', '\u0003', '\u001B'])('%j gives up', async (key) => {
    const { face, stdin, calls } = setUp(80, 24);
    face.show(code);
    stdin.type(key);
    await new Promise(setImmediate);
    expect(calls.quit).toBe(1);
  });

  test('c copies the code', () => {
    const { face, stdin, terminal, clock } = setUp(80, 24);
    face.show(code);
    stdin.type('c');
    expect(terminal.clipboard).toBe('ABC-DEF-GHI');
    expect(terminal.text()).toContain('sent to the terminal’s clipboard');
    clock.pass(10_000);
    expect(terminal.text()).toContain('c copy code');
  });

  test('r hides the QR code, and brings it back', () => {
    const { face, stdin, terminal } = setUp(80, 24);
    face.show(code);
    stdin.type('r');
    expect(terminal.text()).not.toContain('████');
    expect(terminal.text()).toContain('r show QR');
    stdin.type('r');
    expect(terminal.text()).toContain('████');
  });

  test('o opens the browser, but only where there is one', () => {
    const without = setUp(80, 24);
    without.face.show(code);
    without.stdin.type('o');
    expect(without.calls.opened).toEqual([]);
    expect(without.terminal.text()).not.toContain('open in browser');

    const { face, stdin, terminal, calls } = setUp(80, 24, { canOpen: true });
    face.show(code);
    expect(terminal.text()).toContain('o open in browser');
    stdin.type('o');
    expect(calls.opened).toEqual([linkComplete]);
  });

  test('are not offered where there is no keyboard', async () => {
    const { face, terminal } = setUp(80, 24, { keyboard: false });
    face.show(code);
    expect(terminal.text()).not.toContain('quit');
    face.show({ at: 'expired', ask: code.ask });
    expect(await face.again(never)).toBe(false);
  });
});

describe('a code that ran out', () => {
  const expired: LoginState = { at: 'expired', ask: code.ask };

  test.each([
    ['\r', true],
    ['n', true],
    ['q', false],
  ] as const)('%j answers %j', async (key, answer) => {
    const { face, stdin, terminal, calls } = setUp(80, 24);
    face.show(code);
    face.show(expired);
    const again = face.again(never);
    expect(terminal.text()).toContain('Enter get a new code');
    stdin.type(key);
    expect(await again).toBe(answer);
    expect(calls.quit).toBe(0);
    expect(terminal.text()).not.toContain('Enter');
  });

  test('Ctrl-C answers no and gives up', async () => {
    const { face, stdin, calls } = setUp(80, 24);
    face.show(expired);
    const again = face.again(never);
    stdin.type('\u0003');
    expect(await again).toBe(false);
    expect(calls.quit).toBe(1);
  });

  test('is not asked about for longer than the caller wants, nor after the end', async () => {
    const { face } = setUp(80, 24);
    face.show(expired);
    const stop = new AbortController();
    const again = face.again(stop.signal);
    stop.abort();
    expect(await again).toBe(false);
    expect(await face.again(stop.signal)).toBe(false);
    const last = face.again(never);
    await face.close();
    expect(await last).toBe(false);
    expect(await face.again(never)).toBe(false);
  });
});

describe('the terminal afterwards', () => {
  test('is as it was', async () => {
    const { face, terminal, stdin, clock } = setUp(80, 24);
    terminal.write('before\r\n');
    face.show(code);
    expect(terminal.cursorShown).toBe(false);
    expect(stdin.raw).toBe(true);
    face.show(done);
    await face.close();
    expect(terminal.cursorShown).toBe(true);
    expect(terminal.cursorColumn).toBe(0);
    expect(stdin.raw).toBe(false);
    expect(stdin.listenerCount('readable')).toBe(0);
    expect(terminal.listenerCount('resize')).toBe(0);
    expect(clock.timers()).toBe(0);
    expect(terminal.history().startsWith('before\n ✓ Logged in')).toBe(true);
    const { length } = terminal.written;
    face.show(code);
    terminal.resize(40, 24);
    await face.close();
    expect(terminal.written.length).toBe(length);
  });

  test('keeps a line about a login that was closed in the middle', async () => {
    const { face, terminal } = setUp(80, 24);
    face.show(code);
    await face.close();
    expect(terminal.history()).toBe(' ✗ Login to cilogon: not finished');
  });

  test('was not touched by a face that showed nothing', async () => {
    const { face, terminal } = setUp(80, 24);
    await face.close();
    expect(terminal.written).toBe('');
  });
});

describe('resizing', () => {
  test('lays out anew, and nothing that was there before is lost', () => {
    const { face, terminal } = setUp(80, 24);
    terminal.write('before\r\n');
    face.show(code);
    for (const [columns, rows] of [
      [60, 24],
      [40, 24],
      [40, 12],
      [30, 6],
      [120, 40],
      [80, 24],
    ] as const) {
      terminal.resize(columns, rows);
      expect(terminal.text()).toContain('ABC-DEF-GHI');
      expect(terminal.text().split('\n').length).toBeLessThan(rows);
      expect(terminal.text().match(/Waiting/g)?.length).toBe(1);
    }
    expect(terminal.text()).toContain('████');
    expect(terminal.history()).toContain('before');
    expect(terminal.scrollbackWiped).toBe(false);
  });
});

describe('looks', () => {
  const colours = (terminal: FakeTerminal) =>
    new Set(terminal.cellRows().flatMap((row) => row.flatMap((cell) => [cell?.fg, cell?.bg])));

  test('never put text in black or white, nor on a background of ours', () => {
    const { face, terminal } = setUp(80, 24);
    face.show({ ...code, trouble: 'x' });
    expect([...colours(terminal)].sort()).toEqual([16, 231, 3, 6, undefined]);
  });

  test('have no colour under NO_COLOR but the QR code’s two', () => {
    const { face, terminal, stdin } = setUp(80, 24, { colour: false });
    face.show({ ...code, trouble: 'x' });
    expect([...colours(terminal)].sort()).toEqual([16, 231, undefined]);
    stdin.type('r');
    expect([...colours(terminal)]).toEqual([undefined]);
  });
});

describe('a screen reader', () => {
  test('hears each thing once, in order; nothing moves, blinks or is drawn', async () => {
    const { face, terminal, clock, stdin } = setUp(80, 24, { screenReader: true });
    face.show(starting);
    face.show(code);
    clock.pass(60_000);
    stdin.type('c');
    face.show({ at: 'expired', ask: code.ask });
    const again = face.again(never);
    stdin.type('\r');
    expect(await again).toBe(true);
    face.show({ ...code, code: 'NEW' });
    face.show({ at: 'storing', ask: code.ask, who: 'Jane Doe', place });
    face.show(failed);
    await face.close();
    expect(terminal.written.split('\u001B]52;')).toHaveLength(2);
    expect(terminal.written.split('\u001B')).toHaveLength(2);
    expect(terminal.written).not.toMatch(/[█▀▄╭⠋]/);
    expect(terminal.history()).toMatchInlineSnapshot(`
      "Log in to cilogon (https://cilogon.org) for alice@ap2001
        Your jobs can then read files below /ospool/ap20; see your e-mail address; kno
      w who you are; see your identity provider’s details.

      Open this link in a browser on any device:
      https://cilogon.org/device/?user_code=ABC-DEF-GHI
      and check that it shows the code  ABC-DEF-GHI

      Waiting for your approval; the code is valid for 4 min.
      Keys: c copies the code, q quits.
      Code sent to the terminal’s clipboard.
      The code ran out before it was approved.
      Get a new code? Enter for yes, q to quit.

      Open this link in a browser on any device:
      https://cilogon.org/device/?user_code=ABC-DEF-GHI
      and check that it shows the code  NEW

      Waiting for your approval; the code is valid for 3 min.
      Keys: c copies the code, q quits.
      Approved by Jane Doe; storing the grant.
      Login to cilogon failed: the login was refused
        Hint: run it again"
    `);
  });
});

describe('a hostile issuer', () => {
  test('writes nothing but text, in any state', async () => {
    const ask = { provider: hostile, issuer: hostile, handle: hostile, audience: hostile, scopes: [hostile] };
    const states: readonly LoginState[] = [
      { at: 'starting', ask },
      { ...code, ask, code: hostile, link: hostile, linkComplete: `https://ok.example/${hostile}`, trouble: hostile },
      { ...code, ask, code: hostile, link: hostile, linkComplete: hostile },
      { at: 'expired', ask },
      { at: 'storing', ask, who: hostile, place: { kind: 'file', path: hostile } },
      { at: 'waiting', ask, who: hostile, place, what: hostile },
      { ...done, ask, who: hostile, missing: [hostile], keeper: hostile, note: hostile },
      { ...failed, ask, failure: { kind: 'refused', what: hostile, hint: hostile } },
    ];
    for (const screenReader of [false, true]) {
      const { face, terminal, stdin } = setUp(80, 40, { screenReader, account: hostile, host: hostile });
      for (const state of states) {
        // The terminal throws at sequences that no face has reason to write.
        face.show(state);
        stdin.type('c');
        for (const bad of ['evil.example', 'title', '\u202E', '\u009B', '\u001B[31m\u001B'])
          expect(terminal.written).not.toContain(bad);
        expect(terminal.text()).toContain('AB');
      }
      expect(terminal.clipboard).toBe('AB1mC D');
      await face.close();
    }
  });
});

test('the fixture’s clock starts before the code runs out', () => {
  expect(code.expires).toBeGreaterThan(start);
});
