import { dirname } from 'node:path';
import { type Account, lookUp } from '../../../broker/accounts.js';
import { brokerAnswers } from '../../../broker/client.js';
import { octal } from '../../../core/text.js';
import type { Check } from '../check.js';
import { type Finding, teller } from '../finding.js';
import { lookAt } from '../look.js';
import type { World } from '../world.js';

const section = 'broker';
const tell = teller(section);

const account = async ({ config }: World): Promise<readonly Finding[]> => {
  if (config === undefined) return [];
  const { account: name } = config.broker;
  const where = 'CREDMON_BROKER_ACCOUNT';
  const found = await lookUp(name);
  if (found === undefined)
    return [
      tell.error(
        'broker.account',
        `there is no account ${name} for the broker to run as: nobody can log in to a provider with a secret`,
        {
          where,
          mend: { run: `useradd --system --no-create-home --shell /usr/sbin/nologin ${name}` },
        },
      ),
    ];
  if (found.uid === 0)
    return [
      tell.warning('broker.root', 'the broker runs as root, which is for demonstrations', {
        where,
        mend: { set: `${where} = credmon` },
      }),
    ];
  return [tell.ok('broker.account', `the broker runs as ${name} (uid ${found.uid})`)];
};

async function socket({ config }: World): Promise<readonly Finding[]> {
  if (config === undefined) return [];
  const { socket: path, start } = config.broker;
  const mend = { run: start ? 'tail "$(condor_config_val CREDMON_OAUTH_LOG)"' : 'systemctl status credmon-broker' };
  const stat = lookAt(path);
  if (typeof stat === 'string')
    return [
      tell.error('broker.socket', `no broker listens at ${path}: nobody can log in to a provider with a secret`, {
        where: path,
        mend,
      }),
    ];
  if (!stat.isSocket()) return [tell.error('broker.socket', `${path} is not a socket`, { where: path, mend })];
  if (await brokerAnswers(path)) return [tell.ok('broker.socket', `the broker answers at ${path}`)];
  return [tell.error('broker.silent', `nobody answers at ${path}`, { where: path, mend })];
}

/** The folders by which people show who they are, and by which grants come to credmond. */
async function folders({ config, root }: World): Promise<readonly Finding[]> {
  if (config === undefined) return [];
  const { broker, statusDir } = config;
  const owner = await lookUp(broker.account);
  const wanted: readonly (readonly [string, string, readonly number[], Account | undefined])[] = [
    ['socket folder', dirname(broker.socket), [0o755], owner],
    ['challenge folder', broker.challengeDir, [0o1733, 0o1777], owner],
    ['spool', broker.spoolDir, [0o700], owner],
    ['status folder', statusDir, [0o755], root ? { name: 'root', uid: 0, gid: 0 } : undefined],
  ];
  const found: Finding[] = [];
  const ours = (name: string) => broker.start || name === 'status folder';
  for (const [name, path, modes, whose] of wanted) {
    const stat = lookAt(path);
    if (stat === 'hidden') continue;
    if (stat === 'absent') {
      found.push(
        tell.warning('folder.absent', `the ${name} ${path} is not there`, {
          where: path,
          mend: ours(name)
            ? { do: 'start credmond, which makes it (condor_on -subsystem CREDMON_OAUTH); if it runs, see its log' }
            : { run: 'systemd-tmpfiles --create credmon.conf' },
        }),
      );
      continue;
    }
    const mode = stat.mode & 0o7777;
    if (!stat.isDirectory())
      found.push(
        tell.error('folder.odd', `the ${name} ${path} is not a folder`, {
          where: path,
          mend: { do: 'remove it and restart credmond' },
        }),
      );
    else if (!modes.includes(mode))
      found.push(
        tell.error('folder.mode', `the ${name} ${path} has mode ${octal(mode)}, not ${octal(modes[0] ?? 0)}`, {
          where: path,
          mend: { run: `chmod ${octal(modes[0] ?? 0)} ${path}` },
        }),
      );
    else if (whose !== undefined && stat.uid !== whose.uid)
      found.push(
        tell.error('folder.owner', `the ${name} ${path} belongs to uid ${stat.uid}, not to ${whose.name}`, {
          where: path,
          mend: { run: `chown ${whose.name} ${path}` },
        }),
      );
  }
  return found.length > 0 ? found : [tell.ok('broker.folders', 'its folders have the right owners and modes')];
}

/** Where no provider has a secret, people's logins need no broker. */
export function brokerChecks({ config, credDir }: World): readonly Check[] {
  const needed = [...(config?.providers.values() ?? [])].some(
    ({ flow, secretFile }) => flow === 'device' && secretFile !== undefined,
  );
  return credDir !== undefined && needed ? [account, socket, folders].map((look) => ({ section, look })) : [];
}
