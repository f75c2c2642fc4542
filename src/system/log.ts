import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  renameSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { LogSettings } from '../core/config.js';
import { Failed } from '../core/failure.js';
import type { Log } from '../core/ports.js';
import { redact } from '../core/redact.js';
import { plain } from '../core/text.js';

type Write = (line: string) => void;

/** How often it is looked whether the log file is still there: milliseconds. */
const glance = 1000;

/** Every line to both. */
export function tee(a: Log, b: Log): Log {
  const both = (level: keyof Log) => (text: string) => {
    a[level](text);
    b[level](text);
  };
  return { error: both('error'), warn: both('warn'), info: both('info'), debug: both('debug') };
}

/** For programs that a person or systemd watches: `program: warning: text` on standard error. */
export function stderrLog({ debug, program }: { readonly debug: boolean; readonly program: string }): Log {
  const write: Write = (text) => {
    try {
      writeSync(2, `${program}: ${oneLine(text)}\n`);
    } catch {
      // Nobody reads standard error any more: there is nowhere left to say so.
    }
  };
  return levels(write, debug, { error: 'error: ', warn: 'warning: ', debug: '' });
}

/**
 * HTCondor's daemon log: `MM/DD/YY HH:MM:SS text`, local time, rotated as MAX_<NAME>_LOG and MAX_NUM_<NAME>_LOG say:
 * to `.old` when one is kept, else to `.YYYYMMDDTHHMMSS` (dprintf.cpp). Throws Failed when it cannot be opened.
 */
export function fileLog(settings: LogSettings & { readonly file: string }, now: () => Date = () => new Date()): Log {
  let fd = open(settings.file);
  let size = fstatSync(fd).size;
  let looked = 0;
  /** Of a line that was cut short: the next begins anew. */
  let torn = false;
  /** Why there is no file under its name. */
  let gone: unknown;
  let lost = 0;
  let why = '';
  const append = (line: string) => {
    const bytes = Buffer.from(torn ? `\n${line}` : line);
    const written = writeSync(fd, bytes);
    size += written;
    if (written > 0) torn = written < bytes.length;
    if (written < bytes.length) throw Object.assign(new Error(), { code: 'ENOSPC' });
  };
  const write: Write = (text) => {
    const at = now();
    const line = `${stampOf(at)} ${oneLine(text)}\n`;
    try {
      if (Math.abs(at.getTime() - looked) >= glance) {
        looked = at.getTime();
        gone = isMoved(settings.file, fd) ? reopen() : undefined;
      }
      // What was moved away is gone on with; what was removed nobody will ever read.
      if (gone !== undefined && fstatSync(fd).nlink === 0) throw gone;
      if (settings.max > 0 && size > 0 && size + line.length > settings.max) change();
      if (lost > 0) append(`${stampOf(at)} WARNING: ${lost} lines before this one are lost (${why})\n`);
      lost = 0;
      append(line);
    } catch (thrown) {
      // A full disk must not stop the refreshing of tokens.
      lost++;
      why = (thrown as NodeJS.ErrnoException).code ?? 'unknown';
    }
  };
  /** Where that does not work the old file is gone on with: it is closed only when there is another. Returns why. */
  const reopen = (): unknown => {
    try {
      const next = open(settings.file);
      closeSync(fd);
      fd = next;
      torn = false;
      return undefined;
    } catch (thrown) {
      return (thrown as Error).cause ?? thrown;
    } finally {
      size = fstatSync(fd).size;
    }
  };
  const change = () => {
    try {
      rotate(settings, now());
    } catch {
      // As above.
    }
    reopen();
  };
  return levels(write, settings.debug, { error: 'ERROR: ', warn: 'WARNING: ', debug: '(D_FULLDEBUG) ' });
}

function levels(write: Write, debug: boolean, tag: { error: string; warn: string; debug: string }): Log {
  return {
    error: (text) => write(tag.error + text),
    warn: (text) => write(tag.warn + text),
    info: (text) => write(text),
    debug: (text) => {
      if (debug) write(tag.debug + text);
    },
  };
}

/** Longer lines say nothing more. */
const longestLine = 8192;

/** A line is one decision: no text, however strange, makes two of it, nor does it act on the terminal of who reads it. */
const oneLine = (text: string): string =>
  plain(redact(text.slice(0, longestLine)).replace(/[\r\n]+/g, ' | '), longestLine);

/** Whether the file that is open is not the one that is called so any more: somebody has moved it away, or removed it. */
function isMoved(file: string, fd: number): boolean {
  try {
    const [there, ours] = [lstatSync(file, { throwIfNoEntry: false }), fstatSync(fd)];
    return there?.ino !== ours.ino || there.dev !== ours.dev;
  } catch {
    return false;
  }
}

function open(file: string): number {
  const refused = (why: string, cause?: unknown) =>
    new Failed(
      { kind: 'storage', what: `cannot open the log ${file} (${why})`, hint: 'check CREDMON_OAUTH_LOG or --log-file' },
      { cause },
    );
  let fd: number;
  try {
    // Without waiting for a FIFO that somebody may have put there.
    const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
    fd = openSync(file, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o644);
  } catch (cause) {
    throw refused((cause as NodeJS.ErrnoException).code ?? String(cause), cause);
  }
  // The folder is condor's account's, which may have put a file there that only root could write to, or a pipe of its own.
  const stat = fstatSync(fd);
  const trouble = stat.isFile()
    ? stat.nlink > 1 && 'it has further names'
    : !stat.isCharacterDevice() && 'it is not a file';
  if (trouble === false) return fd;
  closeSync(fd);
  throw refused(trouble);
}

function rotate({ file, keep }: LogSettings & { readonly file: string }, at: Date): void {
  if (keep <= 1) {
    renameSync(file, `${file}.old`);
    return;
  }
  renameSync(file, `${file}.${at.toISOString().replace(/[-:]/g, '').slice(0, 15)}`);
  const old = readdirSync(dirname(file)).filter(
    (name) => name.startsWith(`${basename(file)}.`) && /\.\d{8}T\d{6}$/.test(name),
  );
  for (const name of old.sort().slice(0, -keep)) unlinkSync(join(dirname(file), name));
}

function stampOf(d: Date): string {
  const two = (n: number) => String(n).padStart(2, '0');
  const day = `${two(d.getMonth() + 1)}/${two(d.getDate())}/${two(d.getFullYear() % 100)}`;
  return `${day} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}
