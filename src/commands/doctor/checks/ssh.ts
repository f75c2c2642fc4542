import { connect } from 'node:net';
import { lookUp } from '../../../broker/accounts.js';
import type { Config } from '../../../core/config.js';
import { hasModule, moduleWords } from '../../../core/pam-stack.js';
import { promptFor } from '../../../core/sshd-config.js';
import { octal } from '../../../core/text.js';
import { changedSinceThen, type Installation, readInstallation } from '../../pam/apply.js';
import { build, findModule } from '../../pam/module.js';
import { filesOf, type Places, placesOf } from '../../pam/places.js';
import { pidFileOf, reloadCommand, runningAs } from '../../pam/reload.js';
import { findSshd, type Sshd } from '../../pam/sshd.js';
import type { Check } from '../check.js';
import { type Finding, teller } from '../finding.js';
import { folderAbove, lookAt } from '../look.js';
import type { World } from '../world.js';

const section = 'ssh logins';
const tell = teller(section);
const again = { run: 'credmon pam install --dry-run' };

/** What all of these look at. */
export interface SshWorld {
  readonly places: Places;
  readonly config: Pick<Config, 'pam' | 'broker'> | undefined;
  /** Undefined: only root may see it. */
  readonly installation: Installation | undefined;
  readonly sshd: Sshd | undefined;
}

export async function openSshWorld(
  config: SshWorld['config'],
  options: { readonly root?: string; readonly mayAsk: boolean },
): Promise<SshWorld> {
  const usual = placesOf(options);
  const installation = options.mayAsk ? await readInstallation(usual) : undefined;
  const places = placesOf({
    ...options,
    ...(installation?.manifest && { sshdConfig: installation.manifest.sshdConfig }),
  });
  return { places, config, installation, sshd: options.mayAsk ? await findSshd(places) : undefined };
}

function module({ places }: SshWorld): readonly Finding[] {
  const found = findModule(places.root);
  if (found === undefined)
    return [tell.error('ssh.module', 'pam_credmon.so is not installed', { mend: { run: build() } })];
  const { path, ours, open } = found;
  if (open)
    return [
      tell.error('ssh.module-open', `others than root may replace ${path}`, {
        where: path,
        mend: { run: `chown root:root ${path} && chmod 0644 ${path}` },
      }),
    ];
  if (ours === false)
    return [
      tell.warning('ssh.module-other', `${path} is not the one that was built here`, {
        where: path,
        mend: { run: build() },
      }),
    ];
  return [tell.ok('ssh.module', `${path} is there`)];
}

/** The module refuses a socket that others could have put in its place. */
async function socket({ places, config }: SshWorld): Promise<readonly Finding[]> {
  if (config?.pam === undefined)
    return [
      tell.error('ssh.off', 'the broker does not answer sshd: [pam] is not enabled', {
        where: 'CREDMON_PAM',
        mend: { do: 'set it, and who may log in: see docs/ssh.md' },
      }),
    ];
  const path = places.root + config.pam.socket;
  const where = { where: path };
  const stat = lookAt(path);
  const mend = { do: 'start the broker (systemctl start credmon-broker, or credmond), and see its log' };
  if (stat === 'hidden') return [];
  if (stat === 'absent' || !stat.isSocket())
    return [tell.error('ssh.socket', `no broker listens for sshd at ${path}`, { ...where, mend })];
  const account = await lookUp(config.broker.account).catch(() => undefined);
  const owners = [0, account?.uid ?? 0];
  if (!owners.includes(stat.uid) || (stat.mode & 0o077) !== 0)
    return [
      tell.error(
        'ssh.socket-open',
        `${path} has mode ${octal(stat.mode)} and owner ${stat.uid}: others than sshd could ask there`,
        { ...where, mend: { run: `chmod 0600 ${path}` } },
      ),
    ];
  const loose = folderAbove(path, ({ mode, uid }) => (mode & 0o022) !== 0 || !owners.includes(uid));
  if (loose !== undefined)
    return [
      tell.error('ssh.socket-folder', `the module does not trust ${path}: ${loose} is open to others, or theirs`, {
        where: loose,
        mend: { run: `chown root ${loose} && chmod go-w ${loose}` },
      }),
    ];
  if (process.geteuid?.() === 0 && !(await answers(path)))
    return [tell.error('ssh.silent', `nobody answers at ${path}`, { ...where, mend })];
  return [tell.ok('ssh.socket', `the broker’s socket for sshd is ${path}`)];
}

