import { readFile, writeFile } from 'node:fs/promises';
import { sure } from './point.js';
import { as, freePort, path, portTries, root, userArgv } from './pool.js';
import type { Outcome } from './run.js';
import { openTerminal, type Terminal } from './terminal.js';
import { until } from './until.js';

/**
 * A host that people log in to, in the room that is entered (pool.ts): `makeHost` once, then `startSshd`. People reach it as
 * `ap1`, over loopback. alice, bob and carol have a key, and so have root and the accounts that nobody may log in to.
 */

/** The key of everybody, for clients. It belongs to root, so ssh does not mind that all can read it. */
export const key = '/etc/lab/key';
const clientConfig = '/home/carol/.ssh/config';
const sshdLog = '/var/log/sshd.log';
const source = '/opt/credmon/node_modules/credmon/pam';
const authLog = '/var/log/auth.log';

/** Accounts that exist, and that nobody may log in to: why is in the name. All have a key. */
export const refused = ['locked', 'expired', 'noshell', 'system'] as const;

/** The other end of syslog(3). perl-base is on every Debian. */
const syslogd = `
  use Socket;
  socket(S, PF_UNIX, SOCK_DGRAM, 0); unlink "/dev/log"; bind(S, sockaddr_un("/dev/log")) or die $!;
  chmod 0666, "/dev/log";
  exit if fork;
  open(STDOUT, ">>", "${authLog}"); open(STDERR, ">", "/dev/null"); $| = 1;
  while (defined recv(S, $m, 65536, 0)) { print "$m\\n" }`;

/** Keys, accounts, syslog, and the module, built by this release's compiler from the package, which is installed. */
export async function makeHost(): Promise<void> {
  await writeFile(path('/root/syslogd'), syslogd);
  const secret = '$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7';
  await sure(
    root(`set -e
      mkdir -p /etc/lab /run/sshd
      ssh-keygen -q -A
      ssh-keygen -q -t ed25519 -N '' -C '' -f ${key}
      chmod 644 ${key}
      echo "ap1 $(cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub)" >/etc/ssh/ssh_known_hosts
      useradd --create-home --shell /bin/bash --password '${secret}' locked
      passwd --quiet --lock locked
      useradd --create-home --shell /bin/bash --expiredate 2020-01-01 expired
      useradd --create-home --shell /usr/sbin/nologin noshell
      useradd --create-home --shell /bin/bash --system system
      for user in root alice bob carol ${refused.join(' ')}; do
        home=$(getent passwd $user | cut -d: -f6)
        install -d -m 700 -o $user -g $(id -gn $user) $home/.ssh
        install -m 600 -o $user -g $(id -gn $user) ${key}.pub $home/.ssh/authorized_keys
      done
      perl /root/syslogd
      make -s -C ${source} BUILD=/tmp/pam install`),
  );
}

export interface Sshd {
  readonly port: number;
  /** As it tells strangers: OpenSSH_9.2p1. */
  readonly version: string;
  readonly pid: number;
  stop(): Promise<void>;
}

/** sshd itself says, before it goes to the background, that somebody else has the port. */
async function listening(options: readonly string[]): Promise<{ readonly port: number; readonly pidFile: string }> {
  for (let tries = 1; ; tries++) {
    const port = await freePort();
    const pidFile = `/run/sshd-${port}.pid`;
    const own = [`Port=${port}`, 'ListenAddress=127.0.0.1', `PidFile=${pidFile}`, 'LogLevel=DEBUG1', ...options];
    const start = `/usr/sbin/sshd -E ${sshdLog} ${own.map((option) => `-o '${option}'`).join(' ')}`;
    const before = await readSshdLog().catch(() => '');
    const { code } = await root(start);
    if (code === 0) return { port, pidFile };
    const said = (await readSshdLog()).slice(before.length);
    if (tries === portTries || !said.includes('Cannot bind any address')) throw new Error(`${start}: ${said}`);
  }
}

