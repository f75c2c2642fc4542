import { readKnobs } from '../../config/knobs.js';
import { namesIn } from '../../core/sorting.js';
import { daemon, pathFor, storer } from '../doctor/programs.js';
import { complete } from './ask.js';
import { type Answers, checkAnswers, dropIn } from './drop-in.js';
import { writeNew } from './new-file.js';

export type InitOptions = Partial<Answers> & { readonly write?: string; readonly htcondor?: boolean };

/** Prints a file for HTCondor's configuration, or writes one where none is. */
export async function runInit({ write, htcondor: _, ...given }: InitOptions): Promise<number> {
  const { stdin: input, stderr: output, env } = process;
  const answers = await complete(given, input.isTTY && output.isTTY ? { input, output } : undefined);
  checkAnswers(answers);
  // A configuration that cannot be read yet may be why somebody makes one.
  const knobs = await readKnobs(env).catch(() => undefined);
  const names = (knob: string) => namesIn(knobs?.get(knob)).filter((name) => name !== '*' && name !== answers.provider);
  const text = dropIn(answers, {
    daemon: pathFor(daemon, env),
    storer: pathFor(storer, env),
    others: {
      ours: names('CREDMON_PROVIDER_NAMES').length > 0,
      vault: names('VAULT_CREDMON_PROVIDER_NAMES').length > 0,
    },
  });
  if (write === undefined) {
    process.stdout.write(text);
    return 0;
  }
  writeNew(write, text);
  process.stderr.write(`credmon: wrote ${write}; next: condor_restart -master, then: credmon doctor\n`);
  return 0;
}
