import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { fail } from '../core/failure.js';
import type { TokenStore } from '../core/ports.js';
import { redact } from '../core/redact.js';
import { plain } from '../core/text.js';
import { timerDelay } from '../core/time.js';
import { keptIn } from './kept.js';
import type { Answer, Request } from './keyring-child.js';
import { named } from './named.js';
import { isObject, listEntries, readEntry, removeEntry, whereIs, writeEntry } from './records.js';
import type { Env } from './state.js';

export interface KeyringOptions {
  /** Default: this process's. */
  readonly env?: Env;
  /** The program that talks to the keyring. */
  readonly helper?: string;
  /** For one operation. */
  readonly limitMs?: number;
}

const locked = 'the keyring is locked';
const noBus = 'no D-Bus session';

/** What an operation came to. */
type Outcome<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly because: string };

/** One helper process, started when first needed. It does not keep this process alive. */
interface Keyring {
  get(account: string): Promise<Outcome<string | null>>;
  set(account: string, value: string): Promise<Outcome<unknown>>;
  /** Whether there was one. */
  delete(account: string): Promise<Outcome<boolean>>;
  close(): void;
}

const compiledHelper = fileURLToPath(new URL('../stores/keyring-child.js', import.meta.url));

/** An unlocked keyring answers within milliseconds; one that asks for its password cannot be waited for. */
const patience = 3000;

type Helper = ChildProcessByStdio<Writable, Readable, null>;

function openKeyring({ env = process.env, helper = compiledHelper, limitMs = patience }: KeyringOptions): Keyring {
  let child: Helper | undefined;
  let count = 0;
  let last: Promise<unknown> = Promise.resolve();

  function start(): Helper {
    const { NODE_OPTIONS: _, NODE_EXTRA_CA_CERTS: __, ...rest } = env;
    const started = spawn(process.execPath, [helper], { env: rest, stdio: ['pipe', 'pipe', 'ignore'] });
    started.unref();
    for (const pipe of [started.stdin, started.stdout] as { unref?(): void }[]) pipe.unref?.();
    // Its end says it all.
    started.stdin.on('error', () => {});
    started.stdout.setEncoding('utf8');
    return started;
  }

  function stop(): void {
    child?.kill('SIGKILL');
    child = undefined;
  }

  function ask(request: Request): Promise<Outcome<string | boolean | null>> {
    child ??= start();
    const asked = child;
    return new Promise((done) => {
      let text = '';
      const finish = (outcome: Outcome<string | boolean | null>, reusable: boolean): void => {
        clearTimeout(timer);
        asked.stdout.off('data', onData);
        asked.off('error', onError).off('close', onClose);
        if (!reusable) {
          // A spawn that failed may still report so.
          asked.on('error', () => {});
          stop();
        }
        done(outcome);
      };
      const onData = (chunk: string): void => {
        text += chunk;
        if (!text.endsWith('\n')) return;
        const answer = readAnswer(text, request.n);
        if (answer === undefined) finish({ ok: false, because: 'its helper gave a senseless answer' }, false);
        else finish(answer.ok ? answer : { ok: false, because: reason(answer) }, true);
      };
      const onError = (thrown: Error): void => finish({ ok: false, because: plain(thrown.message) }, false);
      const onClose = (code: number | null, signal: string | null): void =>
        finish({ ok: false, because: `its helper ended (${signal ?? `exit code ${code}`})` }, false);
      const timer = setTimeout(
        () => finish({ ok: false, because: `the keyring did not answer within ${limitMs / 1000} s` }, false),
        timerDelay(limitMs),
      );
      asked.stdout.on('data', onData);
      asked.on('error', onError).on('close', onClose);
      asked.stdin.write(`${inOneLine(request)}\n`);
    });
  }

  function inTurn<T>(request: Request): Promise<Outcome<T>> {
    const turn = last.then(async () => (hasBus(env) ? ask(request) : ({ ok: false, because: noBus } as const)));
    last = turn;
    return turn as Promise<Outcome<T>>;
  }

  return {
    get: (account) => inTurn({ n: ++count, op: 'get', account }),
    set: (account, value) => inTurn({ n: ++count, op: 'set', account, value }),
    delete: (account) => inTurn({ n: ++count, op: 'delete', account }),
    close: stop,
  };
}

/** Where libdbus and GIO look for a session bus. Asked first, since it spares the helper's start. */
function hasBus({ DBUS_SESSION_BUS_ADDRESS: address, XDG_RUNTIME_DIR: runtime, DISPLAY: display }: Env): boolean {
  if (address) return true;
  if (runtime && existsSync(join(runtime, 'bus'))) return true;
  // Under X11 one is started when needed.
  return Boolean(display);
}

function readAnswer(line: string, n: number): Answer | undefined {
  try {
    const answer: unknown = JSON.parse(line);
    return isObject(answer) && answer.n === n && typeof answer.ok === 'boolean' ? (answer as Answer) : undefined;
  } catch {
    return undefined;
  }
}

