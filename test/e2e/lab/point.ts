import { readFile } from 'node:fs/promises';
import { confidential, type IssuerProcess } from './issuer.js';
import { as, credentials, path, root, userArgv } from './pool.js';
import type { Outcome } from './run.js';
import { openTerminal, type Terminal } from './terminal.js';
import { until } from './until.js';

/** An access point with credmon on it, as tests set it up and look at it. */

const credmondLog = 'CredMonOAuthLog';
export const secretFile = '/etc/condor/client-secret';
export const statusDir = '/var/lib/credmon/status';
export const brokerSocket = '/run/credmon/broker/socket';

/** HTCondor's knobs for a provider; with a client secret unless it is `open`. */
export const providerKnobs = (name: string, { url }: IssuerProcess, { open = false } = {}): string => `
${name}_ISSUER = ${url}
${name}_CLIENT_ID = ${open ? 'public-cli' : confidential.id}
${open ? '' : `${name}_CLIENT_SECRET_FILE = ${secretFile}`}
${name}_SCOPES = openid offline_access storage.read:/home storage.create:/home/out
`;

/** As the README tells an admin, with times that suit tests: tokens of 20 s are replaced every 10 to 12 s. */
export const credmonKnobs = (names: string): string => `
CREDMON_OAUTH = /usr/sbin/credmond
CREDMON_PROVIDER_NAMES = ${names}
CREDMON_OAUTH_TOKEN_MINIMUM = 8
CREDMON_SWEEP_INTERVAL = 3
`;

/** The client secret, in a file that only root can read. */
export async function putSecret(): Promise<void> {
  await sure(root(`umask 077; cat > ${secretFile}; chmod 0400 ${secretFile}`, { stdin: `${confidential.secret}\n` }));
}

/** Until credmond is at work: it has told of itself, and has looked through everything. */
export async function credmondUp(before = ''): Promise<string> {
  return until(
    async () => {
      const pid = await readFile(path(`${credentials}/pid`), 'utf8').catch(() => '');
      if (pid === '' || pid === before) return undefined;
      const there = await root(`test -e ${credentials}/CREDMON_COMPLETE && kill -0 ${pid}`);
      return there.code === 0 ? pid : undefined;
    },
    30_000,
    async () => `credmond did not come up:\n${await readFile(path(`/var/log/condor/${credmondLog}`), 'utf8')}`,
    100,
  );
}

interface Screens {
  /** While it waits for the approval. */
  readonly waiting: string;
  /** What stays when it has ended. */
  readonly done: string;
  readonly exitCode: number;
}

/** Logs in as a person does: in a terminal of 80x24, by the code that the screen shows. */
export async function logIn(user: string, issuer: IssuerProcess, words = '', env?: Environment): Promise<Screens> {
  const terminal = await loginTerminal(user, words, env);
  try {
    const waiting = await terminal.waitFor(/Waiting for your approval/, 20_000);
    await issuer.approve(codeOn(waiting), user);
    const exitCode = await terminal.exitCode(30_000);
    return { waiting, done: (await terminal.history()).trim(), exitCode };
  } finally {
    await terminal.close();
  }
}

type Environment = Readonly<Record<string, string>>;

export const loginTerminal = (user: string, words = '', env: Environment = {}): Promise<Terminal> =>
  openTerminal({
    command: userArgv(user, `credmon login ${words}`, { TERM: 'tmux-256color', ...env }),
    cols: 80,
    rows: 24,
  });

export function codeOn(screen: string): string {
  const code = /user_code=([A-Z]{4}-[A-Z]{4})/.exec(screen)?.[1];
  if (code === undefined) throw new Error(`no code on\n${screen}`);
  return code;
}

/** What lies in the credential directory: "alice/cilogon.use 400 root:condor", sorted. */
export async function tree(): Promise<readonly string[]> {
  const found = await sure(root(`find ${credentials} -mindepth 1 -printf '%P %m %u:%g\\n'`));
  return found.split('\n').filter(Boolean).sort();
}

/** The same, of one user's folder only, without what is being written just now. */
export const filesOf = async (user: string): Promise<readonly string[]> =>
  (await tree()).filter((line) => line.startsWith(`${user}/`) || line.startsWith(`${user} `));

/** As a fetch of jobs that print their `.use` sees it: each access token once, in order. */
export const tokensIn = (text: string): readonly string[] => [
  ...new Set([...text.matchAll(/"access_token": ?"([^"]+)"/g)].map((match) => match[1] ?? '')),
];

/** A job that prints its token every two seconds. */
export const printingJob = (service: string, times = 600): string => `
executable = /bin/sh
arguments = "-c 'for i in $(seq ${times}); do cat $_CONDOR_CREDS/${service}.use; echo; sleep 2; done'"
output = job.out
error = job.err
log = job.log
request_cpus = 1
request_memory = 64
request_disk = 1000
use_oauth_services = ${service}
queue
`;

/** A job that is over at once, having shown all its tokens; `name` is that of its output, without an ending. */
export const shortJob = (services: string, more = '', name = 'job'): string => `
executable = /bin/sh
arguments = "-c 'cat $_CONDOR_CREDS/*.use'"
output = ${name}.out
error = ${name}.err
log = ${name}.log
request_cpus = 1
request_memory = 64
request_disk = 1000
use_oauth_services = ${services}
${more}
queue
`;

export const submit = (user: string, description: string): Promise<Outcome> =>
  as(user, 'rm -f job.out job.log; cat > job.sub; condor_submit job.sub', { stdin: description });

export const jobOutput = (user: string): Promise<string> =>
  readFile(path(`/home/${user}/job.out`), 'utf8').catch(() => '');

/** Until `done` holds; the log of credmond otherwise. */
export async function untilTrue(what: string, done: () => Promise<boolean>, limit = 30_000): Promise<void> {
  const look = async () => ((await done()) ? true : undefined);
  await until(look, limit, async () => `not within ${limit} ms: ${what}\n${(await credmonLog()).slice(-3000)}`, 100);
}

/** Looks again and again for so long, and throws as soon as it does not hold: nothing happening takes time to see. */
export async function stays(what: string, holds: () => Promise<boolean>, ms: number): Promise<void> {
  const end = performance.now() + ms;
  const broken = async () => {
    if (!(await holds())) throw new Error(`no longer: ${what}\n${(await credmonLog()).slice(-3000)}`);
    return performance.now() > end ? true : undefined;
  };
  await until(broken, ms + 30_000, () => 'the machine stood still', 200);
}

export const credmonLog = (): Promise<string> =>
  readFile(path(`/var/log/condor/${credmondLog}`), 'utf8').catch(() => '');

/** The stdout of what has to succeed. */
export async function sure(outcome: Promise<Outcome>): Promise<string> {
  const { code, stdout, stderr } = await outcome;
  if (code !== 0) throw new Error(`exit ${code}:\n${stdout}${stderr}`);
  return stdout;
}
