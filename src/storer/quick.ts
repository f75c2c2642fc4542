import { asStored, type ServiceRequest } from '../core/request.js';
import type { ProviderNote, Snapshot } from '../core/snapshot.js';
import type { EpochMs } from '../core/time.js';
import { lastTold, readMine } from '../status/read.js';
import { decide } from './decide.js';

/** Where credmond tells of credentials unless CREDMON_STATUS_DIR says otherwise (config/load.ts). */
const usualDir = '/var/lib/credmon/status';
/** credmond writes to that folder after every look at everything; its usual pace, twice, and a little more: milliseconds. */
const quiet = 130_000;

export interface Told {
  readonly dir: string;
  readonly mine: Snapshot;
}

/** What credmond last told of a person's credentials; undefined where it has not lately. */
export function lookUp(
  uid: number,
  now: EpochMs,
  // As HTCondor's own programs take a knob from the environment.
  dir = process.env._CONDOR_CREDMON_STATUS_DIR ?? usualDir,
): Told | undefined {
  try {
    if (now - (lastTold(dir) ?? 0) > quiet) return undefined;
    const mine = readMine(dir, uid);
    return mine?.providers === undefined ? undefined : { dir, mine };
  } catch {
    // Who looks closer is told why it cannot be read.
    return undefined;
  }
}

/**
 * Whether all is plainly well, by what credmond last told and nothing else: then neither HTCondor's configuration need be
 * read nor anybody be asked. False says only that it takes a closer look.
 */
export const isPlainlyWell = (requests: readonly ServiceRequest[], { mine }: Told, now: EpochMs): boolean =>
  requests.every((request) => isWell(request, mine, now));

function isWell(request: ServiceRequest, snapshot: Snapshot, now: EpochMs): boolean {
  const { providers = [], credentials: healths, warning } = snapshot;
  const stored = whose(request, providers);
  if (stored === undefined || warning === undefined) return false;
  const step = decide(stored.request, stored.provider, { healths, now, warning });
  return step.do === 'nothing' && step.warning === undefined && step.ending === undefined;
}

/** The credential that is meant, and the provider whose it is. */
export function whose(
  request: ServiceRequest,
  providers: readonly ProviderNote[],
): { readonly request: ServiceRequest; readonly provider: ProviderNote } | undefined {
  const names = providers.map(({ name }) => name);
  const stored = asStored(request, names);
  const provider = providers.find(({ name }) => name === stored?.provider);
  return stored && provider && { request: stored.request, provider };
}
