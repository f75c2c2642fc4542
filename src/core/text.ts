/**
 * What an issuer sends is a stranger's text. Before it is shown: C0 and C1 control characters (with them every ANSI
 * sequence loses its start), bidirectional controls (Trojan Source, CVE-2021-42574), zero-width and tag characters,
 * line separators and lone surrogates are taken out.
 */
const unsafe =
  /[\u0000-\u001F\u007F-\u009F\u00AD\u061C\u180E\u200B-\u200F\u2028-\u202E\u2060-\u206F\uFE00-\uFE0F\uFEFF\uFFF0-\uFFFB\p{Cs}\u{E0000}-\u{E0FFF}]/gu;

/** ANSI escape sequences: CSI, OSC up to BEL or the end, and the two-character ones (ECMA-48). */
const escapes = /\u001B(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001B]*(?:\u0007|\u001B\\)?|[@-Z\\-_])/g;

/** One line of harmless text of at most `longest` characters; '' for what is not text at all. */
export function plain(text: unknown, longest = 200): string {
  if (typeof text !== 'string') return '';
  const clean = text
    .slice(0, longest * 8)
    .replace(escapes, '')
    .replace(/[\t\n\r]+/g, ' ')
    .replace(unsafe, '')
    .trim();
  if (clean.length <= longest) return clean;
  // A character beyond U+FFFF that the cut goes through is left out whole.
  return `${clean.slice(0, longest - 1).replace(/\p{Cs}$/u, '')}…`;
}

export const capital = (words: string): string => words.charAt(0).toUpperCase() + words.slice(1);

/** Quotes, dashes and ellipses as ASCII has them, for terminals and shells that are sure of nothing else. All else stays. */
export const typewritten = (text: string): string =>
  text
    .replace(/[\u2018\u2019]/g, "'")
    .replace(/[\u201C\u201D]/g, '"')
    .replace(/[\u2010-\u2015]/g, '-')
    .replaceAll('\u2026', '...');

/** `0644`: the permissions of a file, as chmod(1) takes them. */
export const octal = (mode: number | bigint): string => (Number(mode) & 0o7777).toString(8).padStart(4, '0');

/** JSON in one line that acts on no terminal: what JSON itself leaves as it is (C1, bidirectional controls) is escaped. */
export function harmlessJson(value: unknown): string {
  const written = (char: string) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return JSON.stringify(value).replace(/[\u007F-\u009F\u200B-\u200F\u2028-\u202E\u2060-\u206F]/g, written);
}
