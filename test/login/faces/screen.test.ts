import { describe, expect, test } from 'vitest';
import { openScreen, sizeOf } from '../../../src/login/faces/ink/screen.js';
import { FakeTerminal } from './terminal.js';

function setUp(columns = 20, rows = 6) {
  const terminal = new FakeTerminal(columns, rows);
  const screen = openScreen(terminal);
  const writes = (act: () => void) => {
    const before = terminal.written.length;
    act();
    return terminal.written.slice(before);
  };
  return { terminal, screen, writes };
}

describe('a frame', () => {
  test('takes the place of the one before, be it higher or lower', () => {
    const { terminal, screen } = setUp();
    terminal.write('before\r\n');
    for (const frame of ['a\nb\nc', 'a', 'x\ny', '', 'one\ntwo']) {
      screen.draw(frame);
      expect(terminal.text()).toBe(`before\n${frame}`.trimEnd());
    }
  });

  test('of which one line is new costs one line', () => {
    const { screen, writes, terminal } = setUp();
    screen.draw('first\nsecond\nthird');
    expect(writes(() => screen.draw('first\nother\nthird'))).not.toMatch(/first|third/);
    expect(terminal.text()).toBe('first\nother\nthird');
    expect(writes(() => screen.draw('first\nother\nthird'))).toBe('');
  });

  test('may be as wide as the terminal', () => {
    const { terminal, screen } = setUp(5, 6);
    screen.draw('12345\nabcde');
    screen.draw('12345\nfghij');
    expect(terminal.text()).toBe('12345\nfghij');
  });

  test('stays after a commit, and what is written above stays above', () => {
    const { terminal, screen } = setUp(20, 10);
    screen.draw('one');
    screen.commit();
    screen.draw('two');
    screen.above('a long line that wraps by itself');
    screen.draw('two');
    expect(terminal.text()).toBe('one\na long line that wra\nps by itself\ntwo');
  });
});

describe('resizing', () => {
  test('that tears nothing changes nothing', () => {
    const { terminal, screen, writes } = setUp();
    screen.draw('12345');
    terminal.columns = 5;
    expect(writes(() => expect(screen.resized()).toBe(false))).toBe('');
  });

  test('that tears the frame starts anew at the top, and loses nothing of what stood there', () => {
    const { terminal, screen } = setUp();
    terminal.write('before\r\n');
    screen.draw('0123456789');
    terminal.columns = 5;
    expect(screen.resized()).toBe(true);
    screen.draw('01234');
    expect(terminal.text()).toBe('01234');
    expect(terminal.history()).toContain('before');
    const scrolled = terminal.history();
    terminal.columns = 4;
    expect(screen.resized()).toBe(true);
    screen.draw('0123');
    expect(terminal.history().length).toBeLessThan(scrolled.length);
  });
});

test('the cursor is hidden while drawing, and shown at the end, once', () => {
  const { terminal, screen, writes } = setUp();
  screen.draw('a');
  expect(terminal.cursorShown).toBe(false);
  screen.close();
  expect(terminal.cursorShown).toBe(true);
  expect(
    writes(() => {
      screen.close();
      screen.draw('b');
      screen.send('c');
    }),
  ).toBe('');
});

test('a terminal without a size has the usual one', () => {
  expect(sizeOf(new FakeTerminal(0, 0))).toEqual({ columns: 80, rows: 24 });
});
