import { existsSync, readFileSync } from 'node:fs';
import type { Files } from '../../core/sshd-config.js';
import { inPackage } from '../../system/package.js';
import type { PlannedFile } from './plan.js';

/** Where each shell looks; of several the first whose folder is there. All of them need the first file. */
const shells = [
  { name: 'credmon.sh', folders: ['/etc/profile.d'], needs: '/etc' },
  // Debian's csh does not read profile.d.
  { name: 'credmon.csh', folders: ['/etc/csh/login.d', '/etc/profile.d'], needs: '/etc' },
  { name: 'credmon.fish', folders: ['/etc/fish/conf.d'], needs: '/etc/fish' },
] as const;

/** Debian's zsh reads no profile.d; Red Hat's does, and says so here. */
const zprofile = '/etc/zsh/zprofile';
const forZsh = "[[ -r /etc/profile.d/credmon.sh ]] && emulate sh -c '. /etc/profile.d/credmon.sh'\n";

const usualStatusDir = '/var/lib/credmon/status';

/** The login hook's files, for the shells that a machine has. `files`: as they are without credmon. */
export function hookFiles(root: string, files: Files, statusDir: string): readonly PlannedFile[] {
  const mode = 0o644;
  const planned: PlannedFile[] = shells.flatMap(({ name, folders, needs }) => {
    const source = inPackage(`pam/hook/${name}`);
    if (!existsSync(source) || !existsSync(root + needs)) return [];
    const folder = folders.find((one) => existsSync(root + one)) ?? folders[0];
    return [{ path: `${folder}/${name}`, text: readFileSync(source, 'latin1'), mode, source }];
  });
  if (planned.length === 0) return [];
  const zsh = files.read(zprofile);
  if (zsh !== undefined && !zsh.includes('/etc/profile'))
    planned.push({ path: zprofile, text: `${zsh}${zsh === '' || zsh.endsWith('\n') ? '' : '\n'}${forZsh}`, mode });
  if (statusDir !== usualStatusDir && files.read('/etc/credmon/hook') === undefined)
    planned.push({ path: '/etc/credmon/hook', text: `warn\n${statusDir}\n`, mode });
  return planned;
}
