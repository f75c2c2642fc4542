import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { run } from './run.js';

const script = fileURLToPath(new URL('chroot.sh', import.meta.url));
const cache = process.env.CREDMON_E2E_CACHE || '/var/tmp/credmon-e2e';
/** All that comes in of the environment; the rest of the host's would point to files that are not there. */
const path = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * Debian's release, which decides the programs' own: trixie has HTCondor 23.9.6, node 20 and OpenSSH 10.0, forky 25.x, 24 and
 * 10.6, sid what comes next. bookworm has OpenSSH 9.2, and no HTCondor here.
 */
export type Release = 'bookworm' | 'trixie' | 'forky' | 'sid';

/** The tree as it was built. It is copied, and never written to. */
export const template = (release: Release): string => `${cache}/pool-${release}`;

/** A Debian tree with HTCondor and sshd, entered by chroot in namespaces of its own. It lives as long as its holder. */
export interface Room {
  /** The tree, as the host sees it. It stays after the end, for a look at the logs, until the next room of its release is opened. */
  readonly dir: string;
  /** The command line which, put before another, runs that inside as root. */
  readonly enter: readonly string[];
  /** Kills all that runs inside. */
  close(): Promise<void>;
}

/**
 * Debootstrap and packages: a minute or a few the first time, nothing afterwards. Returns in a sentence why it cannot be
 * done (the mirror cannot be reached, or has no such release or not all packages), or nothing.
 */
export async function buildRoom(release: Release): Promise<string | undefined> {
  const { code, stdout, stderr } = await run([script, 'build', template(release), release], { limit: 900_000 });
  if (code === 0) return undefined;
  const lines = `${stdout}\n${stderr}`.split('\n').filter((line) => line.trim() !== '');
  const errors = lines.filter((line) => /^E: /.test(line));
  const reason = (errors.length > 0 ? errors : lines).slice(-3).join(' ');
  return `no chroot with Debian ${release}: exit ${code}: ${reason}`;
}

/** A fresh copy of the built tree. */
export async function openRoom(release: Release): Promise<Room> {
  // Its own session, so that Ctrl-C does not reach it: it ends when its stdin does, however we die.
  const holder = spawn(script, ['hold', template(release), `${cache}/live-${release}`], {
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: true,
  });
  const { pid, live } = await ready(holder);
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

async function ready(holder: ChildProcess): Promise<{ readonly pid: string; readonly live: string }> {
  if (!holder.stdout) throw new Error('the holder has no stdout');
  for await (const line of createInterface({ input: holder.stdout })) {
    const [, pid, live] = /^ready (\d+) (.+)$/.exec(line) ?? [];
    if (!pid || !live) continue;
    holder.unref();
    return { pid, live };
  }
  throw new Error(`${script} hold gave up`);
}
