/*
 * Loaded into credmond before itself (node --import): how late its event loop is. The first SIGUSR2 begins, the second writes
 * what was seen since beside the log file: {p50, p99, max} in milliseconds. Before the first it costs nothing.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';

/** The loop is woken this often, and what Node tells has it in it: milliseconds. */
const resolution = 10;
let seen: IntervalHistogram | undefined;

process.on('SIGUSR2', () => {
  if (seen === undefined) {
    seen = monitorEventLoopDelay({ resolution });
    seen.enable();
    return;
  }
  seen.disable();
  const late = (ns: number) => Math.max(0, ns / 1e6 - resolution);
  const found = { p50: late(seen.percentile(50)), p99: late(seen.percentile(99)), max: late(seen.max) };
  seen = undefined;
  const file = `${process.argv[process.argv.indexOf('--log-file') + 1]}.delay`;
  writeFileSync(`${file}.tmp`, JSON.stringify(found));
  renameSync(`${file}.tmp`, file);
});
