import type { Clock, Face } from '../../core/ports.js';
import { inkBundle } from '../ink-bundle.js';
import { askYesNo } from './ask.js';
import type { InkOptions } from './ink/index.js';
import { jsonFace } from './json.js';
import { plainFace } from './plain.js';
import type { Setting } from './words.js';

export type FaceKind = 'ink' | 'plain' | 'json';

type Env = Readonly<Record<string, string | undefined>>;

export interface Wishes {
  readonly json?: boolean;
  readonly plain?: boolean;
}

const set = (value: string | undefined): boolean =>
  value !== undefined && value !== '' && value !== '0' && value !== 'false';

/** Ink wants a terminal that can move its cursor and a person in front of it; elsewhere a few plain lines serve better. */
export function chooseFace(
  at: Wishes & { readonly stdout: { readonly isTTY?: boolean | undefined }; readonly env: Env },
): FaceKind {
  if (at.json) return 'json';
  if (at.plain || at.stdout.isTTY !== true || isDumb(at.env) || set(at.env.CI)) return 'plain';
  return 'ink';
}

const isDumb = ({ TERM }: Env): boolean => TERM === undefined || TERM === '' || TERM === 'dumb';

/** https://no-color.org: set and not empty. */
export const wantsColour = ({ NO_COLOR }: Env): boolean => NO_COLOR === undefined || NO_COLOR === '';

export interface FaceOptions extends Setting, Wishes {
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  readonly env: Env;
  readonly clock: Clock;
  readonly canOpen: boolean;
  open?(url: string): void;
  /** The person pressed q, Esc or Ctrl-C in the ink face. In the others Ctrl-C is a SIGINT, as ever. */
  onQuit(): void;
}

/** The face for these streams and wishes. JSON goes to stdout; plain lines to the terminal, be it stdout or stderr. */
export async function openFace(options: FaceOptions): Promise<Face> {
  const { stdin, stdout, stderr, env } = options;
  switch (chooseFace(options)) {
    case 'json':
      return jsonFace({ write: (line) => void stdout.write(line) });
    case 'plain': {
      const output = stdout.isTTY ? stdout : stderr;
      return plainFace({
        ...options,
        write: (text) => void output.write(text),
        ...(stdin.isTTY && output.isTTY && { ask: (q, stop) => askYesNo(q, stop, { input: stdin, output }) }),
        ...(output.isTTY &&
          !isDumb(env) &&
          !screenReader(env) && { qr: () => ({ columns: output.columns, rows: output.rows }) }),
      });
    }
    case 'ink': {
      const inkFace = await loadInkFace();
      return inkFace({ ...options, colour: wantsColour(env), screenReader: screenReader(env) });
    }
  }
}

/** Ink's own variable for it. */
const screenReader = (env: Env): boolean => env.INK_SCREEN_READER === 'true';

/**
 * Ink and React in one file (npm run build), loaded here and nowhere else: together they take longer to load than all the
 * rest. The path is not a literal, for the compiler would look for the file before it is there.
 */
export async function loadInkFace(): Promise<(options: InkOptions) => Face> {
  const { inkFace } = (await import(inkBundle)) as typeof import('./ink/index.js');
  return inkFace;
}
