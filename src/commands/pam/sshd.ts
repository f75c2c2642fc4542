import { execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { type Effective, parseEffective, parseSshVersion, type SshVersion } from '../../core/sshd-config.js';
import { plain } from '../../core/text.js';
import type { Places } from './places.js';
import { makeFolders, removeFolder } from './put.js';

/** The ssh server of a machine. */
export interface Sshd {
  readonly path: string;
  readonly version: SshVersion | undefined;
  /** What `sshd -t` finds wrong with the configuration as it is on disk; undefined: nothing. */
  test(): Promise<string | undefined>;
  /** What `sshd -T` says that counts for a user who comes from this machine, or why it says nothing. Only root may ask. */
  effective(user: string): Promise<Effective | { readonly trouble: string }>;
}

const folders = ['/usr/sbin', '/usr/local/sbin', '/usr/bin', '/opt/openssh/sbin'];
const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };

interface Ran {
  readonly code: number | string;
  readonly out: string;
  readonly err: string;
}

/** Undefined: that machine has no sshd, or (with a root of its own) we may not run it there. */
export async function findSshd({ root, sshdConfig }: Places, given?: string): Promise<Sshd | undefined> {
  const path = given ?? folders.map((folder) => `${folder}/sshd`).find((one) => isProgram(root + one));
  if (path === undefined || (root !== '' && process.getuid?.() !== 0)) return undefined;
  // sshd wants to be called by an absolute path.
  const once = (args: readonly string[]): Promise<Ran> =>
    root === '' ? call(path, args) : call('chroot', [root, path, ...args]);
  const run = async (...args: readonly string[]): Promise<Ran> => {
    const ran = await once(args);
    const [, folder] = /^Missing privilege separation directory: (\/\S+)/m.exec(ran.err) ?? [];
    if (ran.code === 0 || folder === undefined) return ran;
    // systemd makes it when it starts an sshd, and takes it away afterwards: where a socket starts it, it may not be there.
    return withFolder(root + folder, () => once(args));
  };
  // Before 9.2 there is no -V, and the usage that comes instead begins with the version.
  const { out, err } = await run('-V');
  return {
    path,
    version: parseSshVersion(out + err),
    async test() {
      const { code, err: said } = await run('-t', '-f', sshdConfig);
      return code === 0 ? undefined : inWords(said);
    },
    async effective(user) {
      // A Match on something that is not told would end it.
      const about = `user=${user},host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22`;
      const { code, out: said, err: complaint } = await run('-T', '-f', sshdConfig, '-C', about);
      return code === 0 ? parseEffective(said) : { trouble: inWords(complaint) };
    },
  };
}

async function withFolder<T>(path: string, work: () => Promise<T>): Promise<T> {
  const made = makeFolders(path);
  try {
    return await work();
  } finally {
    for (const folder of made.toReversed()) removeFolder(folder);
  }
}

const inWords = (said: string): string => plain(said.trim().split('\n').slice(-3).join('; '), 500) || 'it failed';

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function call(program: string, args: readonly string[]): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(program, [...args], { env, timeout: 10_000, maxBuffer: 1024 * 1024 }, (error, out, err) => {
      resolve({ code: error ? (error.code ?? error.signal ?? 1) : 0, out, err: err || (error?.message ?? '') });
    });
  });
}
