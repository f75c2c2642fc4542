import { readdirSync, readFileSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import { lookUpAll } from '../../../broker/accounts.js';
import { nameTrouble } from '../../../core/names.js';
import { octal } from '../../../core/text.js';
import { toWatchMore, unwatchedInWords } from '../../../core/watching.js';
import { isAlive, lastTold, readSummary } from '../../../status/read.js';
import { isStray } from '../../../stores/atomic.js';
import type { Check } from '../check.js';
import { type Finding, teller } from '../finding.js';
import { lookAt } from '../look.js';
import type { World } from '../world.js';

const section = 'credential directory';
const tell = teller(section);

/** What a crash left is removed by credmond within a minute; HTCondor's own credmons leave theirs for ever. */
const strayMs = 3_600_000;
/** Folders that are looked into: nobody waits for more. */
const mostUsers = 5000;

/** Of condor_credd for HTCondor's web page (credd.cpp): with the client secret in clear. */
export const isKeyFile = (name: string): boolean => /^[0-9a-f]{64}$/.test(name);

interface Owners {
  /** Absent: there is no such account here. */
  readonly condor?: { readonly uid: number; readonly gid: number };
}

async function owners(): Promise<Owners> {
  const condor = (await lookUpAll(['condor'])).get('condor');
  return condor === undefined ? {} : { condor };
}

async function directory({ credDir: dir, root }: World): Promise<readonly Finding[]> {
  if (dir === undefined) return [];
  const { condor } = await owners();
  const stat = lookAt(dir);
  const make = { run: `install -d -o root -g condor -m 2770 ${dir}` };
  if (stat === 'hidden') return [tell.note('directory.hidden', `${dir} cannot be seen by you: run as root to see`)];
  if (stat === 'absent') return [tell.error('directory.absent', `${dir} does not exist`, { where: dir, mend: make })];
  if (!stat.isDirectory())
    return [
      tell.error('directory.odd', `${dir} is not a folder itself (a link is not followed)`, { where: dir, mend: make }),
    ];
  const mode = stat.mode & 0o7777;
  const found: Finding[] = [];
  if ((mode & 0o007) !== 0)
    found.push(
      tell.error('directory.open', `${dir} is open to everyone (mode ${octal(mode)}): credmond does not start`, {
        where: dir,
        mend: { run: `chmod 2770 ${dir}` },
      }),
    );
  else if (mode !== 0o2770)
    found.push(
      tell.warning('directory.mode', `${dir} has mode ${octal(mode)}, not 2770`, {
        where: dir,
        mend: { run: `chmod 2770 ${dir}` },
      }),
    );
  if (stat.uid !== 0 || (condor !== undefined && stat.gid !== condor.gid))
    found.push(
      tell.warning(
        'directory.owner',
        `${dir} belongs to uid ${stat.uid}, gid ${stat.gid}, not to root and group condor`,
        {
          where: dir,
          mend: { run: `chown root:condor ${dir}` },
        },
      ),
    );
  if (found.length > 0) return found;
  return [tell.ok('directory', `${dir}, mode ${octal(mode)}${root ? '' : '; what is in it only root can see'}`)];
}

/** Whether credmond is there and has looked at everything; users are told by the time of its last status file. */
function alive({ credDir: dir, root, config, clock }: World): readonly Finding[] {
  if (dir === undefined || typeof lookAt(dir) === 'string') return [];
  const start = { run: 'condor_on -subsystem CREDMON_OAUTH' };
  if (!root) {
    if (config === undefined) return [];
    const told = lastTold(config.statusDir);
    const limit = (2 * config.sweep + 10) * 1000;
    if (told !== undefined && clock.now() - told < limit)
      return [tell.ok('daemon', 'credmond has told of itself just now')];
    return [
      tell.error('daemon.silent', 'credmond does not run, or has not told of itself for a while', {
        where: config.statusDir,
        mend: { do: 'tell whoever runs this machine' },
      }),
    ];
  }
  const file = join(dir, 'pid');
  const pid = read(file)?.trim();
  if (pid === undefined || !/^\d{1,10}$/.test(pid))
    return [tell.error('daemon.no-pid', `no credmon has put its pid into ${file}`, { where: file, mend: start })];
  const command = read(`/proc/${pid}/cmdline`)?.replaceAll('\0', ' ');
  if (command === undefined || command === '')
    return [tell.error('daemon.dead', `${file} names pid ${pid}, which is not there`, { where: file, mend: start })];
  if (!/credmond(?:\.js)?(?:\s|$)/.test(command))
    return [
      tell.error('daemon.other', `${file} names pid ${pid}, which is not credmond`, {
        where: file,
        // condor_master goes by the configuration that it read last.
        mend: {
          run: 'condor_reconfig\ncondor_off -fast -subsystem CREDMON_OAUTH\ncondor_on -subsystem CREDMON_OAUTH',
        },
      }),
    ];
  if (lookAt(join(dir, 'CREDMON_COMPLETE')) === 'absent')
    return [
      tell.warning('daemon.incomplete', 'credmond has not looked at everything yet: there is no CREDMON_COMPLETE', {
        where: join(dir, 'CREDMON_COMPLETE'),
        mend: { run: 'tail "$(condor_config_val CREDMON_OAUTH_LOG)"' },
      }),
    ];
  return [tell.ok('daemon', `credmond runs (pid ${pid}) and has looked at everything`)];
}

/** Whether the system tells credmond of every change, by what credmond has told of itself. */
function watching({ root, config }: World): readonly Finding[] {
  const told = root && config ? readSummary(config.statusDir) : undefined;
  if (config === undefined || told?.unwatched === undefined || !isAlive(told.pid)) return [];
  const more = toWatchMore(told.unwatched);
  const mend = more === undefined ? { run: 'tail "$(condor_config_val CREDMON_OAUTH_LOG)"' } : { run: more.join('\n') };
  return [tell.warning('daemon.unwatched', unwatchedInWords(told.unwatched, config.sweep), { mend })];
}

/** What lies right in the directory and should not: key files with the client secret, and leftovers. */
function leftovers({ credDir: dir, root, clock }: World): readonly Finding[] {
  if (dir === undefined || !root) return [];
  const names = list(dir);
  const old = (name: string) => {
    const stat = lookAt(join(dir, name));
    return typeof stat === 'object' && stat.isFile() && clock.now() - stat.mtimeMs > strayMs;
  };
  const keys = names.filter((name) => isKeyFile(name) && /^ClientSecret\s*=/m.test(read(join(dir, name)) ?? ''));
  const strays = names.filter((name) => (isStray(name) || /^tmp\w+$/.test(name)) && old(name));
  return [
    ...(keys.length === 0
      ? []
      : [
          tell.warning(
            'keys.clear',
            `${count(keys.length, 'key file')} of HTCondor's web page hold the client secret in clear`,
            {
              where: dir,
              mend: { run: 'credmon migrate --apply' },
            },
          ),
        ]),
    ...(strays.length === 0
      ? []
      : [
          tell.note('strays', `${count(strays.length, 'leftover')} of writes that were cut short`, {
            where: dir,
            mend: {
              run: `rm ${strays
                .slice(0, 3)
                .map((name) => join(dir, name))
                .join(' ')}`,
            },
          }),
        ]),
  ];
}

/** Whether the users' folders and files are such that credmond believes them, and that nobody else can read them. */
async function contents({ credDir: dir, root }: World): Promise<readonly Finding[]> {
  if (dir === undefined || !root || typeof lookAt(dir) === 'string') return [];
  const { condor } = await owners();
  const believed = [0, ...(condor === undefined ? [] : [condor.uid])];
  const users = list(dir).filter((name) => nameTrouble(name) === undefined && isFolder(join(dir, name)));
  const strange: string[] = [];
  const open: string[] = [];
  let metas = 0;
  for (const user of users.slice(0, mostUsers)) {
    const folder = join(dir, user);
    const stat = lookAt(folder);
    if (typeof stat === 'object' && !isBelieved(stat, believed, condor?.gid)) strange.push(folder);
    for (const name of list(folder)) {
      if (!/\.(?:top|use|meta)$/.test(name)) continue;
      const file = lookAt(join(folder, name));
      if (typeof file === 'object' && file.isFile() && (file.mode & 0o077) !== 0) open.push(join(folder, name));
      if (name.endsWith('.meta')) metas++;
    }
  }
  const found: Finding[] = [];
  if (strange.length > 0)
    found.push(
      tell.warning(
        'folders.strange',
        `${count(strange.length, 'folder')} that credmond leaves alone, since others may write there: ${strange[0]}`,
        {
          where: dir,
          mend: {
            do: `look who owns what lies in it, remove what could be anybody’s, then chown condor:condor and chmod 2700 the folder; have the person log in again`,
          },
        },
      ),
    );
  if (open.length > 0)
    found.push(
      tell.warning(
        'files.open',
        `${count(open.length, 'credential file')} that others than their owner can read: ${open[0]}`,
        {
          where: dir,
          mend: { run: 'credmon migrate --apply' },
        },
      ),
    );
  if (metas > 0)
    found.push(
      tell.note('metas', `${count(metas, '.meta file')} of HTCondor's web page, with a client secret each`, {
        where: dir,
        mend: { run: 'credmon migrate' },
      }),
    );
  const people = users.length === 1 ? 'one user' : `${users.length} users`;
  return found.length > 0 ? found : [tell.ok('contents', `the credentials of ${people} are for root alone`)];
}

/** As credmond judges it (stores/condor.ts). */
const isBelieved = ({ uid, gid, mode }: Stats, believed: readonly number[], condor: number | undefined): boolean =>
  believed.includes(uid) && (mode & (gid === condor ? 0o002 : 0o022)) === 0;

const isFolder = (path: string): boolean => {
  const stat = lookAt(path);
  return typeof stat === 'object' && stat.isDirectory();
};

function list(path: string): readonly string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`;

export const directoryChecks = ({ credDir, condor }: World): readonly Check[] => {
  if (credDir === undefined) {
    const none = tell.error('directory.unset', 'no credential directory is configured', {
      where: 'SEC_CREDENTIAL_DIRECTORY_OAUTH',
      mend: { set: 'use feature : OAUTH' },
    });
    return condor ? [{ section, look: () => [none] }] : [];
  }
  return [directory, alive, watching, leftovers, contents].map((look) => ({ section, look }));
};
