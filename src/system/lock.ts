import { spawn } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { Failed } from '../core/failure.js';

/** util-linux is there on every system that HTCondor runs on. */
const taken = 1;

/**
 * Takes an exclusive lock on a folder, for as long as this process lives: flock(2), which the kernel gives back whatever
 * becomes of us. Node cannot call it, but the lock belongs to the open file that flock(1) inherits from us, so it stays when
 * flock(1) has gone. Resolves to how to give it back; undefined when another process has it. Throws Failed('storage').
 */
export async function lockFolder(path: string): Promise<(() => void) | undefined> {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    throw new Failed(
      { kind: 'storage', what: `cannot open ${path} (${code})`, hint: 'look at its owner and mode' },
      { cause },
    );
  }
  const code = await new Promise<number | null>((resolve) => {
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };
    const child = spawn('flock', ['--exclusive', '--nonblock', '3'], {
      env,
      stdio: ['ignore', 'ignore', 'ignore', fd],
    });
    child.on('error', () => resolve(null));
    child.on('exit', resolve);
  });
  if (code === 0) return () => closeSync(fd);
  closeSync(fd);
  if (code === taken) return undefined;
  throw new Failed({ kind: 'unsupported', what: 'flock(1) does not work here', hint: 'install util-linux' });
}
