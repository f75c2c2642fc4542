import { execFile } from 'node:child_process';
import type { ServiceRequest } from '../core/request.js';

/** For the tool to answer: milliseconds. */
const limit = 2000;
/** Bytes that it may say: Node kills it after 1 MiB. */
const longest = 16 << 20;

/**
 * Some of the caller's jobs in the queue, as `cluster.proc`, that use a credential: at most `most`, since people have 10^5
 * of them. HTCondor notes `svc` or `svc*handle` in their OAuthServicesNeeded (submit_utils.cpp). Empty where condor_q does
 * not answer.
 */
export function jobsWith(
  { service, handle }: Pick<ServiceRequest, 'service' | 'handle'>,
  most: number,
): Promise<readonly string[]> {
  // A name has neither quotes nor backslashes in it (core/names.ts).
  const uses = `stringListMember("${handle === undefined ? service : `${service}*${handle}`}", OAuthServicesNeeded)`;
  return new Promise((resolve) => {
    const options = { timeout: limit, killSignal: 'SIGKILL', maxBuffer: longest } as const;
    const words = ['-constraint', uses, '-limit', String(most), '-af:j', 'ClusterId'];
    execFile('condor_q', words, options, (error, stdout) => {
      if (error) return resolve([]);
      resolve(stdout.split('\n').flatMap((line) => line.trim().split(/\s/)[0] || []));
    });
  });
}
