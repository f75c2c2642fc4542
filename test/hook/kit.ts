import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { onTestFinished, test, vi } from 'vitest';
import { lacking, type Shell } from './shells.js';

const hooks = resolve(import.meta.dirname, '../../pam/hook');
const nobody = 65534;
export const weAreRoot = process.getuid?.() === 0;

/** A test for each shell that is here; of the others, why not. */
export function withShell(of: readonly Shell[], name: string, body: (shell: Shell) => Promise<void>): void {
  for (const shell of of) {
    const why = lacking(shell);
    test.skipIf(why !== undefined)(`${shell.name}: ${name}${why ? ` (${why})` : ''}`, () => body(shell));
  }
}

export interface Session {
  /** All that the terminal was sent. */
  output(): string;
  /** What it was sent between the lines before and after the hook. */
  hook(): string;
  /** Resolves when the terminal was sent this. */
  says(text: string | RegExp): Promise<void>;
  type(keys: string): void;
  /** What the hook has said, once it is over; then it hangs up. */
  past(): Promise<string>;
  /** Types it as a command once it was seen that the hook is over, leaves the shell, and waits for that. */
  finish(...commands: string[]): Promise<string>;
}

export type Machine = ReturnType<typeof machine>;

/** A machine with the hook on it, where alice has an account. */
export function machine() {
  const base = mkdtempSync(join(tmpdir(), 'credmon-hook-'));
  onTestFinished(() => removed(base));
  chmodSync(base, 0o755);
  const [hook, home, login, etc] = ['hook', 'home', 'status/login', 'etc'].map((name) => join(base, name)) as [
    string,
    string,
    string,
    string,
  ];
  for (const folder of [hook, home, login, etc]) mkdirSync(folder, { recursive: true });
  for (const name of readdirSync(hooks)) {
    const text = readFileSync(join(hooks, name), 'utf8')
      .replaceAll('/var/lib/credmon/status', join(base, 'status'))
      .replaceAll('/etc/profile.d', hook)
      .replaceAll('/etc/credmon/hook', join(etc, 'hook'));
    writeFileSync(join(hook, name), text);
  }
  const put = (path: string, text: string | Uint8Array, mode = 0o644) => {
    mkdirSync(dirname(path), { recursive: true });
    rmSync(path, { force: true, recursive: true });
    writeFileSync(path, text, { mode });
    if (!weAreRoot) return;
    for (let at = path; at.startsWith(home); at = dirname(at)) chownSync(at, nobody, nobody);
  };
  if (weAreRoot) chownSync(home, nobody, nobody);

  const environment = (env: Readonly<Record<string, string>> = {}) => ({
    HOME: home,
    LOGNAME: 'alice',
    USER: 'alice',
    SHELL: '/bin/sh',
    TERM: 'xterm',
    PATH: process.env.PATH ?? '/usr/bin:/bin',
    LC_ALL: 'C.UTF-8',
    ...env,
  });
  const account = (root: boolean) => (weAreRoot && !root ? { uid: nobody, gid: nobody } : {});

  const whole = {
    base,
    home,
    hook,
    login,
    /** Writes a person's login file as credmond would, unless it is given whole. */
    stands(text: string | Uint8Array, name = 'alice') {
      put(join(login, name), text, 0o444);
    },
    /** '' for what is not there. */
    read: (name: string) => (existsSync(join(base, name)) ? readFileSync(join(base, name), 'utf8') : ''),
    put: (name: string, text: string | Uint8Array, mode?: number) => put(join(base, name), text, mode),
    /** A `credmon` for alice. */
    credmon: (text: string) => put(join(home, 'bin', 'credmon'), `#!/bin/sh\n${text}\n`, 0o755),
    /** Logs alice in. */
    open(
      shell: Shell,
      {
        env = {},
        before = '',
        after = '',
        argv = shell.argv,
        root = false,
        marks = 'echo',
        wrap = (command: string) => command,
      }: {
        readonly env?: Readonly<Record<string, string>>;
        /** In the shell's words, before and after the hook. */
        readonly before?: string;
        readonly after?: string;
        readonly argv?: readonly string[];
        readonly root?: boolean;
        /** What writes the lines around the hook. */
        readonly marks?: string;
        readonly wrap?: (command: string) => string;
      } = {},
    ): Session {
      for (const [name, text] of Object.entries(shell.files(hook, before, after, marks))) put(join(home, name), text);
      const child = spawn('script', ['-qec', wrap(`exec ${argv.join(' ')}`), '/dev/null'], {
        env: environment(env),
        cwd: home,
        stdio: ['pipe', 'pipe', 'pipe'],
        ...account(root),
      });
      return session(child);
    },
    /** The same without a terminal, as sshd runs a command. */
    run(argv: readonly string[], env: Readonly<Record<string, string>> = {}, input = '') {
      const [program = '', ...rest] = argv;
      return spawnSync(program, rest, { env: environment(env), cwd: home, input, encoding: 'utf8', ...account(false) });
    },
  };
  // All is well as long as nobody says otherwise; init always runs.
  whole.stands('1 login 0 1\nyou are not logged in to cilogon\ncredmon login cilogon\n\n', '.default');
  whole.stands('1 ok 0 1\n\n\ncilogon\n');
  return whole;
}

const patience = 15_000;

/** A shell whose terminal is gone still writes its history: what appeared meanwhile has to be removed, too. */
async function removed(folder: string): Promise<void> {
  await vi.waitFor(() => rmSync(folder, { recursive: true, force: true }), { timeout: patience, interval: 20 });
}

function session(child: ChildProcess): Session {
  let out = '';
  const watchers = new Set<() => void>();
  const hear = (chunk: Buffer) => {
    out += chunk.toString('latin1');
    // What a terminal is (Primary Device Attributes): fish 4 waits for the answer.
    if (chunk.includes('\x1b[c') || chunk.includes('\x1b[0c')) child.stdin?.write('\x1b[?62;22c');
    for (const watcher of watchers) watcher();
  };
  child.stdout?.on('data', hear);
  child.stderr?.on('data', hear);
  child.stdin?.on('error', () => {});
  const ended = new Promise<void>((resolve) => child.on('close', () => resolve()));
  onTestFinished(() => void child.kill('SIGKILL'));
  const says = (text: string | RegExp): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = () => {
        if (typeof text === 'string' ? !out.includes(text) : !text.test(out)) return;
        watchers.delete(look);
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(() => reject(new Error(`no ${text} in ${JSON.stringify(out)}`)), patience);
      watchers.add(look);
      look();
    });
  return {
    output: () => out,
    hook: () => /BEGIN\r\n([\s\S]*)GO-ON\r\n/.exec(out)?.[1]?.replaceAll('\r\n', '\n') ?? `not over: ${out}`,
    says,
    async past() {
      await says('GO-ON\r\n');
      child.kill('SIGKILL');
      await ended;
      return this.hook();
    },
    type: (keys) => void child.stdin?.write(keys),
    async finish(...commands) {
      await says('GO-ON\r\n');
      // What shells and line editors echo does not hold the whole word.
      for (const command of [...commands, 'echo O""VER']) child.stdin?.write(`${command}\r`);
      await says(/OVER/);
      // There may be a shell around it, and what is typed too early is lost.
      for (let left = false, tries = 0; !left && tries < 10; tries++) {
        child.stdin?.write('exit\r');
        left = await Promise.race([
          ended.then(() => true),
          new Promise<false>((resolve) => setTimeout(resolve, 500, false).unref()),
        ]);
      }
      return out;
    },
  };
}
