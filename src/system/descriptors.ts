import { readFileSync } from 'node:fs';

/** How many descriptors this process may have open (RLIMIT_NOFILE, proc(5)); undefined where that cannot be told. */
export function mostDescriptors(): number | undefined {
  try {
    const [, soft] = /^Max open files +([0-9]+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? [];
    return soft === undefined ? undefined : Number(soft);
  } catch {
    return undefined;
  }
}
