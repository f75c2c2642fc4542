import { hasEnded, type LoginState } from '../../../core/login.js';
import type { Clock, Face } from '../../../core/ports.js';
import { plain } from '../../../core/text.js';
import { copySequence, href } from '../links.js';
import { tint } from '../tint.js';
import { moreTime, opensLogin, type Setting, tell } from '../words.js';
import { App } from './app.js';
import { frame, linkAbove } from './frame.js';
import { mount } from './mount.js';
import type { View } from './parts.js';
import { Canvas, openScreen, sizeOf, type TerminalOut } from './screen.js';

export interface InkOptions extends Setting {
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: TerminalOut;
  readonly clock: Clock;
  /** A display is there for {@link open} to open a browser on. */
  readonly canOpen: boolean;
  open?(url: string): void;
  /** False under NO_COLOR. The QR code keeps its two colours: see qr.ts. */
  readonly colour: boolean;
  readonly screenReader: boolean;
  /** q, Esc or Ctrl-C, which raw mode keeps from becoming a signal. The face stays until `close`. */
  onQuit(): void;
}

/**
 * A tick costs 5 ms of CPU and 90 bytes. At first it looks alive; after half a minute nobody watches the spinner any
 * more, and the countdown wants no more than a second. Access points have many users.
 */
const tickMs = (ticks: number): number => (ticks < 120 ? 250 : 1000);
const noticeMs = 3000;

/** Draws a login on a terminal. All that changes is in here; Ink and React lay out what frame.ts decided. */
export function inkFace(options: InkOptions): Face {
  const { stdin, stdout, clock, screenReader } = options;
  const screen = openScreen(stdout, { linear: screenReader });
  const canvas = new Canvas(stdout, screen);
  const ink = mount(stdin, canvas, { screenReader });
  const look = tint(options.colour);
  const keys = stdin.isTTY === true;

  let state: LoginState | undefined;
  let number = 0;
  let tick = 0;
  let qrWanted = true;
  let notice: { readonly text: string; readonly until: number } | undefined;
  let answer: ((yes: boolean) => void) | undefined;
  let said: readonly string[] = [];
  let linkShown: string | undefined;
  let stopTicking = () => {};
  let closing = false;

  const view = (now: LoginState): View => ({
    state: now,
    setting: options,
    number,
    now: clock.now(),
    tick,
    look,
    qrWanted,
    keys,
    canOpen: options.canOpen && options.open !== undefined,
    notice: notice && notice.until > clock.now() ? notice.text : undefined,
    offering: answer !== undefined,
    closing,
  });

  const draw = (): void => {
    if (!state) return;
    const size = sizeOf(stdout);
    const shown = view(state);
    if (!screenReader) {
      const link = linkAbove(shown, size);
      if (link !== undefined && link !== linkShown) screen.above(link);
      linkShown = link;
    }
    const drawn = screenReader ? { said } : frame(shown, size);
    ink.draw(<App drawn={drawn} press={keys ? press : undefined} gone={screen.close} />);
  };

  const turning = (): boolean => state !== undefined && !hasEnded(state) && state.at !== 'expired';

  // A screen reader would read every tick aloud.
  const keepTicking = (): void => {
    stopTicking();
    if (screenReader || closing || !turning()) return;
    stopTicking = clock.after(tickMs(tick), () => {
      tick += 1;
      draw();
      keepTicking();
    });
  };

  const notify = (text: string): void => {
    if (screenReader) said = [...said, text];
    notice = { text, until: clock.now() + noticeMs };
    draw();
  };

  const quit = (): void => {
    answer?.(false);
    options.onQuit();
  };

  const press = (key: string): void => {
    if (closing) return;
    if (key === 'ctrl-c') quit();
    else if (answer) {
      if (key === 'enter' || key === 'n' || key === 'y') answer(true);
      else if (key === 'q' || key === 'escape') answer(false);
    } else if (key === 'q' || key === 'escape') quit();
    else if (state?.at === 'code') pressAtCode(key, state);
  };

  const pressAtCode = (key: string, at: Extract<LoginState, { at: 'code' }>): void => {
    const url = href(at.linkComplete ?? at.link);
    if (key === 'c') {
      screen.send(copySequence(plain(at.code, 64)));
      notify('Code sent to the terminal’s clipboard.');
    } else if (key === 'o' && options.canOpen && options.open && url !== undefined) {
      options.open(url);
      notify('Opening your browser …');
    } else if (key === 'r' && !screenReader) {
      qrWanted = !qrWanted;
      draw();
    }
  };

  const onResize = (): void => {
    if (screen.resized()) linkShown = undefined;
    draw();
  };
  stdout.on('resize', onResize);

  return {
    show(next) {
      if (closing) return;
      if (opensLogin(state, next)) {
        number += 1;
        // The summary of the login before stays as a record.
        if (!screenReader) screen.commit();
      }
      if (screenReader)
        said = [...said, ...tell(state, next, clock.now(), { ...options, number }), ...hints(state, next)];
      state = next;
      draw();
      keepTicking();
    },

    again(stop) {
      if (!keys || closing || stop.aborted) return Promise.resolve(false);
      return new Promise((resolve) => {
        const no = () => answer?.(false);
        answer = (yes) => {
          answer = undefined;
          stop.removeEventListener('abort', no);
          if (!closing) draw();
          resolve(yes);
        };
        stop.addEventListener('abort', no, { once: true });
        if (screenReader) said = [...said, `${moreTime} Enter for yes, q to quit.`];
        draw();
      });
    },

    async close() {
      if (closing) return;
      closing = true;
      stopTicking();
      answer?.(false);
      stdout.off('resize', onResize);
      if (!screenReader) draw();
      canvas.finished = true;
      await ink.end();
      screen.close();
    },
  };

  function hints(before: LoginState | undefined, next: LoginState): readonly string[] {
    return keys && next.at === 'code' && before?.at !== 'code' ? ['Keys: c copies the code, q quits.'] : [];
  }
}
