/*
 * From condor_submit to a `.use`, without any click, on a real HTCondor pool: against the issuer's own latency in the same run.
 *
 *     npm run bench:submit [-- --rounds 15] [-- --release trixie]
 *
 * Needs root on Debian or a relative, as the end-to-end tests do: the pool lives in a chroot. Each round submits a job that
 * needs a credential which is not there yet (a handle of its own: one token exchange), one whose credential is there, and one
 * that needs none; in between the issuer is asked for the same exchange directly. The storer waits for the token, so the
 * `.use` is there when condor_submit ends.
 */
import { parseArgs } from 'node:util';
import pack, { installCredmon } from '../e2e/lab/install.js';
import { exchanger, startIssuerProcess } from '../e2e/lab/issuer.js';
import { credmondUp, credmonKnobs, sure } from '../e2e/lab/point.js';
import { as, installs, leave, root, startPool, stopPool } from '../e2e/lab/pool.js';
import type { Release } from '../e2e/lab/room.js';

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '15' }, release: { type: 'string', default: 'trixie' } },
});
const rounds = Number(values.rounds);
const obstacle = await installs({ release: values.release as Release });
if (obstacle !== undefined) throw new Error(obstacle);
const issuer = await startIssuerProcess({ life: 3600, behaviour: { subjects: ['alice'] } });
const secretFile = '/etc/condor/exchange-secret';

const job = (services: string, more = '') =>
  `executable = /bin/true\nhold = true\nrequest_memory = 64\nrequest_disk = 1000\n${services}\n${more}\nqueue\n`;
const asking = 'use_oauth_services = icecube';

/** Milliseconds of condor_submit itself, timed inside. */
async function submitted(description: string): Promise<number> {
  const script =
    'cat > job.sub; a=$(date +%s%N); condor_submit job.sub >/dev/null && b=$(date +%s%N) && echo $(((b - a) / 1000))';
  return Number(await sure(as('alice', script, { stdin: description }))) / 1000;
}

/** Of any command in the pool: what a process costs there. */
async function timed(command: string): Promise<number> {
  const script = `a=$(date +%s%N); ${command} && b=$(date +%s%N) && echo $(((b - a) / 1000))`;
  return Number(await sure(as('alice', script))) / 1000;
}

/** The same exchange, asked of the issuer as credmond asks. */
async function exchanged(): Promise<number> {
  const begun = performance.now();
  const answer = await fetch(`${issuer.url}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`${exchanger.id}:${exchanger.secret}`).toString('base64')}` },
    body: new URLSearchParams({
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      requested_subject: 'alice',
      requested_token_type: 'urn:ietf:params:oauth:token-type:refresh_token',
      audience: exchanger.id,
      scope: 'storage.read:/home',
    }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`the issuer refuses: ${text}`);
  return performance.now() - begun;
}

const median = (list: readonly number[]): number =>
  [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] as number;

const unpack = await pack();
try {
  await installCredmon();
  await sure(root(`umask 077; cat > ${secretFile}`, { stdin: `${exchanger.secret}\n` }));
  await startPool({
    knobs: `${credmonKnobs('icecube')}
SEC_CREDENTIAL_STORER = /usr/bin/credmon-storer
VAULT_CREDMON_PROVIDER_NAMES = icecube
icecube_ISSUER = ${issuer.url}
icecube_CLIENT_ID = ${exchanger.id}
icecube_CLIENT_SECRET_FILE = ${secretFile}
icecube_DEFAULT_OPTIONS = icecube
icecube_SCOPES = storage.read:/home
`,
  });
  await credmondUp();
  await submitted(job(asking));
  const measured: Record<string, number[]> = {};
  const note = (name: string, ms: number) => {
    measured[name] ??= [];
    measured[name].push(ms);
  };
  for (let round = 0; round < rounds; round++) {
    note('node -e 0', await timed('node -e 0'));
    note('credmon-storer alone', await timed('credmon-storer icecube'));
    note('the issuer itself', await exchanged());
    note('no credential needed', await submitted(job('')));
    note('it is there', await submitted(job(asking)));
    note('by token exchange', await submitted(job(asking, `icecube_oauth_permissions_h${round} = storage.read:/home`)));
  }
  const all = (name: string) => median(measured[name] ?? []);
  console.log(
    `HTCondor of Debian ${values.release}, node in the pool: ${(await sure(root('node --version'))).trim()}, ${rounds} rounds, medians`,
  );
  for (const name of Object.keys(measured)) console.log(`  ${name.padEnd(22)} ${all(name).toFixed(0).padStart(5)} ms`);
  const over = all('by token exchange') - all('the issuer itself');
  console.log(`  from condor_submit to .use: ${over.toFixed(0)} ms over the issuer's own latency (target 250 ms)`);
  const added = all('it is there') - all('no credential needed');
  console.log(`  a submit with a good credential: ${added.toFixed(0)} ms more than without any`);
} finally {
  await stopPool();
  await issuer.stop();
  await leave();
  await unpack();
}
