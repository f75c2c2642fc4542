import { loadConfig } from '../config/load.js';
import type { Config } from '../core/config.js';
import type { Failure } from '../core/failure.js';
import { stem } from '../core/names.js';
import { anyService } from '../core/provider.js';
import type { ServiceRequest } from '../core/request.js';
import { seconds } from '../core/time.js';
import { jobsWith } from '../status/jobs.js';
import { readMine } from '../status/read.js';
import { type CreddStore, creddStore } from '../stores/credd.js';
import { systemClock as clock } from '../system/clock.js';
import { deadline } from './deadline.js';
import { commandsFor, endingInWords, namedJobs } from './decide.js';
import { loginHere } from './here.js';
import { claim, strangers } from './needs.js';
import { elsewhere } from './other-storer.js';
import { type Told, whose } from './quick.js';
import { say, tell } from './say.js';
import { type Need, type Result, settle } from './settle.js';

/** config/load.ts. It only tells how long credmond may be silent and yet be taken to be at work. */
const usualSweep = seconds(60);

/** Whatever it takes that what a job asks for is there; the exit code: 0, or 1 as HTCondor's own storer has it. */
export async function work(requests: readonly ServiceRequest[], uid: number, told: Told | undefined): Promise<number> {
  const { needs, strange, ...scene } = await sceneOf(requests, told);
  const credd = creddStore({ env: process.env });
  const parts = { ...scene, uid, credd, clock, stop: deadline() };
  const [failures, results] = await Promise.all([strange(parts), settle(needs, parts)]);
  const refused = [...failures, ...results.flatMap((one) => (one.is === 'refused' ? [one.failure] : []))];
  for (const failure of refused) tell(failure);
  if (refused.length > 0) return 1;
  for (const one of results) if (one.is === 'there' && one.warning !== undefined) say('warning', one.warning);

  const before = readMine(scene.statusDir, uid);
  const after = [...(await elsewhere(results)), ...(await byPerson(results))];
  if (after.includes(false)) return 1;
  await renew(results);
  return after.length === 0 ? 0 : await again(needs, { ...parts, stop: deadline(), brought: { before } });
}

interface Scene extends Pick<Config, 'statusDir' | 'sweep' | 'warning'> {
  readonly needs: readonly Need[];
  /** What is wrong with requests for services that nobody knows. */
  strange(parts: { readonly credd: CreddStore; readonly stop: AbortSignal }): Promise<readonly Failure[]>;
}

/** By what credmond told, where that says whose each service is; else by HTCondor's configuration, which takes its time. */
async function sceneOf(requests: readonly ServiceRequest[], told: Told | undefined): Promise<Scene> {
  const { providers = [], warning } = told?.mine ?? {};
  const needs = requests.flatMap((asked) => {
    const stored = whose(asked, providers);
    return stored === undefined || stored.provider.name === anyService ? [] : [{ ...stored, asked }];
  });
  if (told && warning !== undefined && needs.length === requests.length)
    return { needs, statusDir: told.dir, sweep: usualSweep, warning, strange: async () => [] };
  const config = await loadConfig({ env: process.env });
  const { known, unknown } = claim(requests, config);
  return { ...config, needs: known, strange: ({ credd, stop }) => strangers(unknown, config, { credd, stop }) };
}

/** Those that take a login: on the terminal right here, where there is one. */
async function byPerson(results: readonly Result[]): Promise<boolean[]> {
  const mine = results.filter((one) => one.is === 'login');
  if (mine.length === 0) return [];
  const requests = mine.map(({ request }) => request);
  const code = await loginHere(['--if-needed'], requests);
  if (code !== undefined && code !== 0)
    say('hint', 'no job was submitted; run condor_submit again when you can log in');
  if (code !== undefined) return [code === 0];
  for (const { request, why } of mine) say('error', `the job needs a token of ${stem(request)}: ${why}`);
  say('hint', `run in a terminal, then submit again: ${commandsFor(requests)}`);
  return [false];
}

/** After a login everything must be there: if it is not, that is said. */
async function again(known: readonly Need[], parts: Parameters<typeof settle>[1]): Promise<number> {
  const bad = (await settle(known, parts)).filter(({ is }) => is !== 'there');
  for (const one of bad) {
    if (one.is === 'refused') tell(one.failure);
    else say('error', `there is still no token for ${stem(one.request)}${one.is === 'login' ? `: ${one.why}` : ''}`);
  }
  return bad.length === 0 ? 0 : 1;
}

/**
 * A login that is about to end: told while somebody reads it, and when there is not much left, renewed right here. Whoever
 * does not want to now gives it up, and the job is submitted all the same.
 */
async function renew(results: readonly Result[]): Promise<void> {
  const ending = results.flatMap((one) =>
    one.is === 'there' && one.ending ? [[one.request, one.ending] as const] : [],
  );
  const told = new Set<string>();
  for (const [request, login] of ending) {
    if (told.has(stem(login.login))) continue;
    told.add(stem(login.login));
    say('warning', endingInWords(login, clock.now(), await jobsWith(request, namedJobs + 1)));
    if (login.urgent) await loginHere(['--force'], [login.login]);
  }
}
