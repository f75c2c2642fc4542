import type { LoginState } from '../../core/login.js';
import type { Clock, Face } from '../../core/ports.js';
import { qr } from './qr.js';
import { moreTime, opensLogin, type Setting, tell } from './words.js';

export interface PlainOptions extends Setting {
  readonly clock: Pick<Clock, 'now'>;
  write(text: string): void;
  /** Puts a yes-or-no question; absent where nobody can be asked. Must resolve false when `stop` is aborted. */
  ask?(question: string, stop: AbortSignal): Promise<boolean>;
  /**
   * The size of the terminal that `write` goes to, for a QR code: the only thing here that has escape sequences.
   * Without it none is ever written.
   */
  qr?(): { readonly columns: number; readonly rows: number };
}

/** A few lines that are only ever added to: for logs, pipes, dumb terminals and whoever wants --plain. */
export function plainFace(options: PlainOptions): Face {
  let before: LoginState | undefined;
  let number = 0;
  let closed = false;

  const drawing = (state: LoginState): readonly string[] => {
    if (state.at !== 'code' || !options.qr || (before?.at === 'code' && before.code === state.code)) return [];
    const code = qr(state.linkComplete ?? state.link, options.qr());
    return code ? ['', ...code.lines] : [];
  };

  return {
    show(state) {
      if (closed) return;
      if (opensLogin(before, state)) number += 1;
      const lines = [...drawing(state), ...tell(before, state, options.clock.now(), { ...options, number })];
      before = state;
      if (lines.length > 0) options.write(`${lines.join('\n')}\n`);
    },
    async again(stop) {
      if (closed || stop.aborted || !options.ask) return false;
      return options.ask(moreTime, stop);
    },
    async close() {
      closed = true;
    },
  };
}
