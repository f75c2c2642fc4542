import { spawn } from 'node:child_process';
import { writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { argumentOf, type ServiceRequest } from '../core/request.js';
import { openTerminal } from '../system/terminal.js';
import { newline } from './say.js';

const login = fileURLToPath(new URL('../../bin/credmon.js', import.meta.url));

/** The login's own screen, with the terminal as its streams: its exit code; undefined: there is no terminal to be had. */
export async function loginHere(
  options: readonly string[],
  requests: readonly ServiceRequest[],
): Promise<number | undefined> {
  const terminal = process.env.CREDMON_STORER_LOGIN === 'never' ? undefined : openTerminal();
  if (terminal === undefined) return undefined;
  try {
    // Where standard error is no terminal, the line that condor_submit has begun on this one still stands open.
    if (process.stderr.isTTY === true) newline();
    else writeSync(terminal.fd, '\n');
    const words = requests.flatMap((request) => ['--request', argumentOf(request)]);
    return await run(process.execPath, [login, 'login', ...options, ...words], {
      stdio: [terminal.fd, terminal.fd, terminal.fd],
      env: process.env,
    });
  } finally {
    terminal.close();
  }
}

interface Run {
  readonly stdio: (number | 'ignore')[];
  readonly env: NodeJS.ProcessEnv;
  readonly timeout?: number;
}

/** Exit code of a program; 127 where it cannot be started. */
export function run(program: string, args: readonly string[], options: Run): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(program, args, { ...options, killSignal: 'SIGKILL' });
    child.once('error', () => resolve(127));
    child.once('exit', (code) => resolve(code ?? 1));
  });
}
