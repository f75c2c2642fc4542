import { lookup } from 'node:dns/promises';
import { readdirSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { roomFor } from '../../../system/watch.js';
import type { Check } from '../check.js';
import { type Finding, teller } from '../finding.js';
import type { World } from '../world.js';

const section = 'this machine';
const tell = teller(section);

function node(): readonly Finding[] {
  const { node: version } = process.versions;
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return [tell.ok('node', `Node.js ${version}`)];
  return [
    tell.error('node.old', `Node.js ${version} is too old`, {
      where: process.execPath,
      mend: { do: 'install Node.js 20.19 or newer' },
    }),
  ];
}

/** One watch for each user's folder, as far as they are watched: what is not is seen by the next full look only. */
function watches({ credDir }: World): readonly Finding[] {
  if (credDir === undefined) return [];
  const knob = 'fs.inotify.max_user_watches';
  const [most, instances] = ['max_user_watches', 'max_user_instances'].map((name) =>
    number(`/proc/sys/fs/inotify/${name}`),
  );
  const users = folders(credDir);
  if (most === undefined || instances === undefined) return [];
  // Node has one instance for all that a process watches.
  if (most < Math.min(users, roomFor(users)) + 100)
    return [
      tell.warning(
        'inotify.watches',
        `${knob} is ${most}, and ${users} users have a folder: changes in some are seen late`,
        {
          where: knob,
          mend: { run: `sysctl -w ${knob}=${Math.max(65_536, 4 * users)}` },
        },
      ),
    ];
  if (instances < 16)
    return [
      tell.note('inotify.instances', `fs.inotify.max_user_instances is only ${instances}`, {
        where: 'fs.inotify.max_user_instances',
        mend: { run: 'sysctl -w fs.inotify.max_user_instances=128' },
      }),
    ];
  return [tell.ok('inotify', `${most} folders can be watched`)];
}

function folders(dir: string): number {
  try {
    return readdirSync(dir, { withFileTypes: true }).filter((entry) => entry.isDirectory()).length;
  } catch {
    return 0;
  }
}

function number(file: string): number | undefined {
  try {
    return Number(readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
}

/** HTCondor's tools stand still for 5 s now and then where the machine's own name does not resolve (seen in 23.9.6). */
async function name({ condor }: World, stop: AbortSignal): Promise<readonly Finding[]> {
  if (!condor) return [];
  const host = hostname();
  const begun = performance.now();
  const late = new Promise<'late'>((resolve) => {
    const timer = setTimeout(() => resolve('late'), 2000);
    stop.addEventListener('abort', () => clearTimeout(timer), { once: true });
    timer.unref();
  });
  const answer = await Promise.race([
    lookup(host).then(
      ({ address }) => address,
      () => undefined,
    ),
    late,
  ]);
  const took = performance.now() - begun;
  if (answer !== undefined && answer !== 'late')
    return [tell.ok('hostname', `${host} resolves to ${answer} (${Math.round(took)} ms)`)];
  const how = answer === 'late' ? 'not within 2 s' : 'not';
  return [
    tell.warning(
      'hostname',
      `${host}, the name of this machine, does ${how} resolve: HTCondor's tools then take 5 s at times`,
      {
        where: '/etc/hosts',
        mend: { run: `echo "127.0.1.1 ${host}" >> /etc/hosts` },
      },
    ),
  ];
}

export const machineChecks = (): readonly Check[] => [node, watches, name].map((look) => ({ section, look }));
