import { fail } from '../../core/failure.js';
import { plain } from '../../core/text.js';
import { lookAtProgram } from '../doctor/programs.js';
import type { KnobPlan } from './plan.js';
import type { Survey } from './survey.js';

export interface RefuseParts {
  readonly knobs: Pick<KnobPlan, 'remarks'>;
  /** Undefined: nothing could be seen. */
  readonly survey: Pick<Survey, 'doubts'> | undefined;
  /** The paths that CREDMON_OAUTH and SEC_CREDENTIAL_STORER will name. */
  readonly programs: readonly string[];
  readonly force: boolean;
}

/** Whether it may be done at all. Throws Failed, with what stands in the way and what helps. */
export function refuse({ knobs: { remarks }, survey, programs, force }: RefuseParts): void {
  const absent = remarks.find(({ what }) => / is not installed: /.test(what));
  if (absent) fail('unsupported', absent.what, 'install credmon where every user can run it, for example in /usr');
  for (const path of programs) replaceable(path);
  const loss = remarks.find(({ kind }) => kind === 'loss');
  if (loss && !force) fail('config', loss.what, 'to go ahead all the same: credmon migrate --apply --force');
  const open = survey?.doubts.find(({ path }) => path === '');
  if (open && !force)
    fail(
      'config',
      plain(open.what, 600),
      'look at what is there; to go ahead all the same: credmon migrate --apply --force',
    );
}

/** condor_master runs the one as root, and everybody’s condor_submit the other: whoever replaces them is root, or everybody. */
function replaceable(program: string): void {
  const { open } = lookAtProgram(program);
  if (open === undefined) return;
  const [shown, where] = [plain(program, 300), plain(open, 300)];
  fail(
    'unsupported',
    `others than root may replace ${shown}: ${where} is theirs, or open to them`,
    `run: chown root ${where} && chmod go-w ${where}, or install credmon in /usr (--force does not help here)`,
  );
}
