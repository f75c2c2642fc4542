import { access } from 'node:fs/promises';
import { must } from './run.js';

/** Debian package → a program it brings. */
const needed = {
  debootstrap: '/usr/sbin/debootstrap',
  tmux: '/usr/bin/tmux',
  'util-linux': '/usr/bin/unshare',
} as const;

const present = (file: string) =>
  access(file).then(
    () => true,
    () => false,
  );

/**
 * Makes this machine able to run the lab, installing what is missing.
 * Returns why it cannot, in a sentence for `describe.skip`, or nothing when all is well.
 */
export async function prepareHost(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return 'needs root, for chroot and namespaces';
  const missing = [];
  for (const [name, file] of Object.entries(needed)) if (!(await present(file))) missing.push(name);
  if (missing.length === 0) return undefined;
  if (!(await present('/usr/bin/apt-get'))) return `needs ${missing.join(', ')}, and this is not a Debian`;
  try {
    const options = { limit: 300_000 };
    await must(['apt-get', 'update', '-q'], options);
    const install = ['apt-get', 'install', '-yq', '--no-install-recommends', ...missing];
    await must(['env', 'DEBIAN_FRONTEND=noninteractive', ...install], options);
    return undefined;
  } catch (error) {
    return `cannot install ${missing.join(', ')}: ${error instanceof Error ? error.message : error}`;
  }
}
