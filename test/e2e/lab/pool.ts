import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { overhearFiles } from '../../helpers/overhear.js';
import { prepareHost } from './host.js';
import { buildRoom, openRoom, type Release, type Room } from './room.js';
import { must, type Outcome, type RunOptions, run } from './run.js';
import { until } from './until.js';

/**
 * A real HTCondor pool (Debian trixie's 23.9.6, if not said otherwise) for one test file: users alice, bob and carol, and a
 * system account `credmon`.
 *
 * `installs` first, then anything; `startPool` and `stopPool` as often as wished; `leave` at the end. Files that a test
 * leaves in the room are gone with the next `installs`. For several releases in one file: `obstacleTo` each of them while
 * tests are collected, and `enter` the one wanted in `beforeAll`.
 */

const configDir = '/etc/condor/config.d';
/** SEC_CREDENTIAL_DIRECTORY_OAUTH. */
export const credentials = '/var/lib/condor/oauth_credentials';
const masterPid = '/run/condor/master.pid';
const base = new URL('pool.conf', import.meta.url);

let room: Room | undefined;

export interface Choice {
  readonly release?: Release;
}

/** `obstacleTo` a release, and its room is entered when there is none. */
export async function installs({ release = 'trixie' }: Choice = {}): Promise<string | undefined> {
  const obstacle = await obstacleTo(release);
  if (obstacle === undefined) await enter(release);
  return obstacle;
}

/**
 * Brings packages and chroot. Returns why that cannot be done here, for a skip, or nothing. In CI, as root, trixie may not be
 * skipped: a run that tested nothing must not pass for a good one. What forky and sid hold today is not in our hands.
 */
export async function obstacleTo(release: Release): Promise<string | undefined> {
  const obstacle = (await prepareHost()) ?? (await buildRoom(release));
  if (obstacle === undefined) return undefined;
  if (release === 'trixie' && process.env.CI && process.getuid?.() === 0) throw new Error(obstacle);
  process.stderr.write(`skipped: end-to-end tests with Debian ${release}: ${obstacle}\n`);
  return obstacle;
}

/** A fresh room, in place of the one that was there. */
export async function enter(release: Release): Promise<void> {
  await leave();
  room = await openRoom(release);
}

/** Ends the room, with all that runs inside. It also ends by itself when this process does. */
export async function leave(): Promise<void> {
  // No token, code or secret is in what it leaves behind; see helpers/overheard.ts.
  if (room) for (const left of ['/var/log/condor', '/var/lib/credmon/status']) overhearFiles(path(left));
  await room?.close();
  room = undefined;
}

function here(): Room {
  if (!room) throw new Error('call installs() first');
  return room;
}

/** Where the host finds a file of the room. Links in it are not followed: an absolute one would lead out. */
export const path = (inside: string): string => `${here().dir}${inside}`;

export interface CommandOptions extends RunOptions {
  /** Nothing of this process's environment comes in, only this. */
  readonly env?: Environment;
}

type Environment = Readonly<Record<string, string>>;

const settings = (env: Environment) => ['env', ...Object.entries(env).map(([name, value]) => `${name}=${value}`)];

/** The command line which runs a shell command inside as root; for terminals. */
const rootArgv = (command: string, env: Environment = { TERM: 'tmux-256color' }): string[] => [
  ...here().enter,
  ...settings(env),
  ...['sh', '-c', command],
];

/** The command line which runs a shell command inside as a user, with the environment of a fresh login; for terminals. */
export const userArgv = (user: string, command: string, env: Environment = { TERM: 'tmux-256color' }): string[] => [
  ...here().enter,
  // Not su, whose -c takes the controlling terminal away.
  ...['setpriv', `--reuid=${user}`, `--regid=${user}`, '--init-groups', '--reset-env', '--'],
  ...settings(env),
  ...['sh', '-c', `cd; ${command}`],
];

