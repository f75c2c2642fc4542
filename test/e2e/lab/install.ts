import { cp, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { path } from './pool.js';
import { must } from './run.js';

const project = fileURLToPath(new URL('../../..', import.meta.url));
const home = '/opt/credmon';

/** Where an admin would link the programs. */
const links = {
  '/usr/bin/credmon': 'bin/credmon.js',
  '/usr/sbin/credmond': 'bin/credmond.js',
  '/usr/sbin/credmon-broker': 'bin/credmon-broker.js',
} as const;

/**
 * Installs the project into the room as an admin gets it: built, packed, and unpacked with its production dependencies
 * under /opt/credmon. The host's npm does it, since the room has only node.
 */
export async function installCredmon(): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), 'credmon-pack-'));
  try {
    const installed = await packed(work);
    await rm(path(home), { recursive: true, force: true });
    await mkdir(path(home));
    // npm hoists: the dependencies lie beside the package, and node finds them there.
    await cp(installed, path(`${home}/node_modules`), { recursive: true, verbatimSymlinks: true });
    await must(['chown', '-R', 'root:root', path(home)]);
    await must(['chmod', '-R', 'go+rX', path(home)]);
    for (const [link, target] of Object.entries(links)) {
      await rm(path(link), { force: true });
      await symlink(`${home}/node_modules/credmon/${target}`, path(link));
    }
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Returns the node_modules folder of an installation in `work`. */
async function packed(work: string): Promise<string> {
  // keytar's install script would fetch a binary from elsewhere; without one it counts as absent, as on most access points.
  const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  await must(['npm', '--prefix', project, 'run', '-s', 'build']);
  const [tarball] = (await must(['npm', 'pack', project, '--pack-destination', work, '--loglevel=error']))
    .trim()
    .split('\n')
    .slice(-1);
  const prefix = join(work, 'prefix');
  await must(['npm', 'install', '--omit=dev', '--prefix', prefix, ...quiet, join(work, tarball ?? '')], {
    limit: 300_000,
  });
  return join(prefix, 'node_modules');
}
