import type { Clock } from '../../core/ports.js';
import type { Provider } from '../../core/provider.js';
import type { Seconds } from '../../core/time.js';
import { mount } from '../../login/faces/ink/mount.js';
import { Canvas, openScreen, sizeOf, type TerminalOut } from '../../login/faces/ink/screen.js';
import { tint } from '../../login/faces/tint.js';
import { App } from './app.js';
import type { Feed } from './feeds.js';
import { frame } from './frame.js';
import type { Ledger } from './ledger.js';
import type { List } from './list.js';
import { type Choice, firstChoice, follow, press } from './model.js';
import { timesOf } from './totals.js';

interface ScreenOptions {
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: TerminalOut;
  readonly clock: Clock;
  readonly feed: Feed;
  readonly ledger: Ledger;
  readonly list: List;
  readonly colour: boolean;
  readonly warning: Seconds;
  readonly providers: ReadonlyMap<string, Pick<Provider, 'flow'>>;
  /** What else there is to say, of no credential. */
  aside?(): string | undefined;
  /** Ends it from without: a signal. */
  readonly stop: AbortSignal;
}

/** How often is looked whether anything is new, and how often it is drawn at most where nobody presses a key: milliseconds. */
const [lookEvery, drawEvery] = [500, 300];
/** So long others wait at most, a key among them: milliseconds. */
const slice = 7;

const clear = '\u001B[H\u001B[2J';
const enter = `\u001B[?1049h${clear}`;
const leave = '\u001B[?1049l';

/** Shows the credentials until a key or `stop` ends it. The terminal is then as it was before. */
export async function watchScreen(options: ScreenOptions): Promise<'quit' | 'cancelled'> {
  const { stdin, stdout, clock, feed, ledger, list, stop } = options;
  const screen = openScreen(stdout);
  const canvas = new Canvas(stdout, screen);
  const ink = mount(stdin, canvas);
  const look = tint(options.colour);
  let choice: Choice = firstChoice;
  let height = 0;
  let aside: string | undefined;
  let timed = { of: list.all, times: timesOf([], 0), at: Number.NaN };
  let drawnAt = Number.NEGATIVE_INFINITY;
  let drawn: string | undefined;
  let closed = false;
  let [pumping, more, settling, reading] = [false, false, false, false];
  let [pumpedAt, settledAt] = [0, Number.NEGATIVE_INFINITY];
  let cancel = () => {};
  let end: (how: 'quit' | 'cancelled') => void = () => {};
  let fail: (thrown: unknown) => void = () => {};
  const ended = new Promise<'quit' | 'cancelled'>((resolve, reject) => {
    [end, fail] = [resolve, reject];
  });

  /** What goes wrong ends the screen, and is told when the terminal is as it was. */
  const guarded =
    <A extends unknown[]>(work: (...args: A) => void) =>
    (...args: A): void => {
      if (closed) return;
      try {
        work(...args);
      } catch (thrown) {
        fail(thrown);
      }
    };

  const draw = (): void => {
    drawnAt = clock.steady();
    const now = clock.now();
    const seconds = ledger.rows.seconds(now);
    if (timed.of !== list.all || seconds !== timed.at)
      timed = { of: list.all, times: timesOf(list.all, seconds), at: seconds };
    const totals = { ...ledger.tally.counts(), ...timed.times };
    const { warning, providers } = options;
    const view = () => ({
      choice,
      shown: list.shown,
      totals,
      ledger,
      now,
      everybody: feed.everybody,
      teller: feed.teller,
      notice: feed.notice(),
      aside,
      reading: !feed.isRead || settling,
      keys: stdin.isTTY === true,
      look,
      warning,
      providers,
    });
    const size = sizeOf(stdout);
    let next = frame(view(), size);
    height = next.height;
    const followed = follow(choice, { rows: list.shown, height });
    if (followed !== choice) {
      choice = followed;
      next = frame(view(), size);
    }
    const text = next.rows.join('\n');
    if (text === drawn) return;
    drawn = text;
    ink.draw(<App rows={next.rows} press={stdin.isTTY ? onKey : undefined} gone={restore} />);
  };

  /** A little work or a frame, and then it is the others' turn. What has been read finds its place before more is read. */
  const turn = guarded((): void => {
    const begun = clock.steady();
    if (!more || begun - Math.max(drawnAt, pumpedAt) >= drawEvery) {
      draw();
      pumping = more;
    } else {
      const over = () => clock.steady() - begun >= slice;
      if (settling) settling = list.work(over);
      else reading = feed.read(over);
      if (!settling && list.busy && (!reading || begun - settledAt >= drawEvery)) {
        settling = true;
        settledAt = begun;
      }
      more = settling || reading;
    }
    if (pumping) setImmediate(turn);
  });

  const pump = (): void => {
    more = true;
    if (pumping) return;
    pumping = true;
    pumpedAt = clock.steady();
    turn();
  };

  const tick = guarded(() => {
    feed.look(pump);
    aside = options.aside?.();
    pump();
    cancel = clock.after(lookEvery, tick);
  });

  const onKey = guarded((key: string): void => {
    const next = press(choice, key, { rows: list.shown, height });
    if (next === undefined) {
      end(key === 'ctrl-c' ? 'cancelled' : 'quit');
      return;
    }
    if (next.wish !== choice.wish) list.wish(next.wish);
    choice = next;
    draw();
    pump();
  });

  /** The terminal has another size, or others have written on it. */
  const anew = guarded((): void => {
    screen.resized();
    screen.commit();
    screen.send(clear);
    drawn = undefined;
    draw();
  });

  const onContinue = guarded((): void => {
    // The shell has taken the terminal's modes back; and what is set already is not set again.
    if (stdin.isTTY) for (const raw of [false, true]) stdin.setRawMode(raw);
    screen.send(enter);
    anew();
  });

  const restore = (): void => {
    if (closed) return;
    closed = true;
    screen.send(leave);
    screen.close();
  };

  const onStop = (): void => end('cancelled');
  stop.addEventListener('abort', onStop, { once: true });
  stdout.on('resize', anew);
  process.on('SIGCONT', onContinue);
  // An error that nobody has caught is told after that; a process that ends by itself comes past the other.
  process.on('uncaughtExceptionMonitor', restore);
  process.on('exit', restore);
  try {
    screen.send(enter);
    draw();
    tick();
    return stop.aborted ? 'cancelled' : await ended;
  } finally {
    cancel();
    canvas.finished = true;
    restore();
    await ink.end();
    feed.close();
    stop.removeEventListener('abort', onStop);
    stdout.off('resize', anew);
    process.off('SIGCONT', onContinue);
    process.off('uncaughtExceptionMonitor', restore);
    process.off('exit', restore);
  }
}
