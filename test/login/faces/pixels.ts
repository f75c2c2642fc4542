import { spawnSync } from 'node:child_process';
import type { Cell } from './terminal.js';

type Rgb = readonly [number, number, number];

export interface Theme {
  readonly fg: Rgb;
  readonly bg: Rgb;
}

/** Default colours, as terminals come with them and as in ethanschoonover.com/solarized. */
export const themes = {
  dark: { fg: [204, 204, 204], bg: [0, 0, 0] },
  light: { fg: [0, 0, 0], bg: [255, 255, 255] },
  'solarized dark': { fg: [131, 148, 150], bg: [0, 43, 54] },
  'solarized light': { fg: [101, 123, 131], bg: [253, 246, 227] },
} as const satisfies Record<string, Theme>;

/** A cell is as many pixels wide as half of one is high. */
const pixel = 6;

/** The colours of a terminal's upper and lower half cells, as a picture in the format PPM. Only blocks are drawn. */
export function paint(rows: readonly (readonly Cell[])[], columns: number, { fg, bg }: Theme): Buffer {
  const header = Buffer.from(`P6 ${columns * pixel} ${rows.length * 2 * pixel} 255\n`);
  const lines: Buffer[] = [];
  for (const row of rows) {
    for (const half of ['upper', 'lower'] as const) {
      const line: number[] = [];
      for (let x = 0; x < columns; x++) {
        const cell = row[x];
        const inked = cell?.text === '█' || cell?.text === (half === 'upper' ? '▀' : '▄');
        const colour = inked ? rgb(cell?.fg, fg) : rgb(cell?.bg, bg);
        for (let i = 0; i < pixel; i++) line.push(...colour);
      }
      for (let i = 0; i < pixel; i++) lines.push(Buffer.from(line));
    }
  }
  return Buffer.concat([header, ...lines]);
}

/** Only the colours that a theme cannot change, and the first eight that it may (as xterm has them). */
function rgb(colour: number | undefined, own: Rgb): Rgb {
  if (colour === undefined) return own;
  if (colour === 231) return [255, 255, 255];
  if (colour === 16) return [0, 0, 0];
  if (colour < 8) return [colour & 1 ? 205 : 0, colour & 2 ? 205 : 0, colour & 4 ? 205 : 0];
  throw new Error(`no such colour here: ${colour}`);
}

export const hasZbar = spawnSync('zbarimg', ['--version']).status === 0;

/** What a scanner reads in the picture; undefined when it finds no code. */
export function scan(picture: Buffer): string | undefined {
  const { status, stdout } = spawnSync('zbarimg', ['--quiet', '--raw', '-Sdisable', '-Sqrcode.enable', 'ppm:-'], {
    input: picture,
    encoding: 'utf8',
  });
  return status === 0 ? stdout.trimEnd() : undefined;
}
