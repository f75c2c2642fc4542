import { readdirSync } from 'node:fs';
import { lookUpAll } from '../../broker/accounts.js';
import { type Knobs, readKnobs } from '../../config/knobs.js';
import { loadConfig } from '../../config/load.js';
import type { Config } from '../../core/config.js';
import { Failed, fail } from '../../core/failure.js';
import { namesIn, parseVersion } from '../../core/sorting.js';
import { harmlessJson } from '../../core/text.js';
import { systemClock } from '../../system/clock.js';
import { lockFolder } from '../../system/lock.js';
import { lookAt } from '../doctor/look.js';
import { daemon, findOurs, lookAtProgram, type OurProgram, pathFor, storer } from '../doctor/programs.js';
import { apply, backupsAt, dropInIn } from './apply.js';
import { openBackups } from './backup.js';
import { type KnobPlan, planKnobs, type Remark } from './plan.js';
import { refuse } from './refuse.js';
import { type Survey, survey } from './survey.js';
import { tell, tellApplied, tellUndone } from './text.js';
import { undo } from './undo.js';

export interface MigrateOptions {
  readonly apply: boolean;
  readonly undo: boolean;
  readonly force: boolean;
  readonly json: boolean;
  /** Default {@link backupsAt}. */
  readonly backups?: string;
}

const next = [
  'condor_reconfig',
  'condor_off -fast -subsystem CREDMON_OAUTH',
  'condor_on -subsystem CREDMON_OAUTH',
  'credmon doctor',
];

/** Says what taking over from another credmon means here; does it; undoes it. Throws Failed. */
export async function runMigrate(options: MigrateOptions): Promise<number> {
  const root = process.getuid?.() === 0;
  const { backups = backupsAt } = options;
  if ((options.apply || options.undo) && !root)
    fail(
      'unsupported',
      `only root can ${options.undo ? 'put back' : 'change'} HTCondor's configuration and everybody's credentials`,
      `run: sudo credmon migrate ${options.undo ? '--undo' : '--apply'}`,
    );
  return options.undo ? runUndo(options, backups) : runPlan(options, backups, root);
}

async function runPlan(options: MigrateOptions, backups: string, root: boolean): Promise<number> {
  const { env } = process;
  const knobs = await readKnobs(env);
  if (knobs === undefined)
    return fail(
      'unsupported',
      'HTCondor is not installed here (there is no condor_config_val)',
      'run this on an access point',
    );
  const config = await loadConfig({ env: { ...env, CREDMON_CONFIG: undefined } });
  if (!config.htcondor || config.providers.size === 0)
    return fail(
      'config',
      'HTCondor’s configuration names no provider that credmon could take over',
      'run: credmon config init --htcondor',
    );
  const programs = { daemon: pathFor(daemon, env), storer: pathFor(storer, env) };
  const plan = planKnobs(knobs, config, programs, parseVersion(knobs.get('CONDOR_VERSION') ?? ''));
  const { dir, unseen } = seen(config, root);
  const found =
    dir === undefined
      ? undefined
      : await survey({ dir, config, condor: (await lookUpAll(['condor'])).get('condor'), force: options.force });
  const dropIn = configFolder(knobs);
  const whole: KnobPlan = { ...plan, remarks: [...plan.remarks, ...setuid(knobs), ...missing(plan)] };
  const told = { knobs: whole, survey: found, dropIn, ...(unseen !== undefined && { unseen }) };
  if (!options.apply) {
    const nothing = plan.changes.length === 0 && (found === undefined || found.works.length === 0);
    const end = found?.doubts.length ? 'Nothing is left to do, but for what is said above.' : 'Nothing is left to do.';
    print(options.json, { ...told, applied: false }, {}, [
      '',
      nothing ? end : 'Nothing was changed. To do it: credmon migrate --apply',
    ]);
    return 0;
  }
  refuse({ knobs: whole, survey: found, programs: Object.values(programs), force: options.force });
  if (dropIn === undefined || dir === undefined || found === undefined)
    return fail(
      'config',
      unseen ?? 'LOCAL_CONFIG_DIR names no folder to put a file in',
      'set LOCAL_CONFIG_DIR in HTCondor’s configuration',
    );
  const { backup, skipped } = await locked(backups, () =>
    apply({ backups, dir, dropIn, changes: plan.changes, works: found.works, now: systemClock.now() }),
  );
  const overridden = await stillOther(whole);
  const result = { backup, skipped, overridden, next };
  print(options.json, { ...told, applied: true }, result, ['', ...tellApplied(result)]);
  return 0;
}

