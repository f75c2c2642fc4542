import { lstatSync } from 'node:fs';
import type { Config } from '../../core/config.js';
import { Failed } from '../../core/failure.js';
import type { Provider } from '../../core/provider.js';
import type { Ways } from './way.js';

/** What --store takes. `condor`: HTCondor's credential directory; `auto`: that on an access point, else one's own. */
export const storeChoices = ['auto', 'condor', 'keyring', 'file'] as const;
export type StoreChoice = (typeof storeChoices)[number];

/**
 * `broker` and `credd` lead to HTCondor's credential directory; only where neither can, a grant is kept by the person. A
 * provider with a secret is the broker's, also when none answers: then that is what must be said.
 */
async function wayFor(config: Config, provider: Provider, store: StoreChoice): Promise<'broker' | 'credd' | 'own'> {
  if (store === 'keyring' || store === 'file') return 'own';
  const accessPoint = config.credDir !== undefined;
  if (accessPoint && provider.secretFile !== undefined && (config.htcondor || isSocket(config.broker.socket)))
    return 'broker';
  if (accessPoint && (await brokerThere(config))) return 'broker';
  if (accessPoint && config.htcondor) return 'credd';
  if (store === 'auto' && !accessPoint) return 'own';
  throw new Failed({
    kind: 'unsupported',
    what: accessPoint
      ? `nobody takes logins for ${config.credDir} here: there is no login broker at ${config.broker.socket}`
      : 'this machine has no credential directory of HTCondor’s',
    hint: accessPoint ? 'is credmond running?' : 'leave --store out, or choose keyring or file',
  });
}

/** Loads only the way that is taken. */
export async function waysFor(config: Config, provider: Provider, store: StoreChoice): Promise<Ways> {
  switch (await wayFor(config, provider, store)) {
    case 'broker': {
      const { brokerWay, madeFrom } = await import('./condor.js');
      return { open: brokerWay, ...(config.htcondor && { madeFrom }), together: true };
    }
    case 'credd': {
      const { creddWay, madeFrom } = await import('./condor.js');
      return { open: creddWay, ...(config.htcondor && { madeFrom }), together: true };
    }
    case 'own': {
      const { ownWay } = await import('./own.js');
      return { open: (context) => ownWay(context, store === 'condor' ? 'auto' : store), together: false };
    }
  }
}

/** Whether a broker answers: a socket alone may be a crashed one's. */
export async function brokerThere(config: Config): Promise<boolean> {
  return isSocket(config.broker.socket) && (await import('../../broker/client.js')).brokerAnswers(config.broker.socket);
}

function isSocket(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSocket() ?? false;
}
