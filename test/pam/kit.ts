import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chmodSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { homedir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach } from 'vitest';
import { type BrokerRecord, encode, type ModuleRecord, moduleReader } from '../../src/broker/pam/records.js';
import { alone, make, missing, wrapper } from './build.js';

export const weAreRoot = process.getuid?.() === 0;
/** Who runs the tests, and so the brokers in them; '' where that account has no name. */
const us = ownName();

function ownName(): string {
  try {
    return userInfo().username;
  } catch {
    return '';
  }
}

/** Somebody who exists everywhere, and is neither root nor us. */
export const nobody = 'nobody';

const ours = (dir: string): boolean => {
  const { uid, mode } = lstatSync(dir);
  return (uid === 0 || uid === process.getuid?.()) && (mode & 0o022) === 0 && (mode & 0o170000) === 0o040000;
};
const above = (dir: string): string[] => (dir === dirname(dir) ? [dir] : [dir, ...above(dirname(dir))]);

/** A folder which nobody else can write to, nor to what is above it: the module takes a socket only there. Never /tmp. */
const base = (weAreRoot ? ['/run', '/root', '/var/lib'] : [process.env.XDG_RUNTIME_DIR ?? '', homedir()]).find(
  (dir) => dir.startsWith('/') && existsSync(dir) && above(dir).every(ours),
);

/** Why the module cannot be tried here, if so: the end of a sentence. */
export const lacking =
  missing.length > 0
    ? `because there is no ${missing.join(', ')}`
    : us === ''
      ? 'because this account has no name'
      : base === undefined
        ? 'because every folder of ours can be written by others (set XDG_RUNTIME_DIR)'
        : undefined;

/** `sanitizers` or `valgrind`: all of it once more under these. What they find ends pamtester in a way that no test expects. */
const under = process.env.CREDMON_TEST_PAM_UNDER;
const asan =
  under === 'sanitizers' ? [execFileSync('cc', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).trim()] : [];
const valgrind = [
  'valgrind',
  '-q',
  '--leak-check=full',
  '--errors-for-leak-kinds=definite',
  '--error-exitcode=9',
  '--trace-children=yes',
];

let own: string | undefined;
afterAll(() => own !== undefined && rmSync(own, { recursive: true, force: true }));

/** Where pam_credmon.so is. Without the global set-up, each file builds for itself. */
export function builtDir(): string {
  if (process.env.CREDMON_TEST_PAM !== undefined) return process.env.CREDMON_TEST_PAM;
  own ??= make();
  return own;
}

const cleanups: (() => unknown)[] = [];
export const cleanup = (then: () => unknown): void => void cleanups.push(then);
afterEach(async () => {
  for (const then of cleanups.splice(0).reverse()) await then();
});