/** Runs a shell command inside as root. */
export const root = (command: string, { env = {}, ...options }: CommandOptions = {}): Promise<Outcome> =>
  run(rootArgv(command, env), options);

/** Runs a shell command inside as a user, in the home directory. Users have no sbin in their PATH, as on any Debian. */
export const as = (user: string, command: string, { env = {}, ...options }: CommandOptions = {}): Promise<Outcome> =>
  run(userArgv(user, command, env), options);

/** The text of `/var/log/condor/<name>`, empty as long as nothing was written. */
export const readLog = (name: string): Promise<string> =>
  readFile(path(`/var/log/condor/${name}`), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });

export interface PoolOptions {
  /** HTCondor configuration which is read after ours. */
  readonly knobs?: string;
}

/** How often another port is tried: ports are given out at random among all, and one that was free may be somebody's by now. */
export const portTries = 4;

/** Starts condor_master and waits until the schedd and the slot are in the collector. About four seconds. */
export async function startPool({ knobs = '' }: PoolOptions = {}): Promise<void> {
  await writeFile(path(`${configDir}/60-test.conf`), `${knobs}\n`);
  for (let tries = 1; ; tries++) {
    const [shared, credd] = [await freePort(), await freePort()];
    const ports = `SHARED_PORT_PORT = ${shared}\nCOLLECTOR_HOST = 127.0.0.1:${shared}\nCREDD_PORT = ${credd}\n`;
    await writeFile(path(`${configDir}/50-pool.conf`), ports + (await readFile(base, 'utf8')));
    await must([...here().enter, 'sh', '-ec', directories]);
    // What an earlier pool of this room logged says nothing of this one.
    const before = (await readLog('MasterLog')).length;
    await must([...here().enter, 'condor_master', '-pidfile', masterPid]);
    if (await until(() => cameUp(before), 90_000, lastOfMaster, 200)) return;
    if (tries === portTries) throw new Error(`no port to be had: ${await lastOfMaster()}`);
    await stopPool();
  }
}

const lastOfMaster = async () => `the pool did not come up:\n${(await readLog('MasterLog')).slice(-4000)}`;

/** Whether the pool is up; false: somebody else has its port; undefined: not yet. */
async function cameUp(before: number): Promise<boolean | undefined> {
  // First of all: whoever has the port may take connections and never answer.
  if (/Failed to listen\(\d+\)/.test((await readLog('MasterLog')).slice(before))) return false;
  const up = `condor_status -schedd -af Name | grep -q . && [ "$(condor_status -af Cpus)" = 2 ]`;
  return (await root(up, { limit: 10_000 })).code === 0 ? true : undefined;
}

/** Ends the pool quickly (SIGQUIT: jobs are not waited for), by force after 20 s. Nothing happens when none is running. */
export async function stopPool(): Promise<void> {
  if (!room) return;
  const pid = Number(await readFile(path(masterPid), 'utf8').catch(() => ''));
  if (!pid) return;
  await root(
    `kill -QUIT ${pid}; timeout 20 tail -s 0.1 --pid=${pid} -f /dev/null || kill -KILL ${pid}; rm ${masterPid}`,
  );
}

/** What tmpfiles.d would make at boot, and what an admin makes by hand: Debian's package brings no credential directory. */
const directories = `
  own='/run/condor /var/lock/condor /var/spool/condor /var/lib/condor/execute'
  mkdir -p $own ${credentials}
  chown condor:condor $own
  chmod 755 /var/lib/condor/execute # anything else, and the slot is broken
  chown root:condor ${credentials}
  chmod 2770 ${credentials}
  chmod 644 ${configDir}/* # what users cannot read is ignored for them, silently`;

/** A port nobody listens on. Somebody else may take it before we do: then another is tried ({@link portTries}). */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() =>
        address && typeof address === 'object' ? resolve(address.port) : reject(new Error('no port')),
      );
    });
  });
}
