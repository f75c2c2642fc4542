import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { type Account, lookUp } from '../../broker/accounts.js';
import { fail } from '../../core/failure.js';
import { type Effective, type Files, wordsOf } from '../../core/sshd-config.js';
import type { Env } from '../../stores/state.js';
import type { Machine } from './plan.js';

interface Person {
  readonly name: string;
  readonly uid: number;
  readonly home: string;
}

/** Whether sshd may let this person in by key, as far as can be told: keys, or a command or authority that vouches for some. */
export function hasKey(person: Person, settings: Effective, files: Files): boolean {
  const of = (keyword: string) => settings.get(keyword)?.[0] ?? 'none';
  if (of('pubkeyauthentication') === 'no') return false;
  if (of('authorizedkeyscommand') !== 'none' || of('trustedusercakeys') !== 'none') return true;
  return wordsOf(of('authorizedkeysfile')).some((word) => {
    const tokens: Readonly<Record<string, string>> = { h: person.home, u: person.name, U: `${person.uid}`, '%': '%' };
    const path = word.replace(/%([huU%])/g, (_, token: string) => tokens[token] ?? '');
    const text = word === 'none' ? undefined : files.read(isAbsolute(path) ? path : join(person.home, path));
    return text?.split('\n').some((line) => /^\s*[^#\s]/.test(line)) ?? false;
  });
}

/** root of a machine that is not this one has its usual home. */
export async function rootOf(root: string): Promise<Person> {
  return { name: 'root', uid: 0, home: (root === '' ? (await account('root'))?.home : undefined) || '/root' };
}

/** Who it is that runs this, behind sudo and the like: what the login left in the kernel, or sudo in the environment. */
export async function whoRuns(
  env: Env,
  settings: Effective,
  files: Files,
  loginuid = '/proc/self/loginuid',
): Promise<Machine['person']> {
  const found = await account(uidBehind(env, loginuid));
  if (found === undefined || found.uid === 0) return undefined;
  const { name, uid } = found;
  const home = found.home || '/';
  const groups = (await run('id', ['-Gn', '--', name])).split(/\s+/).filter((group) => group !== '');
  return { name, groups, hasKey: hasKey({ name, uid, home }, settings, files) };
}

function uidBehind(env: Env, loginuid: string): number {
  const sudo = Number(env.SUDO_UID ?? Number.NaN);
  if (Number.isInteger(sudo) && sudo > 0) return sudo;
  try {
    const uid = Number(readFileSync(loginuid, 'utf8'));
    // proc(5): 4294967295 means that nobody has logged in.
    return Number.isInteger(uid) && uid < 4_294_967_295 ? uid : 0;
  } catch {
    return 0;
  }
}

/** Somebody in each group, by whom sshd can be asked what counts there. Throws Failed('usage') for a group that is not there. */
export async function membersOf(
  groups: readonly string[],
  { root, files }: { root: string; files: Files },
): Promise<readonly string[]> {
  const members: string[] = [];
  for (const group of groups) {
    if (!/^[A-Za-z_][A-Za-z0-9_.-]*$/.test(group))
      fail('usage', `"${group}" cannot be written as a group into sshd's configuration`);
    const lines = root === '' ? await run('getent', ['group', '--', group]) : (files.read('/etc/group') ?? '');
    const [found] = lines.split('\n').filter((line) => line.startsWith(`${group}:`));
    if (found === undefined) return fail('usage', `there is no group ${group}`, `see: getent group ${group}`);
    const [first = ''] = (found.split(':')[3] ?? '').split(',');
    if (first !== '' && first !== 'root') members.push(first);
  }
  return members;
}

/** Undefined also where the name service does not answer. */
const account = (key: number | string): Promise<Account | undefined> => lookUp(key).catch(() => undefined);

/** '' when it fails. */
function run(program: string, args: readonly string[]): Promise<string> {
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };
  return new Promise((resolve) => {
    execFile(program, [...args], { env, timeout: 5000 }, (error, out) => resolve(error ? '' : out));
  });
}
