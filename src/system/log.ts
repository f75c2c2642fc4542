import { closeSync, constants, fstatSync, openSync, readdirSync, renameSync, unlinkSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { LogSettings } from '../core/config.js';
import { Failed } from '../core/failure.js';
import type { Log } from '../core/ports.js';
import { redact } from '../core/redact.js';

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
      if (settings.max > 0 && size > 0 && size + line.length > settings.max) {
        closeSync(fd);
        rotate(settings, now());
        fd = open(settings.file);
        size = fstatSync(fd).size;
      }
      size += writeSync(fd, line);
    } catch {
      // A full disk must not stop the refreshing of tokens.
    }
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

/** A line is one decision: no text, however strange, makes two of it. */
const oneLine = (text: string): string => redact(text).replace(/[\r\n]+/g, ' | ');

function open(file: string): number {
  try {
    return openSync(file, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW, 0o644);
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
