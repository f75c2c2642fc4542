import qrcode from 'qrcode-terminal';

export interface Qr {
  /** As wide as `width` cells each, with their colours. */
  readonly lines: readonly string[];
  readonly width: number;
  readonly height: number;
}

type Modules = readonly (readonly boolean[])[];

/**
 * White on black by the numbers 231 and 16 of the 256-colour cube, which no theme changes. qrcode-terminal leaves the
 * colours to the terminal and so is inverted on every light background, where no scanner reads it (0 of 24 by zbarimg).
 * They are set under NO_COLOR as well: here the colours are what is said and not how it is said.
 */
const paint = (line: string): string => `\u001B[38;5;231m\u001B[48;5;16m${line}\u001B[39m\u001B[49m`;

/** Modules of light around the code: ISO 18004 asks for 4; with 2 zbar read 24 of 24, with qrcode-terminal's 1 fewer. */
const quietZones = [4, 2] as const;

/** The QR code of an address, with the widest quiet zone that fits; undefined when none does, or when it is too long. */
export function qr(link: string, room: { readonly columns: number; readonly rows: number }): Qr | undefined {
  const modules = modulesOf(link);
  if (!modules) return undefined;
  for (const quiet of quietZones) {
    const width = modules.length + 2 * quiet;
    const height = Math.ceil(width / 2);
    if (width <= room.columns && height <= room.rows) {
      return { lines: halfBlocks(modules, quiet, width, height).map(paint), width, height };
    }
  }
  return undefined;
}

/**
 * The same without colours, for where escape sequences are filtered out (ssh clients do that with what a server says):
 * light is the terminal's ink, so on a light background it is inverted, which phones read and zbar does not.
 */
export function bareQr(link: string, room: { readonly columns: number; readonly rows: number }): readonly string[] {
  const modules = modulesOf(link);
  if (!modules) return [];
  const [, quiet] = quietZones;
  const width = modules.length + 2 * quiet;
  const height = Math.ceil(width / 2);
  return width <= room.columns && height <= room.rows ? halfBlocks(modules, quiet, width, height) : [];
}

let last: { readonly link: string; readonly modules: Modules | undefined } | undefined;

function modulesOf(link: string): Modules | undefined {
  if (last?.link !== link) last = { link, modules: encode(link) };
  return last.modules;
}

/** The dark modules, read back from what qrcode-terminal draws: a border of one, two modules a character, light = ink. */
function encode(link: string): Modules | undefined {
  let drawn = '';
  try {
    // It spoils characters outside Latin-1; `href` percent-encodes them.
    qrcode.generate(new URL(link).href, { small: true }, (text) => {
      drawn = text;
    });
  } catch {
    // Over about 3 KB there is no code; or the link is no address at all.
    return undefined;
  }
  const lines = drawn.split('\n');
  const size = (lines[0]?.length ?? 0) - 2;
  if (size < 21) return undefined;
  return Array.from({ length: size }, (_, y) =>
    Array.from({ length: size }, (_, x) => {
      const character = lines[1 + (y >> 1)]?.[1 + x] ?? '█';
      return character === ' ' || character === (y % 2 === 0 ? '▄' : '▀');
    }),
  );
}

function halfBlocks(modules: Modules, quiet: number, width: number, height: number): readonly string[] {
  const dark = (x: number, y: number): boolean => modules[y - quiet]?.[x - quiet] === true;
  return Array.from({ length: height }, (_, row) => {
    const characters = Array.from({ length: width }, (_, x) => {
      const [upper, lower] = [dark(x, row * 2), dark(x, row * 2 + 1)];
      if (upper) return lower ? ' ' : '▄';
      return lower ? '▀' : '█';
    });
    return characters.join('');
  });
}
