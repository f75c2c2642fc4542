/*
 * What a login by ssh and telephone costs over one by key alone and over the issuer's own latency, and how many a second there
 * are, with a real sshd in a chroot; all in one run.
 *
 *     npm run bench:ssh [-- --rounds 15] [-- --crowd 100] [-- --release trixie]
 *
 * Needs root on Debian or a relative, as the end-to-end tests do. One after the other: `ssh true` by key alone; a code asked of
 * the issuer directly; and a login, from the start to the code on the screen, and from Enter (the issuer has given the token
 * before) to the end of `true`, in which credmond takes the credential and fetches the first token. How long people and polls
 * take in between is not in it. Then a crowd, by key and by telephone.
 */
import { parseArgs } from 'node:util';
import { type Crowd, openCrowd, type Visit } from '../e2e/lab/crowd.js';
import { doorKnobs, installPam, makeDoor, makeThrong, startDoor, throng, throngClaims } from '../e2e/lab/door.js';
import pack, { installCredmon } from '../e2e/lab/install.js';
import { confidential, robot, startIssuerProcess } from '../e2e/lab/issuer.js';
import { credmondUp, credmonKnobs, sure } from '../e2e/lab/point.js';
import { installs, leave, root, startPool, stopPool } from '../e2e/lab/pool.js';
import type { Release } from '../e2e/lab/room.js';
import { makeHost, newSource, startSshd } from '../e2e/lab/ssh.js';
import { until } from '../e2e/lab/until.js';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '15' },
    crowd: { type: 'string', default: '100' },
    release: { type: 'string', default: 'trixie' },
  },
});
const obstacle = await installs({ release: values.release as Release });
if (obstacle !== undefined) throw new Error(obstacle);
const issuer = await startIssuerProcess({ life: 3600, behaviour: { claims: throngClaims } });
const unpack = await pack();

let last = 0;
let crowd: Crowd;

/** Milliseconds from the order to the end. */
const took = async (visits: readonly Visit[], begun: number): Promise<number> => {
  await crowd.until('all have ended', () => visits.every(({ ended }) => ended !== undefined), 120_000);
  const wrong = visits.find(({ ended }) => ended !== 0);
  if (wrong) throw new Error(`a login failed: ${wrong.said}`);
  return Math.max(...visits.map(({ endedAt = 0 }) => endedAt)) - begun;
};

/** Approved by several telephones at a time; resolves when the issuer has given all tokens. */
async function approve(visits: readonly Visit[]): Promise<void> {
  const { logins = 0 } = await issuer.counts();
  const next = visits.values();
  const phone = async () => {
    for (const { id, code = '' } of next) await issuer.approve(code, id.replace(/-.*/, ''));
  };
  await Promise.all([1, 2, 3, 4].map(phone));
  await until(
    async () => ((await issuer.counts()).logins ?? 0) >= logins + visits.length || undefined,
    60_000,
    () => 'not all tokens were fetched',
    20,
  );
}

/** What the issuer takes for a code and for a token, asked directly. */
const latency = async (): Promise<number> =>
  (await posted('/device/auth', confidential, { scope: 'openid offline_access storage.read:/home' })) +
  (await posted('/token', robot, { grant_type: 'client_credentials', scope: 'storage.read:/home' }));

async function posted(to: string, who: typeof confidential, body: Record<string, string>): Promise<number> {
  const begun = now();
  const secret = who === robot ? { client_id: who.id, client_secret: who.secret } : {};
  const answer = await fetch(`${issuer.url}${to}`, {
    method: 'POST',
    headers:
      who === robot ? {} : { authorization: `Basic ${Buffer.from(`${who.id}:${who.secret}`).toString('base64')}` },
    body: new URLSearchParams({ ...body, ...secret }),
  });
  if (!answer.ok) throw new Error(`the issuer refuses: ${await answer.text()}`);
  await answer.arrayBuffer();
  return now() - begun;
}

/** The clock of the crowd: CLOCK_MONOTONIC. */
const now = (): number => Number(process.hrtime.bigint()) / 1e6;
const median = (list: readonly number[]): number =>
  [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] as number;

