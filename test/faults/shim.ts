import { execFileSync } from 'node:child_process';
import {
  accessSync,
  constants,
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cleanup, type Run, until } from '../programs/kit.js';

const compiler = ['cc', 'gcc', 'clang'].find((name) =>
  (process.env.PATH ?? '').split(delimiter).some((dir) => {
    try {
      accessSync(join(dir, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  }),
);

/** Why system calls cannot be made to fail here; '' where they can. For the names of tests. */
export const noShim = compiler === undefined ? ' (needs gcc)' : '';

const libraries = new Map<string, string>();

function compiled(name: 'shim' | 'clock'): string {
  const there = libraries.get(name);
  if (there !== undefined) return there;
  const dir = mkdtempSync(join(tmpdir(), 'credmon-shim-'));
  cleanup(() => rmSync(dir, { recursive: true, force: true }));
  const library = join(dir, `${name}.so`);
  libraries.set(name, library);
  const source = fileURLToPath(new URL(`./${name}.c`, import.meta.url));
  const how = ['-Wall', '-Wextra', '-Werror', '-O1', '-shared', '-fPIC'];
  execFileSync(compiler as string, [...how, '-o', library, source, '-ldl'], { stdio: 'inherit' });
  return library;
}

type Call =
  | 'create'
  | 'open'
  | 'write'
  | 'pwrite'
  | 'fsync'
  | 'rename'
  | 'unlink'
  | 'rmdir'
  | 'mkdir'
  | 'inotify'
  | 'watch';
type What =
  | 'EIO'
  | 'ENOSPC'
  | 'EROFS'
  | 'EDQUOT'
  | 'EMFILE'
  | 'EACCES'
  | 'ENOENT'
  | 'SHORT'
  | 'STOP'
  | 'KILL'
  | 'KILLED';
/** What becomes of a call whose path, or one of whose two, has this in it. */
export type Rule = readonly [call: Call, what: What, path: string];

/** One call that changed something. */
export interface Op {
  readonly call: Exclude<Call, 'open' | 'inotify' | 'watch'> | 'opened' | 'syncing';
  readonly inode: string;
  readonly path: string;
  /** Of a rename. */
  readonly to?: string;
  readonly bytes: Buffer;
}

/** What makes the file system calls of a program fail, stop and be written down: see shim.c. `root`: whatever is below it. */
export function shim(root: string) {
  const dir = mkdtempSync(join(tmpdir(), 'credmon-rules-'));
  cleanup(() => rmSync(dir, { recursive: true, force: true }));
  const [rules, log] = [join(dir, 'rules'), join(dir, 'log')];
  writeFileSync(rules, '');
  const rule = (...some: Rule[]) => writeFileSync(rules, some.map((one) => `${one.join(' ')}\n`).join(''));
  return {
    env: { LD_PRELOAD: compiled('shim'), FAULTS_RULES: rules, FAULTS_LOG: log, FAULTS_ROOT: root },
    /** From now on these hold, and no others. */
    rule,
    /** Until a rule has stopped it. */
    stopped: (program: Run) => until(() => stateOf(program.pid) === 'T', 'it to be stopped'),
    /** What was stopped goes on, and is not stopped again. */
    goOn: (program: Run, ...some: Rule[]) => {
      rule(...some);
      program.child.kill('SIGCONT');
    },
    ops: (): Op[] =>
      (existsSync(log) ? readFileSync(log, 'utf8') : '')
        .split('\n')
        .slice(0, -1)
        .map((line) => {
          const parts = line.split(' ');
          const [call, inode = '', path = ''] = parts as [Op['call'], string, string];
          const to = call === 'rename' ? parts[3] : undefined;
          const bytes = Buffer.from(parts.at(-1) ?? '', 'hex');
          return { call, inode, path, bytes, ...(to !== undefined && { to }) };
        }),
  };
}

/** proc(5): R, S, D, T, Z, … */
function stateOf(pid: number): string | undefined {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[0];
}

/** A program's own wall clock, which a test sets: see clock.c. */
export function wallClock() {
  const dir = mkdtempSync(join(tmpdir(), 'credmon-clock-'));
  cleanup(() => rmSync(dir, { recursive: true, force: true }));
  const [off, next] = [join(dir, 'off'), join(dir, 'next')];
  return {
    env: { LD_PRELOAD: compiled('clock'), FAULTS_CLOCK: off },
    /** So many seconds fast, from now on. */
    set(seconds: number) {
      writeFileSync(next, `${seconds}`);
      renameSync(next, off);
    },
  };
}
