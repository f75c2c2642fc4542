import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fail } from '../../core/failure.js';

const units = ['ssh.service', 'sshd.service'];

/** Where sshd writes its number, when it starts and when it reads its files again. `said`: what sshd -T says, which may be `none`. */
export const pidFileOf = (said: readonly string[] | undefined): string => said?.[0] ?? '/run/sshd.pid';

/** The command that has sshd read its files again, for people to run. */
export const reloadCommand = (pidFile: string): string => {
  const unit = units.find((one) => existsSync(`/lib/systemd/system/${one}`)) ?? 'sshd.service';
  return existsSync('/run/systemd/system') ? `systemctl reload ${unit}` : `kill -HUP "$(cat ${pidFile})"`;
};

/**
 * Has sshd read its files again. One that is started for each connection reads them anyway. Throws Failed('unsupported') where
 * none is found.
 */
export async function reloadSshd(pidFile: string): Promise<void> {
  if (existsSync('/run/systemd/system')) {
    for (const unit of units) {
      if (!(await systemctl('is-active', '--quiet', unit))) continue;
      if (!(await systemctl('reload', unit)))
        fail('unsupported', `systemctl reload ${unit} failed`, `see: systemctl status ${unit}`);
      return;
    }
    for (const socket of ['ssh.socket', 'sshd.socket']) if (await systemctl('is-active', '--quiet', socket)) return;
  }
  const pid = runningAs(pidFile);
  if (pid === undefined)
    fail(
      'unsupported',
      'no sshd was found that could be told to read its files',
      'leave --reload out, and restart it yourself',
    );
  else process.kill(pid, 'SIGHUP');
}

const systemctl = (...args: readonly string[]): Promise<boolean> =>
  new Promise((resolve) => {
    execFile('systemctl', [...args], { timeout: 30_000 }, (error) => resolve(error === null));
  });

/** The sshd whose number is in the file; it may be another program's by now. */
export function runningAs(pidFile: string): number | undefined {
  try {
    const pid = Number(readFileSync(pidFile, 'utf8'));
    return Number.isInteger(pid) && pid > 1 && readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'sshd'
      ? pid
      : undefined;
  } catch {
    return undefined;
  }
}
