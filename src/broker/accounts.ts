import { execFile } from 'node:child_process';
import { Failed } from '../core/failure.js';
import { nameTrouble } from '../core/names.js';
import type { Clock } from '../core/ports.js';

export interface Account {
  readonly name: string;
  readonly uid: number;
  /** Of its primary group. */
  readonly gid: number;
}

/** How long the system's name service may take: an LDAP server may be slow, and a person waits. */
const limitMs = 5000;
/** How long an answer is good for, and how many are kept. */
const lifeMs = 60_000;
const most = 1024;

/**
 * An account by uid or by name, as NSS has it (getent(1): files, LDAP, SSSD, …); undefined when there is none.
 * Throws Failed('transient') when the name service does not answer.
 */
export function lookUp(key: number | string): Promise<Account | undefined> {
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };
  return new Promise((resolve, reject) => {
    // `--`: an account's name comes from the configuration, and may begin with a dash.
    execFile('getent', ['passwd', '--', String(key)], { timeout: limitMs, maxBuffer: 64 * 1024, env }, (error, out) => {
      // getent(1): 2 is "not found".
      if (error && error.code !== 2) {
        const what = `the system's accounts cannot be looked up: getent ${error.killed ? 'does not answer' : `failed (${error.code ?? error.signal})`}`;
        reject(new Failed({ kind: 'transient', what, hint: 'try again; if it stays so, see `getent passwd`' }));
      } else resolve(error ? undefined : parse(out, key));
    });
  });
}

/** passwd(5): name:password:uid:gid:… */
function parse(out: string, key: number | string): Account | undefined {
  const [name = '', , uid = '', gid = ''] = out.split('\n', 1)[0]?.split(':') ?? [];
  const number = (text: string) => (/^\d{1,10}$/.test(text) ? Number(text) : -1);
  const account = { name, uid: number(uid), gid: number(gid) };
  return (typeof key === 'number' ? account.uid : account.name) === key ? account : undefined;
}

/** uid → name of the person who may log in. Throws Failed: for root unless the broker itself is root, for a uid without a name, for an impossible name. */
export type NameOf = (uid: number) => Promise<string>;

export function openNames(clock: Clock, look: typeof lookUp = lookUp, root = false): NameOf {
  const known = new Map<number, { readonly name: Promise<string>; readonly until: number }>();
  return (uid) => {
    const now = clock.steady();
    const hit = known.get(uid);
    if (hit && hit.until > now) return hit.name;
    known.delete(uid);
    const [oldest] = known.size >= most ? known.keys() : [];
    if (oldest !== undefined) known.delete(oldest);
    const name = find(uid, look, root);
    known.set(uid, { name, until: now + lifeMs });
    // What went wrong is not kept, but those who ask meanwhile share one question.
    name.catch(() => known.delete(uid));
    return name;
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
