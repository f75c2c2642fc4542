import { dirname } from 'node:path';
import { octal } from '../../../core/text.js';
import type { Check } from '../check.js';
import { type Finding, teller } from '../finding.js';
import { folderAbove, lookAt } from '../look.js';
import type { World } from '../world.js';

const section = 'metrics';
const tell = teller(section);

/** credmond writes it every 15 s. */
const oldMs = 120_000;

/** Whether credmond can write the file, nobody else can put another in its place, and node_exporter can read it. */
function textfile(path: string, { root, clock }: World): readonly Finding[] {
  const folder = dirname(path);
  const where = { where: folder };
  const stat = lookAt(folder);
  if (stat === 'hidden') return [tell.note('metrics.hidden', `${folder} cannot be seen by you: run as root to see`)];
  if (stat === 'absent')
    return [
      tell.error('metrics.absent', `the folder of the metrics file, ${folder}, does not exist`, {
        ...where,
        mend: { run: `install -d -m 0755 ${folder}` },
      }),
    ];
  if (!stat.isDirectory())
    return [
      tell.error('metrics.odd', `${folder} is not a folder itself (a link is not followed)`, {
        ...where,
        mend: { do: 'name the folder itself with CREDMON_METRICS_FILE' },
      }),
    ];
  const found: Finding[] = [];
  if (stat.uid !== 0 && root)
    found.push(
      tell.warning('metrics.owner', `${folder} belongs to uid ${stat.uid}, who may put other figures there`, {
        ...where,
        mend: { run: `chown root ${folder}` },
      }),
    );
  if ((stat.mode & 0o022) !== 0)
    found.push(
      tell.warning('metrics.open', `others may put files into ${folder} (mode ${octal(stat.mode)})`, {
        ...where,
        mend: { run: `chmod go-w ${folder}` },
      }),
    );
  const closed = (stat.mode & 0o005) !== 0o005 ? folder : folderAbove(path, ({ mode }) => (mode & 0o001) === 0);
  if (closed !== undefined)
    found.push(
      tell.warning('metrics.closed', `node_exporter cannot read what is in ${folder}: ${closed} is closed to it`, {
        ...where,
        mend: { run: `chmod a+rx ${closed}` },
      }),
    );
  const file = lookAt(path);
  if (typeof file === 'object' && clock.now() - file.mtimeMs > oldMs)
    found.push(
      tell.warning('metrics.old', `${path} was last written ${new Date(file.mtimeMs).toISOString()}`, {
        where: path,
        mend: { run: 'grep "metrics:" "$(condor_config_val CREDMON_OAUTH_LOG)" | tail' },
      }),
    );
  return found.length > 0 ? found : [tell.ok('metrics', `metrics are written to ${path}`)];
}

export function metricsChecks({ config }: World): readonly Check[] {
  const file = config?.metrics.file;
  return file === undefined ? [] : [{ section, look: async (world: World) => textfile(file, world) }];
}
