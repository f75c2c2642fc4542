/*
 * What the login hook adds to a login, against the same shell without it; and what its files cost credmond.
 *
 *     npm run bench:hook [-- --rounds 21 --people 100000]
 *
 * Each round logs in once a shell and case, in turn, in a real terminal, until the shell is past the hook; medians are compared. Where
 * root runs this, the shells are nobody's: the hook is silent for root.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import type { Standing } from '../../src/core/standing.js';
import { epochMs } from '../../src/core/time.js';
import { LoginFiles } from '../../src/daemon/login-files.js';
import { lacking, type Shell, shells } from '../hook/shells.js';

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '21' }, people: { type: 'string', default: '100000' } },
});
const [rounds, people] = [Number(values.rounds), Number(values.people)];
const nobody = 65534;
const weAreRoot = process.getuid?.() === 0;
const dir = mkdtempSync(join(tmpdir(), 'credmon-bench-'));
const cases = {
  'without it': undefined,
  'all is well': '1 ok 0 1\n\n\np\n',
  'a line': '1 login 0 1\nw\ncredmon login p\n\n',
};
type Case = keyof typeof cases;

function put(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

/** A home folder whose shells read the hook, or an empty file in its place, and exit. */
function prepare(shell: Shell, name: Case): string {
  const base = join(dir, shell.name, name.replaceAll(' ', '-'));
  const [home, hook] = [join(base, 'home'), join(base, 'hook')];
  const source = resolve(import.meta.dirname, '../../pam/hook');
  for (const file of readdirSync(source)) {
    const text = readFileSync(join(source, file), 'utf8')
      .replaceAll('/var/lib/credmon/status', base)
      .replaceAll('/etc/profile.d', hook);
    put(join(hook, file), cases[name] === undefined ? '' : text);
  }
  put(join(base, 'login/.default'), '1 ok 0 1\n\n\n\n');
  put(join(base, 'login/alice'), cases[name] ?? '');
  for (const [file, text] of Object.entries(shell.files(hook, '', '', 'echo'))) put(join(home, file), text);
  return home;
}

/** Milliseconds until the shell is past the hook. */
async function login(shell: Shell, home: string): Promise<number> {
  const begun = performance.now();
  const child = spawn('script', ['-qec', `exec ${shell.argv.join(' ')}`, '/dev/null'], {
    env: { HOME: home, LOGNAME: 'alice', USER: 'alice', SHELL: '/bin/sh', TERM: 'xterm', PATH: '/usr/bin:/bin' },
    stdio: ['pipe', 'pipe', 'ignore'],
    ...(weAreRoot && { uid: nobody, gid: nobody }),
  });
  const ended = once(child, 'exit');
  let out = '';
  for await (const chunk of child.stdout) {
    out += chunk;
    if (out.includes('GO-ON')) break;
  }
  const taken = performance.now() - begun;
  child.kill('SIGKILL');
  await ended;
  if (!out.includes('GO-ON')) throw new Error(`${shell.name} said ${out}`);
  return taken;
}

const median = (list: readonly number[]): number =>
  [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] as number;

function own(path: string): void {
  chownSync(path, nobody, nobody);
  for (const entry of readdirSync(path, { withFileTypes: true }))
    if (entry.isDirectory()) own(join(path, entry.name));
    else chownSync(join(path, entry.name), nobody, nobody);
}

async function measureShells(): Promise<void> {
  console.log(`${rounds} logins each, medians; target: 100 ms more at most when all is well`);
  for (const shell of shells) {
    const why = lacking(shell);
    if (why !== undefined) {
      console.log(`  ${shell.name.padEnd(8)} ${why}`);
      continue;
    }
    const names = Object.keys(cases) as Case[];
    const homes = new Map(names.map((name) => [name, prepare(shell, name)]));
    if (weAreRoot) own(join(dir, shell.name));
    const taken = new Map<Case, number[]>(names.map((name) => [name, []]));
    for (const home of homes.values()) await login(shell, home);
    for (let round = 0; round < rounds; round++)
      for (const [name, home] of homes) taken.get(name)?.push(await login(shell, home));
    const bare = median(taken.get('without it') ?? []);
    const told = names.map((name) => {
      const ms = median(taken.get(name) ?? []);
      const more =
        name === 'without it'
          ? ''
          : ` ${(ms / bare).toFixed(2)}x (${ms < bare ? '' : '+'}${(ms - bare).toFixed(1)} ms)`;
      return `${name} ${ms.toFixed(1)} ms${more}`;
    });
    console.log(`  ${shell.name.padEnd(8)} ${told.join('   ')}`);
  }
}

async function measureFiles(): Promise<void> {
  const names = Array.from({ length: people }, (_, n) => `user${n}`);
  const [uid, status] = [process.getuid?.() ?? 0, join(dir, 'status')];
  mkdirSync(status);
  const well: Standing = { state: 'ok', what: '', command: '', good: ['p'] };
  const first = new LoginFiles({ dir: status, gid: undefined, pid: 1 });
  const tell = async (files: LoginFiles) => {
    for (const name of names) await files.tell(name, uid, well);
  };
  const next = new LoginFiles({ dir: status, gid: undefined, pid: 2 });
  const works: Record<string, () => Promise<void>> = {
    'written for the first time': () => tell(first),
    'told again, nothing new': () => tell(first),
    'looked at by the next credmond, nothing new': () => tell(next),
    'swept, none of them to stay': () => next.sweep(() => false, epochMs(Date.now())),
  };
  console.log(`credmond's files of ${people} people, in one go`);
  let written = 0;
  for (const [name, work] of Object.entries(works)) {
    const lag = monitorEventLoopDelay({ resolution: 1 });
    lag.enable();
    const begun = performance.now();
    await work();
    const ms = performance.now() - begun;
    lag.disable();
    written ||= ms;
    console.log(
      `  ${name.padEnd(44)} ${((1000 * ms) / people).toFixed(1).padStart(6)} us each, ${(ms / written).toFixed(2)}x of the writing` +
        `, others waited ${(lag.max / 1e6).toFixed(0)} ms at most`,
    );
  }
}

try {
  chmodSync(dir, 0o755);
  await measureShells();
  await measureFiles();
} finally {
  rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
}
