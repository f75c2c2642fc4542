import { type Failure, failureOf } from '../../../core/failure.js';
import { octal } from '../../../core/text.js';
import { openPersonalStore } from '../../../stores/personal.js';
import { stateDir } from '../../../stores/state.js';
import type { Check } from '../check.js';
import { type Finding, teller } from '../finding.js';
import { lookAt } from '../look.js';
import type { World } from '../world.js';

const section = 'own store';
const tell = teller(section);

/** A machine without a credential directory: your logins are in your own store. */
async function store({ env, uid }: World): Promise<readonly Finding[]> {
  const dir = stateDir(env);
  const stat = lookAt(dir);
  if (stat === 'absent') return [tell.ok('own.empty', `nothing is kept in ${dir} yet`)];
  if (typeof stat === 'object' && (stat.mode & 0o077) !== 0)
    return [
      tell.warning('own.open', `others may look into ${dir} (mode ${octal(stat.mode)})`, {
        where: dir,
        mend: { run: `chmod 700 ${dir}` },
      }),
    ];
  if (typeof stat === 'object' && stat.uid !== uid)
    return [
      tell.error('own.owner', `${dir} belongs to uid ${stat.uid}, not to you`, {
        where: dir,
        mend: { do: 'set HOME or XDG_STATE_HOME to a folder of yours' },
      }),
    ];
  const opened = await openPersonalStore({ env, choice: 'stay' });
  const ids = await opened.list();
  const found: Finding[] = [];
  for (const id of ids) {
    const trouble = await opened.load(id).then(() => undefined, known);
    if (trouble !== undefined) {
      const mend = { do: trouble.hint ?? 'remove it, and log in again' };
      found.push(tell.error('own.damaged', trouble.what, { about: id, where: dir, mend }));
    }
  }
  const many = ids.length === 1 ? 'one login is' : `${ids.length} logins are`;
  return found.length > 0 ? found : [tell.ok('own', `${many} kept in ${dir}, or its keyring`)];
}

function known(thrown: unknown): Failure {
  const failure = failureOf(thrown);
  if (failure === undefined) throw thrown;
  return failure;
}

export const ownChecks = ({ credDir, condor }: World): readonly Check[] =>
  credDir === undefined && !condor ? [{ section, look: store }] : [];
