import { plain } from '../../core/text.js';
import { isSafeUrl } from '../../core/url.js';

/** An issuer's address: long ones exist (a JWT in the query), endless ones are not for showing. */
const longest = 4096;

/**
 * The address in a stranger's text, if it is one that may be opened: percent-encoded, its host in ASCII, so that nothing
 * in it can end an escape sequence or pass for another host. Undefined for what is no safe address.
 */
export function href(link: string): string | undefined {
  const clean = plain(link, longest);
  return isSafeUrl(clean) ? new URL(clean).href : undefined;
}

/** How a link is written down: as the address it really is, else as harmless text. */
export const shownLink = (link: string): string => href(link) ?? plain(link, longest);

/**
 * OSC 8: `text` as a hyperlink to `target`, which must come from {@link href}. Ended by BEL, since Ink's tokenizer
 * (@alcalzone/ansi-tokenize 0.2) takes nothing else; every terminal that knows OSC 8 takes both.
 */
export const hyperlink = (text: string, target: string): string => `\u001B]8;;${target}\u0007${text}\u001B]8;;\u0007`;

/** OSC 52: asks the terminal to put `text` on the clipboard. Base64, so the payload holds no control character. */
export const copySequence = (text: string): string => `\u001B]52;c;${Buffer.from(text).toString('base64')}\u0007`;