/**
 * Starts sshd on a free port of loopback. `ssh ap1` finds the first of a room, and others by `-p`. `options` (Keyword=value)
 * count for this one alone, before its files.
 */
export async function startSshd(options: readonly string[] = []): Promise<Sshd> {
  const { port, pidFile } = await listening(options);
  const listens = async () => {
    const banner = await root(`timeout 2 bash -c 'exec 3<>/dev/tcp/127.0.0.1/${port}; head -1 <&3'`);
    return /^SSH-2.0-(\S+)/.exec(banner.stdout)?.[1];
  };
  const version = await until(listens, 10_000, readSshdLog);
  const pid = Number(await readFile(path(pidFile), 'utf8'));
  const client = `Host ap1\n  HostName 127.0.0.1\n  Port ${port}\n  HostKeyAlias ap1\n  IdentityFile ${key}\n  IdentitiesOnly yes\n`;
  await sure(root(`test -e ${clientConfig} || cat >${clientConfig}`, { stdin: client }));
  return {
    port,
    version,
    pid,
    stop: async () => void (await root(`kill ${pid}; timeout 5 tail -s 0.05 --pid=${pid} -f /dev/null`)),
  };
}

export const readSshdLog = (): Promise<string> => readFile(path(sshdLog), 'utf8');
/** What was sent to syslog, with its priority: `<86>` is LOG_AUTHPRIV, LOG_INFO. */
export const readAuthLog = (): Promise<string> => readFile(path(authLog), 'utf8').catch(() => '');

let lastSource = 0;
/** An address of loopback that nobody has come from yet: quotas and sshd's own penalties are of an address. */
export const newSource = (): string => `127.1.${lastSource >> 8}.${++lastSource & 255}`;

export interface ClientOptions {
  readonly cols?: number;
  readonly rows?: number;
  readonly env?: Readonly<Record<string, string>>;
}

/** carol's terminal with a client in it. */
export const openClient = (
  command: string,
  { cols = 80, rows = 24, env = {} }: ClientOptions = {},
): Promise<Terminal> =>
  openTerminal({ command: userArgv('carol', command, { TERM: 'tmux-256color', LANG: 'C.UTF-8', ...env }), cols, rows });

/** A client where there is no terminal, nor anybody who could be asked. */
export const runClient = (command: string, limit = 60_000): Promise<Outcome> =>
  as('carol', `exec setsid ${command}`, { limit });

/** The code that a screen shows; of several the last. */
export function shownCode(screen: string): string {
  const code = [...screen.matchAll(/\b[A-Z]{4}-[A-Z]{4}\b/g)].at(-1)?.[0];
  if (code === undefined) throw new Error(`no code on\n${screen}`);
  return code;
}

/** All codes that were shown to people. */
export const shownCodes = new Set<string>();

const seen = new WeakMap<Terminal, number>();

/** Presses Enter, but no sooner than a person could have read what there is: within a second the broker takes it for a program's. */
export async function pressEnter(terminal: Terminal): Promise<void> {
  const read = async () => performance.now() > (seen.get(terminal) ?? 0) + 1200 || undefined;
  await until(read, 5000, () => 'the clock stands still');
  await terminal.type('\r');
}

/** What the person has to read, once all of it is there. */
export async function dialogue(terminal: Terminal): Promise<string> {
  const screen = await terminal.waitFor(/code {2}[A-Z]{4}-[A-Z]{4}[\s\S]*(: *$|Waiting for)/);
  shownCodes.add(shownCode(screen));
  if (!seen.has(terminal)) seen.set(terminal, performance.now());
  return screen;
}

/** The prompt of a shell on the host, with the user. */
export const prompt = /^(\w+)@[\w.-]+:~\$ *$/m;

/** What a client says at the end of a login that was refused. */
export const refusal = /Permission denied|Too many authentication failures|Connection closed|Received disconnect/;

/** What a terminal has shown, in one line. */
export const said = async (terminal: Terminal): Promise<string> =>
  (await terminal.history()).replaceAll(/\s+/g, ' ').trim();
