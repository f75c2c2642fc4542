import { plain } from '../../core/text.js';
import { fold } from '../../login/faces/width.js';
import type { KnobPlan, Predecessor } from './plan.js';
import type { Survey } from './survey.js';
import type { Undone } from './undo.js';

const whose: Readonly<Record<Predecessor, string>> = {
  python: 'HTCondor’s own credmon (condor_credmon_oauth)',
  rust: 'IceCube’s credmon (condor_credmon_rust)',
  credmon: 'credmond already',
  unknown: 'a program that is not known here',
  none: 'no credmon',
};

export interface Told {
  readonly knobs: KnobPlan;
  /** Undefined: it cannot be seen, for want of root's rights or of the directory. */
  readonly survey: Survey | undefined;
  /** Why not. */
  readonly unseen?: string;
  readonly dropIn: string | undefined;
  readonly applied: boolean;
}

/** What would be done, or was. Commands and lines of configuration are not folded. */
export function tell({ knobs, survey, unseen, dropIn, applied }: Told, columns: number): string[] {
  const wrap = (text: string, deep = false) => {
    const pad = deep ? '    ' : '  ';
    return fold(plain(text, 2000), Math.max(20, columns - pad.length), deep ? 0 : 2).map((line) => pad + line);
  };
  const lines = [...fold(`condor_master starts ${whose[knobs.from]}.`, columns)];
  const part = (title: string, body: readonly string[]) => {
    if (body.length > 0) lines.push('', ...fold(title, columns, 2), ...body);
  };
  const done = applied ? 'changed' : 'to change';
  part(
    `Configuration ${done}${dropIn === undefined ? '' : `, in ${plain(dropIn, 300)}`}`,
    knobs.changes.flatMap(({ knob, from, to, why }) => [
      `  ${plain(knob)} = ${plain(to, 2000)}`,
      ...wrap(`${from === undefined ? 'not set before' : `it was: ${from}`}; ${why}`, true),
    ]),
  );
  if (knobs.changes.length === 0) part('Configuration', ['  nothing to change']);
  if (survey === undefined) part('Credentials', wrap(unseen ?? 'they cannot be seen'));
  else {
    const { taken, left } = counts(survey);
    part('Credentials taken over as they are', taken.length > 0 ? taken.flatMap((text) => wrap(text)) : ['  none']);
    part(
      'Credentials that cannot be taken over',
      left.flatMap((text) => wrap(text)),
    );
    part(
      'For you to look at',
      survey.doubts.flatMap(({ what }) => wrap(what)),
    );
    part(
      `Files ${applied ? 'mended' : 'to mend'} in the credential directory`,
      works(survey).flatMap((text) => wrap(text)),
    );
    part(
      'Left as they are',
      survey.notes.flatMap((text) => wrap(text)),
    );
  }
  const remarks = (kind: string) => knobs.remarks.filter((remark) => remark.kind === kind);
  part(
    'Would be lost',
    remarks('loss').flatMap(({ what }) => wrap(what)),
  );
  part(
    'Notes',
    remarks('note').flatMap(({ what }) => wrap(what)),
  );
  part(
    'For you to do',
    remarks('task').flatMap(({ what, run }) => [
      ...wrap(what),
      ...(run === undefined ? [] : [`    ${plain(run, 2000)}`]),
    ]),
  );
  return lines;
}

export interface AppliedToo {
  readonly backup: string;
  readonly skipped: readonly string[];
  /** Knobs that have another value in spite of the new file. */
  readonly overridden: readonly string[];
  readonly next: readonly string[];
}

/** What is said after what was done. Names in the credential directory are whatever those chose who could write there. */
export const tellApplied = ({ backup, skipped, overridden, next }: AppliedToo): readonly string[] => [
  ...skipped.map((path) => `${plain(path, 300) || '.'} changed meanwhile and was left alone: run this again.`),
  ...overridden.map((knob) => `${plain(knob)} is set again elsewhere, later: see condor_config_val -v ${plain(knob)}`),
  `What it takes to undo this is in ${plain(backup, 300)} (credmon migrate --undo).`,
  ...tellNext(next),
];

export const tellUndone = ({
  restored,
  dropIn,
  left,
  next,
}: Pick<Undone, 'restored' | 'dropIn' | 'left'> & { readonly next: readonly string[] }): readonly string[] => [
  `Put back: ${restored} ${restored === 1 ? 'file or folder' : 'files and folders'}, and HTCondor’s configuration (${plain(dropIn, 300)}).`,
  ...left.map((text) => `Not as before: ${plain(text, 600)}.`),
  ...tellNext(next),
];

const tellNext = (commands: readonly string[]) => ['Next, run:', ...commands.map((command) => `  ${command}`)];

/** By provider: how many credentials, and of how many users; and those that cannot be, by reason. */
export function counts({ credentials }: Survey): {
  readonly taken: readonly string[];
  readonly left: readonly string[];
} {
  const groups = (keyOf: (one: Survey['credentials'][number]) => string | undefined) => {
    const found = new Map<string, Survey['credentials'][number][]>();
    for (const one of credentials) {
      const key = keyOf(one);
      if (key !== undefined) found.set(key, [...(found.get(key) ?? []), one]);
    }
    return [...found];
  };
  const many = (n: number, what: string) => `${n} ${what}${n === 1 ? '' : 's'}`;
  const taken = groups(({ provider, why }) => (why === undefined ? provider : undefined)).map(
    ([provider, all]) =>
      `${provider}: ${many(all.length, 'credential')} of ${many(new Set(all.map(({ user }) => user)).size, 'user')}`,
  );
  const left = groups(({ why }) => why).map(([why, all]) => {
    const names = all.slice(0, 5).map(({ user, name }) => `${user}/${name}`);
    return `${names.join(', ')}${all.length > 5 ? ` and ${all.length - 5} more` : ''}: ${why}`;
  });
  return { taken, left };
}

/** Files that are listed one by one. */
const most = 10;

function works({ works: all }: Survey): readonly string[] {
  const modes = all.flatMap((work) => (work.kind === 'mode' ? [work] : []));
  const gone = all.filter(({ kind }) => kind === 'remove').map(({ path }) => path);
  const metas = gone.filter((path) => path.endsWith('.meta'));
  const keys = gone.length - metas.length;
  return [
    ...modes
      .slice(0, most)
      .map(
        ({ path, mode, uid, gid }) => `${path || '.'}: mode ${mode.toString(8).padStart(4, '0')}, owner ${uid}:${gid}`,
      ),
    ...(modes.length > most ? [`and ${modes.length - most} more (all of them: --json)`] : []),
    ...(metas.length > 0
      ? [
          `${metas.length} × .meta removed, each with a copy of the configured client's secret: ${metas.slice(0, 5).join(', ')}${metas.length > 5 ? ', …' : ''}`,
        ]
      : []),
    ...(keys > 0 ? [`${keys} × key file of HTCondor's web page removed, each with the client secret`] : []),
  ];
}
