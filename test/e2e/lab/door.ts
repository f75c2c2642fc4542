import { readFile, writeFile } from 'node:fs/promises';
import { confidential, type IssuerProcess } from './issuer.js';
import { sure } from './point.js';
import { credentials, path, root } from './pool.js';
import { until } from './until.js';

/** The broker with its door for sshd, as its systemd units start it: an account of its own, and credmond starts none. */

const log = '/var/log/credmon-broker.log';
const secretFile = '/etc/credmon/client-secret';
export const doorSocket = '/run/credmon/pam/socket';
export const spool = '/var/lib/credmon/spool';

/** Who people are at the issuer, by the name that they approve with. The account's name is before the @. */
export const people = {
  alice: { eppn: 'alice@example.org', groups: ['hpc', 'staff'] },
  bob: { eppn: 'bob@example.org', groups: ['hpc'] },
  carol: { eppn: 'carol@example.org', groups: ['hpc'] },
  guest: { eppn: 'bob@example.org', groups: ['visitors'] },
  ungrouped: { eppn: 'bob@example.org' },
  nameless: { groups: ['hpc'] },
  stranger: { eppn: 'bob@example.org.attacker.example', groups: ['hpc'] },
  second: { eppn: 'alice@example.org', groups: ['hpc'] },
  bobs: { eppn: 'bob@example.org', groups: ['hpc'] },
} as const;

/** The names of more people than the broker has places for an account (40), for those who come in crowds. */
export const throng = Array.from({ length: 10 }, (_, n) => `u${n}`);
export const throngClaims = Object.fromEntries(
  throng.map((name) => [name, { eppn: `${name}@example.org`, groups: ['hpc'] }]),
);

/** Their accounts, which let carol's key in. */
export async function makeThrong(): Promise<void> {
  const make = `useradd --create-home --shell /bin/bash $user && cp -a /home/alice/.ssh /home/$user && chown -R $user: /home/$user/.ssh`;
  await sure(root(`set -e; for user in ${throng.join(' ')}; do ${make}; done`));
}

/** HTCondor's knobs: the provider cilogon, whose people log in by ssh as well. */
export const doorKnobs = ({ url }: IssuerProcess): string => `
cilogon_ISSUER = ${url}
cilogon_CLIENT_ID = ${confidential.id}
cilogon_CLIENT_SECRET_FILE = ${secretFile}
cilogon_SCOPES = openid offline_access storage.read:/home
CREDMON_BROKER = False
CREDMON_PAM = True
CREDMON_PAM_MAP_1 = eppn ([a-z][a-z0-9]*)@example\\.org
CREDMON_PAM_GROUPS = hpc
`;

/** The same for machines without HTCondor. `more`: lines of its table \`pam\`. */
export const doorToml = ({ url }: IssuerProcess, more = 'groups = ["hpc"]'): string => `
[providers.cilogon]
issuer = "${url}"
client_id = "${confidential.id}"
client_secret_file = "${secretFile}"
scopes = ["openid", "offline_access", "storage.read:/home"]
[pam]
enabled = true
${more}
[[pam.map]]
claim = "eppn"
match = '([a-z][a-z0-9]*)@example\\.org'
`;

/** The folders that systemd makes, and the secret, which only the broker's account may read. `toml`: its configuration, if HTCondor's is not. */
export async function makeDoor(toml?: string): Promise<void> {
  const folders = `
    umask 022
    mkdir -p /etc/credmon
    install -d -m 755 -o credmon -g credmon /run/credmon /run/credmon/broker /var/lib/credmon
    install -d -m 711 -o credmon -g credmon /run/credmon/pam
    install -d -m 1733 -o credmon -g credmon /var/lib/credmon/challenge
    install -d -m 700 -o credmon -g credmon ${spool} /var/lib/credmon/identities
    cat >${secretFile}; chown credmon ${secretFile}; chmod 400 ${secretFile}`;
  await sure(root(`set -e; ${folders}`, { stdin: `${confidential.secret}\n` }));
  if (toml !== undefined) await writeFile(path('/etc/credmon/credmon.toml'), toml);
}

/** What the broker counts, see `credmon status`. */
interface Counters {
  readonly asked: number;
  readonly approved: number;
  readonly denied: number;
  readonly expired: number;
  readonly gone: number;
  readonly decoys: number;
  readonly unavailable: number;
  readonly committed: number;
}

export interface Door {
  readonly pid: number;
  counters(): Promise<Counters>;
  /** Ends it, and does not come back before it is gone. */
  stop(signal?: 'TERM' | 'KILL'): Promise<void>;
}

/** Until it accepts sshd's connections. `env`: knobs that count for this one alone, as _CONDOR_NAME. */
export async function startDoor(env: Readonly<Record<string, string>> = {}): Promise<Door> {
  const settings = Object.entries(env).map(([name, value]) => `'${name}=${value}'`);
  const words = `setpriv --reuid=credmon --regid=credmon --init-groups --reset-env -- env ${settings.join(' ')} /usr/sbin/credmon-broker`;
  const pid = Number(await sure(root(`cd /; ${words} >>${log} 2>&1 </dev/null & echo $!`)));
  const knock = `perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0); exit !connect(S, sockaddr_un("${doorSocket}"))'`;
  const listens = async () => ((await root(knock)).code === 0 ? true : undefined);
  await until(listens, 20_000, async () => `the broker did not come up:\n${await doorLog()}`);
  return {
    pid,
    counters: async () => JSON.parse(await readFile(path('/run/credmon/broker/counters.json'), 'utf8')),
    stop: async (signal = 'TERM') => {
      await root(`kill -${signal} ${pid}; timeout 10 tail -s 0.05 --pid=${pid} -f /dev/null`);
    },
  };
}

export const doorLog = (): Promise<string> => readFile(path(log), 'utf8').catch(() => '');

/**
 * Everything that a login could leave here, with the files' identities and times, once credmond (where it runs) has taken all
 * that was handed over and nothing changes any more. What is written now and then is not in it.
 */
export async function left(): Promise<string> {
  const look = `test -e ${credentials}/pid && ls ${spool} | grep -q grant && exit 75
    find ${spool} /var/lib/credmon/identities ${credentials} -type f -printf '%p %i %m %u:%g %s %T@\\n' 2>/dev/null |
      grep -v -e CREDMON_COMPLETE -e ${credentials}/pid | sort`;
  let last: string | undefined;
  const settled = async () => {
    const { code, stdout } = await root(look);
    const same = code === 0 && stdout === last;
    last = code === 0 ? stdout : undefined;
    return same ? stdout : undefined;
  };
  return until(settled, 20_000, () => `no end of changes:\n${last}`, 250);
}

/** Whether a grant of this user is in the spool, or was moved on from there by credmond. */
export async function isSeeded(user: string): Promise<boolean> {
  const look = `grep -ls '"user":"${user}"' ${spool}/*.grant; ls ${credentials}/${user}/cilogon.top`;
  return (await root(look)).stdout !== '';
}

/** As an administrator has it done, who has shown root's key to be a way in. sshd is to be started afterwards. */
export const installPam = (words = '--mode login'): Promise<string> => sure(root(`credmon pam install ${words} --yes`));
