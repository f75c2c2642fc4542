import { type Knobs, readKnobs } from '../../config/knobs.js';
import { loadConfig } from '../../config/load.js';
import type { Config } from '../../core/config.js';
import { type Failure, failureOf } from '../../core/failure.js';
import { parseStem } from '../../core/names.js';
import type { Clock } from '../../core/ports.js';
import { parseRequest } from '../../core/request.js';
import { type CondorVersion, parseVersion } from '../../core/sorting.js';
import type { Env } from '../../stores/state.js';

/** A service that somebody asks about. */
export interface Asked {
  readonly service: string;
  readonly handle?: string;
}

/** What all checks are given. */
export interface World {
  readonly env: Env;
  readonly root: boolean;
  readonly uid: number;
  readonly clock: Pick<Clock, 'now'>;
  /** Undefined: it cannot be read, and `broken` says why. */
  readonly config: Config | undefined;
  readonly broken: Failure | undefined;
  /** HTCondor's configuration; undefined where there is no HTCondor. */
  readonly knobs: Knobs | undefined;
  readonly version: CondorVersion | undefined;
  readonly asked: readonly Asked[];
  /** Whether HTCondor's configuration is ours too: only then its knobs are looked at. */
  readonly condor: boolean;
  /** The credential directory. */
  readonly credDir: string | undefined;
}

export interface WorldOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly clock: Pick<Clock, 'now'>;
  /** --config. */
  readonly config?: string;
  readonly services: readonly string[];
}

/** Reads what there is of configuration. Throws Failed('usage') for a service that cannot be one. */
export async function openWorld({ env, clock, config: file, services }: WorldOptions): Promise<World> {
  const [loaded, read] = await Promise.all([
    loadConfig({ env, ...(file !== undefined && { file }) }).catch(failed),
    readKnobs(env).catch(failed),
  ]);
  const broken = 'kind' in loaded ? loaded : undefined;
  const config = 'kind' in loaded ? undefined : loaded;
  const knobs = read === undefined || 'kind' in read ? undefined : read;
  const version = parseVersion(knobs?.get('CONDOR_VERSION') ?? '');
  const credDir = config?.credDir ?? (config === undefined ? knobs?.get('SEC_CREDENTIAL_DIRECTORY_OAUTH') : undefined);
  const uid = process.getuid?.() ?? -1;
  return {
    ...{ env, clock, uid, config, broken, knobs, version, credDir },
    root: uid === 0,
    asked: services.map((text) => askedIn(text, config?.providers.keys() ?? [])),
    condor: knobs !== undefined && (config === undefined || config.htcondor),
  };
}

function failed(thrown: unknown): Failure {
  const failure = failureOf(thrown);
  if (failure === undefined) throw thrown;
  return failure;
}

/** `svc&handle=h` as the storer is given it, `svc*h` as job ads have it, `svc_h` as files are called, or a service. */
function askedIn(text: string, services: Iterable<string>): Asked {
  const { service, handle } = parseRequest(text.replace(/^([^&*]+)\*([^&*]+)$/, '$1&handle=$2'));
  if (handle !== undefined) return { service, handle };
  const known = [...services].filter((name) => name !== '*');
  const stem = parseStem(service, known);
  return stem === undefined ? { service } : { service: stem.service, ...(stem.handle && { handle: stem.handle }) };
}
