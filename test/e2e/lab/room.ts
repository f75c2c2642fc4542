import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { must } from './run.js';

const script = fileURLToPath(new URL('chroot.sh', import.meta.url));
const cache = process.env.CREDMON_E2E_CACHE || '/var/tmp/credmon-e2e';
const template = `${cache}/pool-trixie`;
/** All that comes in of the environment; the rest of the host's would point to files that are not there. */
const path = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const live = `${cache}/pool-live`;

/** A Debian tree with HTCondor, entered by chroot in namespaces of its own. It lives as long as its holder. */
export interface Room {
  /** The tree, as the host sees it. It stays after the end, for a look at the logs, until the next room is opened. */
  readonly dir: string;
  /** The command line which, put before another, runs that inside as root. */
  readonly enter: readonly string[];
  /** Kills all that runs inside. */
  close(): Promise<void>;
}

/** Debootstrap and packages: minutes the first time, nothing afterwards. */
export async function buildRoom(): Promise<void> {
  await must([script, 'build', template], { limit: 900_000 });
}

/** A fresh copy of the built tree. One at a time: a second one, in this process or another, waits for the first to close. */
export async function openRoom(): Promise<Room> {
  // Its own session, so that Ctrl-C does not reach it: it ends when its stdin does, however we die.
  const holder = spawn(script, ['hold', template, live], { stdio: ['pipe', 'pipe', 'inherit'], detached: true });
  const pid = await readyPid(holder);
  return {
    dir: live,
    enter: ['nsenter', `--target=${pid}`, '--mount', '--pid', '--', 'env', '-i', path, 'HOME=/root', 'chroot', live],
    async close() {
      if (holder.exitCode !== null || holder.signalCode !== null) return;
      const gone = once(holder, 'exit');
      holder.ref();
      holder.stdin?.end();
      await gone;
    },
  };
}

async function readyPid(holder: ChildProcess): Promise<string> {
  if (!holder.stdout) throw new Error('the holder has no stdout');
  for await (const line of createInterface({ input: holder.stdout })) {
    const pid = /^ready (\d+)$/.exec(line)?.[1];
    if (!pid) continue;
    holder.unref();
    return pid;
  }
  throw new Error(`${script} hold gave up`);
}
