import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, fchmodSync, fchownSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Account } from '../broker/accounts.js';
import { backoff } from '../core/backoff.js';
import type { BrokerSettings, PamSettings } from '../core/config.js';
import { Failed } from '../core/failure.js';
import type { Clock, Log } from '../core/ports.js';
import type { Provider } from '../core/provider.js';
import { errnoOf, openDir, storageFailed, syncNow } from '../stores/atomic.js';

const program = fileURLToPath(new URL('../../bin/credmon-broker.js', import.meta.url));
/** A broker that lived this long had come up well: milliseconds. */
const settledMs = 60_000;

/** One line of the broker's standard input: all that it needs to know, the secrets among it. */
export interface BrokerInput {
  readonly v: 1;
  readonly providers: readonly Provider[];
  readonly secrets: Readonly<Record<string, string>>;
  readonly broker: BrokerSettings;
  readonly pam?: PamSettings;
  readonly statusDir: string;
  readonly debug: boolean;
}

export interface BrokerChildParts {
  /** Whom it runs as; undefined: as ourselves, since we are nobody special. */
  readonly account: Account | undefined;
  readonly input: BrokerInput;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * The broker as our child, with privileges dropped. It is told its configuration and the secrets through its standard input,
 * so that secret files need only be readable by root; and when that pipe closes, however we end, it ends too.
 */
export class BrokerChild {
  #child: ChildProcess | undefined;
  #input: BrokerInput;
  #failures = 0;
  #stopped = false;
  #cancel: () => void = () => {};

  constructor(private readonly parts: BrokerChildParts) {
    this.#input = parts.input;
    makeFolders(parts.input, parts.account);
    this.#start();
  }

  /** For the logins that begin from now on. */
  reconfigure(input: BrokerInput): void {
    if (JSON.stringify(input) === JSON.stringify(this.#input)) return;
    this.#input = input;
    this.#send();
  }

  /** Resolves when it has ended; after `limitMs` it is killed. */
  async stop(limitMs: number): Promise<void> {
    this.#stopped = true;
    this.#cancel();
    const child = this.#child;
    if (child === undefined) return;
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()).once('error', () => resolve()));
    child.stdin?.end();
    const cancel = this.parts.clock.after(limitMs, () => child.kill('SIGKILL'));
    await ended;
    cancel();
  }

  #start(): void {
    const { account, clock, log } = this.parts;
    const begun = clock.steady();
    const over = (how: string) => {
      this.#child = undefined;
      if (this.#stopped) return;
      this.#failures = clock.steady() - begun > settledMs ? 1 : this.#failures + 1;
      const pause = backoff(this.#failures, 0);
      log.error(`the broker ${how}; started again in ${pause} s`);
      this.#cancel = clock.after(pause * 1000, () => this.#start());
    };
    let child: ChildProcess;
    try {
      child = spawn(process.execPath, [program, '--child'], {
        // Nothing of HTCondor's inherited session, and no proxies by surprise.
        env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8' },
        cwd: '/',
        stdio: ['pipe', 'ignore', 'pipe'],
        ...(account && { uid: account.uid, gid: account.gid }),
      });
    } catch (thrown) {
      // What the system forbids (EPERM without CAP_SETUID) is thrown, what it has too little of is told later.
      over(`cannot be started (${(thrown as Error).message})`);
      return;
    }
    this.#child = child;
    child.stdin?.on('error', () => {});
    child.stderr?.setEncoding('utf8').on(
      'data',
      // Named as the broker's, so that a line of it cannot pass for one of ours.
      lines((line) => {
        const [level, text] = told(line);
        log[level](`broker: ${text}`);
      }),
    );
    child.once('exit', (code, signal) => over(`ended (${signal ?? `exit ${code}`})`));
    // What could not be started has no end.
    child.on('error', (error) => child.pid === undefined && over(`cannot be started (${error.message})`));
    this.#send();
  }

  #send(): void {
    this.#child?.stdin?.write(`${JSON.stringify(this.#input)}\n`);
  }
}

/** Calls back for every whole line of a stream of text; one that never ends is cut. */
function lines(tell: (line: string) => void): (text: string) => void {
  let rest = '';
  return (text) => {
    const parts = (rest + text).split('\n');
    rest = (parts.pop() ?? '').slice(-4096);
    for (const line of parts) tell(line);
  };
}

/** The folders in which the broker's own are: it could not make them itself. Throws Failed. */
function makeFolders({ broker, pam }: BrokerInput, account: Account | undefined): void {
  const { socket, spoolDir, challengeDir } = broker;
  make(dirname(socket), 0o755, account);
  // These may be there for a broker of systemd's: then ours says that it has no door for sshd, and goes on.
  if (pam && !existsSync(dirname(pam.socket))) make(dirname(pam.socket), 0o711, account);
  if (pam && !existsSync(pam.identitiesDir)) make(pam.identitiesDir, 0o700, account);
  makeSpool(spoolDir, account);
  make(challengeDir, 0o1733, account);
}

/** The spool must be there to be watched, also when the broker is started later and by something else. Throws Failed. */
export const makeSpool = (path: string, account: Account | undefined): void => make(path, 0o700, account);

/** A line of the broker's stderr (system/log.ts): at which level it is, and what it says. */
export function told(line: string): ['error' | 'warn' | 'info', string] {
  const [, level, text = ''] = /^(?:credmon-broker: )?(?:(error|warning): )?(.*)$/s.exec(line) ?? [];
  return [level === 'error' ? level : level === 'warning' ? 'warn' : 'info', text];
}

/** Only a folder that was made here is given to the broker: one that was there before may hold other things than its own. */
function make(path: string, mode: number, account: Account | undefined): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    const made = mkdirIfAbsent(path);
    const dir = openDir(path);
    try {
      if (made) {
        fchmodSync(dir.fd, mode);
        if (account) fchownSync(dir.fd, account.uid, account.gid);
        syncNow(dirname(path));
      } else if (account && dir.stat.uid !== BigInt(account.uid)) {
        throw new Failed({
          kind: 'config',
          what: `the broker's folder ${path} is there already, and does not belong to ${account.name}`,
          hint: 'configure a folder of its own for the broker, or remove this one if it is a leftover',
        });
      }
    } finally {
      dir.close();
    }
  } catch (thrown) {
    throw storageFailed('make', path, thrown);
  }
}

/** Whether it was made. */
function mkdirIfAbsent(path: string): boolean {
  try {
    mkdirSync(path, { mode: 0o700 });
    return true;
  } catch (thrown) {
    if (errnoOf(thrown) !== 'EEXIST') throw thrown;
    return false;
  }
}
