import qrcode from 'qrcode-terminal';
import { afterEach, describe, expect, test } from 'vitest';
import type { Face } from '../../../src/core/ports.js';
import { inkFace } from '../../../src/login/faces/ink/index.js';
import { plainFace } from '../../../src/login/faces/plain.js';
import { qr } from '../../../src/login/faces/qr.js';
import { hasZbar, paint, scan, themes } from './pixels.js';
import { code, linkComplete, manualClock } from './states.js';
import { FakeStdin, FakeTerminal } from './terminal.js';

const roomy = { columns: 400, rows: 400 };

describe('the QR code of a link', () => {
  test('of CILogon takes 37x19 cells with the full quiet zone, 33x17 with half of it', () => {
    expect(qr(linkComplete, roomy)).toMatchObject({ width: 37, height: 19 });
    expect(qr(linkComplete, { columns: 36, rows: 40 })).toMatchObject({ width: 33, height: 17 });
    expect(qr(linkComplete, { columns: 80, rows: 18 })).toMatchObject({ width: 33, height: 17 });
  });

  test('does not exist where it does not fit', () => {
    expect(qr(linkComplete, { columns: 32, rows: 40 })).toBeUndefined();
    expect(qr(linkComplete, { columns: 80, rows: 16 })).toBeUndefined();
  });

  test('does not exist for what is too long or no address', () => {
    expect(qr(`https://x.example/${'a'.repeat(3000)}`, roomy)).toBeUndefined();
    expect(qr('not an address', roomy)).toBeUndefined();
  });
});

let open: Face | undefined;
afterEach(() => open?.close());

/** The terminal of a login that has got its code. */
function shown(columns: number, rows: number, linkToShow: string, how: 'ink' | 'ink without colour' | 'plain') {
  const terminal = new FakeTerminal(columns, rows);
  const clock = manualClock();
  const face =
    how === 'plain'
      ? plainFace({ clock, write: (text) => terminal.write(text.replaceAll('\n', '\r\n')), qr: () => terminal })
      : inkFace({
          stdin: new FakeStdin() as unknown as NodeJS.ReadStream,
          stdout: terminal,
          clock,
          canOpen: false,
          colour: how === 'ink',
          screenReader: false,
          onQuit() {},
        });
  open = face;
  face.show({ ...code, linkComplete: linkToShow });
  return terminal;
}

const long = `https://issuer.example.org/realms/science/device?user_code=ABCD-EFGH&tenant=${'x'.repeat(60)}`;

// Debian: zbar-tools. CI installs it, and there these must run.
describe('a scanner reads it off the terminal', () => {
  test('zbarimg is there', () => {
    if (process.env.CI) expect(hasZbar).toBe(true);
  });

  for (const [theme, colours] of Object.entries(themes)) {
    for (const [columns, rows, link, how] of [
      [80, 24, linkComplete, 'ink'],
      [80, 24, linkComplete, 'ink without colour'],
      [40, 80, linkComplete, 'ink'],
      [200, 50, linkComplete, 'ink'],
      [120, 50, long, 'ink'],
      [80, 50, 'https://x.example/gerät?user_code=ÄÖ', 'ink'],
      [80, 50, linkComplete, 'plain'],
    ] as const) {
      test.skipIf(!hasZbar)(`${theme}, ${columns}x${rows}, ${how}, ${link.slice(0, 40)} (needs zbarimg)`, () => {
        const terminal = shown(columns, rows, link, how);
        expect(scan(paint(terminal.cellRows(), columns, colours))).toBe(new URL(link).href);
      });
    }
  }

  test.skipIf(!hasZbar)('but not qrcode-terminal’s own output on a light background (needs zbarimg)', () => {
    const own = (theme: keyof typeof themes) => {
      const terminal = new FakeTerminal(80, 24);
      qrcode.generate(linkComplete, { small: true }, (text) => terminal.write(text.replaceAll('\n', '\r\n')));
      return scan(paint(terminal.cellRows(), 80, themes[theme]));
    };
    expect(own('dark')).toBe(linkComplete);
    expect(own('light')).toBeUndefined();
    expect(own('solarized light')).toBeUndefined();
  });
});