/** What keytar, libsecret and GIO say, in our words. */
function reason({ code, message }: Extract<Answer, { ok: false }>): string {
  if (code === 'MODULE_NOT_FOUND') return 'keytar is not installed';
  if (code === 'ERR_DLOPEN_FAILED') return 'keytar cannot be loaded, perhaps because libsecret is not installed';
  if (/locked collection|is locked|dismissed/i.test(message)) return locked;
  if (/autolaunch|D-?Bus without|not connect|connection refused|no such file/i.test(message)) return noBus;
  if (/org\.freedesktop\.secrets was not provided|ServiceUnknown/i.test(message)) return 'no Secret Service is running';
  if (/object does not exist at path/i.test(message)) return 'the keyring has not been set up';
  return `the keyring says: ${plain(redact(message))}`;
}

export type Probe = { readonly ok: true } | { readonly ok: false; readonly because: string };

/** Is there a keyring that keeps what it is given? It is given a canary, asked for it, and told to forget it. */
export async function probeKeyring(options: KeyringOptions = {}): Promise<Probe> {
  const keyring = openKeyring(options);
  try {
    return await canary(keyring);
  } finally {
    keyring.close();
  }
}

async function canary(keyring: Keyring): Promise<Probe> {
  const account = `probe ${process.pid} ${Date.now()}`;
  const put = await keyring.set(account, account);
  if (!put.ok) return put;
  const got = await keyring.get(account);
  const dropped = await keyring.delete(account);
  if (!got.ok) return got;
  // A locked collection answers null, as if it were empty.
  if (got.value === null) return { ok: false, because: locked };
  if (got.value !== account) return { ok: false, because: 'the keyring gave back something else than it was given' };
  return dropped.ok ? { ok: true } : dropped;
}

export interface KeyringStore extends TokenStore {
  /** Removes a secret that no entry speaks of any more; whether the keyring could be asked. */
  forget(id: string): Promise<boolean>;
  /** Ends the helper. The next operation starts another. */
  close(): void;
}

/** The Secret Service through keytar: service `credmon`, account = id. What there is is known from the state folder. */
export function keyringStore({ indexDir, ...options }: KeyringOptions & { readonly indexDir: string }): KeyringStore {
  const keyring = openKeyring(options);

  function refused(verb: string, id: string, because: string): never {
    return fail('storage', `cannot ${verb} ${id} in the keyring: ${because}`, hintFor(because));
  }

  /** The keyring has not got what it should: is it locked, or was it deleted there? */
  async function missing(verb: string, id: string): Promise<void> {
    const now = await canary(keyring);
    if (!now.ok) refused(verb, id, now.because);
  }

  return {
    place: { kind: 'keyring' },
    async load(id) {
      if (readEntry(indexDir, named(id))?.at !== 'keyring') return undefined;
      const got = await keyring.get(id);
      if (!got.ok) return refused('read', id, got.because);
      if (got.value === null) {
        await missing('read', id);
        return fail('storage', `${id} is no longer in the keyring: somebody deleted it there`, 'log in again');
      }
      return keptIn(parsed(got.value), `the entry credmon/${id} of the keyring`, 'log in again');
    },
    async save(id, kept) {
      const value = JSON.stringify(kept);
      const put = await keyring.set(named(id), value);
      if (!put.ok) return refused('save', id, put.because);
      const got = await keyring.get(id);
      if (!got.ok) return refused('save', id, got.because);
      // Another value is that of somebody who saved right after us.
      if (got.value === null) return refused('save', id, locked);
      try {
        await writeEntry(indexDir, id, { at: 'keyring' });
      } catch (thrown) {
        // Nobody would find it there.
        if (whereIs(indexDir, id) !== 'keyring') await keyring.delete(id);
        throw thrown;
      }
    },
    async remove(id) {
      if (whereIs(indexDir, named(id)) !== 'keyring') return false;
      const gone = await keyring.delete(id);
      if (!gone.ok) return refused('remove', id, gone.because);
      if (!gone.value) await missing('remove', id);
      return removeEntry(indexDir, id);
    },
    async list() {
      return listEntries(indexDir, 'keyring');
    },
    async forget(id) {
      return (await keyring.delete(named(id))).ok;
    },
    close: () => keyring.close(),
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const hintFor = (because: string): string =>
  because === locked
    ? 'unlock it (log in at the desktop, or use its settings), or keep the credential in a file: log in with --store file'
    : 'run this at the desktop where you logged in, or keep the credential in a file: log in with --store file';

/** From Node 24 on readline also ends lines at U+2028 and U+2029, which JSON leaves as they are. */
const inOneLine = (value: unknown): string =>
  JSON.stringify(value).replace(/[\u2028\u2029]/g, (char) => `\\u${char.charCodeAt(0).toString(16)}`);
