import { execFile } from 'node:child_process';
import { Failed, failureOf } from '../core/failure.js';
import { nameTrouble } from '../core/names.js';
import type { Clock } from '../core/ports.js';

export interface Account {
  readonly name: string;
  readonly uid: number;
  /** Of its primary group. */
  readonly gid: number;
  readonly home?: string;
  /** Its login shell. */
  readonly shell?: string;
}

/** How long the system's name service may take: an LDAP server may be slow, and a person waits. */
const limitMs = 5000;
/** How long an answer is good for, how long one that there is no such account, and how many are kept. */
const lifeMs = 60_000;
const missMs = 5000;
const most = 1024;

/**
 * An account by uid or by name, as NSS has it (getent(1): files, LDAP, SSSD, …); undefined when there is none.
 * Throws Failed('transient') when the name service does not answer.
 */
export async function lookUp(key: number | string): Promise<Account | undefined> {
  return (await lookUpAll([key])).get(key);
}

/** Many accounts by one call of getent(1); those that do not exist are left out. Throws as {@link lookUp}. */
export function lookUpAll<K extends number | string>(keys: readonly K[]): Promise<Map<K, Account>> {
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };
  return new Promise((resolve, reject) => {
    // `--`: an account's name comes from the configuration, and may begin with a dash.
    const args = ['passwd', '--', ...keys.map(String)];
    execFile('getent', args, { timeout: limitMs, maxBuffer: 4 * 1024 * 1024, env }, (error, out) => {
      // getent(1): 2 is "not found".
      if (error && error.code !== 2) {
        const what = `the system's accounts cannot be looked up: getent ${error.killed ? 'does not answer' : `failed (${error.code ?? error.signal})`}`;
        reject(new Failed({ kind: 'transient', what, hint: 'try again; if it stays so, see `getent passwd`' }));
      } else resolve(pick(out, keys));
    });
  });
}

/** How many processes ask at a time, how many names each is given, and after how many ms another begins beside them. */
const processes = 4;
const together = 64;
const aheadMs = 50;

/**
 * As {@link lookUp} by name, for many who ask at once: each question is a process, whose start holds up everything for
 * milliseconds, so those who come while one runs share the next. Only where it takes long there are several.
 */
export function openLookUps(
  clock: Pick<Clock, 'steady' | 'after'>,
  look: (names: readonly string[]) => Promise<ReadonlyMap<string, Account>> = lookUpAll,
): (name: string) => Promise<Account | undefined> {
  type Waiting = { readonly name: string; tell(found: Account | undefined): void; fail(thrown: unknown): void };
  const queue: Waiting[] = [];
  let [running, begun, isTimed] = [0, 0, false];
  const next = (): void => {
    if (queue.length === 0 || running >= processes) return;
    const early = begun + aheadMs - clock.steady();
    if (running === 0 || early <= 0) return void work();
    if (isTimed) return;
    isTimed = true;
    clock.after(early, () => {
      isTimed = false;
      next();
    });
  };
  const work = async (): Promise<void> => {
    const some = queue.splice(0, together);
    running++;
    begun = clock.steady();
    try {
      const found = await look([...new Set(some.map(({ name }) => name))]);
      for (const { name, tell } of some) tell(found.get(name));
    } catch (thrown) {
      for (const { fail } of some) fail(thrown);
    } finally {
      running--;
      next();
    }
  };
  return (name) =>
    new Promise((resolve, reject) => {
      queue.push({ name, tell: resolve, fail: reject });
      next();
    });
}

/** passwd(5): name:password:uid:gid:gecos:home:shell. */
function pick<K extends number | string>(out: string, keys: readonly K[]): Map<K, Account> {
  const wanted = new Set<number | string>(keys);
  const number = (text: string) => (/^\d{1,10}$/.test(text) ? Number(text) : -1);
  const found = new Map<K, Account>();
  for (const line of out.split('\n')) {
    const [name = '', , uid = '', gid = '', , home = '', shell = ''] = line.split(':');
    const account = { name, uid: number(uid), gid: number(gid), home, shell };
    for (const key of [account.name, account.uid]) if (wanted.has(key)) found.set(key as K, account);
  }
  return found;
}

/** uid → name of the person who may log in. Throws Failed: for root unless the broker itself is root, for a uid without a name, for an impossible name. */
export type NameOf = (uid: number) => Promise<string>;

export function openNames(clock: Clock, look: typeof lookUp = lookUp, root = false): NameOf {
  const known = new Map<number, { readonly name: Promise<string>; until: number }>();
  return (uid) => {
    const now = clock.steady();
    const hit = known.get(uid);
    if (hit && hit.until > now) return hit.name;
    known.delete(uid);
    const [oldest] = known.size >= most ? known.keys() : [];
    if (oldest !== undefined) known.delete(oldest);
    const entry = { name: find(uid, look, root), until: now + lifeMs };
    known.set(uid, entry);
    // Everybody has uids without a name (subuid(5)), and each question is a process: nobody is kept for a while, too.
    // What went wrong is not, but those who ask meanwhile share one question.
    entry.name.catch((thrown) => {
      entry.until = failureOf(thrown)?.kind === 'refused' ? clock.steady() + missMs : 0;
    });
    return entry.name;
  };
}

async function find(uid: number, look: typeof lookUp, root: boolean): Promise<string> {
  if (uid === 0 && !root) {
    throw new Failed({
      kind: 'unsupported',
      what: 'root has no HTCondor jobs, so the broker keeps no credentials for it',
      hint: 'log in as the person whose jobs need the token',
    });
  }
  const account = await look(uid);
  const name = account?.name ?? '';
  if (account !== undefined && nameTrouble(name) === undefined) return name;
  throw new Failed({
    kind: 'refused',
    what: `uid ${uid} is no account on this machine${account ? ' whose name HTCondor could use' : ''}`,
    hint: `see: getent passwd ${uid}`,
  });
}
