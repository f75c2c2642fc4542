import { isAbsolute } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { loadConfig } from '../../config/load.js';
import { Failed, fail } from '../../core/failure.js';
import { plain } from '../../core/text.js';
import { fold } from '../../login/faces/width.js';
import { lockFolder } from '../../system/lock.js';
import { lookAt } from '../doctor/look.js';
import {
  type Change,
  changedSinceThen,
  changesFor,
  diffOf,
  type Installation,
  install,
  isNeeded,
  readInstallation,
  uninstall,
} from './apply.js';
import type { Asked, Manifest } from './backup.js';
import { hookFiles } from './hook.js';
import { build, findModule } from './module.js';
import { hasKey, membersOf, rootOf, whoRuns } from './people.js';
import { filesOf, type Places, placesOf } from './places.js';
import { type Plan, plan } from './plan.js';
import { pidFileOf, reloadCommand, reloadSshd } from './reload.js';
import { findSshd, type Sshd } from './sshd.js';
import { type Seen, survey } from './survey.js';
import { check } from './verify.js';

/** What is not given is as it was at the last installation. */
export interface InstallOptions {
  readonly mode?: 'login' | 'seed';
  readonly after?: 'key' | 'password';
  readonly exceptGroup?: readonly string[];
  /** False for --no-except, --no-hook. */
  readonly except: boolean;
  readonly hook: boolean;
  readonly prompt?: 'always' | 'never';
  readonly dryRun: boolean;
  readonly yes: boolean;
  readonly reload: boolean;
  readonly sshdConfig?: string;
  readonly service?: string;
  readonly root?: string;
  readonly config?: string;
}

const say = (lines: readonly string[]): void => void process.stdout.write(`${lines.join('\n')}\n`);
/** A terminal that does not know says 0. */
const columns = (): number => Math.max(40, process.stdout.columns || 100);

const words: Readonly<Record<Plan['way'], string>> = {
  login: 'the login by device is the ssh login, after a key',
  'seed-key': 'a credential is asked for after a key',
  'seed-password': 'a credential is asked for after a password',
  hook: 'the login hook alone',
};

/** What a run of this works on. */
interface Job {
  readonly places: Places;
  readonly installation: Installation;
  readonly asked: Asked;
  readonly service: string;
  readonly sshd: Sshd | undefined;
  readonly seen: Seen;
}

export async function runInstall(options: InstallOptions): Promise<number> {
  refuseOthers('install', options);
  refusePaths(options);
  return locked(placesOf(rootIn(options)), async () => {
    const installation = await readInstallation(placesOf(rootIn(options)));
    const { manifest } = installation;
    const sshdConfig = options.sshdConfig ?? manifest?.sshdConfig;
    const places = placesOf({ ...rootIn(options), ...(sshdConfig !== undefined && { sshdConfig }) });
    const sshd = await findSshd(places);
    const seen = await survey(places, installation, sshd);
    const service = options.service ?? manifest?.service ?? seen.everybody.get('pamservicename')?.[0] ?? 'sshd';
    const asked = askedBy(options, manifest);
    if (options.after !== undefined && asked.mode === 'login') fail('usage', '--after goes with --mode seed');
    const job: Job = { places, installation, asked, service, sshd, seen };
    const members = await membersOf(asked.groups, { root: places.root, files: seen.files });
    return write(options, job, members, await planFor(options.config, job));
  });
}

function refusePaths({ root, sshdConfig, service }: InstallOptions): void {
  for (const path of [root, sshdConfig])
    if (path !== undefined && !isAbsolute(path)) fail('usage', `${plain(path)} is not an absolute path`);
  if (service !== undefined && !/^\w[\w.-]*$/.test(service))
    fail('usage', `"${plain(service)}" cannot be the name of a PAM service`);
}

const rootIn = ({ root }: { readonly root?: string }) => (root === undefined ? {} : { root });

/** An upgrade of OpenSSH is followed by the same command without a word: it is not to take anybody's exception away. */
function askedBy(
  { mode, after, exceptGroup, except, hook, prompt }: InstallOptions,
  manifest: Manifest | undefined,
): Asked {
  const last = manifest?.asked;
  const factor = after ?? (mode === undefined || mode === last?.mode ? last?.after : undefined);
  const text = prompt ?? last?.prompt;
  return {
    mode: mode ?? last?.mode ?? 'login',
    ...(factor !== undefined && { after: factor }),
    groups: exceptGroup ?? last?.groups ?? [],
    noExcept: !except || (last?.noExcept ?? false),
    hook: hook && (last?.hook ?? true),
    ...(text !== undefined && { prompt: text }),
  };
}

