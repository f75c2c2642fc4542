import { chmodSync } from 'node:fs';
import { chmod, lstat, mkdir, stat, unlink } from 'node:fs/promises';
import { connect, type Server } from 'node:net';
import { dirname } from 'node:path';
import { Failed } from '../core/failure.js';
import type { Log } from '../core/ports.js';
import { octal } from '../core/text.js';
import { codeOf, storageFailed } from './trouble.js';

/** Where to listen: at a path that is made, or at a socket that systemd made, by its descriptor (sd_listen_fds(3)). */
export type Listening =
  | { readonly path: string; readonly mode: number; readonly folderMode: number; readonly fd?: never }
  | { readonly fd: number };

/** Resolves when it listens. Throws Failed: `config` for folders and sockets of others, else `storage`. */
export async function listen(server: Server, where: Listening, log: Log): Promise<void> {
  const name = where.fd === undefined ? where.path : `systemd's socket (descriptor ${where.fd})`;
  if (where.fd === undefined) await prepare(where.path, where.folderMode, log);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(where.fd === undefined ? { path: where.path } : { fd: where.fd }, () => {
        server.off('error', reject);
        resolve();
      });
    });
    if (where.fd === undefined) chmodSync(where.path, where.mode);
  } catch (thrown) {
    throw storageFailed('listen at', name, thrown);
  }
  server.on('error', (error) => log.error(`the socket ${name}: ${codeOf(error)}`));
  log.info(`listening at ${name}`);
}

async function prepare(path: string, folderMode: number, log: Log): Promise<void> {
  const folder = dirname(path);
  try {
    // The umask may have taken something away from what was made; a folder that was there is left as it is.
    if ((await mkdir(folder, { recursive: true, mode: 0o755 })) !== undefined) await chmod(folder, folderMode);
    const { mode } = await stat(folder);
    if ((mode & 0o022) !== 0 && (mode & 0o1000) === 0) throw taken(folder, 'is a folder that others may write to');
    if ((mode & 0o001) === 0) log.warn(`nobody else can reach ${path}: ${folder} has mode ${octal(mode)}`);
    await removeStale(path);
  } catch (thrown) {
    throw storageFailed('listen at', path, thrown);
  }
}

/** A broker that died leaves its socket: it is taken away only if it is a socket and nobody answers there. */
async function removeStale(path: string): Promise<void> {
  const found = await lstat(path).catch((thrown) => {
    if (codeOf(thrown) === 'ENOENT') return undefined;
    throw thrown;
  });
  if (found === undefined) return;
  if (!found.isSocket()) throw taken(path, 'is not a socket');
  if (await answers(path)) throw taken(path, 'is the socket of another broker that is running');
  await unlink(path);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error) => {
      const code = codeOf(error);
      if (code === 'ECONNREFUSED' || code === 'ENOENT') resolve(false);
      // EAGAIN: somebody listens, and has no time.
      else if (code === 'EAGAIN') resolve(true);
      else reject(error);
    });
  });
}

const taken = (path: string, what: string): Failed =>
  new Failed({ kind: 'config', what: `${path} ${what}`, hint: 'stop or remove it, or configure another socket' });