async function runUndo({ json }: MigrateOptions, backups: string): Promise<number> {
  const undone = await locked(backups, () => undo({ backups }));
  const result = { ...undone, next: next.slice(0, 3) };
  process.stdout.write(`${json ? harmlessJson({ v: 1, ...result }) : tellUndone(result).join('\n')}\n`);
  return 0;
}

/** One at a time. */
async function locked<T>(backups: string, work: () => Promise<T>): Promise<T> {
  openBackups(backups);
  const release = await lockFolder(backups);
  if (release === undefined)
    throw new Failed({ kind: 'unsupported', what: 'another credmon migrate is at work', hint: 'wait for it to end' });
  try {
    return await work();
  } finally {
    release();
  }
}

function seen(config: Config, root: boolean): { readonly dir?: string; readonly unseen?: string } {
  const { credDir } = config;
  if (credDir === undefined)
    return { unseen: 'no credential directory is configured (SEC_CREDENTIAL_DIRECTORY_OAUTH)' };
  if (lookAt(credDir) === 'absent') return { unseen: `${credDir} does not exist` };
  return root ? { dir: credDir } : { unseen: 'only root can see them: run this as root' };
}

/** The file to write, in the last folder of LOCAL_CONFIG_DIR that is there. */
function configFolder(knobs: Knobs): string | undefined {
  const folder = namesIn(knobs.get('LOCAL_CONFIG_DIR')).findLast((path) => {
    const stat = lookAt(path, true);
    return typeof stat === 'object' && stat.isDirectory();
  });
  return folder === undefined ? undefined : dropInIn(folder, readdirSync(folder));
}

/** IceCube's storer is setuid root, and runs Python with the environment of whoever calls it. */
function setuid(knobs: Knobs): readonly Remark[] {
  const path = knobs.get('SEC_CREDENTIAL_STORER');
  if (path === undefined || lookAtProgram(path).setuid !== true) return [];
  return [
    {
      kind: 'task',
      what: `${path} is setuid root, which nobody needs from now on: remove its package, or run`,
      run: `chmod ug-s ${path}`,
    },
  ];
}

/** Programs that the new configuration names have to be there. */
function missing({ changes }: KnobPlan): readonly Remark[] {
  const needed: readonly OurProgram[] = [daemon, storer];
  return needed
    .filter(
      (name) =>
        changes.some(({ to }) => to === pathFor(name, process.env)) && findOurs(name, process.env) === undefined,
    )
    .map((name) => ({ kind: 'task', what: `${name} is not installed: ${pathFor(name, process.env)} does not exist` }));
}

/** Knobs that have another value in spite of the new file. */
async function stillOther({ changes }: KnobPlan): Promise<readonly string[]> {
  const knobs = await readKnobs(process.env);
  return changes.filter(({ knob, to }) => !to.includes('$(') && knobs?.get(knob) !== to).map(({ knob }) => knob);
}

function print(
  json: boolean,
  told: Parameters<typeof tell>[0],
  more: Readonly<Record<string, unknown>>,
  end: readonly string[],
): void {
  if (json) {
    const { knobs, survey: found, dropIn, applied } = told;
    process.stdout.write(
      `${harmlessJson({ v: 1, applied, from: knobs.from, changes: knobs.changes, remarks: knobs.remarks, dropIn, ...(found as Survey), ...more })}\n`,
    );
    return;
  }
  process.stdout.write(`${[...tell(told, process.stdout.columns ?? 100), ...end].join('\n')}\n`);
}
