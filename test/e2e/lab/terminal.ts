import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { must } from './run.js';
import { until } from './until.js';

export interface TerminalOptions {
  /** The program and its arguments, as they are: no shell reads them. */
  readonly command: readonly string[];
  readonly cols?: number;
  readonly rows?: number;
  /** Added to our own, with TERM=tmux-256color. What `userArgv` and `rootArgv` run has only the one given to them. */
  readonly env?: Readonly<Record<string, string>>;
}

/** A real terminal with one program in it. */
export interface Terminal {
  /** The visible rows, without trailing blanks. */
  screen(): Promise<string>;
  /** The visible rows with their colours, as escape sequences. */
  raw(): Promise<string>;
  /** What has scrolled off, and the visible rows. */
  history(): Promise<string>;
  /** Sends characters as they are: Enter is \r, Ctrl-C \x03, Escape \x1b, up \x1b[A. */
  type(keys: string): Promise<void>;
  resize(cols: number, rows: number): Promise<void>;
  /** The screen, once it matches. Throws after `limit` milliseconds, showing what was there instead. */
  waitFor(what: string | RegExp, limit?: number): Promise<string>;
  /** Waits for the program's end; 128 + n when signal n ended it. */
  exitCode(limit?: number): Promise<number>;
  /** Ends the terminal, hanging up on the program. */
  close(): Promise<void>;
}

/**
 * The program's exit code goes to a file: tmux 3.3 knows that a pane is dead, but loses its status now and then.
 * Signals from the keyboard reach this shell too, which has to survive them to write it down.
 */
const reporter = 'trap : INT QUIT; code=$1; shift; "$@"; echo $? >"$code.new"; mv "$code.new" "$code"';

/** Opens a terminal in a tmux server of its own. It closes by itself when this process dies. */
export async function openTerminal({ command, cols = 100, rows = 30, env = {} }: TerminalOptions): Promise<Terminal> {
  const dir = await mkdtemp(join(tmpdir(), 'credmon-tty-'));
  const [socket, code] = [join(dir, 'tmux'), join(dir, 'code')];
  const tmux = (...args: string[]) => must(['tmux', '-f', '/dev/null', '-S', socket, ...args], { limit: 10_000 });
  const keeper = cleanUpWhenWeEnd(dir, socket);
  // Options first, in the same breath: a program that ends at once must find them.
  const options = [
    ...['set', '-g', 'default-terminal', 'tmux-256color', ';', 'set', '-g', 'status', 'off', ';'],
    ...['set', '-g', 'remain-on-exit', 'on', ';', 'set', '-g', 'remain-on-exit-format', '', ';'],
    ...['set', '-s', 'escape-time', '0', ';'],
  ];
  const settings = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const program = ['env', ...settings, 'sh', '-c', reporter, 'sh', code, ...command].map(quoted).join(' ');
  await tmux('start-server', ';', ...options, 'new-session', '-d', '-x', `${cols}`, '-y', `${rows}`, `exec ${program}`);

  const screen = async () => trimmed(await tmux('capture-pane', '-p'));
  return {
    screen,
    raw: async () => trimmed(await tmux('capture-pane', '-p', '-e')),
    history: async () => trimmed(await tmux('capture-pane', '-p', '-S', '-')),
    async type(keys) {
      const bytes = [...Buffer.from(keys)].map((byte) => byte.toString(16));
      await tmux('send-keys', '-H', ...bytes);
    },
    async resize(columns, lines) {
      await tmux('resize-window', '-x', `${columns}`, '-y', `${lines}`);
    },
    waitFor(what, limit = 10_000) {
      const shows = (text: string) => (typeof what === 'string' ? text.includes(what) : what.test(text));
      const look = async () => {
        const text = await screen();
        return shows(text) ? text : undefined;
      };
      return until(look, limit, async () => `no ${what} within ${limit} ms on\n${await screen()}`);
    },
    exitCode(limit = 10_000) {
      const ask = () => readFile(code, 'utf8').then(Number, () => undefined);
      return until(ask, limit, async () => `still running after ${limit} ms:\n${await screen()}`);
    },
    async close() {
      const gone = once(keeper, 'exit');
      keeper.ref();
      keeper.stdin.end();
      await gone;
    },
  };
}

/** The server is no child of ours and would outlive a killed test run, so this one ends it when our end of its stdin closes. */
function cleanUpWhenWeEnd(dir: string, socket: string) {
  const script = 'cat >/dev/null; tmux -S "$2" kill-server 2>/dev/null; rm -rf "$1"';
  const keeper = spawn('sh', ['-c', script, 'sh', dir, socket], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  keeper.unref();
  return keeper;
}

const quoted = (word: string) => `'${word.replaceAll("'", `'\\''`)}'`;

const trimmed = (text: string) => text.replace(/[ \n]+$/, '');
