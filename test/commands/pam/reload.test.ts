import { spawn } from 'node:child_process';
import { existsSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { reloadSshd } from '../../../src/commands/pam/reload.js';
import { failureOf } from '../../../src/core/failure.js';
import { room } from '../room.js';

/** A program of this name, which a SIGHUP ends. */
function started(name: string) {
  const dir = room();
  symlinkSync('/bin/sh', join(dir, name));
  const child = spawn(join(dir, name), ['-c', 'read line'], { stdio: ['pipe', 'ignore', 'ignore'] });
  onTestFinished(() => void child.kill());
  const pidFile = join(dir, 'pid');
  writeFileSync(pidFile, `${child.pid}\n`);
  return { child, pidFile };
}

// Where there is systemd its own sshd would be told.
const alone = test.skipIf(existsSync('/run/systemd/system'));

alone('sshd is told by its pid file to read its files (skipped under systemd)', async () => {
  const { child, pidFile } = started('sshd');
  const signal = new Promise((resolve) => child.once('exit', (_, how) => resolve(how)));
  await new Promise((resolve) => child.once('spawn', resolve));
  await reloadSshd(pidFile);
  expect(await signal).toBe('SIGHUP');
});

alone('a number that is another program’s by now is left alone (skipped under systemd)', async () => {
  const { child, pidFile } = started('other');
  await new Promise((resolve) => child.once('spawn', resolve));
  for (const file of [pidFile, 'none', '/no/such/file'])
    expect(await reloadSshd(file).catch(failureOf)).toMatchObject({ kind: 'unsupported' });
  expect(child.exitCode ?? child.signalCode).toBeNull();
});
