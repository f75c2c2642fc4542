import { closeSync, constants, fstatSync, futimesSync, lstatSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { Failed, failureOf } from '../core/failure.js';
import { octal } from '../core/text.js';
import { type DirHandle, openDir, removeSecret, stampAt, writeSecret } from '../stores/atomic.js';
import { lockFolder } from '../system/lock.js';

const isRoot = process.getuid?.() === 0;
/** HTCondor's names: credmon_interface.cpp, condor_credmon_oauth. */
const pidFile = 'pid';
const complete = 'CREDMON_COMPLETE';

interface Claim {
  /** What of it could not be written yet: that is tried again when everything was looked at. */
  readonly trouble?: string;
  completed(): Promise<void>;
  /** Takes away what condor_credd marks a user with whose credentials it will remove. */
  unmark(user: string): Promise<void>;
  release(): Promise<void>;
}

/**
 * The credential directory as condor_credd expects it of a credmon: ours alone, our pid in it, and CREDMON_COMPLETE only when
 * everything was looked at. Throws Failed; 'unsupported' with code 'taken' when another credmon has it.
 */
export async function claimDirectory(dir: string): Promise<Claim> {
  const stat = lstatSync(dir, { throwIfNoEntry: false });
  if (stat === undefined) {
    throw config(
      `the credential directory ${dir} does not exist`,
      `run: install -d -o root -g condor -m 2770 ${dir} (or check SEC_CREDENTIAL_DIRECTORY_OAUTH)`,
    );
  }
  if (!stat.isDirectory())
    throw config(
      `the credential directory ${dir} is not a directory`,
      'a symbolic link is not followed: name the directory itself',
    );
  if ((stat.mode & 0o007) !== 0) {
    throw config(
      `the credential directory ${dir} is open to everyone (mode ${octal(stat.mode)})`,
      `run: chmod 2770 ${dir}`,
    );
  }
  if (!(await lockFolder(dir))) {
    throw new Failed({
      kind: 'unsupported',
      code: 'taken',
      what: `another credmond keeps ${dir} already`,
      hint: `its pid is in ${join(dir, pidFile)}`,
    });
  }
  // Held open, and written as everything in it is: the directory is condor's group's, and we are root.
  const folder = openDir(dir);
  if (isRoot && !folder.pinned) {
    folder.close();
    throw new Failed({
      kind: 'unsupported',
      what: `/proc is not there, without which root cannot be sure where in ${dir} it writes`,
      hint: 'mount it: mount -t proc proc /proc',
    });
  }
  const write = (name: string, text: string) => writeSecret(folder, name, text, { mode: 0o644, durable: false });
  let trouble: string | undefined;
  try {
    await removeSecret(folder, complete, { durable: false });
    await write(pidFile, String(process.pid));
  } catch (thrown) {
    // A disk that is full when we come up may have room in a minute; condor_master's next try may be an hour away.
    if (failureOf(thrown)?.kind !== 'storage') throw thrown;
    trouble = (thrown as Error).message;
    // Of one before us, whose number may be another process's by now: condor_credd would send that its signals.
    await removeSecret(folder, pidFile, { durable: false }).catch(() => {});
  }
  return {
    ...(trouble !== undefined && { trouble }),
    completed: async () => {
      // Without it condor_credd could not tell us of anything.
      if (trouble !== undefined || stampAt(folder, pidFile) === undefined) await write(pidFile, String(process.pid));
      trouble = undefined;
      if (!touched(folder, complete)) await write(complete, '');
    },
    unmark: (user) => removeSecret(folder, `${user}.mark`, { durable: false }).then(() => {}),
    release: () => removeSecret(folder, pidFile, { durable: false }).then(() => {}),
  };
}

/**
 * Whether it was there and bears the time of now. To replace it would change the directory, and that is listed anew when it
 * was changed.
 */
function touched(folder: DirHandle, name: string): boolean {
  let fd: number | undefined;
  try {
    fd = openSync(folder.at(name), constants.O_WRONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const stat = fstatSync(fd);
    if (!stat.isFile() || stat.nlink > 1 || stat.uid !== process.geteuid?.()) return false;
    const now = new Date();
    futimesSync(fd, now, now);
    return true;
  } catch {
    return false;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

const config = (what: string, hint: string): Failed => new Failed({ kind: 'config', what, hint });