try {
  await installCredmon();
  await makeHost();
  await makeThrong();
  await makeDoor();
  await startPool({ knobs: credmonKnobs('cilogon') + doorKnobs(issuer) });
  await credmondUp();
  // For the one that goes by key alone; PAMServiceName came with OpenSSH 9.8.
  await sure(root('cp /etc/pam.d/sshd /etc/pam.d/as-before'));
  await installPam();
  const byPhone = await startSshd();
  const byKey = await startSshd(['AuthenticationMethods=publickey', 'PAMServiceName=as-before']);
  const door = await startDoor();
  crowd = await openCrowd();
  const come = (port: number, n: number): Visit => {
    const user = throng[(n + 2) % throng.length];
    return crowd.start(`${user}-${++last}`, `ssh -p ${port} -b ${newSource()} ${user}@ap1 true`);
  };

  const measured = { key: [] as number[], issuer: [] as number[], shown: [] as number[], entered: [] as number[] };
  const firsts: number[] = [];
  for (let round = -2; round < Number(values.rounds); round++) {
    let begun = now();
    const key = await took([come(byKey.port, round)], begun);
    const direct = await latency();
    begun = now();
    const visit = come(byPhone.port, round);
    await crowd.until('it has a code', () => visit.code !== undefined);
    const shown = (visit.codeAt ?? 0) - begun;
    await approve([visit]);
    // Sooner than this, nobody can have read it.
    await until(
      async () => now() - (visit.codeAt ?? 0) > 1200 || undefined,
      5000,
      () => 'the clock stands still',
      20,
    );
    begun = now();
    crowd.enter(visit.id);
    const entered = await took([visit], begun);
    // Of whoever had no credential before: credmond fetches their first token meanwhile.
    if (round >= 0 && round + 2 < throng.length) firsts.push(entered);
    // The first ones are to warm up.
    if (round < 0) continue;
    for (const [name, ms] of Object.entries({ key, issuer: direct, shown, entered }))
      measured[name as keyof typeof measured].push(ms);
  }
  const added = measured.key.map((key, round) => {
    const of = (name: keyof typeof measured) => measured[name][round] ?? 0;
    return of('shown') + of('entered') - key - of('issuer');
  });

  const many = Number(values.crowd);
  let begun = now();
  const keyed = await took(
    Array.from({ length: many }, (_, n) => come(byKey.port, n)),
    begun,
  );
  begun = now();
  const visits = Array.from({ length: many }, (_, n) => come(byPhone.port, n));
  await crowd.until('all have codes', () => visits.every(({ code }) => code !== undefined), 120_000);
  const coded = now() - begun;
  const approving = now();
  await approve(visits);
  const approved = now() - approving;
  begun = now();
  for (const { id } of visits) crowd.enter(id);
  const entered = await took(visits, begun);

  const ms = (value: number) => `${value.toFixed(0).padStart(6)} ms`;
  console.log(`${byPhone.version} of Debian ${values.release}, ${values.rounds} rounds, medians`);
  console.log(`  ssh true, by key alone           ${ms(median(measured.key))}`);
  console.log(`  the issuer: a code and a token   ${ms(median(measured.issuer))}`);
  console.log(`  by telephone: to the code        ${ms(median(measured.shown))}`);
  console.log(`  by telephone: from Enter to out  ${ms(median(measured.entered))}`);
  console.log(`    a first credential             ${ms(median(firsts))}`);
  console.log(`  added over both                  ${ms(median(added))} (target 150 ms)`);
  const rate = (time: number) => `${((many * 1000) / time).toFixed(1)} a second`;
  console.log(`${many} at once (clients, sshd, broker and issuer on this machine)`);
  console.log(`  by key alone                     ${rate(keyed)}`);
  console.log(
    `  by telephone                     ${rate(coded + entered)}, ${((coded + entered) / keyed).toFixed(2)} times as long`,
  );
  console.log(
    `    to the codes ${ms(coded)}, approvals and polls ${ms(approved)} (not counted), from Enter to out ${ms(entered)}`,
  );
  await crowd.close();
  await door.stop();
  for (const sshd of [byKey, byPhone]) await sshd.stop();
} finally {
  await stopPool();
  await issuer.stop();
  await leave();
  await unpack();
}
