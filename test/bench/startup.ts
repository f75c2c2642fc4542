/*
 * How long each program takes to start, against bare node in the same run; and what an idle credmond weighs.
 *
 *     npm run bench:startup [-- --rounds 15]
 *
 * Every round runs each program once, in turn, so that a noisy moment hits them alike. Medians are compared.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { startIssuer } from '../helpers/issuer.js';

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '15' }, credentials: { type: 'string', default: '1000' } },
});
const rounds = Number(values.rounds);
const program = (name: string) => resolve(import.meta.dirname, '../../bin', `${name}.js`);
const dir = mkdtempSync(join(tmpdir(), 'credmon-bench-'));
const issuer = await startIssuer();
const env = { PATH: process.env.PATH, HOME: dir, XDG_RUNTIME_DIR: dir, TERM: 'xterm-256color', LANG: 'C.UTF-8' };

const config = join(dir, 'credmon.toml');
const creds = join(dir, 'creds');
writeFileSync(
  config,
  `[credmond]\ncred_dir = "${creds}"\nstatus_dir = "${join(dir, 'status')}"\n[broker]\nsocket = "${join(dir, 'sock')}"\nspool_dir = "${join(dir, 'spool')}"\n` +
    `[providers.demo]\nissuer = "${issuer.url}"\nclient_id = "public-cli"\nscopes = ["openid"]\n`,
);
const personal = join(dir, 'personal.toml');
writeFileSync(personal, `[providers.demo]\nissuer = "${issuer.url}"\nclient_id = "public-cli"\nscopes = ["openid"]\n`);

/** A person's own store with one good token in it, as a login leaves it. */
async function logIn(): Promise<void> {
  const child = spawn(
    process.execPath,
    [program('credmon'), '--config', personal, 'login', '--json', '--store', 'file'],
    { env, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const code = /"user_code":"([^"]+)"/.exec(text)?.[1];
    if (code !== undefined) void issuer.approve(code, { login: 'alice' });
  });
  await once(child, 'exit');
}

function toEnd(args: readonly string[]): number {
  const begun = performance.now();
  const { status, stderr } = spawnSync(process.execPath, args, { env, stdio: ['ignore', 'ignore', 'pipe'] });
  const taken = performance.now() - begun;
  if (status !== 0) throw new Error(`${args.join(' ')} failed: ${stderr}`);
  return taken;
}

/** From the start to CREDMON_COMPLETE: everything was looked at. */
async function ready(): Promise<{ readonly ms: number; readonly child: ChildProcess }> {
  const complete = join(creds, 'CREDMON_COMPLETE');
  rmSync(complete, { force: true });
  const begun = performance.now();
  const child = spawn(process.execPath, [program('credmond'), '--config', config], {
    env,
    stdio: ['ignore', 'ignore', 'ignore'],
  });
  while (!existsSync(complete)) {
    if (child.exitCode !== null) throw new Error('credmond ended');
    await pause(1);
  }
  return { ms: performance.now() - begun, child };
}

async function stopped(child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  const ended = once(child, 'exit');
  child.kill(signal);
  await ended;
}

/** On a pseudo-terminal (script(1)), from the start to the first bytes of the login's screen. */
async function firstFrame(): Promise<number> {
  const command = `${process.execPath} ${program('credmon')} --config ${personal} login --force`;
  const begun = performance.now();
  const child = spawn('script', ['-qec', `stty cols 80 rows 24; exec ${command}`, '/dev/null'], {
    env,
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const ms = await new Promise<number>((done) => {
    let seen = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      seen += text;
      if (seen.includes('Log in to')) done(performance.now() - begun);
    });
  });
  child.stdin.write('q');
  await once(child, 'exit');
  return ms;
}

/** script(1) with bare node in it: what the terminal itself costs. */
async function bareInTerminal(): Promise<number> {
  const begun = performance.now();
  const child = spawn('script', ['-qec', `stty cols 80 rows 24; exec ${process.execPath} -e 0`, '/dev/null'], {
    env,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  await once(child, 'exit');
  return performance.now() - begun;
}

function populate(count: number): void {
  mkdirSync(creds, { recursive: true, mode: 0o700 });
  for (let i = 0; i < count; i++) {
    const user = join(creds, `user${i}`);
    mkdirSync(user, { mode: 0o700 });
    const use = JSON.stringify({
      access_token: 'x'.repeat(900),
      token_type: 'bearer',
      expires_in: 36_000,
      expires_at: Math.floor(Date.now() / 1000) + 36_000,
    });
    writeFileSync(join(user, 'demo.top'), JSON.stringify({ refresh_token: 'r'.repeat(60) }), { mode: 0o600 });
    writeFileSync(join(user, 'demo.use'), use, { mode: 0o400 });
    const before = new Date(Date.now() - 1000);
    utimesSync(join(user, 'demo.top'), before, before);
  }
}

function memory(pid: number): { readonly rss: number; readonly pss: number } {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const mb = (key: string) => Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(text)?.[1]) / 1024;
  return { rss: mb('Rss'), pss: mb('Pss') };
}

const median = (list: readonly number[]): number =>
  [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] as number;

try {
  await logIn();
  mkdirSync(creds, { mode: 0o700 });
  const measured: Record<string, number[]> = {};
  const note = (name: string, ms: number) => {
    measured[name] ??= [];
    measured[name].push(ms);
  };
  for (let round = 0; round < rounds; round++) {
    note('node -e 0', toEnd(['-e', '0']));
    note('credmon --version', toEnd([program('credmon'), '--version']));
    note('credmon token', toEnd([program('credmon'), 'token', 'demo']));
    const { ms, child } = await ready();
    note('credmond ready', ms);
    await stopped(child);
    note('node -e 0 in script(1)', await bareInTerminal());
    note('first frame of the login', await firstFrame());
  }
  const bare = median(measured['node -e 0'] ?? []);
  const inTerminal = median(measured['node -e 0 in script(1)'] ?? []);
  const targets: Record<string, readonly [number, number]> = {
    'credmon --version': [bare, 1.6],
    'credmon token': [bare, 1.6],
    'credmond ready': [bare, 2.5],
    'first frame of the login': [inTerminal, 4],
  };
  console.log(`node ${process.version}, ${rounds} rounds, medians`);
  for (const [name, list] of Object.entries(measured)) {
    const [reference, target] = targets[name] ?? [];
    const ratio = reference === undefined ? '' : `${(median(list) / reference).toFixed(2)}x (target ${target}x)`;
    console.log(`  ${name.padEnd(26)} ${median(list).toFixed(0).padStart(5)} ms   ${ratio}`);
  }
  populate(Number(values.credentials));
  const { child, ms } = await ready();
  const pid = child.pid as number;
  const early = memory(pid);
  await pause(5000);
  const late = memory(pid);
  console.log(
    `credmond with ${values.credentials} credentials: ready after ${ms.toFixed(0)} ms; ` +
      `${early.rss.toFixed(0)} MB resident then, ${late.rss.toFixed(0)} MB (PSS ${late.pss.toFixed(0)}) after 5 s idle (target 90 MB)`,
  );
  await stopped(child);
} finally {
  await issuer.stop();
  rmSync(dir, { recursive: true, force: true });
}
