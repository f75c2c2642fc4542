/**
 * The few looks a face has. Colour marks edges and signs and never carries text, and no look names black or white, so
 * everything is readable on dark, light and solarized alike. NO_COLOR is about colour: bold and dim stay.
 *
 * Written as SGR by hand and not with Ink's own colour properties: those follow chalk, which reads FORCE_COLOR and the
 * real stdout when it is imported, and knows nothing of NO_COLOR (measured with Ink 6.8).
 */
export interface Tint {
  bold(text: string): string;
  dim(text: string): string;
  underline(text: string): string;
  accent(text: string): string;
  good(text: string): string;
  bad(text: string): string;
  wary(text: string): string;
}

const sgr = (on: number, off: number) => (text: string) => `\u001B[${on}m${text}\u001B[${off}m`;
const same = (text: string): string => text;

export function tint(colour: boolean): Tint {
  return {
    bold: sgr(1, 22),
    dim: sgr(2, 22),
    underline: sgr(4, 24),
    accent: colour ? sgr(36, 39) : same,
    good: colour ? sgr(32, 39) : same,
    bad: colour ? sgr(31, 39) : same,
    wary: colour ? sgr(33, 39) : same,
  };
}
