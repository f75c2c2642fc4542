import { exitCode } from '../../core/failure.js';
import { stem } from '../../core/names.js';
import { sortService } from '../../core/sorting.js';
import { systemClock } from '../../system/clock.js';
import { examine } from './check.js';
import { brokerChecks } from './checks/broker.js';
import { configurationChecks } from './checks/configuration.js';
import { creddChecks } from './checks/credd.js';
import { directoryChecks } from './checks/directory.js';
import { issuerChecks } from './checks/issuers.js';
import { machineChecks } from './checks/machine.js';
import { metricsChecks } from './checks/metrics.js';
import { ownChecks } from './checks/own.js';
import { pamChecks } from './checks/pam.js';
import { programChecks } from './checks/programs.js';
import { secretChecks } from './checks/secrets.js';
import { serviceChecks } from './checks/services.js';
import { sshChecks } from './checks/ssh.js';
import { tally } from './finding.js';
import { json, report } from './text.js';
import { openWorld, type World } from './world.js';

export interface DoctorOptions {
  readonly services: readonly string[];
  readonly json: boolean;
  readonly config?: string;
}

/** A new subject is a file in checks/ and a line here. */
export const subjects: readonly ((world: World) => ReturnType<typeof serviceChecks>)[] = [
  configurationChecks,
  programChecks,
  serviceChecks,
  secretChecks,
  directoryChecks,
  brokerChecks,
  pamChecks,
  sshChecks,
  creddChecks,
  ownChecks,
  metricsChecks,
  issuerChecks,
  machineChecks,
];

/** Looks at everything and changes nothing. Resolves to 0, or to the code of a wrong configuration when there is an error. */
export async function runDoctor(options: DoctorOptions): Promise<number> {
  const world = await openWorld({ ...options, env: process.env, clock: systemClock });
  const findings = await examine(
    world,
    subjects.flatMap((subject) => subject(world)),
  );
  const text = options.json ? json(findings, about(world)) : report(findings, process.stdout.columns ?? 100).join('\n');
  process.stdout.write(`${text}\n`);
  return tally(findings).error > 0 ? exitCode({ kind: 'config' }) : 0;
}

function about({ config, version, root, credDir, knobs, asked }: World): Readonly<Record<string, unknown>> {
  const names = [...(config?.providers.keys() ?? [])].filter((name) => name !== '*').map((service) => ({ service }));
  const services = [...names, ...asked.filter((one) => !names.some(({ service }) => service === stem(one)))];
  return {
    source: config?.source,
    htcondor: version?.join('.'),
    accessPoint: credDir !== undefined,
    root,
    services: services.map((one) => ({
      ...one,
      ...(knobs && version && sortService(one.service, knobs, version)),
    })),
  };
}
