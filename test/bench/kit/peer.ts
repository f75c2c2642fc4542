import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type BenchIssuer, tokenOf } from './issuer.js';
import { cpuOf } from './point.js';

const program = 'usr/sbin/condor_credmon_oauth';

/** In a root of its own, and in mounts of its own that go with it; $1 the root, $2 the folder that it finds at /mnt. */
const script = `
set -e
mount --bind "$2" "$1/mnt"
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
exec chroot "$1" /usr/bin/env -i PATH=/usr/bin:/bin:/usr/sbin CONDOR_CONFIG=/mnt/condor_config PYTHONPATH=/mnt/python \
  OAUTHLIB_INSECURE_TRANSPORT=1 \
  /usr/sbin/condor_credmon_oauth -c /mnt/creds -l /mnt/log`;

export interface PeerHerd {
  readonly version: string;
  /** Refreshes a second, from the first request to the last `.use`. */
  readonly rate: number;
  /** Of CPU, by both of its processes, each: milliseconds. */
  readonly cpuMs: number;
}

/** Why HTCondor's own OAuth credmon cannot be run from that root; undefined where it can. */
export function whyNot(root: string): string | undefined {
  if (process.geteuid?.() !== 0) return 'only root can run it in a root of its own';
  return existsSync(join(root, program)) ? undefined : `it is not in ${root}: npm run test:e2e:prepare`;
}

/** HTCondor's own OAuth credmon (Python) with so many users whose tokens are all due, one each; its files are in `dir`. */
export async function peerHerd(root: string, issuer: BenchIssuer, count: number, dir: string): Promise<PeerHerd> {
  const base = mkdtempSync(resolve(dir, 'bench-peer-'));
  const creds = join(base, 'creds');
  mkdirSync(creds, { mode: 0o2770 });
  writeFileSync(
    join(base, 'condor_config'),
    'LOCAL_DIR = /mnt\nLOG = /mnt\nLIBEXEC = /usr/libexec/condor\nLOCAL_CREDMON_PRIVATE_KEY = /mnt/key\nLOCAL_CREDMON_PUBLIC_KEY = /mnt/key.pub\n',
  );
  // Its local issuer imports it, and Debian has it not: see e2e/lab/python-credmon.ts.
  mkdirSync(join(base, 'python'));
  writeFileSync(join(base, 'python', 'scitokens.py'), '');
  const users = Array.from({ length: count }, (_, n) => join(creds, `peer${n}`));
  for (const user of users) {
    mkdirSync(user, { mode: 0o700 });
    const put = (ending: string, value: object) =>
      writeFileSync(join(user, `demo.${ending}`), JSON.stringify(value), { mode: 0o600 });
    put('top', { refresh_token: tokenOf(user) });
    put('meta', { client_id: 'bench', client_secret: '', token_url: `${issuer.url}/token`, use_refresh_token: true });
    put('use', { access_token: 'x'.repeat(700), token_type: 'bearer', expires_in: 0 });
  }
  await issuer.reset();
  const begun = Date.now();
  const child = spawn('unshare', ['--mount', 'sh', '-c', script, 'sh', root, base], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let complaint = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(-2000);
  });
  const ended = once(child, 'exit');
  try {
    const patience = begun + 60_000 + count * 300;
    const refreshed = async () => (await issuer.counts()).refreshed;
    // What it takes to start is not counted.
    while ((await refreshed()) === 0) await alive(child, patience, () => complaint);
    const [first, before] = [await refreshed(), cpuOfAll(child.pid as number)];
    while ((await refreshed()) < count) await alive(child, patience, () => complaint);
    const isWritten = (user: string) => statSync(join(user, 'demo.use')).mtimeMs > begun;
    while (!users.every(isWritten)) await alive(child, patience, () => complaint);
    const cpuMs = (cpuOfAll(child.pid as number) - before) / (count - first);
    const last = Math.max(...users.map((user) => statSync(join(user, 'demo.use')).mtimeMs));
    return { version: versionOf(root), rate: count / ((last - (await issuer.counts()).first) / 1000), cpuMs };
  } finally {
    for (const pid of [...childrenOf(child.pid as number), child.pid as number]) kill(pid);
    await ended;
    rmSync(base, { recursive: true, force: true });
  }
}

async function alive(child: ChildProcess, patience: number, complaint: () => string): Promise<void> {
  if (child.exitCode !== null) throw new Error(`HTCondor's credmon ended with ${child.exitCode}: ${complaint()}`);
  if (Date.now() > patience) throw new Error(`HTCondor's credmon is too slow, or does nothing: ${complaint()}`);
  await pause(20);
}

/** Those that it started: the scans are a process of their own. */
function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

const cpuOfAll = (pid: number): number => [pid, ...childrenOf(pid)].reduce((sum, one) => sum + cpuOf(one).own, 0);

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

/** Of HTCondor, as dpkg knows it. */
function versionOf(root: string): string {
  const text = readFileSync(join(root, 'var/lib/dpkg/status'), 'utf8');
  return /^Package: condor\n(?:[A-Z].*\n| .*\n)*?Version: ([^+\s]+)/m.exec(text)?.[1] ?? 'unknown';
}
