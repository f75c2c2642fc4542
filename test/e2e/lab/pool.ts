import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { prepareHost } from './host.js';
import { buildRoom, openRoom, type Room } from './room.js';
import { must, type Outcome, type RunOptions, run } from './run.js';
import { until } from './until.js';

/**
 * A real HTCondor pool (Debian trixie's 23.9.6) for one test file: users alice, bob and carol, and a system account `credmon`.
 *
 * `installs` first, then anything; `startPool` and `stopPool` as often as wished; `leave` at the end. Files that a test
 * leaves in the room are gone with the next `installs`.
 */

const configDir = '/etc/condor/config.d';
/** SEC_CREDENTIAL_DIRECTORY_OAUTH. */
export const credentials = '/var/lib/condor/oauth_credentials';
const masterPid = '/run/condor/master.pid';
const base = new URL('pool.conf', import.meta.url);

let room: Room | undefined;

/**
 * Brings packages, chroot and a fresh room. Returns why that cannot be done here, for a skip, or nothing. In CI, as root,
 * there is no skipping: a run that tested nothing must not pass for a good one.
 */
export async function installs(): Promise<string | undefined> {
  const obstacle = await bring();
  if (obstacle !== undefined && process.env.CI && process.getuid?.() === 0) throw new Error(obstacle);
  return obstacle;
}

async function bring(): Promise<string | undefined> {
  const obstacle = await prepareHost();
  if (obstacle) return obstacle;
  try {
    await buildRoom();
  } catch (error) {
    return `cannot build the chroot: ${error instanceof Error ? error.message : error}`;
  }
  await room?.close();
  room = await openRoom();
  return undefined;
}

/** Ends the room, with all that runs inside. It also ends by itself when this process does. */
export async function leave(): Promise<void> {
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

/** Starts condor_master and waits until the schedd and the slot are in the collector. About four seconds. */
export async function startPool({ knobs = '' }: PoolOptions = {}): Promise<void> {
  const [shared, credd] = [await freePort(), await freePort()];
  const ports = `SHARED_PORT_PORT = ${shared}\nCOLLECTOR_HOST = 127.0.0.1:${shared}\nCREDD_PORT = ${credd}\n`;
  await writeFile(path(`${configDir}/50-pool.conf`), ports + (await readFile(base, 'utf8')));
  await writeFile(path(`${configDir}/60-test.conf`), `${knobs}\n`);
  await must([...here().enter, 'sh', '-ec', directories]);
  await must([...here().enter, 'condor_master', '-pidfile', masterPid]);
  const up = `condor_status -schedd -af Name | grep -q . && [ "$(condor_status -af Cpus)" = 2 ]`;
  await until(
    async () => ((await root(up)).code === 0 ? true : undefined),
    90_000,
    async () => `the pool did not come up:\n${(await readLog('MasterLog')).slice(-4000)}`,
    200,
  );
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

/** A port nobody listens on. Somebody else may take it before we do, which is rare enough. */
function freePort(): Promise<number> {
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
