import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import { Failed } from '../core/failure.js';
import { openDir, removeSecret, writeSecret } from '../stores/atomic.js';
import { lockFolder } from '../system/lock.js';

/** HTCondor's names: credmon_interface.cpp, condor_credmon_oauth. */
const pidFile = 'pid';
const complete = 'CREDMON_COMPLETE';
/**
 * The credential directory as condor_credd expects it of a credmon: ours alone, our pid in it, and CREDMON_COMPLETE only when
 * everything was looked at. Throws Failed; 'unsupported' with code 'taken' when another credmon has it.
 */
export async function claimDirectory(dir: string): Promise<{ completed(): Promise<void>; release(): Promise<void> }> {
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
    const mode = (stat.mode & 0o7777).toString(8).padStart(4, '0');
    throw config(`the credential directory ${dir} is open to everyone (mode ${mode})`, `run: chmod 2770 ${dir}`);
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
  const write = (name: string, text: string) => writeSecret(folder, name, text, { mode: 0o644, durable: false });
  await removeSecret(folder, complete, { durable: false });
  await write(pidFile, String(process.pid));
  return {
    completed: () => write(complete, '').then(() => {}),
    release: () => removeSecret(folder, pidFile, { durable: false }).then(() => {}),
  };
}

const config = (what: string, hint: string): Failed => new Failed({ kind: 'config', what, hint });
