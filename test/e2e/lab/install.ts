import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { path } from './pool.js';
import { must } from './run.js';

const project = fileURLToPath(new URL('../../..', import.meta.url));
const home = '/opt/credmon';
/** The node_modules folder that `pack` has made; for the test files, which run in processes of their own. */
const packed = 'CREDMON_E2E_PACKED';

/** Where an admin would link the programs. */
const links = {
  '/usr/bin/credmon': 'bin/credmon.js',
  '/usr/bin/credmon-storer': 'bin/credmon-storer.js',
  '/usr/bin/credmon-producer': 'bin/credmon-producer',
  '/usr/sbin/credmond': 'bin/credmond.js',
  '/usr/sbin/credmon-broker': 'bin/credmon-broker.js',
} as const;

/**
 * Once for all test files (vitest's global set-up): the project as an admin gets it, built, packed, and unpacked with its
 * production dependencies.
 */
export default async function pack(): Promise<() => Promise<void>> {
  if (process.getuid?.() !== 0) return async () => {};
  const work = await mkdtemp(join(tmpdir(), 'credmon-pack-'));
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
  process.env[packed] = join(prefix, 'node_modules');
  return () => rm(work, { recursive: true, force: true });
}

/** Installs what was packed into the room, under /opt/credmon. The host's npm did it, since the room has only node. */
export async function installCredmon(): Promise<void> {
  const from = process.env[packed];
  if (from === undefined) throw new Error('nothing is packed: the global set-up of the end-to-end tests did not run');
  await rm(path(home), { recursive: true, force: true });
  await mkdir(path(home));
  // npm hoists: the dependencies lie beside the package, and node finds them there. Node's own cp takes three times as long.
  await must(['cp', '-a', from, path(`${home}/node_modules`)]);
  await must(['chown', '-R', 'root:root', path(home)]);
  await must(['chmod', '-R', 'go+rX', path(home)]);
  for (const [link, target] of Object.entries(links)) {
    await rm(path(link), { force: true });
    await symlink(`${home}/node_modules/credmon/${target}`, path(link));
  }
}
