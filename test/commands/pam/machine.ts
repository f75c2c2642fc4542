import { join } from 'node:path';
import { type Installation, readInstallation } from '../../../src/commands/pam/apply.js';
import { filesOf, type Places, placesOf } from '../../../src/commands/pam/places.js';
import type { Machine, Wish } from '../../../src/commands/pam/plan.js';
import { survey } from '../../../src/commands/pam/survey.js';
import { put } from '../room.js';
import { debian } from './stacks.js';

export const debianSshd = `Include /etc/ssh/sshd_config.d/*.conf
KbdInteractiveAuthentication no
UsePAM yes
X11Forwarding yes
AcceptEnv LANG LC_*
Subsystem	sftp	/usr/lib/openssh/sftp-server
`;

/** What Red Hat ships: the same Include, and a file of its own there. */
export const redHatSshd: Readonly<Record<string, string>> = {
  sshd_config: 'Include /etc/ssh/sshd_config.d/*.conf\nAuthorizedKeysFile .ssh/authorized_keys\n',
  'sshd_config.d/50-redhat.conf':
    'SyslogFacility AUTHPRIV\nKbdInteractiveAuthentication no\nGSSAPIAuthentication yes\nUsePAM yes\n',
};

/** Files of a machine below a folder, as they are before credmon; /etc/… */
export function furnish(root: string, files: Readonly<Record<string, string>>): Places {
  for (const [path, text] of Object.entries(files)) put(join(root, path), text);
  return placesOf({ root });
}

export const debianFiles = (sshd: string = debianSshd): Record<string, string> => ({
  '/etc/ssh/sshd_config': sshd,
  ...Object.fromEntries(Object.entries(debian).map(([name, text]) => [`/etc/pam.d/${name}`, text])),
});

export const wish: Wish = { mode: 'login', groups: [], noExcept: false, hook: [] };

/** The machine that a folder holds, nobody having run sshd there. */
export async function machineIn(places: Places, more: Partial<Machine> = {}, known?: Installation): Promise<Machine> {
  const installation = known ?? (await readInstallation(places));
  const seen = await survey(places, installation, undefined);
  return {
    ...{ places, service: 'sshd', version: [9, 2], rootHasKey: true, account: 'credmon' },
    pam: { socket: '/run/credmon/pam/socket', firstFactor: 'required' },
    ...seen,
    ...more,
  };
}

export const textsIn = (places: Places) => filesOf(places);
