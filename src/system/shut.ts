import { writeFileSync } from 'node:fs';

/**
 * For programs that hold other people's secrets, before they have any.
 *
 * SIGUSR1 has Node listen for a debugger on 127.0.0.1:9229, where every account of the machine could connect and run code
 * as us; `kill -USR1` is what people are used to send to daemons for a new log. A listener of ours takes its place (on Node 20
 * there is no --disable-sigusr1); until it is there, while Node itself starts, the signal does what it always does.
 *
 * And no core dump, of us or of a child, holds any memory (core(5), coredump_filter): Node can set neither RLIMIT_CORE nor
 * PR_SET_DUMPABLE. Where /proc is not there, LimitCORE=0 of a unit has to do.
 */
export function shutIn(): void {
  process.on('SIGUSR1', () => {});
  try {
    writeFileSync('/proc/self/coredump_filter', '0');
  } catch {
    // See above.
  }
}
