import { plain } from '../../../core/text.js';
import { version as ourVersion } from '../../../system/version.js';
import type { Check } from '../check.js';
import { type Finding, teller } from '../finding.js';
import { daemon, findOurs, lookAtProgram, type OurProgram, storer } from '../programs.js';
import type { World } from '../world.js';

const section = 'programs';
const tell = teller(section);

const knobOf: Readonly<Record<OurProgram, string>> = { [daemon]: 'CREDMON_OAUTH', [storer]: 'SEC_CREDENTIAL_STORER' };

/** Whether a knob names our program, of our version, that those can run who have to, and nobody else can replace. */
function program(name: OurProgram): Check['look'] {
  const knob = knobOf[name];
  return ({ knobs, env, config }: World): readonly Finding[] => {
    const installed = findOurs(name, env);
    const mend =
      installed === undefined
        ? { do: `install credmon, then set ${knob} to where ${name} is` }
        : { set: `${knob} = ${installed}` };
    const set = { where: knob, mend };
    const path = knobs?.get(knob);
    if (path === undefined) {
      const what =
        name === storer
          ? 'SEC_CREDENTIAL_STORER is not set: condor_submit does not have people log in'
          : 'CREDMON_OAUTH is not set: condor_master starts no credmond';
      return [tell[name === storer ? 'warning' : 'error'](`${name}.unset`, what, set)];
    }
    const { trouble, ours, version, setuid, closed, open } = lookAtProgram(path);
    const shown = plain(path, 300);
    if (trouble !== undefined) {
      const words = {
        'not absolute': 'is no absolute path',
        absent: 'does not exist',
        hidden: 'cannot be reached by you',
        'not a program': 'is not an executable file',
      }[trouble];
      const effect =
        name === storer ? 'every condor_submit of a job with services fails' : 'condor_master cannot start it';
      return [tell.error(`${name}.broken`, `${knob} is ${shown}, which ${words}: ${effect}`, set)];
    }
    if (ours !== name) {
      // Vault's tokens are got by the storer that HTCondor has for them; credmond goes on from there.
      const vault = name === storer && [...(config?.providers.values() ?? [])].every(({ flow }) => flow === 'vault');
      if (vault) return [tell.ok('credmon-storer.vault', `condor_submit calls ${shown} for Vault tokens`)];
      const what = ours === undefined ? `${shown} is not ${name}` : `${shown} is ${ours}, not ${name}`;
      return [tell[name === storer ? 'warning' : 'error'](`${name}.other`, `${knob} = ${what}`, set)];
    }
    const found: Finding[] = [];
    if (version !== undefined && version !== ourVersion())
      found.push(
        tell.warning(
          `${name}.version`,
          `${shown} is of version ${plain(version, 40)}, this credmon of ${ourVersion()}`,
          {
            where: knob,
            mend: { do: 'install both from one package' },
          },
        ),
      );
    if (setuid)
      found.push(
        tell.error(`${name}.setuid`, `${shown} is setuid or setgid, which it must not be`, {
          where: knob,
          mend: { run: `chmod ug-s ${shown}` },
        }),
      );
    if (open !== undefined)
      found.push(
        tell.warning(
          `${name}.replaceable`,
          `others than root may replace ${shown}: ${open} is theirs, or open to them`,
          {
            where: open,
            mend: { run: `chown root ${open} && chmod go-w ${open}` },
          },
        ),
      );
    if (name === storer && closed !== undefined)
      found.push(
        tell.error('credmon-storer.closed', `users cannot run ${shown}: they may not read and enter ${closed}`, {
          where: closed,
          mend: { run: `chmod o+rx ${closed}` },
        }),
      );
    return found.length > 0
      ? found
      : [tell.ok(name, `${knob} is ${shown}${version === undefined ? '' : `, version ${version}`}`)];
  };
}

export const programChecks = ({ condor }: World): readonly Check[] =>
  condor ? ([daemon, storer] as const).map((name) => ({ section, look: program(name) })) : [];