async function planFor(
  file: string | undefined,
  { places, installation, asked, service, sshd, seen }: Job,
): Promise<Plan> {
  const { root: at } = places;
  const { manifest } = installation;
  const { files, everybody, root } = seen;
  const config = await loadConfig({ env: process.env, ...(file !== undefined && { file }) });
  const person = at === '' ? await whoRuns(process.env, everybody, files) : undefined;
  const wanted = plan(
    { ...asked, hook: asked.hook ? hookFiles(at, files, config.statusDir) : [] },
    {
      ...{ places, files, everybody, root, service, version: sshd?.version },
      ...{ pam: config.pam, account: config.broker.account },
      rootHasKey: hasKey(await rootOf(at), root, files),
      ...(person && { person }),
    },
  );
  const refusals = [...wanted.refusals];
  const remarks = [...wanted.remarks];
  if (manifest !== undefined && manifest.way !== wanted.way)
    refusals.unshift({
      kind: 'unsupported',
      what: `something else is installed (${words[manifest.way]})`,
      hint: 'run credmon pam uninstall first: between the two nobody is to be locked out',
    });
  if (wanted.way !== 'hook') {
    const module = findModule(at);
    if (module === undefined)
      refusals.push({ kind: 'unsupported', what: 'pam_credmon.so is not installed', hint: `run: ${build()}` });
    else if (module.ours === false) remarks.push(`${module.path} is not the one that was built here: ${build()}`);
    if (config.pam !== undefined && at === '' && lookAt(config.pam.socket) === 'absent')
      remarks.push(
        `no broker listens at ${config.pam.socket}: until one does ${asked.mode === 'login' ? 'only those who are excepted get in' : 'nobody is asked'}`,
      );
    if (sshd === undefined) remarks.push('there is no sshd that could be asked whether it takes this');
  }
  return { ...wanted, refusals, remarks };
}

async function write(options: InstallOptions, job: Job, members: readonly string[], wanted: Plan): Promise<number> {
  const { places, installation, asked, service, sshd, seen } = job;
  const { way, refusals, remarks, files } = wanted;
  const { manifest } = installation;
  const version = sshd?.version === undefined ? 'sshd' : `OpenSSH ${sshd.version.join('.')}`;
  say(fold(`${version}: ${words[way]}`, columns()));
  if (refusals.length > 0) {
    const [first] = refusals;
    for (const { what, hint } of refusals.slice(1))
      say(['', ...bullet(`${what}${hint === undefined ? '' : `: ${hint}`}`)]);
    throw new Failed(first ?? { kind: 'unsupported', what: '' });
  }
  const changes = await changesFor(places, installation, files);
  const needed = changes.filter(isNeeded);
  if (needed.length === 0 && manifest?.state === 'installed') {
    say(['Nothing is left to do: all of it is installed.']);
    return 0;
  }
  for (const change of needed) {
    const source = files.find(({ path }) => path === change.path)?.source;
    say(['', ...shown(isLong(change) ? inOneLine(places, change, source) : diffOf(places, change))]);
  }
  if (remarks.length > 0) say(['', 'To know:', ...remarks.flatMap(bullet)]);
  if (options.dryRun) {
    say(['', 'Nothing was changed. To do it, leave --dry-run out.']);
    return 0;
  }
  await confirm(options.yes, 'Write this?');
  const pidFile = pidFileOf(seen.everybody.get('pidfile'));
  await install({
    places,
    installation,
    changes,
    about: {
      ...{ way, asked, service, sshdConfig: places.sshdConfig },
      seen: { everybody: Object.fromEntries(seen.everybody), root: Object.fromEntries(seen.root) },
    },
    stack: way === 'hook' ? '' : `${places.pamDirs[0]}/${service}`,
    check: () => check(sshd, way === 'hook' ? {} : wanted.everybody, wanted.excepted, members),
    reload: () => (options.reload && way !== 'hook' ? reloadSshd(pidFile) : Promise.resolve()),
  });
  say(['', ...written(options.reload, places, way, pidFile)]);
  return 0;
}

function written(reload: boolean, { root, backup }: Places, way: Plan['way'], pidFile: string): readonly string[] {
  const kept = `Written; what was there before is kept in ${root}${backup}.`;
  if (way === 'hook') return [kept];
  const now = reload || root !== '' ? [] : ['sshd has not read it yet. Now:', `  ${reloadCommand(pidFile)}`];
  const till =
    now.length > 0 && way === 'login'
      ? fold('Until then people with keys are refused, for nobody has asked them for a login by device.', columns())
      : [];
  return [
    kept,
    ...now,
    ...till,
    ...fold('Keep this session open, and try in another one. To put everything back: credmon pam uninstall', columns()),
  ];
}

