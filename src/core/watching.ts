import { capital, plain } from './text.js';
import { type Seconds, spell } from './time.js';

/** Which limit of the kernel's lets more be watched, by the errno with which it refused: inotify(7). */
const limits: Readonly<Record<string, string>> = {
  ENOSPC: 'fs.inotify.max_user_watches',
  EMFILE: 'fs.inotify.max_user_instances',
};

/** That only sweeps see what changes in some folders, and what helps. `refused`: the errno, or what else came of a try. */
export function unwatchedInWords(refused: string, sweep: Seconds): string {
  const limit = limits[refused];
  const cure =
    limit === undefined ? '' : `; raise ${limit}${refused === 'EMFILE' ? ', or the limit of open files' : ''}`;
  return `not every folder can be watched (${plain(refused, 80)}): changes there are seen with a SIGHUP, or within ${spell(sweep)}${cure}`;
}

/** The same to whoever can mend it. */
export function unwatchedNotice(refused: string | undefined, sweep: Seconds): string | undefined {
  if (refused === undefined) return undefined;
  const [now] = toWatchMore(refused) ?? [];
  return `${capital(unwatchedInWords(refused, sweep))}.${now === undefined ? '' : ` Run: ${now}`}`;
}

/** Commands that let the kernel watch more, now and after the next start of the machine. Undefined: none is known. */
export function toWatchMore(refused: string): readonly [now: string, later: string] | undefined {
  const limit = limits[refused];
  if (limit === undefined) return undefined;
  return [
    `sysctl -w ${limit}=$((2 * $(sysctl -n ${limit})))`,
    `sysctl ${limit} > /etc/sysctl.d/60-credmon-${limit.split('.').at(-1)}.conf`,
  ];
}