const answers = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const client = connect(path, () => end(true));
    const timer = setTimeout(() => end(false), 2000);
    const end = (good: boolean) => {
      clearTimeout(timer);
      client.destroy();
      resolve(good);
    };
    client.on('error', () => end(false));
  });

async function files(world: SshWorld): Promise<readonly Finding[]> {
  const { places, installation } = world;
  if (installation?.manifest === undefined) return [];
  const changed = await changedSinceThen(places, installation);
  if (changed.length > 0)
    return changed.map(({ path }) =>
      tell.warning('ssh.changed', `${places.root}${path} has been changed since credmon wrote it`, {
        where: path,
        mend: { run: 'credmon pam uninstall --dry-run' },
      }),
    );
  if (installation.manifest.state === 'begun')
    return [
      tell.error('ssh.begun', 'an installation was cut short', { mend: { do: 'run credmon pam install again' } }),
    ];
  return [tell.ok('ssh.files', 'all files are as credmon wrote them')];
}

/** sshd writes its pid file when it reads its configuration: one that is older than ours is of an sshd that does not know ours. */
function unread({ places: { root, dropIn }, installation }: SshWorld): readonly Finding[] {
  const pidFile = pidFileOf(installation?.manifest?.seen.everybody.pidfile);
  const [started, written] = [lookAt(root + pidFile), lookAt(root + dropIn)];
  if (typeof started === 'string' || typeof written === 'string' || started.mtimeMs >= written.mtimeMs) return [];
  if (runningAs(root + pidFile) === undefined) return [];
  return [
    tell.warning('ssh.unread', `sshd has not read ${root}${dropIn} yet`, {
      where: dropIn,
      mend: { run: reloadCommand(pidFile) },
    }),
  ];
}

/** The stack that sshd has, as far as it tells. */
function stackOf({ places, installation }: SshWorld): { readonly path: string; readonly text: string } {
  const path = `${places.pamDirs[0]}/${installation?.manifest?.service ?? 'sshd'}`;
  return { path, text: filesOf(places).read(path) ?? '' };
}

function stack(world: SshWorld): readonly Finding[] {
  const { path, text } = stackOf(world);
  if (world.installation?.manifest?.way === 'hook') return [];
  if (!hasModule(text))
    return [
      tell.warning('ssh.stack', `sshd does not ask the broker: ${path} has no pam_credmon.so`, {
        where: path,
        mend: again,
      }),
    ];
  const words = moduleWords(text);
  const login = words.auth?.includes('mode=login') ?? false;
  if (words.session === undefined)
    return [
      tell.error('ssh.session', `${path} has no session line: no credential is ever kept`, {
        where: path,
        mend: again,
      }),
    ];
  if (words.auth === undefined || (login && words.account === undefined))
    return [
      tell.error(
        'ssh.account',
        `${path} has no ${words.auth === undefined ? 'auth' : 'account'} line with pam_credmon.so: whoever comes by another method is not asked`,
        { where: path, mend: again },
      ),
    ];
  return [tell.ok('ssh.stack', `${path} asks the broker (${login ? 'login' : 'seed'})`)];
}