/** A folder of its own for a test, where a socket may be. */
export function room(): string {
  const dir = mkdtempSync(join(base ?? '', 'credmon-pam-'));
  chmodSync(dir, 0o755);
  cleanup(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** One connection of the module, seen by the broker. */
class Line {
  readonly records: ModuleRecord[] = [];
  /** All that ever came, and what of it was no record. */
  readonly bytes: Buffer[] = [];
  malformed: string | undefined;
  ended = false;
  readonly closed: Promise<void>;
  #taken = 0;
  #wake: () => void = () => {};

  constructor(private readonly socket: Socket) {
    const reader = moduleReader();
    socket.on('data', (chunk) => {
      this.bytes.push(chunk);
      for (const { record, malformed } of reader.push(chunk)) {
        if (record) this.records.push(record);
        else this.malformed = malformed;
      }
      this.#wake();
    });
    socket.on('error', () => {});
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.ended = true;
        this.#wake();
        resolve();
      });
    });
  }

  /** The next record of the module; undefined: it has hung up. */
  async next(): Promise<ModuleRecord | undefined> {
    while (this.records.length <= this.#taken && !this.ended)
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    return this.records[this.#taken++];
  }

  say(said: BrokerRecord | Uint8Array): void {
    this.socket.write(said instanceof Uint8Array ? said : encode(said));
  }

  /** `wholly`: it does not even read any more, once what was said is out. */
  hangUp(wholly = false): void {
    this.socket.end(() => wholly && this.socket.destroy());
  }
}

/** What the broker does with a connection, whose first record has come. */
export type Script = (line: Line, first: ModuleRecord) => unknown;

export interface TestBroker {
  readonly server: Server;
  readonly socket: string;
  readonly lines: readonly Line[];
  /** All that any module has sent. */
  bytes(): Buffer;
  /** All records, of all connections in their order. */
  records(): readonly ModuleRecord[];
}

/** A broker that only knows its lines. */
export async function brokerAt(socket: string, script: Script): Promise<TestBroker> {
  const lines: Line[] = [];
  const server = createServer((connection) => {
    const line = new Line(connection);
    lines.push(line);
    cleanup(() => connection.destroy());
    void line.next().then((first) => first && script(line, first));
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  cleanup(() => server.close());
  return {
    server,
    socket,
    lines,
    bytes: () => Buffer.concat(lines.flatMap((line) => line.bytes)),
    records: () => lines.flatMap((line) => line.records),
  };
}

/** Says these one after the other; after an `ask` it waits for the answer. */
export const says =
  (...said: readonly (BrokerRecord | Uint8Array)[]): Script =>
  async (line) => {
    for (const one of said) {
      line.say(one);
      if (!(one instanceof Uint8Array) && one.kind === 'ask' && (await line.next()) === undefined) return;
    }
  };

/** Whatever is asked: success, for the one whom it is about. */
export const agrees: Script = (line, first) =>
  first.kind !== 'answer' && line.say({ kind: 'verdict', result: 'ok', user: first.user });

/** What a PAM function returned, told by what pamtester says of it. */
const results = {
  'Authentication failure': 'auth_err',
  'Authentication service cannot retrieve authentication info': 'authinfo_unavail',
  'Permission denied': 'perm_denied',
  'Error in service module': 'service_err',
  // What stands in the stack after the module, and is reached only if it is ignored.
  'User credentials expired': 'ignore',
} as const;
type Result = 'success' | (typeof results)[keyof typeof results] | `?${string}`;

export interface Attempt {
  /** Words of the module's line, besides socket= and account=. */
  readonly words?: string;
  readonly socket?: string;
  readonly account?: string;
  readonly user?: string;
  readonly operations?: readonly string[];
  readonly service?: string;
  readonly rhost?: string;
  /** SSH_AUTH_INFO_0. */
  readonly first?: string;
  /** The connection that sshd would have as a descriptor. */
  readonly client?: { readonly socket: Socket; readonly info: string };
  /** What the person types, a line for each prompt; `later`: in the test's own time. */
  readonly typed?: string | { readonly later: true };
  /** A password that a module before has asked for and kept (PAM_AUTHTOK). */
  readonly password?: string;
  /** The others in the stack let in whomever this module ignores. */
  readonly permitted?: boolean;
  /** See pam/test/preload.c. */
  readonly preload?: Readonly<Record<string, string>>;
  readonly module?: string;
}

export interface Ended {
  /** Of the last operation that was tried. */
  readonly result: Result;
  /** Of how many operations it was success. */
  readonly succeeded: number;
  /** PAM_TEXT_INFO; and prompts and PAM_ERROR_MSG. */
  readonly info: string;
  readonly errors: string;
  /** Lines of the system's log: `<priority> text`. */
  readonly log: readonly string[];
  readonly ms: number;
}

export interface Tried {
  readonly child: ChildProcess;
  /** Resolves when there is a prompt, with its text so far. */
  readonly asked: Promise<string>;
  readonly ended: Promise<Ended>;
}

const wrapperModule = (name: string): string => join(dirname(wrapper ?? ''), 'pam_wrapper', name);

const marker = { auth: 'auth', account: 'acct', session: 'open_session' };

/** pamtester in a stack of pam_credmon.so alone. */
export function start(attempt: Attempt): Tried {
  const { words = '', user = nobody, operations = ['authenticate'], service = 'sshd' } = attempt;
  const dir = mkdtempSync(join(base ?? '', 'credmon-pam-'));
  cleanup(() => rmSync(dir, { recursive: true, force: true }));
  const log = join(dir, 'log');
  const module = attempt.module ?? join(builtDir(), under === 'sanitizers' ? 'sanitized' : '', 'pam_credmon.so');
  const line = `${module} socket=${attempt.socket ?? join(dir, 'nothing')} account=${attempt.account ?? us} ${words}`;
  const stack = Object.entries(marker).flatMap(([type, name]) => [
    `${type} [success=done ignore=ignore default=die] ${line}`,
    attempt.permitted ? `${type} required pam_permit.so` : `${type} [default=die] pam_debug.so ${name}=cred_expired`,
  ]);
  if (attempt.password !== undefined) stack.unshift(`auth required ${wrapperModule('pam_set_items.so')}`);
  mkdirSync(join(dir, 'pam.d'));
  writeFileSync(join(dir, 'pam.d', service), `${stack.join('\n')}\n`);
  writeFileSync(join(dir, 'pam.d', 'other'), 'auth required pam_deny.so\n');
  const environment = [
    ...(attempt.first === undefined ? [] : ['-E', `SSH_AUTH_INFO_0=${attempt.first}`]),
    ...(attempt.client === undefined ? [] : ['-E', `SSH_CONNECTION=${attempt.client.info}`]),
  ];
  const begin = performance.now();
  const preload = [...asan, join(builtDir(), 'preload.so'), wrapper].join(':');
  const program = [
    ...(under === 'valgrind' ? valgrind : []),
    'env',
    `LD_PRELOAD=${preload}`,
    'pamtester',
    ...environment,
  ];
  const [lock, ...locked] = alone;
  const last = ['-I', `rhost=${attempt.rhost ?? ''}`, service, user, ...operations];
  const child = spawn(lock, [...locked, ...program, ...last], {
    stdio: ['pipe', 'pipe', 'pipe', attempt.client?.socket ?? 'ignore'],
    env: {
      PATH: process.env.PATH,
      LC_ALL: 'C',
      ASAN_OPTIONS: 'detect_leaks=0',
      PAM_WRAPPER: '1',
      PAM_WRAPPER_SERVICE_DIR: join(dir, 'pam.d'),
      PAM_WRAPPER_USE_SYSLOG: '1',
      PAM_WRAPPER_DISABLE_DEEPBIND: '1',
      PRELOAD_SYSLOG: log,
      ...(attempt.password !== undefined && { PAM_AUTHTOK: attempt.password }),
      ...attempt.preload,
    },
  });
  child.stdin?.on('error', () => {});
  const { typed = '' } = attempt;
  if (typeof typed === 'string') child.stdin?.end(typed);
  // The module's process has it now, and nobody else here.
  attempt.client?.socket.destroy();
  cleanup(() => child.kill('SIGKILL'));
  let [out, err] = ['', ''];
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  // libpam-wrapper finds what others have left in /tmp.
  const errors = () => err.replace(/^PWRAP_ERROR.*\n/gm, '').replace(/pamtester: .*\n$/, '');
  const asked = new Promise<string>((resolve) => {
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      err += text;
      if (errors() !== '') resolve(errors());
    });
  });
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      const said = /pamtester: (.*)\n$/.exec(err)?.[1] ?? `${signal ?? code}`;
      resolve({
        result: code === 0 ? 'success' : (results[said as keyof typeof results] ?? `?${said}`),
        succeeded: out.split(/^pamtester: /m).length - 1,
        info: out.replace(/^(pamtester: |(auth|acct|open_session)=).*\n/gm, ''),
        errors: errors(),
        log: existsSync(log)
          ? readFileSync(log, 'utf8')
              .split('\n')
              .filter((one) => one !== '' && !one.includes('PAM _pam_init_handlers'))
          : [],
        ms: performance.now() - begin,
      });
    });
  });
  return { child, asked, ended };
}

export const attempt = (what: Attempt): Promise<Ended> => start(what).ended;

/** The same with a broker. */
export async function login(script: Script, what: Attempt = {}): Promise<Ended & { readonly broker: TestBroker }> {
  const broker = await brokerAt(join(room(), 'socket'), script);
  return { ...(await attempt({ socket: broker.socket, ...what })), broker };
}

/** A client's TCP connection: its own end, and the one that sshd has. */
export async function tcpClient(): Promise<{ readonly own: Socket; readonly client: NonNullable<Attempt['client']> }> {
  const server = createServer({ pauseOnConnect: true });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
  const own = connect(port, '127.0.0.1');
  const socket = await accepted;
  server.close();
  cleanup(() => own.destroy());
  own.on('error', () => {});
  return { own, client: { socket, info: `127.0.0.1 ${socket.remotePort} 127.0.0.1 ${port}` } };
}
