import { closeSync, openSync, readFileSync } from 'node:fs';

/**
 * The terminal that this process may talk to, opened for reading and writing; undefined where there is none, or where it
 * is in the background: a read there would stop the whole process group (SIGTTIN), whatever the streams are.
 */
export function openTerminal(): { readonly fd: number; close(): void } | undefined {
  if (!inForeground()) return undefined;
  try {
    const fd = openSync('/dev/tty', 'r+');
    return { fd, close: () => closeSync(fd) };
  } catch {
    return undefined;
  }
}

/** proc(5): the fifth field of stat is the process group, the eighth that of the terminal's foreground. */
function inForeground(): boolean {
  try {
    const stat = readFileSync('/proc/self/stat', 'utf8');
    // From the third field on: the second, in brackets, may have anything in it.
    const [, , pgrp, , , tpgid] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return pgrp !== undefined && pgrp === tpgid;
  } catch {
    return false;
  }
}
