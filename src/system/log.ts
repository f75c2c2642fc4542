import { closeSync, constants, fstatSync, openSync, readdirSync, renameSync, unlinkSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { LogSettings } from '../core/config.js';
import { Failed } from '../core/failure.js';
import type { Log } from '../core/ports.js';
import { redact } from '../core/redact.js';
import { plain } from '../core/text.js';

type Write = (line: string) => void;

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
  const write: Write = (text) => {
    const line = `${stampOf(now())} ${oneLine(text)}\n`;
    try {
      if (settings.max > 0 && size > 0 && size + line.length > settings.max) change();
      size += writeSync(fd, line);
    } catch {
      // A full disk must not stop the refreshing of tokens.
    }
  };
  /** Where that does not work the old file is gone on with: it is closed only when there is another. */
  const change = () => {
    try {
      rotate(settings, now());
      const next = open(settings.file);
      closeSync(fd);
      fd = next;
    } catch {
      // As above.
    }
    size = fstatSync(fd).size;
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

function open(file: string): number {
  try {
    // Without waiting for a FIFO that somebody may have put there.
    const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
    return openSync(file, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o644);
  } catch (cause) {
    throw new Failed(
      {
        kind: 'storage',
        what: `cannot open the log ${file} (${(cause as NodeJS.ErrnoException).code})`,
        hint: 'check CREDMON_OAUTH_LOG or --log-file',
      },
      { cause },
    );
  }
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
