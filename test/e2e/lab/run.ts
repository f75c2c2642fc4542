import { spawn } from 'node:child_process';

/** What a program left behind. `code` is 128 + n when signal n ended it, as a shell would say. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** What the program reads; its stdin is at its end at once without it. */
  readonly stdin?: string;
  /** Milliseconds until it is killed and the promise rejects; two minutes if not given. */
  readonly limit?: number;
}

const signals = { SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGTERM: 15 } as Record<string, number>;

/** Runs a program to its end. Rejects only if it cannot be started or outlives its limit. */
export function run(argv: readonly string[], { stdin = '', limit = 120_000 }: RunOptions = {}): Promise<Outcome> {
  const [file = '', ...args] = argv;
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio: 'pipe' });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
    child.stdin.on('error', () => undefined); // it may end without reading
    child.stdin.end(stdin);
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      child.stdout.destroy(); // a grandchild may hold the pipes open
      child.stderr.destroy();
      reject(new Error(`still running after ${limit} ms: ${argv.join(' ')}\n${stdout}${stderr}`));
    }, limit);
    child.on('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code: code ?? 128 + (signals[signal ?? ''] ?? 0), stdout, stderr });
    });
  });
}

/** Runs a program that has to succeed, and returns its stdout. */
export async function must(argv: readonly string[], options?: RunOptions): Promise<string> {
  const { code, stdout, stderr } = await run(argv, options);
  if (code !== 0) throw new Error(`exit ${code}: ${argv.join(' ')}\n${stdout}${stderr}`);
  return stdout;
}
