import type { CodeState, Manner, PamWords, Whom } from '../../broker/pam/words.js';
import { plain, typewritten } from '../../core/text.js';
import { shownLink } from './links.js';
import { bareQr } from './qr.js';
import { fold } from './width.js';
import { capital, grants } from './words.js';

/**
 * The face for sshd: what a person reads in the terminal of an ssh client before there is a session. No escape sequences,
 * no cursor, and mostly no second chance; what is asked is asked by the last line. Lines begin on a line of their own, since
 * OpenSSH puts "(user@host) " before what it is told to ask.
 */
export const pamFace: PamWords = {
  prompt: (state, whom, manner, optional) => {
    const picture = manner.quick && manner.picture !== 'never' ? bareQr(state.linkComplete ?? state.link, screen) : [];
    const lines = [...picture, ...what(state, whom, picture.length > 0), ...where(state, manner), stranger(whom)];
    return written(['', ...lines, optional ? orGoOn : approveThen]);
  },

  // A client older than the server shows 1024 bytes of such a text at the most, and nothing but ASCII of it; dropbear's leaves
  // newlines out, and without the blanks the link would go on with what follows.
  live: (state, whom, manner) => {
    const needed = where(state, manner);
    const lines = [
      ...needed,
      ...what(state, whom),
      stranger(whom),
      'Waiting for your approval; no need to press anything.',
    ];
    const text = written(lines).replaceAll('\n', ' \n');
    const short = text.length <= longestShown ? text : written([...needed, stranger(whom)]).replaceAll('\n', ' \n');
    const picture = manner.quick && manner.picture === 'always' ? bareQr(state.linkComplete ?? state.link, screen) : [];
    return picture.length === 0 ? [short] : [short, picture.join('\n')];
  },

  hasty: (state) =>
    written([
      `That came before anybody could read it. Open ${shownLink(state.link)}, enter ${codeOf(state)}, then press Enter: `,
    ]),

  notYet: (state, manner) => {
    // Nobody asks the issuer for accounts that are none, so that nothing ails there: strangers are not to tell them by it.
    const ailing = manner.quick ? plain(state.trouble, 200) : '';
    const lines = ['Not approved yet.', ...(ailing === '' ? [] : fold(`Still trying: ${ailing}`, columns))];
    return written(['', ...lines, ...where(state, manner), approveThen]);
  },

  said: (...sentences) =>
    written(
      sentences.flatMap((text) => (text ? fold(`${capital(plain(text, 400)).replace(/[.:]$/, '')}.`, columns) : [])),
    ),
};

/** Of the usual links the picture has 17 rows, and with the text nothing of it is out of sight on 80x24. */
const screen = { columns: 78, rows: 19 };
const columns = 78;
/** Bytes. */
const longestShown = 900;

const approveThen = 'Approve it there, then press Enter: ';
const orGoOn = 'Approve it there, then press Enter (Enter alone goes on without): ';
/** Several windows are one person's, or a thief of the key waits for the owner's approval. */
const stranger = ({ others }: Whom): string =>
  others === 0
    ? 'If you did not begin this login yourself, do not approve it.'
    : `${others === 1 ? 'Another ssh login from there waits' : `${others} more ssh logins from there wait`} for this too. Not yours? Do not approve.`;

const codeOf = (state: CodeState): string => plain(state.code, 64);

function what(state: CodeState, { user, host, source }: Whom, short = false): readonly string[] {
  const from = plain(source, 60) || 'this machine';
  const login = `ssh login of ${plain(user, 60)} at ${plain(host, 60)} from ${from}`;
  return [login, ...granted(grants(state.ask), short)].flatMap((line) => fold(line, columns));
}

/** What is granted, what weighs most first. `short`: no more than a line takes, or a picture above it would scroll away. */
function granted(all: readonly string[], short: boolean): readonly string[] {
  for (let n = all.length; n > 0; n--) {
    const some = plain(all.slice(0, n).join('; '), 140);
    const sentence = `Your jobs can then ${some}${n < all.length ? '; ...' : '.'}`;
    if (!short || n === 1 || sentence.length <= columns) return [sentence];
  }
  return [];
}

/** The link stands alone on its line, so that it can be clicked and copied, and the code is whole on a screen of 40 columns. */
function where(state: CodeState, { quick }: Manner): readonly string[] {
  const complete = quick ? state.linkComplete : undefined;
  return [
    'Open this link in a browser on any device:',
    shownLink(complete ?? state.link),
    complete === undefined ? `and enter the code  ${codeOf(state)}` : `and check it shows the code  ${codeOf(state)}`,
  ];
}

/** Half blocks are the only thing beyond ASCII that is meant to be there. */
const written = (lines: readonly string[]): string =>
  typewritten(lines.join('\n')).replace(/[^\n\x20-\x7E ▀▄█]/gu, '?');