export interface UninstallOptions {
  readonly dryRun: boolean;
  readonly force: boolean;
  readonly yes: boolean;
  readonly reload: boolean;
  readonly root?: string;
}

export async function runUninstall(options: UninstallOptions): Promise<number> {
  const places = placesOf(rootIn(options));
  refuseOthers('uninstall', options);
  return locked(places, async () => {
    const installation = await readInstallation(places);
    const { manifest, before } = installation;
    if (manifest === undefined) {
      say(['Nothing is installed.']);
      return 0;
    }
    const changed = await changedSinceThen(places, installation);
    const [first] = changed;
    if (first !== undefined && !options.force) {
      for (const change of changed) say(shown(diffOf(places, change)));
      fail(
        'refused',
        `${places.root}${first.path} has been changed since credmon wrote it: above is what putting the old one back would do`,
        'take those changes out again, or say --force to lose them',
      );
    }
    const here = filesOf(places);
    for (const { path } of manifest.parts.toReversed()) {
      const text = here.read(path);
      const now = text === undefined ? undefined : { text, mode: 0, uid: 0, gid: 0 };
      const change: Change = { path, now, before: before.get(path), to: before.get(path)?.text };
      if (isNeeded(change)) say([...shown(isLong(change) ? inOneLine(places, change) : diffOf(places, change)), '']);
    }
    if (options.dryRun) {
      say(['Nothing was changed. To do it, leave --dry-run out.']);
      return 0;
    }
    await confirm(options.yes, 'Put this back?');
    const { restored } = await uninstall({ places, installation: { manifest, before }, force: options.force });
    const pidFile = pidFileOf(manifest.seen.everybody.pidfile);
    if (manifest.way !== 'hook' && options.reload) await reloadSshd(pidFile);
    say([`Put back: ${restored.join(', ') || 'nothing had to be'}.`]);
    if (manifest.way !== 'hook' && !options.reload && places.root === '')
      say(['sshd has not read it yet. Now:', `  ${reloadCommand(pidFile)}`]);
    return 0;
  });
}

function refuseOthers(verb: string, { root, reload }: Pick<UninstallOptions, 'root' | 'reload'>): void {
  if (root !== undefined && reload)
    fail('usage', '--reload is for the sshd of this machine, which --root is not about', 'leave one of the two out');
  if (root === undefined && process.geteuid?.() !== 0)
    fail('unsupported', 'only root can see and change what sshd and PAM are told', `run: sudo credmon pam ${verb}`);
}

/** One at a time. */
async function locked<T>({ root }: Places, work: () => Promise<T>): Promise<T> {
  const folder = `${root}/etc/pam.d`;
  const release = lookAt(folder) === 'absent' ? () => {} : await lockFolder(folder);
  if (release === undefined) return fail('unsupported', 'another credmon pam is at work', 'wait for it to end');
  try {
    return await work();
  } finally {
    release();
  }
}

/** Throws Failed: `usage` where nobody can be asked, `cancelled` for no. */
async function confirm(yes: boolean, question: string): Promise<void> {
  if (yes) return;
  const { stdin: input, stdout: output } = process;
  if (!input.isTTY || !output.isTTY) fail('usage', 'nothing was changed: there is no terminal to ask on', 'say --yes');
  const reader = createInterface({ input, output });
  try {
    const gone = new Promise<string>((resolve) => reader.once('close', () => resolve('')));
    const answer = await Promise.race([reader.question(`\n${question} [y/N] `), gone]);
    if (!/^y(es)?$/i.test(answer.trim())) fail('cancelled', 'nothing was changed');
  } finally {
    reader.close();
  }
}

const bullet = (text: string): readonly string[] => fold(`- ${text}`, columns(), 2);
/** A whole file among the differences would hide the lines that are to be judged. */
const isLong = ({ now, to }: Change): boolean =>
  (now === undefined || to === undefined) && (now?.text ?? to ?? '').split('\n').length > 30;

const inOneLine = ({ root }: Places, { path, to }: Change, source?: string): readonly string[] => [
  to === undefined
    ? `--- ${root}${path} is taken away`
    : `+++ ${root}${path} is new${source === undefined ? '' : `, a copy of ${source}`}`,
];

/** Files may have anything in them. */
const shown = (lines: readonly string[]): readonly string[] =>
  lines.map((line) => line.replace(/[^\t\x20-\x7e]/g, '?'));
