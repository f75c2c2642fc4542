import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Files } from '../../core/sshd-config.js';
import { errnoOf, storageFailed } from '../../stores/atomic.js';

/** Where things are on the machine that is set up. All but `root` are as that machine sees them. */
export interface Places {
  /** The folder that is its root: '' for this machine, else one that is being put together for another. */
  readonly root: string;
  readonly sshdConfig: string;
  readonly dropIn: string;
  /** The first that has a stack wins; the first is the one to be written to (pam.conf(5), and what distributions ship). */
  readonly pamDirs: readonly string[];
  /** What the module reads to know how this sshd shows text. */
  readonly prompt: string;
  readonly backup: string;
}

export function placesOf({ root = '', sshdConfig = '/etc/ssh/sshd_config' } = {}): Places {
  return {
    root: root.replace(/\/+$/, ''),
    sshdConfig,
    dropIn: join(dirname(sshdConfig), 'sshd_config.d', '10-credmon.conf'),
    pamDirs: ['/etc/pam.d', '/usr/lib/pam.d', '/usr/etc/pam.d'],
    prompt: '/etc/credmon/pam-prompt',
    backup: '/var/lib/credmon/pam-backup',
  };
}

/** The files of that machine. What cannot be read throws Failed('storage'). */
export function filesOf({ root }: Pick<Places, 'root'>): Files {
  const absent = (thrown: unknown) => ['ENOENT', 'ENOTDIR'].includes(errnoOf(thrown) ?? '');
  return {
    read(path) {
      try {
        return readFileSync(root + path, 'latin1');
      } catch (thrown) {
        if (absent(thrown)) return undefined;
        throw storageFailed('read', root + path, thrown);
      }
    },
    list(folder) {
      try {
        return readdirSync(root + folder);
      } catch (thrown) {
        if (absent(thrown)) return [];
        throw storageFailed('read', root + folder, thrown);
      }
    },
  };
}
