import { exitCode, failureOf } from '../core/failure.js';
import { redact } from '../core/redact.js';
import { plain } from '../core/text.js';

/** Tells a failure as every command does, and gives its exit code. What is not a failure is a bug: its trace is shown. */
export function report(thrown: unknown): number {
  const failure = failureOf(thrown);
  if (failure === undefined) {
    process.stderr.write(
      `credmon: error: this is a fault of credmon's own\n${redact(String((thrown as Error)?.stack ?? thrown))}\n`,
    );
    return 70;
  }
  process.stderr.write(`credmon: error: ${plain(redact(failure.what), 2000)}\n`);
  if (failure.hint !== undefined) process.stderr.write(`credmon: hint: ${plain(redact(failure.hint), 2000)}\n`);
  return exitCode(failure);
}