/** What sshd does with all that. */
async function effective(world: SshWorld): Promise<readonly Finding[]> {
  const { sshd, places } = world;
  const { text } = stackOf(world);
  if (sshd === undefined || !hasModule(text)) return [];
  const where = { where: places.sshdConfig };
  const trouble = await sshd.test();
  if (trouble !== undefined)
    return [
      tell.error('ssh.broken', `sshd -t finds a fault: ${trouble}`, {
        ...where,
        mend: { do: 'mend that before sshd is restarted: it would not come up' },
      }),
    ];
  const told = await sshd.effective('nobody');
  if ('trouble' in told)
    return [
      tell.warning('ssh.unknown', `sshd -T does not say what counts: ${told.trouble}`, {
        ...where,
        mend: { run: 'sshd -T -C user=nobody' },
      }),
    ];
  const of = (keyword: string) => told.get(keyword)?.[0] ?? '';
  const found: Finding[] = [];
  const off = (keyword: string, name: string) => {
    if (of(keyword) === 'yes') return;
    found.push(
      tell.error(`ssh.${keyword}`, `sshd has ${name} ${of(keyword)}: nobody is asked for anything`, {
        ...where,
        mend: again,
      }),
    );
  };
  off('usepam', 'UsePAM');
  off('kbdinteractiveauthentication', 'KbdInteractiveAuthentication');
  const words = moduleWords(text);
  const methods = of('authenticationmethods');
  if (words.auth?.includes('mode=login') && !/^\S*keyboard-interactive(?::pam)?(?:\s|$)/.test(methods))
    found.push(
      tell.error(
        'ssh.methods',
        `sshd has AuthenticationMethods ${methods}: a key alone gets past the dialogue, and PAM then refuses it`,
        { ...where, mend: again },
      ),
    );
  // Forbidden after credmon pam install has switched the dialogue on, whose drop-in counts before what follows it.
  if (!words.auth?.includes('mode=login') && methods === 'any' && of('passwordauthentication') === 'no')
    found.push(
      tell.error(
        'ssh.passwords',
        'sshd has PasswordAuthentication no, and takes passwords all the same, by KbdInteractiveAuthentication yes',
        { ...where, mend: { run: 'credmon pam uninstall' } },
      ),
    );
  const timeout = Number(words.auth?.find((word) => word.startsWith('timeout='))?.slice(8) ?? 280);
  const grace = Number(of('logingracetime'));
  if (grace > 0 && grace < timeout + 10)
    found.push(
      tell.warning(
        'ssh.grace',
        `sshd hangs up after ${grace} s (LoginGraceTime), before the module gives up (${timeout} s)`,
        {
          ...where,
          mend: { do: 'set LoginGraceTime 300, or timeout= in the PAM stack' },
        },
      ),
    );
  const [begin = '10'] = of('maxstartups').split(':');
  if (Number(begin) < 30)
    found.push(
      tell.note(
        'ssh.startups',
        `sshd turns newcomers away from ${begin} unfinished logins on: whoever approves holds a place`,
        {
          ...where,
          mend: { do: 'set MaxStartups 250:30:400' },
        },
      ),
    );
  return found.length > 0 ? found : [tell.ok('ssh.sshd', 'sshd’s settings fit')];
}

function prompt({ places, sshd, installation }: SshWorld): readonly Finding[] {
  if (sshd?.version === undefined) return [];
  const wanted = installation?.manifest?.asked.prompt ?? promptFor(sshd.version);
  const word = (filesOf(places).read(places.prompt) ?? '').trim().split(/\s/)[0] ?? '';
  const is = word === 'never' ? 'never' : 'always';
  const version = `OpenSSH ${sshd.version.join('.')}`;
  if (is === wanted)
    return [
      tell.ok('ssh.prompt', `${version}: ${is === 'never' ? 'text is shown at once' : 'all text is in the prompt'}`),
    ];
  const mend = { run: 'credmon pam install' };
  const where = { where: places.prompt };
  return is === 'never'
    ? [
        tell.error('ssh.prompt', `${version} shows no text before a prompt, and ${places.prompt} says that it does`, {
          ...where,
          mend,
        }),
      ]
    : [tell.note('ssh.prompt', `${version} would show text at once, without Enter`, { ...where, mend })];
}

const looks = [module, socket, files, unread, stack, effective, prompt] as const;

/** The same for `credmon pam status`. */
export async function sshFindings(world: SshWorld): Promise<readonly Finding[]> {
  const found: Finding[] = [];
  for (const look of looks) found.push(...(await look(world)));
  return found;
}

/** Where ssh logins are switched on. */
export function sshChecks({ config, root }: World): readonly Check[] {
  if (config?.pam === undefined) return [];
  return [{ section, limitMs: 30_000, look: async () => sshFindings(await openSshWorld(config, { mayAsk: root })) }];
}
