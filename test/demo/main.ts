/*
 * The main job, shown: a real OpenID provider on loopback, one login with the real screen, and the real credmond, which
 * keeps the token fresh from then on. Everything lies in one temporary folder and is gone afterwards.
 *
 *     npm run demo               you approve, in a browser on this machine
 *     npm run demo -- --auto     it approves by itself, and ends after three refreshes
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { fold } from '../../src/login/faces/width.js';
import { type Issuer, startIssuer } from '../helpers/issuer.js';

const { values } = parseArgs({ options: { auto: { type: 'boolean', default: false } } });
const refreshes = 3;
const tokenLife = 20;
/** Of root it is `root`: only a broker whose account is set to that runs as root, for demonstrations like this one. */
const { username } = userInfo();
const program = (name: string) => resolve(import.meta.dirname, '../../bin', `${name}.js`);

const dir = mkdtempSync(join(tmpdir(), 'credmon-demo-'));
let issuer: Issuer | undefined;
let daemon: ChildProcess | undefined;
let login: ChildProcess | undefined;
let interrupted = false;

process.on('SIGINT', () => {
  interrupted = true;
});
process.on('SIGTERM', () => {
  interrupted = true;
  login?.kill('SIGTERM');
});

async function demo(): Promise<number> {
  say(`A real OpenID provider, an HTCondor credential directory and credmond, all in ${dir}.\n`);
  issuer = await startIssuer({
    accessTokenTtl: tokenLife,
    login: username,
    ...(values.auto && { onCode: (code) => void approve(code) }),
  });
  const config = configure(issuer.url);
  const log = join(dir, 'credmond.log');
  daemon = spawn(process.execPath, [program('credmond'), '--config', config, '--log-file', log], { stdio: 'ignore' });
  await until(() => existsSync(join(dir, 'run', 'socket')), `credmond did not come up:\n${tail(log)}`);

  login = spawn(process.execPath, [program('credmon'), '--config', config, 'login', 'demo'], { stdio: 'inherit' });
  const [code] = (await once(login, 'exit')) as [number | null];
  login = undefined;
  if (code !== 0 || interrupted) return code ?? 1;

  const seen = await watchToken(join(dir, 'creds', username, 'demo.use'));
  if (interrupted && seen < refreshes) {
    say(`\nStopped after ${seen} refreshes.`);
    return 130;
  }
  const { logins, reuse } = issuer.counts;
  const healthy = seen >= (values.auto ? refreshes : 0) && reuse === 0 && logins === 1;
  say(
    `\n${healthy ? 'OK' : 'FAILED'}: ${logins} login, ${issuer.counts.refreshes} refreshes without a click, ${reuse} refresh tokens used twice.`,
  );
  return healthy ? 0 : 1;
}

/** Shows each new token that a job would find; how many followed the first, or -1: none came, or one was no good. */
async function watchToken(file: string): Promise<number> {
  say(
    `\nWhat a job finds in $_CONDOR_CREDS/demo.use, from now on (they live ${tokenLife} s)${values.auto ? '' : '; Ctrl-C ends'}:`,
  );
  let last = '';
  for (let seen = -1; ; ) {
    const token = await nextToken(file, last);
    if (token === undefined) {
      if (!interrupted) say('  no new token came');
      return interrupted ? Math.max(0, seen) : -1;
    }
    last = token;
    seen++;
    const good = await (issuer as Issuer).introspect(token);
    const time = new Date().toTimeString().slice(0, 8);
    say(
      `  ${time}  token ${seen + 1}  …${token.slice(-12)}  ${good ? 'valid at the issuer' : 'NOT VALID at the issuer'}`,
    );
    if (!good) return -1;
    if (values.auto && seen >= refreshes) return seen;
  }
}

async function nextToken(file: string, last: string): Promise<string | undefined> {
  const deadline = Date.now() + 3 * tokenLife * 1000;
  while (!interrupted && Date.now() < deadline) {
    const token = existsSync(file)
      ? (JSON.parse(readFileSync(file, 'utf8')) as { access_token: string }).access_token
      : last;
    if (token !== last) return token;
    await pause(200);
  }
  return undefined;
}

/** A confidential client, as most real issuers want it: its secret is the broker's, and `credmon login` never sees it. */
function configure(issuerUrl: string): string {
  const secret = join(dir, 'client-secret');
  writeFileSync(secret, 's3cret-for-tests-only\n', { mode: 0o400 });
  const file = join(dir, 'credmon.toml');
  writeFileSync(
    file,
    `token_minimum = 5

[credmond]
cred_dir = "${join(dir, 'creds')}"
status_dir = "${join(dir, 'status')}"

[broker]
account = "${username}"
socket = "${join(dir, 'run', 'socket')}"
challenge_dir = "${join(dir, 'run', 'challenge')}"
spool_dir = "${join(dir, 'spool')}"

[providers.demo]
issuer = "${issuerUrl}"
client_id = "confidential"
client_secret_file = "${secret}"
scopes = ["openid", "storage.read:/${username}", "storage.create:/${username}"]
`,
  );
  mkdir('creds');
  return file;
}

async function approve(code: string): Promise<void> {
  // Long enough that a person sees the screen.
  await pause(2000);
  await issuer?.approve(code, { login: username });
}

async function until(test: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + 15_000;
  while (!test()) {
    if (Date.now() > deadline || daemon?.exitCode !== null) throw new Error(what);
    await pause(50);
  }
}

function tail(file: string): string {
  return existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(-12).join('\n') : '(no log)';
}

/** Whole words in a narrow terminal too; what fits stays as it is, spaces and all. */
function say(text: string): void {
  const { columns = Number.POSITIVE_INFINITY } = process.stdout;
  for (const line of text.split('\n'))
    process.stdout.write(`${line.length <= columns ? line : fold(line, columns, 4).join('\n')}\n`);
}

function mkdir(name: string): void {
  mkdirSync(join(dir, name), { mode: 0o700 });
}

async function cleanUp(): Promise<void> {
  if (daemon && daemon.exitCode === null && daemon.signalCode === null) {
    const ended = once(daemon, 'exit');
    daemon.kill('SIGTERM');
    await ended;
  }
  await issuer?.stop();
  rmSync(dir, { recursive: true, force: true });
}

try {
  process.exitCode = await demo();
} catch (thrown) {
  process.stderr.write(`demo: ${(thrown as Error).message}\n${tail(join(dir, 'credmond.log'))}\n`);
  process.exitCode = 1;
} finally {
  await cleanUp();
}
