import type { Failure } from '../core/failure.js';
import { redact } from '../core/redact.js';
import { plain } from '../core/text.js';

/** condor_submit has written "Submitting job(s)" without a newline, and all that people see of us is what we write. */
let begun = false;

export function newline(): void {
  if (!begun) process.stderr.write('\n');
  begun = true;
}

export function say(kind: 'error' | 'hint' | 'warning', text: string): void {
  newline();
  process.stderr.write(`credmon-storer: ${kind}: ${plain(redact(text), 2000)}\n`);
}

export function tell({ what, hint }: Failure): void {
  say('error', what);
  if (hint !== undefined) say('hint', hint);
}
