import { failureOf } from '../../../core/failure.js';
import { creddStore } from '../../../stores/credd.js';
import type { Check } from '../check.js';
import { type Finding, teller } from '../finding.js';
import type { World } from '../world.js';

const section = 'HTCondor’s condor_credd';
const tell = teller(section);

/** Whether HTCondor's tool is there, and condor_credd answers it. Only whether something is stored is asked for. */
async function query({ env, config }: World, stop: AbortSignal): Promise<readonly Finding[]> {
  const service = [...(config?.providers.keys() ?? [])].find((name) => name !== '*') ?? 'credmon';
  try {
    await creddStore({ env, limitMs: 8000 }).query({ service }, {}, stop);
    return [tell.ok('credd', 'condor_credd answers condor_store_cred')];
  } catch (thrown) {
    const failure = failureOf(thrown);
    if (failure === undefined) throw thrown;
    const [id, mend] =
      failure.kind === 'unsupported'
        ? ['credd.no-tool', { do: failure.hint ?? 'install HTCondor’s tools' }]
        : ['credd.silent', { run: 'condor_who -daemons\ntail "$(condor_config_val CREDD_LOG)"' }];
    return [tell.error(id, failure.what, { mend })];
  }
}

export const creddChecks = ({ condor }: World): readonly Check[] =>
  condor ? [{ section, limitMs: 9000, look: query }] : [];
